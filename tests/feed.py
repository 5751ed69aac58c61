"""A model whose scores are probabilities, day after day, and the truth that comes some hours later: until something turns bad."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import exp
from random import Random  # noqa: TID251 (chance comes from the seed)

from shared.quality.watch import Logs, Watch
from shared.rollout.record import DeploymentState, EndpointState
from shared.world import Origin
from tests.world import Outside, VirtualClock

type Rows = Sequence[Mapping[str, object]]

MIDNIGHT = datetime(2026, 10, 1, tzinfo=UTC)
SEGMENTS = ("north", "south", "online")


def logistic(x: float) -> float:
    return 1 / (1 + exp(-x))


@dataclass
class Feed:
    """`daily`: predictions. `drifts`: from then on the share `by` of the truth has nothing to do with the scores any more (only of
    `segment`, where one is given); `stops`: no truth comes after it; `late`: all truth comes by so much later.
    """

    seed: int
    daily: int = 1500
    drifts: datetime | None = None
    by: float = 0.6
    segment: str = ""
    stops: datetime | None = None
    late: timedelta = timedelta()
    steepness: float = 2.6
    offset: float = -4.2
    _days: dict[int, tuple[list[dict[str, object]], list[dict[str, object]]]] = field(default_factory=dict)

    def day(self, n: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        """Predictions and truth of the n-th day. The same seed, the same day."""
        if n not in self._days:
            chance = Random(self.seed << 20 | n)
            predictions, truth = [], []
            for i in range(self.daily):
                at = MIDNIGHT + timedelta(days=n, seconds=86_400 * (i + chance.random()) / self.daily)
                segment = chance.choice(SEGMENTS)
                score, other = (logistic(self.offset + self.steepness * chance.gauss(0, 1)) for _ in range(2))
                lost = self.drifts is not None and at >= self.drifts and self.segment in {"", segment}
                meant = other if lost and chance.random() < self.by else score
                known = at + self.late + timedelta(hours=chance.expovariate(1 / 6))
                key, fraud = f"d{n}-{i}", int(chance.random() < meant)
                predictions.append(
                    {
                        "TimeGenerated": at,
                        "TransactionId": key,
                        "Score": score,
                        "Segment": segment,
                        "ModelVersion": "12",
                    }
                )
                if self.stops is None or known < self.stops:
                    truth.append({"TimeGenerated": known, "TransactionId": key, "IsFraud": fraud})
            self._days[n] = predictions, truth
        return self._days[n]

    def answer(self, part: int) -> Callable[[datetime, datetime], Rows]:
        """Rows of the span, as a log would tell them; `part`: 0 predictions, 1 truth."""

        def rows(since: datetime, until: datetime) -> Rows:
            first, last = ((moment - MIDNIGHT) // timedelta(days=1) for moment in (since, until))
            back = 3 + self.late.days if part else 0  # truth comes behind its prediction
            days = range(max(0, first - back), last + 1)
            return [row for n in days for row in self.day(n)[part] if since <= row["TimeGenerated"] < until]  # type: ignore[operator]

        return rows


def outside(feed: Feed, watch: Watch, begin: datetime) -> Outside:
    """Everything that the watch asks: logs, the endpoint with its version 12, the run that made it."""
    made = Outside(clock=VirtualClock(begin))
    sources = (watch.predictions.source, watch.truth.source)
    for part, source in enumerate(sources):
        assert isinstance(source, Logs)
        made.logs.answers[source.query] = feed.answer(part)
    made.serving.endpoints[watch.endpoint] = EndpointState(
        watch.endpoint, "Succeeded", {"blue": 90, "green": 10}, deployments=(
            DeploymentState("blue", "Succeeded", "fraud:12"), DeploymentState("green", "Succeeded", "fraud:13")
        )
    )  # fmt: skip
    made.serving.origins["fraud:12"] = Origin({"team": "fraud"}, run="run-12")
    made.platform.measured["run-12"] = {"auc": 0.925, "accuracy": 0.97}
    return made
