"""Model quality: windows, joining, metrics and what is said of them."""

import json
from datetime import UTC, datetime, timedelta
from math import log
from random import Random  # noqa: TID251 (seeded)
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as known

from shared.quality.judge import look_at
from shared.quality.metrics import expected, measured, share
from shared.quality.rows import Pair, joined, lines, text_of
from shared.quality.watch import CLASSES, Ask, Blob, Bound, Predictions, Truth, Watch
from shared.quality.windows import Window, before, between, due, due_at, window_of
from shared.record import WorkspaceRef

HERE = WorkspaceRef("s", "g", "prod")
NOWHERE = Blob("account", "container", "path")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = 86_400.0


def watch(*asks: Ask, **more: Any) -> Watch:
    given: dict[str, Any] = {
        "name": "fraud",
        "model": "fraud",
        "where": HERE,
        "predictions": Predictions(NOWHERE, "id", "at", score="score"),
        "truth": Truth(NOWHERE, "id", "fraud"),
        "asks": asks or (Ask("auc", Bound(0.85)),),
    }
    return Watch(**given | more)


def feed(seed, n, *, start=NOON, drift=0.0, **more):
    """Predictions of a calibrated model, and their truth; `drift`: the share of the truth that no longer has to do with the score."""
    chance = Random(seed)
    predictions, truth = [], []
    for i in range(n):
        score = 1 / (1 + 2.718281828 ** -(-3.0 + 2.2 * chance.gauss(0, 1)))
        meant = 1 / (1 + 2.718281828 ** -(-3.0 + 2.2 * chance.gauss(0, 1))) if chance.random() < drift else score
        at = start + timedelta(seconds=i * 3600 / n)
        predictions.append({"id": f"t{i}", "at": at.isoformat(), "score": score, "segment": "north", **more})
        truth.append({"id": f"t{i}", "fraud": int(chance.random() < meant)})
    return predictions, truth


WINDOW = Window(NOON, NOON + timedelta(hours=1))


def looked(one, predictions, truth, number=0, **more):
    return look_at(one, WINDOW, number, joined(one, WINDOW, predictions, truth), at=NOON + timedelta(hours=2), **more)


# Windows


