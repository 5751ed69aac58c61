"""What was started is followed to its end: by event where one comes, by patient polling where none does.

The account stands on the shelf, and a message on the queue asks for the next look. Each look has a number: a message for
another one is out of date, so that two chains of looks become one.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from shared import messages, wire
from shared.actions import Context, discover
from shared.actions._text import clip, line, name_of
from shared.answers import everything
from shared.errors import PermanentError, TemporaryError
from shared.events import OWN, Event, Run
from shared.record import ENDS, FOLLOWED, FOLLOWED_JOBS, Followed, Intent, IntentRecord, Progress, Result, Seen, State
from shared.rollout.hours import written
from shared.world import World

log: Final = logging.getLogger("switchyard")

START_WITHIN: Final = 1800.0
"""Seconds in which what was started should begin, where a rule says nothing else."""

_PAUSES: Final = (30.0, 30.0, 60.0, 60.0, 120.0, 300.0, 600.0)
"""Between the looks; the last one stays."""

_SOON: Final = 30.0
_LONGEST_PAUSE: Final = 6 * 86_400.0
"""A storage queue hides a message for a week at the most."""

_UNFOUND: Final = timedelta(minutes=10)
"""How long something may be unknown to the far side, which may not have heard of it everywhere yet."""

_LOST: Final = timedelta(hours=1)
"""Behind its time, after which a look is taken to be forgotten."""

_HISTORY: Final = 20
_SAID: Final = 1000
_TERMINAL: Final = frozenset({"Completed", "Failed", "Canceled"})
_STATUS: Final[Mapping[State, str]] = {"succeeded": "Completed", "failed": "Failed", "canceled": "Canceled"}

type Answer = Progress | TemporaryError | PermanentError


@dataclass(frozen=True)
class Step:
    """What follows from a look: the account as it is now, what is raised, and in how many seconds the next look is due; None: it has
    ended.
    """

    account: Followed
    raised: tuple[Event, ...] = ()
    wait: float | None = None


async def begin(intent: Intent, context: Context, result: Result, limit: float) -> None:
    """Puts down what an intent has just started, and asks for the first look. Before the intent is settled: killed in between, it is
    done again under the same key, and its account goes on.
    """
    world, event, facts, terms = context.world, context.event, context.facts, intent.terms
    handle, now = result.follow or {}, world.clock()
    new = Followed(
        key=intent.key,
        record=intent.event,
        rule=intent.rule,
        action=intent.action,
        about=clip(line(str(handle.get("about") or _about(intent))), 120),
        began=now,
        handle=handle,
        cause=dict(context.cause),
        behind=replace(event, data={}, properties={}),
        because=messages.titled(event, facts, "en"),
        because_ja=messages.titled(event, facts, "ja"),
        tell=terms.tell if terms else "",
        start_within=(terms.start_within if terms else 0.0) or START_WITHIN,
        progress=Progress("queued", clip(result.said, _SAID), result.link, result.values),
    )
    shelf, name = world.shelf, _name(intent.key)
    while True:
        text = await shelf.get(FOLLOWED, name)
        old = None if text is None else wire.load(Followed, text)
        if old is not None:
            # An earlier try has begun it; or it has ended, and a replay started it once more.
            again = old.ended is not None
            new = replace(new, n=old.n + 1, times=old.times + again, began=now if again else old.began)
        pause = _pause(new, now, limit)
        if await shelf.swap(FOLLOWED, name, text, wire.dump(replace(new, due=now + timedelta(seconds=pause)))):
            break
    await _index(world, new)
    await world.queue.put([wire.dump(wire.Follow(intent.key, new.n))], delay=pause)


def _about(intent: Intent) -> str:
    pipeline = intent.terms.pipeline if intent.terms else ""
    return f"{intent.action} {pipeline}".strip()


def _name(key: str) -> str:
    return name_of(key, 100)


async def _index(world: World, account: Followed) -> None:
    """By the job's name, for the events about it. The time stands first, by which it is put away."""
    job = _job(account.handle)
    if job:
        await world.shelf.put(FOLLOWED_JOBS, name_of(job, 100), f"{account.began.isoformat()} {account.key}")


def _job(handle: Mapping[str, object]) -> str:
    """The job of Azure ML that it is; "" where it is something else."""
    return str(handle.get("job") or "") if handle.get("workspace") else ""


