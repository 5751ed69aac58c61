"""How often a rule may fire: one account for each rule and each set of values of `by`, kept under a name of its own.

What an account has ruled for a record it rules again: a try that was killed, and the other steps of the same rule, are
answered alike.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from shared.guards import delivery
from shared.guards.ask import Collected, Get, Go, Guarding, Keep, Ruling, Suppressed, Swap, Wait
from shared.record import Throttle
from shared.rollout.hours import written

SLOTS: Final = "throttles"
SEALED: Final = "throttles-sealed"
FAMILIES: Final = "families"
ACCOUNTS: Final = (SLOTS, SEALED, FAMILIES, delivery.DELIVERIES)

MOST: Final = 500
"""Records that one account keeps one by one; more are counted."""

_PASSED: Final = 50
GRACE: Final = timedelta(minutes=2)
"""After the end of a run: events come in any order, and some of its children may still be on their way."""


class Item(msgspec.Struct, frozen=True, array_like=True):
    record: str
    at: datetime


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """A record that went out: with which others, and how many had been held back before it."""

    record: str
    collected: tuple[str, ...] = ()
    held_back: int = 0


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account. `record`: who opened the window that `began` and `closes`; `items`: what came in it, of `total`. `closed`: it is
    being sealed, and takes nothing more.
    """

    began: datetime
    closes: datetime
    record: str = ""
    items: tuple[Item, ...] = ()
    total: int = 0
    passed: tuple[Passed, ...] = ()
    closed: bool = False


class Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A collection that is over."""

    records: tuple[str, ...]
    total: int
    at: datetime


class Family(msgspec.Struct, frozen=True, omit_defaults=True):
    """The children of one run. `carriers`: the intents that wait to tell of them, to be asked again when it has ended."""

    at: datetime
    ended: datetime | None = None
    carriers: tuple[str, ...] = ()


_json: Final = msgspec.json.Encoder()
_slot: Final = msgspec.json.Decoder(Slot)
_sealed: Final = msgspec.json.Decoder(Sealed)
_family: Final = msgspec.json.Decoder(Family)


def _dump(value: object) -> str:
    return _json.encode(value).decode()


def name_of(key: str) -> str:
    return sha256(key.encode(errors="surrogatepass")).hexdigest()[:24]


def family_of(source: str, parent: str) -> str:
    return name_of(f"{source.casefold()}\n{parent}")


def throttled(throttle: Throttle, record: str, key: str, source: str, now: datetime) -> Guarding[Ruling]:
    """`record`: of the event; `key`: of the intent; `source`: where its run is."""
    account = _Account(throttle, record, now)
    match throttle.kind:
        case "once_within":
            return (yield from account.once_within())
        case "accumulate_within":
            return (yield from account.accumulate_within())
        case "once_after":
            return (yield from account.once_after(key, family_of(source, throttle.parent)))
        case "complete_within" | "incomplete_after":
            return (yield from delivery.delivered(throttle, name_of(throttle.key), record, now))
        case _:
            assert_never(throttle.kind)


class _Account:
    def __init__(self, throttle: Throttle, record: str, now: datetime) -> None:
        self._throttle = throttle
        self._record = record
        self._now = now
        self._name = name_of(throttle.key)
        self._length = timedelta(seconds=throttle.seconds)
        self._of = f" of {throttle.shown}" if throttle.shown else ""

    def _read(self) -> Guarding[tuple[str | None, Slot | None]]:
        text = yield Get(SLOTS, self._name)
        return text, None if text is None else _slot.decode(text)

    def _passed(self, slot: Slot | None) -> Go | None:
        found = next((one for one in slot.passed if one.record == self._record), None) if slot else None
        return Go(found.collected, len(found.collected), found.held_back) if found else None

    def _counts(self, slot: Slot) -> bool:
        return any(item.record == self._record for item in slot.items)

    def once_within(self) -> Guarding[Ruling]:
        while True:
            text, slot = yield from self._read()
            went = self._passed(slot)
            if went:
                return went
            if slot is None or self._now >= slot.closes:
                held_back = slot.total if slot else 0
                passed = (Passed(self._record, (), held_back), *(slot.passed if slot else ())[: _PASSED - 1])
                new = Slot(self._now, self._now + self._length, self._record, passed=passed)
                if (yield Swap(SLOTS, self._name, text, _dump(new))):
                    return Go(held_back=held_back)
                continue
            if not self._counts(slot):
                more = (*slot.items, Item(self._record, self._now))[-MOST:]
                if not (yield Swap(SLOTS, self._name, text, _dump(replace(slot, items=more, total=slot.total + 1)))):
                    continue
            return Suppressed(
                "throttle",
                f"once within {written(self._throttle.seconds)}{self._of}: the last one went out at {_at(slot.began)}, "
                f"the next one can at {_at(slot.closes)}",
            )

    def accumulate_within(self) -> Guarding[Ruling]:
        wanted, length = self._throttle.threshold, written(self._throttle.seconds)
        while True:
            text, slot = yield from self._read()
            went = self._passed(slot)
            if went:
                return went
            items = slot.items if slot else ()
            if slot is not None and self._counts(slot):
                n = 1 + [item.record for item in items].index(self._record)
                return Suppressed("throttle", f"{n} of {wanted} within {length}{self._of}")
            live = (*(item for item in items if item.at > self._now - self._length), Item(self._record, self._now))
            passed, closes = slot.passed if slot else (), self._now + self._length
            if len(live) < wanted:
                new = Slot(live[0].at, closes, live[0].record, live, len(live), passed)
                ruling: Ruling = Suppressed("throttle", f"{len(live)} of {wanted} within {length}{self._of}")
            else:
                together = tuple(item.record for item in live)
                new = Slot(self._now, closes, passed=(Passed(self._record, together), *passed[: _PASSED - 1]))
                ruling = Go(together, len(together))
            if (yield Swap(SLOTS, self._name, text, _dump(new))):
                return ruling

    def once_after(self, key: str, family: str) -> Guarding[Ruling]:
        while True:
            mine = yield Get(SEALED, f"{self._name}-{self._record}")
            if mine is not None:
                return _all_of(_sealed.decode(mine))
            text, slot = yield from self._read()
            closes = yield from self._closes(slot, key, family)
            if slot is not None and (slot.closed or self._now >= closes):
                closed = yield from self._close(text, slot)
                if closed is None:
                    continue
                text, slot = closed
                kept = yield from self._seal(slot)
                if slot.record == self._record:
                    return _all_of(kept)
                if self._counts(slot):
                    return self._collected(slot, closes)
                slot = None
            if slot is None:
                closes = yield from self._closes(None, key, family)
                new = Slot(self._now, closes, self._record, (Item(self._record, self._now),), 1)
                if (yield Swap(SLOTS, self._name, text, _dump(new))):
                    return self._waits(closes)
                continue
            if slot.record == self._record:
                return self._waits(closes)
            if not self._counts(slot):
                items = (*slot.items, Item(self._record, self._now))[:MOST]
                if not (yield Swap(SLOTS, self._name, text, _dump(replace(slot, items=items, total=slot.total + 1)))):
                    continue
            return self._collected(slot, closes)

    def _closes(self, slot: Slot | None, key: str, family: str) -> Guarding[datetime]:
        """When the collection is over. Of the children of a run: soon after its end."""
        latest = slot.closes if slot else self._now + self._length
        if not self._throttle.parent:
            return latest
        while True:
            text = yield Get(FAMILIES, family)
            found = Family(self._now) if text is None else _family.decode(text)
            if found.ended is not None:
                began = slot.began if slot else self._now
                return min(latest, max(began, found.ended) + GRACE)
            if key in found.carriers or (slot is not None and slot.record != self._record):
                return latest
            new = replace(found, at=self._now, carriers=(*found.carriers, key)[-MOST:])
            if (yield Swap(FAMILIES, family, text, _dump(new))):
                return latest

    def _close(self, text: str | None, slot: Slot) -> Guarding[tuple[str | None, Slot] | None]:
        """Before it is sealed: who read it open, and would add itself now, has to look again. None: somebody was faster."""
        if slot.closed:
            return text, slot
        closed = replace(slot, closed=True)
        return (_dump(closed), closed) if (yield Swap(SLOTS, self._name, text, _dump(closed))) else None

    def _seal(self, slot: Slot) -> Guarding[Sealed]:
        whole = Sealed(tuple(item.record for item in slot.items), slot.total, self._now)
        return _sealed.decode((yield Keep(SEALED, f"{self._name}-{slot.record}", _dump(whole))))

    def _waits(self, closes: datetime) -> Wait:
        until = f"until that has ended, or {_at(closes)}" if self._throttle.parent else f"until {_at(closes)}"
        return Wait(closes, f"collects what comes{self._of} {until}, to tell of all of it in one message")

    def _collected(self, slot: Slot, closes: datetime) -> Collected:
        soon = "when that has ended" if self._throttle.parent else f"at {_at(closes)}"
        return Collected(f"told together with {slot.record}{self._of}, {soon}", slot.record)


def _all_of(sealed: Sealed) -> Go:
    return Go(sealed.records if sealed.total > 1 else (), sealed.total)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def family_ended(source: str, run: str, now: datetime, *, parent: bool) -> Guarding[Sequence[tuple[str, datetime]]]:
    """A run has ended: the intents that wait to tell of its children, and when to ask them again. `parent`: it has some for
    sure, who may still come.
    """
    name = family_of(source, run)
    while True:
        text = yield Get(FAMILIES, name)
        if text is None and not parent:
            return ()
        family = Family(now) if text is None else _family.decode(text)
        if family.ended is not None:
            return ()
        if (yield Swap(FAMILIES, name, text, _dump(replace(family, ended=now)))):
            return [(key, now + GRACE) for key in family.carriers]


def expired(folder: str, text: str, *, before: datetime) -> bool:
    """Whether what stands in one of these folders is of no use any more."""
    if folder == SLOTS:
        return _slot.decode(text).closes < before
    if folder == delivery.DELIVERIES:
        return delivery.over(text, before)
    return (_sealed.decode(text).at if folder == SEALED else _family.decode(text).at) < before
