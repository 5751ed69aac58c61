"""Azure DevOps: runs of pipelines, and the builds that they are."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import jwt
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import Handler, faulty, read
from simulator.state import Simulated

RESOURCE: Final = "499b84ac-1321-427f-aa17-267ca6975798"
"""For whom a token must be, in every organisation."""

ROOT: Final = "/devops"
_UNKNOWN: Final = 1000
"""Pipelines with this number or a higher one are not there."""

_QUEUED: Final = timedelta(seconds=10)
_TAKES: Final = timedelta(seconds=90)
_VERSIONS: Final = ("7.1", "7.2", "7.0")
_SIGN_IN: Final = "<!DOCTYPE html><html><head><title>Azure DevOps Services | Sign In</title></head><body></body></html>"


@dataclass(frozen=True)
class Definition:
    """What a pipeline takes at queue time: its runtime parameters, and the variables that are settable."""

    parameters: frozenset[str]
    settable: frozenset[str]


@dataclass(frozen=True)
class Run:
    id: int
    project: str
    pipeline: int
    number: str
    branch: str
    result: str
    created: datetime
    parameters: Mapping[str, str]
    variables: Mapping[str, Mapping[str, object]]


@dataclass
class DevOps:
    """Any project and pipeline is there as soon as someone names it, and takes everything unless it was defined."""

    sim: Simulated
    definitions: dict[tuple[str, int], Definition] = field(default_factory=dict)
    runs: deque[Run] = field(default_factory=lambda: deque(maxlen=2000))
    count: int = 0

    def define(self, project: str, pipeline: int, *, parameters: tuple[str, ...], settable: tuple[str, ...]) -> None:
        self.definitions[project, pipeline] = Definition(frozenset(parameters), frozenset(settable))

    def routes(self) -> list[BaseRoute]:
        def route(path: str, handler: Handler, method: str = "GET") -> Route:
            door = faulty(self.sim, "devops", _busy, self._admitted(handler))
            return Route(f"{ROOT}/{{organization}}/{{project}}/_apis{path}", door, methods=[method])

        return [
            route("/pipelines/{pipeline:int}/runs", self._start, "POST"),
            route("/pipelines/{pipeline:int}/runs/{id:int}", self._run),
            route("/build/builds", self._builds),
            route("/build/builds/{id:int}", self._build),
        ]

    def _admitted(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if not token:
                return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
            # Who is not known is shown the way to sign in.
            if scheme != "Bearer" or _audience(token) != RESOURCE:
                return HTMLResponse(_SIGN_IN, 203)
            if not request.query_params.get("api-version", "").startswith(_VERSIONS):
                text = f'No api-version was supplied for the "{request.method}" request. The version must be supplied.'
                return _error(400, "VssVersionNotSpecifiedException", text)
            if request.path_params["project"] == "missing":
                text = "TF200016: The following project does not exist: missing. Verify that the name of the project is correct."
                return _error(404, "ProjectDoesNotExistWithNameException", text)
            return await handler(request)

        return answer

    async def _start(self, request: Request) -> Response:
        project, pipeline, body = _project(request), request.path_params["pipeline"], await read(request)
        if pipeline >= _UNKNOWN:
            return _error(404, "PipelineNotFoundException", f"Pipeline {pipeline} was not found.")
        if body is None:
            return _error(400, "InvalidPipelineOperationException", "The request body is not a JSON object.")
        parameters, variables = body.get("templateParameters") or {}, body.get("variables") or {}
        problem = _wrong(body, self.definitions.get((project, pipeline)))
        said = {**body, "variables": _shown(variables)}
        self.sim.inbox.add("devops", project, f"run of pipeline {pipeline}", said, key=_key(body), problem=problem)
        if problem:
            return _error(400, "PipelineValidationException", problem)
        assert isinstance(parameters, dict)
        assert isinstance(variables, dict)
        self.count += 1
        now = self.sim.clock.now()
        result = "failed" if self.sim.fault("devops run") else "succeeded"
        number = f"{now:%Y%m%d}.{self.count}"
        run = Run(self.count, project, pipeline, number, _branch(body), result, now, parameters, variables)
        self.runs.append(run)
        return JSONResponse(self._seen(run))

    def _find(self, request: Request) -> Run | None:
        number, project = request.path_params["id"], _project(request)
        return next((run for run in self.runs if run.id == number and run.project == project), None)

    async def _run(self, request: Request) -> Response:
        run = self._find(request)
        if run is None or run.pipeline != request.path_params["pipeline"]:
            return _error(404, "RunNotFoundException", f"Run {request.path_params['id']} was not found.")
        return JSONResponse(self._seen(run))

    async def _build(self, request: Request) -> Response:
        run = self._find(request)
        if run is None:
            text = f"The requested build {request.path_params['id']} could not be found."
            return _error(404, "BuildNotFoundException", text)
        return JSONResponse(self._as_build(run))

    async def _builds(self, request: Request) -> Response:
        """Newest first, by the filters `definitions`, `minTime` (of queueing) and `$top`."""
        asked = request.query_params
        pipelines = {int(one) for one in asked.get("definitions", "").split(",") if one.isdigit()}
        since = datetime.fromisoformat(asked["minTime"]) if "minTime" in asked else None
        found = [
            self._as_build(run)
            for run in reversed(self.runs)
            if run.project == _project(request)
            and (not pipelines or run.pipeline in pipelines)
            and (since is None or run.created >= since)
        ]
        size = asked.get("$top", "")
        found = found[: int(size) if size.isdigit() else 1000]
        return JSONResponse({"count": len(found), "value": found})

    def _age(self, run: Run) -> timedelta:
        return self.sim.clock.now() - run.created

    def _links(self, run: Run) -> dict[str, object]:
        web = f"https://dev.azure.com/{run.project}/_build/results?buildId={run.id}"
        return {"self": {"href": f"{self._base(run)}/runs/{run.id}"}, "web": {"href": web}}

    def _base(self, run: Run) -> str:
        return f"{self.sim.base}{ROOT}/{run.project}/_apis/pipelines/{run.pipeline}"

    def _seen(self, run: Run) -> dict[str, object]:
        """As the Pipelines API shows it: what waits for an agent is in progress there too."""
        ended = self._age(run) >= _QUEUED + _TAKES
        seen: dict[str, object] = {
            "_links": self._links(run),
            "templateParameters": run.parameters,
            "variables": _shown(run.variables),
            "pipeline": {"id": run.pipeline, "name": f"pipeline-{run.pipeline}", "folder": "\\", "revision": 1},
            "state": "completed" if ended else "inProgress",
            "createdDate": _time(run.created),
            "url": f"{self._base(run)}/runs/{run.id}",
            "id": run.id,
            "name": run.number,
        }
        return seen | ({"result": run.result} if ended else {})

    def _as_build(self, run: Run) -> dict[str, object]:
        age = self._age(run)
        status = "notStarted" if age < _QUEUED else "inProgress" if age < _QUEUED + _TAKES else "completed"
        values = {name: None if one.get("isSecret") else one.get("value") for name, one in run.variables.items()}
        seen: dict[str, object] = {
            "_links": self._links(run),
            "id": run.id,
            "buildNumber": run.number,
            "status": status,
            "queueTime": _time(run.created),
            "definition": {"id": run.pipeline, "name": f"pipeline-{run.pipeline}"},
            "sourceBranch": run.branch,
            "templateParameters": run.parameters,
        }
        seen |= {"parameters": json.dumps(values)} if values else {}
        seen |= {"startTime": _time(run.created + _QUEUED)} if status != "notStarted" else {}
        ended = {"finishTime": _time(run.created + _QUEUED + _TAKES), "result": run.result}
        return seen | (ended if status == "completed" else {})


def _audience(token: str) -> str:
    try:
        return str(jwt.decode(token, options={"verify_signature": False, "verify_exp": False}).get("aud"))
    except jwt.InvalidTokenError:
        return ""


def _project(request: Request) -> str:
    return f"{request.path_params['organization']}/{request.path_params['project']}"


def _branch(body: Mapping[str, object]) -> str:
    place: object = body
    for name in ("resources", "repositories", "self", "refName"):
        place = place.get(name) if isinstance(place, dict) else None
    return place if isinstance(place, str) else "refs/heads/main"


def _wrong(body: Mapping[str, object], definition: Definition | None) -> str | None:
    parameters, variables = body.get("templateParameters") or {}, body.get("variables") or {}
    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        return "templateParameters: each value must be a string."
    if not isinstance(variables, dict) or not all(
        isinstance(one, dict) and "value" in one for one in variables.values()
    ):
        return "variables: each must be an object with a value."
    if not _branch(body).startswith(("refs/heads/", "refs/tags/", "refs/pull/")):
        return f"An error occurred while loading the YAML build pipeline. {_branch(body)} is not a ref."
    if not isinstance(body.get("stagesToSkip") or [], list):
        return "stagesToSkip: expected a list."
    if definition is None:
        return None
    if unexpected := sorted(parameters.keys() - definition.parameters):
        return f"Unexpected parameter '{unexpected[0]}'"
    if locked := sorted(variables.keys() - definition.settable):
        return (
            "See https://aka.ms/AzPipelines/SettingVariablesAtQueueTime - You can't set the following variables "
            f"({','.join(locked)}). If you want to be able to set these variables, then edit the pipeline and select "
            "Settable at queue time on the variables tab of the pipeline editor."
        )
    return None


def _shown(variables: object) -> object:
    """Nobody is shown a secret's value again."""
    if not isinstance(variables, Mapping):
        return variables
    return {
        name: {"isSecret": True} if isinstance(one, Mapping) and one.get("isSecret") else one
        for name, one in variables.items()
    }


def _key(body: Mapping[str, object]) -> str | None:
    parameters, variables = body.get("templateParameters"), body.get("variables")
    for name in ("correlation", "switchyard_key"):
        if isinstance(parameters, dict) and parameters.get(name):
            return str(parameters[name])
        one = variables.get(name) if isinstance(variables, dict) else None
        if isinstance(one, dict) and one.get("value"):
            return str(one["value"])
    return None


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0Z"


def _busy(status: int) -> object:
    busy = status == HTTPStatus.TOO_MANY_REQUESTS
    text = (
        "Request was blocked due to exceeding usage of resource 'Concurrency'" if busy else "TF400733: Try again later."
    )
    return {
        "$id": "1",
        "message": text,
        "typeKey": "RequestBlockedException" if busy else "ServiceException",
        "errorCode": 0,
    }


def _error(status: int, kind: str, text: str) -> Response:
    said = {"$id": "1", "innerException": None, "message": text, "typeKey": kind, "errorCode": 0, "eventId": 3000}
    return JSONResponse(said, status)
