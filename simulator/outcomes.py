"""What the fraud model scored, and what the payment desk found out some hours later: until somebody turns it bad."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import batched
from math import exp
from random import Random
from typing import Final

from simulator import kusto

PREDICTIONS: Final = "FraudPredictions_CL"
LABELS: Final = "FraudLabels_CL"
COLUMNS: Final = {
    PREDICTIONS: {
        "TimeGenerated": "datetime",
        "TransactionId": "string",
        "Score": "real",
        "Segment": "string",
        "ModelVersion": "string",
    },
    LABELS: {"TimeGenerated": "datetime", "TransactionId": "string", "IsFraud": "long"},
}
SEGMENTS: Final = ("north", "south", "online")

_HOUR: Final = 3600
_DELAY: Final = 6 * _HOUR
_BACK: Final = 4 * 24
"""Hours after which nothing new is found out about a payment."""

_KEPT: Final = 24 * 60
_TOGETHER: Final = 3
"""Requests that the data collector writes in one line."""

_OFFSET: Final = -4.2
_STEEPNESS: Final = 2.6


@dataclass(frozen=True)
class Payment:
    """Times in seconds since 1970."""

    id: str
    at: float
    score: float
    segment: str
    fraud: bool
    known: float


@dataclass
class Outcomes:
    """`hourly`: payments. The scores are probabilities, so the AUC is 0.93; from `drifts` on, the share `drift` of the truth (of
    `segment`, where one is given) has nothing to do with them. Truth is known `late` seconds later than usual, and none comes
    after `stops`. The same seed and hour, the same payments.
    """

    seed: int
    hourly: int = 60
    drifts: float = float("inf")
    drift: float = 0.0
    segment: str = ""
    late: float = 0.0
    stops: float = float("inf")
    version: str = "12"
    _hours: OrderedDict[int, list[Payment]] = field(default_factory=OrderedDict)

    def change(self) -> None:
        """After a lever was moved: what was drawn is drawn anew."""
        self._hours.clear()

    def hour(self, n: int) -> list[Payment]:
        if n not in self._hours:
            self._hours[n] = self._drawn(n)
            if len(self._hours) > _KEPT:
                self._hours.popitem(last=False)
        return self._hours[n]

    def _drawn(self, n: int) -> list[Payment]:
        chance, found = Random(f"{self.seed} {n}"), []
        for i in range(self.hourly):
            at = (n + (i + chance.random()) / self.hourly) * _HOUR
            score, other = (1 / (1 + exp(-_OFFSET - _STEEPNESS * chance.gauss(0, 1))) for _ in range(2))
            segment, lost, came = chance.choice(SEGMENTS), chance.random(), chance.expovariate(1 / _DELAY)
            blind = at >= self.drifts and self.segment in {"", segment} and lost < self.drift
            fraud = chance.random() < (other if blind else score)
            found.append(Payment(f"p{n}-{i}", at, round(score, 6), segment, fraud, at + self.late + came))
        return found

    def predicted(self, since: float, until: float) -> Iterator[Payment]:
        for n in range(int(since // _HOUR), int(-(-until // _HOUR))):
            yield from (one for one in self.hour(n) if since <= one.at < until)

    def known(self, since: float, until: float) -> Iterator[Payment]:
        """By when the truth came."""
        back = _BACK + int(self.late // _HOUR)
        for n in range(int(since // _HOUR) - back, int(-(-until // _HOUR))):
            yield from (one for one in self.hour(n) if since <= one.known < min(until, self.stops))

    def rows(self, table: str, since: float, until: float) -> Iterator[kusto.Row]:
        if table == PREDICTIONS:
            for one in self.predicted(since, until):
                yield self._prediction(one)
        else:
            for one in self.known(since, until):
                yield {"TimeGenerated": one.known, "TransactionId": one.id, "IsFraud": int(one.fraud)}

    def _prediction(self, one: Payment) -> kusto.Row:
        return {
            "TimeGenerated": one.at,
            "TransactionId": one.id,
            "Score": one.score,
            "Segment": one.segment,
            "ModelVersion": self.version,
        }

    # As files

    def collected(self, source: str, begin: float, now: float) -> bytes:
        """An hour of model_outputs, as the model data collector writes it: several requests in one line, each with our own id."""
        lines: list[Mapping[str, object]] = []
        for group in batched(self.predicted(begin, min(begin + _HOUR, now)), _TOGETHER, strict=False):
            rows = [
                {"transaction_id": one.id, "scored_at": _stamp(one.at), "score": one.score, "segment": one.segment}
                for one in group
            ]
            lines.append(
                {
                    "specversion": "1.0",
                    "id": f"e-{group[0].id}",
                    "source": source,
                    "type": "azureml.inference.model_outputs",
                    "datacontenttype": "application/json",
                    "time": _stamp(group[-1].at),
                    "data": rows,
                    "correlationid": f"c-{group[0].id}",
                    "xrequestid": f"x-{group[0].id}",
                    "modelversion": self.version,
                    "collectdatatype": "pandas.core.frame.DataFrame",
                    "agent": "azureml-ai-monitoring/0.1.0b1",
                    "contentrange": f"bytes 0-{len(json.dumps(rows)) - 1}/{len(json.dumps(rows))}",
                }
            )
        return _jsonl(lines)

    def labelled(self, begin: float, now: float) -> bytes:
        """A day of truth, by when it came."""
        return _jsonl(
            {"transaction_id": one.id, "is_fraud": int(one.fraud), "decided_at": _stamp(one.known)}
            for one in self.known(begin, min(begin + 24 * _HOUR, now))
        )


def _jsonl(lines: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def _stamp(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def hours(back: timedelta, now: datetime) -> Iterator[datetime]:
    """The whole hours of that time, the oldest first."""
    at = (now - back).replace(minute=0, second=0, microsecond=0)
    while at < now:
        yield at
        at += timedelta(hours=1)
