"""What a rule test says about what happened: all of it expected, or each difference with its reason."""

import pytest

from shared.rehearsal.story import read_stories
from shared.rehearsal.trial import as_text, covered_text, try_all
from shared.rules.load import load_texts

MAIN = """
defaults: {time_zone: Asia/Tokyo, tell: platform}
workspaces:
  prod: {subscription: 5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59, resource_group: mlops, workspace: prod}
calendars:
  nights: {from: "22:00", to: "07:00"}
schedules:
  rota: {start: 2026-11-16, handover: "09:00", every: 7d, people: [sato, suzuki]}
receivers:
  fraud: {teams: "${TEAMS}", email: [fraud@contoso.com]}
  oncall: {teams: "${TEAMS}", escalate: [{after: 10m, on_call: rota}, {after: 30m, notify: fraud}]}
  platform: {teams: "${PLATFORM}"}
  sato: {sms: "+819011111111"}
  suzuki: {sms: "+819022222222"}
pipelines:
  weekly:
    source: azureml:train:1
    experiment: weekly
    cooldown: 1h
    concurrency: 1
    budget: {day: {runs: 3}}
"""
RULES = """
rules:
  - name: good
    event: RunCompleted
    match: {workspace: prod, tags.team: fraud, metrics.auc: ">= 0.9", run.is_child: false}
    mute: nights
    do: [{notify: fraud}]
  - name: failed
    event: RunStatusChanged
    match: {workspace: prod, run.status: Failed, run.is_child: false}
    do: [{notify: oncall}]
  - name: drift
    event: DriftDetected
    do: [{retrain: weekly}]
  - name: children
    event: RunStatusChanged
    match: {run.status: Failed, run.is_child: true}
    do: [{notify: fraud}]
  - name: late
    expect: ModelDeployed
    after: ModelRegistered
    within: 2h
    by: [model.name, model.version]
    do: [{notify: fraud}]
"""
LOADED = load_texts({"switchyard.yaml": MAIN, "rules/fraud.yaml": RULES})
HEAD = "now: 2026-11-24T17:55\ndefaults: {workspace: prod}\ntests:\n  - name: a test\n"


def played(steps, given=""):
    text = HEAD + given + "    steps:\n" + steps
    stories, problems = read_stories({"tests/a.yaml": text}, LOADED)
    assert problems == []
    return try_all(stories, LOADED)


def said(steps, given=""):
    """What it says, without the places and the line that sums up."""
    lines = as_text(played(steps, given)[0]).splitlines()
    return [line.strip() for line in lines if line.startswith("  ")]


def test_the_configuration_is_sound():
    assert LOADED.problems == ()


GOOD = """
      - event: RunCompleted
        tags.team: fraud
        run.is_child: false
        metrics.auc: 0.893
        expect:
          - {rule: good, notify: fraud}
"""


def test_what_did_not_happen_says_which_line_failed_and_what_would_have_done():
    trials, _ = played(GOOD)
    assert as_text(trials, "config/") == (
        "config/tests/a.yaml:7:9: 'a test', step 1 (event RunCompleted) at 2026-11-24 17:55\n"
        "  - good: notify fraud\n"
        "      metrics.auc >= 0.9, is 0.893 (rules/fraud.yaml:5)\n"
        "      it would match with metrics.auc 0.9 (is 0.893: needs +0.007)\n"
        "\n"
        "1 test, 1 failed\n"
    )


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        (GOOD.replace("0.893", "0.93"), []),
        (
            GOOD.replace("0.893", "0.93").split("        expect")[0],
            ["+ good: notify fraud"],
        ),
        (
            GOOD.replace("metrics.auc: 0.893", "run.experiment: nightly"),
            [
                "~ good: notify fraud; found: undecided: metrics",
                "needs the lookup of metrics: say 'metrics.NAME: …' in the step, or 'unknown: metrics'",
            ],
        ),
        (
            GOOD.replace("metrics.auc: 0.893", "unknown: metrics").replace("- {rule: good, notify: fraud}", "")
            .replace("expect:", "expect: nothing"),
            [],
        ),
        (
            '      - at: "22:01"\n' + GOOD.replace("0.893", "0.93"),
            [
                "~ good: notify fraud; found: suppressed: calendar",
                "muted by nights, until 2026-11-24 22:00 UTC",
            ],
        ),
        (
            GOOD.replace("0.893", "0.93").replace("notify: fraud}", "notify: fraud, suppressed: silence}"),
            ["~ good: notify fraud, suppressed: silence; found: it was done"],
        ),
        (
            GOOD.replace("event: RunCompleted", "event: ModelDeployed"),
            ["- good: notify fraud", "good is for RunCompleted, and this is ModelDeployed (rules/fraud.yaml:3)"],
        ),
        ("      - {after: 1h, expect: [{rule: good, notify: fraud}]}\n", ["- good: notify fraud", "nothing of this rule was due then"]),
    ],
)  # fmt: skip
def test_each_difference_is_said_with_its_reason(steps, found):
    assert said(steps) == found


FAILED = "      - {event: RunStatusChanged, run.id: x, run.status: Failed, run.is_child: false, expect_at_least: [{rule: failed, notify: oncall}]}\n"


