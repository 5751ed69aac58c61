"""What the web app needs of the service."""

from typing import TYPE_CHECKING, Protocol

from shared.world import World

if TYPE_CHECKING:  # the rule compiler is heavy, and nothing here needs it before the first page
    from shared.rules.load import Loaded


class Desk(Protocol):
    @property
    def world(self) -> World: ...

    @property
    def loaded(self) -> "Loaded":
        """The configuration in force."""

    async def replay(self, record: str) -> None:
        """PermanentError when it cannot be."""

    @property
    def inbox(self) -> bool:
        """Whether there is a simulated inbox at /inbox to link to."""
