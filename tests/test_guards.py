"""How many of our own actions lie behind an event, by a tag that anybody may write."""

from datetime import UTC, datetime

import pytest

from shared.events import Event
from shared.guards.loop import DEPTH, depth, hold
from shared.record import Intent


@pytest.mark.parametrize(
    ("tag", "held"),
    [(None, False), ("0", False), (str(DEPTH - 1), False), (str(DEPTH), True), ("9" * 5000, True)]
    + [(odd, False) for odd in ("", "x", "-7", "²", True, [9])],
)
def test_a_chain_is_held_at_its_limit_whatever_stands_in_the_tag(tag: object, *, held: bool) -> None:
    tags = {} if tag is None else {"switchyard_depth": tag}
    event = Event("e1", "RunCompleted", datetime(2026, 11, 20, tzinfo=UTC), "/contoso", tags=tags)
    said = hold(Intent("r-fraud-1", "r", "fraud", "retrain", {}), depth(event))
    assert (said is not None) is held
    assert hold(Intent("r-fraud-2", "r", "fraud", "teams", {}), depth(event)) is None  # a message feeds no loop
