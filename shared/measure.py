"""Measures how good models are: reads predictions and truth, keeps what each look found, and tells of what got worse.

Everything lies on the world's shelf: the looks at a watch's windows in a folder of its own, each under its window and number, where
the first one that is kept counts; so two workers tell the same. The standing, under its name, is what the newest looks say together.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from shared import wire
from shared.errors import MissingError, PermanentError, TemporaryError
from shared.events import OWN, Endpoint, Event, Model
from shared.quality import judge, metrics
from shared.quality.judge import Finding, Look, look_at
from shared.quality.rows import Row, joined, lines
from shared.quality.watch import ESTIMABLE, Asset, Blob, Collector, Logs, Source, Watch
from shared.quality.windows import Window, before, due, due_at, horizon, window_of
from shared.record import QUALITY, Estimate, Standing
from shared.world import EndpointRef, Shelf, Stored, World

log: Final = logging.getLogger("switchyard")

SOURCE: Final = "/switchyard"
_TROUBLES: Final = "quality-troubles"
_READY: Final = timedelta(minutes=15)
"""How long after the end of a window its predictions are all there: a log takes minutes to take them in."""

ROWS: Final = 200_000
BYTES: Final = 200_000_000
"""Of one source, for one window: more than these would not fit beside the rest of a function app."""

CHART: Final = 30
"""Windows in the chart of an event."""

_AT_ONCE: Final = 8
"""Files that are read at the same time."""

_HISTORY: Final = 90
"""Windows whose labels a standing counts."""


class Expected(Struct, frozen=True, omit_defaults=True):
    """What the scores of a window let expect before anybody knows the truth."""

    window: str
    at: datetime
    version: str
    estimated: dict[str, Estimate]
    reference: dict[str, float] = {}


class Trouble(Struct, frozen=True, omit_defaults=True):
    """Since when nobody knows how good the model is."""

    since: datetime
    why: str
    told: bool = False


_json: Final = msgspec.json.Encoder()


def _dump(value: object) -> str:
    return _json.encode(value).decode()


def _looks(watch: Watch) -> str:
    return f"quality-{watch.name}"


def _done(watch: Watch) -> str:
    """Looks that were taken and told of. Killed before that, the next one tells it, under the same id."""
    return f"quality-{watch.name}-done"


def _expectations(watch: Watch) -> str:
    return f"quality-{watch.name}-expected"


def _name(window: str, number: int) -> str:
    return f"{window}-{number:02d}"


# What is kept


async def looks(shelf: Shelf, watch: Watch, now: datetime, windows: int = _HISTORY) -> list[Look]:
    """Of the newest windows, oldest first; of each window the last look."""
    first = window_of(watch, now - windows * watch.length - timedelta(seconds=watch.lateness))
    rows = await shelf.all(_looks(watch), after=first.id)
    found = [msgspec.json.decode(text, type=Look) for _, text in rows]
    return [*{look.window: look for look in found}.values()]


async def standing(shelf: Shelf, name: str) -> Standing | None:
    text = await shelf.get(QUALITY, name)
    return None if text is None else msgspec.json.decode(text, type=Standing)


async def trouble(shelf: Shelf, name: str) -> Trouble | None:
    text = await shelf.get(_TROUBLES, name)
    return None if text is None else msgspec.json.decode(text, type=Trouble)


# On schedule


async def measure(world: World, watch: Watch, *, tell: bool = True) -> list[Look]:
    """Looks at every window that is due, the oldest first. Raises TemporaryError or PermanentError where something can't be read:
    what was found before that is kept, and the rest is due again.
    """
    now = world.clock()
    try:
        found = [await look(world, watch, *one, tell=tell) for one in await _due(world.shelf, watch, now)]
        await _expect(world, watch, now)
    except (TemporaryError, PermanentError) as error:
        await _in_trouble(world, watch, str(error))
        raise
    if found:
        await _note(world, watch, found[-1])
    return found


async def _due(shelf: Shelf, watch: Watch, now: datetime) -> list[tuple[Window, int]]:
    done = [name.rpartition("-") for name, _ in await shelf.all(_done(watch), after=horizon(watch, now).id)]
    return [(one.window, one.look) for one in due(watch, now, [(window, int(n)) for window, _, n in done])]


async def past(world: World, watch: Watch, window: Window, *, tell: bool = False) -> Look:
    """A window that is over, whenever that was: as it can be seen now. PermanentError for one that is not due yet."""
    late = world.clock() - due_at(watch, window)
    if late < timedelta():
        raise PermanentError(
            f"window {window.id} is due at {due_at(watch, window):%Y-%m-%dT%H:%M}Z: until then truth is missing"
        )
    return await look(world, watch, window, min(late // watch.length, watch.looks - 1), tell=tell)


async def look(world: World, watch: Watch, window: Window, number: int, *, tell: bool = True) -> Look:
    """One look at a window, as it is kept. The first look that finds it degraded tells so."""
    shelf, name = world.shelf, _name(window.id, number)
    earlier = await _earlier(shelf, watch, window, number)
    text = await shelf.get(_looks(watch), name)
    if text is None:
        text = await shelf.keep(_looks(watch), name, _dump(await _looked(world, watch, window, number, earlier)))
    kept = msgspec.json.decode(text, type=Look)
    await _stand(world, watch)
    if tell:
        await _tell(world, watch, kept, earlier)
    await shelf.keep(_done(watch), name, "1")
    return kept


async def _earlier(shelf: Shelf, watch: Watch, window: Window, number: int) -> Look | None:
    """The last look at this window before this one."""
    rows = await shelf.all(_looks(watch), after=f"{window.id}-", limit=number + 1)
    texts = [text for name, text in rows if name < _name(window.id, number)]
    found = [one for text in texts if (one := msgspec.json.decode(text, type=Look)).window == window.id]
    return found[-1] if found else None


async def _looked(world: World, watch: Watch, window: Window, number: int, earlier: Look | None) -> Look:
    now = world.clock()
    predictions = await _rows(world, watch, watch.predictions.source, (window.start, window.end))
    truth = await _rows(world, watch, watch.truth.source, (window.start, now))
    found = await asyncio.to_thread(joined, watch, window, predictions, truth)
    version = found.version or await _serving(world, watch)
    reference = await _reference(world, watch, version)
    return await asyncio.to_thread(
        look_at, watch, window, number, found, at=now, version=version, reference=reference, before=earlier
    )


async def _serving(world: World, watch: Watch) -> str:
    """The version that gets the most of the traffic; empty where that is not known."""
    if not watch.endpoint:
        return ""
    state = await world.serving.endpoint(EndpointRef(watch.where, watch.endpoint))
    if state is None or not state.traffic:
        return ""
    serves = state.deployment(max(sorted(state.traffic), key=lambda name: state.traffic[name]))
    model, _, version = serves.model.rpartition(":") if serves else ("", "", "")
    return version if model == watch.model else ""


async def _reference(world: World, watch: Watch, version: str) -> dict[str, float] | None:
    """What the training run of this version logged. None: nobody can tell."""
    if not version:
        return None
    origin = await world.serving.origin(watch.where, watch.model, version)
    if origin is None or not origin.run:
        return None
    try:
        return await world.platform.metrics(watch.where, origin.run)
    except MissingError:  # the run is gone
        return None


# Where rows are


async def _rows(world: World, watch: Watch, source: Source, span: tuple[datetime, datetime]) -> Sequence[Row]:
    match source:
        case Logs():
            found = await world.logs.rows(source.workspace, source.query, span)
        case Blob():
            container = world.blobs.container(source.account, source.container)
            found = await _files(world, container, _paths(source.path, span))
        case Asset():
            container, path = await world.blobs.asset(watch.where, source.name, source.version)
            found = await _files(world, container, _paths(path, span))
        case Collector():
            container = await world.blobs.datastore(watch.where, source.datastore)
            home = f"modelDataCollector/{watch.endpoint}/"
            found = []
            for deployment in await world.blobs.folders(container, home):
                path = f"{deployment}{source.collection}/{{yyyy}}/{{MM}}/{{dd}}/{{HH}}/"
                found += await _files(world, container, _paths(path, span))
    if len(found) > ROWS:
        raise PermanentError(
            f"{len(found):,} rows for one window, at most {ROWS:,}: take a sample, or a shorter window"
        )
    return found


def _paths(path: str, span: tuple[datetime, datetime]) -> list[str]:
    """The path at every time of the span at which it is another one."""
    step = timedelta(hours=1) if "{HH}" in path else timedelta(days=1)
    start, end = (moment.astimezone(UTC) for moment in span)
    at = (
        start.replace(minute=0, second=0, microsecond=0)
        if "{HH}" in path
        else datetime(*start.timetuple()[:3], tzinfo=UTC)
    )
    found: dict[str, None] = {}
    while at < end:
        parts = {"{yyyy}": f"{at:%Y}", "{MM}": f"{at:%m}", "{dd}": f"{at:%d}", "{HH}": f"{at:%H}"}
        now = path
        for mark, text in parts.items():
            now = now.replace(mark, text)
        found[now] = None
        at += step
    return [*found]


async def _files(world: World, container: str, prefixes: Sequence[str]) -> list[Row]:
    stored: dict[str, Stored] = {}
    async for several in _batches(prefixes):
        for listed in await asyncio.gather(*(world.blobs.names(container, prefix) for prefix in several)):
            stored |= {one.name: one for one in listed}
    size = sum(one.size for one in stored.values())
    if size > BYTES:
        raise PermanentError(
            f"{size:,} bytes in {container} for one window, at most {BYTES:,}: write by days ({{yyyy}}/{{MM}}/{{dd}}), or take a sample"
        )
    rows: list[Row] = []
    async for names in _batches(sorted(stored)):
        texts = await asyncio.gather(*(world.blobs.read(container, name) for name in names))
        for name, raw in zip(names, texts, strict=True):
            try:
                rows += await asyncio.to_thread(list, lines(name, raw))
            except ValueError as error:
                raise PermanentError(f"{container}: {error}") from error
    return rows


async def _batches(names: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    for n in range(0, len(names), _AT_ONCE):
        yield names[n : n + _AT_ONCE]


# Without the truth


async def _expect(world: World, watch: Watch, now: datetime) -> None:
    """What the scores of the newest whole window let expect, once."""
    wanted = [ask.metric for ask in watch.asks if ask.metric in ESTIMABLE]
    window = next(before(watch, now - _READY))
    if not watch.predictions.score or not wanted or await world.shelf.get(_expectations(watch), window.id):
        return
    rows = await _rows(world, watch, watch.predictions.source, (window.start, window.end))
    found = await asyncio.to_thread(joined, watch, window, rows, [])
    if len(found.pairs) < watch.minimum:
        return
    levels = dict.fromkeys(wanted, watch.level())
    numbers = await asyncio.to_thread(metrics.expected, watch, found.pairs, levels)
    estimated = {str(name): Estimate(*number, window.start, window.end) for name, number in numbers.items()}
    version = found.version or await _serving(world, watch)
    logged = judge.logged(watch, await _reference(world, watch, version) or {})
    await world.shelf.keep(_expectations(watch), window.id, _dump(Expected(window.id, now, version, estimated, logged)))
    await _stand(world, watch)


async def _stand(world: World, watch: Watch) -> None:
    """What the newest looks say together, of the version that serves. A window with too few truths says nothing; the one before it
    does.
    """
    now, shelf = world.clock(), world.shelf
    seen = await looks(shelf, watch, now)
    judged = next((one for one in reversed(seen) if one.findings), None)
    rows = await shelf.all(_expectations(watch), after=window_of(watch, now - 3 * watch.length).id)
    hoped = msgspec.json.decode(rows[-1][1], type=Expected) if rows else None
    labels: Counter[str] = Counter()
    for one in seen:
        labels.update(one.labels)
    version = (hoped.version if hoped else "") or (seen[-1].version if seen else "")
    if judged and judged.version not in {"", version}:
        judged = None  # it is about a version that another one has replaced
    made = Standing(
        at=now,
        model=watch.model,
        version=version,
        measured=judged.measured if judged else {},
        estimated=hoped.estimated if hoped else {},
        reference=judged.reference if judged else hoped.reference if hoped else {},
        labels=dict(sorted(labels.items())),
    )
    await shelf.put(QUALITY, watch.name, _dump(made))


# What is told


async def _tell(world: World, watch: Watch, found: Look, earlier: Look | None) -> None:
    seen = await looks(world.shelf, watch, found.at)
    if found.verdict == "degraded" and not (earlier and earlier.verdict == "degraded"):
        await _raise(world, watch, found, "ModelQualityDegraded", _degraded(watch, found, seen))
    past = [one for one in seen if one.window < found.window and one.verdict in {"healthy", "degraded"}]
    if found.verdict == "healthy" and not earlier and past and past[-1].verdict == "degraded":
        data = _common(watch, found) | {"chart": chart(watch, past[-1].breached[0], seen)}
        await _raise(world, watch, found, "ModelQualityRecovered", data)


async def _raise(world: World, watch: Watch, found: Look, kind: str, data: Mapping[str, object]) -> None:
    name = f"{watch.name}-{found.window}-{found.number}"
    await _say(world, watch, (kind, name), data, found.version)


async def _say(world: World, watch: Watch, event: tuple[str, str], data: Mapping[str, object], version: str) -> None:
    """`event`: its type and its id."""
    now, where = world.clock(), watch.where
    kind, name = event
    raised = Event(
        id=name,
        type=kind,
        raw_type=f"{OWN}{kind}",
        time=now,
        source=SOURCE,
        subject=f"quality/{watch.name}",
        workspace=where.workspace,
        resource_group=where.resource_group,
        subscription=where.subscription,
        tags=await _tags(world, watch, version),
        model=Model(watch.model, version),
        endpoint=Endpoint(watch.endpoint) if watch.endpoint else None,
        data=dict(data),
    )
    await world.queue.put(wire.pack(wire.Arrived(raised, now)))


async def _tags(world: World, watch: Watch, version: str) -> dict[str, object]:
    """Of the model version: rules find the team by them. That they can't be read must not hold the news back."""
    if not version:
        return {}
    try:
        origin = await world.serving.origin(watch.where, watch.model, version)
    except (TemporaryError, PermanentError):
        return {}
    return dict(origin.tags) if origin else {}


