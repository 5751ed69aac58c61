"""The book of rollouts: what they are about, how they stand, every step, what people said, whose turn it is, freezes.

Everything lies on the world's shelf, so that both hosts and both stores keep it alike.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from shared.errors import PermanentError
from shared.record import WorkspaceRef
from shared.rollout.record import ENDED, Freeze, Head, Rollout, Step, Word
from shared.world import Origin, Shelf

HEADS: Final = "rollouts"
FREEZES: Final = "freezes"
_ABOUT: Final = "about"
_HOLDER: Final = "holder"
_LAST: Final = 9_999_999_999
_SILENCE: Final = "null"
"""In the place of an answer: none came."""

_json: Final = msgspec.json.Encoder()


def _dump(value: object) -> str:
    return _json.encode(value).decode()


def _steps(rollout: str) -> str:
    return f"rollout-{rollout}-steps"


def _words(rollout: str) -> str:
    return f"rollout-{rollout}-words"


def _answer(ask: int) -> str:
    return f"ask-{ask:06d}"


def _home(rollout: str) -> str:
    return f"rollout-{rollout}"


def _listed(rollout: Rollout) -> str:
    """Its name in the list: the newest first."""
    return f"{_LAST - int(rollout.at.timestamp()):010d}-{rollout.id}"


# Rollouts


async def begin(shelf: Shelf, rollout: Rollout) -> Rollout:
    """Opens its account; the one of this id that was there before, if there is one."""
    kept = msgspec.json.decode(await shelf.keep(_home(rollout.id), _ABOUT, _dump(rollout)), type=Rollout)
    head = Head(
        kept.id,
        kept.policy.name,
        kept.endpoint,
        kept.where.workspace,
        kept.model,
        kept.version,
        kept.at,
        "checking",
        subscription=kept.where.subscription,
        resource_group=kept.where.resource_group,
        restores=kept.restores,
    )
    await shelf.keep(HEADS, _listed(kept), _dump(head))
    return kept


async def rollout(shelf: Shelf, id_: str) -> Rollout | None:
    text = await shelf.get(_home(id_), _ABOUT)
    return None if text is None else msgspec.json.decode(text, type=Rollout)


async def head(shelf: Shelf, about: Rollout) -> Head:
    text = await shelf.get(HEADS, _listed(about))
    if text is None:  # begun and killed before it was listed
        await begin(shelf, about)
        return await head(shelf, about)
    return msgspec.json.decode(text, type=Head)


async def put_head(shelf: Shelf, about: Rollout, new: Head) -> None:
    await shelf.put(HEADS, _listed(about), _dump(new))


async def change_head(shelf: Shelf, about: Rollout, old: Head, new: Head) -> bool:
    """False, and nothing is put, when it is not `old` any more."""
    text = await shelf.get(HEADS, _listed(about))
    same = text is not None and msgspec.json.decode(text, type=Head) == old
    return same and await shelf.swap(HEADS, _listed(about), text, _dump(new))


async def heads(shelf: Shelf, *, after: str = "", limit: int = 100) -> list[tuple[str, Head]]:
    """Newest first, each with its place in the list, which is `after` of the next page."""
    rows = await shelf.all(HEADS, after=after, limit=limit)
    return [(name, msgspec.json.decode(text, type=Head)) for name, text in rows]


async def steps(shelf: Shelf, id_: str) -> list[Step]:
    """In order; they have no gaps."""
    rows = list(await shelf.all(_steps(id_)))
    while rows and (more := await shelf.all(_steps(id_), after=rows[-1][0])):
        rows += more
    return [msgspec.json.decode(text, type=Step) for _, text in rows]


async def step(shelf: Shelf, id_: str, n: int) -> Step | None:
    text = await shelf.get(_steps(id_), f"{n:06d}")
    return None if text is None else msgspec.json.decode(text, type=Step)


async def keep_step(shelf: Shelf, id_: str, new: Step) -> Step:
    """The step as it is on record: the first account of it holds."""
    return msgspec.json.decode(await shelf.keep(_steps(id_), f"{new.n:06d}", _dump(new)), type=Step)


async def note(shelf: Shelf, id_: str, name: str, text: str) -> str:
    """A fact beside the steps, kept once: the name of a job that was started, a timer that was set."""
    return await shelf.keep(_home(id_), name, text)


async def noted(shelf: Shelf, id_: str, name: str) -> str | None:
    return await shelf.get(_home(id_), name)


async def keep_origin(shelf: Shelf, id_: str, origin: Origin) -> None:
    await shelf.keep(_home(id_), "origin", _dump(origin))


async def origin(shelf: Shelf, id_: str) -> Origin | None:
    text = await shelf.get(_home(id_), "origin")
    return None if text is None else msgspec.json.decode(text, type=Origin)


# People


async def say(shelf: Shelf, id_: str, word: Word, of: str = "") -> None:
    """Puts a word down for the rollout to hear. `of`: what an override is about; each person says it once of each.

    Raises PermanentError when its question has been answered, or the same was said before: the first word counts.
    """
    if word.ask is not None:
        slot = _answer(word.ask)
    elif word.verb == "override":
        slot = f"override-{sha256(f'{word.by.strip().casefold()} {of}'.encode()).hexdigest()[:12]}"
    else:
        slot = word.verb
    text = await shelf.keep(_words(id_), slot, _dump(word))
    if text == _SILENCE:
        raise PermanentError("this question is closed: nobody answered it in time")
    kept = msgspec.json.decode(text, type=Word)
    if kept != word:
        moment = f"{kept.at:%Y-%m-%d %H:%M} UTC"
        what = "this question was answered" if word.ask is not None else f"{word.verb!r} was said"
        raise PermanentError(f"{what} already, by {kept.by} at {moment}: {kept.verb}")


async def close(shelf: Shelf, id_: str, ask: int) -> None:
    """From here on nobody can answer this question; an answer that came before stays."""
    await shelf.keep(_words(id_), _answer(ask), _SILENCE)


async def words(shelf: Shelf, id_: str) -> list[Word]:
    """Everything that was said, oldest first."""
    rows = await shelf.all(_words(id_))
    said = (msgspec.json.decode(text, type=Word) for _, text in rows if text != _SILENCE)
    return sorted(said, key=lambda word: word.at)


# Turns: one rollout at a time


def _turn(where: WorkspaceRef, endpoint: str) -> str:
    name = f"{where.subscription}/{where.resource_group}/{where.workspace}/{endpoint}".casefold()
    return f"turn-{sha256(name.encode()).hexdigest()[:24]}"


async def take_turn(shelf: Shelf, about: Rollout) -> str:
    """Who has the endpoint now: this rollout, if nobody had it and nobody waits for longer. It survives a kill."""
    folder = _turn(about.where, about.endpoint)
    mine = f"{about.at.timestamp():017.6f}-{about.id}"
    await shelf.keep(folder, mine, about.id)
    holder = await shelf.get(folder, _HOLDER)
    if holder is not None:
        return holder
    for name, id_ in await shelf.all(folder):
        if name in {mine, _HOLDER}:
            break
        if id_ and not await _ended(shelf, id_):
            return id_
    return about.id if await shelf.swap(folder, _HOLDER, None, about.id) else await take_turn(shelf, about)


async def leave(shelf: Shelf, about: Rollout) -> str | None:
    """Gives the endpoint back; the id of the rollout that has waited longest, if one waits."""
    folder = _turn(about.where, about.endpoint)
    await shelf.swap(folder, f"{about.at.timestamp():017.6f}-{about.id}", about.id, None)
    await shelf.swap(folder, _HOLDER, about.id, None)
    waiting = [id_ for name, id_ in await shelf.all(folder) if name != _HOLDER and id_ != about.id]
    return waiting[0] if waiting else None


async def _ended(shelf: Shelf, id_: str) -> bool:
    about = await rollout(shelf, id_)
    return about is None or (await head(shelf, about)).status in ENDED


# Freezes


async def freezes(shelf: Shelf, now: datetime) -> Sequence[Freeze]:
    """Those in force, the one that ends last first."""
    in_force = (one for one in await all_freezes(shelf) if one.lifted is None and one.until > now)
    return sorted(in_force, key=lambda one: one.until, reverse=True)


async def all_freezes(shelf: Shelf) -> Sequence[Freeze]:
    """Those that are over too: all that ever were, the newest first."""
    rows = [msgspec.json.decode(text, type=Freeze) for _, text in await shelf.all(FREEZES)]
    return sorted(rows, key=lambda one: one.began, reverse=True)


async def freeze(shelf: Shelf, new: Freeze) -> None:
    await shelf.put(FREEZES, new.id, _dump(new))


async def lift(shelf: Shelf, id_: str, by: str, at: datetime) -> Freeze:
    """Ends a freeze, which stays on record. Raises PermanentError when none of this id is in force."""
    text = await shelf.get(FREEZES, id_)
    old = None if text is None else msgspec.json.decode(text, type=Freeze)
    if old is None or old.lifted is not None or old.until <= at:
        raise PermanentError(f"there is no freeze {id_!r}" if old is None else f"the freeze {id_!r} is over already")
    lifted = replace(old, lifted=at, lifted_by=by)
    if not await shelf.swap(FREEZES, id_, text, _dump(lifted)):
        return await lift(shelf, id_, by, at)
    return lifted
