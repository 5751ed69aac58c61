"""The book of rollouts: what they are about, how they stand, every step, what people said, whose turn it is, freezes. And
of silences, of who saw which event, and of which ones Event Grid had given up.

Everything lies on the world's shelf, so that both hosts and both stores keep it alike.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from shared.errors import PermanentError
from shared.events import DeadLetter
from shared.record import ACKS, DEAD_LETTERS, SILENCES, Ack, Comment, Silence, WorkspaceRef, held_by
from shared.rollout.record import ENDED, Freeze, Head, Rollout, Step, Word
from shared.world import Origin, Shelf

HEADS: Final = "rollouts"
FREEZES: Final = "freezes"
_OVER: Final = "silences-over"
"""Those that nobody needs to look through for each message any more."""

_ABOUT: Final = "about"
_HOLDER: Final = "holder"
_LAST: Final = 9_999_999_999
_SILENCE: Final = "null"
"""In the place of an answer: none came."""

_COMMENTS: Final = 20
_SILENCE_ID: Final = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}(-\d{1,3})?", re.ASCII)

_LOOKED_AT: Final = "looked-at"
"""Up to which name of each folder its texts were looked at that may go."""

_TEXTS: Final = 1000
_PAGES: Final = 50
"""Of so many texts are looked at in one go: what is kept for years may be millions."""

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
    return in_force(await all_freezes(shelf), now)


def in_force(freezes: Sequence[Freeze], now: datetime) -> Sequence[Freeze]:
    """Of these those in force, the one that ends last first."""
    found = (one for one in freezes if one.lifted is None and one.until > now)
    return sorted(found, key=lambda one: one.until, reverse=True)


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


# Silences


async def silences(shelf: Shelf, now: datetime) -> Sequence[Silence]:
    """Those in force, the one that ends first before the others."""
    in_force = (one for one in await _listed_silences(shelf, SILENCES) if one.in_force(now))
    return sorted(in_force, key=lambda one: (one.until, one.id))


async def all_silences(shelf: Shelf, *, limit: int = 500) -> Sequence[Silence]:
    """Those that are over too, the newest first."""
    rows = [*await _listed_silences(shelf, SILENCES), *await _listed_silences(shelf, _OVER, limit)]
    once = {one.id: one for one in reversed(rows)}
    return sorted(once.values(), key=lambda one: (one.began, one.id), reverse=True)[:limit]


async def _listed_silences(shelf: Shelf, folder: str, limit: int = 10_000) -> list[Silence]:
    return [msgspec.json.decode(text, type=Silence) for _, text in await shelf.all(folder, limit=limit)]


async def silence(shelf: Shelf, id_: str) -> Silence | None:
    found = await _find(shelf, id_)
    return None if found is None else msgspec.json.decode(found[2], type=Silence)


async def add_silence(shelf: Shelf, new: Silence) -> Silence:
    """The one of this id that is on record: the first account of it holds."""
    found = await silence(shelf, new.id)
    return found or msgspec.json.decode(await shelf.keep(SILENCES, new.id, _dump(new)), type=Silence)


async def expire(shelf: Shelf, id_: str, by: str, at: datetime) -> Silence:
    """Ends a silence, which stays on record. Raises PermanentError when none of this id is in force."""

    def expired(old: Silence) -> Silence:
        if not old.in_force(at):
            raise PermanentError(f"the silence {id_!r} is over already")
        return replace(old, expired=at, expired_by=by)

    return await _change(shelf, id_, expired)


async def comment(shelf: Shelf, id_: str, new: Comment) -> Silence:
    """Raises PermanentError when there is none of this id, or all that can be said of it was said."""

    def commented(old: Silence) -> Silence:
        if len(old.comments) >= _COMMENTS:
            raise PermanentError(f"the silence {id_!r} has {_COMMENTS} comments, and that is the limit")
        return replace(old, comments=(*old.comments, new))

    return await _change(shelf, id_, commented)


async def told_of_silence(shelf: Shelf, id_: str, *, warned: bool = False, reminded: int = 0) -> Silence:
    """Its owner was told: that it ends, or so many times that it stays."""
    return await _change(
        shelf,
        id_,
        lambda old: replace(old, warned=old.warned or warned, reminded=max(old.reminded, reminded)),
    )


async def put_away(shelf: Shelf, now: datetime) -> None:
    """Puts those that are over where nobody looks for each message."""
    for name, text in await shelf.all(SILENCES):
        one = msgspec.json.decode(text, type=Silence)
        if one.expired is not None or one.until <= now:
            await shelf.put(_OVER, _put_away(name), text)
            await shelf.swap(SILENCES, name, text, None)  # what was said meanwhile is put away the next time


async def held_back(shelf: Shelf, id_: str) -> int:
    """How many messages it held back; no more than ten thousand are counted."""
    return len(await shelf.all(held_by(id_)))


async def _change(shelf: Shelf, id_: str, change: Callable[[Silence], Silence]) -> Silence:
    while True:
        found = await _find(shelf, id_)
        if found is None:
            raise PermanentError(f"there is no silence {id_!r}")
        folder, name, text = found
        new = change(msgspec.json.decode(text, type=Silence))
        if await shelf.swap(folder, name, text, _dump(new)):
            return new


async def _find(shelf: Shelf, id_: str) -> tuple[str, str, str] | None:
    """Its folder, its name there, and its text."""
    if not _SILENCE_ID.fullmatch(id_):
        return None
    try:
        places = ((SILENCES, id_), (_OVER, _put_away(id_)))
    except ValueError:  # no such day
        return None
    for folder, name in places:
        text = await shelf.get(folder, name)
        if text is not None:
            return folder, name, text
    return None


def silence_id(at: datetime, about: str) -> str:
    """Begins with its time: ids sort by it, and tell where a silence that is over lies."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%S}-{sha256(about.encode(errors='replace')).hexdigest()[:8]}"


