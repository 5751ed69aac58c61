"""What a person may acknowledge, what muting it holds back, and what ends it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.events import BREACH, Drift, Endpoint, Event, Model, Run
from shared.record import Decision, EventRecord, Facts, Intent, Job, Resolution, Silence, Terms, Verdict
from shared.rules.silences import conditions, resolved_by, silencing
from shared.rules.troubles import acknowledgeable, muted_of, trouble_of

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def event(kind, at=NOW, **parts):
    return Event("e1", kind, at, "/s", "x", kind, **({"workspace": "prod"} | parts))


def record(about, facts=None, decision=None):
    return EventRecord("rec", NOW, "decided", about, decision, facts)


def failed(run_id="r1", at=NOW, status="Failed", experiment="fraud", **more):
    return event("RunStatusChanged", at, run=Run(run_id, status=status, experiment=experiment, **more))


def completed(run_id="r2", experiment="fraud", workspace="prod", kind="RunCompleted", tags=None, **more):
    run = Run(run_id, status="Completed", experiment=experiment, **more)
    return event(kind, NOW + HOUR, run=run, workspace=workspace, tags=tags or {})


def missing(version="7", **data):
    said = {"rule": "not-deployed", "expected": "ModelDeployed", "within": "2h", "by": ["model.name", "model.version"]}
    return event("ExpectedEventMissing", model=Model("fraud", version), data=said | data)


def rollout(kind="RolloutStuck", endpoint="online", at=NOW):
    return event(kind, at, endpoint=Endpoint(endpoint))


def drift(monitor="transactions", experiment="monitoring"):
    return event("DriftDetected", drift=Drift(monitor), run=Run("m1", experiment=experiment, status="Failed"))


def action(rule="fraud", name="teams"):
    return event("ActionFailed", data={"rule": rule, "action": name, "reason": "HTTP 404"})


def quality(model="fraud"):
    return event("ModelQualityDegraded", model=Model(model, "7"))


def mute(about, facts=None):
    trouble = trouble_of(record(about, facts))
    assert trouble is not None
    resolves = trouble.resolves and Resolution(trouble.resolves, about.time - trouble.since)
    return Silence("s", trouble.matchers, "x", "y", NOW, NOW + 7 * 24 * HOUR, resolves=resolves)  # type: ignore[arg-type]  # the parts of an event


def holds(silence, about, facts=None):
    intent = Intent("k", "e", "any-rule", "teams", {})
    return silencing([silence], intent, about, facts or Facts(), NOW) is not None


CHILD = {"is_child": True, "parent": "HD_1"}


@pytest.mark.parametrize(
    ("about", "held", "told"),
    [
        (
            failed(),
            [failed("r9"), failed(status="NotResponding")],
            [failed(experiment="churn"), completed(), failed(status="Canceled"), drift(experiment="fraud")],
        ),
        (failed(**CHILD), [failed("HD_1_7", **CHILD)], [failed("HD_1"), failed("r9", is_child=True, parent="HD_2")]),
        (failed(experiment=None), [failed(experiment=None)], [failed("r9", experiment=None)]),
        (drift(), [drift(experiment="x")], [drift("customers"), failed(experiment="monitoring")]),
        (missing(), [missing()], [missing("8"), missing(rule="another")]),
        (rollout(), [rollout("RolloutRolledBack")], [rollout(endpoint="other"), rollout("RolloutCompleted")]),
        (quality(), [quality()], [quality("churn")]),
        (action(), [action()], [action("churn"), action(name="email")]),
    ],
)
def test_muting_holds_back_the_same_trouble_and_no_other(about, held, told):
    one = mute(about)
    assert holds(one, about)
    assert [other for other in held if not holds(one, other)] == []
    assert [other for other in told if holds(one, other)] == []


@pytest.mark.parametrize(
    ("about", "ends", "stays"),
    [
        (
            failed(),
            [completed(), completed(kind="RunStatusChanged")],
            [
                completed(experiment="churn"),
                completed(workspace="dev"),
                completed(is_child=True),
                failed("r2", NOW + HOUR),
            ],
        ),
        (
            failed(**CHILD),
            [completed("HD_1"), failed("HD_1", NOW + HOUR)],
            [completed("HD_2"), completed("HD_1_3", **CHILD)],
        ),
        (failed(experiment=None), [completed("r1", None)], [completed("r2", None)]),
        (
            drift(),
            [completed(experiment="monitoring", kind="RunStatusChanged")],
            [completed(experiment="monitoring", tags={BREACH: "transactions_x has failed due to"}), completed()],
        ),
        (
            missing(),
            [event("ModelDeployed", NOW - HOUR, model=Model("fraud", "7"))],  # was on its way
            [
                event("ModelDeployed", NOW + HOUR, model=Model("fraud", "8")),
                event("ModelDeployed", NOW - 3 * HOUR, model=Model("fraud", "7")),
                event("ModelRegistered", NOW + HOUR, model=Model("fraud", "7")),
            ],
        ),
        (
            rollout(),
            [rollout("RolloutCompleted", at=NOW + HOUR)],
            [rollout("RolloutCompleted", "other", NOW + HOUR), rollout("RolloutStarted", at=NOW + HOUR)],
        ),
        (
            quality(),
            [event("ModelQualityRecovered", NOW + HOUR, model=Model("fraud", "8"))],
            [completed(), event("ModelQualityRecovered", NOW + HOUR, model=Model("churn", "7"))],
        ),
        (action(), [], [completed()]),
        (drift(experiment=None), [], [completed(experiment=None)]),
    ],
)
def test_each_trouble_has_its_own_end(about, ends, stays):
    one = mute(about)
    assert [other for other in ends if not resolved_by([one], other)] == []
    assert [other for other in stays if resolved_by([one], other)] == []


def test_a_family_that_a_lookup_told_of_counts():
    about = failed()
    facts = Facts(job=Job(is_child=True, parent="HD_1"))
    one = mute(about, facts)
    assert holds(one, about, facts)
    assert one.matchers["run.parent"] == "HD_1"


@pytest.mark.parametrize(
    "about",
    [
        failed(status="Canceled"),
        completed(),
        event("ModelRegistered", model=Model("fraud", "7")),
        event("RolloutStarted"),
        event("RunStatusChanged"),
        event("Contoso.Shipped"),
        None,
    ],
)
def test_news_that_are_not_bad_need_no_acknowledgement(about):
    assert trouble_of(record(about)) is None
    assert not acknowledgeable(record(about))
    assert muted_of(record(about)) is None


def test_what_escalates_can_be_acknowledged_whatever_it_is():
    intents = (Intent("k", "rec", "shipped", "sms", {}, Terms(after=600, unless_acknowledged=True)),)
    verdicts = (Verdict("shipped", "f", "matched"), Verdict("(tell)", "f", "matched"), Verdict("other", "f", "stopped"))
    one = record(event("Contoso.Shipped"), decision=Decision("v", 3, verdicts, intents))
    assert acknowledgeable(one)
    trouble = muted_of(one)
    assert trouble is not None
    assert trouble.matchers == {"type": "Contoso.Shipped", "workspace": "prod", "rule": ["shipped"]}
    assert trouble.what_in("en") == "events of the type Contoso.Shipped by the rules shipped"


texts = st.sampled_from(
    ["~ x", "= y", ">= 3", "!= a", "present", "absent", "0.1..0.3", "..", "7", "true", "null", "a b", "{x}", "x: y"]
) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=20)


@given(texts, texts, texts)
def test_whatever_names_hold_a_mute_fits_its_own_event_and_can_be_said(one, two, three):
    for about in (
        replace(failed("r1", experiment=one), workspace=two),
        failed(one, experiment=None),
        failed(one, is_child=True, parent=two),
        drift(one, two),
        missing(one, rule=two, expected=three),
        rollout(endpoint=one),
        quality(one),
        action(one, two),
    ):
        silence = mute(about)
        assert conditions(silence.matchers)
        assert silence.resolves is None or conditions(silence.resolves.match)
        assert holds(silence, about), silence.matchers
        trouble = trouble_of(record(about))
        assert trouble is not None
        assert trouble.what_in("en")
        assert trouble.over_in("ja")