@pytest.mark.parametrize(
    ("length", "zone", "moment", "start", "hours"),
    [
        (3600, "UTC", "2026-11-20T12:30", "2026-11-20T12:00", 1),
        (DAY, "Asia/Tokyo", "2026-11-20T12:30", "2026-11-19T15:00", 24),
        (DAY, "Asia/Tokyo", "2026-11-20T15:00", "2026-11-20T15:00", 24),
        (7 * DAY, "UTC", "2026-11-20T12:30", "2026-11-16T00:00", 168),  # a Monday
        (DAY, "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", 25),  # clocks are put back
        (6 * 3600, "Europe/Berlin", "2026-03-29T21:00", "2026-03-29T17:00", 5),  # and forward
    ],
)
def test_a_window_begins_where_the_day_does(length, zone, moment, start, hours):
    found = window_of(watch(window=length, zone=zone), datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert found.start == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert found.end - found.start == timedelta(hours=hours)


@settings(max_examples=60)
@given(
    st.sampled_from([3600.0, 6 * 3600.0, DAY, 7 * DAY]),
    st.sampled_from(["UTC", "Asia/Tokyo", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 (in UTC, below)
)
def test_every_moment_lies_in_one_window_and_they_have_no_gaps(length, zone, moment):
    one = watch(window=length, zone=zone)
    at = moment.replace(tzinfo=UTC)
    found = window_of(one, at)
    assert found.start <= at < found.end
    past = next(before(one, at))
    assert past.end == found.start
    assert past.id < found.id
    if length >= DAY:
        assert found.start.astimezone(ZoneInfo(zone)).hour == 0


def test_a_window_is_due_once_and_again_while_late_labels_may_change_it():
    one = watch(window=DAY, lateness=DAY / 2, reopen=2 * DAY)
    done: list[tuple[str, int]] = []
    looks: list[tuple[str, int, int]] = []
    for hours in range(0, 24 * 6, 3):
        now = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=hours)
        for window, look in due(one, now, done):
            looks.append((f"{window.start:%d}", look, (now - due_at(one, window)) // timedelta(hours=1)))
            done.append((window.id, look))
    assert [one for one in looks if one[0] == "20"] == [("20", 0, 0), ("20", 1, 24), ("20", 2, 48)]
    assert [name for name, look, _ in looks if look == 0] == ["18", "19", "20", "21", "22", "23", "24"][: len(looks)][
        :7
    ]
    assert one.looks == 3


def test_who_begins_looks_at_the_newest_window_and_who_was_away_at_all_that_were_missed():
    one = watch(window=DAY)
    now = datetime(2026, 11, 20, 1, tzinfo=UTC)
    assert [window.id for window, _ in due(one, now, [])] == ["20261119T0000"]
    missed = due(one, now, [("20261115T0000", 0)])
    assert [window.id[6:8] for window, _ in missed] == ["16", "17", "18", "19"]
    assert len(due(one, now, [("20250101T0000", 0)])) == 32


def test_the_past_is_windows_that_are_due():
    one = watch(window=DAY, lateness=2 * DAY)
    found = between(one, NOON - timedelta(days=5), NOON)
    assert [window.id[6:8] for window in found] == ["16", "17"]


# Rows


def test_the_last_prediction_and_the_last_truth_of_a_key_count():
    predictions: list[dict[str, object]] = [
        {"id": 7, "at": "2026-11-20T12:01:00Z", "score": 0.1},
        {"id": "7", "at": "2026-11-20T12:09:00+00:00", "score": "0.9"},
        {"id": 7.0, "at": "2026-11-20T12:05:00", "score": 0.5},
        {"id": 8, "at": 1_795_176_000, "score": 0.2},
        {"id": 9, "at": "2026-11-20T13:00:00Z", "score": 0.2},  # of the next window
    ]
    truth: list[dict[str, object]] = [
        {"id": 7, "fraud": 0},
        {"id": 7, "fraud": True},
        {"id": 7, "fraud": None},
        {"id": 11, "fraud": 1},
    ]
    found = joined(watch(positive="true"), WINDOW, predictions, truth)
    assert [(pair.key, pair.score, pair.truth) for pair in found.pairs] == [("8", 0.2, None), ("7", 0.9, "true")]
    assert (found.predictions, len(found.labelled), dict(found.unread)) == (4, 1, {})


def test_a_truth_that_says_when_it_came_is_the_last_by_its_time():
    one = watch(truth=Truth(NOWHERE, "id", "fraud", at="came"))
    predictions = [{"id": 7, "at": "2026-11-20T12:01:00Z", "score": 0.1}]
    truth = [
        {"id": 7, "fraud": 1, "came": "2026-11-22T00:00:00Z"},
        {"id": 7, "fraud": 0, "came": "2026-11-21T00:00:00Z"},
    ]
    assert [pair.truth for pair in joined(one, WINDOW, predictions, truth).pairs] == ["1"]


def test_predictions_of_another_version_than_most_are_left_out():
    one = watch(predictions=Predictions(NOWHERE, "id", "at", score="score", version="v"))
    rows = [{"id": n, "at": NOON, "score": 0.1, "v": v} for n, v in enumerate(["12", 13, "", 12])]
    found = joined(one, WINDOW, rows, [])
    assert ([pair.key for pair in found.pairs], found.version, found.others) == (["0", "2", "3"], "12", 1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"at": NOON, "score": 0.1}, "predictions: id is missing"),
        ({"id": 1, "score": 0.1}, "predictions: at is missing"),
        ({"id": 1, "at": NOON}, "predictions: score is missing"),
        ({"id": 1, "at": NOON, "score": 14}, "predictions: score is 14, expected a probability from 0 to 1"),
        ({"id": 1, "at": NOON, "score": "nan"}, "predictions: nan is no number"),
        ({"id": 1, "at": "today", "score": 0.1}, "predictions: Invalid isoformat string: 'today'"),
    ],
)
def test_what_cannot_be_read_is_counted_by_its_reason(row, said):
    assert joined(watch(), WINDOW, [row], []).unread == {said: 1}


def test_a_collectors_line_holds_several_rows():
    line = {
        "specversion": "1.0",
        "time": "2026-11-20T12:00:01Z",
        "data": [{"id": 1, "score": 0.1}, {"id": 2, "score": 0.9}],
    }
    found = [*lines("h.jsonl", json.dumps(line).encode() + b"\n\n" + json.dumps(line | {"data": [{"id": 3}]}).encode())]
    assert [(row["id"], row["time"]) for row in found] == [(n, "2026-11-20T12:00:01Z") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("name", "raw", "rows"),
    [
        ("a.csv", b"id,fraud\n7,1\n8,0\n", [{"id": "7", "fraud": "1"}, {"id": "8", "fraud": "0"}]),
        ("a.json", b'[{"id": 7}]', [{"id": 7}]),
        ("a.jsonl", b'\xef\xbb\xbf{"id": 7}\n{"id": 8}\n', [{"id": 7}, {"id": 8}]),
        ("a.jsonl", b"", []),
    ],
)
def test_files_of_each_kind_are_read(name, raw, rows):
    assert [*lines(name, raw)] == rows


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b'{"id": 1}\n{"id"', "f.jsonl, line 2 is not JSON"), (b"[1]", "f.jsonl: expected a JSON object, found int")],
)
def test_a_file_that_is_none_is_told_with_its_place(raw, said):
    with pytest.raises(ValueError, match=said):
        [*lines("f.jsonl", raw)]


