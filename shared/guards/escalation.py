"""Later steps of a receiver: what nobody was told of in the first place nobody could take care of, and it wakes nobody."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from shared.guards.ask import Get, Go, Guarding, Keep, Ruling, Suppressed, Swap, Wait
from shared.guards.throttle import name_of, throttled
from shared.record import Intent, Terms

if TYPE_CHECKING:
    from shared.guards import Case

FIRST: Final = "first-messages"
"""By record and rule: whether a first message went out."""

_WENT: Final = "went"
_SOON: Final = timedelta(minutes=1)
_LATER: Final = timedelta(minutes=10)
_LONGEST: Final = timedelta(days=1)


def _name(intent: Intent) -> str:
    return f"{intent.event}-{name_of(intent.rule)}"


def first_was(intent: Intent, now: datetime, *, went: bool) -> Guarding[None]:
    """How a first message was ruled on. One that went out counts, whatever became of the others."""
    name = _name(intent)
    if not went:
        yield Keep(FIRST, name, f"held {now.isoformat()}")
        return
    while True:
        text = yield Get(FIRST, name)
        if _went(text) or (yield Swap(FIRST, name, text, f"{_WENT} {now.isoformat()}")):
            return


def _went(text: str | None) -> bool:
    return text is not None and text.startswith(_WENT)


def said_at(text: str) -> str:
    """When."""
    return text.partition(" ")[2]


def after_the_first(case: "Case", terms: Terms, due: datetime) -> Guarding[Ruling]:
    """Of a later step whose time has come."""
    intent = case.intent
    text = yield Get(FIRST, _name(intent))
    collects = terms.throttle is not None and terms.throttle.kind in {"once_after", "incomplete_after"}
    if text is None and case.now < due + _LONGEST:
        # It still collects, or this worker is quicker than the one that has the first message.
        return Wait(case.now + (_LATER if collects else _SOON), "the first message comes first")
    if not _went(text):
        return Suppressed("escalation", "its first message did not go out, so that nobody could take care of it")
    if terms.throttle is not None and collects:
        return (yield from throttled(terms.throttle, intent.event, intent.key, case.event.source, case.now))
    return Go()