def _put_away(id_: str) -> str:
    """Its name among those that are over: the newest first."""
    moment = datetime.strptime(id_[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return f"{_LAST - int(moment.timestamp()):010d}-{id_}"


# Who saw what


async def acknowledge(shelf: Shelf, record: str, new: Ack) -> Ack:
    """The acknowledgement that is on record: the first one counts."""
    return msgspec.json.decode(await shelf.keep(ACKS, record, _dump(new)), type=Ack)


async def acknowledged(shelf: Shelf, record: str) -> Ack | None:
    text = await shelf.get(ACKS, record)
    return None if text is None else msgspec.json.decode(text, type=Ack)


# What Event Grid had given up


async def dead_letter(shelf: Shelf, record: str) -> DeadLetter | None:
    """Why Event Grid had given up this event; None where it did not, or nothing of it was brought back yet."""
    text = await shelf.get(DEAD_LETTERS, record)
    return None if text is None else msgspec.json.decode(text, type=DeadLetter)


async def note_dead_letter(shelf: Shelf, record: str, new: DeadLetter) -> None:
    await shelf.put(DEAD_LETTERS, record, _dump(new))


# Forgetting


async def forget(shelf: Shelf, folder: str, is_over: Callable[[str], bool]) -> None:
    """Forgets the texts of a folder that are over. It looks at so many in one go, and begins where the last one ended."""
    began = await shelf.get(_LOOKED_AT, folder) or ""
    after = began
    for _ in range(_PAGES):
        rows = await shelf.all(folder, after=after, limit=_TEXTS)
        for name, text in rows:
            if is_over(text):
                await shelf.swap(folder, name, text, None)
        after = rows[-1][0] if len(rows) == _TEXTS else ""
        if not after:
            break
    if after != began:
        await shelf.put(_LOOKED_AT, folder, after)
