"""What is kept beside the records: the versions of the configuration, and the archive of events."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from shared import archive
from shared.web import api, asked
from shared.web.desk import Desk

_PIECE: Final = 1 << 16


def routes(desk: Callable[[], Desk]) -> list[Route]:
    async def config(_request: Request) -> Response:
        return api.answer(await api.config(desk().loaded, desk().world.shelf))

    async def version(request: Request) -> Response:
        name = request.path_params["version"]
        found = await api.config_version(desk().world.shelf, name)
        if found is None:
            detail = f"no version {name!r} of the configuration is kept: /api/config has the newest"
            raise HTTPException(404, detail)
        return api.answer(found)

    async def events(request: Request) -> Response:
        world = desk().world
        since, until = asked.span(request.query_params, world.clock())
        lines = archive.between(world, since, until)
        first = await anext(lines, None)  # where storage is out of reach, the answer can still say so
        return StreamingResponse(
            _encoded(first, lines), headers={"Cache-Control": "no-store"}, media_type="application/x-ndjson"
        )

    return [
        Route("/api/config", config),
        Route("/api/config/{version}", version),
        Route("/api/archive", events),
    ]


async def _encoded(first: str | None, lines: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """In pieces that are worth sending."""
    piece = bytearray() if first is None else bytearray(f"{first}\n".encode())
    async for text in lines:
        piece += f"{text}\n".encode()
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
