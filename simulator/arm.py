"""The manners of Azure Resource Manager: the bearer it wants, its errors, and operations that take a while."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import Handler, faulty
from simulator.state import Simulated

PROVIDER = "Microsoft.MachineLearningServices"
WORKSPACE = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + PROVIDER + "/workspaces/{workspace}"
LOCATION = "westeurope"

type Json = dict[str, Any]
"""A JSON object of theirs: read leniently, answered as it came."""

type Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
"""Starts something that goes on by itself until the box is closed."""


class Refused(Exception):  # noqa: N818 (not our failure: an answer)
    """The service's no: raised in a handler, answered as ARM words it."""

    def __init__(
        self, status: int, code: str, message: str, inner: str | None = None, details: Sequence[Json] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.inner, self.details = status, code, inner, list(details)

    def response(self) -> Response:
        error: Json = {"code": self.code, "message": str(self), "details": self.details}
        if self.inner:
            error["innerError"] = {"code": self.inner, "innerError": None}
        return JSONResponse({"error": error}, self.status)


def door(sim: Simulated, where: str, handler: Handler) -> Handler:
    """The handler, behind what comes first at every Azure endpoint: faults on demand, and a bearer token."""

    async def answer(request: Request) -> Response:
        sim.clock.settle()
        try:
            _admit(request)
            return await handler(request)
        except Refused as refused:
            return refused.response()

    def busy(status: int) -> Json:
        code = {429: "TooManyRequests", 409: "Conflict", 404: "NotFound"}.get(status, "ServiceError")
        return {"error": {"code": code, "message": "The request could not be served. Please try again."}}

    return faulty(sim, where, busy, answer)


def _admit(request: Request) -> None:
    if not request.headers.get("authorization", "").startswith("Bearer "):
        raise Refused(401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")


async def read(request: Request) -> Json:
    """The body: a JSON object, or a refusal."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "InvalidRequestContent", "The request content is not a JSON object.")
    return cast("Json", body)


def guid() -> str:
    """Never seeded: whoever keeps a record across two runs of the box must not take one for the other."""
    return str(uuid4())


def stamp(moment: datetime | None) -> str | None:
    """A time as Azure writes it: UTC, seven digits of a second."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0Z" if moment else None


def system_data(created: datetime, by: str = "Switchyard") -> Json:
    return {
        "createdAt": stamp(created),
        "createdBy": by,
        "createdByType": "Application",
        "lastModifiedAt": stamp(created),
    }


@dataclass
class Operation:
    id: str
    started: datetime
    ended: datetime | None = None
    error: Json | None = None


class Operations:
    """Long-running operations: accepted at once, done after a while of simulated time."""

    def __init__(self, sim: Simulated, spawn: Spawn) -> None:
        self._sim = sim
        self._spawn = spawn
        self._all: dict[str, Operation] = {}

    def start(self, subscription: str, seconds: float, finish: Callable[[datetime], Json | None]) -> dict[str, str]:
        """Begins one; `finish` makes its effect visible at its end, and returns the error of one that fails. Returns the
        headers by which a client follows it.
        """
        operation = Operation(guid(), self._sim.clock.now())
        self._all[operation.id] = operation
        due = operation.started + timedelta(seconds=seconds)

        def end(moment: datetime) -> None:
            operation.error, operation.ended = finish(moment), moment

        async def wait() -> None:
            await self._sim.clock.until(due)
            self._sim.clock.settle()

        self._sim.clock.call(due, end)
        self._spawn(wait())
        base = f"{self._sim.base}/subscriptions/{subscription}/providers/{PROVIDER}/locations/{LOCATION}"
        return {
            "Azure-AsyncOperation": f"{base}/mfeOperationsStatus/{operation.id}?api-version=2022-02-01-preview",
            "Location": f"{base}/mfeOperationResults/{operation.id}?api-version=2022-02-01-preview",
            "x-ms-retry-after-ms": "100",  # clients honour it, and need not wait real seconds for simulated ones
        }

    def routes(self) -> list[BaseRoute]:
        base = "/subscriptions/{subscription}/providers/" + PROVIDER + "/locations/{location}"
        return [
            Route(base + "/mfeOperationsStatus/{id}", door(self._sim, "arm", self._status)),
            Route(base + "/mfeOperationResults/{id}", door(self._sim, "arm", self._result)),
        ]

    def _find(self, request: Request) -> Operation:
        found = self._all.get(request.path_params["id"])
        if found is None:
            raise Refused(404, "OperationNotFound", f"Operation {request.path_params['id']} was not found.")
        return found

    async def _status(self, request: Request) -> Response:
        operation = self._find(request)
        status = "InProgress" if not operation.ended else "Failed" if operation.error else "Succeeded"
        body: Json = {
            "id": request.url.path,
            "name": operation.id,
            "status": status,
            "startTime": stamp(operation.started),
        }
        body |= {"endTime": stamp(operation.ended)} | ({"error": operation.error} if operation.error else {})
        return JSONResponse(body, headers={"x-ms-retry-after-ms": "100"})

    async def _result(self, request: Request) -> Response:
        done = self._find(request).ended
        return Response(status_code=204 if done else 202, headers={} if done else {"Location": str(request.url)})
