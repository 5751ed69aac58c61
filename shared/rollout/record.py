"""What a rollout is about, what its script asks for, what it is answered, and the account that is kept of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct, field

from shared.record import WorkspaceRef
from shared.rollout.policy import Policy

type Verdict = Literal["promoted", "rolled back", "stuck"]

type Status = Literal[
    "waiting",  # for its turn: another rollout has the endpoint
    "checking",
    "deploying",
    "mirroring",
    "baking",
    "asking",
    "frozen",
    "held",  # both arms are bad, or nobody knows
    "promoting",
    "keeping",  # promoted; the old deployment is kept for an instant way back
    "rolling back",
    "promoted",
    "rolled back",
    "stuck",
]

ENDED: Final[frozenset[Status]] = frozenset({"promoted", "rolled back", "stuck"})

type Weights = dict[str, int]
"""Deployment -> whole per cent; those with nothing are left out."""


class Said(Struct, frozen=True, omit_defaults=True):
    """A sentence in every language we speak: `code` names it in words.py, `values` fill it in."""

    code: str
    values: dict[str, str | int | float] = field(default_factory=dict)


class Reading(Struct, frozen=True, omit_defaults=True):
    """What one gate says now. Counts are those it decides on; `e` and `threshold` belong to a statistical gate, `limit` to
    a ceiling (a rate) or a mean gate (a relative increase); where a stage is to pass it is the margin.
    """

    gate: str
    state: Literal["holds", "breach", "both bad", "unknown", "too few"]
    canary_bad: float = 0
    canary_total: float = 0
    baseline_bad: float = 0
    baseline_total: float = 0
    e: float | None = None
    threshold: float | None = None
    limit: float | None = None
    estimate: float | None = None
    """The odds ratio, or the relative increase, as far as it can be told."""
    upper: float | None = None
    """Upper bound of the difference of rates, where a stage is to pass."""


class Minute(Struct, frozen=True, omit_defaults=True):
    """The counts of one arm in one minute. `bad`: by the key of a gate. `total` and `squares`: sums of the latency in ms
    and of its square, None where the source does not tell.
    """

    requests: int
    bad: dict[str, int] = field(default_factory=dict)
    total: float | None = None
    squares: float | None = None


class Pair(Struct, frozen=True, omit_defaults=True):
    """Both arms in the minute that begins at `at`. None: nobody knows, which is not "no requests"."""

    at: datetime
    canary: Minute | None = None
    baseline: Minute | None = None


# People


type Verb = Literal["approve", "reject", "abort", "override", "replace", "next"]
"""What can be said to a running rollout. `override`: break the glass of a freeze. `replace` and `next` are said by a newer
rollout for the same endpoint: go away if no traffic has come yet; be quick with keeping the old deployment.
"""


class Word(Struct, frozen=True, omit_defaults=True):
    """Somebody said something. `ask`: the step number of the question it answers. `via`: link, command line, console, API."""

    verb: Verb
    by: str
    at: datetime
    reason: str = ""
    ask: int | None = None
    via: str = ""


class Freeze(Struct, frozen=True, omit_defaults=True):
    """Nothing moves forward on these endpoints until then. `endpoint`: its name, or * for all. `lifted`: when somebody,
    `lifted_by`, ended it before its time.
    """

    id: str
    reason: str
    owner: str
    began: datetime
    until: datetime
    endpoint: str = "*"
    lifted: datetime | None = None
    lifted_by: str = ""


# What a rollout is about

CHANGES: Final[Mapping[int, tuple[str, str]]] = {
    1: ("0.1", "The first."),
    2: ("0.2", "A smoke test that is more than an hour old when the first traffic could begin is done once more."),
}
"""By version of the script: the release that brought it, and what it does otherwise than the one before."""

SCRIPT: Final = max(CHANGES)
"""The version that rollouts begin with now."""

OLDEST: Final = 1
"""The one of the last minor release. What asks for older ones, in the script, can go."""


class Trigger(Struct, frozen=True, omit_defaults=True):
    """The event that began it, in short: its record goes after a month, the account of a rollout does not."""

    id: str
    type: str
    time: datetime
    subject: str
    source: str


class Rollout(Struct, frozen=True, omit_defaults=True):
    """`deployment`: the name of the new one. `event` (the id of its record), `trigger`, `rule`, `config`: what led here, and by
    which version of the configuration. `tags`: the cause, for everything that is made on the way. `restores`: the id of the rollout whose model was
    rejected, for one that brings the last approved version back: it has its stages behind it. `script`: the version of the
    script that it began with, and keeps; one from before there were versions says none.
    """

    id: str
    policy: Policy
    where: WorkspaceRef
    endpoint: str
    model: str
    version: str
    deployment: str
    at: datetime
    config: str = ""
    event: str = ""
    rule: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    restores: str = ""
    trigger: Trigger | None = None
    script: int = 1


# Commands: what the script asks for


class Command(Struct, frozen=True, omit_defaults=True, kw_only=True, tag=True):
    """`status`, `percent`: how things stand while it is done. `why` and `readings`: on what grounds it is asked for."""

    status: Status
    percent: int = 0
    why: Said | None = None
    readings: tuple[Reading, ...] = ()


class TakeTurn(Command, frozen=True):
    """The endpoint for ourselves: one rollout at a time. Answer: Done, Occupied."""


class Look(Command, frozen=True):
    """The endpoint as it is. Answer: Seen."""


class CompareModels(Command, frozen=True):
    """The logged metrics of the candidate and of the model in production. Answer: Compared.

    `champion`: `name:version`, "" where nothing is live.
    """

    champion: str = ""


class Assess(Command, frozen=True):
    """The responsible AI assessment. Answer: Assessed."""


class Create(Command, frozen=True):
    """The deployment, without traffic; done when it is accepted. Answer: Done."""


class Probe(Command, frozen=True):
    """The smoke test, at the scoring address. Answer: Probed."""


class Move(Command, frozen=True):
    """Traffic as it shall be. `expected`: as it was left last, None where it does not matter; answered by Changed, with
    nothing written, when it is neither that nor already as it shall be. Answer: Done (accepted; it is seen later), Changed.
    """

    traffic: Weights
    mirror: Weights = field(default_factory=dict)
    expected: Weights | None = None
    expected_mirror: Weights | None = None


class Mirror(Move, frozen=True):
    """Copies of live requests to the canary, whose answers nobody gets."""


class Shift(Move, frozen=True):
    """A share of the live traffic to the canary."""


class Promote(Move, frozen=True):
    """All of it."""


class Restore(Move, frozen=True):
    """Back to the weights that were found at the start."""


class Bake(Command, frozen=True):
    """Time passes until `until`; a word from a person ends it early. Answer: Elapsed, Heard. `ask`: the number of the
    question that is open, so that its answer is taken.
    """

    until: datetime
    ask: int | None = None


class Measure(Command, frozen=True):
    """Counts of both arms for the whole minutes from `since` on, as far as they are complete, and the endpoint as it is.
    Answer: Measured.
    """

    since: datetime
    canary: str
    others: tuple[str, ...]


class Clear(Command, frozen=True):
    """Whether a freeze is in force for the endpoint. Answer: Done, Frozen."""


class Ask(Command, frozen=True):
    """A person is asked; the answer is waited for by Bake. `of`: the receiver; the policy's `notify` where empty. Answer: Done."""

    question: Said
    until: datetime
    of: str = ""


