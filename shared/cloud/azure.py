"""Signing in to Azure's REST interfaces, and where they are."""

from dataclasses import dataclass

from shared.cloud.credentials import Tokens
from shared.settings import Settings


@dataclass(frozen=True)
class AzureRest:
    """Implements `world.Azure`."""

    settings: Settings
    tokens: Tokens

    async def token(self, scope: str) -> str:
        return await self.tokens.token(scope)

    @property
    def manager(self) -> str:
        return self.settings.resource_manager

    @property
    def devops(self) -> str:
        return self.settings.devops

    def synapse(self, workspace: str) -> str:
        return _below(self.settings.synapse_suffix, workspace)

    def event_hubs(self, namespace: str) -> str:
        return _below(self.settings.event_hubs_suffix, namespace)


def _below(suffix: str, name: str) -> str:
    """A suffix that is an address itself, as the simulated Azure sets it, has the names as its folders."""
    return f"{suffix}/{name}" if suffix.startswith("https://") else f"https://{name}.{suffix}"
