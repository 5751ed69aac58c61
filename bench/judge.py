"""How often a judge rolls a healthy canary back, how often it finds a bad one, and when: ours beside others.

    python -m bench.judge [--runs 2000] [--seed 7] [--gate 2.0] [--docs docs]

Every judge sees the same simulated minutes. The others are re-implementations of what their documentation describes, made
for this comparison; they are not the products. Writes the tables of docs/judge.md and the plot docs/judge.svg.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from bench.judge_plot import draw
from shared.rollout.judge import Judge, difference_upper
from shared.rollout.policy import BinaryGate, Gate, MeanGate
from shared.rollout.record import Minute, Pair

type Counts = NDArray[np.int64]
type Minutes = NDArray[np.int64]
"""Of each run: the minute of the rollback, 0 for none."""

HOUR: Final = 60
ALPHA: Final = 0.05
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
KEY: Final = "http_5xx"
GATE: Final = BinaryGate(KEY, alpha=ALPHA)


@dataclass(frozen=True)
class World:
    """An hour of traffic. `worse`: the canary's error rate over the baseline's; `incident`: both arms ten times as bad for
    five minutes; `swing`: by how much the error rate of both arms goes up and down; `burst`: errors come in groups of so many.
    """

    rpm: int
    rate: float
    worse: float = 1.0
    incident: bool = False
    staged: bool = False
    swing: float = 0.0
    burst: int = 1

    def play(self, rng: np.random.Generator, runs: int) -> "Sample":
        load = self.rpm * rng.uniform(0.7, 1.3, (runs, HOUR)) / self.burst
        share = np.repeat((0.05, 0.10, 0.25, 0.50), HOUR // 4) if self.staged else np.full(HOUR, 0.10)
        wave = np.sin(2 * np.pi * (np.arange(HOUR) / 30 + rng.uniform(0, 1, (runs, 1))))
        rate = self.rate * (1 + self.swing * wave)
        if self.incident:
            rate[:, 20:25] = np.minimum(1, rate[:, 20:25] * 10)
        canary, baseline = rng.poisson(load * share), rng.poisson(load * (1 - share))
        return Sample(
            rng.binomial(canary, np.minimum(1, rate * self.worse)) * self.burst,
            canary * self.burst,
            rng.binomial(baseline, rate) * self.burst,
            baseline * self.burst,
        )


@dataclass(frozen=True)
class Sample:
    """Bad and all requests of both arms, a row for each run, a column for each minute."""

    canary_bad: Counts
    canary: Counts
    baseline_bad: Counts
    baseline: Counts


# Ours


def pairs(sample: Sample, run: int, first: int = 0) -> list[Pair]:
    """The minutes of one run, counted from `first`."""
    arms = (sample.canary_bad, sample.canary, sample.baseline_bad, sample.baseline)
    return [
        Pair(START + timedelta(minutes=n), Minute(canary, {KEY: bad}), Minute(baseline, {KEY: other}))
        for n, (bad, canary, other, baseline) in enumerate(np.stack([arm[run] for arm in arms], axis=1).tolist(), first)
    ]


def breach(gates: Sequence[Gate], hour: Sequence[Pair]) -> int:
    """The minute of the breach. A breach stays one: where there is none after the hour, there was none in it."""
    whole = Judge(gates)
    whole.add(hour)
    if whole.health != "sick":
        return 0
    judge = Judge(gates)
    for n, pair in enumerate(hour, 1):
        judge.add((pair,))
        if judge.health == "sick":
            return n
    raise AssertionError("the judge depends on how its minutes are cut")


def ours(sample: Sample, _: float) -> Minutes:
    return np.array([breach((GATE,), pairs(sample, run)) for run in range(len(sample.canary))])


# Others. `gate`: the error rate above which a judge with a threshold calls a reading bad.


def first(bad: NDArray[np.bool_]) -> Minutes:
    """The first column that is true, counted from 1."""
    return np.where(bad.any(axis=1), bad.argmax(axis=1) + 1, 0)


def rates(bad: Counts, total: Counts) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = bad / total
    return found


def flagger(sample: Sample, gate: float) -> Minutes:
    """Each minute a check of the canary's rate; failed checks add up, the tenth rolls back. No traffic is a failed check."""
    failed = ~(rates(sample.canary_bad, sample.canary) <= gate)
    return first(failed.cumsum(axis=1) >= 10)


