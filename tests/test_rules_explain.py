"""Why, and why not."""

import json
from datetime import UTC, datetime

import pytest

from shared.events import Event, Run
from shared.record import Facts
from shared.rules.explain import as_json, as_text, explain, in_words
from shared.rules.load import load_texts
from shared.rules.near import nearest_change

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
  → would match with metrics.auc 0.95 (is 0.93: needs +0.02)

missed   far-off: 2 of 2 lines failed  (rules/fraud.yaml:2)
  ✗ workspace = dev    is 'prod'  line 5
  ✗ tags.team = churn  is missing  line 6
  → would match with workspace 'dev' (is 'prod') and tags.team 'churn' (is missing)

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
    change = {"field": "metrics.auc", "kind": "value", "from": 0.93, "to": 0.95, "by": 0.02}
    assert found[1]["change"] == {"outcome": "enough", "changes": [change]}
    assert found[0]["change"] is None


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (
            "metrics.auc: '> 0.95'",
            "would match with metrics.auc just above 0.95 (is 0.93: needs a little beyond +0.02)",
        ),
        ("metrics.auc: '< 0.93'", "would match with metrics.auc just below 0.93 (is 0.93)"),
        ("run.is_child: true", "would match with run.is_child true (is unknown: nobody has looked)"),
        ("tags.owner: present", "would match with tags.owner of any value (is missing)"),
        ("workspace: absent", "would match with workspace missing (is 'prod')"),
        (
            "run.experiment: '~ ^churn-'",
            "would match with run.experiment 'churn-' (is 'fraud-train'; whatever fits ~ ^churn- would do)",
        ),
        (
            r"run.experiment: '~ \pL{9}'",
            r"would match with run.experiment as a text that fits ~ \pL{9} (is 'fraud-train')",
        ),
        ("tags.x: '1', not: {tags.x: '1'}", "no change would help: its lines contradict each other"),
    ],
)
def test_the_smallest_change_is_said_in_words(match, said):
    rules = f"rules: [{{name: r, event: RunCompleted, match: {{{match}}}, do: [{{notify: fraud-team}}]}}]"
    loaded = load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": rules})
    assert in_words(nearest_change(loaded.rules.rules[0], EVENT, Facts(metrics={"auc": 0.93}))) == said


def test_what_when_asks_for_cannot_be_suggested():
    rules = """\
rules:
  - {name: both, event: RunCompleted, match: {workspace: dev}, when: event.run.id == "x", do: [{notify: fraud-team}]}
  - {name: one, event: RunCompleted, when: event.run.id == "x", do: [{notify: fraud-team}]}
  - {name: holds, event: RunCompleted, match: {workspace: dev}, when: event.run.id == "r", do: [{notify: fraud-team}]}
"""
    loaded = load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": rules})
    assert loaded.problems == ()
    said = {one.rule: in_words(one.change) for one in explain(loaded.rules, EVENT) if one.change}
    assert said == {
        "both": "needs at least workspace 'dev' (is 'prod'); for the rest no change can be suggested",
        "one": "no change can be suggested",
        "holds": "would match with workspace 'dev' (is 'prod')",
    }


def test_only_what_was_missed_has_a_change_and_no_more_than_were_asked_for():
    found = explain(LOADED.rules, EVENT, Facts(metrics={"auc": 0.93}), changes=1)
    assert [one.rule for one in found if one.change] == ["near-miss"]


def test_without_rules_there_is_something_to_read_all_the_same():
    assert as_text([]) == "There are no rules.\n"


@pytest.mark.parametrize(("clock", "then"), [("17:59", "then"), ("18:00", "not then")])
def test_of_a_rule_that_matches_it_says_how_often_and_whether_it_may_at_that_time(clock, then):
    main = """
receivers:
  team: {email: a@contoso.com, escalate: [{after: 10m, on_call: rota, by: sms}]}
  sato: {sms: "+819011112222"}
calendars: {office: {days: mon-fri, from: "08:00", to: "18:00"}}
schedules: {rota: {start: 2026-11-02, handover: "09:00", every: 7d, people: [sato]}}
"""
    rule = "rules: [{name: a, event: RunCompleted, active: office, throttle: {accumulate_within: 1h, threshold: 3, by: [run.id]}, do: [{notify: team}]}]"
    loaded = load_texts({"switchyard.yaml": main, "rules/a.yaml": rule})
    assert not loaded.problems, loaded.problems
    at = datetime.fromisoformat(f"2026-11-24T{clock}:00+00:00")
    text = as_text(explain(loaded.rules, Event("e", "RunCompleted", at, "/s", run=Run("r")), hours=loaded.config.hours))
    assert "  · accumulate_within 1h, 3 of them by run.id\n" in text
    assert f"  · active office: {then}\n" in text
    assert "  → sms whoever is on call by rota, after 10m unless somebody acknowledges it\n" in text
