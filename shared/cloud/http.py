"""HTTP over one session of kept-alive connections."""

import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from shared.cloud.failures import LOADING
from shared.errors import PermanentError, TemporaryError
from shared.world import Reply

if TYPE_CHECKING:
    from azure.core.pipeline.transport import AioHttpTransport

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
_NOT_OURS: Final = ("User-Agent", "Accept", "Accept-Encoding")
"""Headers that aiohttp would add: without Accept-Encoding nobody compresses the few bytes of an answer."""

LIMIT: Final = 1 << 20
"""Bytes of an answer that are read."""


@lru_cache(maxsize=1024)
def _address(url: str) -> URL:
    """As it was written: a signature in a query breaks when somebody quotes it anew."""
    plain = url.isascii() and url.isprintable() and " " not in url
    address = URL(url, encoded=plain)
    if address.scheme not in {"http", "https"} or not address.host:
        raise ValueError
    return address


class AioHttp:
    """Implements `world.Http`. The session begins with the first request, in the loop that runs then.

    The certificates are those of the machine, or of SSL_CERT_FILE where it is set. Errors never show the URL: it may
    be a secret.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """For clients that bring their own protocol and share our connections."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, ssl=ssl.create_default_context())
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=_TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_NOT_OURS,
                auto_decompress=False,
            )
        return self._session

    def transport(self) -> "AioHttpTransport":
        """The same for a client of an Azure SDK."""
        with LOADING:
            from azure.core.pipeline.transport import AioHttpTransport

        return AioHttpTransport(session=self.session, session_owner=False)

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        try:
            address = _address(url)
        except ValueError:
            raise PermanentError("not an absolute http or https URL") from None
        try:
            async with self.session.request(
                method, address, headers=headers, data=body, allow_redirects=False
            ) as response:
                content = await _read(response)
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


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if response.content_length is not None and response.content_length <= LIMIT:
        return await response.read()
    chunks, left = [], LIMIT
    async for chunk in response.content.iter_any():
        chunks.append(chunk[:left])
        left -= len(chunks[-1])
        if not left:
            response.close()  # the rest is of no interest, and may never end
            break
    return b"".join(chunks)
