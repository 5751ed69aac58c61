"""Simulated time begins where the state file ended: it is ahead of the wall's, and never goes back."""

from datetime import timedelta

from local.rollouts import Rollouts
from local.shelf import SqliteShelf
from local.simulated import newest
from shared import wire
from shared.conduct import Conductor
from tests.fleet import Fate, Fleet
from tests.station import Station, opened, run_event
from tests.test_rollouts import POLICY
from tests.world import START, Outside

RULES = "rules: [{name: r, event: RunCompleted, do: [{notify: platform}]}]"


async def test_the_newest_moment_of_a_state_file_is_that_of_its_last_event_intent_or_step(tmp_path):
    state = tmp_path / "state.db"
    assert newest(state) is None
    with opened(state) as database:
        assert newest(state) is None
        station = Station(Outside(), database, RULES)
        await station.send(run_event("e1"))
        await station.work()
        assert newest(state) == START
        fleet = Fleet(1, policy=POLICY, fate=Fate(), shelf=SqliteShelf(database))
        fleet.clock.now = START + timedelta(hours=3)
        conductor = Conductor(fleet.world)
        await conductor.start(fleet.rollout)
        await Rollouts(conductor).advance(wire.Advance(fleet.rollout.id))
        last = newest(state)
    assert last is not None
    assert last >= START + timedelta(hours=3)


def test_a_file_of_nobody_says_nothing(tmp_path):
    (tmp_path / "state.db").touch()
    assert newest(tmp_path / "state.db") is None