class Tag(Command, frozen=True):
    """Labels on a model version; others stay. Answer: Done."""

    model: str
    version: str
    tags: dict[str, str]


class Delete(Command, frozen=True):
    """A deployment without traffic; done when it is accepted, or not there. Answer: Done."""

    deployment: str


class Announce(Command, frozen=True):
    """An event of our own, through the rules and to the topic where one is set. Answer: Done."""

    kind: Literal["RolloutStarted", "RolloutAdvanced", "RolloutCompleted", "RolloutRolledBack", "RolloutStuck"]


class Finish(Command, frozen=True):
    """The last one: the endpoint is free for the next rollout. Answer: Done."""

    verdict: Verdict


type Asked = (
    TakeTurn
    | Look
    | CompareModels
    | Assess
    | Create
    | Probe
    | Mirror
    | Shift
    | Promote
    | Restore
    | Bake
    | Measure
    | Clear
    | Ask
    | Tag
    | Delete
    | Announce
    | Finish
)


# Answers


class DeploymentState(Struct, frozen=True, omit_defaults=True):
    """`state`: Creating, Updating, Deleting, Succeeded, Failed or Canceled, as Azure spells it. `model`: `name:version`."""

    name: str
    state: str
    model: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    error: str = ""


class EndpointState(Struct, frozen=True, omit_defaults=True):
    """Of a batch endpoint `traffic` is {default deployment: 100}."""

    name: str
    state: str
    traffic: Weights = field(default_factory=dict)
    mirror: Weights = field(default_factory=dict)
    deployments: tuple[DeploymentState, ...] = ()
    kubernetes: bool = False

    def deployment(self, name: str) -> DeploymentState | None:
        return next((one for one in self.deployments if one.name == name), None)


