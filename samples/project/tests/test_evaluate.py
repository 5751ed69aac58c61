import json

import numpy as np
import pandas as pd
import pytest
from columns import COHORT, FEATURES, LABEL
from evaluate import scorecard, write
from prepare import prepare
from register import refusal, tags_of
from train import fit


@pytest.fixture(scope="module")
def done(made):
    return prepare(made, 0.25)


@pytest.fixture(scope="module")
def score(done):
    model = fit(done.train, learning_rate=0.1, epochs=40, seed=7)
    return model.predict_proba(done.test[FEATURES].astype(float))[:, 1]


def test_the_model_has_learned_something_on_the_whole_and_in_each_cohort(done, score):
    metrics, left_out = scorecard(done.test, score)
    assert 0.75 < metrics["auc"] < 0.99
    assert {f"auc/{cohort}" for cohort in set(done.test[COHORT]) - set(left_out)} <= metrics.keys()
    assert all(0.6 < metrics[f"auc/{cohort}"] <= 1 for cohort in ("north", "online", "south"))
    shuffled, _ = scorecard(done.test, np.random.default_rng(1).permutation(score))
    assert shuffled["auc"] < 0.65


def test_a_cohort_is_measured_by_its_own_rows():
    rows = [("a", n % 2, 0.9 if n % 2 else 0.1) for n in range(20)] + [
        ("b", n % 2, 0.1 if n % 2 else 0.9) for n in range(20)
    ]
    test = pd.DataFrame(rows, columns=[COHORT, LABEL, "score"]).sample(frac=1, random_state=3)
    metrics, left_out = scorecard(test, test["score"].to_numpy())
    assert (metrics["auc/a"], metrics["auc/b"], left_out) == (1.0, 0.0, {})


def test_a_cohort_with_too_few_of_a_class_is_left_out_with_its_reason(done, score, tmp_path):
    few = done.test[COHORT].where(done.test.index != done.test.index[0], "tiny")
    metrics, left_out = scorecard(done.test.assign(**{COHORT: few}), score)
    assert left_out["tiny"] == "0 of the rarer class, 5 are needed"
    assert "auc/tiny" not in metrics
    write(tmp_path, metrics, left_out, {"north": 400, "tiny": 1})
    assert "| tiny | 1 | 0 of the rarer class" in (tmp_path / "scorecard.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "scorecard.json").read_text(encoding="utf-8"))["metrics"] == metrics


def test_a_test_set_of_one_class_says_so():
    one = pd.DataFrame({COHORT: ["a"] * 3, LABEL: [0, 0, 0]})
    with pytest.raises(SystemExit, match="one class only"):
        scorecard(one, np.array([0.1, 0.2, 0.3]))


@pytest.mark.parametrize(
    ("metrics", "said"),
    [({"auc": 0.71}, None), ({"auc": 0.7}, None), ({"auc": 0.6999}, "auc 0.6999 < 0.7: not good"), ({}, "has no auc")],
)
def test_a_model_that_is_not_good_enough_is_not_registered(metrics, said):
    problem = refusal(metrics, 0.7)
    assert problem is None if said is None else said in problem


def test_the_tags_of_whoever_submitted_it_win_and_metrics_come_as_numbers():
    tags = tags_of({"stage": "dev"}, {"team": "fraud", "stage": "candidate"}, {"auc": 0.912345678, "auc/north": 0.5})
    assert tags == {"stage": "candidate", "team": "fraud", "auc": "0.912346", "auc/north": "0.5"}
