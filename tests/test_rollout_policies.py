"""Rollout policies: what a file becomes, what it does to rules, who hears of it, and what `check` says about it."""

import re
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.cli import main
from shared.errors import PermanentError
from shared.events import Event, Model
from shared.record import Facts, WorkspaceRef
from shared.rollout.hours import written
from shared.rollout.policy import (
    Approval,
    BinaryGate,
    CeilingGate,
    Closed,
    Compare,
    Labels,
    MeanGate,
    Policy,
    Recipe,
    Sample,
    Smoke,
    Stage,
    Window,
)
from shared.rollout.times import times
from shared.rules.assessments import QUESTIONS, assessment
from shared.rules.explain import as_text, explain
from shared.rules.load import ORPHANS, Loaded, load_texts
from shared.rules.plan import plan
from shared.settings import read_folder

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config"
SHIPPED = read_folder(CONFIG)
MAIN = SHIPPED["switchyard.yaml"]
SAMPLES = {name: text for name, text in SHIPPED.items() if name.startswith("samples/")}
DOCS = (ROOT / "docs" / "rollouts.md").read_text()
ISSUE = """\
name: fraud-online
endpoint: fraud-online
candidate: {model: fraud, tags.stage: candidate}
compare: {metric: auc, against: champion, at_least: -0.002}
responsible_ai: required
smoke: {requests: samples/fraud/*.json, expect: samples/fraud/expected.json, p95_ms: 300}
stages:
  - {mirror: 20, for: 15m}
  - {traffic: 10, for: 30m, min_requests: 500}
  - {traffic: 50, for: 1h, approve: {by: ml-leads, within: 24h, else: rollback}}
gates:
  - {bad: http_5xx, alpha: 0.05, worse_than: 1.0}          # odds ratio that is still acceptable
  - {bad: latency_over, slo_ms: 400, alpha: 0.05}
  - {ceiling: error_rate, max: 20%, for: 2m}
on_breach: rollback
keep_old: 24h
"""
SMALL = "name: p\nendpoint: fraud-online\ncandidate: {model: fraud}\n"


def loaded(policy: str, **files: str) -> Loaded:
    name = re.search(r"^name: (\S+)", policy, re.MULTILINE)
    assert name is not None
    return load_texts({"switchyard.yaml": MAIN, **SAMPLES, f"rollouts/{name[1]}.yaml": policy} | files)


def policy(text: str, **files: str) -> Policy:
    result = loaded(text, **files)
    assert [str(problem) for problem in result.problems] == []
    (found,) = result.policies.values()
    return found


def registered(name: str = "fraud", **tags: str) -> Event:
    return Event(
        "e",
        "ModelRegistered",
        datetime(2026, 11, 20, tzinfo=UTC),
        "/s",
        workspace="prod",
        model=Model(name, "13"),
        tags={"stage": "candidate", **tags},
    )


# --- what a file becomes ---


def test_the_issues_example_loads_exactly_as_it_is_written():
    found = policy(ISSUE)
    samples = found.smoke.samples if found.smoke else ()
    assert {sample.name for sample in samples} == {"small-purchase.json", "night-transfer.json", "two-at-once.json"}
    assert found == Policy(
        name="fraud-online",
        endpoint="fraud-online",
        compare=(Compare("auc", "champion", -0.002),),
        responsible_ai=True,
        smoke=Smoke(samples, p95_ms=300),
        stages=(
            Stage(20, 900, mirror=True),
            Stage(10, 1800, min_requests=500),
            Stage(50, 3600, approve=Approval("ml-leads", 86_400, "rollback")),
        ),
        gates=(
            BinaryGate("http_5xx", 0.05, 1.0),
            BinaryGate("latency_over", 0.05, slo_ms=400),
            CeilingGate("error_rate", 0.2, 120),
        ),
        on_breach="rollback",
        keep_old=86_400,
    )


