"""The requests to one endpoint, minute by minute: drawn when somebody asks, and the same whenever asked again."""

import math
from bisect import bisect_right
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, NamedTuple

type Provisioning = Literal["", "failed", "quota", "slow"]

USUAL: Final = 600.0
"""Requests per minute to an endpoint that nobody set another load for."""
FIRST_SEEN: Final = 90.0
LAST_SEEN: Final = 150.0
"""Seconds until a request is in the logs: the earliest and the latest, two minutes in the mean."""

_CALLERS_ERRORS: Final = 0.003
"""Share of requests that the caller got wrong, whoever answers them."""
_SPREAD: Final = 0.4
_KEPT: Final = 200


@dataclass(frozen=True)
class Manners:
    """How a model version behaves, by tags of the version or of its deployment; the deployment's win.

    | tag | value |
    | --- | --- |
    | simulated_error_rate | share of requests that fail: "0.05" |
    | simulated_error_status | with which status: "500"; "424" as when the scoring script itself fails |
    | simulated_latency_ms | the median of the latency: "40" |
    | simulated_wrong | "true": other scores than the model of the same data should give |
    | simulated_provisioning | "failed", "quota" (refused at once) or "slow" (three hours) |
    """

    error_rate: float = 0.002
    error_status: int = 500
    latency_ms: float = 40.0
    wrong: bool = False
    provisioning: Provisioning = ""

    @classmethod
    def of(cls, *tagged: Mapping[str, str]) -> "Manners":
        tags = {name: value for tags in tagged for name, value in tags.items()}

        def number(name: str, usual: float) -> float:
            try:
                return float(tags[f"simulated_{name}"])
            except (KeyError, ValueError):
                return usual

        asked = tags.get("simulated_provisioning")
        known: tuple[Provisioning, ...] = ("failed", "quota", "slow")
        return cls(
            number("error_rate", cls.error_rate),
            int(number("error_status", cls.error_status)),
            number("latency_ms", cls.latency_ms),
            tags.get("simulated_wrong") == "true",
            next((each for each in known if each == asked), ""),
        )

    def draw(self, chance: Random, incident: float = 0.0) -> tuple[int, int, float]:
        """One request: the status its caller gets, the model's own, and the latency in ms. `incident`: the share that fails
        whoever answers.
        """
        luck = chance.random()
        ms = self.latency_ms * math.exp(_SPREAD * chance.gauss())
        if luck < self.error_rate + incident:
            return self.error_status, 500, ms
        return (400, 400, ms) if luck > 1 - _CALLERS_ERRORS else (200, 200, ms)


class Arm(NamedTuple):
    """`share`: of the requests to the endpoint, 0 to 1; of a mirrored deployment too."""

    deployment: str
    share: float
    manners: Manners


class Era(NamedTuple):
    """What is in force from `began` on, in seconds since 1970 as every time here."""

    began: float
    arms: tuple[Arm, ...]
    per_minute: float
    incident: float


class Row(NamedTuple):
    """A request as the logs tell it. `seen`: when it is there."""

    at: float
    deployment: str
    status: int
    model_status: int
    ms: int
    seen: float


class Traffic:
    """`seed`: the same seed and the same eras give the same requests."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._eras: list[Era] = []
        self._real: defaultdict[int, list[Row]] = defaultdict(list)
        self._kept: OrderedDict[int, Sequence[Row]] = OrderedDict()

    @property
    def first(self) -> int | None:
        """The minute of the first request there can be."""
        begins = [int(self._eras[0].began // 60)] if self._eras else []
        return min([*begins, *self._real], default=None)

    def turn(self, at: float, arms: Iterable[Arm], per_minute: float, incident: float) -> None:
        """From now on."""
        began = max([at, *(era.began for era in self._eras[-1:])])
        self._eras.append(Era(began, tuple(arms), per_minute, incident))

    def add(self, at: float, deployment: str, drawn: tuple[int, int, float]) -> None:
        """A request that somebody really made."""
        status, model_status, ms = drawn
        self._real[int(at // 60)].append(
            Row(at, deployment, status, model_status, round(ms), at + (FIRST_SEEN + LAST_SEEN) / 2)
        )

    def rows(self, minute: int, now: float) -> Sequence[Row]:
        """The requests of this minute since 1970, whole once it is over: the logs know them later (`Row.seen`)."""
        if minute in self._kept:
            self._kept.move_to_end(minute)
            return self._kept[minute]
        rows = [*self._drawn(minute), *self._real.get(minute, ())]
        if now >= minute * 60 + 60:
            self._kept[minute] = rows
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return rows

    def counted(self, minute: int, now: float) -> Mapping[Row, int]:
        """The same, but for when in the minute they were: many are alike then. All at its begin."""
        at = minute * 60.0
        rows = self.rows(minute, now)
        alike = Counter((row.deployment, row.status, row.model_status, row.ms) for row in rows)
        return {Row(at, *each, at): times for each, times in alike.items()}

    def shares(self, since: float) -> Iterator[tuple[float, Mapping[str, float]]]:
        """When which shares of the traffic came into force, for a picture."""
        for era in self._eras[max(0, bisect_right(self._eras, since, key=lambda era: era.began) - 1) :]:
            yield era.began, {arm.deployment: arm.share for arm in era.arms}

    def _drawn(self, minute: int) -> Iterator[Row]:
        begin, end = minute * 60.0, minute * 60.0 + 60.0
        first = max(0, bisect_right(self._eras, begin, key=lambda era: era.began) - 1)
        swing = 1 + 0.1 * math.sin(minute / 15) + Random(f"{self._seed}/{minute}").uniform(-0.08, 0.08)
        for n, era in enumerate(self._eras[first:], first):
            if era.began >= end:
                break
            until = min(end, self._eras[n + 1].began) if n + 1 < len(self._eras) else end
            for arm in era.arms:
                since = max(begin, era.began)
                chance = Random(f"{self._seed}/{minute}/{since - begin:.3f}/{arm.deployment}")
                yield from _arrivals(
                    arm, since, until, per_second=era.per_minute * swing * arm.share / 60, era=era, chance=chance
                )


def settled(minute: int, now: float) -> bool:
    """Whether the logs know all about this minute."""
    return now >= minute * 60 + 60 + LAST_SEEN


def _arrivals(arm: Arm, since: float, until: float, *, per_second: float, era: Era, chance: Random) -> Iterator[Row]:
    if per_second <= 0:
        return
    at = since + chance.expovariate(per_second)
    while at < until:
        status, model_status, ms = arm.manners.draw(chance, era.incident)
        yield Row(at, arm.deployment, status, model_status, round(ms), at + chance.uniform(FIRST_SEEN, LAST_SEEN))
        at += chance.expovariate(per_second)
