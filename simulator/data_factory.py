"""Data Factory: pipelines that are run, and move on in simulated time. Synapse speaks the same words."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import Json, Refused, door, guid, read, stamp
from simulator.faults import Handler
from simulator.state import Channel, Simulated

FACTORY: Final = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.DataFactory/factories/{factory}"
)
VERSION: Final = "2018-06-01"
OUTCOME: Final = "simulated_outcome"
"""Parameter of a run that decides how it ends: `failed`, `cancelled`, or `queued`, which never begins. A pipeline whose name has one of
these words in it ends so too. Else it succeeds.
"""
DURATION: Final = "simulated_seconds"
"""Parameter of a run: how many simulated seconds it takes. Else one to four minutes."""

_QUEUED: Final = 8.0
_PAGE: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9_][^<>*#.%&:\\+?/]{0,259}")
_PLACE: Final = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_OPERANDS: Final = {"PipelineName": "pipelineName", "Status": "status"}
_ENDS: Final = {"failed": "Failed", "cancelled": "Cancelled", "queued": "Queued"}


@dataclass(eq=False)
class Run:
    id: str
    pipeline: str
    parameters: Json
    begun: datetime
    seconds: float
    end: str

    def at(self, now: datetime) -> Json:
        """As the service tells of it then."""
        started = self.begun + timedelta(seconds=_QUEUED)
        ended = started + timedelta(seconds=self.seconds)
        waits = now < started or self.end == "Queued"
        over = not waits and now >= ended
        status = "Queued" if waits else self.end if over else "InProgress"
        message = "Operation on target Copy failed: ErrorCode=SqlOperationFailed" if status == "Failed" else ""
        return {
            "runId": self.id,
            "runGroupId": self.id,
            "isLatest": True,
            "pipelineName": self.pipeline,
            # Whatever a parameter is, its value is told as a text.
            "parameters": {
                name: value if isinstance(value, str) else str(value) for name, value in self.parameters.items()
            },
            "invokedBy": {"name": "Manual", "id": self.id},
            "runStart": None if waits else stamp(started),
            "runEnd": stamp(ended) if over else None,
            "durationInMs": int(self.seconds * 1000) if over else None,
            "status": status,
            "message": message,
            "lastUpdated": stamp(ended if over else self.begun if waits else started),
        }


@dataclass
class Pipelines:
    """Of every factory, or of every workspace. Any pipeline is there as soon as someone names it, unless its name has `missing` in it,
    and takes any parameters, until it is declared.

    `accepted`: the status of a run that is begun; `audience`: for whom tokens are, None for whoever asks.
    """

    sim: Simulated
    where: str
    version: str
    accepted: int
    audience: str | None = None
    channel: Channel = "pipeline"
    runs: dict[str, list[Run]] = field(default_factory=dict)
    declared: dict[tuple[str, str], dict[str, bool]] = field(default_factory=dict)
    """Parameters by place and pipeline; whether each has to be given."""

    def routes(self, base: str, place: Callable[[Request], str]) -> list[BaseRoute]:
        def at(path: str, handler: Callable[[Request, str], Any], method: str) -> Route:
            async def answer(request: Request) -> Response:
                self._admit(request)
                found = place(request)
                if not _PLACE.fullmatch(found):
                    raise Refused(400, "InvalidResourceName", f"'{found}' is no valid name.")
                response: Response = await handler(request, found)
                return response

            handled: Handler = door(self.sim, self.where, answer)
            return Route(base + path, handled, methods=[method])

        return [
            at("/pipelines/{pipeline}/createRun", self._create, "POST"),
            at("/queryPipelineRuns", self._query, "POST"),
            at("/pipelineruns/{run}", self._get, "GET"),
        ]

    def declare(self, place: str, pipeline: str, parameters: dict[str, bool]) -> None:
        self.declared[place, pipeline] = parameters

    def _admit(self, request: Request) -> None:
        asked = request.query_params.get("api-version")
        if asked != self.version:
            raise Refused(
                400, "UnsupportedApiVersion", f"The api-version '{asked}' is not supported: {self.version} is."
            )
        if self.audience is None:
            return
        token = request.headers["authorization"].partition(" ")[2]
        claims = jwt.decode(token, options={"verify_signature": False})
        if claims.get("aud") != self.audience:
            raise Refused(
                401,
                "AuthenticationFailed",
                f"Token Authentication failed with SecurityTokenInvalidAudienceException: {claims.get('aud')}",
            )

    async def _create(self, request: Request, place: str) -> Response:
        pipeline = request.path_params["pipeline"]
        if not _NAME.fullmatch(pipeline):
            raise Refused(400, "InvalidResourceName", f"'{pipeline}' is no valid name of a pipeline.")
        given: Json = await read(request) if await request.body() else {}
        if "missing" in pipeline:
            raise Refused(404, "EntityNotFound", f"Entity '{pipeline}' was not found in '{place}'.")
        wanted = self.declared.get((place, pipeline), {})
        left = sorted(name for name, needed in wanted.items() if needed and name not in given)
        if left:
            raise Refused(
                400,
                "BadRequest",
                f"ErrorCode=InvalidTemplate, The parameter '{left[0]}' of pipeline '{pipeline}' has no value.",
            )
        end = next((word for word in _ENDS if word in pipeline or given.get(OUTCOME) == word), "")
        seconds = given.get(DURATION, self.sim.chance.uniform(60, 240))
        run = Run(guid(), pipeline, given, self.sim.clock.now(), float(seconds), _ENDS.get(end, "Succeeded"))
        self.runs.setdefault(place, []).append(run)
        self.sim.inbox.add(self.channel, place, pipeline, given, key=run.id)
        return JSONResponse({"runId": run.id}, self.accepted)

    async def _get(self, request: Request, place: str) -> Response:
        wanted = request.path_params["run"]
        for run in self.runs.get(place, []):
            if run.id == wanted:
                return JSONResponse(run.at(self.sim.clock.now()))
        raise Refused(404, "EntityNotFound", f"Pipeline run '{wanted}' was not found in '{place}'.")

    async def _query(self, request: Request, place: str) -> Response:
        asked = await read(request)
        since, until = (_moment(asked, name) for name in ("lastUpdatedAfter", "lastUpdatedBefore"))
        told = [run.at(self.sim.clock.now()) for run in self.runs.get(place, [])]
        rows = [row for row in told if since <= datetime.fromisoformat(row["lastUpdated"]) <= until]
        for one in asked.get("filters") or ():
            rows = [row for row in rows if _fits(row, one)]
        first = int(asked.get("continuationToken") or 0)
        body: Json = {"value": rows[first : first + _PAGE]}
        if first + _PAGE < len(rows):
            body["continuationToken"] = str(first + _PAGE)
        return JSONResponse(body)


def _moment(asked: Json, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(asked[name]))
    except (KeyError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refused(400, "BadRequest", f"Invalid value for {name}: '{asked.get(name)}'.")
    return moment


def _fits(row: Json, one: Json) -> bool:
    operand, operator, values = one.get("operand"), one.get("operator"), one.get("values")
    if (
        operand not in _OPERANDS
        or operator not in {"Equals", "In", "NotEquals", "NotIn"}
        or not isinstance(values, Sequence)
    ):
        raise Refused(400, "BadRequest", f"Invalid filter: {one}")
    return (row[_OPERANDS[operand]] in values) == (operator in {"Equals", "In"})


class DataFactory(Pipelines):
    def __init__(self, sim: Simulated) -> None:
        super().__init__(sim, "data_factory", VERSION, 200, sim.base)

    def paths(self) -> list[BaseRoute]:
        return self.routes(FACTORY, lambda request: str(request.path_params["factory"]))