def test_what_is_left_out_is_as_the_policy_type_has_it():
    assert policy(SMALL) == Policy("p", "fraud-online")
    parts = "deployment: {}\nlabels: {}\nsmoke: {requests: samples/fraud/small-purchase.json}\n"
    assert policy(SMALL + parts) == Policy("p", "fraud-online", smoke=Smoke((sample("small-purchase.json"),)))
    stages = f"{SMALL}stages: [{{traffic: 10, for: 5m, approve: {{by: ml-leads}}}}]\n"
    every = "gates: [{bad: http_5xx}, {mean: latency_ms}, {ceiling: error_rate, max: 5}]\n"
    assert policy(stages + every) == Policy(
        "p",
        "fraud-online",
        stages=(Stage(10, 300, approve=Approval("ml-leads")),),
        gates=(BinaryGate("http_5xx"), MeanGate("latency_ms"), CeilingGate("error_rate", 0.05)),
    )


def sample(name: str, expected: str | None = None) -> Sample:
    return Sample(name, msgspec.json.format(SHIPPED[f"samples/fraud/{name}"], indent=-1), expected)


def test_every_key_arrives_where_it_belongs():
    text = """\
name: p
endpoint: "{{ event.model.name }}-online"
workspace: prod
kind: kubernetes
candidate: {model: fraud}
deployment:
  instance_count: 3
  environment: azureml:score-env:4
  code: azureml:score-code:2
  scoring_script: score.py
  request_timeout: 90s
  max_concurrent_requests: 8
  variables: {LEVEL: info}
  collect: [request, response]
  app_insights: true
  within: 20m
compare:
  - {metric: rmse, against: 4, lower_is_better: true}
  - {metric: auc, cohorts: true, cohort_at_least: -0.01}
approve: {by: fraud-team, within: 1h30m, else: hold}
stages: [{traffic: 5, for: 2d}]
gates:
  - {bad: http_4xx, worse_than: 1.5, margin: 0.5%, alpha: 0.1}
  - {mean: latency_ms, worse_than: 25%, alpha: 0.2}
  - {ceiling: latency_over, slo_ms: 800, max: 30, for: 5m}
on_breach: hold
undecided: rollback
extend: 0
patience: 5m
every: 2m
windows:
  - {days: [sat-mon, wed], from: "22:00", to: "02:30", time_zone: Europe/Berlin}
  - {}
closed: [{from: 2026-12-24, to: 2027-01-04, reason: end of the year, owner: ops}]
second: replace
keep_old: 0
labels: {promoted: {stage: live}, rejected: {stage: no}}
notify: [fraud-team, ml-leads]
"""
    assert policy(text) == Policy(
        name="p",
        endpoint="{{ event.model.name }}-online",
        workspace=WorkspaceRef("5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59", "mlops", "prod"),
        kind="kubernetes",
        deployment=Recipe(
            instance_count=3,
            environment="azureml:score-env:4",
            code="azureml:score-code:2",
            scoring_script="score.py",
            request_timeout_ms=90_000,
            max_concurrent_requests=8,
            variables={"LEVEL": "info"},
            collect=("request", "response"),
            app_insights=True,
            within=1200,
        ),
        compare=(
            Compare("rmse", 4, lower_is_better=True),
            Compare("auc", cohorts=True, cohort_at_least=-0.01),
        ),
        approve=Approval("fraud-team", 5400, "hold"),
        stages=(Stage(5, 172_800),),
        gates=(
            BinaryGate("http_4xx", 0.1, 1.5, 0.005),
            MeanGate("latency_ms", 0.2, 0.25),
            CeilingGate("latency_over", 0.3, 300, 800),
        ),
        on_breach="hold",
        undecided="rollback",
        extend=0,
        patience=300,
        every=120,
        windows=(Window((0, 2, 5, 6), 1320, 150, "Europe/Berlin"), Window(zone="Asia/Tokyo")),
        closed=(Closed(date(2026, 12, 24), date(2027, 1, 4), "end of the year", "ops", "Asia/Tokyo"),),
        second="replace",
        keep_old=0,
        labels=Labels(promoted={"stage": "live"}, rejected={"stage": "no"}),
        notify=("fraud-team", "ml-leads"),
    )


