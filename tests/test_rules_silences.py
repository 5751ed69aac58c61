"""Which notification a silence holds back, when its owner hears of it, and what ends it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.events import Drift, Endpoint, Event, Model, Run
from shared.record import Facts, Intent, Resolution, Silence, Terms
from shared.rules.silences import arrivals, due_notices, in_words, read_matchers, resolved_by, silencing

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEAM: dict[str, object] = {"tags.team": "fraud"}


def silence(matchers=TEAM, length=4 * HOUR, began=NOW, **more):
    return Silence("20261124T120000-00000001", matchers, "Naoko", "migration", began, began + length, **more)


def intent(rule="fraud-run-failed", action="teams", receiver="fraud-team"):
    return Intent("e1-r-1", "e1", rule, action, {}, Terms(receiver=receiver))


def event(kind="RunStatusChanged", at=NOW, **parts):
    values = {"workspace": "prod", "tags": {"team": "fraud"}, "run": Run("r1", status="Failed")} | parts
    return Event("e1", kind, at, "/s", "x", kind, **values)  # type: ignore[arg-type]  # the parts of an event


@pytest.mark.parametrize(
    ("matchers", "held"),
    [
        (TEAM, True),
        ({"tags.team": ["aml", "fraud"]}, True),
        ({"tags.team": "churn"}, False),
        ({"tags.team": "fraud", "rule": "fraud-run-failed"}, True),
        ({"tags.team": "fraud", "rule": "another"}, False),
        ({"rule": "~ ^fraud-"}, True),
        ({"rule": "~ .*"}, True),
        ({"receiver": "fraud-team"}, True),
        ({"receiver": ["phones", "platform"]}, False),
        ({"any": [{"receiver": "phones"}, {"type": "RunStatusChanged"}]}, True),
        ({"not": {"rule": "fraud-run-failed"}}, False),
        ({"run.status": "Failed", "workspace": "prod"}, True),
        ({"metrics.auc": "< 0.5"}, False),  # nobody has looked it up: what is not known fits nothing
        ({"not": {"metrics.auc": "< 0.5"}}, False),
        ({"nonsense": 1}, False),  # of another version: it holds nothing back
        ({}, False),
    ],
)
def test_a_silence_holds_back_what_fits_all_of_its_lines(matchers, held):
    found = silencing([silence(matchers)], intent(), event(), Facts(), NOW)
    assert (found is not None) == held


def test_what_was_looked_up_counts():
    low = silence({"metrics.auc": "< 0.5"})
    assert silencing([low], intent(), event(), Facts({"auc": 0.4}), NOW) == low
    assert silencing([low], intent(), event(), Facts({"auc": 0.6}), NOW) is None


@pytest.mark.parametrize("action", ["retrain", "promote", "dispatch", "resubmit", "webhook", "no-such-action"])
def test_only_what_people_are_told_is_held_back(action):
    assert silencing([silence()], intent(action=action), event(), Facts(), NOW) is None


@pytest.mark.parametrize("kind", ["SilenceEnding", "SilenceLong", "RolloutWaiting"])
def test_the_end_of_a_silence_and_a_question_are_told_all_the_same(kind):
    assert silencing([silence({"rule": "~ .*"})], intent(), event(kind), Facts(), NOW) is None


@pytest.mark.parametrize("rule", ["churn-promoted", "churn-promoted (missing)", "churn-promoted (ended)"])
def test_the_parts_of_a_rule_go_by_the_name_that_people_wrote(rule):
    assert silencing([silence({"rule": "churn-promoted"})], intent(rule), event(), Facts(), NOW)


def test_the_implicit_rule_can_be_named():
    assert silencing([silence({"rule": "(tell)"})], intent("(tell)"), event(), Facts(), NOW)


def test_of_several_the_one_that_ends_last_is_named():
    short, long = silence(length=HOUR), replace(silence(length=DAY), id="20261124T120000-00000002")
    assert silencing([long, short], intent(), event(), Facts(), NOW) == long


@given(st.timedeltas(timedelta(-2), timedelta(2)), st.none() | st.timedeltas(timedelta(0), timedelta(2)))
def test_it_holds_from_its_beginning_until_its_end_and_not_a_moment_longer(ahead, expired):
    one = silence(length=DAY, expired=expired and NOW + expired)
    held = silencing([one], intent(), event(), Facts(), NOW + ahead) is not None
    assert held == (expired is None and timedelta(0) <= ahead < DAY)


@pytest.mark.parametrize(
    ("text", "matchers", "said"),
    [
        ("tags.team: fraud\nrule: [a, b]\n", {"tags.team": "fraud", "rule": ["a", "b"]}, ()),
        ('{"run.is_child": false}', {"run.is_child": False}, ()),
        ("", {}, ("nothing is asked for",)),
        ("{}", {}, ("to hold back everything, say so with 'rule: \"~ .*\"'",)),
        ("null", {}, ("nothing is asked for",)),
        ("fraud", {}, ("expected lines such as",)),
        ("[a]", {}, ("expected lines such as",)),
        ("tag.team: fraud", {"tag.team": "fraud"}, ("unknown field 'tag.team'; did you mean 'tags.NAME'?",)),
        ("receivers: x", {"receivers": "x"}, ("did you mean 'receiver'?",)),
        ("run.status: failed", {"run.status": "failed"}, ("run.status is spelled 'Failed', not 'failed'",)),
        ("rule: '~ ['", {"rule": "~ ["}, ("is not an RE2 expression",)),
        ("a: 1\nb: 2", {"a": 1, "b": 2}, ("unknown field 'a'", "unknown field 'b'")),
        ("rule: x\nrule: y", {"rule": "x"}, ("duplicate key 'rule'",)),
    ],
)
def test_matchers_are_read_as_the_match_of_a_rule_and_every_mistake_is_said(text, matchers, said):
    found, problems = read_matchers(text)
    assert found == matchers
    assert len(problems) == len(said)
    for problem, words in zip(problems, said, strict=True):
        assert words in problem.message


def test_the_place_of_a_mistake_is_named():
    _, (problem,) = read_matchers("tags.team: fraud\nmetrics.auc: '>= high'\n")
    assert (problem.line, problem.column) == (2, 14)


def test_a_silence_can_be_said_in_words():
    asked = {"tags.team": ["fraud", "aml"], "not": {"rule": "~ ^test-"}}
    assert in_words(asked) == "tags.team = fraud or = aml, not (rule ~ ^test-)"


# Notices


@pytest.mark.parametrize(
    ("length", "before"),
    [
        (30 * DAY, HOUR),
        (10 * HOUR, HOUR),
        (5 * HOUR, 30 * HOUR / 60),
        (HOUR, HOUR / 10),
    ],
)
def test_its_owner_is_warned_an_hour_or_a_tenth_of_it_before_it_ends(length, before):
    one = silence(length=length, reminded=100)
    assert due_notices([one], one.until - before - timedelta(seconds=1)) == []
    (notice,) = due_notices([one], one.until - before)
    assert (notice.kind, notice.silence) == ("SilenceEnding", one)
    assert due_notices([replace(one, warned=True)], one.until - before) == []
    assert due_notices([one], one.until) == []
    assert due_notices([replace(one, expired=NOW)], one.until - before) == []


def test_its_owner_is_reminded_after_three_days_and_then_every_week():
    one = silence(length=60 * DAY, warned=True)
    days = []
    for hour in range(60 * 24):
        for notice in due_notices([one], NOW + hour * HOUR):
            assert notice.kind == "SilenceLong"
            days.append(hour / 24)
            one = replace(one, reminded=notice.n)
    assert days == [3, 10, 17, 24, 31, 38, 45, 52, 59]


def test_reminders_that_nobody_came_to_send_are_one():
    (notice,) = due_notices([silence(length=60 * DAY)], NOW + 30 * DAY)
    assert notice.n == 4
    assert due_notices([silence(length=60 * DAY, reminded=4)], NOW + 30 * DAY) == []


@given(st.timedeltas(timedelta(minutes=51), timedelta(366)), st.integers(0, 299))
def test_what_lasts_an_hour_is_warned_of_exactly_once_by_a_look_every_five_minutes(length, offset):
    one = silence(length=length, reminded=1000)
    warned = 0
    start = one.until - HOUR * 2
    for look in range(30):
        for notice in due_notices([one], start + timedelta(seconds=offset) + look * timedelta(minutes=5)):
            warned += 1
            one = replace(one, warned=notice.kind == "SilenceEnding")
    assert warned == 1


# Ends

COMPLETED: dict[str, object] = {"type": ["RunCompleted", "RunStatusChanged"], "run.status": "Completed"}


def muted(match, since=NOW):
    return silence(resolves=Resolution(match, since))


@pytest.mark.parametrize(
    ("ending", "ends"),
    [
        (event("RunCompleted", NOW + HOUR, run=Run("r2", status="Completed")), True),
        (event("RunStatusChanged", NOW + HOUR, run=Run("r2", status="Completed")), True),
        (event("RunStatusChanged", NOW + HOUR, run=Run("r2", status="Failed")), False),
        (event("RunCompleted", NOW, run=Run("r2", status="Completed")), False),  # came late, and was before
        (event("RunCompleted", NOW + HOUR, run=Run("r2", status="Completed", is_child=True)), False),
        (event("ModelRegistered", NOW + HOUR, run=None), False),
    ],
)
def test_a_trouble_is_over_by_what_came_after_it(ending, ends):
    one = muted(COMPLETED)
    assert resolved_by([one, silence()], ending) == ([one] if ends else [])


def test_of_a_family_the_parent_ends_it_even_as_a_child():
    one = muted(COMPLETED | {"run.id": "HD_1"})
    child = Run("HD_1", status="Completed", is_child=True)
    assert resolved_by([one], event("RunCompleted", NOW + HOUR, run=child)) == [one]


def test_an_endpoint_brings_all_of_its_models():
    one = muted({"type": "ModelDeployed", "model.name": "fraud", "model.version": "7"})
    endpoint = Endpoint("online", models=("rules:2", "fraud:7"))
    arrived = event("ModelDeployed", NOW + HOUR, run=None, model=Model("rules", "2"), endpoint=endpoint)
    assert resolved_by([one], arrived) == [one]
    assert len(arrivals(arrived)) == 3


def test_drift_of_another_monitor_is_told():
    one = silence({"type": "DriftDetected", "drift.monitor": "transactions"})
    for monitor, held in (("transactions", True), ("customers", False)):
        found = silencing([one], intent(), event("DriftDetected", drift=Drift(monitor)), Facts(), NOW)
        assert (found is not None) == held
