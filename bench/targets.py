"""What we are measured beside, in the same run: a naive handler, and the least that something durable can do.

`python -m bench.targets naive|limit PORT RULES HOOK_URL`
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import uvicorn

type App = Callable[[Any, Any, Any], Awaitable[None]]


async def body_of(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def accepted(send: Any) -> None:
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def naive(rules: int, hook: str) -> App:
    """Loops over the rules and posts at once. Nothing is kept: what it holds when it dies is lost."""
    table = [{"type": "RunCompleted", "workspace": "prod", "team": f"team-{n}"} for n in range(rules)]
    session: list[aiohttp.ClientSession] = []

    async def post(name: str) -> None:
        async with session[0].post(hook, json={"id": name}) as answer:
            await answer.read()

    async def app(_: Any, receive: Any, send: Any) -> None:
        if not session:
            session.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)))
        for event in json.loads(await body_of(receive)):
            kind, place = event["eventType"].rsplit(".", 1)[-1], event["topic"].rsplit("/", 1)[-1]
            team = event["data"]["runTags"].get("team")
            for rule in table:
                if rule["type"] == kind and rule["workspace"] == place and rule["team"] == team:
                    asyncio.ensure_future(post(event["id"]))  # noqa: RUF006 (naive on purpose)
        await accepted(send)

    return app


class Journal:
    """Appends lines; everyone who waits shares one fdatasync."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        self._lines: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._busy = False

    async def write(self, line: bytes) -> None:
        done = asyncio.get_running_loop().create_future()
        self._lines.append(line)
        self._waiting.append(done)
        if not self._busy:
            self._busy = True
            asyncio.ensure_future(self._sync())  # noqa: RUF006 (lives as long as somebody waits)
        await done

    async def _sync(self) -> None:
        while self._lines:
            lines, waiting = self._lines, self._waiting
            self._lines, self._waiting = [], []
            await asyncio.to_thread(self._append, b"\n".join(lines))
            for done in waiting:
                done.set_result(None)
        self._busy = False

    def _append(self, block: bytes) -> None:
        self._file.write(block)
        self._file.flush()
        os.fdatasync(self._file.fileno())


def limit(rules: int, hook: str) -> App:
    """Indexed rules, a journal with a shared sync before the answer, kept-alive posts; no record, no retries, no dedupe."""
    index = {("RunCompleted", "prod", f"team-{n}"): n for n in range(rules)}
    session: list[aiohttp.ClientSession] = []
    journals: list[Journal] = []

    async def post(name: str) -> None:
        async with session[0].post(hook, data=msgspec.json.encode({"id": name})) as answer:
            await answer.read()

    async def app(_: Any, receive: Any, send: Any) -> None:
        if not session:
            session.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)))
            journals.append(Journal())
        body = await body_of(receive)
        for event in msgspec.json.decode(body):
            kind, place = event["eventType"].rsplit(".", 1)[-1], event["topic"].rsplit("/", 1)[-1]
            await journals[0].write(body)
            if (kind, place, event["data"]["runTags"].get("team")) in index:
                asyncio.ensure_future(post(event["id"]))  # noqa: RUF006 (measured, not shipped)
        await accepted(send)

    return app


if __name__ == "__main__":
    which, port, rules, hook = sys.argv[1:]
    build = {"naive": naive, "limit": limit}[which]
    uvicorn.run(build(int(rules), hook), port=int(port), log_level="warning", access_log=False, lifespan="off")
