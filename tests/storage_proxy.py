"""What stands between the service and Azurite, and breaks the connections on command. It counts what passes, too."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from yarl import URL

type Service = Literal["Blob", "Queue", "Table"]

_HOP: frozenset[str] = frozenset({"transfer-encoding", "connection", "keep-alive", "content-length"})


@dataclass(frozen=True)
class Fault:
    """`lost`: done, and the connection breaks before the answer; `reset`: it breaks before anything is done; `answer`: the service
    says so, without doing it; `meanwhile`: somebody else is faster.
    """

    kind: Literal["lost", "reset", "answer", "meanwhile"]
    status: int = 503
    retry_after: int | None = None
    meanwhile: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True)
class Asked:
    """A request, as a test speaks of it: the service, the method, what follows the account's name."""

    service: Service
    method: str
    what: str


_OWN = ("Content-Type", "Accept", "Accept-Encoding", "User-Agent")

type Rule = Callable[[Asked], Fault | None]


def _none(_: Asked) -> Fault | None:
    return None


@dataclass
class Proxy:
    """`rule`: what befalls a request."""

    account: str
    """The connection string through it."""
    rule: Rule = _none
    asked: list[Asked] = field(default_factory=list)
    sites: list[web.TCPSite] = field(default_factory=list)

    def counted(self) -> list[Asked]:
        """What was asked since the last time."""
        found, self.asked = self.asked, []
        return found


@asynccontextmanager
async def proxied(account: str) -> AsyncIterator[Proxy]:
    """For the account of a connection string."""
    parts = dict(part.split("=", 1) for part in account.split(";"))
    proxy = Proxy("")
    runners: list[web.ServerRunner] = []
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for service in ("Blob", "Queue", "Table"):
            at = URL(parts[f"{service}Endpoint"])
            runner = web.ServerRunner(web.Server(_handler(proxy, service, at, session), access_log=None))
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            runners.append(runner)
            port = runner.addresses[0][1]
            parts[f"{service}Endpoint"] = str(at.with_port(port))
        proxy.account = ";".join(f"{name}={value}" for name, value in parts.items())
        try:
            yield proxy
        finally:
            for runner in runners:
                await runner.cleanup()


def _handler(
    proxy: Proxy, service: Service, at: URL, session: aiohttp.ClientSession
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        what = unquote(request.raw_path.removeprefix(at.raw_path))
        asked = Asked(service, request.method, what)
        proxy.asked.append(asked)
        fault = proxy.rule(asked)
        match fault:
            case Fault("reset"):
                return _break(request)
            case Fault("answer"):
                headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                return web.Response(status=fault.status, headers=headers)
            case Fault("meanwhile"):
                assert fault.meanwhile is not None
                await fault.meanwhile()
        url = URL(f"{at.origin()}{request.raw_path}", encoded=True)
        # A signature is over the headers, too: none is added.
        async with session.request(
            request.method,
            url,
            headers=request.headers,
            data=body or None,
            allow_redirects=False,
            skip_auto_headers=_OWN,
        ) as said:
            content = await said.read()
        if fault is not None and fault.kind == "lost":
            return _break(request)
        headers = {name: value for name, value in said.headers.items() if name.lower() not in _HOP}
        return web.Response(status=said.status, headers=headers, body=content)

    return handle


def _break(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # nobody hears it
