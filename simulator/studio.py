"""Where the links of cards and mails lead in place of Azure ML studio: enough of a page to see that they lead right."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from simulator.azureml import AzureML
from simulator.inbox import page

_FACTS: Final = ("runId", "displayName", "parentRunId", "target", "startTimeUtc", "endTimeUtc", "duration")


def routes(azureml: AzureML) -> list[BaseRoute]:
    async def run(request: Request) -> Response:
        """For people a page; for everything else JSON."""
        answer = await azureml.studio(request)
        told = json.loads(bytes(answer.body))
        if "text/html" not in request.headers.get("accept", "") or "run" not in told:
            return answer
        heading = told["run"]["displayName"]
        return page("studio.html", request, {"heading": heading, "told": told, "rows": list(_rows(told))})

    async def other(request: Request) -> Response:
        heading = request.path_params["rest"].removesuffix("/details").removesuffix("/detail")
        return page("studio.html", request, {"heading": heading, "told": None})

    return [Route("/studio/runs/{job}", run), Route("/studio/{rest:path}", other)]


def _rows(told: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    run = told["run"]
    yield from ((name, run[name]) for name in _FACTS if run[name])
    yield from ((f"metrics.{name}", " → ".join(map(str, values))) for name, values in told["metrics"].items())
    yield from ((f"tags.{name}", value) for name, value in run["tags"].items())
