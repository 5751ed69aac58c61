"""A month of the simulated Azure, by the real SDKs: thirty quiet days, then the payment desk finds out other things than the scores say."""

import asyncio
from datetime import timedelta

from shared import measure
from shared.cloud import Doors
from shared.service import Service
from shared.settings import Settings
from simulator.app import Box
from tests.test_cloud_quality import DAY, LOADED, WATCH, box, far, turn, world  # noqa: F401 (two are fixtures)
from tests.test_measure import events
from tests.world import Outside

STEP = timedelta(hours=6)


async def test_truth_that_turns_bad_is_noticed_in_time_and_thirty_days_before_are_quiet(box: Box, far: Doors) -> None:  # noqa: F811
    outside = Outside()
    service = Service(world(box, far, outside), Settings(), LOADED)
    for _ in range(30):
        box.sim.clock.advance(DAY.total_seconds())
        await service.on_quality()
    assert events(outside) == []
    looks = await measure.looks(outside.shelf, WATCH, box.sim.clock.now())
    assert len(looks) >= 29
    assert {one.verdict for one in looks} == {"healthy"}
    bad = box.sim.clock.now()
    await asyncio.to_thread(turn, box, drift=0.9)
    while not events(outside):
        assert box.sim.clock.now() - bad <= timedelta(seconds=WATCH.noticed_within)
        box.sim.clock.advance(STEP.total_seconds())
        await service.on_quality()
    (event,) = events(outside)
    assert event.type == "ModelQualityDegraded"
    assert event.data["high"] < event.data["limit"] if event.data["metric"] == "auc" else True
    assert box.sim.clock.now() - bad <= timedelta(seconds=WATCH.noticed_within) + STEP
