"""The judge: is the canary worse than the baseline, by counts per minute of both arms?

Three questions, three answers. *Must it go back?* A sequential test, looked at every minute for as long as one likes, that
accuses a canary which is no worse than allowed with a probability of at most alpha, over the whole rollout. *Is it
broken outright?* A ceiling, in minutes in a row. *May it go on?* Not because nobody has complained, but because the stage's
own sample shows that it is no worse than the margin.

Pure and deterministic: it is replayed from the pairs on record. A minute is judged once, in the order of the pairs; how they
are cut into calls changes nothing. A breach stays a breach: what comes later does not take back what was shown.

What is promised and what is not, in plain words and with measurements: docs/judge.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import NormalDist
from typing import Final, Literal

from shared.rollout.policy import BinaryGate, CeilingGate, Gate, MeanGate
from shared.rollout.record import Minute, Pair, Reading

type Health = Literal["healthy", "sick", "both bad", "unknown"]
type Passed = Literal["pass", "too few", "undecided"]
type State = Literal["holds", "breach", "both bad", "unknown", "too few"]

MINUTE: Final = 60.0
GRID: Final = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0)
"""How much worse than allowed the canary may be: the odds ratios that are bet on, as multiples of `worse_than`."""
BURN_IN: Final = 100
"""Requests in each arm before a mean gate accuses: it leans on the central limit theorem."""
HORIZON: Final = 500.0
"""Requests to the canary at which a mean gate is sharpest; it is valid at every other number too."""
ENOUGH: Final = 10
"""Requests to the canary, over the minutes above a ceiling, before it counts: one of three is no rate."""
Z: Final = NormalDist().inv_cdf(0.95)
"""A stage passes by one-sided bounds of 95 %."""
_CAP: Final = 690.0
"""The logarithm of the largest e that is told."""


class Judge:
    """Over the gates of a policy. `health` answers for the whole rollout, `passes` for the stage."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        tested = sum(not isinstance(gate, CeilingGate) for gate in gates)
        self._courts = [_court(gate, tested, gates) for gate in gates]
        self._requests = 0
        self._silent = 0
        self._newest: datetime | None = None

    def add(self, pairs: Sequence[Pair]) -> None:
        """The minutes since the last call, oldest first. A minute that was there before is not judged again."""
        for pair in pairs:
            if self._newest is not None and pair.at <= self._newest:
                continue
            self._newest = pair.at
            told = [court.add(pair) for court in self._courts]
            if pair.canary is None or pair.baseline is None:
                self._silent += 1
            else:
                self._silent = 0 if all(told) else self._silent + 1
                self._requests += pair.canary.requests

    def begin_stage(self) -> None:
        """From here on `passes` counts afresh: a stage has one share of traffic, and is judged by what came at that share.
        The evidence against the canary goes on: it is one error budget for the rollout, not one for each stage.
        """
        self._requests = 0
        for court in self._courts:
            court.begin_stage()

    @property
    def blind(self) -> float:
        """Seconds of the newest unbroken run of minutes in which some gate was told nothing."""
        return self._silent * MINUTE

    @property
    def health(self) -> Health:
        """Shown to be sick stays sick. No data is "unknown"; minutes without requests are data."""
        states = {reading.state for reading in self.readings()}
        if "breach" in states:
            return "sick"
        if self._newest is None or self._silent:
            return "unknown"
        return "both bad" if "both bad" in states else "healthy"

    def readings(self) -> tuple[Reading, ...]:
        """What each gate says now, of the whole rollout."""
        return tuple(court.reading() for court in self._courts)

    def passes(self, min_requests: int) -> tuple[Passed, tuple[Reading, ...]]:
        """Whether the stage's own sample lets it go on. It does not ask again for `health`.

        "too few": fewer requests to the canary than asked for. "undecided": enough, and yet not shown to be within the
        margin, or the newest minutes are unknown. The bound is meant to be looked at once, when the stage has had its
        time; looked at again while an undecided stage is extended, it lets more through (docs/judge.md has the numbers).
        """
        if self._requests < min_requests:
            return "too few", tuple(court.stage()[1] for court in self._courts)
        found = [court.stage() for court in self._courts]
        shown = not self._silent and all(fine for fine, _ in found)
        return "pass" if shown else "undecided", tuple(reading for _, reading in found)


