"""Steps: whom `notify` tells, at once and later."""

from datetime import UTC, datetime

import pytest

from shared.events import Event
from shared.rules.load import Loaded, load_texts
from shared.rules.plan import plan
from shared.rules.steps import address_of

NOW = datetime(2026, 11, 24, tzinfo=UTC)
MAIN = """\
defaults: {language: en}
receivers:
  fraud-oncall:
    language: ja
    teams: ${TEAMS_FRAUD_URL}
    escalate:
      - {after: 10m, on_call: fraud-rota}
      - {after: 30m, notify: ml-leads}
      - {after: 1h, sms: "+818099999999"}
  ml-leads:
    teams: ["${A_URL}", "${B_URL}"]
    email: leads@contoso.com
    escalate: [{after: 5m, sms: "+818000000000"}]
  pager: {on_call: fraud-rota, by: email}
  sato: {language: ja, sms: "+818012345678", email: sato@contoso.com}
  suzuki: {sms: "+818087654321", email: suzuki@contoso.com, teams: "${SUZUKI_URL}"}
schedules:
  fraud-rota: {start: 2026-11-02, people: [sato, suzuki], every: 1d}
"""


def loaded(do: str, main: str = MAIN) -> Loaded:
    found = load_texts(
        {"switchyard.yaml": main, "rules/a.yaml": f"rules: [{{name: a, event: RunCompleted, do: {do}}}]"}
    )
    assert found.problems == ()
    return found


def steps(do: str) -> list[tuple[float, str, str, str, dict[str, object]]]:
    found = loaded(do).rules.rules[0].steps
    return [(step.after, step.receiver, step.action, step.schedule, step.params) for step in found]


@pytest.mark.parametrize("action", ["batch: {endpoint: scores, workspace: prod}"])
def test_a_workspace_goes_by_its_short_name_or_in_full(action):
    full = "{subscription: s1, resource_group: g1, workspace: prod-ml}"
    found = loaded(
        f"[{{{action}}}, {{{action.replace('workspace: prod', f'workspace: {full}')}}}]",
        f"{MAIN}workspaces: {{prod: {full}}}\n",
    )
    first, second = (step.params for step in found.rules.rules[0].steps)
    assert first == second
    assert first["workspace"] == {"subscription": "s1", "resource_group": "g1", "workspace": "prod-ml"}


def test_an_escalation_is_told_later_step_by_step():
    assert steps("[{notify: fraud-oncall, template: run-completed}]") == [
        (0, "fraud-oncall", "teams", "", {"url": "${TEAMS_FRAUD_URL}", "language": "ja", "template": "run-completed"}),
        (600, "fraud-oncall", "sms", "fraud-rota", {"template": "run-completed"}),
        (1800, "ml-leads", "teams", "", {"url": "${A_URL}", "language": "en", "template": "run-completed"}),
        (1800, "ml-leads", "teams", "", {"url": "${B_URL}", "language": "en", "template": "run-completed"}),
        (1800, "ml-leads", "email", "", {"to": ["leads@contoso.com"], "language": "en", "template": "run-completed"}),
        (3600, "fraud-oncall", "sms", "", {"to": ["+818099999999"], "language": "ja", "template": "run-completed"}),
    ]


def test_whoever_is_on_call_can_be_told_at_once():
    assert steps("[{notify: pager}]") == [(0, "pager", "email", "fraud-rota", {})]


def test_a_language_beside_notify_holds_for_all_steps():
    found = steps("[{notify: fraud-oncall, language: en}]")
    assert {params["language"] for *_, params in found} == {"en"}


def test_what_is_done_at_once_keeps_its_number_when_an_escalation_is_added():
    do = "[{notify: fraud-oncall}, {resubmit: {limit: 2}}, {notify: ml-leads}]"
    event = Event("e", "RunCompleted", NOW, source="/s")
    without = MAIN.replace("    escalate:\n", "").replace("      - {after: 10m, on_call: fraud-rota}\n", "")
    without = without.replace("      - {after: 30m, notify: ml-leads}\n", "").replace(
        '      - {after: 1h, sms: "+818099999999"}\n', ""
    )
    more, fewer = ({one.key: one for one in plan(loaded(do, main).rules, event).intents} for main in (MAIN, without))
    assert {key: one.action for key, one in more.items() if key in fewer} == {
        key: one.action for key, one in fewer.items()
    }
    later = [one.terms for key, one in more.items() if one.terms and one.terms.after]
    assert [(one.after, one.unless_acknowledged) for one in later] == [
        *[(600, True), (1800, True), (1800, True), (1800, True), (3600, True), (300, True)]
    ]
    assert later[0].schedule == "fraud-rota"


@pytest.mark.parametrize(
    ("day", "channel", "expected"),
    [
        (2, "sms", ("sato", {"to": ["+818012345678"], "language": "ja"})),
        (3, "sms", ("suzuki", {"to": ["+818087654321"], "language": "en"})),
        (3, "teams", ("suzuki", {"url": "${SUZUKI_URL}", "language": "en"})),
        (2, "teams", None),  # has none
        (1, "sms", None),  # nobody is on call yet
    ],
)
def test_the_address_is_that_of_whoever_is_on_call(day, channel, expected):
    config = loaded("[{notify: pager}]").config
    assert address_of(config, "fraud-rota", channel, datetime(2026, 11, day, 12, tzinfo=UTC)) == expected


def test_a_schedule_that_is_gone_gives_no_address():
    assert address_of(loaded("[{notify: pager}]").config, "gone", "sms", NOW) is None


def test_a_receiver_falls_with_those_whom_it_may_reach():
    text = MAIN.replace('{after: 5m, sms: "+818000000000"}', "{after: 5m, notify: nobody}")
    found = load_texts({"switchyard.yaml": text})
    assert [problem.message for problem in found.problems] == [
        "unknown receiver 'nobody'; known: fraud-oncall, ml-leads, pager, sato, suzuki"
    ]
    assert found.config.receivers.keys() == {"pager", "sato", "suzuki"}
