"""A silence on the shelf holds a message back, says why, and keeps count."""

from datetime import UTC, datetime, timedelta

import msgspec

from shared.events import Event
from shared.guards.ask import Memory, Suppressed
from shared.guards.silence import silenced
from shared.record import SILENCES, Facts, Intent, Silence, held_by

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ONE = Silence("20261124T110000-00000001", {"tags.team": "fraud"}, "Naoko", "migration", NOW, NOW + timedelta(hours=4))


def ruled(memory, action="teams", team="fraud", key="e1-r-1"):
    event = Event("e1", "RunCompleted", NOW, "/s", tags={"team": team})
    return memory.run(silenced(Intent(key, "e1", "r", action, {}), event, Facts(), NOW))


def test_a_message_is_held_back_with_the_reason_and_counted_once():
    memory = Memory()
    memory.folders[SILENCES] = {ONE.id: msgspec.json.encode(ONE).decode()}
    for _ in range(2):  # delivered twice
        assert ruled(memory) == Suppressed(
            "silence", f"until 2026-11-24 16:00 UTC by Naoko: migration (silence {ONE.id})"
        )
    assert list(memory.folders[held_by(ONE.id)]) == ["e1-r-1"]
    assert ruled(memory, team="churn") is None
    assert ruled(memory, action="retrain", key="e1-r-2") is None
    assert list(memory.folders[held_by(ONE.id)]) == ["e1-r-1"]


def test_where_nothing_is_silenced_everything_goes():
    assert ruled(Memory()) is None