def wilson(bad: int, total: int) -> tuple[float, float]:
    """Bounds of a rate, each of 95 % (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    rate, weight = bad / total, Z * Z / total
    middle = rate + weight / 2
    half = math.sqrt(weight * (rate * (1 - rate) + weight / 4))
    return max(0.0, (middle - half) / (1 + weight)), min(1.0, (middle + half) / (1 + weight))


def difference_upper(canary_bad: int, canary: int, baseline_bad: int, baseline: int) -> float:
    """Upper bound, of 95 %, of the canary's rate minus the baseline's: Newcombe (1998), method 10, of two Wilson bounds."""
    upper, lower = wilson(canary_bad, canary)[1], wilson(baseline_bad, baseline)[0]
    rate, other = canary_bad / canary if canary else 0.0, baseline_bad / baseline if baseline else 0.0
    return rate - other + math.hypot(upper - rate, other - lower)


@dataclass
class _Table:
    """Bad and all requests of both arms."""

    canary_bad: int = 0
    canary: int = 0
    baseline_bad: int = 0
    baseline: int = 0

    def __add__(self, other: "_Table") -> "_Table":
        return _Table(
            self.canary_bad + other.canary_bad,
            self.canary + other.canary,
            self.baseline_bad + other.baseline_bad,
            self.baseline + other.baseline,
        )

    def reading(self, gate: str, state: State, **more: float | None) -> Reading:
        return Reading(gate, state, self.canary_bad, self.canary, self.baseline_bad, self.baseline, **more)


def _table(pair: Pair, key: str) -> _Table | None:
    """None: nobody knows. A count that the source leaves out is not zero, unless there was nothing to count."""
    if pair.canary is None or pair.baseline is None:
        return None
    canary, baseline = (arm.bad.get(key, None if arm.requests else 0) for arm in (pair.canary, pair.baseline))
    if canary is None or baseline is None:
        return None
    return _Table(canary, pair.canary.requests, baseline, pair.baseline.requests)


class _Evidence:
    """The logarithm of an e-process, and what follows from it. Once over the threshold it is not taken back."""

    def __init__(self, alpha: float) -> None:
        self.alpha, self._log = alpha, 0.0

    @property
    def breach(self) -> bool:
        return self._log >= -math.log(self.alpha)

    def say(self, log: float) -> None:
        self._log = max(self._log, log) if self.breach else log

    def told(self) -> dict[str, float | None]:
        return {"e": math.exp(min(self._log, _CAP)), "threshold": 1 / self.alpha}


class _Shares:
    """The sequential 2x2 e-test of a BinaryGate.

    *The bet.* Of a minute's k bad requests among n0 (baseline) and n1 (canary), x are the canary's. If the odds of a
    request being bad are theta times as high at the canary, x ~ Binomial(k, theta n1 / (theta n1 + n0)), whatever the error
    rate of that minute is: it cancels. Each theta of the grid above `worse_than` multiplies up its likelihood ratio against
    `worse_than`; e is the mean over the grid. It accuses at e >= 1/alpha.

    *Why it holds.* Let every odds ratio up to now be at most w = `worse_than` (w >= 1), and c = theta/w > 1. Given the past
    and k, n0, n1, the factor of one theta is c^x / (1 + p (c - 1))^k, with p = w n1 / (w n1 + n0). The exact law of x is
    Fisher's noncentral hypergeometric one, that of a sum of k independent Bernoulli variables (its generating function has
    only real roots: Vatutin & Mikhailov 1982). With m its mean, E[c^x] <= (1 + (m/k)(c - 1))^k by the inequality of
    arithmetic and geometric means (Hoeffding 1956, 1963), and m <= k p: both means agree at the odds ratio 1; in the
    logarithm of the odds ratio each grows by its variance, which for such a sum is at most m (k - m) / k, the binomial's. And
    m grows with the odds ratio, so one below w is accused less still. Hence E[factor] <= 1: the product is a test
    supermartingale, so is the mean over the grid (Robbins 1970: the method of mixtures), and by Ville's inequality (1939) the
    probability that it ever reaches 1/alpha is at most alpha: at any stopping time, however often one looks.

    Nothing was assumed about the shares of traffic n0, n1 nor about the rates: any weights that were set from what was seen
    before, any load, any swing that both arms share from minute to minute. What was assumed: given the minute, requests fail
    independently of one another.

    Lindon & Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022), test time-varying rates by their
    ratio in this way; Lindon, Sanden & Shirikian, "Rapid regression detection in software deployments through sequential
    testing" (KDD 2022), use it for canaries; Ramdas, Gruenwald, Vovk & Shafer, "Game-theoretic statistics and safe
    anytime-valid inference" (Statistical Science 2023), have the theory of e-processes.

    An incident in both arms raises k and leaves x's share: this gate never says "both bad", for it never blames the canary.
    """

    def __init__(self, gate: BinaryGate, alpha: float, ceiling: float | None) -> None:
        self._gate, self._ceiling = gate, ceiling
        self._evidence = _Evidence(alpha)
        self._logs = [0.0] * len(GRID)
        self._whole, self._stage = _Table(), _Table()
        self._odds = [0.0, 0.0]
        self._told = True

    def add(self, pair: Pair) -> bool:
        now = _table(pair, self._gate.key)
        self._told = now is not None
        if now is not None:
            self._whole += now
            self._stage += now
            if now.canary and now.baseline:  # where one arm is empty, every factor is 1
                self._bet(now)
        return self._told

    def _bet(self, now: _Table) -> None:
        bad, total = now.canary_bad + now.baseline_bad, now.canary + now.baseline
        share = self._gate.worse_than * now.canary / (self._gate.worse_than * now.canary + now.baseline)
        for n, times in enumerate(GRID):
            self._logs[n] += now.canary_bad * math.log(times) - bad * math.log1p(share * (times - 1))
        highest = max(self._logs)
        self._evidence.say(highest + math.log(math.fsum(math.exp(log - highest) for log in self._logs) / len(GRID)))
        self._odds[0] += now.canary_bad * (now.baseline - now.baseline_bad) / total
        self._odds[1] += now.baseline_bad * (now.canary - now.canary_bad) / total

    def begin_stage(self) -> None:
        self._stage = _Table()

    def reading(self) -> Reading:
        """The estimate is the odds ratio of Mantel and Haenszel (1959): by the minute, so that shares and rates may change."""
        state: State = "holds" if self._whole.canary and self._whole.baseline else "too few"
        if self._evidence.breach:
            state = "breach"
        elif not self._told:
            state = "unknown"
        estimate = self._odds[0] / self._odds[1] if self._odds[1] else None
        return self._whole.reading(self._gate.key, state, estimate=estimate, **self._evidence.told())

    def stage(self) -> tuple[bool, Reading]:
        """Shown to be no worse than the margin allows. Without a baseline: shown to be below the ceiling on the same
        counts, where there is one; else nothing says how good is good enough, and the minimum of requests decides alone.
        """
        now, limit = self._stage, self._gate.margin
        if now.baseline:
            upper = difference_upper(now.canary_bad, now.canary, now.baseline_bad, now.baseline)
        else:
            upper, limit = wilson(now.canary_bad, now.canary)[1], 1.0 if self._ceiling is None else self._ceiling
        fine = upper <= limit
        state: State = "unknown" if not self._told else "holds" if fine else "too few"
        return fine, now.reading(self._gate.key, state, upper=upper, limit=limit, **self._evidence.told())


@dataclass
class _Sums:
    """Of the latencies of one arm: how many, their sum, the sum of their squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, minute: Minute) -> None:
        self.n += minute.requests
        self.total += minute.total or 0.0
        self.squares += minute.squares or 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def error(self) -> float:
        """The variance of the mean."""
        return max(0.0, self.squares - self.total * self.mean) / (self.n - 1) / self.n


