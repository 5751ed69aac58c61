"""A rollout policy as values. A running rollout keeps its own copy, whatever happens to the file meanwhile.

Every length of time is in seconds, every rate a share between 0 and 1, every weight a whole per cent.
"""

from datetime import date
from typing import Literal

from msgspec import Struct, field

from shared.record import WorkspaceRef

type Kind = Literal["managed", "kubernetes", "batch"]
"""Of the endpoint. A batch endpoint has no traffic to share: its default deployment is switched."""

type Bad = Literal["http_5xx", "http_4xx", "latency_over"]


class Approval(Struct, frozen=True, omit_defaults=True):
    """Asked of the receiver `by`. `otherwise`: what happens when nobody answers in time."""

    by: str
    within: float = 86_400.0
    otherwise: Literal["rollback", "promote", "hold"] = "rollback"


class Stage(Struct, frozen=True, omit_defaults=True):
    """A share for the canary, live or (`mirror`) copied, for at least `seconds` and `min_requests` to the canary.

    `approve`: asked when the stage has passed, before the next one.
    """

    percent: int
    seconds: float
    mirror: bool = False
    min_requests: int = 0
    approve: Approval | None = None


class BinaryGate(Struct, frozen=True, omit_defaults=True, tag="bad"):
    """Of each request: bad or not. Judged by the sequential test against the baseline.

    `alpha`: the error budget that the author gives it; divided by the number of statistical gates before it is used.
    `worse_than`: the odds ratio (canary over baseline) that is still acceptable. `margin`: how much higher, as a
    difference of rates, the canary may be at most for a stage to pass. `slo_ms`: for latency_over.
    """

    bad: Bad
    alpha: float = 0.05
    worse_than: float = 1.0
    margin: float = 0.01
    slo_ms: float | None = None

    @property
    def key(self) -> str:
        """By which the counts of a minute name what is bad: `http_5xx`, `latency_over_400`."""
        return self.bad if self.slo_ms is None else f"{self.bad}_{self.slo_ms:g}"


class MeanGate(Struct, frozen=True, omit_defaults=True, tag="mean"):
    """The mean latency of the canary against the baseline's, by an anytime-valid confidence sequence.

    `worse_than`: the relative increase that is still acceptable, 0.2 for a fifth.
    """

    mean: Literal["latency_ms"]
    alpha: float = 0.05
    worse_than: float = 0.2

    @property
    def key(self) -> str:
        return f"mean_{self.mean}"


class CeilingGate(Struct, frozen=True, omit_defaults=True, tag="ceiling"):
    """A hard limit: the canary's rate above `max` for `seconds` in a row, while the baseline's is not."""

    ceiling: Literal["error_rate", "latency_over"]
    max: float
    seconds: float = 120.0
    slo_ms: float | None = None

    @property
    def counts(self) -> str:
        """The key of the counts that it looks at: `error_rate` is that of http_5xx."""
        return "http_5xx" if self.slo_ms is None else f"latency_over_{self.slo_ms:g}"

    @property
    def key(self) -> str:
        return "ceiling_error_rate" if self.slo_ms is None else f"ceiling_latency_over_{self.slo_ms:g}"


type Gate = BinaryGate | MeanGate | CeilingGate


class Compare(Struct, frozen=True, omit_defaults=True):
    """A logged metric of the candidate against the champion's, or against a number.

    Holds when candidate - reference >= at_least (for `lower_is_better`: reference - candidate >= at_least). `cohorts`:
    so for every metric logged as `<metric>/<cohort>` too, with `cohort_at_least`.
    """

    metric: str
    against: Literal["champion"] | float = "champion"
    at_least: float = 0.0
    lower_is_better: bool = False
    cohorts: bool = False
    cohort_at_least: float | None = None


class Sample(Struct, frozen=True, omit_defaults=True):
    """One request of the smoke test: its name, the JSON body, and the JSON that is expected where it is known."""

    name: str
    body: str
    expected: str | None = None


