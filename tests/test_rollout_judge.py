"""What the judge promises, by enumeration, by other people's libraries and by simulation."""

import itertools
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from ville import normal_mixture  # type: ignore[import-untyped]  # tells no types

from bench.judge import World, breach, pairs
from shared.rollout.judge import BURN_IN, GRID, HORIZON, Judge, difference_upper, wilson
from shared.rollout.policy import BinaryGate, CeilingGate, MeanGate
from shared.rollout.record import Minute, Pair

START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
ERRORS = BinaryGate("http_5xx")
LATE = BinaryGate("latency_over", slo_ms=400)
MEAN = MeanGate("latency_ms", worse_than=0.2)
CEILING = CeilingGate("error_rate", 0.2, 120)
RUNS = 300


def minute(n, canary=None, baseline=None, key="http_5xx"):
    """Arms as (bad, requests); None where nobody knows."""
    arms = (None if arm is None else Minute(arm[1], {key: arm[0]}) for arm in (canary, baseline))
    return Pair(START + timedelta(minutes=n), *arms)


def judged(gates, *arms):
    judge = Judge(gates)
    judge.add([minute(n, *both) for n, both in enumerate(arms)])
    return judge


def evidence(gate, *arms):
    return judged((gate,), *arms).readings()[0].e


# The sequential test: what it computes

counts = st.integers(0, 40)
minutes = st.tuples(counts, counts, counts, counts).map(
    lambda drawn: ((min(drawn[:2]), max(drawn[:2])), (min(drawn[2:]), max(drawn[2:])))
)


@given(st.lists(minutes, max_size=8), st.sampled_from([1.0, 1.2, 2.0]))
def test_e_is_the_mean_over_the_grid_of_likelihood_ratios(arms, allowed):
    gate = BinaryGate("http_5xx", alpha=1e-30, worse_than=allowed)
    product = np.ones(len(GRID))
    for (bad, canary), (other, baseline) in arms:
        if canary and baseline:
            share = [odds * canary / (odds * canary + baseline) for odds in (allowed, *(allowed * n for n in GRID))]
            likely = stats.binom.pmf(bad, bad + other, share)
            product *= likely[1:] / likely[0]
    assert evidence(gate, *arms) == pytest.approx(product.mean(), rel=1e-6)


@settings(deadline=None)
@given(st.integers(1, 25), st.integers(1, 25), st.data())
def test_a_minute_of_a_canary_within_the_allowance_adds_no_evidence_on_average(canary, baseline, data):
    """Exactly, under Fisher's noncentral hypergeometric law: the promise rests on this."""
    bad = data.draw(st.integers(1, canary + baseline))
    allowed = data.draw(st.sampled_from([1.0, 1.5, 3.0]))
    odds = allowed * data.draw(st.sampled_from([0.2, 0.7, 1.0]))
    gate = BinaryGate("http_5xx", alpha=1e-30, worse_than=allowed)
    law = stats.nchypergeom_fisher(canary + baseline, canary, bad, odds)
    of_canary = range(max(0, bad - baseline), min(bad, canary) + 1)
    expected = sum(law.pmf(x) * evidence(gate, ((x, canary), (bad - x, baseline))) for x in of_canary)
    assert expected <= 1 + 1e-6


@pytest.mark.parametrize("allowed", [1.0, 2.0])
def test_with_requests_without_number_a_minute_at_the_edge_adds_exactly_nothing_on_average(allowed):
    canary, baseline, bad = 1_000, 9_000, 12
    gate = BinaryGate("http_5xx", alpha=1e-30, worse_than=allowed)
    law = stats.binom(bad, allowed * canary / (allowed * canary + baseline))
    expected = sum(law.pmf(x) * evidence(gate, ((x, canary), (bad - x, baseline))) for x in range(bad + 1))
    assert expected == pytest.approx(1)


def test_an_outage_of_both_arms_is_no_evidence_against_the_canary():
    assert evidence(ERRORS, *[((90, 100), (810, 900))] * 30) < 1


