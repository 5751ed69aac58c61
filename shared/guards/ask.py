"""What a guard asks for, and how it rules. A guard is a script: it asks for state and is answered, so that the service (from
the shelf), a rule test and a rehearsal over recorded events (from memory) run the same one.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.record import WorkspaceRef


@dataclass(frozen=True, slots=True)
class Get:
    """The text on the shelf; None when there is none."""

    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Keeps it, unless something is there: answered by what is kept."""

    folder: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Swap:
    """Replaces `old` by `new`, None standing for nothing there: answered by whether `old` was there."""

    folder: str
    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Entries:
    """Names and texts of a folder, in the order of the names."""

    folder: str


@dataclass(frozen=True, slots=True)
class Ended:
    """When this job of ours, begun at `began`, ended, as far as anybody knows; None while it runs, or nobody knows."""

    job: str
    where: WorkspaceRef | None
    began: datetime


@dataclass(frozen=True, slots=True)
class Behind:
    """How many actions of ours lie behind the event: what its tags do not say, its lineage may."""


type Ask = Get | Keep | Swap | Entries | Ended | Behind
type Guarding[T] = Generator[Ask, Any, T]


@dataclass(frozen=True, slots=True)
class Go:
    """Now. `collected`: the records that the message is about, where it is about several. `total`: how many there were,
    more than are kept one by one. `held_back`: of the same kind, since the last one that went out. `wanted`: of a delivery,
    how many parts there shall be, and `total` how many there are. `note`: why, where that was a question.
    """

    collected: tuple[str, ...] = ()
    total: int = 0
    held_back: int = 0
    wanted: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Its time comes: ask again then."""

    until: datetime
    note: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Not to be done. `guard`: which kind of reason, for the digest."""

    guard: str
    note: str


@dataclass(frozen=True, slots=True)
class Collected:
    """It goes out in the message of the record `into`."""

    note: str
    into: str


@dataclass(frozen=True, slots=True)
class Held:
    """Not to be done, and a person hears of it; once for all with the same `once`, where it is given."""

    guard: str
    note: str
    once: str = ""


type Ruling = Go | Wait | Suppressed | Collected | Held


class Memory:
    """Answers from memory. `ended`: jobs, and when they ended; `behind`: what lies behind an event."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, str]] = {}
        self.ended: dict[str, datetime] = {}

    def run[T](self, script: Guarding[T], behind: int = 0) -> T:
        answer: Any = None
        try:
            while True:
                answer = self.answer(script.send(answer), behind)
        except StopIteration as end:
            result: T = end.value
            return result

    def answer(self, ask: Ask, behind: int = 0) -> object:
        match ask:
            case Get():
                return self.folders.get(ask.folder, {}).get(ask.name)
            case Keep():
                return self.folders.setdefault(ask.folder, {}).setdefault(ask.name, ask.text)
            case Swap():
                return self._swap(ask)
            case Entries():
                return sorted(self.folders.get(ask.folder, {}).items())
            case Ended():
                return self.ended.get(ask.job)
            case Behind():
                return behind

    def _swap(self, ask: Swap) -> bool:
        folder = self.folders.setdefault(ask.folder, {})
        if folder.get(ask.name) != ask.old:
            return False
        if ask.new is None:
            folder.pop(ask.name, None)
        else:
            folder[ask.name] = ask.new
        return True


type Found = Sequence[tuple[str, str]]
"""The answer to Entries."""
