"""A seeded outside for rollouts, in virtual time: an endpoint, its deployments, its traffic, and the people around it.

Everything that happens follows from the seed and from what is asked: chance is drawn by the number of the call and by the
minute, never from the order in which a driver happens to look. Two drivers that ask the same get the same answers.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random  # noqa: TID251 (chance comes from the seed)
from typing import Literal, cast

from msgspec.structs import replace

from shared import book, wire
from shared.errors import PermanentError, QuotaError, TemporaryError
from shared.record import Job, WorkspaceRef
from shared.rollout.policy import (
    Approval,
    BinaryGate,
    CeilingGate,
    Compare,
    Gate,
    Kind,
    Load,
    MeanGate,
    Policy,
    Recipe,
    Sample,
    Smoke,
    Stage,
)
from shared.rollout.record import (
    SCRIPT,
    DeploymentState,
    EndpointState,
    Freeze,
    Minute,
    Pair,
    Rollout,
    Verb,
    Weights,
    Word,
)
from shared.world import EndpointRef, Invocation, Moved, Origin, Pressed, Queue, Scored, Shelf, Store, Submitted, World
from tests.world import (
    START,
    DictShelf,
    FakeAzure,
    FakeBlobs,
    FakeDocuments,
    FakeGitHub,
    FakeHttp,
    FakeLogs,
    FakeMail,
    FakePlatform,
    FakeQueue,
    FakeSecrets,
    FakeSms,
    MemoryArchive,
    MemoryDeadLetters,
    VirtualClock,
)

PLACE = WorkspaceRef("s1", "mlops", "prod")
ENDPOINT = "fraud-online"
MODEL, OLD, NEW = "fraud", "6", "7"
BLUE, GREEN, CANARY = "fraud-6", "fraud-5", "fraud-7"

type Canary = Literal["healthy", "2x", "5x", "slow", "both bad", "blind"]
type Creation = Literal["succeeds", "fails", "slow", "quota"]
type When = Literal["before", "after"]

CANARIES: tuple[Canary, ...] = (*("healthy",) * 8, "2x", "5x", "slow", "both bad", "blind")
CREATIONS: tuple[Creation, ...] = (*("succeeds",) * 15, "fails", "slow", "quota")
KINDS: tuple[Kind, ...] = (*("managed",) * 6, "kubernetes", "batch")
REPLIES = 3
"""How many questions a person has the patience to answer."""


@dataclass(frozen=True)
class Fate:
    """What the outside has in store. Moments are seconds after the start."""

    canary: Canary = "healthy"
    rate: int = 600
    """Requests a minute, of the whole endpoint."""
    creation: Creation = "succeeds"
    made_in: float = 30.0
    """Seconds until a deployment is there."""
    live: tuple[tuple[str, int], ...] = ((BLUE, 100),)
    """The traffic that is found."""
    busy: float = 0.0
    """Share of the calls that are refused for now."""
    lost: float = 0.0
    """Share of the calls that take effect and whose answer does not come."""
    stale: float = 0.0
    """Share of the reads that show the endpoint as it was a minute ago."""
    auc: float = 0.91
    """Of the candidate; the champion's is 0.90."""
    wrong_scores: bool = False
    reply: Literal["approve", "reject", ""] = "approve"
    reply_after: float = 400.0
    abort: float | None = None
    by_hand: float | None = None
    """When somebody changes the traffic."""
    rejected: float | None = None
    """When somebody rejects the candidate in the registry."""
    frozen: tuple[float, float] | None = None
    """From when, and for how long."""
    overridden: bool = False
    """Two people break the glass of the freeze, two minutes after it began."""
    occupied: float | None = None
    """Until when another rollout has the endpoint."""

    @classmethod
    def of(cls, seed: int) -> "Fate":
        chance = Random(f"fate-{seed}")

        def sometimes(share: float, most: float) -> float | None:
            return chance.uniform(0, most) if chance.random() < share else None

        begun = sometimes(0.2, 6000)
        return cls(
            canary=chance.choice(CANARIES),
            rate=chance.choice([0, 60, 600, 3000, 3000, 3000]),
            creation=chance.choice(CREATIONS),
            made_in=chance.uniform(60, 600),
            live=chance.choice(
                [((BLUE, 100),), ((BLUE, 100),), ((BLUE, 60), (GREEN, 40)), ((BLUE, 60), (GREEN, 40)), ()]
            ),
            busy=chance.choice([0, 0, 0.05, 0.2]),
            lost=chance.choice([0, 0, 0.05, 0.2]),
            stale=chance.choice([0, 0, 0.1, 0.3]),
            auc=chance.choices([0.91, 0.85], [6, 1])[0],
            wrong_scores=chance.random() < 0.05,
            reply=chance.choice(["approve", "approve", "approve", "reject", ""]),
            reply_after=chance.uniform(10, 4000),
            abort=sometimes(0.1, 8000),
            by_hand=sometimes(0.15, 6000),
            rejected=sometimes(0.1, 9000),
            frozen=None if begun is None else (begun, chance.uniform(60, 7200)),
            overridden=chance.random() < 0.3,
            occupied=sometimes(0.1, 2000),
        )