def test_evidence_beyond_all_numbers_is_still_a_number():
    e = evidence(ERRORS, *[((6_000, 6_000), (0, 54_000))] * 60)
    assert math.isfinite(e)
    assert e > 1e200


def test_the_estimate_is_the_odds_ratio_of_like_with_like():
    """Pooled over both minutes, this canary would look five times as bad."""
    reading = judged((ERRORS,), ((1, 100), (9, 900)), ((90, 900), (10, 100))).readings()[0]
    assert reading.estimate == pytest.approx(1.0)
    assert (reading.canary_bad, reading.canary_total) == (91, 1000)
    assert (reading.baseline_bad, reading.baseline_total) == (19, 1000)


# The sequential test: what it promises


def rolled_back(world, gate=ERRORS, seed=11, runs=RUNS):
    sample = world.play(np.random.default_rng(seed), runs)
    return np.mean([breach((gate,), pairs(sample, run)) > 0 for run in range(runs)])


@pytest.mark.parametrize(
    ("world", "allowed"),
    [
        pytest.param(World(600, 0.01), 1.0, id="equal"),
        pytest.param(World(600, 0.01, worse=0.7), 1.0, id="better"),
        pytest.param(World(600, 0.01, worse=1.5), 1.5, id="as bad as allowed"),
        pytest.param(World(600, 0.01, worse=1.2), 1.5, id="less bad than allowed"),
        pytest.param(World(600, 0.01, incident=True), 1.0, id="an incident in both arms"),
        pytest.param(World(600, 0.01, staged=True, swing=0.8), 1.0, id="shares and rates that change"),
        pytest.param(World(30, 0.2, staged=True, incident=True), 1.0, id="few requests"),
    ],
)
def test_a_canary_within_the_allowance_is_rolled_back_by_alpha_at_most(world, allowed):
    assert rolled_back(world, BinaryGate("http_5xx", worse_than=allowed)) <= 0.05


def test_twice_the_errors_are_found_within_the_hour():
    assert rolled_back(World(600, 0.01, worse=2.0)) >= 0.95


def test_a_sample_may_be_judged_in_advance_for_what_it_was_not():
    """The same canary, twice as bad, is accused by who allows nothing and not by who allows it."""
    arms = [((2, 60), (9, 540))] * 40
    assert judged((ERRORS,), *arms).health == "sick"
    assert judged((BinaryGate("http_5xx", worse_than=2.0),), *arms).health == "healthy"


# Alpha is shared


def test_the_statistical_gates_share_alpha_and_ceilings_take_no_part():
    readings = Judge((ERRORS, LATE, MEAN, CEILING)).readings()
    assert [reading.threshold for reading in readings] == [pytest.approx(60)] * 3 + [None]


def test_evidence_that_suffices_alone_does_not_suffice_among_two():
    arms = [((16, 60), (60, 540))]
    alone = judged((ERRORS,), *arms)
    assert 20 < alone.readings()[0].e < 40
    assert alone.health == "sick"
    two = Judge((ERRORS, LATE))
    two.add([Pair(START, Minute(60, {"http_5xx": 16, LATE.key: 0}), Minute(540, {"http_5xx": 60, LATE.key: 0}))])
    assert two.health == "healthy"


# The mean


def timed(n, canary, baseline):
    arms = (Minute(len(arm), {}, float(np.sum(arm)), float(np.sum(np.square(arm)))) for arm in (canary, baseline))
    return Pair(START + timedelta(minutes=n), *arms)


def latencies(rng, worse, minutes=40, rpm=300):
    """A heavy tail, and a level that both arms share and that swings."""
    for n in range(minutes):
        level = 4.6 + rng.uniform(-0.5, 0.5)
        yield timed(n, rng.lognormal(level, 0.8, rng.poisson(rpm / 10)) * worse, rng.lognormal(level, 0.8, rpm))