async def account_of(world: World, key: str) -> Followed | None:
    """Of what this intent started; None where nothing goes on, or it is long over."""
    text = await world.shelf.get(FOLLOWED, _name(key))
    return None if text is None else wire.load(Followed, text)


async def accounts(world: World, intents: Iterable[IntentRecord]) -> dict[str, Followed]:
    """Of these intents, those that started something which is followed, by their keys."""
    keys = [one.intent.key for one in intents if one.result is not None and one.result.follow is not None]
    found = await asyncio.gather(*(account_of(world, key) for key in keys))
    return {one.key: one for one in found if one is not None}


async def hear(world: World, event: Event) -> None:
    """An event that tells the end of a run: where that is a job of ours, the next look comes at once."""
    run = event.run
    if run is None or not (event.type == "RunCompleted" or run.status in _TERMINAL) or event.raw_type.startswith(OWN):
        return
    text = await world.shelf.get(FOLLOWED_JOBS, name_of(run.id, 100))
    account = None if text is None else await account_of(world, text.partition(" ")[2])
    if account is None or account.ended is not None or not _there(account.handle, event):
        return
    await world.queue.put([wire.dump(wire.Follow(account.key, account.n, soon=True))])


def _there(handle: Mapping[str, object], event: Event) -> bool:
    """Names of jobs are unique in their workspace only."""
    return str(handle.get("workspace")).casefold() == (event.workspace or "").casefold()


async def look(world: World, message: wire.Follow, limit: float) -> Followed | None:
    """The look that this message asks for; None where it is out of date. `limit`: in seconds, how long something is followed.

    What follows is raised, and the next look asked for, before the account says so: killed in between, it all comes again, under
    the same ids and the same number.
    """
    text = await world.shelf.get(FOLLOWED, _name(message.key))
    account = None if text is None else wire.load(Followed, text)
    if account is None or account.ended is not None or account.n != message.n:
        return None
    step = advanced(account, await _seen(world, account), world.clock(), limit, soon=message.soon)
    for event in step.raised:
        await world.queue.put(wire.pack(wire.Arrived(event, world.clock())))
    if step.account.handle != account.handle:
        await _index(world, step.account)
    if step.wait is not None:
        await world.queue.put([wire.dump(wire.Follow(account.key, step.account.n))], delay=step.wait)
    swapped = await world.shelf.swap(FOLLOWED, _name(message.key), text, wire.dump(step.account))
    return step.account if swapped else None


async def _seen(world: World, account: Followed) -> Answer:
    action = discover().get(account.action)
    if action is None or action.look is None:
        return PermanentError(f"this version cannot follow {account.action!r}")
    try:
        return await action.look(account.handle, account.began, world)
    except (TemporaryError, PermanentError) as error:
        return error
    except Exception as error:
        # A bug must neither end the following at once nor go on for ever. Its type only: its words may hold anything.
        log.exception("could not look how something stands", extra={"key": account.key, "action": account.action})
        return PermanentError(f"our own fault ({type(error).__name__}), the log says where")


def advanced(account: Followed, answer: Answer, now: datetime, limit: float, *, soon: bool = False) -> Step:
    """What follows from this answer, now. Pure."""
    seen, trouble, lost = _read(account, answer, now)
    if seen.state not in ENDS and now >= account.began + timedelta(seconds=limit):
        said = f"has not ended within {written(limit)}; last known: {seen.said or seen.state}"
        seen = replace(seen, state="unknown", said=clip(said, _SAID))
    old = account.progress
    history = account.history
    if old is None or not history or seen.state != history[-1].state:
        history = (*history, Seen(now, seen.state, clip(seen.said, 300)))[-_HISTORY:]
    new = replace(
        account,
        n=account.n + 1,
        handle=seen.follow or account.handle,
        progress=replace(seen, follow=None),
        at=now,
        history=history,
        trouble=trouble,
        lost=lost,
    )
    if seen.state in ENDS:
        ended = min(max(seen.ended or now, account.began), now)
        new = replace(new, ended=ended, due=None)
        told = not seen.quiet or account.tell
        return Step(new, (_ended(new, ended),) if told else ())
    raised: tuple[Event, ...] = ()
    begun = any(one.state != "queued" for one in history)
    if seen.state == "queued" and not begun and account.late is None and now >= _start(account):
        new = replace(new, late=now)
        raised = (_never_started(new, now),)
    asked = answer.retry_after if isinstance(answer, TemporaryError) else None
    wait = _pause(new, now, limit, asked, soon=soon)
    return Step(replace(new, due=now + timedelta(seconds=wait)), raised, wait)