def policy_of(seed: int) -> Policy:
    """Few and short minutes, and everything that a policy can say."""
    chance = Random(f"policy-{seed}")
    kind = chance.choice(KINDS)
    approval = Approval(
        "leads", within=chance.choice([600.0, 3600.0]), otherwise=chance.choice(["rollback", "promote"])
    )
    stages: list[Stage] = []
    if kind == "managed" and chance.random() < 0.4:
        stages.append(Stage(chance.choice([10, 20, 50]), 300, mirror=True))
    for percent in sorted(chance.sample([1, 5, 10, 25, 50, 75], chance.choice([1, 2, 3]))):
        asked = approval if chance.random() < 0.3 else None
        stages.append(Stage(percent, chance.choice([300, 600]), min_requests=chance.choice([0, 100]), approve=asked))
    gates: list[Gate] = [BinaryGate("http_5xx", worse_than=chance.choice([1.0, 1.2]), margin=0.03)]
    gates += [BinaryGate("latency_over", slo_ms=400)] if chance.random() < 0.5 else []
    gates += [MeanGate("latency_ms")] if chance.random() < 0.3 else []
    gates += [CeilingGate("error_rate", 0.2)] if chance.random() < 0.5 else []
    batch = kind == "batch"
    return Policy(
        name="fraud-online",
        endpoint=ENDPOINT,
        kind=kind,
        deployment=Recipe(within=1200),
        compare=(Compare("auc", at_least=-0.002),) if chance.random() < 0.4 else (),
        smoke=_smoke(batch=batch) if chance.random() < 0.5 else None,
        approve=approval if chance.random() < 0.2 else None,
        stages=() if batch else tuple(stages),
        gates=() if batch else tuple(gates),
        counts=chance.choice(["logs", "metrics"]),
        on_breach=chance.choice(["rollback", "rollback", "hold"]),
        undecided=chance.choice(["ask", "rollback"]),
        extend=chance.choice([300.0, 900.0]),
        patience=chance.choice([300.0, 900.0]),
        second=chance.choice(["wait", "replace"]),
        keep_old=chance.choice([0.0, 1800.0]),
        notify=("platform",),
    )


def _smoke(*, batch: bool) -> Smoke:
    return Smoke(data="azureml:fraud-sample:1") if batch else Smoke((Sample("one", '{"x": 1}', "[1]"),), p95_ms=300)


class _Over[T]:
    """A value over time."""

    def __init__(self, since: datetime, first: T) -> None:
        self._changes = [(since, first)]

    def at(self, moment: datetime) -> T:
        return next((value for since, value in reversed(self._changes) if since <= moment), self._changes[0][1])

    def change(self, since: datetime, new: T) -> None:
        self._changes = [change for change in self._changes if change[0] < since]
        self._changes.append((since, new))

    @property
    def last(self) -> T:
        return self._changes[-1][1]

    @property
    def settled(self) -> datetime:
        return self._changes[-1][0]