def test_the_mean_gate_says_what_the_mixture_of_bets_says():
    rng, judge = np.random.default_rng(5), Judge((MEAN,))
    weight = total = variance = 0.0
    rho2 = (1 - 2 * math.log(0.05) + math.log1p(-2 * math.log(0.05))) / HORIZON
    crossed = set()
    for n in range(60):
        level = rng.uniform(80, 120)
        canary, baseline = rng.normal(level * 1.26, 30, 40), rng.normal(level, 30, 200)
        judge.add([timed(n, canary, baseline)])
        h = 40 * 200 / 240
        weight += h
        total += h * (canary.mean() - 1.2 * baseline.mean())
        variance += h**2 * (canary.var(ddof=1) / 40 + 1.44 * baseline.var(ddof=1) / 200)
        unit = total / math.sqrt(variance / weight)
        reading = judge.readings()[0]
        if reading.state == "too few" or "breach" in crossed:
            continue
        bets = integrate.quad(
            lambda bet, s=unit, v=weight: (
                2 * stats.norm.pdf(bet, scale=math.sqrt(rho2)) * math.exp(bet * s - bet**2 * v / 2)
            ),
            0,
            3,
            limit=200,
        )[0]
        assert reading.e == pytest.approx(bets, rel=1e-5)
        crossed.add(reading.state)
        boundary = float(normal_mixture(weight, 0.05, 1 / rho2, one_sided=True))
        assert (reading.state == "breach") == (unit >= boundary)
    assert crossed == {"holds", "breach"}


@pytest.mark.parametrize(("worse", "least", "most"), [(1.0, 0, 0.02), (1.2, 0, 0.05), (1.6, 0.95, 1)])
def test_a_slower_canary_is_found_and_one_within_the_allowance_is_not(worse, least, most):
    rng = np.random.default_rng(3)
    found = np.mean([breach((MEAN,), list(latencies(rng, worse))) > 0 for _ in range(100)])
    assert least <= found <= most


def test_the_mean_gate_tells_the_increase_and_waits_for_its_first_requests():
    judge = Judge((MEAN,))
    rng = np.random.default_rng(1)
    judge.add([timed(0, rng.normal(300, 5, BURN_IN - 1), rng.normal(100, 5, 900))])
    assert judge.readings()[0].state == "too few"
    judge.add([timed(1, rng.normal(300, 5, 2), rng.normal(100, 5, 900))])
    assert judge.readings()[0].state == "breach"
    assert judge.readings()[0].estimate == pytest.approx(2, abs=0.05)
    assert judge.readings()[0].limit == 0.2


def test_single_requests_count_too():
    """One request a minute to the canary tells no variance: minutes are put together."""
    rng, judge = np.random.default_rng(1), Judge((MEAN,))
    judge.add([timed(n, rng.normal(300, 5, 1), rng.normal(100, 5, 50)) for n in range(2 * BURN_IN)])
    assert judge.health == "sick"


# The ceiling

BROKEN, FINE, BUSY = (30, 60), (0, 60), (270, 540)
BASE = (2, 540)


@pytest.mark.parametrize(
    ("arms", "health"),
    [
        pytest.param([(BROKEN, BASE)], "healthy", id="one minute is not two"),
        pytest.param([(BROKEN, BASE)] * 2, "sick", id="two in a row"),
        pytest.param([(BROKEN, BASE), (FINE, BASE), (BROKEN, BASE)], "healthy", id="not in a row"),
        pytest.param([(BROKEN, BASE), (None, None), (BROKEN, BASE)], "sick", id="an unknown minute between"),
        pytest.param([(BROKEN, BASE), ((0, 0), BASE), (BROKEN, BASE)], "sick", id="a minute without requests between"),
        pytest.param([(BROKEN, BUSY)] * 2, "both bad", id="both arms"),
        pytest.param([(BROKEN, BUSY), (BROKEN, BASE)], "both bad", id="the baseline has just recovered"),
        pytest.param([(BROKEN, BUSY)] + [(BROKEN, BASE)] * 2, "sick", id="the canary has not"),
        pytest.param([(BROKEN, BUSY)] * 2 + [(FINE, BASE)], "healthy", id="both recovered"),
        pytest.param([(BROKEN, BASE)] * 2 + [(FINE, BASE)] * 30, "sick", id="shown stays shown"),
        pytest.param([((1, 2), BASE)] * 2, "healthy", id="one of two is no rate"),
        pytest.param([((1, 2), BASE)] * 5, "sick", id="one of two for long is one"),
        pytest.param([(BROKEN, (0, 0))] * 2, "sick", id="without a baseline"),
        pytest.param([((12, 60), BASE)] * 9, "healthy", id="at the ceiling is not above it"),
    ],
)
def test_a_ceiling_takes_minutes_in_a_row_in_which_the_baseline_is_well(arms, health):
    assert judged((CEILING,), *arms).health == health


