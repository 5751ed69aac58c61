"""What the web app needs of the service."""

from typing import TYPE_CHECKING, Protocol

from shared.rollout.record import Verb
from shared.settings import Settings
from shared.world import World

if TYPE_CHECKING:  # the rule compiler is heavy, and nothing here needs it before the first page
    from shared.rules.load import Loaded


class Desk(Protocol):
    @property
    def world(self) -> World: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def loaded(self) -> "Loaded":
        """The configuration in force."""

    async def replay(self, record: str) -> None:
        """PermanentError when it cannot be."""

    async def say(  # noqa: PLR0917 (a sentence: who says what to which rollout, why, how, and to which question)
        self, rollout: str, verb: Verb, by: str, reason: str, via: str, ask: int | None = None
    ) -> None:
        """PermanentError, with the reason, when it cannot be heard."""

    @property
    def inbox(self) -> bool:
        """Whether there is a simulated inbox at /inbox to link to."""
