"""Loops: how many of our own actions lie behind an event."""

from typing import Final

from shared.events import Event
from shared.record import Intent

CAUSE_EVENT: Final = "switchyard_event"
CAUSE_RULE: Final = "switchyard_rule"
CAUSE_DEPTH: Final = "switchyard_depth"
CAUSE_REASON: Final = "switchyard_reason"
"""Dot-free, so that Event Grid filters can address them (a key with a dot can't be)."""

STARTS: Final = frozenset(
    {"retrain", "resubmit", "dispatch", "azure_pipelines", "jenkins", "promote", "batch", "data_factory", "synapse"}
)
"""Actions that make new events: only these can feed a loop. Not `webhook`: most of them tell somebody, and no guard may hold that
back; what one starts can give the cause on, which is in its body. Not `forward`, which counts by itself.
"""

DEPTH: Final = 3
"""How long a chain of our own actions may become, where `limits.depth` says nothing else: an event, what we started because
of it, what came of that, once more. A longer one is a loop until a person says otherwise."""

_DIGITS: Final = 9
"""Anybody may write the tag, also with more digits than a number may have: the first ones tell a loop as well."""


def starts(intent: Intent) -> bool:
    """Whether it makes new events: also a call whose outcome is asked for, since its end is one."""
    return intent.action in STARTS or bool(intent.params.get("follow"))


def depth(event: Event) -> int:
    """How many of our own actions lie behind this event: the tag that we put on what we start, 0 without one."""
    said = [str(place.get(CAUSE_DEPTH) or "0") for place in (event.tags, event.properties, event.data)]
    return max(int(text[:_DIGITS]) if text.isdecimal() else 0 for text in said)


def cause(intent: Intent, behind: int) -> dict[str, str]:
    """The tags for whatever is started because of an event with so many of our own actions behind it."""
    return {CAUSE_EVENT: intent.event, CAUSE_RULE: intent.rule, CAUSE_DEPTH: str(behind + 1)}


def hold(intent: Intent, behind: int, limit: int = DEPTH) -> str | None:
    """Why this intent must not run, in words; None when it may."""
    if starts(intent) and behind >= limit:
        return (
            f"held: {behind} of our own actions lie behind this event, and the limit is {limit}. This looks like a loop: "
            f"rule {intent.rule!r} starts something whose events make it start again."
        )
    return None