class _Means:
    """The mean latency of a MeanGate, by an asymptotic confidence sequence, read as evidence.

    Allowed is a canary mean of at most (1 + r) times the baseline's, minute by minute. In each minute D = mean of the canary
    - (1 + r) mean of the baseline has then an expectation of at most 0, whatever both arms share in it, and a variance that
    the squares tell. S sums D with the weights h = n0 n1 / (n0 + n1), which know nothing of the latencies; V sums their
    variances, and V / H, H the sum of the weights, is the variance of one unit. Bets exp(l S - l^2 V / 2), over l > 0 by half
    of a normal density, give (with z = S / sqrt V, q = H rho^2 / (1 + H rho^2))

        e = 2 Phi(z sqrt q) exp(z^2 q / 2) / sqrt(1 + H rho^2)

    and e >= 1/alpha is where the lower bound of Robbins' normal mixture leaves 0. With estimated variances it holds as
    samples grow: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and asymptotic
    confidence sequences" (Annals of Statistics 2024), one-sided, for means that change with time. Therefore it keeps
    silent for the first requests, and its alpha is measured in docs/judge.md where the BinaryGate's is proved.

    Minutes with a single request in an arm tell no variance: they are put together with the next ones.
    """

    def __init__(self, gate: MeanGate, alpha: float) -> None:
        self._gate = gate
        self._evidence = _Evidence(alpha)
        self._rho2 = (1 - 2 * math.log(alpha) + math.log1p(-2 * math.log(alpha))) / HORIZON
        self._canary, self._baseline = _Sums(), _Sums()
        self._counts = [0, 0]
        self._means = [0.0, 0.0]
        self._weight = self._variance = 0.0
        self._told = True

    def add(self, pair: Pair) -> bool:
        arms = [arm for arm in (pair.canary, pair.baseline) if arm is not None and _timed(arm)]
        self._told = len(arms) == 2  # noqa: PLR2004 (both)
        if self._told:
            self._canary.add(arms[0])
            self._baseline.add(arms[1])
            self._counts = [count + arm.requests for count, arm in zip(self._counts, arms, strict=True)]
            if min(self._canary.n, self._baseline.n) > 1:
                self._bet(self._canary, self._baseline)
                self._canary, self._baseline = _Sums(), _Sums()
        return self._told

    def _bet(self, canary: _Sums, baseline: _Sums) -> None:
        weight, allowed = canary.n * baseline.n / (canary.n + baseline.n), 1 + self._gate.worse_than
        self._weight += weight
        self._variance += weight**2 * (canary.error + allowed**2 * baseline.error)
        self._means = [self._means[0] + weight * canary.mean, self._means[1] + weight * baseline.mean]
        if min(self._counts) >= BURN_IN and self._variance:
            z = (self._means[0] - allowed * self._means[1]) / math.sqrt(self._variance)
            mixed = self._weight * self._rho2
            q = mixed / (1 + mixed)
            # 2 Phi(x) = erfc(-x / sqrt 2), which is 0 in floats from x = -38 on
            one_sided = math.log(max(math.erfc(-z * math.sqrt(q / 2)), math.exp(-_CAP)))
            self._evidence.say(one_sided + z * z * q / 2 - math.log1p(mixed) / 2)

    def begin_stage(self) -> None:
        """Nothing is counted by the stage."""

    def reading(self) -> Reading:
        state: State = "holds" if min(self._counts) >= BURN_IN else "too few"
        if self._evidence.breach:
            state = "breach"
        elif not self._told:
            state = "unknown"
        return _Table(canary=self._counts[0], baseline=self._counts[1]).reading(
            self._gate.key,
            state,
            limit=self._gate.worse_than,
            estimate=self._means[0] / self._means[1] - 1 if self._means[1] else None,
            **self._evidence.told(),
        )

    def stage(self) -> tuple[bool, Reading]:
        """Does not hold a stage up. `worse_than` is already what is acceptable, there is no margin beyond it to show; and the
        tail of latencies is heavy, so that a stage would be extended for its luck. Who wants it shown that the canary
        is as fast sets a BinaryGate on latency_over, which has a margin.
        """
        return True, self.reading()


