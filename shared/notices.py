"""What the service notices by itself and tells of: the digest of what was held back, rules that went quiet, edits to look at.

Each is an event of our own under a fixed id, so that raising it twice is raising it once.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from shared import archive, versions, wire
from shared.answers import everything
from shared.bounds import DEFAULTS, Bounds
from shared.events import OWN, Event
from shared.perform import HELD_BACK, HeldBack
from shared.record import EventRecord
from shared.rehearsal.impact import Comparison, Flag, Replay, impact
from shared.rules import silent
from shared.rules.config import Config
from shared.rules.load import Loaded, load_texts
from shared.rules.plan import Rules
from shared.versions import Version
from shared.world import World

SOURCE: Final = "/switchyard"

_DIGEST: Final = "digest"
_LAST: Final = "last"
_OLDEST: Final = 14
"""Days that a digest looks back, after the service was stopped for long."""

_GROUPS: Final = 20
_GUARDS: Final = {
    "throttle": "頻度制限",
    "calendar": "時間帯",
    "silence": "サイレンス",
    "acknowledged": "対応済み",
    "escalation": "初回通知なし",
    "cooldown": "クールダウン",
    "concurrency": "同時実行数",
    "worth": "再学習の効果",
}
_WATCH: Final = ("watch", "state")

_LOOKED_BACK: Final = timedelta(days=7)
_AT_ONCE: Final = 1_000
_MOST: Final = 20_000
"""Events that an edit is rehearsed on in the service; `switchyard impact` takes any number."""

_FLAGGED: Final = {
    "lost": "通知するルールがなくなる宛先",
    "silent": "通知が届かなくなる宛先",
    "multiplied": "通知が大幅に増える宛先",
    "starts": "新たに起動される処理",
    "starts no more": "起動されなくなる処理",
}


async def tell(world: World, kind: str, name: str, subject: str, data: Mapping[str, object]) -> None:
    now = world.clock()
    event = Event(name, kind, now, SOURCE, subject, f"{OWN}{kind}", data=dict(data))
    await world.queue.put(wire.pack(wire.Arrived(event, now)))


# The digest


async def digest(world: World, config: Config, now: datetime) -> int:
    """Once a day, at `defaults.digest`: what was suppressed since the last one; how many. Nothing was: nobody is bothered."""
    there = now.astimezone(ZoneInfo(config.defaults.time_zone))
    at = config.defaults.digest
    if at is None or there.hour * 60 + there.minute < at:
        return 0
    shelf, today = world.shelf, there.date()
    kept = await shelf.get(_DIGEST, _LAST)
    last = datetime.fromisoformat(kept) if kept else now - timedelta(days=1)
    if kept and last.astimezone(ZoneInfo(config.defaults.time_zone)).date() >= today:
        return 0
    rows = await _held_back(world, last, now)
    if rows:
        data = _summed([row for _, _, row in rows], last)
        await tell(world, "Digest", f"digest-{today:%Y%m%d}", "digest", data)
    if not await shelf.swap(_DIGEST, _LAST, kept, now.isoformat()):
        return 0  # another worker has told it, under the same id
    for folder, name, row in rows:
        await shelf.swap(folder, name, wire.dump(row), None)
    return len(rows)


async def _held_back(world: World, since: datetime, now: datetime) -> list[tuple[str, str, HeldBack]]:
    """With the folder and the name of each."""
    first = max(since.date(), now.date() - timedelta(days=_OLDEST))
    rows = []
    for n in range((now.date() - first).days + 1):
        folder = f"{HELD_BACK}-{first + timedelta(days=n):%Y%m%d}"
        rows += [(folder, name, wire.load(HeldBack, text)) for name, text in await everything(world.shelf, folder)]
    return rows


def _summed(rows: Sequence[HeldBack], since: datetime) -> dict[str, object]:
    counted = Counter((row.rule, row.guard, row.receiver) for row in rows)
    groups = [
        {"rule": rule, "guard": guard, "guard_ja": _GUARDS.get(guard, guard), "receiver": receiver, "count": count}
        for (rule, guard, receiver), count in sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    ]
    more = len(groups) - _GROUPS
    return {
        "total": len(rows),
        "since": since.isoformat(),
        "groups": groups[:_GROUPS],
        **({"more": f"{more}"} if more > 0 else {}),
    }


# Rules that went quiet


async def watch(world: World, rules: Rules, records: Sequence[EventRecord]) -> None:
    """Takes decided events into account, oldest first."""
    while True:
        text = await world.shelf.get(*_WATCH)
        seen = silent.watched(_read(text), records, rules)
        if await world.shelf.swap(*_WATCH, text, wire.dump(seen)):
            return


async def tell_silent(world: World, rules: Rules, now: datetime) -> list[str]:
    """The rules that are quiet for too long; whoever is to hear of it is told once."""
    text = await world.shelf.get(*_WATCH)
    seen = _read(text)
    quiet = silent.silent(seen, rules, now)
    for one in quiet:
        data: dict[str, object] = {
            "rule": one.rule.name,
            "file": one.rule.file,
            "last": one.history.last.isoformat(),
            "longest": one.history.longest,
            "quiet": one.quiet,
            "fired": one.history.fired,
            "cause": one.cause,
            "cause_ja": one.cause_ja,
        }
        name = f"silent-{one.rule.name}-{one.history.last:%Y%m%dT%H%M%S}"
        await tell(world, "RuleSilent", name, f"rules/{one.rule.name}", data)
    if quiet:
        marked = silent.told(seen, [one.rule.name for one in quiet])
        await world.shelf.swap(
            *_WATCH, text, wire.dump(marked)
        )  # if not: the next look tells it again, under the same id
    return [one.rule.name for one in quiet]


def _read(text: str | None) -> silent.Watched:
    """What an older version has kept may not be read any more: then it begins anew."""
    if text is None:
        return silent.Watched()
    try:
        return msgspec.json.decode(text, type=silent.Watched)
    except msgspec.MsgspecError:
        return silent.Watched()


# Edits


async def look_at_edit(world: World, edited: wire.Edited, bounds: Bounds = DEFAULTS) -> list[Flag]:
    """Rehearses both versions on the events of the last days, and tells of what somebody should look at."""
    kept = {one.version: one for one in reversed(await versions.history(world.shelf))}
    before, after = kept.get(edited.before), kept.get(edited.after)
    if before is None or after is None:
        return []  # too many edits ago
    now, loaded = world.clock(), (await _loaded(world, before, bounds), await _loaded(world, after, bounds))
    sides = Replay(loaded[0]), Replay(loaded[1])
    comparison, n = Comparison(), 0
    lines: list[bytes] = []
    async for line in archive.between(world, now - _LOOKED_BACK, now):
        lines.append(line.encode())
        if len(lines) == _AT_ONCE:
            n += len(lines)
            await asyncio.to_thread(_take, sides, comparison, lines)
            lines = []
        if n >= _MOST:
            break
    if lines:
        await asyncio.to_thread(_take, sides, comparison, lines)
    (old, was), (new, now_) = sides[0].close(), sides[1].close()
    comparison.add(old, new)
    found = impact((was, now_), comparison.differences(), loaded)
    flags = [flag for flag in found.flags if flag.kind in _FLAGGED]
    if flags:
        data: dict[str, object] = {
            "version": after.version,
            "before": before.version,
            "files": _edited(before, after),
            "flags": [
                {"said": one.said, "said_ja": f"{_FLAGGED[one.kind]}: {one.about}", "kind": one.kind} for one in flags
            ],
            "over": f"{found.events} events since {found.first:%Y-%m-%d %H:%M} UTC" if found.first else "no events",
        }
        await tell(world, "RulesChanged", f"edit-{before.version}-{after.version}", f"config/{after.version}", data)
    return flags


async def _loaded(world: World, version: Version, bounds: Bounds) -> Loaded:
    return await asyncio.to_thread(load_texts, await versions.texts(world.shelf, version), bounds=bounds)


def _take(sides: tuple[Replay, Replay], comparison: Comparison, lines: Sequence[bytes]) -> None:
    comparison.add(sides[0].take(lines), sides[1].take(lines))


def _edited(before: Version, after: Version) -> list[str]:
    names = before.files.keys() | after.files.keys()
    return sorted(name for name in names if before.files.get(name) != after.files.get(name))