def test_requests_carry_the_answers_that_are_expected_of_them():
    assert policy(ISSUE).smoke == Smoke(
        p95_ms=300,
        samples=(
            sample("night-transfer.json", "[0.92]"),
            sample("small-purchase.json", "[0.03]"),
            sample("two-at-once.json", "[0.02,0.93]"),
        ),
    )


def test_the_shipped_answers_are_what_the_simulated_model_says():
    smoke = policy(ISSUE).smoke
    assert smoke is not None
    for one in smoke.samples:
        rows = msgspec.json.decode(one.body)["input_data"]["data"]
        assert msgspec.json.decode(one.expected or "") == [round(sum(row) % 1, 4) for row in rows]


def test_requests_that_are_too_large_together_are_refused():
    text = f"{SMALL}smoke: {{requests: samples/own/*.json}}\n"
    half = msgspec.json.encode(["x" * 120_000]).decode()
    files = {"samples/own/a.json": half, "samples/own/b.json": half}
    (problem,) = loaded(text, **files).problems
    assert str(problem) == "rollouts/p.yaml:4:19: requests and answers are 240 kB together: expected at most 200 kB"


def test_a_policy_survives_its_own_record():
    found = policy(ISSUE)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Policy) == found


def test_all_mistakes_of_a_policy_are_told_at_once():
    text = """\
name: p
endpoint: fraud_online
candidate: {modle: fraud}
deployment: {instances: 3}
stages:
  - {mirror: 70, for: 15m}
  - {traffic: 10, for: soon, approve: {by: ml-lead}}
gates: [{bad: http_5xx, alpha: 2}]
windows: [{from: "09:00", to: "09:00"}]
"""
    said = [(problem.line, problem.message.split(":")[0].split(";")[0]) for problem in loaded(text).problems]
    assert said == [
        (2, "endpoint 'fraud_online'"),
        (3, "unknown field 'modle'"),
        (4, "unknown key 'instances'"),
        (7, "stages.for"),
        (8, "gates.alpha is 2"),
        (9, "the window never opens"),
    ]


def test_a_broken_policy_is_refused_alone():
    result = loaded(SMALL, **{"rollouts/q.yaml": "name: q\n"})
    assert (list(result.policies), result.rejected_files) == (["p"], ("rollouts/q.yaml",))


# --- generated ---

LENGTHS = st.sampled_from(["3m", "10m", "1h30m", "1d"])
APPROVALS = st.builds(
    "{{by: ml-leads, within: {}, else: {}}}".format, LENGTHS, st.sampled_from(["rollback", "promote", "hold"])
)


@st.composite
def policies(draw: st.DrawFn) -> str:
    lines = [SMALL]
    mirrors = sorted(draw(st.sets(st.integers(1, 50), max_size=2)))
    shares = sorted(draw(st.sets(st.integers(1, 99), max_size=3)))
    stages = [*(f"mirror: {one}" for one in mirrors), *(f"traffic: {one}" for one in shares)]
    for one in stages:
        more = draw(st.sampled_from(["", ", min_requests: 100"]))
        asked = f", approve: {draw(APPROVALS)}" if draw(st.booleans()) else ""
        lines.append(f"{'stages:' if one is stages[0] else ''}\n  - {{{one}, for: {draw(LENGTHS)}{more}{asked}}}")
    if stages:
        gates = [
            "{bad: http_5xx}",
            "{bad: latency_over, slo_ms: 400}",
            "{mean: latency_ms}",
            "{ceiling: error_rate, max: 20%}",
        ]
        chosen = draw(st.lists(st.sampled_from(gates), min_size=1, unique=True))
        lines.append(f"\ngates: [{', '.join(chosen)}]")
    if draw(st.booleans()):
        lines.append(f"\napprove: {draw(APPROVALS)}")
    keys = draw(st.sets(st.sampled_from(["extend", "patience", "keep_old"])))
    lines += [f"\n{key}: {draw(LENGTHS)}" for key in sorted(keys)]
    return "".join(lines) + "\n"