def test_a_ceiling_shows_the_minutes_it_decided_on():
    reading = judged((CEILING,), (FINE, BASE), (BROKEN, BASE), (BROKEN, BASE)).readings()[0]
    assert (reading.state, reading.canary_bad, reading.canary_total, reading.limit) == ("breach", 60, 120, 0.2)
    assert (reading.baseline_bad, reading.baseline_total) == (4, 1080)


def test_the_test_and_the_ceiling_together_hold_through_an_outage_of_both():
    judge = judged((ERRORS, CEILING), *[(BROKEN, BUSY)] * 5)
    assert judge.health == "both bad"
    assert judge.passes(0)[0] == "undecided"


# What nobody knows


def test_before_any_minute_nothing_is_known():
    assert Judge((ERRORS,)).health == "unknown"


@pytest.mark.parametrize("arms", [(None, BASE), (FINE, None), (None, None)])
def test_missing_minutes_are_unknown_until_they_are_followed_by_known_ones(arms):
    judge = judged((ERRORS,), (FINE, BASE), arms, arms, arms)
    assert (judge.health, judge.blind) == ("unknown", 180)
    assert judge.readings()[0].state == "unknown"
    assert judge.passes(1)[0] == "undecided"
    judge.add([minute(9, FINE, BASE)])
    assert (judge.health, judge.blind) == ("healthy", 0)


def test_minutes_without_requests_are_known():
    judge = judged((ERRORS, CEILING), *[((0, 0), (0, 0))] * 5)
    assert (judge.health, judge.blind) == ("healthy", 0)
    assert [reading.state for reading in judge.readings()] == ["too few", "too few"]


@pytest.mark.parametrize("gate", [ERRORS, CEILING, MEAN])
def test_a_count_that_the_source_leaves_out_is_unknown_and_not_zero(gate):
    judge = Judge((gate,))
    judge.add([minute(0, (0, 60), BASE, key="http_4xx")])
    assert (judge.health, judge.blind) == ("unknown", 60)


def test_what_is_shown_stays_shown_when_the_data_go():
    judge = judged((ERRORS,), *[(BROKEN, BASE)] * 3, (None, None))
    assert (judge.health, judge.readings()[0].state) == ("sick", "breach")


@pytest.mark.parametrize("size", [1, 200])
def test_what_is_shown_stays_shown_when_the_canary_does_well_again(size):
    judge, hour = Judge((ERRORS,)), [minute(0, BROKEN, BASE), *(minute(n, FINE, BUSY) for n in range(1, 200))]
    for cut in itertools.batched(hour, size, strict=False):
        judge.add(cut)
    assert judge.health == "sick"
    reading = judge.readings()[0]
    assert (reading.e or 0) >= (reading.threshold or 0) > 1


def test_without_gates_only_the_requests_count():
    judge = judged((), (FINE, BASE))
    assert (judge.health, judge.passes(60), judge.passes(61)) == ("healthy", ("pass", ()), ("too few", ()))


# Bounds and stages


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_as_scipy_has_it(bad, total):
    bad = min(bad, total)
    expected = stats.binomtest(bad, total).proportion_ci(0.9, "wilson")
    assert wilson(bad, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.integers(0, 80), st.integers(1, 80), st.integers(0, 80), st.integers(1, 80))
def test_newcombe_from_the_bounds_of_scipy(bad, total, other, others):
    bad, other = min(bad, total), min(other, others)
    high = stats.binomtest(bad, total).proportion_ci(0.9, "wilson").high
    low = stats.binomtest(other, others).proportion_ci(0.9, "wilson").low
    expected = bad / total - other / others + math.hypot(high - bad / total, other / others - low)
    assert difference_upper(bad, total, other, others) == pytest.approx(expected, abs=1e-9)