class Load(Struct, frozen=True, omit_defaults=True):
    """A little load on the deployment while nobody uses it: so many requests begin each second, whether the ones before are
    answered or not, with `at_once` under way at most. Limits that are None are not checked.
    """

    rps: int
    seconds: int
    at_once: int = 50
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_error_rate: float = 0.01


class Smoke(Struct, frozen=True, omit_defaults=True):
    """`tolerance`: how far a number may be from the expected one. Limits that are None are not checked."""

    samples: tuple[Sample, ...] = ()
    tolerance: float = 1e-6
    p95_ms: float | None = None
    max_errors: int = 0
    repeat: int = 1
    """How often each sample is sent; the latency is measured over all of them."""
    data: str = ""
    """Of a batch endpoint: the data asset that a test invocation reads, in place of samples."""
    load: Load | None = None
    """Brought when the samples have passed, made of them."""


class Recipe(Struct, frozen=True, omit_defaults=True):
    """How to make the deployment. An MLflow model needs neither environment nor code."""

    instance_type: str | None = None
    instance_count: int = 1
    environment: str | None = None
    code: str | None = None
    scoring_script: str | None = None
    compute: str | None = None
    """Of a batch deployment."""
    request_timeout_ms: int | None = None
    max_concurrent_requests: int | None = None
    variables: dict[str, str] = field(default_factory=dict)
    collect: tuple[str, ...] = ()
    """Collections of the model data collector: model_inputs, model_outputs, request, response."""
    app_insights: bool = False
    within: float = 3600.0
    """How long its creation may take."""


class Window(Struct, frozen=True, omit_defaults=True):
    """When traffic may move forward: days of the week (Monday is 0), minutes of the day, the end exclusive."""

    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    start: int = 0
    end: int = 1440
    zone: str = "UTC"


class Closed(Struct, frozen=True, omit_defaults=True):
    """Days, both included, on which traffic does not move forward."""

    first: date
    last: date
    reason: str
    owner: str = ""
    zone: str = "UTC"


class Labels(Struct, frozen=True, omit_defaults=True):
    """Tags that are put on model versions, and the one by which a person rejects a version in the registry."""

    promoted: dict[str, str] = field(default_factory=lambda: {"stage": "production"})
    replaced: dict[str, str] = field(default_factory=lambda: {"stage": "archived"})
    rolled_back: dict[str, str] = field(default_factory=lambda: {"stage": "rolled-back"})
    rejected: dict[str, str] = field(default_factory=lambda: {"stage": "rejected"})


class Policy(Struct, frozen=True, omit_defaults=True):
    """config/rollouts/<name>.yaml, checked.

    `patience`: how long metrics may be unknown, both arms bad, or the far side busy, before the next worse thing is done.
    `extend`: how much longer than its time a stage may bake while it is undecided; then `undecided` happens. `second`: what
    a second candidate for the same endpoint does. `every`: how often the counts are read.
    """

    name: str
    endpoint: str
    workspace: WorkspaceRef | None = None
    kind: Kind = "managed"
    deployment: Recipe = Recipe()
    compare: tuple[Compare, ...] = ()
    responsible_ai: bool = False
    smoke: Smoke | None = None
    approve: Approval | None = None
    """Asked after all checks, before the first traffic."""
    stages: tuple[Stage, ...] = ()
    gates: tuple[Gate, ...] = ()
    counts: Literal["logs", "metrics"] = "logs"
    on_breach: Literal["rollback", "hold"] = "rollback"
    undecided: Literal["ask", "rollback"] = "ask"
    extend: float = 3600.0
    patience: float = 900.0
    every: float = 60.0
    windows: tuple[Window, ...] = ()
    closed: tuple[Closed, ...] = ()
    second: Literal["wait", "replace"] = "wait"
    keep_old: float = 86_400.0
    labels: Labels = field(default_factory=Labels)
    notify: tuple[str, ...] = ()
    """Receivers that hear how it ends."""
