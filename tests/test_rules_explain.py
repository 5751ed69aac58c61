"""Why, and why not."""

import json
from datetime import UTC, datetime

from shared.events import Event, Run
from shared.record import Facts
from shared.rules.explain import as_json, as_text, explain
from shared.rules.load import load_texts

MAIN = "receivers: {fraud-team: {teams: '${TEAMS_FRAUD_URL}'}}\n"
RULES = """\
rules:
  - name: far-off
    event: RunCompleted
    match:
      workspace: dev
      tags.team: churn
    do: [{notify: fraud-team}]
  - name: near-miss
    event: RunCompleted
    match:
      workspace: prod
      metrics.auc: ">= 0.95"
      not: {run.experiment: "~ test$"}
    do: [{notify: fraud-team}]
  - name: other-event
    event: ModelDeployed
    do: [{notify: fraud-team}]
  - name: good-run
    event: RunCompleted
    match: {workspace: prod, tags.owner: absent}
    do: [{notify: fraud-team}]
"""
LOADED = load_texts({"switchyard.yaml": MAIN, "rules/fraud.yaml": RULES})
EVENT = Event(
    id="e",
    type="RunCompleted",
    time=datetime(2026, 11, 20, tzinfo=UTC),
    source="/s",
    workspace="prod",
    run=Run("r", experiment="fraud-train"),
)


def test_matched_rules_come_first_then_the_nearest_misses_then_rules_for_other_events():
    found = explain(LOADED.rules, EVENT, Facts(metrics={"auc": 0.93}))
    assert [(one.rule, one.outcome, one.failed) for one in found] == [
        ("good-run", "matched", 0),
        ("near-miss", "missed", 1),
        ("far-off", "missed", 2),
        ("other-event", "other event", 0),
    ]


def test_the_text_says_expected_and_actual_with_the_line_to_change():
    assert (
        as_text(explain(LOADED.rules, EVENT, Facts(metrics={"auc": 0.93})))
        == """\
MATCHED  good-run  (rules/fraud.yaml:18)
  ✓ workspace = prod   is 'prod'
  ✓ tags.owner absent  is missing
  → teams ${TEAMS_FRAUD_URL}

missed   near-miss: 1 of 3 lines failed  (rules/fraud.yaml:8)
  ✓ workspace = prod              is 'prod'
  ✗ metrics.auc >= 0.95           is 0.93  line 12
  ✓ not (run.experiment ~ test$)  run.experiment is 'fraud-train'

missed   far-off: 2 of 2 lines failed  (rules/fraud.yaml:2)
  ✗ workspace = dev    is 'prod'  line 5
  ✗ tags.team = churn  is missing  line 6

1 rule is for other events: other-event
"""
    )


def test_a_rule_that_waits_says_for_what():
    text = as_text(explain(LOADED.rules, EVENT))
    assert "WAITS    near-miss: for the lookup of metrics" in text
    assert "? metrics.auc >= 0.95" in text


def test_what_nobody_knows_is_said_with_the_reason():
    text = as_text(explain(LOADED.rules, EVENT, Facts(unknown={"metrics": "HTTP 404: no such run"})))
    assert "✗ metrics.auc >= 0.95           is unknown: HTTP 404: no such run  line 12" in text


def test_a_stopped_rule_names_the_one_that_stopped_it():
    rules = """\
rules:
  - {name: first, event: RunCompleted, match: {workspace: prod}, do: [{notify: fraud-team}], stop: true}
  - {name: second, event: RunCompleted, do: [{notify: fraud-team}]}
"""
    loaded = load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": rules})
    text = as_text(explain(loaded.rules, EVENT))
    assert "STOPPED  second: it matches, and 'first' before it says stop" in text


def test_json_holds_every_rule_and_line():
    found = json.loads(as_json(explain(LOADED.rules, EVENT, Facts(metrics={"auc": 0.93}))))
    assert [one["rule"] for one in found] == ["good-run", "near-miss", "far-off", "other-event"]
    line = found[1]["lines"][1]
    assert (line["line"], line["state"], line["checked"]["actual"]) == (12, "failed", 0.93)


def test_without_rules_there_is_something_to_read_all_the_same():
    assert as_text([]) == "There are no rules.\n"