@settings(max_examples=40, deadline=None)
@given(policies())
def test_a_policy_that_loads_has_times_that_are_ordered(text):
    found = policy(text)
    took = times(found)
    assert 0 < took.promotion[0] <= took.promotion[1]
    assert 0 < took.rollback[0] <= took.rollback[1]
    assert took.promotion[0] >= sum(stage.seconds for stage in found.stages)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40 * 86_400))
def test_a_length_of_time_is_read_as_it_is_said(seconds):
    text = f"name: p\nendpoint: fraud-online\ncandidate: {{model: fraud}}\nkeep_old: {written(seconds)}\n"
    result = loaded(text)
    if seconds <= 30 * 86_400:
        assert result.policies["p"].keep_old == seconds
    else:
        assert "out of bounds" in str(result.problems[0])


# --- what it does to rules ---

RULE = """\
rules:
  - name: candidate
    event: ModelRegistered
    match: {workspace: prod}
    do:
      - notify: fraud-team
      - promote: fraud-online
"""


def test_promote_asks_for_the_rule_and_the_candidate_and_the_rest_for_the_rule_alone():
    rules = loaded(ISSUE, **{"rules/a.yaml": RULE}).rules
    effects = {
        name: [
            (intent.rule, intent.action, intent.key.removeprefix(event.record)) for intent in plan(rules, event).intents
        ]
        for name, event in {"candidate": registered(), "other": registered("churn")}.items()
    }
    told = [("candidate", "teams", "-candidate-1"), ("candidate", "email", "-candidate-2")]
    assert effects == {
        "candidate": [("candidate (promote fraud-online)", "promote", "-candidate-3"), *told],
        "other": told,
    }


def test_explain_names_the_line_of_the_policy_that_failed():
    told = as_text(explain(loaded(ISSUE, **{"rules/a.yaml": RULE}).rules, registered(stage="test")))
    assert "missed   candidate (promote fraud-online): 1 of 3 lines failed" in told
    assert "✗ tags.stage = candidate  is 'test'  rollouts/fraud-online.yaml:3" in told
    assert "MATCHED  candidate " in told


def test_a_candidate_may_ask_for_metrics_which_are_then_looked_up():
    text = ISSUE.replace("tags.stage: candidate}", 'metrics.auc: ">= 0.9"}')
    rules = loaded(text, **{"rules/a.yaml": RULE}).rules
    assert plan(rules, registered()).needs == ("metrics",)
    for auc, actions in ((0.95, ["promote", "teams", "email"]), (0.85, ["teams", "email"])):
        done = plan(rules, registered(), Facts(metrics={"auc": auc}))
        assert [intent.action for intent in done.intents] == actions


def test_the_step_carries_the_model_and_the_endpoint_as_templates():
    text = SMALL.replace("endpoint: fraud-online", 'endpoint: "{{ event.model.name }}-online"')
    rules = loaded(text, **{"rules/a.yaml": RULE.replace("promote: fraud-online", "promote: p")}).rules
    (intent,) = [one for one in plan(rules, registered()).intents if one.action == "promote"]
    assert intent.params == {
        "policy": "p",
        "model": "{{ event.model.name }}",
        "version": "{{ event.model.version }}",
        "endpoint": "{{ event.model.name }}-online",
    }


def test_another_event_says_which_model_and_decides_alone():
    rule = """\
rules:
  - name: released
    event: Contoso.Released
    do:
      - promote: fraud-online
        model: fraud
        version: "{{ event.data.version }}"
"""
    rules = loaded(ISSUE, **{"rules/a.yaml": rule}).rules
    (intent,) = plan(rules, Event("e", "Contoso.Released", datetime(2026, 11, 20, tzinfo=UTC), "/s")).intents
    assert (intent.rule, intent.action) == ("released", "promote")
    assert intent.params["version"] == "{{ event.data.version }}"