class Fleet:
    """`world.Serving`, `Counts` and `Topic`, and the World around them. `hook` hears of every call, before and after."""

    def __init__(
        self,
        seed: int,
        *,
        policy: Policy | None = None,
        fate: Fate | None = None,
        shelf: Shelf | None = None,
        rollouts: Queue | None = None,
        clock: VirtualClock | None = None,
        hook: Callable[[When], None] = lambda _: None,
    ) -> None:
        self.seed = seed
        self.fate = fate or Fate.of(seed)
        self.clock = clock or VirtualClock()
        self.shelf = shelf or DictShelf()
        self.hook = hook
        self.calls: list[tuple[object, ...]] = []
        """Everything that was asked of the outside, in order; not of the shelf."""
        self.promotions: list[datetime] = []
        """When the canary got all of the traffic."""
        self.tags: dict[str, dict[str, str]] = {f"{MODEL}:{version}": {} for version in ("5", OLD, NEW)}
        about = policy or policy_of(seed)
        self.rollout = Rollout(f"rollout-{seed}", about, PLACE, ENDPOINT, MODEL, NEW, CANARY, START, script=SCRIPT)
        self.world = World(
            clock=self.clock,
            http=FakeHttp(),
            secret=FakeSecrets(),
            platform=_Platform(self),
            mail=FakeMail(),
            sms=FakeSms(),
            github=FakeGitHub(),
            queue=_Events(self),
            store=cast("Store", None),  # a rollout has no use for the journal of events
            serving=self,
            counts=self,
            topic=self,
            documents=FakeDocuments(),
            shelf=self.shelf,
            rollouts=rollouts or FakeQueue(),
            archive=MemoryArchive(),
            azure=FakeAzure(),
            logs=FakeLogs(),
            blobs=FakeBlobs(),
            dead_letters=MemoryDeadLetters(),
        )
        found = dict(self.fate.live)
        if about.kind == "batch":
            found = {BLUE: 100} if found else {}
        self._first = found
        self._traffic = _Over[tuple[Weights, Weights]](START, (found, {}))
        self._deployments = {
            name: _Over[DeploymentState | None](START, DeploymentState(name, "Succeeded", f"{MODEL}:{name[-1]}"))
            for name in found
        }
        self._jobs: dict[str, datetime] = {}
        self._replied: set[int] = set()
        self._ahead = self._timeline()

    # What a test looks at

    @property
    def weights(self) -> Weights:
        """The live traffic as it was left."""
        return dict(self._traffic.last[0])

    @property
    def mirrored(self) -> Weights:
        return dict(self._traffic.last[1])

    @property
    def deployments(self) -> list[str]:
        """Those that were left."""
        return sorted(name for name, state in self._deployments.items() if state.last is not None)

    # Time

    def _timeline(self) -> list[tuple[datetime, str]]:
        fate = self.fate
        moments: list[tuple[float | None, str]] = [
            (None if fate.occupied is None else 0.0, "occupy"),
            (fate.occupied, "free"),
            (fate.abort, "abort"),
            (fate.by_hand, "by hand"),
            (fate.rejected, "retag"),
        ]
        if fate.frozen is not None:
            moments.append((fate.frozen[0], "freeze"))
            moments += [(fate.frozen[0] + 120, f"override by {who}") for who in ("ann", "bob") if fate.overridden]
        return sorted((START + timedelta(seconds=after), what) for after, what in moments if after is not None)

    async def open(self) -> None:
        """What is so at the start; before the rollout begins."""
        await self._spend(0)

    async def rest(self, until: datetime) -> None:
        """To the next moment at which somebody does something, or to `until`."""
        reply = await self._reply_due()
        ahead = [moment for moment, _ in self._ahead[:1]] + ([reply] if reply else [])
        self.clock.now = max(self.clock.now, min([until, *ahead]))
        await self._spend(0)
        if reply is not None and reply <= self.clock.now:
            await self._answer()

    async def _spend(self, seconds: float) -> None:
        self.clock.advance(seconds)
        while self._ahead and self._ahead[0][0] <= self.clock.now:
            await self._happen(self._ahead.pop(0)[1])

    async def _happen(self, what: str) -> None:
        other = Rollout("another", self.rollout.policy, PLACE, ENDPOINT, MODEL, "5", GREEN, START - timedelta(hours=1))
        match what.split():
            case ["occupy"]:
                await book.begin(self.shelf, other)
                await book.take_turn(self.shelf, other)
            case ["free"]:
                head = await book.head(self.shelf, other)
                await book.put_head(self.shelf, other, replace(head, status="promoted", ended=self.clock()))
                await book.leave(self.shelf, other)
                await self._nudge()
            case ["abort"]:
                await self._say("abort", "carol")
            case ["override", "by", who]:
                await self._say("override", who)
            case ["retag"]:
                self.tags[f"{MODEL}:{NEW}"] |= self.rollout.policy.labels.rejected
            case ["freeze"]:
                until = self.clock() + timedelta(seconds=self.fate.frozen[1] if self.fate.frozen else 0)
                await book.freeze(self.shelf, Freeze("f1", "year end", "dora", self.clock(), until))
            case _:
                self._by_hand()

    def _by_hand(self) -> None:
        live = self._traffic.last[0]
        if sum(live.values()) and (live != self._first or len(live) > 1):
            name = max(self._first, default=CANARY)
            self._traffic.change(self.clock(), ({name: 100}, {}))

    # People

    async def _say(self, verb: Verb, by: str, ask: int | None = None) -> None:
        try:
            await book.say(self.shelf, self.rollout.id, Word(verb, by, self.clock(), "says the seed", ask, "test"))
        except PermanentError:  # somebody was faster
            return
        await self._nudge()

    async def _nudge(self) -> None:
        await self.world.rollouts.put([wire.dump(wire.Advance(self.rollout.id))])

    async def _reply_due(self) -> datetime | None:
        if (
            not self.fate.reply
            or len(self._replied) == REPLIES
            or await book.rollout(self.shelf, self.rollout.id) is None
        ):
            return None
        question = (await book.head(self.shelf, self.rollout)).question
        asked = (
            question and question.n not in self._replied and await book.step(self.shelf, self.rollout.id, question.n)
        )
        return asked.answer.at + timedelta(seconds=self.fate.reply_after) if asked else None

    async def _answer(self) -> None:
        question = (await book.head(self.shelf, self.rollout)).question
        if question is not None and self.fate.reply:
            self._replied.add(question.n)
            await self._say(self.fate.reply, "erin", question.n)

    # Calls

    @asynccontextmanager
    async def call(self, *call: object) -> AsyncGenerator[Random]:
        """One call: it takes its time; the effect happens within."""
        await asyncio.sleep(0)  # others get to run meanwhile
        self.calls.append(call)
        chance = Random(self.seed << 20 | len(self.calls))
        self.hook("before")
        await self._spend(chance.uniform(0.2, 2))
        if chance.random() < self.fate.busy:
            raise TemporaryError("HTTP 503")
        yield chance
        self.hook("after")
        if chance.random() < self.fate.lost:
            raise TemporaryError("no answer came", sent=True)

    def _seen(self, moment: datetime) -> EndpointState:
        traffic, mirror = self._traffic.at(moment)
        states = [state for over in self._deployments.values() if (state := over.at(moment)) is not None]
        kubernetes = self.rollout.policy.kind == "kubernetes"
        return EndpointState(ENDPOINT, "Succeeded", traffic, mirror, tuple(states), kubernetes)

    def _free(self) -> None:
        """A change of traffic takes a while, and the endpoint takes no other meanwhile."""
        if self._traffic.settled > self.clock():
            raise TemporaryError("HTTP 409: the endpoint is being updated")

    async def endpoint(self, endpoint: EndpointRef) -> EndpointState | None:
        async with self.call("endpoint", endpoint.name) as chance:
            ago = 60 if chance.random() < self.fate.stale else 0
            return self._seen(self.clock() - timedelta(seconds=ago))

    async def create(
        self, endpoint: EndpointRef, name: str, model: str, recipe: Recipe, tags: Mapping[str, str]
    ) -> None:
        async with self.call("create", endpoint.name, name, model):
            self._free()
            if self.fate.creation == "quota":
                raise QuotaError("there is no quota for Standard_DS3_v2")
            over = self._deployments.setdefault(name, _Over[DeploymentState | None](START, None))
            if over.last is not None and over.last.state in {"Creating", "Succeeded"}:
                return
            fails = self.fate.creation == "fails"
            ready = 2 * recipe.within if self.fate.creation == "slow" else self.fate.made_in
            over.change(self.clock(), DeploymentState(name, "Creating", model, dict(tags)))
            end = DeploymentState(
                name,
                "Failed" if fails else "Succeeded",
                model,
                dict(tags),
                "the image has no score.py" if fails else "",
            )
            over.change(self.clock() + timedelta(seconds=ready), end)

    async def move(
        self, endpoint: EndpointRef, traffic: Weights, mirror: Weights, expected: tuple[Weights, Weights] | None
    ) -> Moved:
        async with self.call("move", endpoint.name, traffic, mirror) as chance:
            self._refuse_nonsense(traffic, mirror)
            found = self._traffic.last
            if found == (traffic, mirror):
                return Moved("already", traffic, mirror)
            self._free()
            if expected is not None and found != expected:
                return Moved("changed", *found)
            seen = self.clock() + timedelta(seconds=chance.uniform(1, 30))
            self._traffic.change(seen, (dict(traffic), dict(mirror)))
            if traffic == {CANARY: 100}:
                self.promotions.append(self.clock())
            return Moved("accepted", traffic, mirror)

    def _refuse_nonsense(self, traffic: Weights, mirror: Weights) -> None:
        """As Azure does."""
        if sum(traffic.values()) not in {0, 100} or min(traffic.values(), default=1) <= 0:
            raise PermanentError(f"HTTP 400: the traffic is {traffic}, and its sum must be 0 or 100")
        if len(mirror) > 1 or sum(mirror.values()) > 50 or (mirror and self.rollout.policy.kind != "managed"):
            raise PermanentError(f"HTTP 400: the mirrored traffic is {mirror}")
        for name in {*traffic, *mirror}:
            over = self._deployments.get(name)
            state = over.at(self.clock()) if over else None
            if state is None or state.state != "Succeeded":
                raise PermanentError(f"HTTP 400: {name} is not there to take traffic")

    async def delete(self, endpoint: EndpointRef, name: str) -> None:
        async with self.call("delete", endpoint.name, name) as chance:
            if any(name in weights for weights in self._traffic.last):
                raise PermanentError(f"HTTP 400: {name} has traffic")
            over = self._deployments.get(name)
            state = over.at(self.clock()) if over else None
            if over is None or state is None or over.last is None:
                return
            self._free()
            over.change(self.clock(), DeploymentState(name, "Deleting", state.model, state.tags))
            over.change(self.clock() + timedelta(seconds=chance.uniform(20, 90)), None)

    async def score(self, endpoint: EndpointRef, deployment: str, body: bytes) -> Scored:
        async with self.call("score", deployment, body) as chance:
            return Scored(200, b"[2]" if self.fate.wrong_scores else b"[1]", chance.uniform(20, 90))

    async def press(self, endpoint: EndpointRef, deployment: str, bodies: Sequence[bytes], load: Load) -> Pressed:
        async with self.call("press", deployment, tuple(bodies)) as chance:
            n = load.rps * load.seconds
            return Pressed(n, float(load.seconds), [chance.uniform(20, 90) for _ in range(n)], {})

    async def invoke(self, endpoint: EndpointRef, asked: Invocation) -> Submitted:
        async with self.call("invoke", asked.deployment, asked.name) as chance:
            again = asked.name in self._jobs
            self._jobs.setdefault(asked.name, self.clock() + timedelta(seconds=chance.uniform(60, 300)))
            return Submitted(asked.name, "NotStarted", again=again)

    def job(self, name: str) -> Job:
        ended = "Failed" if self.fate.wrong_scores else "Completed"
        return Job(status=ended if self._jobs[name] <= self.clock() else "Running")

    async def origin(self, where: WorkspaceRef, model: str, version: str) -> Origin | None:
        async with self.call("origin", model, version):
            tags = self.tags.get(f"{model}:{version}")
            return (
                None if tags is None else Origin(dict(tags), START, "ann", f"run-{version}", "fraud", commit="c0ffee")
            )

    async def tag(self, where: WorkspaceRef, model: str, version: str, tags: Mapping[str, str]) -> None:
        async with self.call("tag", model, version, dict(tags)):
            self.tags[f"{model}:{version}"] |= tags

    async def send(self, endpoint: str, key: str | None, event: Mapping[str, object]) -> None:
        raise NotImplementedError

    async def publish(self, event: Mapping[str, object]) -> None:
        async with self.call("publish", event.get("eventType")):
            pass

    # Counts

    async def minutes(
        self,
        endpoint: EndpointRef,
        source: Literal["logs", "metrics"],
        arms: tuple[str, Sequence[str]],
        span: tuple[datetime, datetime],
        gates: Sequence[Gate],
    ) -> Sequence[Pair]:
        async with self.call("minutes", source, *span):
            count = int((span[1] - span[0]).total_seconds()) // 60
            moments = [span[0] + timedelta(minutes=n) for n in range(count + 1)]
            return [self._pair(begin, arms, gates) for begin, _ in pairwise(moments)]

    def _pair(self, begin: datetime, arms: tuple[str, Sequence[str]], gates: Sequence[Gate]) -> Pair:
        if self.fate.canary == "blind":
            return Pair(begin)
        traffic, mirror = self._traffic.at(begin)
        canary, others = arms
        shares = (traffic.get(canary, 0) + mirror.get(canary, 0), sum(traffic.get(name, 0) for name in others))
        return Pair(begin, *(self._minute(begin, arm, share, gates) for arm, share in enumerate(shares)))

    def _minute(self, begin: datetime, arm: int, share: int, gates: Sequence[Gate]) -> Minute:
        chance = Random(self.seed << 40 | int(begin.timestamp()) << 1 | arm)
        n = round(self.fate.rate * share / 100)
        worse = {"2x": 2.0, "5x": 5.0}.get(self.fate.canary, 1.0) if arm == 0 else 1.0
        errors = 0.3 if self.fate.canary == "both bad" else 0.01 * worse
        slow = self.fate.canary == "slow" and arm == 0
        mean = 130.0 if slow else 80.0
        bad = {}
        for gate in gates:
            if not isinstance(gate, MeanGate):
                key = gate.key if isinstance(gate, BinaryGate) else gate.counts
                bad[key] = chance.binomialvariate(n, (0.1 if slow else 0.02) if "latency" in key else errors)
        return Minute(n, bad, n * mean + chance.gauss(0, 30) * n**0.5, n * (mean**2 + 30**2))


class _Platform(FakePlatform):
    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self._fleet = fleet

    async def metrics(self, where: WorkspaceRef, run: str) -> dict[str, float]:
        async with self._fleet.call("metrics", run):
            return {"auc": self._fleet.fate.auc if run == f"run-{NEW}" else 0.90}

    async def job(self, where: WorkspaceRef, run: str) -> Job:
        async with self._fleet.call("job", run):
            return self._fleet.job(run)


class _Events:
    """The queue of work: events of our own arrive on it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        for text in texts:
            message = wire.unpack(text)
            if isinstance(message, wire.Arrived):
                async with self._fleet.call("event", message.event.type):
                    pass
