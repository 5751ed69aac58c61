"""A rule that stopped is noticed, with its likely cause; one that only pauses is not called silent."""

from datetime import UTC, datetime, timedelta
from random import Random  # noqa: TID251 (seeded: the same worlds every time)

import pytest

from shared.events import Event, Run
from shared.record import EventRecord, Facts
from shared.rules.load import load_texts
from shared.rules.plan import plan
from shared.rules.silent import FEWEST, Watched, silent, told, watched

T0 = datetime(2026, 11, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAIN = "receivers: {team: {email: a@contoso.com}}"


def rules(match="tags.team: fraud", event="RunCompleted"):
    text = f"rules: [{{name: good, event: {event}, match: {{{match}}}, do: [{{notify: team}}]}}]"
    loaded = load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": text})
    assert not loaded.problems, loaded.problems
    return loaded.rules


RULES = rules()


def record(at, tags=None, kind="RunCompleted"):
    event = Event(f"e{at}", kind, at, "/s", tags={"team": "fraud"} if tags is None else tags, run=Run("r"))
    return EventRecord(event.record, at, "decided", event, plan(RULES, event), Facts())


def weekdays(weeks):
    """Every working hour of so many weeks."""
    moments = (T0 + n * HOUR for n in range(weeks * 7 * 24))
    return [record(at) for at in moments if at.weekday() < 5 and 9 <= at.hour < 18]


def first_word(seen, since, *, every=HOUR, rules=RULES, later=(), days=30):
    """When it is called silent, and why, with these events coming on."""
    now = since
    while now < since + days * DAY:
        new = [one for one in later if now - every < one.received <= now]
        seen = watched(seen, new, rules)
        found = silent(seen, rules, now)
        if found:
            return now - since, found[0]
        now += every
    return None, None


def test_a_rule_that_pauses_at_night_and_over_the_weekend_is_not_silent():
    seen, coming = Watched(), weekdays(4)
    for one in coming:
        seen = watched(seen, [one], RULES)
    monday = T0 + 28 * DAY + 9 * HOUR
    assert silent(seen, RULES, monday) == []


def test_a_lost_subscription_is_noticed_after_two_of_its_longest_pauses():
    seen = watched(Watched(), weekdays(4), RULES)
    last = seen.rules["good"].last
    took, word = first_word(seen, last)
    longest = timedelta(hours=64)  # Friday 17:00 to Monday 09:00
    assert 2 * longest <= took <= 2.1 * longest
    assert word.cause.startswith("No RunCompleted has come since: is the event subscription still there")
    assert "RunCompleted が届いていません" in word.cause_ja


def test_a_renamed_tag_is_named():
    seen = watched(Watched(), weekdays(4), RULES)
    last = seen.rules["good"].last
    later = [record(last + n * HOUR, {"Team": "fraud"}) for n in range(1, 400)]
    took, word = first_word(seen, last, later=later)
    assert took is not None
    assert (
        word.cause
        == "RunCompleted still comes, but without tags.team, which the rule asks for; tags.Team does: was it renamed?"
    )
    assert "tags.Team" in word.cause_ja


def test_a_value_that_changed_is_told_as_such():
    seen = watched(Watched(), weekdays(4), RULES)
    last = seen.rules["good"].last
    later = [record(last + n * HOUR, {"team": "fraud-detection"}) for n in range(1, 400)]
    _, word = first_word(seen, last, later=later)
    assert word.cause.startswith("RunCompleted still comes with all that the rule asks for, and no event matches")


def test_a_person_is_told_once_and_how_long_it_was_away_is_learned_within_bounds():
    seen = watched(Watched(), weekdays(4), RULES)
    last, longest = seen.rules["good"].last, seen.rules["good"].longest
    seen = told(seen, ["good"])
    assert silent(seen, RULES, last + 30 * DAY) == []
    seen = watched(seen, [record(last + 30 * DAY)], RULES)
    assert seen.rules["good"].longest == 2 * longest
    assert first_word(seen, last + 30 * DAY)[1] is not None  # and once more


def test_an_edited_rule_begins_anew_and_one_that_is_gone_is_forgotten():
    seen = watched(Watched(), weekdays(4), RULES)
    assert watched(seen, [], rules("tags.team: fraud, workspace: prod")).rules == {}
    assert watched(seen, [], load_texts({"switchyard.yaml": MAIN}).rules).rules == {}


@pytest.mark.parametrize("n", range(FEWEST))
def test_of_a_rule_that_fired_a_few_times_nothing_is_said(n):
    seen = watched(Watched(), [record(T0 + one * HOUR) for one in range(n)], RULES)
    assert silent(seen, RULES, T0 + 365 * DAY) == []


def firings(chance, kind, days):
    """Seeded: at random, in bursts such as sweeps make, or by the day."""
    at, end = T0, T0 + days * DAY
    while at < end:
        if kind == "random":
            at += timedelta(hours=chance.expovariate(1 / 8))
        elif kind == "bursts":
            at += timedelta(minutes=1) if chance.random() < 0.9 else timedelta(hours=chance.expovariate(1 / 30))
        else:
            at += timedelta(hours=24 + chance.uniform(-3, 3))
        yield at


@pytest.mark.parametrize(("kind", "most"), [("random", 0.05), ("bursts", 0.05), ("daily", 0.0)])
def test_false_alarms_are_as_rare_as_the_document_says(kind, most):
    """200 worlds of sixty days in which the rule never stops; looked at every hour as the service does."""
    alarms = 0
    for seed in range(200):
        seen, now, chance = Watched(), T0, Random(seed)
        for at in firings(chance, kind, 60):
            # Just before it fires again the silence is longest: if it is called silent at all, then here.
            if silent(seen, RULES, at):
                alarms += 1
                seen = told(seen, ["good"])
            seen, now = watched(seen, [record(at)], RULES), at
        assert now > T0
    assert alarms / (200 * 2) <= most  # a rule and month


def test_that_nothing_is_missing_any_more_is_no_silence():
    text = "rules: [{name: gone, expect: ModelDeployed, after: ModelRegistered, within: 1h, do: [{notify: team}]}]"
    absence = load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": text}).rules

    def happened(at, kind):
        event = Event(f"{kind}{at}", kind, at, "/s", data={"rule": "gone"})
        return EventRecord(event.record, at, "decided", event, plan(absence, event))

    kinds = ("ModelRegistered", "ModelDeployed", "ExpectedEventMissing")
    seen = watched(Watched(), [happened(T0 + n * HOUR, kind) for n in range(50) for kind in kinds], absence)
    assert [one.rule.name for one in silent(seen, absence, T0 + 60 * DAY)] == ["gone"]