def test_later_steps_go_to_whoever_is_on_call_unless_somebody_took_care():
    escalated = "      - {after: 10m, expect: [{rule: failed, notify: oncall, to: suzuki}]}\n"
    assert said(FAILED + escalated + "      - {after: 20m, expect: [{rule: failed, notify: fraud}]}\n") == []
    taken = "      - acknowledge: {by: sato}\n      - {after: 1h, expect: [{rule: failed, notify: oncall, suppressed: acknowledged}, {rule: failed, notify: fraud, suppressed: acknowledged}]}\n"
    assert said(FAILED + taken) == []
    assert said(FAILED + escalated.replace("suzuki", "sato")) == [
        "~ failed: notify oncall (to sato); found: to: suzuki"
    ]


def test_muted_until_it_is_resolved():
    steps = FAILED.replace("run.id: x", "run.id: x, run.experiment: nightly")
    muted = "      - acknowledge: {by: sato, mute: true}\n"
    again = FAILED.replace("run.id: x", "run.id: y, run.experiment: nightly").replace(
        "expect_at_least: [{rule: failed, notify: oncall}]",
        "expect: [{rule: failed, notify: oncall, suppressed: silence}]",
    )
    over = "      - {event: RunCompleted, run.id: y, run.experiment: nightly, unknown: [metrics, job]}\n"
    assert said(steps + muted + again + "      - after: 1m\n" + over + steps.replace("run.id: x", "run.id: z")) == []


DRIFT = "      - {event: DriftDetected, expect: [{rule: drift, retrain: weekly%s}]}\n"


@pytest.mark.parametrize(
    ("given", "fate"),
    [
        ("", ""),
        ("{retrain: weekly, ago: 30m}", ", suppressed: cooldown"),
        ("{retrain: weekly, ago: 3h, running: true}", ", suppressed: concurrency"),
        ("{retrain: weekly, ago: 3h}", ""),
        ("{retrain: weekly, ago: 3h}, {retrain: weekly, ago: 5h}, {retrain: weekly, ago: 7h}", ", held: budget"),
        ("{event: DriftDetected, ago: 30m}", ", suppressed: concurrency"),  # a run takes an hour, if nobody says else
    ],
)
def test_what_a_pipeline_may_do_depends_on_what_was_the_case(given, fate):
    assert said(DRIFT % fate, f"    given: [{given}]\n" if given else "") == []


def test_the_children_of_a_run_come_together_when_it_has_ended():
    child = "      - {event: RunStatusChanged, run.id: c%d, run.parent: p, run.is_child: true, run.status: Failed%s}\n"
    first = child % (0, ", expect: [{rule: children, notify: fraud, waits: 6h}]")
    more = child % (1, ", expect: [{rule: children, notify: fraud, collected: true}]")
    end = "      - {event: RunCompleted, run.id: p, run.is_child: false}\n"
    told = "      - {after: 2m, expect: [{rule: children, notify: fraud, together: 2}]}\n"
    assert said(first + more + end + told) == []
    assert said(first + more + end + told.replace("together: 2", "together: 3")) == [
        "~ children: notify fraud, together: 3; found: together: 2"
    ]


REGISTERED = "      - {event: ModelRegistered, model.name: m, model.version: 4}\n"
DEPLOYED = "      - {event: ModelDeployed, endpoint.name: e, endpoint.models: [other:1, m:4]}\n"
MISSED = "      - {after: 2h, expect: [{rule: late, notify: fraud}]}\n"


def test_what_does_not_come_is_told_of():
    assert said(REGISTERED + MISSED) == []
    assert said(REGISTERED + DEPLOYED + "      - {after: 3h, expect: nothing}\n") == []
    assert said(REGISTERED + DEPLOYED.replace("m:4", "m:3") + MISSED) == []


def test_a_silence_ends():
    silence = "      - silence: {match: {rule: good}, for: 1h}\n"
    good = GOOD.replace("0.893", "0.93")
    assert said(silence + good.replace("fraud}", "fraud, suppressed: silence}") + "      - after: 1h\n" + good) == []


def test_the_same_event_once_more_is_none():
    twice = GOOD.replace("0.893", "0.93").replace("        tags", "        id: e1\n        tags", 1)
    again = twice.split("        expect")[0]
    assert said(twice + again) == []


def test_times_counts_what_happens_alike():
    both = "".join(FAILED.replace("run.id: x", f"run.id: r{n}") for n in range(2))
    assert said(both + "      - {after: 10m, expect: [{rule: failed, notify: oncall, times: 2}]}\n") == []
    assert said(both + "      - {after: 10m, expect: [{rule: failed, notify: oncall, times: 3}]}\n") == [
        "- failed: notify oncall",
        "nothing of this rule was due then",
    ]


def test_coverage_names_the_rules_that_no_test_fires_and_absence_both_ways():
    _, covered = played(GOOD.replace("0.893", "0.93") + REGISTERED + MISSED)
    assert covered_text(covered, "config/") == (
        "config/rules/fraud.yaml:8: rule 'failed': no test fires it\n"
        "config/rules/fraud.yaml:12: rule 'drift': no test fires it\n"
        "config/rules/fraud.yaml:15: rule 'children': no test fires it\n"
        "config/rules/fraud.yaml:19: rule 'late': no test shows that what it expects comes in time\n"
        "1 of 5 rules are covered by tests\n"
    )