@given(st.one_of(st.integers(), st.booleans(), st.text(), st.none(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_value_as_text_is_the_same_when_it_is_read_again(value):
    assert text_of(text_of(value)) == text_of(value)


# Metrics

SCORES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=30, max_size=120)


def pairs_of(rows, threshold=0.5):
    return [
        Pair(str(n), NOON, score, "1" if score >= threshold else "", str(int(truth)), None, "", ())
        for n, (score, truth) in enumerate(rows)
    ]


@settings(max_examples=40)
@given(SCORES)
def test_an_interval_holds_its_value_and_the_values_are_those_that_everybody_knows(rows):
    asked = dict.fromkeys(CLASSES, 0.01)
    found = measured(watch(), pairs_of(rows), asked)
    truth, scores = [truth for _, truth in rows], [score for score, _ in rows]
    said = [score >= 0.5 for score in scores]
    for metric, number in found.items():
        assert number.low - 1e-9 <= number.value <= number.high + 1e-9, metric
    assert found["accuracy"].value == pytest.approx(known.accuracy_score(truth, said))
    if "auc" in found:
        assert found["auc"].value == pytest.approx(known.roc_auc_score(truth, scores))
        assert 0 <= found["auc"].low <= found["auc"].high <= 1
    if "f1" in found:
        assert found["f1"].value == pytest.approx(known.f1_score(truth, said, zero_division=0))
    assert ("precision" in found) == any(said)
    assert ("recall" in found) == any(truth)


def test_numbers_have_their_own_metrics():
    one = watch(
        Ask("mae", Bound(3.0)), Ask("rmse"), Ask("mape"), predictions=Predictions(NOWHERE, "id", "at", value="value")
    )
    rows = [{"id": n, "at": NOON, "value": 100 + n % 7} for n in range(40)]
    truth = [{"id": n, "fraud": 0 if n == 0 else 100} for n in range(40)]
    found = looked(one, rows, truth, number=0)
    assert found.verdict == "not enough"
    enough = looked(watch(*one.asks, predictions=one.predictions, minimum=40), rows, truth)
    assert {name: one.n for name, one in enough.measured.items()} == {"mae": 40, "rmse": 40, "mape": 39}
    assert enough.measured["mape"].value == pytest.approx(sum(n % 7 for n in range(1, 40)) / 39 / 100)


@pytest.mark.parametrize(("hits", "n"), [(0, 40), (40, 40), (3, 40), (390, 400)])
def test_a_share_is_wrong_with_at_most_its_level(hits, n):
    """By the definition of Clopper and Pearson: at the ends, what was seen has exactly this probability."""
    from scipy.stats import binom

    low, high = share(hits, n, 0.001)
    assert low == 0 if hits == 0 else binom.sf(hits - 1, n, low) == pytest.approx(0.001)
    assert high == 1 if hits == n else binom.cdf(hits, n, high) == pytest.approx(0.001)


def test_what_scores_let_expect_is_what_a_calibrated_model_does():
    rows, truth = feed(3, 20_000)
    one = watch()
    pairs = joined(one, WINDOW, rows, truth).pairs
    asked = dict.fromkeys(CLASSES, 0.001)
    real, hoped = measured(one, pairs, asked), expected(one, pairs, asked)
    assert real.keys() == hoped.keys() == asked.keys()
    for metric, number in hoped.items():
        assert number.low < number.value < number.high
        assert number.low <= real[metric].value <= number.high, metric


def test_expected_loss_is_the_entropy_of_the_scores():
    pairs = pairs_of([(0.25, True), (0.25, False)])
    found = expected(watch(), pairs, {"log_loss": 0.01})["log_loss"]
    assert found.value == pytest.approx(-(0.25 * log(0.25) + 0.75 * log(0.75)))


# Verdicts


def test_a_breach_is_an_interval_wholly_beyond_the_limit():
    one = watch(Ask("auc", Bound(0.85)), minimum=500)
    healthy, bad = (looked(one, *feed(5, 4000, drift=drift)) for drift in (0.0, 0.25))
    assert (healthy.verdict, healthy.breached) == ("healthy", [])
    (found,) = bad.breached
    assert (bad.verdict, found.metric, found.cohort) == ("degraded", "auc", "")
    assert found.low < found.value < found.high < 0.85 == found.limit
    # The same value over few predictions may be chance.
    few = looked(one, *feed(8, 600, drift=0.25))
    assert few.findings[0].value < 0.85
    assert few.verdict == "healthy"


def test_too_few_truths_are_no_health():
    predictions, truth = feed(1, 1000)
    found = looked(watch(), predictions, truth[:150])
    assert found.verdict == "not enough"
    assert found.why == "150 of 1,000 predictions have a truth, expected at least 200"
    assert found.labels == {"2026-11-20": 150}


def test_a_drop_is_held_against_the_training_run_and_the_stricter_limit_counts():
    one = watch(Ask("auc", Bound(0.7, drop=0.02), logged_as="val_auc"))
    found = looked(one, *feed(2, 3000), reference={"val_auc": 0.99, "auc": 0.5})
    assert (found.findings[0].limit, found.findings[0].reference) == (0.97, 0.99)
    assert (found.verdict, found.reference) == ("degraded", {"auc": 0.99})


def test_without_the_training_run_nobody_knows_about_a_drop():
    found = looked(watch(Ask("auc", Bound(drop=0.02))), *feed(2, 3000), reference={"accuracy": 0.9})
    assert found.verdict == "unknown"
    assert found.why == "the training run of the version in production is not known, or logged no auc"
    assert found.findings[0].value > 0.8  # it is shown all the same


def test_one_limit_that_cannot_be_judged_makes_no_healthy_model_of_the_others():
    one = watch(Ask("auc", Bound(drop=0.02)), Ask("log_loss", Bound(0.5)))
    assert looked(one, *feed(2, 3000)).verdict == "unknown"
    assert looked(one, *feed(2, 3000, drift=0.9), reference={}).verdict == "unknown"
    strict = watch(Ask("auc", Bound(drop=0.02)), Ask("log_loss", Bound(0.1)))
    assert looked(strict, *feed(2, 3000)).verdict == "degraded"  # what is known to be bad is bad


def test_a_class_that_is_hardly_there_is_said():
    predictions, truth = feed(2, 1000)
    none = [{**row, "fraud": 0} for row in truth]
    found = looked(watch(), predictions, none)
    assert (found.verdict, found.why) == ("unknown", "auc can't be told: one of the classes is hardly there")


def test_a_cohort_may_be_bad_while_the_whole_is_well():
    one = watch(Ask("auc", Bound(0.7), Bound(0.8)), cohorts=("segment",), minimum=300)
    good, truth = feed(4, 6000)
    bad, other = feed(9, 1500, drift=0.9)
    rows = [*good, *({**row, "id": f"x{row['id']}", "segment": "online"} for row in bad)]
    found = looked(one, rows, [*truth, *({**row, "id": f"x{row['id']}"} for row in other)])
    assert [(one.metric, one.cohort) for one in found.breached] == [("auc", "segment=online")]
    assert {one.cohort for one in found.findings} == {"", "segment=north", "segment=online"}
    assert found.verdict == "degraded"


def test_rows_that_nobody_can_read_make_it_unknown():
    predictions, truth = feed(4, 1000)
    for row in predictions[:100]:
        row["score"] = "?"
    found = looked(watch(), predictions, truth)
    assert found.verdict == "unknown"
    assert "100 rows can't be read: predictions: could not convert string to float: '?'" in found.why


@settings(max_examples=60)
@given(
    st.floats(0.001, 0.5),
    st.sampled_from([3600.0, DAY, 7 * DAY]),
    st.integers(0, 5),
    st.integers(1, 4),
    st.integers(0, 30),
)
def test_the_error_budget_is_never_overspent(alpha, window, reopened, limits, cohorts):
    asks = [Ask(metric, Bound(0.5), Bound(0.4)) for metric in CLASSES[:limits]]
    one = watch(*asks, alpha=alpha, window=window, reopen=reopened * window, cohorts=("c",))
    each = one.windows * one.looks
    spent = each * (limits * one.level() + limits * cohorts * (one.level(cohorts) if cohorts else 0))
    assert spent <= alpha * (1 + 1e-9)
    assert one.windows * window >= 30 * DAY - 1e-6


def test_labels_count_by_the_day_they_came():
    one = watch(truth=Truth(NOWHERE, "id", "fraud", at="came"), minimum=20)
    predictions, truth = feed(1, 60)
    first = [{**row, "came": "2026-11-20T20:00:00Z"} for row in truth[:40]]
    second = [*first, *({**row, "came": "2026-11-22T20:00:00Z"} for row in truth[40:])]
    old = looked(one, predictions, first)
    assert old.labels == {"2026-11-20": 40}
    new = looked(one, predictions, second, 1, before=old)
    assert new.labels == {"2026-11-20": 40, "2026-11-22": 20}
    assert old.digest != new.digest
