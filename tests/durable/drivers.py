"""What both test environments share: worlds whose time passes where a driver waits, and the embedded driver in them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Event

from msgspec.structs import replace as changed

from local.rollouts import Rollouts
from shared import book, wire
from shared.conduct import Conductor
from shared.errors import TemporaryError
from shared.rollout.policy import Recipe
from shared.rollout.record import ENDED, Answered, Asked, Bake, Head, Step
from shared.world import EndpointRef
from tests.fleet import Fate, Fleet, policy_of


class Quick(Fleet):
    """Deployments are there soon: forty looks at one that is being made say nothing about a driver."""

    async def create(
        self, endpoint: EndpointRef, name: str, model: str, recipe: Recipe, tags: Mapping[str, str]
    ) -> None:
        await super().create(endpoint, name, model, recipe, tags)
        made = self._deployments[name]
        made.change(self.clock() + timedelta(seconds=20), made.last)


def world(seed: int) -> Fleet:
    """A seeded world with few and long looks, in which somebody ends in time what would never end."""
    policy, fate = policy_of(seed), Fate.of(seed)
    policy = changed(
        policy, every=900, keep_old=min(policy.keep_old, 60.0), deployment=changed(policy.deployment, within=60)
    )
    creation = "succeeds" if fate.creation == "slow" else fate.creation
    return Quick(seed, policy=policy, fate=replace(fate, creation=creation, abort=fate.abort or 20_000))


def nowhere(_: Asked) -> bool:
    return False


class Resting(Conductor):
    """Lets the world's time pass where a driver has to wait, unless the story says to wait `here` for somebody."""

    def __init__(self, fleet: Fleet, *, here: Callable[[Asked], bool] = nowhere) -> None:
        super().__init__(fleet.world)
        self.fleet, self.here = fleet, here
        self.held = False
        self.waits = Event()
        self.unreachable = 0

    async def step(self, id_: str, n: int, asked: datetime, command: Asked) -> Answered | None:
        if self.unreachable:
            self.unreachable -= 1
            raise TemporaryError("the storage account does not answer")
        answer = await super().step(id_, n, asked, command)
        self.held = answer is None and self.here(command)
        if self.held:
            self.waits.set()
        elif answer is None:
            assert isinstance(command, Bake)
            await self.fleet.rest(command.until)
        return answer

    async def begin(self) -> None:
        await self.fleet.open()
        await self.start(self.fleet.rollout)

    async def steps(self) -> list[Step]:
        return await book.steps(self.fleet.shelf, self.fleet.rollout.id)

    async def head(self) -> Head:
        return await book.head(self.fleet.shelf, self.fleet.rollout)


async def embedded(fleet: Fleet) -> list[Step]:
    conductor = Resting(fleet)
    await conductor.begin()
    driver = Rollouts(conductor)
    while (await conductor.head()).status not in ENDED:
        await driver.advance(wire.Advance(fleet.rollout.id))
    return await conductor.steps()
