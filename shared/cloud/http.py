"""HTTP over one session of kept-alive connections, to whom the service may call."""

import re
import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.bounds import DEFAULTS, Bounds
from shared.cloud.failures import LOADING
from shared.cloud.reach import Reach, address_of
from shared.errors import PermanentError, TemporaryError
from shared.world import Reply

if TYPE_CHECKING:
    from azure.core.pipeline.transport import AioHttpTransport

_CONNECT: Final = 5
"""Seconds until somebody has to take a connection."""

_NOT_OURS: Final = ("User-Agent", "Accept", "Accept-Encoding")
"""Headers that aiohttp would add: without Accept-Encoding nobody compresses the few bytes of an answer."""


@lru_cache(maxsize=1024)
def _address(url: str) -> URL:
    """As it was written: a signature in a query breaks when somebody quotes it anew."""
    plain = url.isascii() and url.isprintable() and " " not in url
    address = URL(url, encoded=plain)
    if address.scheme not in {"http", "https"} or not address.host:
        raise ValueError
    return address


_STEPS: Final = frozenset({".", ".."})
_NUMBER: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)\.?", re.IGNORECASE)


class _Resolver(AbstractResolver):
    """Gives on what may be called of what a name resolves to. The connection is made to what was judged, and to nothing else."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._inner = aiohttp.resolver.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found, refused = [], None
        for one in await self._inner.resolve(host, port, family):
            ip = address_of(one["host"])
            assert ip is not None, "a resolver answers with addresses"
            try:
                self._reach.check_address(host, ip)
            except PermanentError as error:
                refused = error
            else:
                found.append(one)
        if refused and not found:
            raise refused
        return found

    async def close(self) -> None:
        await self._inner.close()


class AioHttp:
    """Implements `world.Http`. The session begins with the first request, in the loop that runs then.

    The certificates are those of the machine, or of SSL_CERT_FILE where it is set. Errors never show the URL: it may
    be a secret. What `reach` forbids raises PermanentError, for the clients that share the session too.
    """

    def __init__(self, reach: Reach, bounds: Bounds = DEFAULTS) -> None:
        self.reach = reach
        self._bounds = bounds
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """For clients that bring their own protocol and share our connections."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=60, ssl=ssl.create_default_context(), resolver=_Resolver(self.reach)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._bounds.answer_seconds, sock_connect=_CONNECT),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_NOT_OURS,
                auto_decompress=False,
                middlewares=(self._judged,),
            )
        return self._session

    def transport(self) -> "AioHttpTransport":
        """The same for a client of an Azure SDK."""
        with LOADING:
            from azure.core.pipeline.transport import AioHttpTransport

        return AioHttpTransport(session=self.session, session_owner=False)

    async def _judged(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Before a connection is looked for: an address that is written as one never comes to the resolver."""
        host = request.url.raw_host or ""
        if _NUMBER.fullmatch(host.rpartition(".")[2]) and address_of(host) is None:
            # 127.1, 0x7f000001, 2130706433: some read an address in it, and nobody writes a name like that.
            raise PermanentError(f"the host {host} is a number and no address: write it as four numbers with dots")
        self.reach.check(host)
        return await handler(request)

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        try:
            address = _address(url)
        except ValueError:
            raise PermanentError("not an absolute http or https URL") from None
        if any(unquote(step) in _STEPS for step in address.raw_path.split("/")):
            raise PermanentError("a path with . or .. in it leads elsewhere than it says: nothing was sent")
        try:
            async with self.session.request(
                method, address, headers=headers, data=body, allow_redirects=False
            ) as response:
                content = await _read(response, self._bounds.answer_bytes)
                found = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, found, content)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise TemporaryError(f"no connection ({type(error).__name__})") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TemporaryError(f"no answer ({type(error).__name__})", sent=True) from None
        except ValueError:
            raise PermanentError("a header holds what no header can hold, a line break for example") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    if response.content_length is not None and response.content_length <= most:
        return await response.read()
    chunks, left = [], most
    async for chunk in response.content.iter_any():
        chunks.append(chunk[:left])
        left -= len(chunks[-1])
        if not left:
            response.close()  # the rest is of no interest, and may never end
            break
    return b"".join(chunks)
