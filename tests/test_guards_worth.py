"""Whether a training is worth it: yes, no, or nobody knows, each with its numbers."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.events import Event, Run
from shared.guards import Case, rule_on
from shared.guards.ask import Go, Memory, Suppressed
from shared.guards.retraining import LEDGERS, Ledger, Start
from shared.guards.throttle import name_of
from shared.guards.worth import worth
from shared.record import QUALITY, Estimate, Facts, Standing, Terms, Worth
from shared.rehearsal.story import read_stories
from shared.rules.explain import as_text, explain
from shared.rules.load import load_texts
from shared.rules.plan import plan
from tests.station import SWITCHYARD, Station, opened, run_event
from tests.world import Outside

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ASKED = Worth("fraud", "auc", 0.01, new_labels=2000)
QUALITY_FILE = """
name: fraud
model: fraud
endpoint: fraud-online
workspace: prod
predictions: {logs: {workspace: 7c1f0a52-3b6d-4e8f-9a21-5d4c3b2a1f00, query: P}, key: k, at: t, score: s}
truth: {logs: {workspace: 7c1f0a52-3b6d-4e8f-9a21-5d4c3b2a1f00, query: L}, key: k, value: v}
metrics: {auc: {drop: 0.05}, log_loss: {}}
"""


def seen(value, room=0.005, n=4200):
    return Estimate(value, value - room, value + room, n, NOW - 2 * DAY, NOW - DAY)


BAD = Standing(
    NOW - DAY,
    "fraud",
    measured={"auc": seen(0.88)},
    estimated={"auc": seen(0.89)},
    reference={"auc": 0.92},
    labels={"2026-11-14": 900, "2026-11-15": 1500, "2026-11-23": 800},
)
LAST = NOW - timedelta(days=10)  # 2026-11-14


def rule(asked, standing, last: datetime | None = LAST, now=NOW, key="k2"):
    memory = Memory()
    if standing is not None:
        memory.folders[QUALITY] = {"fraud": msgspec.json.encode(standing).decode()}
    if last is not None:
        memory.folders[LEDGERS] = {
            name_of("weekly"): msgspec.json.encode(Ledger((Start("k1", last, "k1"), Start(key, now, key)))).decode()
        }
    return memory.run(worth(asked, "weekly", key, now))


def test_a_model_that_got_worse_with_truth_to_learn_from_goes_and_says_why():
    assert rule(ASKED, BAD) == Go(
        note="worth it: auc is measured at 0.88 (0.875 to 0.885, n = 4,200, 2026-11-22 to 2026-11-23), and was 0.92 in training: "
        "worse by 0.04, and 0.01 is asked for; 2,300 new labels since 'weekly' was started on 2026-11-14, and 2,000 are asked for"
    )


@pytest.mark.parametrize(
    ("asked", "standing", "words"),
    [
        (ASKED, replace(BAD, measured={"auc": seen(0.915)}), "0.92 in training: worse by 0.005, and 0.01 is asked for"),
        (ASKED, replace(BAD, measured={"auc": seen(0.93)}), "no worse, and 0.01 is asked for"),
        (
            ASKED,
            replace(BAD, labels={"2026-11-14": 9000}),
            "only 0 new labels since 'weekly' was started on 2026-11-14",
        ),
        (
            replace(ASKED, by="either", new_labels=0),
            replace(BAD, measured={"auc": seen(0.92)}, estimated={}),
            "auc is measured at 0.92",
        ),
    ],
)
def test_what_is_not_worth_it_says_by_how_much(asked, standing, words):
    ruling = rule(asked, standing)
    assert isinstance(ruling, Suppressed)
    assert ruling.guard == "worth"
    assert ruling.note.startswith("not worth a training: ")
    assert words in ruling.note


def test_a_drop_that_may_be_chance_counts_and_says_so():
    ruling = rule(ASKED, replace(BAD, measured={"auc": seen(0.9, 0.03, 40)}))
    assert isinstance(ruling, Go)
    assert "(0.87 to 0.93, n = 40," in ruling.note
    assert "worse by 0.02, which may be chance, and 0.01 is asked for" in ruling.note


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (None, "no look at quality/fraud.yaml is on record"),
        (replace(BAD, at=NOW - 40 * DAY), "the newest look at quality/fraud.yaml is of 2026-10-15, too long ago"),
        (replace(BAD, measured={}), "auc is not measured"),
        (replace(BAD, reference={}), "the training run logged no auc to compare with"),
    ],
)
def test_that_nobody_knows_is_an_answer_of_its_own(standing, words):
    held, goes = rule(ASKED, standing), rule(replace(ASKED, unknown="go"), standing)
    assert isinstance(held, Suppressed)
    assert held.note.startswith("nobody knows whether it is worth a training, and then it is held back: ")
    assert isinstance(goes, Go)
    assert goes.note.startswith("nobody knows whether it is worth it, and then it goes: ")
    assert words in held.note
    assert words in goes.note


def test_what_is_known_to_be_no_is_no_whatever_else_is_unknown():
    ruling = rule(replace(ASKED, unknown="go"), replace(BAD, measured={}, labels={}))
    assert isinstance(ruling, Suppressed)
    assert ruling.note.startswith("not worth a training: only 0 new labels")


def test_either_takes_the_drop_that_is_seen():
    asked = replace(ASKED, by="either", new_labels=0)
    for standing in (replace(BAD, measured={}), replace(BAD, measured={"auc": seen(0.92)}), replace(BAD, estimated={})):
        assert isinstance(rule(asked, standing), Go)
    assert "auc is estimated at 0.89" in rule(asked, replace(BAD, measured={})).note


def test_where_more_is_worse_a_rise_is_a_drop():
    asked = Worth("fraud", "log_loss", 0.02, lower_is_better=True)
    standing = replace(BAD, measured={"log_loss": seen(0.2)}, reference={"log_loss": 0.16})
    assert "worse by 0.04" in rule(asked, standing).note
    assert isinstance(rule(asked, replace(standing, measured={"log_loss": seen(0.12)})), Suppressed)


def test_without_a_start_on_record_all_labels_count_and_a_killed_try_finds_its_own_start():
    asked = Worth("fraud", new_labels=3000)
    assert "3,200 new labels (no start of 'weekly' is on record)" in rule(asked, BAD, None).note
    assert isinstance(rule(asked, BAD, None), Go)
    assert isinstance(rule(Worth("fraud", new_labels=2000), BAD), Go), "its own start of today is not the last training"


@given(st.floats(0.5, 1), st.floats(0, 0.2), st.floats(0.001, 0.2), st.sampled_from(["hold", "go"]))
def test_known_numbers_never_depend_on_what_is_done_where_nobody_knows(value, room, drop, unknown):
    standing = replace(BAD, measured={"auc": seen(value, room)})
    ruling = rule(Worth("fraud", "auc", drop, unknown=unknown), standing)
    if abs(0.92 - value - drop) > 1e-9:
        assert isinstance(ruling, Go) == (0.92 - value > drop)


# In the service


RULES = """
rules:
  - name: drift
    event: RunCompleted
    match: {tags.team: drift}
    do: [{retrain: weekly, worth: {quality: fraud, drop: 0.01, metric: auc}}]
