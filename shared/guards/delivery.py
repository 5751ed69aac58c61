"""Whether all parts of a delivery are there: one account for each rule and each set of values of `by`, such as a folder.

A delivery begins with the first that comes of it and lasts for the time that the rule names. A part is told by its name: what
is written over, or comes twice, counts once. In which order they come does not matter.
"""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from shared.guards.ask import Collected, Get, Go, Guarding, Held, Ruling, Suppressed, Swap, Wait
from shared.record import PARTS, Throttle
from shared.rollout.hours import written

DELIVERIES: Final = "deliveries"

_TOLD: Final = 100
"""Records that a message about a delivery may tell of one by one."""

_EARLIER: Final = 5


class Told(msgspec.Struct, frozen=True, array_like=True):
    """How a delivery ended, for the record that tells of it, or would have."""

    record: str
    complete: bool
    records: tuple[str, ...]
    total: int
    wanted: int


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`record`: of the first that came. `parts`: by the beginning of the hash of their names. `wanted`: how many there shall
    be, 0 while nobody said it; `marked`: the marker came. `complete`: who completed it, and `at` when. `earlier`: how this
    and former ones ended.
    """

    began: datetime
    closes: datetime
    record: str
    records: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    wanted: int = 0
    marked: bool = False
    complete: str = ""
    at: datetime | None = None
    earlier: tuple[Told, ...] = ()


_json: Final = msgspec.json.Encoder()
_delivery: Final = msgspec.json.Decoder(Delivery)


def _short(name: str) -> str:
    return sha256(name.encode(errors="surrogatepass")).hexdigest()[:10]


def delivered(throttle: Throttle, name: str, record: str, now: datetime) -> Guarding[Ruling]:
    """`name`: of the account; `record`: of the event, which is of a part or of the marker."""
    if throttle.threshold > PARTS:
        note = (
            f"there shall be {throttle.threshold} parts, and {PARTS} is the limit: let a marker say that all are there"
        )
        return Held("parts", note, once=throttle.key)
    while True:
        text = yield Get(DELIVERIES, name)
        found = None if text is None else _delivery.decode(text)
        told = next((one for one in found.earlier if one.record == record), None) if found else None
        if told:
            return _again(throttle, told)
        if found is not None and now >= found.closes:
            ended = _ended(found, throttle, record)
            if ended is not None:
                told, kept = ended
                if (yield Swap(DELIVERIES, name, text, _dump(kept))):
                    return _again(throttle, told)
                continue
            found = replace(_closed(found, throttle), records=(), parts=())
        current = _with(found, throttle, record, now)
        if current != found and not (yield Swap(DELIVERIES, name, text, _dump(current))):
            continue
        return _ruling(throttle, current, record)


def _dump(delivery: Delivery) -> str:
    return _json.encode(delivery).decode()


def _with(found: Delivery | None, throttle: Throttle, record: str, now: datetime) -> Delivery:
    """With this one. A delivery that is over has been emptied, and another begins."""
    if found is None or not found.records:
        earlier = found.earlier if found else ()
        found = Delivery(now, now + timedelta(seconds=throttle.seconds), record, earlier=earlier)
    parts = found.parts
    part = _short(throttle.part)
    if throttle.part and part not in parts and len(parts) < PARTS:
        parts = (*parts, part)
    records = found.records if record in found.records else (*found.records, record)[:_TOLD]
    new = replace(
        found,
        records=records,
        parts=parts,
        wanted=max(found.wanted, throttle.threshold),
        marked=found.marked or not throttle.part,
    )
    if new.complete or not _is_complete(new, throttle):
        return new
    new = replace(new, complete=record, at=now)
    return (
        new if throttle.kind == "incomplete_after" else _tell(new, Told(record, True, records, len(parts), new.wanted))
    )


def _is_complete(delivery: Delivery, throttle: Throttle) -> bool:
    return 0 < delivery.wanted <= len(delivery.parts) and (delivery.marked or not throttle.marker)


def _tell(delivery: Delivery, told: Told) -> Delivery:
    return replace(delivery, earlier=(told, *delivery.earlier)[:_EARLIER])


def _closed(delivery: Delivery, throttle: Throttle) -> Delivery:
    """Over: how it ended is kept for who opened it, who may ask only now."""
    if throttle.kind == "complete_within" or any(one.record == delivery.record for one in delivery.earlier):
        return delivery
    end = Told(delivery.record, bool(delivery.complete), delivery.records, len(delivery.parts), delivery.wanted)
    return _tell(delivery, end)


def _ended(delivery: Delivery, throttle: Throttle, record: str) -> tuple[Told, Delivery] | None:
    """For who opened a delivery that is over, and tells how it ended."""
    if throttle.kind == "complete_within" or delivery.record != record or not delivery.records:
        return None
    kept = _closed(delivery, throttle)
    return next(one for one in kept.earlier if one.record == record), kept


def _again(throttle: Throttle, told: Told) -> Ruling:
    if throttle.kind == "incomplete_after" and told.complete:
        return Suppressed("throttle", f"all {told.total} parts were there{_of(throttle)}")
    return Go(told.records, told.total, wanted=told.wanted)


def _of(throttle: Throttle) -> str:
    return f" of {throttle.shown}" if throttle.shown else ""


def _ruling(throttle: Throttle, delivery: Delivery, record: str) -> Ruling:
    """While it is open."""
    so_far = _so_far(delivery, throttle)
    if throttle.kind == "incomplete_after":
        if record == delivery.record:
            return Wait(delivery.closes, f"tells if they are not all there by {_at(delivery.closes)}")
        return Collected(
            f"{so_far}: told with {delivery.record} if they are not all there by {_at(delivery.closes)}",
            delivery.record,
        )
    if delivery.complete == record:
        return Go(delivery.records, len(delivery.parts), wanted=delivery.wanted)
    if delivery.complete:
        since = f"all {delivery.wanted} parts were there at {_at(delivery.at or delivery.began)}"
        return Suppressed("throttle", f"{since}{_of(throttle)}; the next delivery begins at {_at(delivery.closes)}")
    return Collected(f"{so_far}, within {written(throttle.seconds)}", delivery.record)


def _so_far(delivery: Delivery, throttle: Throttle) -> str:
    n = len(delivery.parts)
    said = f"{n} of {delivery.wanted} parts" if delivery.wanted else f"{n} part{'' if n == 1 else 's'}"
    waits = "" if delivery.wanted else ", and nobody has said of how many"
    marker = ", without the marker" if throttle.marker and not delivery.marked else ""
    return f"{said}{_of(throttle)}{waits}{marker}"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def over(text: str, before: datetime) -> bool:
    """Whether nobody will ask for it any more."""
    return _delivery.decode(text).closes < before