def _common(watch: Watch, found: Look) -> dict[str, object]:
    whole = [one for one in found.findings if not one.cohort]
    return {
        "watch": watch.name,
        "window": written(watch, found),
        "start": found.start.isoformat(),
        "end": found.end.isoformat(),
        "look": found.number,
        "predictions": found.predictions,
        "labelled": found.labelled,
        "confidence": round(1 - 2 * found.level, 6),
        "metrics": {one.metric: _told(one) for one in whole},
    }


def _degraded(watch: Watch, found: Look, seen: Sequence[Look]) -> dict[str, object]:
    first = found.breached[0]
    cohorts = [one for one in found.findings if one.cohort and (one.metric == first.metric or one.breached)]
    return _common(watch, found) | {
        "metric": first.metric,
        "cohort": first.cohort,
        **_told(first),
        "threshold": first.limit,
        "count": first.n,
        "cohorts": [
            {"name": one.cohort, "metric": one.metric, **_told(one)}
            for one in sorted(cohorts, key=lambda one: (not one.breached, one.cohort, one.metric))
        ],
        "chart": chart(watch, first, seen),
    }


def _told(one: Finding) -> dict[str, object]:
    said: dict[str, object] = {
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "n": one.n,
        "breached": one.breached,
    }
    known = {"limit": one.limit, "reference": one.reference}
    return said | {name: value for name, value in known.items() if value is not None}


