"""A file of quality/ as values: where predictions and truth are, in which windows, and how good is good enough.

Every length of time is in seconds.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Final, Literal

from shared.record import WorkspaceRef

type Metric = Literal["accuracy", "precision", "recall", "f1", "auc", "log_loss", "mae", "rmse", "mape"]

CLASSES: Final[tuple[Metric, ...]] = ("accuracy", "precision", "recall", "f1", "auc", "log_loss")
"""Of a model that chooses a class."""

NUMBERS: Final[tuple[Metric, ...]] = ("mae", "rmse", "mape")
"""Of one that predicts a number."""

LOWER_IS_BETTER: Final[frozenset[Metric]] = frozenset({"log_loss", "mae", "rmse", "mape"})
ESTIMABLE: Final[tuple[Metric, ...]] = ("accuracy", "precision", "recall", "f1", "auc", "log_loss")
"""What scores alone tell, where they are probabilities."""

BUDGET_DAYS: Final = 30
"""Over which a watch's `alpha` is spent."""

TICK: Final = 600.0
"""How often it is looked whether a window is due."""


@dataclass(frozen=True)
class Logs:
    """Rows of a query in Log Analytics. `workspace`: its id, or the ARM id of a resource that has logs."""

    workspace: str
    query: str


@dataclass(frozen=True)
class Blob:
    """Files below a path, or one file. `path` may hold {yyyy}, {MM}, {dd} and {HH}, in UTC."""

    account: str
    container: str
    path: str


@dataclass(frozen=True)
class Asset:
    """A Data asset of the workspace. `version` may be `@latest`."""

    name: str
    version: str


@dataclass(frozen=True)
class Collector:
    """What the model data collector keeps of all deployments of the endpoint."""

    collection: str
    datastore: str = "workspaceblobstore"


type Source = Logs | Blob | Asset | Collector


@dataclass(frozen=True)
class Predictions:
    """`key`, `at`, …: names of columns; `at` says when it was predicted. One of `score` (the probability of the positive class),
    `label` and `value` is there; `version`: of the model.
    """

    source: Source
    key: str
    at: str
    score: str | None = None
    label: str | None = None
    value: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Truth:
    """`at`, where it is there, says when it became known."""

    source: Source
    key: str
    value: str
    at: str | None = None


@dataclass(frozen=True)
class Bound:
    """How good is good enough: not beyond `limit`, and no worse than the training run by more than `drop`."""

    limit: float | None = None
    drop: float | None = None

    @property
    def there(self) -> bool:
        return self.limit is not None or self.drop is not None


@dataclass(frozen=True)
class Ask:
    """One metric. `cohorts`: what each cohort has to keep. `logged_as`: its name in the training run."""

    metric: Metric
    bound: Bound = Bound()
    cohorts: Bound = Bound()
    logged_as: str = ""

    @property
    def higher_is_better(self) -> bool:
        return self.metric not in LOWER_IS_BETTER


@dataclass(frozen=True)
class Watch:
    """`lateness`: how long after its end a window is due; `reopen`: how long from then on late labels may change it. `alpha`: the
    probability of a false alarm in 30 days. `minimum`: predictions with a truth, below which nothing is said.
    """

    name: str
    model: str
    where: WorkspaceRef
    predictions: Predictions
    truth: Truth
    endpoint: str = ""
    asks: tuple[Ask, ...] = ()
    positive: str = "1"
    threshold: float = 0.5
    cohorts: tuple[str, ...] = ()
    window: float = 86_400.0
    zone: str = "UTC"
    lateness: float = 0.0
    reopen: float = 0.0
    minimum: int = 200
    alpha: float = 0.05
    patience: float = 2 * 86_400.0
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.window)

    @property
    def looks(self) -> int:
        """How often a window is looked at: when it is due, and once a window's length as long as late labels may change it."""
        return 1 + int(self.reopen // self.window)

    @property
    def noticed_within(self) -> float:
        """Seconds from the moment at which a model gets worse to the event, for one that gets clearly worse: it may happen right
        after a window has begun, which is then half good; the next one is all bad.
        """
        return 2 * self.window + self.lateness + TICK

    @property
    def windows(self) -> int:
        """How many of them the error budget has to last for."""
        return max(1, ceil(BUDGET_DAYS * 86_400 / self.window))

    def level(self, cohorts: int = 0) -> float:
        """The probability of a false alarm that one comparison may have: Bonferroni over windows, looks, limits and, where cohorts have
        limits too, half for the whole and half for all of them. `cohorts`: of one among so many; 0: of the whole.
        """
        whole = [ask for ask in self.asks if ask.bound.there]
        parts = [ask for ask in self.asks if ask.cohorts.there] if self.cohorts else []
        share = self.alpha / (self.windows * self.looks * (2 if whole and parts else 1))
        return share / max(1, len(parts) * cohorts if cohorts else len(whole))
