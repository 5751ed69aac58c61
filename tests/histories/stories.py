"""The rollouts that are recorded at a release: every way in which one goes, in a seeded world."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from msgspec.structs import replace

from shared.rollout.policy import (
    Approval,
    BinaryGate,
    CeilingGate,
    Compare,
    Load,
    MeanGate,
    Policy,
    Sample,
    Smoke,
    Stage,
)
from shared.rollout.record import Verb
from tests.fleet import BLUE, ENDPOINT, GREEN, Fate, Fleet

LEADS: Final = Approval("leads", within=3600)
SAMPLES: Final = (Sample("one", '{"x": 1}', "[1]"),)
POLICY: Final = Policy(
    name="fraud-online",
    endpoint=ENDPOINT,
    compare=(Compare("auc", at_least=-0.002),),
    smoke=Smoke(SAMPLES, p95_ms=300),
    stages=(Stage(10, 300, min_requests=100), Stage(50, 300)),
    gates=(BinaryGate("http_5xx", margin=0.03),),
    every=300,
    extend=300.0,
    keep_old=600,
    notify=("platform",),
)
BATCH: Final = replace(POLICY, kind="batch", smoke=Smoke(data="azureml:fraud-sample:1"), stages=(), gates=())


@dataclass(frozen=True)
class Story:
    """`said`: by a newer rollout, so many seconds after the start."""

    fate: Fate = field(default_factory=Fate)
    policy: Policy = POLICY
    seed: int = 1
    said: tuple[tuple[float, Verb], ...] = ()
    restores: str = ""

    def fleet(self, **more: Any) -> Fleet:
        return Told(self, **more)


class Told(Fleet):
    """The world of a story."""

    def __init__(self, story: Story, **more: Any) -> None:
        self._said = story.said
        super().__init__(story.seed, policy=story.policy, fate=story.fate, **more)
        self.rollout = replace(self.rollout, restores=story.restores)

    def _timeline(self) -> list[Any]:
        moments = [(self.clock() + timedelta(seconds=after), f"newer {verb}") for after, verb in self._said]
        return sorted([*super()._timeline(), *moments])

    async def _happen(self, what: str) -> None:
        match what.split():
            case ["newer", "replace" | "next" as verb]:
                await self._say(verb, "rollout-newer")
            case _:
                await super()._happen(what)


def _asks(policy: Policy = POLICY, **more: Any) -> Policy:
    first, *rest = policy.stages
    return replace(policy, stages=(replace(first, approve=replace(LEADS, **more)), *rest))


STORIES: Final[dict[str, Story]] = {
    "promoted": Story(
        policy=replace(
            _asks(),
            gates=(
                *POLICY.gates,
                BinaryGate("latency_over", slo_ms=400, margin=0.05),
                MeanGate("latency_ms"),
                CeilingGate("error_rate", 0.2),
            ),
        )
    ),
    "mirrored-first": Story(policy=replace(POLICY, stages=(Stage(20, 300, mirror=True), *POLICY.stages))),
    "two-arms": Story(Fate(live=((BLUE, 60), (GREEN, 40)))),
    "kubernetes": Story(policy=replace(POLICY, kind="kubernetes", counts="metrics")),
    "batch": Story(policy=replace(BATCH, approve=LEADS)),
    "batch-job-failed": Story(Fate(wrong_scores=True), BATCH),
    "under-load": Story(
        policy=replace(POLICY, smoke=Smoke(SAMPLES, load=Load(rps=10, seconds=20, p95_ms=300)), stages=(Stage(10, 300),))
    ),
    "first-model": Story(Fate(live=())),
    "live-already": Story(Fate(live=(("fraud-x7", 100),))),
    "restored": Story(policy=replace(POLICY, notify=("platform",)), restores="rollout-0"),
    "judge-rolls-back": Story(Fate(canary="5x", rate=3000), replace(POLICY, stages=(Stage(50, 900),))),
    "slow-rolls-back": Story(
        Fate(canary="slow", rate=3000), replace(POLICY, gates=(MeanGate("latency_ms"), *POLICY.gates))
    ),
    "breach-overruled": Story(
        Fate(canary="5x", rate=3000), replace(POLICY, on_breach="hold", stages=(Stage(50, 600),))
    ),
    "breach-refused": Story(Fate(canary="5x", rate=3000, reply="reject"), replace(POLICY, on_breach="hold")),
    "rejected": Story(Fate(reply="reject"), _asks()),
    "first-asked": Story(Fate(reply_after=60), replace(POLICY, approve=LEADS, stages=(Stage(10, 300),))),
    "asked-for-a-day": Story(
        Fate(reply_after=90_000), replace(POLICY, approve=replace(LEADS, within=172_800), stages=(Stage(10, 300),))
    ),
    "nobody-answers": Story(Fate(reply=""), _asks()),
    "silence-goes-on": Story(Fate(reply=""), _asks(otherwise="promote")),
    "aborted": Story(Fate(abort=900)),
    "aborted-while-asked": Story(Fate(abort=1500, reply=""), _asks()),
    "frozen": Story(Fate(frozen=(0, 7200)), replace(POLICY, stages=(Stage(10, 300),))),
    "frozen-and-overridden": Story(Fate(frozen=(0, 7200), overridden=True), replace(POLICY, stages=(Stage(10, 300),))),
    "frozen-in-a-stage": Story(Fate(frozen=(300, 3600))),
    "both-bad": Story(Fate(canary="both bad", abort=5000), replace(POLICY, gates=(CeilingGate("error_rate", 0.2), *POLICY.gates))),
    "blind": Story(Fate(canary="blind")),
    "too-few-requests": Story(Fate(rate=60), replace(POLICY, stages=(Stage(10, 300, min_requests=5000),))),
    "undecided-rolls-back": Story(
        Fate(rate=60), replace(POLICY, undecided="rollback", stages=(Stage(10, 300, min_requests=5000),))
    ),
    "put-back": Story(Fate(by_hand=900)),
    "stuck": Story(Fate(by_hand=900, reply="")),
    "rejected-in-registry": Story(Fate(rejected=700)),
    "taken-back-while-kept": Story(Fate(rejected=2400), replace(POLICY, stages=(Stage(10, 300),), keep_old=7200)),
    "aborted-while-kept": Story(Fate(abort=2400), replace(POLICY, stages=(Stage(10, 300),), keep_old=7200)),
    "hurried": Story(policy=replace(POLICY, stages=(Stage(10, 300),), keep_old=86_400), said=((3000, "next"),)),
    "replaced": Story(
        Fate(reply=""), replace(POLICY, approve=LEADS), said=((400, "replace"),)
    ),
    "waits-for-its-turn": Story(Fate(occupied=600), replace(POLICY, stages=(Stage(10, 300),))),
    "worse-than-the-champion": Story(Fate(auc=0.85)),
    "wrong-answers": Story(Fate(wrong_scores=True)),
    "no-quota": Story(Fate(creation="quota")),
    "not-created": Story(Fate(creation="fails")),
    "creation-too-long": Story(Fate(creation="slow"), replace(POLICY, deployment=replace(POLICY.deployment, within=120))),
    "busy-and-late": Story(Fate(busy=0.2, lost=0.2, stale=0.3), seed=4),
    "busy-and-late-rolled-back": Story(Fate(canary="5x", rate=3000, busy=0.2, lost=0.2, stale=0.3), seed=5),
}  # fmt: skip

DURABLE: Final[dict[str, frozenset[int]]] = {
    "promoted": frozenset({20, 31, 60}),
    "rejected": frozenset({3, 4, 40}),
    "frozen-and-overridden": frozenset({18, 25}),
    "not-created": frozenset(),
    "waits-for-its-turn": frozenset({1, 2, 3}),
}
"""Those that are recorded as the history of Durable Functions too, and before which events somebody speaks."""