def chart(watch: Watch, about: Finding, seen: Sequence[Look]) -> dict[str, object]:
    """The line that this metric has drawn, as a picture is made of it."""
    points = [
        [look.start.isoformat(), one.value, one.low, one.high, one.n]
        for look in seen[-CHART:]
        for one in look.findings
        if (one.metric, one.cohort) == (about.metric, about.cohort)
    ]
    better = next(ask.higher_is_better for ask in watch.asks if ask.metric == about.metric)
    return {
        "kind": "line",
        "metric": f"{about.metric} ({about.cohort})" if about.cohort else about.metric,
        "points": points,
        "limit": about.limit,
        "reference": about.reference,
        "higher_is_better": better,
    }


def written(watch: Watch, found: Look) -> str:
    """The window in the words of a clock there."""
    start, end = (moment.astimezone(ZoneInfo(watch.zone)) for moment in (found.start, found.end))
    last = end - timedelta(minutes=1)
    if (start.hour, start.minute, end.hour, end.minute) != (0, 0, 0, 0):
        return f"{start:%Y-%m-%d %H:%M} - {end:%Y-%m-%d %H:%M} {watch.zone}"
    return (
        f"{start:%Y-%m-%d} {watch.zone}"
        if start.date() == last.date()
        else f"{start:%Y-%m-%d} - {last:%Y-%m-%d} {watch.zone}"
    )


# What nobody knows


async def _note(world: World, watch: Watch, newest: Look) -> None:
    if newest.verdict in {"not enough", "unknown"}:
        await _in_trouble(world, watch, newest.why)
        return
    text = await world.shelf.get(_TROUBLES, watch.name)
    if text is not None:
        await world.shelf.swap(_TROUBLES, watch.name, text, None)


async def _in_trouble(world: World, watch: Watch, why: str) -> None:
    """That nobody knows how good the model is, is told once, when it has lasted for longer than the watch's patience."""
    now, shelf = world.clock(), world.shelf
    text = await shelf.keep(_TROUBLES, watch.name, _dump(Trouble(now, why)))
    trouble = msgspec.json.decode(text, type=Trouble)
    if trouble.told or (now - trouble.since).total_seconds() < watch.patience:
        return
    data = {"watch": watch.name, "reason": why, "since": trouble.since.isoformat(), "endpoint": watch.endpoint}
    name = f"{watch.name}-unknown-{trouble.since:%Y%m%dT%H%M%S}"
    await _say(world, watch, ("ModelQualityUnknown", name), data, "")
    await shelf.swap(_TROUBLES, watch.name, text, _dump(Trouble(trouble.since, why, told=True)))