def _read(account: Followed, answer: Answer, now: datetime) -> tuple[Progress, str, datetime | None]:
    """How it stands, what was in the way of seeing it, and since when nobody knows it."""
    old = account.progress or Progress("queued", "")
    if isinstance(answer, Progress):
        values, link = {**old.values, **answer.values}, answer.link or old.link
        return replace(answer, said=clip(answer.said, _SAID), values=values, link=link), "", None
    trouble = clip(line(str(answer)), _SAID)
    if isinstance(answer, TemporaryError):
        return old, trouble, account.lost
    lost = account.lost or now
    if now - lost < _UNFOUND:
        return old, trouble, lost
    return replace(old, state="unknown", said=clip(f"nobody can tell any more: {trouble}", _SAID)), trouble, lost


def _start(account: Followed) -> datetime:
    return account.began + timedelta(seconds=account.start_within or START_WITHIN)


def _pause(account: Followed, now: datetime, limit: float, asked: float | None = None, *, soon: bool = False) -> float:
    """Seconds until the next look: longer and longer, as long as the far side asks, and there when something is to be noticed."""
    pause = _SOON if soon else _PAUSES[min(account.n, len(_PAUSES) - 1)]
    state = account.progress.state if account.progress else "queued"
    marks = [account.began + timedelta(seconds=limit)]
    marks += [_start(account)] if state == "queued" and account.late is None else []
    left = [(mark - now).total_seconds() for mark in marks if mark > now]
    return min(max(min([pause, *left]), asked or 0.0, 1.0), _LONGEST_PAUSE)


def _ended(account: Followed, at: datetime) -> Event:
    progress = account.progress
    assert progress is not None
    kind = "ActionCompleted" if progress.state == "succeeded" else "ActionFailed"
    return _event(account, kind, "ended", at, {"said": progress.said, "took": (at - account.began).total_seconds()})


def _never_started(account: Followed, now: datetime) -> Event:
    progress = account.progress
    assert progress is not None
    within = written(account.start_within or START_WITHIN)
    said = f"has not started within {within}{f': {progress.said}' if progress.said else ''}"
    return _event(account, "ActionFailed", "never-started", now, {"said": said})


def _event(account: Followed, kind: str, what: str, at: datetime, said: Mapping[str, object]) -> Event:
    """Under an id of its own: raised twice it is one."""
    behind, handle, progress = account.behind, account.handle, account.progress
    assert progress is not None
    job = _job(handle)
    place = {name: str(handle.get(name) or "") for name in ("subscription", "resource_group", "workspace")}
    if not all(place.values()):
        place = {name: getattr(behind, name) or "" for name in place}
    run = behind.run
    if job:
        experiment = handle.get("experiment")
        run = Run(
            job,
            status=_STATUS.get(progress.state),
            experiment=str(experiment) if experiment else None,
            is_child=False,
        )
    data: dict[str, object] = {
        "action": account.action,
        "rule": account.rule,
        "state": progress.state,
        **said,
        "about": account.about,
        "link": progress.link,
        "began": account.began.isoformat(),
        "key": account.key,
        "record": account.record,
        "event_type": behind.type,
        "because": account.because,
        "because_ja": account.because_ja,
        "values": progress.values,
        "tell": account.tell,
    }
    if kind == "ActionFailed":
        data["reason"] = said["said"]
    again = f"-{account.times}" if account.times else ""
    return Event(
        id=f"{account.key}-{what}{again}",
        type=kind,
        raw_type=f"{OWN}{kind}",
        time=at,
        source=behind.source,
        subject=behind.subject,
        workspace=place["workspace"] or None,
        resource_group=place["resource_group"] or None,
        subscription=place["subscription"] or None,
        tags={**behind.tags, **account.cause},
        run=run,
        model=behind.model,
        # What is missing is absent, as everywhere in an event.
        data={name: value for name, value in data.items() if value not in (None, "", {})},
    )


async def remind(world: World) -> int:
    """Asks again for looks whose message was lost; how many."""
    now, found = world.clock(), 0
    for name, text in await everything(world.shelf, FOLLOWED):
        try:
            account = wire.load(Followed, text)
        except PermanentError:
            log.warning("an account of another version cannot be read", extra={"account": name})
            continue
        if account.ended is None and (account.due or account.began) + _LOST < now:
            await world.queue.put([wire.dump(wire.Follow(account.key, account.n))])
            found += 1
    return found