"""


@pytest.fixture
def station(tmp_path):
    outside = Outside()
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES, **{"quality/fraud.yaml": QUALITY_FILE})


async def test_the_reason_of_each_training_and_of_each_one_not_done_is_on_record_in_words(station):
    shelf, clock = station.outside.shelf, station.outside.clock
    for name, standing in (("e1", None), ("e2", replace(BAD, measured={"auc": seen(0.92)})), ("e3", BAD)):
        if standing is not None:
            await shelf.put(QUALITY, "fraud", msgspec.json.encode(replace(standing, at=clock())).decode())
        await station.send(run_event(name, runTags={"team": "drift"}))
        await station.work()
    told = {name: (await station.intents(name))[0] for name in ("e1", "e2", "e3")}
    assert [one.status for one in told.values()] == ["suppressed", "suppressed", "done"]
    assert "worth: nobody knows whether it is worth a training" in told["e1"].attempts[-1].note
    assert "worth: not worth a training: auc is measured at 0.92" in told["e2"].attempts[-1].note
    why = "worth it: auc is measured at 0.88"
    assert told["e3"].attempts[-1].note.startswith(why)
    assert f"in workspace prod; {why}" in told["e3"].result.said
    (job,) = station.outside.platform.submitted.values()
    assert job.tags["switchyard_reason"].startswith(why)
    assert len(job.tags["switchyard_reason"]) <= 256


def test_explain_says_what_is_asked():
    loaded = load_texts({"switchyard.yaml": SWITCHYARD, "rules/a.yaml": RULES, "quality/fraud.yaml": QUALITY_FILE})
    event = Event("e", "RunCompleted", NOW, "/s", tags={"team": "drift"}, run=Run("r"))
    said = as_text(explain(loaded.rules, event))
    assert (
        "if it is worth it: auc worse by 0.01 or more (measured, quality/fraud.yaml); where nobody knows, it is held back"
        in said
    )


def test_a_plan_carries_what_is_asked_and_nothing_where_nothing_is():
    loaded = load_texts({"switchyard.yaml": SWITCHYARD, "rules/a.yaml": RULES, "quality/fraud.yaml": QUALITY_FILE})
    event = Event("e", "RunCompleted", NOW, "/s", tags={"team": "drift"}, run=Run("r"))
    (intent,) = plan(loaded.rules, event).intents
    assert intent.terms == Terms(pipeline="weekly", worth=Worth("fraud", "auc", 0.01))
    assert msgspec.json.decode(msgspec.json.encode(intent), type=type(intent)) == intent


def test_it_stands_beside_a_retraining_only():
    rules = RULES.replace("retrain: weekly", "notify: fraud")
    loaded = load_texts({"switchyard.yaml": SWITCHYARD, "rules/a.yaml": rules, "quality/fraud.yaml": QUALITY_FILE})
    assert "unknown key 'worth' beside 'notify'" in str(loaded.problems[0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("quality: fraude", "unknown quality 'fraude'; did you mean 'fraud'?"),
        ("quality: fraud, measured: {auk: 0.9}", "unknown metric 'auk'; did you mean 'auc'?"),
        ("quality: fraud, measured: {auc: high}", "auc: expected a number, found text 'high'"),
        ("quality: fraud, labels: many", "labels: expected how many truths have come, found 'many'"),
        ("quality: fraud, mesured: {auc: 0.9}", "unknown key 'mesured'; did you mean 'measured'?"),
    ],
)
def test_a_mistake_in_what_a_test_says_of_quality_has_its_words(given, words):
    loaded = load_texts({"switchyard.yaml": SWITCHYARD, "rules/a.yaml": RULES, "quality/fraud.yaml": QUALITY_FILE})
    steps = "steps: [{event: RunCompleted, tags.team: drift, expect: nothing}]"
    test = f"now: 2026-11-24T08:00\ntests:\n  - name: t\n    given: [{{{given}}}]\n    {steps}\n"
    _, wrong = read_stories({"tests/a.yaml": test}, loaded)
    assert [one.message.partition("; known")[0] for one in wrong][:1] == [words]


def test_what_was_begun_is_brought_to_its_end_whatever_is_known_by_then():
    loaded = load_texts({"switchyard.yaml": SWITCHYARD, "rules/a.yaml": RULES, "quality/fraud.yaml": QUALITY_FILE})
    event = Event("e", "RunCompleted", NOW, "/s", tags={"team": "drift"}, run=Run("r"))
    (intent,) = plan(loaded.rules, event).intents
    memory = Memory()
    first, again = (Case(intent, event, Facts(), NOW, NOW, tried=tried) for tried in (False, True))
    assert isinstance(memory.run(rule_on(first, loaded.config)), Suppressed)
    assert memory.folders == {}, "what is not worth it spends nothing"
    assert memory.run(rule_on(again, loaded.config)) == Go()