def test_a_rule_that_promotes_and_stops_still_stops():
    later = "  - {name: later, event: ModelRegistered, do: [{notify: fraud-team}]}\n"
    rule = RULE.replace("      - notify: fraud-team\n", "") + "    stop: true\n" + later
    rules = loaded(ISSUE, **{"rules/a.yaml": rule}).rules
    for event, actions in ((registered(), ["promote"]), (registered("churn"), [])):
        decision = plan(rules, event)
        assert [intent.action for intent in decision.intents] == actions
        assert ("later", "stopped") in [(one.rule, one.outcome) for one in decision.verdicts]


# --- who hears of it ---


def heard(result: Loaded, kind: str, **data: object) -> dict[str, list[str]]:
    event = Event("e", kind, datetime(2026, 11, 20, tzinfo=UTC), "/s", data=dict(data))
    found: dict[str, list[str]] = {}
    for intent in plan(result.rules, event).intents:
        found.setdefault(intent.rule, []).append(str(intent.params.get("url") or intent.params.get("to")))
    return found


FRAUD = ["${TEAMS_FRAUD_URL}", "['fraud-team@contoso.com']"]
LEADS = ["${TEAMS_FRAUD_URL}", "['ml-leads@contoso.com']"]
PLATFORM = ["${TEAMS_PLATFORM_URL}", "['mlops@contoso.com']"]


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("RolloutCompleted", {"policy": "fraud-online"}, {"(rollout fraud-online)": FRAUD}),
        ("RolloutRolledBack", {"policy": "fraud-online"}, {"(rollout fraud-online)": FRAUD}),
        ("RolloutStuck", {"policy": "fraud-online"}, {"(rollout fraud-online)": FRAUD}),
        ("RolloutStarted", {"policy": "fraud-online"}, {}),
        (
            "RolloutWaiting",
            {"policy": "fraud-online", "ask_of": "ml-leads"},
            {"(rollout fraud-online asks ml-leads)": LEADS},
        ),
        ("RolloutWaiting", {"policy": "fraud-online", "ask_of": "(notify)"}, {"(rollout fraud-online asks)": FRAUD}),
        # The rollout began with a policy that asked somebody else, or that is gone.
        ("RolloutWaiting", {"policy": "fraud-online", "ask_of": "gone"}, {"(rollout fraud-online asks)": FRAUD}),
        ("RolloutWaiting", {"policy": "gone", "ask_of": "ml-leads"}, {ORPHANS: PLATFORM}),
        ("RolloutStuck", {"policy": "gone"}, {ORPHANS: PLATFORM}),
    ],
)
def test_who_hears_of_a_rollout(kind, data, told):
    assert heard(loaded(f"{ISSUE}notify: fraud-team\n"), kind, **data) == told


def test_without_notify_the_receiver_to_tell_hears_it():
    assert heard(loaded(ISSUE), "RolloutStuck", policy="fraud-online") == {"(rollout fraud-online)": PLATFORM}


def test_no_stop_silences_a_question():
    quiet = "rules: [{name: quiet, event: RolloutWaiting, do: [{notify: fraud-team}], stop: true}]\n"
    told = heard(loaded(ISSUE, **{"rules/a.yaml": quiet}), "RolloutWaiting", policy="fraud-online", ask_of="ml-leads")
    assert told == {"(rollout fraud-online asks ml-leads)": LEADS, "quiet": FRAUD}


def test_keys_of_implicit_rules_fit_where_names_are_narrow():
    result = loaded(ISSUE.replace("by: ml-leads", "by: 担当 (A)"), **{"switchyard.yaml": f"{MAIN}\n"})
    assert "unknown receiver '担当 (A)'" in str(result.problems[0])
    main = MAIN.replace("  ml-leads:", "  担当 (A): {email: a@contoso.com}\n  ml-leads:")
    result = loaded(ISSUE.replace("by: ml-leads", "by: 担当 (A)"), **{"switchyard.yaml": main})
    event = Event(
        "e",
        "RolloutWaiting",
        datetime(2026, 11, 20, tzinfo=UTC),
        "/s",
        data={"policy": "fraud-online", "ask_of": "担当 (A)"},
    )
    (intent,) = plan(result.rules, event).intents
    assert re.fullmatch(r"[\w-]+", intent.key, re.ASCII)


