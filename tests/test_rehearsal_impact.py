"""What an edit would have changed: never more and never less than what two rehearsals say."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.archive import Archived
from shared.events import Drift, Endpoint, Event, Model, Run
from shared.record import Facts
from shared.rehearsal.account import as_json, as_markdown, as_text
from shared.rehearsal.engine import Rehearsal, rehearse
from shared.rehearsal.impact import Comparison, Replay, impact, rows_of
from shared.rules.load import load_texts

T0 = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
MAIN = """
calendars:
  office: {from: "08:00", to: "09:00"}
receivers:
  fraud: {teams: "${TEAMS}", email: [fraud@contoso.com]}
  oncall: {teams: "${TEAMS}", escalate: [{after: 10m, notify: fraud}]}
pipelines:
  weekly: {source: "azureml:train:1", experiment: weekly, cooldown: COOLDOWN, concurrency: 1}
"""
VARIANTS = {
    "good": [
        "- {name: good, event: RunCompleted, match: {metrics.auc: '>= 0.9'}, do: [{notify: fraud}]}",
        "- {name: good, event: RunCompleted, match: {metrics.auc: '>= 0.8'}, do: [{notify: fraud}]}",
        "- {name: good, event: RunCompleted, match: {metrics.auc: '>= 0.9'}, active: office, do: [{notify: fraud}]}",
        "- {name: fine, event: RunCompleted, match: {metrics.auc: '>= 0.9'}, do: [{notify: fraud}]}",
    ],
    "failed": [
        "- {name: failed, event: RunStatusChanged, match: {run.status: Failed}, throttle: {once_within: 30m}, do: [{notify: oncall}]}",
        "- {name: failed, event: RunStatusChanged, match: {run.status: Failed}, throttle: {once_after: 10m}, do: [{notify: oncall}]}",
        "- {name: failed, event: RunStatusChanged, match: {run.status: Failed}, children: each, do: [{notify: oncall, language: ja}]}",
        "- {name: failed, event: RunStatusChanged, match: {run.status: Failed}, do: [{notify: oncall}]}",
        "",
    ],
    "drift": [
        "- {name: drift, event: DriftDetected, do: [{retrain: weekly}]}",
        "- {name: drift, event: DriftDetected, match: {drift.coefficient: '> 0.5'}, do: [{notify: fraud}, {retrain: weekly}]}",
        "- {name: drift, event: DriftDetected, throttle: {accumulate_within: 20m, threshold: 2}, do: [{retrain: weekly}]}",
    ],
    "late": [
        "- {name: late, expect: ModelDeployed, after: ModelRegistered, within: 10m, by: [model.name], do: [{notify: fraud}]}",
        "- {name: late, expect: ModelDeployed, after: ModelRegistered, within: 20m, do: [{notify: oncall}]}",
    ],
}


HOURLY = MAIN.replace("COOLDOWN", "1h")


def load(main=HOURLY, **chosen):
    rules = "\n".join(f"  {VARIANTS[name][n]}" for name, n in chosen.items() if VARIANTS[name][n])
    loaded = load_texts({"switchyard.yaml": main, "rules/a.yaml": f"rules:\n{rules}\n"})
    assert loaded.problems == ()
    return loaded


configurations = st.builds(
    load,
    st.sampled_from([MAIN.replace("COOLDOWN", one) for one in ("1h", "5m")]),
    **{name: st.sampled_from(range(len(several))) for name, several in VARIANTS.items()},
)
KINDS = ("good", "failed", "child", "ended", "drift", "registered", "deployed", "unknown")


def happened(kind, n, at):
    event: dict[str, tuple[str, dict[str, Any], Facts | None]] = {
        "good": ("RunCompleted", {"run": Run(f"r{n}", is_child=False)}, Facts(metrics={"auc": 0.7 + 0.1 * (n % 4)})),
        "failed": ("RunStatusChanged", {"run": Run(f"r{n}", status="Failed", is_child=False)}, None),
        "child": ("RunStatusChanged", {"run": Run(f"c{n}", status="Failed", is_child=True, parent="p")}, None),
        "ended": ("RunStatusChanged", {"run": Run("p", status="Completed", is_child=False)}, None),
        "drift": ("DriftDetected", {"drift": Drift(coefficient=0.1 * (n % 10))}, None),
        "registered": ("ModelRegistered", {"model": Model(f"m{n % 2}", "1")}, None),
        "deployed": ("ModelDeployed", {"endpoint": Endpoint("e", models=(f"m{n % 2}:1",))}, None),
        "unknown": ("RunCompleted", {"run": Run(f"u{n}")}, None),
    }
    type_, parts, facts = event[kind]
    return Event(id=f"e{n}", type=type_, time=at, source="/s", **parts), facts


@st.composite
def recordings(draw):
    at, found = T0, []
    for n, (kind, seconds) in enumerate(
        draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 1500)), max_size=25))
    ):
        at += timedelta(seconds=seconds)
        found.append((*happened(kind, n, at), at))
    return found


def lines(recording):
    return [msgspec.json.encode(Archived(event.record, at, event, facts)) for event, facts, at in recording]


def compared(before, after, recording, cut=10_000):
    """As the command does it: piece by piece."""
    sides, comparison = (Replay(before), Replay(after)), Comparison()
    texts = lines(recording)
    for start in range(0, len(texts), cut):
        comparison.add(*(side.take(texts[start : start + cut]) for side in sides))
    (last, old), (next_, new) = (side.close() for side in sides)
    comparison.add(last, next_)
    return impact((old, new), comparison.differences(), (before, after))


def marks(loaded, recording):
    """All that is on record about these events, by brute force."""
    told = rehearse(loaded, [(event, facts or Facts(), at) for event, facts, at in recording])
    return Counter(row.mark for row in rows_of(told))


@settings(max_examples=60, deadline=None)
@given(configurations, configurations, recordings(), st.integers(1, 10))
def test_it_is_what_two_rehearsals_say_and_the_mirror_of_its_opposite(before, after, recording, cut):
    found = compared(before, after, recording, cut)
    was, now = marks(before, recording), marks(after, recording)
    assert Counter(one.before.mark for one in found.differences if one.before) == was - now
    assert Counter(one.after.mark for one in found.differences if one.after) == now - was
    back = compared(after, before, recording)
    mirrored = {"added": "removed", "removed": "added"}
    assert Counter((mirrored.get(one.kind, one.kind), one.after, one.before) for one in back.differences) == Counter(
        (one.kind, one.before, one.after) for one in found.differences
    )
    for one in found.totals:
        assert one.before + one.added - one.removed == one.after or any(
            each.before and each.after and each.before.rule != each.after.rule for each in found.differences
        )


@settings(max_examples=30, deadline=None)
@given(configurations, recordings())
def test_no_edit_changes_nothing(loaded, recording):
    found = compared(loaded, loaded, recording)
    assert (found.differences, found.totals) == ((), ())
    assert "Nothing would have been done otherwise." in as_text(found) or found.flags


@settings(max_examples=30, deadline=None)
@given(configurations, recordings())
def test_the_same_recording_gives_the_same_outcomes_whether_time_passes_in_steps_or_not(loaded, recording):
    at_once, in_steps = Rehearsal(loaded), Rehearsal(loaded)
    first, second = [], []
    for event, facts, at in recording:
        first += at_once.event(event, facts or Facts(), at)
        for part in (3, 2, 1):
            second += (
                in_steps.until(at - timedelta(seconds=part)) if at - timedelta(seconds=part) > in_steps.now else []
            )
        second += in_steps.event(event, facts or Facts(), at)
    assert first + at_once.close() == second + in_steps.close()


def recording(*kinds, minutes=1):
    return [
        (*happened(kind, n, T0 + timedelta(minutes=minutes * n)), T0 + timedelta(minutes=minutes * n))
        for n, kind in enumerate(kinds)
    ]


def flags(before, after, *kinds, **options):
    return [one.said for one in compared(before, after, recording(*kinds, **options)).flags]


def test_the_last_rule_of_a_receiver_is_missed():
    assert flags(load(failed=0), load(drift=0), "failed") == [
        "receiver fraud: no rule tells it anything any more; it got 1 message about these events",
        "receiver oncall: no rule tells it anything any more; it got 1 message about these events",
    ]


def test_a_receiver_that_hears_nothing_any_more_is_missed_too():
    assert flags(load(good=0, failed=3), load(good=0, failed=4, late=1), *["failed"] * 6) == [
        "receiver fraud: nothing instead of 6 messages",
        "receiver oncall: nothing instead of 6 messages",
    ]


def test_three_times_as_much_is_said():
    once, always = load(failed=0), load(failed=3)
    assert flags(once, always, *["failed"] * 9) == [
        "receiver fraud: 9 messages instead of 1, 9.0 times as many",
        "receiver oncall: 9 messages instead of 1, 9.0 times as many",
    ]
    assert flags(once, always, *["failed"] * 4) == []  # three more are no flood


def test_what_is_started_is_named_first():
    assert flags(load(good=0), load(good=0, drift=0), "drift") == [
        "retrain weekly: 1 that did not happen before, by drift"
    ]
    assert flags(load(good=0, drift=0), load(good=0), "drift") == [
        "retrain weekly: 1 that would not have happened, by drift"
    ]


def test_what_was_not_looked_up_then_cannot_be_decided_now():
    (said,) = flags(load(drift=0), load(drift=0, good=0), "unknown", "unknown")
    assert said == "rule good cannot be decided about 2 of these events: what it has to look up was not recorded"


@pytest.mark.parametrize(
    ("before", "after", "kinds", "said"),
    [
        ({"good": 0}, {"good": 3}, ["good"] * 4, "by good → by fine"),
        ({"failed": 3}, {"failed": 2}, ["failed"], "other language (teams)"),
        ({"failed": 3}, {"failed": 1}, ["failed"], "at 08:00:00 → at 2026-11-24 08:10:00"),
        ({"failed": 3}, {"failed": 1}, ["failed", "failed"], "sent → collected (told together with"),
        (
            {"good": 0},
            {"good": 2},
            ["deployed"] * 61 + ["failed", "good", "good"],
            "sent → suppressed (calendar)",
        ),
    ],
)
def test_each_change_is_said_in_a_few_words(before, after, kinds, said):
    found = compared(load(**before), load(**after), recording(*kinds))
    for text in (as_text(found), as_json(found)):
        assert said in text
    assert said.replace("→ by", "→ by") in as_markdown(found).replace("\\", "")


def test_a_secret_stays_a_name_and_nobody_is_called():
    found = compared(load(good=0), load(failed=0), recording("good", "good", "failed"))
    markdown = as_markdown(found)
    assert "@contoso" not in markdown
    assert markdown.startswith("### What this edit of the rules would have changed\n")


def test_lines_that_cannot_be_read_are_named_and_stop_nothing():
    side = Replay(load(failed=0))
    part = side.take([b"{", *lines(recording("failed")), b'{"received": 1, "event": {}}', b"\xff"])
    assert [n for n, _ in part.bad] == [0, 2, 3]
    assert side.close()[1].events == 1


def test_an_event_that_stands_twice_counts_once():
    side = Replay(load(failed=3))
    side.take(lines(recording("failed")) * 3)
    assert side.close()[1].counts == {
        ("failed", "notify", "fraud", "sent"): 1,
        ("failed", "notify", "oncall", "sent"): 1,
    }


def test_what_comes_late_comes_when_it_is_read():
    told = lines(recording("failed", "failed", minutes=20))
    side = Replay(load(failed=0))
    side.take([told[1], told[0]])
    account = side.close()[1]
    assert account.late == 1
    assert account.counts["failed", "notify", "oncall", "suppressed"] == 1


def test_what_is_still_awaited_at_the_end_is_not_missed():
    side = Replay(load(late=0))
    side.take(lines(recording("registered")))
    account = side.close()[1]
    assert (account.open, account.counts) == (1, {})
