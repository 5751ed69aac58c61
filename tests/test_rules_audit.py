"""What `switchyard check` warns of."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from shared.rules.audit import Finding, audit
from shared.rules.load import load_texts
from shared.settings import read_folder

CONFIG = Path(__file__).parent.parent / "config"
SHIPPED = read_folder(CONFIG)
MAIN = """\
receivers:
  a: {teams: "${A_URL}", email: a@contoso.com}
  b: {email: b@contoso.com}
  c: {teams: "${A_URL}"}
calendars:
  day: {days: mon-fri, from: "09:00", to: "17:00"}
pipelines:
  train: {source: "azureml:train:1", experiment: nightly, tags: {team: fraud}}
"""
EVERYTHING_USED = """\
rules:
  - {name: use-a, event: com.contoso.Use, match: {data.n: 1}, do: [{notify: a}], active: day}
  - {name: use-b, event: com.contoso.Use, match: {data.n: 2}, do: [{notify: b}, {retrain: train}]}
  - {name: use-c, event: com.contoso.Use, match: {data.n: 3}, do: [{notify: c}]}
"""
NOTHING: Mapping[str, str] = {}
POLICY = "name: live\nendpoint: live\ncandidate: {}\n"


def found(*rules: str, more: Mapping[str, str] = NOTHING, notes: bool = False) -> list[Finding]:
    """Of these rules, each as a flow mapping on its own line; the first stands in line 2."""
    text = "rules:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules)
    texts = {"switchyard.yaml": MAIN, "rules/a.yaml": text, "rules/z.yaml": EVERYTHING_USED, **more}
    loaded = load_texts(texts)
    assert loaded.problems == ()
    return [one for one in audit(loaded) if notes or not one.note]


def told(*rules: str, more: Mapping[str, str] = NOTHING) -> list[tuple[str, int, str]]:
    return [(one.code, one.line, one.message) for one in found(*rules, more=more)]


# --- never ---


@pytest.mark.parametrize(
    ("event", "match", "said"),
    [
        (
            "RunCompleted",
            "{metrics.auc: '> 0.9', workspace: prod, any: [{metrics.auc: '< 0.5'}, {metrics.auc: absent}]}",
            "metrics.auc > 0.9 (line 2) and (metrics.auc < 0.5) or (metrics.auc absent) exclude each other",
        ),
        (
            "RunCompleted",
            "{run.status: Failed}",
            "no RunCompleted has run.status = Failed: its run.status is Completed",
        ),
        (
            "RunStatusChanged",
            "{run.is_child: false, run.parent: present}",
            "run.is_child = false (line 2) and run.parent present exclude each other",
        ),
        ("RunCompleted", "{type: ModelDeployed}", "no RunCompleted has type = ModelDeployed: its type is RunCompleted"),
        (
            "RunCompleted",
            "{tags.team: fraud, not: {tags.team: [fraud, aml]}}",
            "tags.team = fraud (line 2) and not (tags.team = fraud or = aml) exclude each other",
        ),
    ],
)
def test_a_rule_that_can_never_match_is_said_with_the_lines_that_exclude_each_other(event, match, said):
    assert told(f"name: r, event: {event}, match: {match}, do: [{{notify: a}}]") == [
        ("never", 2, f"rule 'r' never matches: {said}")
    ]


def test_a_type_that_a_rule_never_matches_is_said():
    (one,) = found("name: r, event: [RunCompleted, RunStatusChanged], match: {run.status: Failed}, do: [{notify: a}]")
    assert one.message.startswith("rule 'r' never matches a RunCompleted: ")
    assert (one.column, one.also) == (64, ("rules/a.yaml:2:5",))


def test_a_candidate_that_a_rule_cannot_match_is_said_with_both_places():
    policy = POLICY.replace("{}", "{model: fraud, tags.stage: candidate}") + MORE
    (one,) = found(
        "name: r, event: ModelRegistered, match: {tags.stage: dev}, do: [{promote: live}]",
        more={"rollouts/live.yaml": policy},
    )
    assert one.message == (
        "rule 'r (promote live)' never matches: tags.stage = candidate (rollouts/live.yaml:3) and tags.stage = dev exclude each other"
    )
    assert one.file == "rules/a.yaml"
    assert one.also == ("rules/a.yaml:2:5", "rollouts/live.yaml:3:27")


MORE = """\
deployment: {instance_type: Standard_DS3_v2}
stages: [{traffic: 10, for: 30m}]
gates: [{ceiling: error_rate, max: 20%}]
notify: b
"""


# --- fields ---


@pytest.mark.parametrize(
    ("event", "match", "said"),
    [
        (
            "RunCompleted",
            "{drift.coefficient: '> 0.3'}",
            "rule 'r': no RunCompleted has drift.coefficient, so that this line never holds; DriftDetected has it",
        ),
        ("RunStatusChanged", "{model.name: fraud}", "rule 'r': no RunStatusChanged has model.name, so that"),
        ("BlobCreated", "{workspace: prod}", "rule 'r': no BlobCreated has workspace, so that this line never holds"),
        ("ModelDeployed", "{metrics.auc: '> 0.9'}", "rule 'r': no ModelDeployed has metrics.auc, so that"),
        ("com.contoso.Thing", "{job.error: present}", "rule 'r': no com.contoso.Thing has job.error, so that"),
        ("ModelDeployed", "{run.id: absent}", "rule 'r': no ModelDeployed has run.id, so that this line always holds"),
        (
            "[RunCompleted, DriftDetected]",
            "{drift.coefficient: '> 0.3'}",
            "rule 'r' never matches a RunCompleted, which has no drift.coefficient: leave that type out of 'event'",
        ),
        (
            "RunCompleted",
            "{any: [{tags.a: x}, {blob.name: x}]}",
            "rule 'r': no RunCompleted has blob.name, so that this line never holds; BlobCreated has it",
        ),
    ],
)
def test_a_field_that_no_event_of_the_type_has_is_said_once(event, match, said):
    (one,) = found(f"name: r, event: {event}, match: {match}, do: [{{notify: a}}]")
    assert (one.code, one.line) == ("field", 2)
    assert one.message.startswith(said)


@pytest.mark.parametrize(
    ("event", "match"),
    [
        ("[RunCompleted, DriftDetected]", "{any: [{drift.coefficient: '> 0.3'}, {drift.coefficient: absent}]}"),
        ("ModelRegistered", "{metrics.auc: '> 0.9', job.duration: '> 1h'}"),
        ("ExpectedEventMissing", "{data.rule: x, model.name: fraud, run.id: present}"),
        ("RolloutRolledBack", "{endpoint.name: x, model.name: fraud, data.policy: live}"),
        ("ActionFailed", "{tags.team: fraud, run.experiment: x}"),
        ("com.contoso.Thing", "{tags.team: fraud, workspace: prod, data.x: 1}"),
    ],
)
def test_fields_that_some_events_have_are_fine(event, match):
    assert told(f"name: r, event: {event}, match: {match}, do: [{{notify: a}}]") == []


def test_a_field_that_an_expression_names_in_vain_is_said():
    (one,) = told("name: r, event: RunCompleted, when: 'event.drift.coefficient > 0.3', do: [{notify: a}]")
    assert one == ("field", 2, "rule 'r': no RunCompleted has drift.coefficient, which 'when' names")


def test_an_absence_rule_is_judged_by_what_people_wrote_of_it():
    rule = "name: late, expect: ModelDeployed, after: ModelRegistered, within: 2h, by: [model.name], do: [{notify: a}]"
    assert told(rule) == []
    (one,) = found(f"{rule}, match: {{endpoint.name: x}}")
    assert (
        one.message
        == "rule 'late': no ModelRegistered has endpoint.name, so that this line never holds; ModelDeployed has it"
    )


# --- shadowed ---


def test_a_rule_behind_a_wider_stop_is_never_reached_also_in_another_file():
    later = (
        "rules: [{name: late, event: RunStatusChanged, match: {run.status: Failed, tags.a: x}, do: [{notify: b}]}]\n"
    )
    (one,) = found(
        "name: early, event: RunStatusChanged, match: {run.status: [Failed, Canceled]}, do: [{notify: a}], stop: true",
        more={"rules/b.yaml": later},
    )
    assert (one.code, one.file, one.also) == ("shadowed", "rules/b.yaml", ("rules/a.yaml:2:5",))
    assert one.message == (
        "rule 'late' is never reached: 'early' (rules/a.yaml:2) stops all that it matches; "
        "put it before, or narrow what is stopped"
    )


def test_several_stops_may_shadow_a_rule_together():
    (one,) = found(
        "name: low, event: RunCompleted, match: {metrics.auc: '< 0.5'}, do: [{notify: a}], stop: true",
        "name: odd, event: RunCompleted, match: {tags.a: odd}, do: [{notify: a}], stop: true",
        "name: high, event: RunCompleted, match: {metrics.auc: '>= 0.4'}, do: [{notify: a}], stop: true",
        "name: late, event: RunCompleted, match: {metrics.auc: 0.3..0.6}, do: [{notify: b}]",
    )
    assert one.message.startswith(
        "rule 'late' is never reached: 'low' (rules/a.yaml:2) and 'high' (rules/a.yaml:4) together stop all that it matches"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{metrics.auc: '> 0.9'}", "{metrics.auc: '>= 0.9'}"),
        ("{any: [{metrics.auc: present}, {metrics.auc: absent}]}", "{tags.a: x}"),  # nobody may know the metrics
        ("{tags.a: '~ ^x'}", "{tags.a: '~ ^x|y'}"),
    ],
)
def test_a_rule_that_some_event_reaches_is_not_shadowed(first, second):
    assert (
        told(
            f"name: one, event: RunCompleted, match: {first}, do: [{{notify: a}}], stop: true",
            f"name: two, event: RunCompleted, match: {second}, do: [{{notify: b}}]",
        )
        == []
    )


def test_a_rule_that_is_shadowed_for_one_of_its_types_is_told_so():
    (one,) = found(
        "name: one, event: RunCompleted, do: [{notify: a}], stop: true",
        "name: two, event: [RunCompleted, ModelDeployed], do: [{notify: b}]",
    )
    assert one.message.startswith("rule 'two' is never reached by a RunCompleted: 'one'")


# --- twice ---


def test_two_rules_that_tell_the_same_receiver_the_same_are_said_with_the_events_they_share():
    (one,) = found(
        "name: one, event: RunCompleted, match: {workspace: [dev, prod], metrics.auc: '> 0.5'}, do: [{notify: a}]",
        "name: two, event: [RunCompleted, ModelDeployed], match: {workspace: prod}, do: [{notify: a}]",
    )
    assert (one.code, one.line, one.also) == ("twice", 3, ("rules/a.yaml:2:5",))
    assert one.message == (
        "rules 'one' (rules/a.yaml:2) and 'two' (rules/a.yaml:3) both tell a (teams, email) of a RunCompleted with "
        "metrics.auc > 0.5 and workspace = prod, in the same words: let one of them leave out what the other matches"
    )


def test_receivers_that_share_an_address_are_one():
    (one,) = found(
        "name: one, event: RunCompleted, do: [{notify: a}]",
        "name: two, event: RunCompleted, do: [{notify: c, template: run-completed}]",  # which is what 'one' sends
    )
    assert "both tell a and c, who share an address (teams), of a RunCompleted, in the same words" in one.message
    (one,) = found("name: one, event: RunCompleted, do: [{notify: a}, {notify: c}]")
    assert "rule 'one' tells a and c, who share an address (teams), of a RunCompleted twice" in one.message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("match: {tags.a: x}, do: [{notify: a}]", "match: {tags.a: y}, do: [{notify: a}]"),
        ("match: {tags.a: x}, do: [{notify: a}]", "match: {tags.a: x}, do: [{notify: b}]"),
        ("match: {run.experiment: '~ ^a'}, do: [{notify: a}]", "match: {run.experiment: '~ ^b'}, do: [{notify: a}]"),
        ("when: 'has(event.tags.a)', do: [{notify: a}]", "match: {tags.b: x}, do: [{notify: a}]"),
        ("active: day, do: [{notify: a}]", "mute: day, do: [{notify: a}]"),
        ("match: {tags.a: x}, stop: true, do: [{notify: a}]", "match: {tags.b: x}, do: [{notify: a}]"),
        ("match: {tags.a: x}, do: [{notify: a}]", "match: {tags.a: '~ ^\\\\pN'}, do: [{notify: a}]"),
    ],
)
def test_rules_that_nobody_can_be_shown_to_hear_twice_of_are_fine(first, second):
    assert told(f"name: one, event: RunCompleted, {first}", f"name: two, event: RunCompleted, {second}") == []


def test_a_different_message_about_the_same_is_only_worth_a_look():
    rules = (
        "name: one, event: RunCompleted, do: [{notify: b}]",
        "name: two, event: RunCompleted, do: [{notify: b, template: event}]",
    )
    assert found(*rules) == []
    (one,) = found(*rules, notes=True)
    assert one.note
    assert one.message.endswith("both tell b (email) of a RunCompleted, each in its own words")


def test_a_rule_that_tells_what_a_policy_tells_already_is_said():
    ((_, _, said),) = told(
        "name: go, event: ModelRegistered, match: {tags.a: x}, do: [{promote: live}]",
        "name: back, event: RolloutRolledBack, do: [{notify: b}]",
        more={"rollouts/live.yaml": POLICY.replace("candidate: {}", "candidate: {model: fraud}") + MORE},
    )
    assert said == (
        "rules '(rollout live)' (rollouts/live.yaml) and 'back' (rules/a.yaml:3) both tell b (email) of a RolloutRolledBack "
        "with data.policy = live, in the same words: let one of them leave out what the other matches"
    )


# --- unused ---


def test_what_nobody_uses_is_said_with_its_place():
    texts = {
        "switchyard.yaml": MAIN,
        "templates/own.yaml": "title: Own\n",
        "templates/run-completed.yaml": "title: In place of the built-in one\n",
        "rules/a.yaml": "rules:\n"
        "  - {name: r, event: RunCompleted, do: [{notify: a}]}\n"
        "  - {name: later, event: RunCompleted, do: [{notify: b}], enabled: false}\n",
    }
    loaded = load_texts(texts)
    assert [(one.file, one.line, one.message.partition(" is ")[0]) for one in audit(loaded)] == [
        ("switchyard.yaml", 4, "receiver 'c'"),
        ("switchyard.yaml", 6, "calendar 'day'"),
        ("switchyard.yaml", 8, "pipeline 'train'"),
        ("templates/own.yaml", 1, "template 'own'"),
    ]


def test_while_a_file_is_refused_nobody_knows_what_is_used():
    loaded = load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": "rules: 7\n"})
    assert audit(loaded) == ()


# --- loops ---


def loops(*rules: str, more: Mapping[str, str] = NOTHING, notes: bool = False) -> list[str]:
    return [one.message for one in found(*rules, more=more, notes=notes) if one.code == "loop"]


def test_a_rule_that_retrains_on_the_failure_of_its_own_run_feeds_itself():
    failed = (
        "name: again, event: RunStatusChanged, match: {run.status: Failed, tags.team: fraud}, do: [{retrain: train}]"
    )
    (one,) = loops(failed)
    assert one == (
        "rule 'again' (rules/a.yaml:2) can feed itself: 'again' retrains train, and a RunStatusChanged makes 'again' act. No "
        "line rules that out: ask for 'tags.switchyard_rule: absent' in 'again', which what we start carries"
    )


@pytest.mark.parametrize(
    "line",
    [
        "tags.team: churn",  # the pipeline's runs are tagged fraud
        "tags.other: present",
        "run.experiment: '~ ^weekly'",
        "run.is_child: true",
        "tags.switchyard_rule: absent",
        "run.parent: present",
    ],
)
def test_a_line_that_our_own_runs_do_not_meet_breaks_the_circle(line):
    assert loops(f"name: again, event: RunStatusChanged, match: {{{line}}}, do: [{{retrain: train}}]") == []


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("run.status: Completed", False),
        ("run.experiment: nightly", False),
        ("run.experiment: weekly", True),
        ("properties.switchyard_rule: absent", True),
        ("tags.switchyard_rule: absent", False),  # a batch job has the tags of its deployment
        ("run.is_child: true", True),
    ],
)
def test_a_batch_job_says_in_its_properties_that_it_is_ours(line, ends):
    scores = f"name: again, event: RunStatusChanged, match: {{{line}}}, do: [{{batch: {{endpoint: nightly}}}}]"
    told = loops(scores)
    assert [one.partition(": ask for ")[2] for one in told] == (
        [] if ends else ["'properties.switchyard_rule: absent' in 'again', which what we start carries"]
    )


def test_what_retraining_leads_to_is_no_drift():
    assert loops("name: drift, event: DriftDetected, do: [{retrain: train}]") == []


def test_a_circle_over_two_rules_is_said_once():
    policy = {"rollouts/live.yaml": POLICY.replace("{}", "{model: fraud}") + MORE}
    (one,) = loops(
        "name: back, event: RolloutRolledBack, match: {model.name: fraud}, do: [{retrain: train}]",
        "name: go, event: ModelRegistered, match: {tags.stage: candidate}, do: [{promote: live}]",
        more=policy,
    )
    assert "'back' retrains train, and a ModelRegistered that its job registers makes 'go (promote live)' act" in one
    assert "'go (promote live)' promotes by live, and a RolloutRolledBack makes 'back' act" in one
    assert (
        loops(
            "name: back, event: RolloutRolledBack, match: {model.name: churn}, do: [{retrain: train}]",
            "name: go, event: ModelRegistered, match: {model.name: fraud}, do: [{promote: live}]",
            more=policy,
        )
        == []
    )


def test_a_circle_in_which_nothing_carries_our_tags_is_told_to_be_endless():
    (one,) = loops("name: more, event: ModelRegistered, match: {model.name: fraud}, do: [{retrain: train}]")
    assert one.endswith(
        "nothing in it carries our tags, so that the causal depth does not end it: ask for what only outside events have"
    )


def test_an_absence_rule_whose_remedy_opens_it_again_feeds_itself():
    (one,) = loops(
        "name: late, expect: ModelDeployed, after: ModelRegistered, within: 2h, by: [model.name], do: [{retrain: train}]"
    )
    assert "'late' expects an event in vain, and an ExpectedEventMissing makes 'late (missing)' act" in one
    assert "a ModelRegistered that its job registers makes 'late' act" in one


def test_submitting_again_ends_by_its_limit():
    assert (
        loops("name: again, event: RunStatusChanged, match: {run.status: Failed}, do: [{resubmit: {limit: 2}}]") == []
    )


def test_what_is_handed_on_is_what_the_rule_asked_for():
    again = "name: again, event: RunStatusChanged, match: {workspace: dev, run.status: Failed}, do: [{resubmit: {}}]"
    train = "name: train, event: RunStatusChanged, match: {workspace: prod, run.status: Failed}, do: [{retrain: train}]"
    assert len(loops(again, train)) == 1  # 'train' alone
    both = train.replace("prod", "[dev, prod]")
    assert len(loops(again, both)) == 1  # 'train' alone: what it feeds besides is within that


def test_whoever_is_called_may_do_anything_which_is_only_worth_a_look():
    rule = (
        "name: call, event: ModelDeployed, match: {endpoint.name: x}, do: [{webhook: {url: 'https://contoso.com/x'}}]"
    )
    assert loops(rule) == []
    (one,) = loops(rule, notes=True)
    assert one.startswith(
        "rule 'call' (rules/a.yaml:2) may feed itself: 'call' calls out by webhook, and a ModelDeployed may"
    )


# --- all together ---


def test_the_shipped_configuration_is_warned_of_nothing():
    assert [one.message for one in audit(load_texts(SHIPPED)) if not one.note] == []


def test_the_features_of_a_drift_are_a_field_that_monitors_fill():
    assert told("name: r, event: DriftDetected, match: {drift.features: amount}, do: [{notify: a}]") == []


def test_findings_come_in_the_order_of_their_places():
    findings = audit(
        load_texts(SHIPPED | {"rules/a.yaml": "rules: [{name: r, event: RunCompleted, do: [{notify: ml-leads}]}]"})
    )
    assert list(findings) == sorted(findings)
