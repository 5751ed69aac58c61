"""Answers what a guard asks, from the world."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec

from shared import book, chain
from shared.actions.arrived import FOLDER as ARRIVED
from shared.errors import MissingError, PermanentError
from shared.events import Event
from shared.guards.ask import Ask, Behind, Ended, Entries, Get, Guarding, Keep, Swap
from shared.guards.escalation import FIRST, said_at
from shared.guards.throttle import ACCOUNTS, expired
from shared.record import FOLLOWED, FOLLOWED_JOBS, Followed, WorkspaceRef
from shared.world import Shelf, World

CAUSED: Final = "caused"
"""What led to a job of ours, by its name: the models that it registers do not say it."""

_OVER: Final = frozenset({"Completed", "Failed", "Canceled"})
_LOST: Final = timedelta(minutes=30)
"""After which a job that was to be submitted, and that nobody knows, has not been."""


class Caused(msgspec.Struct, frozen=True):
    depth: int
    event: str
    rule: str
    at: datetime


async def answered[T](script: Guarding[T], world: World, event: Event | None = None) -> T:
    """Runs the script to its end. `event`: what it is about. Raises what the world raises."""
    answer: Any = None
    try:
        while True:
            answer = await _answer(script.send(answer), world, event)
    except StopIteration as end:
        result: T = end.value
        return result


async def _answer(ask: Ask, world: World, event: Event | None) -> object:
    match ask:
        case Get():
            return await world.shelf.get(ask.folder, ask.name)
        case Keep():
            return await world.shelf.keep(ask.folder, ask.name, ask.text)
        case Swap():
            return await world.shelf.swap(ask.folder, ask.name, ask.old, ask.new)
        case Entries():
            return await everything(world.shelf, ask.folder)
        case Ended():
            return await _ended(ask, world)
        case Behind():
            return 0 if event is None else await behind(world, event)


async def everything(shelf: Shelf, folder: str) -> Sequence[tuple[str, str]]:
    rows = list(await shelf.all(folder))
    while rows and (more := await shelf.all(folder, after=rows[-1][0])):
        rows += more
    return rows


async def _ended(ask: Ended, world: World) -> datetime | None:
    now = world.clock()
    if ask.where is None:
        return None
    try:
        job = await world.platform.job(ask.where, ask.job)
    except MissingError:
        return now if now > ask.began + _LOST else None
    except PermanentError:
        return None  # nobody knows, which is not "ended"
    if job.status not in _OVER:
        return None
    return datetime.fromisoformat(job.ended) if job.ended else now


async def caused(world: World, job: str, about: Caused) -> None:
    """Puts down what a job is started for, before it is."""
    await world.shelf.keep(CAUSED, job, msgspec.json.encode(about).decode())


async def put_away(world: World, before: datetime) -> None:
    """Forgets the accounts that nobody will ask for again, a part of each folder at a time."""
    ended: dict[str, Callable[[str], bool]] = {
        **{folder: partial(expired, folder, before=before) for folder in ACCOUNTS},
        CAUSED: lambda text: msgspec.json.decode(text, type=Caused).at < before,
        ARRIVED: lambda text: text < before.isoformat(),
        FIRST: lambda text: said_at(text) < before.isoformat(),
        FOLLOWED: lambda text: _followed(text, before),
        FOLLOWED_JOBS: lambda text: text < before.isoformat(),
    }
    for folder, is_over in ended.items():
        await book.forget(world.shelf, folder, is_over)


def _followed(text: str, before: datetime) -> bool:
    ended = msgspec.json.decode(text, type=Followed).ended
    return ended is not None and ended < before


async def cause_of(world: World, event: Event) -> Caused | None:
    """What of ours lies behind an event whose tags do not say it: its run, or the run that made its model, or their parent is
    a job that we started. Raises TemporaryError while it cannot be asked.
    """
    for run in await _runs(world, event):
        text = await world.shelf.get(CAUSED, run)
        if text is not None:
            return msgspec.json.decode(text, type=Caused)
    return None


async def behind(world: World, event: Event) -> int:
    found = await cause_of(world, event)
    if found is None:
        return 0
    await chain.note_lineage(world.shelf, event, found.event)
    return found.depth


async def _runs(world: World, event: Event) -> list[str]:
    run = event.run
    if run is not None:
        return [name for name in (run.id, run.parent) if name and len(name) <= _LONGEST]
    if event.model is None or not (event.subscription and event.resource_group and event.workspace):
        return []
    where = WorkspaceRef(event.subscription, event.resource_group, event.workspace)
    try:
        origin = await world.serving.origin(where, event.model.name, event.model.version)
        if origin is None or origin.run is None:
            return []
        job = await world.platform.job(where, origin.run)
    except PermanentError:
        return []
    return [name for name in (origin.run, job.parent) if name and len(name) <= _LONGEST]


_LONGEST: Final = 100
"""Characters of a name on the shelf."""
