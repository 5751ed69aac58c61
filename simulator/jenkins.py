"""Jenkins: folders, the queue, and builds with parameters."""

import base64
import binascii
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import Handler, faulty
from simulator.state import Simulated

ROOT: Final = "/jenkins"
USER: Final = "switchyard"
TOKEN: Final = "11simulated0jenkins0token"  # noqa: S105 (it opens the simulation, which lives on this machine)
_QUIET: Final = timedelta(seconds=5)
_TAKES: Final = timedelta(seconds=90)
_LEFT: Final = timedelta(minutes=5)
"""How long an item is still told of when its build has begun."""


@dataclass
class Item:
    """An item of the queue, and the build that it becomes, which has the same life."""

    id: int
    job: str
    parameters: dict[str, str]
    queued: datetime
    number: int
    result: str
    canceled: bool = False


@dataclass
class Jenkins:
    """Any job is there as soon as someone names it, and takes every parameter unless it was defined; one whose name is `missing` is
    not. `ends`: how builds of a job end, where that is not SUCCESS. `stuck`: jobs for which no executor is free.
    """

    sim: Simulated
    defined: dict[str, frozenset[str]] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    items: list[Item] = field(default_factory=list)

    def routes(self) -> list[BaseRoute]:
        def route(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(f"{ROOT}{path}", faulty(self.sim, "jenkins", _busy, _admitted(handler)), methods=[method])

        return [
            route("/queue/item/{id:int}/api/json", self._item),
            route("/queue/api/json", self._queue),
            route("/job/{path:path}/buildWithParameters", self._start, "POST"),
            route("/job/{path:path}/{number:int}/api/json", self._build),
            route("/job/{path:path}/api/json", self._job),
        ]

    async def _start(self, request: Request) -> Response:
        job = _job(request)
        if job is None or job.rpartition("/")[2] == "missing":
            return _page(404, "Not Found")
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return _page(400, "This page expects a form submission")
        given = dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))
        declared = self.defined.get(job)
        if declared is not None and not declared:
            return _page(400, f"{job} is not parameterized")
        # What a job does not declare is dropped without a word.
        parameters = {name: value for name, value in given.items() if declared is None or name in declared}
        now = self.sim.clock.now()
        waiting = (one for one in self.items if one.job == job and one.parameters == parameters and self._waits(one))
        item = next(waiting, None)
        if item is None:
            ends = "FAILURE" if self.sim.fault("jenkins run") else self.ends.get(job, "SUCCESS")
            number = sum(one.job == job for one in self.items) + 1
            item = Item(len(self.items) + 1, job, parameters, now, number, ends)
            self.items.append(item)
            self.sim.inbox.add("jenkins", job, f"build of {job}", parameters, key=parameters.get("SWITCHYARD_KEY"))
        return Response(status_code=201, headers={"Location": f"{self.sim.base}{ROOT}/queue/item/{item.id}/"})

    def _waits(self, item: Item) -> bool:
        return not item.canceled and (item.job in self.stuck or self.sim.clock.now() < item.queued + _QUIET)

    async def _item(self, request: Request) -> Response:
        item = next((one for one in self.items if one.id == request.path_params["id"]), None)
        gone = item and not self._waits(item) and self.sim.clock.now() > item.queued + _QUIET + _LEFT
        return _page(404, "Not Found") if item is None or gone else JSONResponse(self._queued(item))

    async def _queue(self, _: Request) -> Response:
        """Those that wait."""
        return JSONResponse(
            {"_class": "hudson.model.Queue", "items": [self._queued(one) for one in self.items if self._waits(one)]}
        )

    def _queued(self, item: Item) -> dict[str, object]:
        waits = self._waits(item)
        why = (
            "Waiting for next available executor"
            if item.job in self.stuck
            else "In the quiet period. Expires in 4.9 sec"
        )
        told: dict[str, object] = {
            "_class": f"hudson.model.Queue${'WaitingItem' if waits else 'LeftItem'}",
            "actions": [_parameters(item)],
            "id": item.id,
            "task": {"name": item.job.rpartition("/")[2], "url": self._url(item.job)},
            "why": why if waits else None,
        }
        if not waits:
            told |= {"cancelled": item.canceled}
            build = {"number": item.number, "url": f"{self._url(item.job)}{item.number}/"}
            told |= {"executable": None if item.canceled else build}
        return told

    async def _job(self, request: Request) -> Response:
        """With its builds, the newest first."""
        job = _job(request)
        if job is None or job.rpartition("/")[2] == "missing":
            return _page(404, "Not Found")
        builds = [self._seen(one) for one in reversed(self.items) if one.job == job and self._began(one)]
        return JSONResponse({"_class": "org.jenkinsci.plugins.workflow.job.WorkflowJob", "builds": builds[:100]})

    async def _build(self, request: Request) -> Response:
        job, number = _job(request), request.path_params["number"]
        item = next((one for one in self.items if one.job == job and one.number == number and self._began(one)), None)
        return JSONResponse(self._seen(item)) if item else _page(404, "Not Found")

    def _began(self, item: Item) -> bool:
        return not item.canceled and not self._waits(item)

    def _seen(self, item: Item) -> dict[str, object]:
        builds = self.sim.clock.now() < item.queued + _QUIET + _TAKES
        return {
            "_class": "org.jenkinsci.plugins.workflow.job.WorkflowRun",
            "actions": [_parameters(item)],
            "number": item.number,
            "url": f"{self._url(item.job)}{item.number}/",
            "queueId": item.id,
            "building": builds,
            "result": None if builds else item.result,
            "duration": 0 if builds else int(_TAKES.total_seconds() * 1000),
            "timestamp": int(item.queued.timestamp() * 1000),
        }

    def _url(self, job: str) -> str:
        return f"{self.sim.base}{ROOT}/{'/'.join(f'job/{quote(part)}' for part in job.split('/'))}/"


def _parameters(item: Item) -> dict[str, object]:
    kind = "hudson.model.StringParameterValue"
    values = [{"_class": kind, "name": name, "value": value} for name, value in item.parameters.items()]
    return {"_class": "hudson.model.ParametersAction", "parameters": values}


def _job(request: Request) -> str | None:
    """`team/job/fraud/job/train` is the job `team/fraud/train`."""
    parts = request.path_params["path"].split("/")
    return "/".join(parts[::2]) if len(parts) % 2 and all(part == "job" for part in parts[1::2]) else None


def _admitted(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, word = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, word = "", ""
        if scheme != "Basic" or not user:
            return _page(403, "Authentication required")
        if word == "password" and request.method == "POST":  # a password signs in, and wants a crumb
            return _page(403, "No valid crumb was included in the request")
        return await handler(request) if word == TOKEN else _page(401, "Invalid password/token for user: switchyard")

    return answer


def _page(status: int, text: str) -> Response:
    return HTMLResponse(
        f"<html><head><title>Error {status} {text}</title></head><body><h2>HTTP ERROR {status} {text}</h2></body></html>",
        status,
    )


def _busy(status: int) -> object:
    return {"message": f"answered {status} on request"}