def _timed(arm: Minute) -> bool:
    return not arm.requests or (arm.total is not None and arm.squares is not None)


@dataclass
class _Run:
    """Minutes in a row."""

    minutes: int = 0
    table: _Table = field(default_factory=_Table)

    def and_now(self, now: _Table) -> "_Run":
        return _Run(self.minutes + 1, self.table + now)


class _Ceiling:
    """A hard limit, beside the tests: it needs no baseline and no patience, and promises no alpha.

    Breach: the canary above `max` in minutes in a row that make `seconds`, the baseline in none of them. Where the canary is
    above for as long, but the baseline was too: both bad, and nobody is blamed. Minutes without requests to the canary, and
    minutes that nobody knows, are neither above nor below. Fewer than ENOUGH requests in those minutes are too few; the
    run goes on until they are there, so that a slow service is judged later, not never.
    """

    def __init__(self, gate: CeilingGate) -> None:
        self._gate = gate
        self._needed = max(1, math.ceil(gate.seconds / MINUTE))
        self._alone, self._above, self._newest = _Run(), _Run(), _Table()
        self._state: State = "too few"
        self._told = True

    def add(self, pair: Pair) -> bool:
        now = _table(pair, self._gate.counts)
        self._told = now is not None
        if now is not None and now.canary and self._state != "breach":
            self._hear(now)
        return self._told

    def _hear(self, now: _Table) -> None:
        above = now.canary_bad > self._gate.max * now.canary
        baseline_above = now.baseline_bad > self._gate.max * now.baseline
        self._newest = now
        self._above = self._above.and_now(now) if above else _Run()
        self._alone = self._alone.and_now(now) if above and not baseline_above else _Run()
        if self._above.minutes < self._needed:
            self._state = "holds"
        elif self._above.table.canary < ENOUGH:
            self._state = "too few"
        elif self._alone.minutes >= self._needed and self._alone.table.canary >= ENOUGH:
            self._state = "breach"
        else:
            self._state = "both bad"

    def begin_stage(self) -> None:
        """Nothing is counted by the stage."""

    def reading(self) -> Reading:
        """The counts are those of the minutes above the ceiling, or of the newest minute."""
        table = {"breach": self._alone.table, "both bad": self._above.table}.get(self._state, self._newest)
        known = self._told or self._state == "breach"
        return table.reading(self._gate.key, self._state if known else "unknown", limit=self._gate.max)

    def stage(self) -> tuple[bool, Reading]:
        return self._state != "both bad", self.reading()


type _Court = _Shares | _Means | _Ceiling


def _court(gate: Gate, tested: int, gates: Sequence[Gate]) -> _Court:
    """`tested`: the statistical gates, who share what may go wrong: each has its alpha divided by their number (Bonferroni)."""
    match gate:
        case BinaryGate():
            limits = [one.max for one in gates if isinstance(one, CeilingGate) and one.counts == gate.key]
            return _Shares(gate, gate.alpha / tested, min(limits, default=None))
        case MeanGate():
            return _Means(gate, gate.alpha / tested)
        case CeilingGate():
            return _Ceiling(gate)