def argo(sample: Sample, gate: float) -> Minutes:
    """Each minute a measurement; the fourth failure is more than failureLimit 3. No traffic is an error, which has a limit
    of its own, here not reached.
    """
    failed = rates(sample.canary_bad, sample.canary) > gate
    return first(failed.cumsum(axis=1) > 3)


def cloudwatch(sample: Sample, gate: float) -> Minutes:
    """The rate over 5 minutes, above the gate in 2 periods in a row; missing data is not breaching."""
    shape = (len(sample.canary), HOUR // 5, 5)
    bad, total = sample.canary_bad.reshape(shape).sum(axis=2), sample.canary.reshape(shape).sum(axis=2)
    above = rates(bad, total) > gate
    return first(above[:, 1:] & above[:, :-1]) * 5 + np.where((above[:, 1:] & above[:, :-1]).any(axis=1), 5, 0)


def mann_whitney(sample: Sample, _: float) -> Minutes:
    """One look after the hour at 60 points an arm: the 98 % interval of the shift (Hodges-Lehmann) lies wholly above a
    quarter of the shift itself. Minutes without requests are no points.
    """
    canary, baseline = rates(sample.canary_bad, sample.canary), rates(sample.baseline_bad, sample.baseline)
    found = np.zeros(len(canary), dtype=np.int64)
    for run in range(len(canary)):
        one, other = canary[run][~np.isnan(canary[run])], baseline[run][~np.isnan(baseline[run])]
        shifts = np.sort(np.subtract.outer(one, other).ravel())
        half = 2.3263 * np.sqrt(len(one) * len(other) * (len(one) + len(other) + 1) / 12)
        lowest = shifts[max(0, int(len(shifts) / 2 - half))]
        found[run] = HOUR if lowest > 0.25 * abs(np.median(shifts)) else 0
    return found


def z_scores(sample: Sample) -> NDArray[np.float64]:
    bad, total = sample.canary_bad.cumsum(axis=1), sample.canary.cumsum(axis=1)
    other, others = sample.baseline_bad.cumsum(axis=1), sample.baseline.cumsum(axis=1)
    pooled = (bad + other) / (total + others)
    with np.errstate(invalid="ignore", divide="ignore"):
        z: NDArray[np.float64] = (bad / total - other / others) / np.sqrt(
            pooled * (1 - pooled) * (1 / total + 1 / others)
        )
    return z


def z_every_minute(sample: Sample, _: float) -> Minutes:
    """One-sided, 5 %, over all that has come so far, at every minute from the sixth on."""
    above = z_scores(sample) > 1.6449
    above[:, :5] = False
    return first(above)


def z_at_the_end(sample: Sample, _: float) -> Minutes:
    return np.where(z_scores(sample)[:, -1] > 1.6449, HOUR, 0)


JUDGES: Final[dict[str, Callable[[Sample, float], Minutes]]] = {
    "Switchyard": ours,
    "Flagger-style counter, 10 failed": flagger,
    "Argo-style failureLimit 3": argo,
    "CloudWatch-style alarm, 2 x 5 min": cloudwatch,
    "Mann-Whitney as Kayenta, once": mann_whitney,
    "z-test at every minute": z_every_minute,
    "z-test once, at the end": z_at_the_end,
}

# The cells

TRAFFIC: Final = {
    "600 requests a minute, 1 % errors": World(600, 0.01),
    "6,000 requests a minute, 1 % errors": World(6000, 0.01),
    "600 requests a minute, 0.2 % errors": World(600, 0.002),
    "30 requests a minute, 1 % errors": World(30, 0.01),
    "Stages of 5, 10, 25, 50 %, 600 requests a minute, 1 % errors swinging by ±80 %": World(
        600, 0.01, staged=True, swing=0.8
    ),
}
CASES: Final[dict[str, dict[str, float]]] = {
    "healthy": {},
    "shared incident": {"incident": True},
    "1.5x": {"worse": 1.5},
    "2x": {"worse": 2.0},
    "5x": {"worse": 5.0},
}


def cell(traffic: str, case: str, runs: int, seed: int, gate: float) -> dict[str, Minutes]:
    world = replace(TRAFFIC[traffic], **CASES[case])  # type: ignore[arg-type]  # a case names fields
    sample = world.play(np.random.default_rng((seed, [*TRAFFIC].index(traffic), [*CASES].index(case))), runs)
    return {name: judge(sample, gate * world.rate) for name, judge in JUDGES.items()}


# What no table of rivals shows: the limits of ours


def clustered(runs: int, seed: int) -> list[list[str]]:
    """Errors in groups, as when a caller tries again at once: the test takes each for a witness of its own."""
    rows = []
    for burst in (1, 2, 5, 10):
        world = World(600, 0.01, burst=burst)
        found = ours(world.play(np.random.default_rng((seed, 100, burst)), runs), 0)
        rows.append([f"{burst}", percent(found)])
    return rows


def latencies(runs: int, seed: int) -> list[list[str]]:
    """MeanGate, a fifth allowed. Lognormal latencies with a heavy tail, whose level both arms share and which swings by half."""
    rows = []
    for rpm in (600, 30):
        row = [f"{rpm}"]
        for worse in (1.0, 1.2, 1.5, 2.0):
            rng = np.random.default_rng((seed, 200, rpm, int(worse * 10)))
            found = [breach((MeanGate("latency_ms"),), list(timed(rng, rpm, worse))) for _ in range(runs // 4)]
            row.append(told(np.array(found)))
        rows.append(row)
    return rows


def timed(rng: np.random.Generator, rpm: int, worse: float) -> Iterator[Pair]:
    for n in range(HOUR):
        level, load = 4.6 + rng.uniform(-0.5, 0.5), rpm * rng.uniform(0.7, 1.3)
        canary = rng.lognormal(level, 1.0, rng.poisson(load * 0.1)) * worse
        baseline = rng.lognormal(level, 1.0, rng.poisson(load * 0.9))
        arms = (Minute(len(arm), {}, float(arm.sum()), float((arm**2).sum())) for arm in (canary, baseline))
        yield Pair(START + timedelta(minutes=n), *arms)


def passing(runs: int, seed: int) -> list[list[str]]:
    """A stage at 10 % of 600 requests a minute, 1 % errors, margin 1 point: after `min_requests`, how often it passes. Once,
    and when an undecided one is looked at for another hour, every minute.
    """
    rows = []
    for wanted in (100, 300, 600, 1800):
        row = [f"{wanted:,}"]
        for extra in (0.0, 0.01, 0.02):
            world = World(600, 0.01, worse=1 + extra / 0.01)
            sample = world.play(np.random.default_rng((seed, 300, wanted, int(extra * 1000))), runs)
            further = world.play(np.random.default_rng((seed, 301, wanted, int(extra * 1000))), runs)
            looks = [passed(sample, further, run, wanted) for run in range(runs // 2)]
            row.append(f"{np.mean([once for once, _ in looks]):.1%} / {np.mean([ever for _, ever in looks]):.1%}")
        rows.append(row)
    return rows


def passed(sample: Sample, further: Sample, run: int, wanted: int) -> tuple[bool, bool]:
    """Whether it passes at the first look, and whether at any."""
    judge, looks = Judge((GATE,)), list[bool]()
    for pair in pairs(sample, run) + pairs(further, run, HOUR):
        judge.add((pair,))
        answer = judge.passes(wanted)[0]
        if answer != "too few":
            looks.append(answer == "pass")
        if len(looks) > HOUR or any(looks):
            break
    return looks[0], any(looks)


def needed(runs: int, seed: int) -> list[list[str]]:
    """Requests to the canary, at 10 % of the traffic, at which an equally good one passes in nine of ten cases."""
    rows = []
    for rate in (0.001, 0.002, 0.01, 0.05):
        row = [f"{rate:.1%}"]
        for margin in (0.005, 0.01, 0.02):
            rng = np.random.default_rng((seed, 400))
            low, high = 10, 200_000
            while high - low > 0.02 * high:
                n = (low + high) // 2
                bad, other = rng.binomial(n, rate, runs).tolist(), rng.binomial(9 * n, rate, runs).tolist()
                uppers = [difference_upper(x, n, y, 9 * n) for x, y in zip(bad, other, strict=True)]
                low, high = (low, n) if np.mean(np.array(uppers) <= margin) >= 0.9 else (n, high)
            row.append(f"{float(f'{high:.2g}'):,.0f}")
        rows.append(row)
    return rows


LIMITS: Final[dict[str, tuple[Callable[[int, int], list[list[str]]], list[str]]]] = {
    "clustered": (clustered, ["errors in groups of", "healthy canary rolled back"]),
    "latency": (latencies, ["requests a minute", "equal", "+20 % (just allowed)", "+50 %", "+100 %"]),
    "passing": (passing, ["min_requests", "equal", "worse by 1 point, the margin", "worse by 2 points"]),
    "needed": (needed, ["usual error rate", "margin 0.5 %", "margin 1 %", "margin 2 %"]),
}

# The account


def percent(found: Minutes) -> str:
    return f"{np.mean(found > 0):.1%}"


def told(found: Minutes) -> str:
    """Rolled back in so many of the runs, at this median minute."""
    return f"{percent(found)} @ {np.median(found[found > 0]):.0f}" if found.any() else "0"


def compared(traffic: str, cells: dict[tuple[str, str], dict[str, Minutes]]) -> list[list[str]]:
    names = [f"**{name}**" if name == "Switchyard" else name for name in JUDGES]
    return [
        [shown, *(told(cells[traffic, case][name]) for case in CASES)]
        for shown, name in zip(names, JUDGES, strict=True)
    ]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(text: str, name: str, table: str) -> str:
    """Replaces what stands between the markers of this name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def held(cells: dict[tuple[str, str], dict[str, Minutes]]) -> list[str]:
    """What is promised, against what was measured: what does not hold."""
    broken = [
        f"{traffic}, {case}: false rollback {percent(cells[traffic, case]['Switchyard'])}"
        for traffic in TRAFFIC
        for case in ("healthy", "shared incident")
        if np.mean(cells[traffic, case]["Switchyard"] > 0) > ALPHA
    ]
    twice = cells[next(iter(TRAFFIC)), "2x"]["Switchyard"]
    return broken + ([f"detection of 2x at 600 a minute: {percent(twice)}"] if np.mean(twice > 0) < 0.95 else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--gate", type=float, default=2.0, help="of the judges with a threshold: times the usual rate")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    asked = parser.parse_args()
    runs, seed = asked.runs, asked.seed

    cells: dict[tuple[str, str], dict[str, Minutes]] = {}
    with futures.ProcessPoolExecutor() as pool, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{runs:,} runs a cell", total=len(TRAFFIC) * len(CASES) + len(LIMITS))
        limits = {name: pool.submit(table, runs, seed) for name, (table, _) in LIMITS.items()}
        work = {
            pool.submit(cell, traffic, case, runs, seed, asked.gate): (traffic, case)
            for traffic in TRAFFIC
            for case in CASES
        }
        for done in futures.as_completed(work):
            cells[work[done]] = done.result()
            progress.advance(task)
        for _ in futures.as_completed(limits.values()):
            progress.advance(task)

    page = asked.docs / "judge.md"
    text = page.read_text()
    shown = [f"**{traffic}**\n\n{markdown(['judge', *CASES], compared(traffic, cells))}" for traffic in TRAFFIC]
    text = put(text, "compared", f"{runs:,} runs a cell, seed {seed}.\n\n" + "\n\n".join(shown))
    for name, (_, head) in LIMITS.items():
        text = put(text, name, markdown(head, limits[name].result()))
    page.write_text(text)
    (asked.docs / "judge.svg").write_text(draw(cells, [*TRAFFIC], [*JUDGES]))
    for line in shown:
        print(line)
    print("\n".join(held(cells)) or "Kept: false rollback at most alpha everywhere, 2x found in at least 95 %.")
    return 1 if held(cells) else 0


if __name__ == "__main__":
    raise SystemExit(main())
