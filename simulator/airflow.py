"""Airflow: DAG runs by the REST API of version 2 (/api/v1) and 3 (/api/v2)."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import Handler, faulty, read
from simulator.state import Simulated

ROOT: Final = "/airflow"
TOKEN: Final = "simulated-airflow-token"  # noqa: S105 (it opens the simulation, which lives on this machine)
_ID: Final = re.compile(r"[A-Za-z0-9_.~:+-]{1,250}")
_FIELDS: Final = {"dag_run_id", "logical_date", "data_interval_start", "data_interval_end", "run_after", "conf", "note"}
_QUEUED: Final = timedelta(seconds=10)
_TAKES: Final = timedelta(seconds=90)


@dataclass(frozen=True)
class _Run:
    dag: str
    id: str
    conf: object
    created: datetime
    ends: str


@dataclass
class Airflow:
    """Any DAG is there as soon as someone names it, but for `missing`."""

    sim: Simulated
    runs: dict[tuple[str, str], _Run] = field(default_factory=dict)

    def routes(self) -> list[BaseRoute]:
        def route(path: str, handler: Handler, method: str = "GET") -> Route:
            door = faulty(self.sim, "airflow", _busy, _admitted(handler))
            return Route(f"{ROOT}/api/{{version}}/dags/{{dag}}/dagRuns{path}", door, methods=[method])

        return [route("", self._start, "POST"), route("/{id}", self._get)]

    async def _start(self, request: Request) -> Response:
        dag, version, body = request.path_params["dag"], request.path_params["version"], await read(request)
        if body is None:
            return _error(request, 400, "Bad Request", "The body is not a JSON object.")
        if version == "v2" and "logical_date" not in body:
            said = [{"type": "missing", "loc": ["body", "logical_date"], "msg": "Field required", "input": body}]
            return JSONResponse({"detail": said}, 422)
        if dag == "missing":
            return _error(request, 404, "Not Found", f"The Dag with ID: `{dag}` was not found")
        if unknown := sorted(body.keys() - _FIELDS):
            return _error(request, 400, "Bad Request", f"Property is read-only - '{unknown[0]}'")
        id_ = str(body.get("dag_run_id") or f"manual__{self.sim.clock.now().isoformat()}")
        if not _ID.fullmatch(id_):
            return _error(request, 400, "Bad Request", f"The run_id provided '{id_}' does not match the pattern")
        if (dag, id_) in self.runs:
            return _error(
                request, 409, "Conflict", f"DAGRun with DAG ID: '{dag}' and DAGRun ID: '{id_}' already exists"
            )
        ends = "failed" if self.sim.fault("airflow run") else "success"
        run = self.runs[dag, id_] = _Run(dag, id_, body.get("conf") or {}, self.sim.clock.now(), ends)
        self.sim.inbox.add("airflow", dag, f"DAG run {id_}", body, key=id_)
        return JSONResponse(self._view(run))

    async def _get(self, request: Request) -> Response:
        run = self.runs.get((request.path_params["dag"], request.path_params["id"]))
        return JSONResponse(self._view(run)) if run else _error(request, 404, "Not Found", "The DagRun was not found")

    def _view(self, run: _Run) -> dict[str, object]:
        age = self.sim.clock.now() - run.created
        state = "queued" if age < _QUEUED else "running" if age < _QUEUED + _TAKES else run.ends
        return {"dag_id": run.dag, "dag_run_id": run.id, "conf": run.conf, "state": state, "run_type": "manual"}


def _admitted(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(request, 401, "Unauthorized", "Invalid JWT token")
        return await handler(request)

    return answer


def _error(request: Request, status: int, title: str, text: str) -> Response:
    """Before version 3 a problem has a title."""
    old = {"title": title, "status": status, "type": "about:blank"} if request.path_params["version"] == "v1" else {}
    return JSONResponse({"detail": text} | old, status)


def _busy(status: int) -> object:
    return {"detail": f"answered {status} on request"}