def test_a_canary_worse_by_the_margin_passes_one_look_in_about_twenty():
    rng = np.random.default_rng(2)
    bad, other = rng.binomial(1_800, 0.02, 4_000), rng.binomial(16_200, 0.01, 4_000)
    passes = [difference_upper(x, 1_800, y, 16_200) <= 0.01 for x, y in zip(bad.tolist(), other.tolist(), strict=True)]
    assert 0.035 < np.mean(passes) < 0.07


@pytest.mark.parametrize(
    ("arms", "wanted", "answer"),
    [
        pytest.param([((18, 1800), (162, 16200))], 1801, "too few", id="requests are missing"),
        pytest.param([((18, 1800), (162, 16200))], 1800, "pass", id="as good"),
        pytest.param([((1, 100), (9, 900))], 100, "undecided", id="as good as far as one can tell, which is not far"),
        pytest.param([((40, 1800), (162, 16200))], 1800, "undecided", id="worse by more than the margin"),
        pytest.param([((0, 0), (9, 900))], 0, "undecided", id="nothing to judge by"),
        pytest.param([((0, 200), (0, 0))], 200, "pass", id="no baseline, below the ceiling"),
        pytest.param([((38, 200), (0, 0))], 200, "undecided", id="no baseline, too near the ceiling"),
    ],
)
def test_a_stage_passes_by_what_its_own_sample_shows(arms, wanted, answer):
    assert judged((ERRORS, CEILING), *arms).passes(wanted)[0] == answer


def test_without_a_baseline_and_a_ceiling_the_requests_decide():
    judge = judged((ERRORS,), ((30, 60), (0, 0)))
    assert (judge.passes(60)[0], judge.passes(61)[0]) == ("pass", "too few")


def test_a_reading_that_lets_a_stage_pass_shows_the_bound_and_the_margin():
    reading = judged((ERRORS,), ((18, 1800), (162, 16200))).passes(1)[1][0]
    assert (reading.state, reading.limit, reading.canary_total) == ("holds", 0.01, 1800)
    assert reading.upper == pytest.approx(difference_upper(18, 1800, 162, 16200))


def test_each_stage_counts_afresh_and_the_evidence_goes_on():
    judge = judged((ERRORS,), *[((4, 60), (9, 540))] * 4)
    before = judge.readings()[0]
    judge.begin_stage()
    assert judge.readings()[0] == before
    judge.add([minute(9, (0, 60), (0, 540))])
    assert judge.passes(61)[0] == "too few"
    assert judge.passes(1)[1][0].canary_total == 60
    assert judge.readings()[0].canary_total == 300


def test_a_mean_gate_does_not_hold_a_stage_up():
    judge = Judge((MEAN,))
    judge.add([timed(0, np.array([100.0, 300.0]), np.full(50, 100.0))])
    assert judge.passes(1)[0] == "pass"


# Replayed

arms = st.none() | st.tuples(st.integers(0, 30), st.integers(30, 60))
hours = st.lists(st.tuples(arms, arms), max_size=30).map(
    lambda drawn: [minute(n, canary, baseline) for n, (canary, baseline) in enumerate(drawn)]
)


@given(hours, st.sets(st.integers(0, 30)))
def test_it_does_not_matter_how_the_minutes_are_cut(hour, cuts):
    once, pieces = Judge((ERRORS, CEILING)), Judge((ERRORS, CEILING))
    once.add(hour)
    edges = [0, *sorted(cuts), len(hour)]
    for first, last in itertools.pairwise(edges):
        pieces.add(hour[first:last])
        pieces.readings()
    assert (pieces.health, pieces.blind, pieces.readings()) == (once.health, once.blind, once.readings())
    assert pieces.passes(100) == once.passes(100)


def test_a_minute_that_comes_twice_counts_once():
    judge = judged((ERRORS,), (BROKEN, BASE))
    before = judge.readings()
    judge.add([minute(0, BROKEN, BASE)])
    assert judge.readings() == before
