"""How often a healthy model is told of, and how soon a bad one is: `python -m bench.quality [WORLDS]`.

Each world is a model with calibrated scores, a truth that comes, and the watch of config/quality/fraud.yaml over days in UTC: 30 healthy
days, in which any breach is a false alarm, then days on which a share of the truth has nothing to do with the scores any more. Beside
the judge, on the same numbers, stands the naive one: degraded when the value is beyond the limit. A third kind of world is at its
limit: the hardest case that must not be told of.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from shared.quality.judge import Look, look_at
from shared.quality.rows import Joined, Pair
from shared.quality.watch import Ask, Bound, Watch
from shared.quality.windows import Window
from shared.rules.load import load_texts
from shared.settings import read_folder

DAYS: Final = 30
LATER: Final = 14
_BEGIN: Final = datetime(2026, 10, 1, tzinfo=UTC)
_SEGMENTS: Final = ("north", "south", "online")
_MADE: Final = 200_000
"""Predictions, with their truth, from which days are drawn."""


def population(seed: int) -> tuple[list[float], list[float]]:
    """Scores, and other scores that have nothing to do with them."""
    import numpy as np

    chance = np.random.default_rng(seed)
    both = 1 / (1 + np.exp(-(-4.2 + 2.6 * chance.standard_normal((2, _MADE)))))
    return both[0].tolist(), both[1].tolist()


@dataclass(frozen=True)
class Model:
    """`daily`: predictions; `made`: scores, and scores that have nothing to do with them; `cohorts`: whether there are any."""

    daily: int
    made: tuple[list[float], list[float]]
    cohorts: bool = True


def day(n: int, chance: Random, model: Model, drift: float = 0.0) -> Joined:
    """One window of predictions, all of whose truth is known."""
    made, daily = model.made, model.daily
    at, pairs = _BEGIN + timedelta(days=n), []
    for i in range(daily):
        one = chance.randrange(_MADE)
        score = made[0][one]
        meant = made[1][one] if chance.random() < drift else score
        truth = "1" if chance.random() < meant else "0"
        cohorts = (_SEGMENTS[i % len(_SEGMENTS)],) if model.cohorts else ()
        pairs.append(Pair(f"{n}-{i}", at, score, "1" if score >= 0.5 else "", truth, None, "12", cohorts))
    return Joined(pairs, {}, "", "12", 0, daily)


def looked(watch: Watch, n: int, found: Joined, reference: Mapping[str, float]) -> Look:
    window = Window(_BEGIN + timedelta(days=n), _BEGIN + timedelta(days=n + 1))
    return look_at(watch, window, 0, found, at=window.end, version="12", reference=reference)


def naive(look: Look) -> bool:
    """A counter of thresholds: the value itself is held against the limit."""
    return any(
        one.limit is not None and (one.value < one.limit if one.metric != "log_loss" else one.value > one.limit)
        for one in look.findings
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("worlds", nargs="?", type=int, default=200)
    parser.add_argument("--daily", type=int, default=1500)
    parser.add_argument("--drift", type=float, default=0.5)
    given = parser.parse_args()
    shipped = load_texts(read_folder(Path("config"))).quality["fraud"]
    watch = replace(shipped, zone="UTC", minimum=min(shipped.minimum, given.daily // 4))
    tight = replace(watch, asks=(Ask("auc", Bound(drop=0.02), Bound(0.87)), Ask("log_loss", Bound(0.20))))
    model, began = Model(given.daily, population(7)), time.perf_counter()
    print(f"{given.worlds} worlds of {given.daily} predictions a day")
    for name, one in (("the shipped limits", watch), ("tight limits (auc: drop 0.02, cohorts 0.87)", tight)):
        print(f"{name}, each comparison of the whole at {one.level():.2g}")
        _lived(one, given.worlds, model, given.drift)
    _at_the_limit(watch, given.worlds, replace(model, cohorts=False))
    print(f"{time.perf_counter() - began:.0f} s")


def _lived(watch: Watch, worlds: int, model: Model, drift: float) -> None:
    reference = {"auc": 0.925}
    false: list[bool] = []
    misjudged: list[bool] = []
    seen: list[int | None] = []
    for world in range(worlds):
        chance = Random(world)
        looks = [looked(watch, n, day(n, chance, model), reference) for n in range(DAYS)]
        false.append(any(look.verdict == "degraded" for look in looks))
        misjudged.append(any(map(naive, looks)))
        noticed = None
        for n in range(LATER):
            if looked(watch, DAYS + n, day(DAYS + n, chance, model, drift), reference).verdict == "degraded":
                noticed = n
                break
        seen.append(noticed)
    _told("  false alarm within 30 days", watch.alpha, false, misjudged)
    late = [n for n in seen if n is not None]
    first = sum(n == 0 for n in late)
    print(f"  drift {drift:g} noticed in {len(late)} of {worlds}, {first} of them in the first whole bad window")


def _at_the_limit(watch: Watch, worlds: int, model: Model) -> None:
    """The limit of the AUC is what the model really has, so half of all values are beyond it."""
    from shared.quality.metrics import measured

    large = replace(model, daily=_MADE)
    truth = measured(watch, day(0, Random(99), large).pairs, {"auc": 0.5})["auc"].value
    edge = replace(watch, asks=(Ask("auc", Bound(truth)),), cohorts=())
    false: list[bool] = []
    misjudged: list[bool] = []
    for world in range(worlds):
        chance = Random(1_000_000 + world)
        looks = [looked(edge, n, day(n, chance, model), {}) for n in range(DAYS)]
        false.append(any(look.verdict == "degraded" for look in looks))
        misjudged.append(any(map(naive, looks)))
    print(f"a limit at the model's own AUC of {truth:.4f}, each comparison at {edge.level():.2g}")
    _told("  false alarm within 30 days", watch.alpha, false, misjudged)


def _told(what: str, budget: float, judge: Sequence[bool], other: Sequence[bool]) -> None:
    ours, theirs = sum(judge) / len(judge), sum(other) / len(other)
    print(f"{what}: judge {ours:.1%} (stated: at most {budget:.0%}), naive {theirs:.1%}")


if __name__ == "__main__":
    main()