# --- the responsible AI assessment ---


def test_the_shipped_assessment_answers_every_question():
    assert assessment("assessments/fraud.yaml", (CONFIG / "assessments" / "fraud.yaml").read_text()) == ()


@pytest.mark.parametrize("answer", ["", "''", "TODO", "todo.", "?", "'???'", "TBD", "~", "[]", "' - '"])
def test_what_is_no_answer_leaves_the_question_open(answer):
    text = "".join(f"{key}: {answer if key == 'misuse' else 'an answer'}\n" for key in QUESTIONS)
    assert assessment("a.yaml", text) == ("misuse",)


@pytest.mark.parametrize("text", ["", "- a list", "# later", "other: x"])
def test_an_assessment_of_something_else_answers_nothing(text):
    assert assessment("a.yaml", text) == QUESTIONS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no assessment a.yaml in the configuration folder"),
        ("misuse: [", "the assessment can't be read: a.yaml:1:10: not YAML"),
        ("pii: x\npii: y\n", "the assessment can't be read: a.yaml:2:1: duplicate key 'pii'"),
    ],
)
def test_an_assessment_that_can_not_be_read_says_why(text, said):
    with pytest.raises(PermanentError, match=re.escape(said)):
        assessment("a.yaml", text)


# --- the docs ---


def test_the_policies_in_the_docs_are_valid():
    found = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    shown = [text for text in found if "endpoint:" in text]
    assert len(shown) == 2
    for text in shown:
        policy(text)
    extra = [text for text in found if text.startswith(("windows:", "labels:"))]
    assert len(extra) == 2
    policy(SMALL + "".join(extra))
    rules = [text for text in found if "rules:" in text]
    assert len(rules) == 2
    assert loaded(ISSUE, **{f"rules/{n}.yaml": text for n, text in enumerate(rules)}).problems == ()


@pytest.mark.parametrize("gate", re.findall(r"^\| `(\{(?:bad|mean|ceiling).*?\})` \|", DOCS, re.MULTILINE))
def test_each_gate_in_the_docs_is_valid(gate):
    policy(f"{SMALL}stages: [{{traffic: 10, for: 1h}}]\ngates: [{gate}]\n")


def test_the_docs_name_every_key():
    schema = msgspec.json.decode((CONFIG / "schema" / "rollout.schema.json").read_text())
    models = [schema, *(one for name, one in schema["$defs"].items() if name.startswith("_"))]
    keys = {key for model in models for key in model.get("properties", {})}
    assert {key for key in keys if not re.search(rf"\b{key}\b", DOCS)} == set()


# --- check ---


def test_check_says_how_long_it_takes_and_how_often_it_errs(capsys):
    assert main(["check", str(CONFIG)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"\d+ rules, 2 rollout policies and 1 watched model, no problems", said)
    assert "fraud: a model that gets clearly worse is told of within 3d10m" in said
    assert "told of with at most 5 % probability in 30 days" in said
    fraud = said[said.index("fraud-online:") :]
    assert re.search(r"a promotion takes \S+ to \S+, a rollback \S+ to \S+\n", fraud)
    assert "a healthy canary is rolled back with at most 5 % probability: 2 gates, judged at 2.5 % each" in fraud
    assert "no rule promotes" not in said


def test_check_notes_a_policy_that_no_rule_promotes_with(tmp_path, capsys):
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "switchyard.yaml").write_text(MAIN)
    (tmp_path / "rollouts" / "p.yaml").write_text(SMALL)
    assert main(["check", str(tmp_path)]) == 0
    assert "no rule promotes with p: write '- promote: p' under 'do' of a rule" in capsys.readouterr().out