class Answer(Struct, frozen=True, omit_defaults=True, kw_only=True, tag=True):
    at: datetime


class Done(Answer, frozen=True):
    """`said`: what came of it, in words. `again`: it was so already, from an earlier try."""

    said: str = ""
    again: bool = False


class Busy(Answer, frozen=True):
    """Again later: busy, or out of reach. `after`: seconds that the far side asked for."""

    reason: str
    after: float | None = None


class Refused(Answer, frozen=True):
    """Never like this. `code`: `quota`, `conflict`, `missing`, `fault` (our own) or "" for any other."""

    reason: str
    code: str = ""


class Seen(Answer, frozen=True):
    """`endpoint` is None when there is none. `tags`: of the candidate's model version, None when there is none."""

    endpoint: EndpointState | None
    tags: dict[str, str] | None = None


class Compared(Answer, frozen=True):
    """Metrics by name; None where they could not be had, with the reason in `unknown`."""

    candidate: dict[str, float] | None = None
    champion: dict[str, float] | None = None
    unknown: str = ""


class Assessed(Answer, frozen=True):
    """`file`: where the assessment is; "" when the model names none. `missing`: the questions without an answer."""

    file: str = ""
    missing: tuple[str, ...] = ()


class UnderLoad(Struct, frozen=True, omit_defaults=True):
    """What came of a load. `rate`: requests that began, a second. `missed`: those that did not begin, because too many were
    under way. `failed`: how many by HTTP status, `no answer` where there was none. Latencies in ms, of the answers with
    success, from when each was due.
    """

    sent: int
    rate: float
    missed: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


class Probed(Answer, frozen=True):
    """`wrong`: what did not come as expected, `failed`: which requests failed and how; in words, at most ten of each.
    Latencies in ms.
    """

    sent: int
    errors: int
    wrong: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    p50: float = 0.0
    p95: float = 0.0
    load: UnderLoad | None = None


class Measured(Answer, frozen=True):
    """`until`: the end of the last minute that was looked at. `unknown`: why the counts could not be had."""

    until: datetime
    pairs: tuple[Pair, ...] = ()
    endpoint: EndpointState | None = None
    tags: dict[str, str] | None = None
    unknown: str = ""


class Changed(Answer, frozen=True):
    """Somebody else has changed the traffic: nothing was written."""

    traffic: Weights
    mirror: Weights = field(default_factory=dict)


class Occupied(Answer, frozen=True):
    """`holder`: the id of the rollout that has the endpoint."""

    holder: str


class Frozen(Answer, frozen=True):
    reason: str
    owner: str
    until: datetime


class Elapsed(Answer, frozen=True):
    pass


class Heard(Answer, frozen=True):
    word: Word


type Answered = (
    Done
    | Busy
    | Refused
    | Seen
    | Compared
    | Assessed
    | Probed
    | Measured
    | Changed
    | Occupied
    | Frozen
    | Elapsed
    | Heard
)


# The account


class Step(Struct, frozen=True, omit_defaults=True):
    """One thing that was asked for, when, and what came of it."""

    n: int
    asked: datetime
    command: Asked
    answer: Answered


class Question(Struct, frozen=True, omit_defaults=True):
    """What a person is asked at the moment. `n`: the step that asked."""

    n: int
    question: Said
    until: datetime
    of: str = ""


class Head(Struct, frozen=True, omit_defaults=True):
    """How a rollout stands, in short: what lists show."""

    id: str
    policy: str
    endpoint: str
    workspace: str
    model: str
    version: str
    began: datetime
    status: Status
    subscription: str = ""
    resource_group: str = ""
    percent: int = 0
    why: Said | None = None
    question: Question | None = None
    ended: datetime | None = None
    restores: str = ""
    replaced: str = ""
    """`name:version` of the model that served before."""
