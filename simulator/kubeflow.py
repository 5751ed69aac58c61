"""Kubeflow Pipelines: runs by the API v2beta1."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import Handler, faulty, read
from simulator.state import Simulated

ROOT: Final = "/kubeflow"
TOKEN: Final = "simulated-kubeflow-token"  # noqa: S105 (it opens the simulation, which lives on this machine)
_QUEUED: Final = timedelta(seconds=10)
_TAKES: Final = timedelta(seconds=90)
_INVALID, _NOT_FOUND, _UNAUTHENTICATED = 3, 5, 16
"""Codes of gRPC."""


@dataclass
class Kubeflow:
    sim: Simulated
    runs: dict[str, tuple[dict[str, object], datetime, str]] = field(default_factory=dict)

    def routes(self) -> list[BaseRoute]:
        def route(path: str, handler: Handler, method: str = "GET") -> Route:
            door = faulty(self.sim, "kubeflow", _busy, _admitted(handler))
            return Route(f"{ROOT}/apis/v2beta1/runs{path}", door, methods=[method])

        return [route("", self._start, "POST"), route("/{id}", self._get)]

    async def _start(self, request: Request) -> Response:
        body = await read(request) or {}
        reference = body.get("pipeline_version_reference")
        if not body.get("display_name"):
            return _error(400, _INVALID, "Invalid input error: The run name is empty. Please specify a valid name")
        if not body.get("pipeline_spec") and not (isinstance(reference, dict) and reference.get("pipeline_id")):
            return _error(
                400, _INVALID, "Invalid input error: Cannot create a run without a pipeline spec or reference"
            )
        name, run = str(body["display_name"]), str(uuid4())
        if isinstance(reference, dict) and reference.get("pipeline_id") == "missing":
            return _error(404, _NOT_FOUND, "ResourceNotFoundError: Pipeline missing not found.")
        ends = "FAILED" if self.sim.fault("kubeflow run") else "SUCCEEDED"
        self.runs[run] = body, self.sim.clock.now(), ends
        self.sim.inbox.add(
            "kubeflow",
            str(reference.get("pipeline_id") if isinstance(reference, dict) else "a pipeline of its own"),
            name,
            body,
            key=name,
        )
        return JSONResponse(self._view(run))

    async def _get(self, request: Request) -> Response:
        run = request.path_params["id"]
        return JSONResponse(self._view(run)) if run in self.runs else _error(404, _NOT_FOUND, f"Run {run} not found.")

    def _view(self, run: str) -> dict[str, object]:
        body, created, ends = self.runs[run]
        age = self.sim.clock.now() - created
        state = "PENDING" if age < _QUEUED else "RUNNING" if age < _QUEUED + _TAKES else ends
        return {"run_id": run, "display_name": body["display_name"], "storage_state": "AVAILABLE", "state": state}


def _admitted(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(401, _UNAUTHENTICATED, "Request header error: there is no user identity header.")
        return await handler(request)

    return answer


def _error(status: int, code: int, text: str) -> Response:
    return JSONResponse({"error": text, "code": code, "message": text, "details": []}, status)


def _busy(status: int) -> object:
    return {"message": f"answered {status} on request"}
