"""Faults on the way: a handler that answers busy, breaks the connection, or acts and loses the answer or holds it back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from simulator.state import Simulated

type Handler = Callable[[Request], Awaitable[Response]]


class Broken(Response):
    """No answer at all: the connection breaks."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (the ASGI signature)
        # ASGI has no word for a broken connection; uvicorn's `receive` is a method of the object that holds it.
        receive.__self__.transport.abort()  # type: ignore[attr-defined]
        while (await receive())["type"] != "http.disconnect":
            pass


def faulty(sim: Simulated, where: str, error: Callable[[int], object], handler: Handler) -> Handler:
    """The handler, with the faults set for `where`. `error` makes the body of a status as this service words it."""

    async def answer(request: Request) -> Response:
        fault = sim.fault(where, request.method, request.url.path)
        if fault is None:
            return await handler(request)
        if isinstance(fault.how, int):
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return JSONResponse(error(fault.how), fault.how, headers)
        if fault.how in {"lost answer", "hang"}:
            await handler(request)
        while fault.how == "hang" and sim.hangs(fault) and not await request.is_disconnected():  # noqa: ASYNC110 (tests take it back from another thread)
            await asyncio.sleep(0.01)
        return Broken()

    return answer


async def read(request: Request) -> dict[str, object] | None:
    """The body where it is a JSON object, else None."""
    try:
        body = await request.json()
    except ValueError:
        return None
    return cast("dict[str, object]", body) if isinstance(body, dict) else None
