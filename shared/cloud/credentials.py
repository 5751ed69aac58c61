"""Signing in to Azure: which credential, and tokens kept while they last."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from shared.cloud.failures import LOADING, Doing, one_line, translating
from shared.errors import TemporaryError
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

_EARLY: Final = 300.0
"""Seconds before its end from which a token is no longer used."""

_MICROSOFT: Final = {
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
}
_PASSING: Final = re.compile(r"HTTP Error: 5\d\d|AADSTS(90024|90033)\b|temporarily_unavailable")
"""What passes by itself, in the words of azure-identity: it calls everything a failed authentication, and keeps no
status.
"""

_SIGNING_IN: Final = Doing("signing in to Azure", "a federated credential or secret that is still valid")


def credential(settings: Settings, environ: Mapping[str, str]) -> "TokenCredential":
    """A service principal where the environment holds its secret; else the managed identity that AZURE_CLIENT_ID names,
    without a walk along the chain; else the chain of azure-identity.
    """
    with LOADING:
        from azure.identity import (
            ClientSecretCredential,
            DefaultAzureCredential,
            ManagedIdentityCredential,
        )

    secret, tenant = environ.get("AZURE_CLIENT_SECRET"), environ.get("AZURE_TENANT_ID")
    if settings.client_id and secret and tenant:
        return ClientSecretCredential(
            tenant,
            settings.client_id,
            secret,
            authority=settings.authority,
            # Only Microsoft's own hosts are known to the discovery of instances.
            disable_instance_discovery=urlsplit(settings.authority).hostname not in _MICROSOFT,
            retry_total=0,
        )
    if settings.client_id:
        return ManagedIdentityCredential(client_id=settings.client_id)
    return DefaultAzureCredential(authority=settings.authority)


class Tokens:
    """Tokens by scope. Serves as the credential of the asynchronous SDKs too."""

    def __init__(self, make: Callable[[], "TokenCredential"], clock: Callable[[], float] = time.time) -> None:
        self._make = make
        self._clock = clock
        self._credential: TokenCredential | None = None
        self._kept: dict[str, AccessToken] = {}
        self._asking = asyncio.Lock()

    @property
    def credential(self) -> "TokenCredential":
        """For the synchronous SDKs."""
        if self._credential is None:
            self._credential = self._make()
        return self._credential

    async def token(self, scope: str) -> str:
        return (await self.get_token(scope)).token

    async def get_token(self, *scopes: str, **_options: Any) -> "AccessToken":
        scope = scopes[0]
        async with self._asking:  # one of many waiting asks, the others find its answer
            kept = self._kept.get(scope)
            if kept is None or kept.expires_on - _EARLY <= self._clock():
                kept = self._kept[scope] = await asyncio.to_thread(self._ask, scope)
            return kept

    def _ask(self, scope: str) -> "AccessToken":
        with LOADING:
            from azure.core.exceptions import ClientAuthenticationError

        with translating(_SIGNING_IN):
            try:
                return self.credential.get_token(scope)
            except ClientAuthenticationError as error:
                if _PASSING.search(str(error)):
                    raise TemporaryError(f"{_SIGNING_IN.what}: {one_line(str(error))}") from error
                raise

    async def close(self) -> None:
        """Nothing is held open; the SDKs expect the method."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()
