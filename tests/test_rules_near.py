"""The smallest change that would have matched."""

import math
from datetime import UTC, datetime
from itertools import combinations, product

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.events import Blob, Drift, Endpoint, Event, Model, Run
from shared.record import Checked, Facts, Job
from shared.rules.change import NECESSARY, Change, apply, put
from shared.rules.load import load_texts
from shared.rules.match import NO, UNKNOWN, YES, When
from shared.rules.near import nearest_change
from shared.rules.plan import Rule, judged

EVENT = Event(
    id="e1",
    type="RunCompleted",
    time=datetime(2026, 11, 20, 8, 30, tzinfo=UTC),
    source="/s",
    workspace="prod",
    tags={"team": "fraud", "auc": "0.893", "n": 5, "flag": "true"},
    run=Run("run-1", status="Completed", experiment="fraud-train", is_child=False),
    data={"ModelVersion": 13, "runProperties": {"a.b": "x", "n": 1}, "items": [1, 7]},
)
FACTS = Facts(metrics={"auc": 0.893, "loss": 0.5}, job=Job(status="Completed", duration=5400.0))
PARTS = replace(
    EVENT,
    model=Model("fraud", "13"),
    endpoint=Endpoint("online", models=("fraud:13", "churn:4")),
    drift=Drift(coefficient=0.3, features=("amount", "country")),
    blob=Blob("https://x/y", size=10),
)


def rule(match: str, events: str = "RunCompleted") -> Rule:
    text = f"rules:\n  - {{name: r, event: {events}, match: {match}, do: [{{notify: a}}]}}\n"
    loaded = load_texts({"switchyard.yaml": "receivers: {a: {email: a@contoso.com}}", "rules/r.yaml": text})
    assert loaded.problems == ()
    return loaded.rules.rules[0]


def matches(one: Rule, event: Event, facts: Facts) -> bool:
    code = judged(tuple(condition.judge for condition in one.conditions), event, facts)
    return event.type in one.events and code == YES


def told(match: str, event: Event = EVENT, facts: Facts = FACTS):
    """The changes of a rule, by field; they are applied and make the rule match."""
    one = rule(match)
    found = nearest_change(one, event, facts)
    assert found.outcome == "enough"
    assert matches(one, *apply(found.changes, event, facts))
    assert matches(one, *apply(reversed(found.changes), event, facts))
    return {change.field: change.after for change in found.changes}


JUST_ABOVE = math.nextafter(0.9, 1)


@pytest.mark.parametrize(
    ("match", "changes"),
    [
        ("{workspace: dev}", {"workspace": "dev"}),
        ("{workspace: [dev, test]}", {"workspace": "dev"}),
        ("{workspace: prod, tags.team: churn}", {"tags.team": "churn"}),
        ("{workspace: dev, tags.team: churn}", {"workspace": "dev", "tags.team": "churn"}),
        # numbers go to the nearest bound
        ("{metrics.auc: '>= 0.9'}", {"metrics.auc": 0.9}),
        ("{metrics.auc: '> 0.9'}", {"metrics.auc": JUST_ABOVE}),
        ("{metrics.auc: 0.95}", {"metrics.auc": 0.95}),
        ("{metrics.auc: 0.1..0.3}", {"metrics.auc": 0.3}),
        ("{metrics.auc: 0.9..0.95}", {"metrics.auc": 0.9}),
        ("{metrics.auc: ['< 0.5', 0.9..0.95]}", {"metrics.auc": 0.9}),
        ("{metrics.auc: ['< 0.888', 0.9..0.95]}", {"metrics.auc": math.nextafter(0.888, 0)}),
        ("{metrics.auc: '>= 0.9', not: {metrics.auc: 0.9}}", {"metrics.auc": JUST_ABOVE}),
        ("{not: {metrics.auc: 0.8..0.9}}", {"metrics.auc": JUST_ABOVE}),
        ("{tags.auc: '>= 0.9'}", {"tags.auc": "0.9"}),
        ("{tags.n: '> 7'}", {"tags.n": math.nextafter(7, 8)}),
        ("{tags.missing: '>= 3'}", {"tags.missing": "3"}),
        ("{metrics.f1: '>= 0.5'}", {"metrics.f1": 0.5}),
        ("{job.duration: '> 2h'}", {"job.duration": math.nextafter(7200, 9000)}),
        ("{metrics.auc: '> 9999999999999999999999'}", {"metrics.auc": math.nextafter(1e22, math.inf)}),
        # present and absent
        ("{tags.team: absent}", {"tags.team": None}),
        ("{tags.owner: present}", {"tags.owner": "some"}),
        ("{metrics.auc: absent}", {"metrics.auc": None}),
        ("{run.parent: present}", {"run.parent": "some"}),
        # something else
        ("{workspace: '!= prod'}", {"workspace": "some"}),
        ("{tags.n: '!= 5'}", {"tags.n": 6}),
        ("{tags.n: ['> 4'], not: {tags.n: 5}}", {"tags.n": 6}),
        ("{run.status: '!= Completed'}", {"run.status": "NotStarted"}),
        ("{not: {tags.team: fraud}}", {"tags.team": None}),
        # expressions
        ("{run.experiment: '~ ^churn-'}", {"run.experiment": "churn-"}),
        ("{run.experiment: '~ ^(churn|aml)-v[0-9]+$'}", {"run.experiment": "churn-v0"}),
        ("{run.experiment: '~ (?i)WEEKLY'}", {"run.experiment": "WEEKLY"}),
        ("{run.experiment: '~ ^churn', not: {run.experiment: '~ ^churn$'}}", {"run.experiment": "churn-some"}),
        ("{run.experiment: ['~ ^churn-', '~ ^aml-']}", {"run.experiment": "churn-"}),
        ("{time: '~ ^2026-12-0[1-7]T'}", {"time": "2026-12-01T08:30:00Z"}),
        # truth
        ("{run.is_child: true}", {"run.is_child": True}),
        ("{run.is_child: '!= false'}", {"run.is_child": True}),
        ("{tags.flag: false}", {"tags.flag": "false"}),
        # payload, in any case and with dots
        ("{data.modelversion: 14}", {"data.modelversion": 14}),
        ("{data.RunProperties.A.B: y}", {"data.RunProperties.A.B": "y"}),
        ("{data.runProperties.c.d: y}", {"data.runProperties.c.d": "y"}),
        ("{data.runproperties.n: absent}", {"data.runproperties.n": None}),
        ("{data.items: '> 7'}", {"data.items": [1, 7, math.nextafter(7, 8)]}),
        ("{data.modelversion: '> 13', data.MODELVERSION: '<= 14'}", {"data.modelversion": math.nextafter(13, 14)}),
        # blocks
        ("{any: [{workspace: dev, tags.team: x}, {metrics.auc: '>= 0.9'}]}", {"metrics.auc": 0.9}),
        ("{not: {any: [{workspace: prod}, {tags.team: fraud}]}}", {"workspace": "some", "tags.team": None}),
        ("{not: {workspace: prod, metrics.auc: '< 0.9'}}", {"metrics.auc": 0.9}),
        ("{any: [{workspace: dev}, {tags.team: x}]}", {"tags.team": "x"}),  # what names the event stays
        ("{any: [{workspace: prod, tags.b: x}, {tags.team: y}], not: {tags.team: y}}", {"tags.b": "x"}),
        # parts that are not there
        ("{model.version: 14}", {"model.version": "14"}),
        ("{model.name: fraud, model.version: '>= 14'}", {"model.name": "fraud", "model.version": "14"}),
        ("{endpoint.models: '~ ^fraud:'}", {"endpoint.models": ("fraud:",)}),
        ("{drift.coefficient: '> 0.3'}", {"drift.coefficient": math.nextafter(0.3, 1)}),
        ("{blob.size: '> 5'}", {"blob.size": 6}),
    ],
)
def test_the_change_is_the_nearest_that_matches(match, changes):
    assert told(match) == changes


@pytest.mark.parametrize(
    ("match", "changes"),
    [
        ("{endpoint.models: aml:1}", {"endpoint.models": ("fraud:13", "churn:4", "aml:1")}),
        ("{not: {endpoint.models: '~ ^churn:'}}", {"endpoint.models": ("fraud:13",)}),
        ("{endpoint.models: aml:1, not: {endpoint.models: '~ ^churn:'}}", {"endpoint.models": ("fraud:13", "aml:1")}),
        ("{drift.features: absent}", {"drift.features": None}),
        ("{blob.size: '> 10.5'}", {"blob.size": 11}),
        ("{model.name: absent, model.version: absent}", {"model.name": None}),
    ],
)
def test_lists_and_parts_that_are_there(match, changes):
    assert told(match, PARTS) == changes


UNTOLD = replace(EVENT, run=Run("run-1"))


@pytest.mark.parametrize(
    ("match", "facts", "changes"),
    [
        ("{workspace: dev, metrics.auc: '>= 0.9'}", Facts(), {"workspace": "dev", "metrics.auc": 0.9}),
        ("{metrics.auc: absent}", Facts(unknown={"metrics": "HTTP 404"}), {"metrics.auc": None}),
        ("{not: {run.is_child: true}}", Facts(unknown={"job": "HTTP 404"}), {"run.is_child": None}),
        ("{run.is_child: false}", Facts(job=Job(is_child=True, parent="p")), {"run.is_child": False}),
        ("{run.is_child: false}", Facts(unknown={"job": "HTTP 404"}), {"run.is_child": False}),
        ("{run.parent: p, job.status: Failed}", Facts(), {"run.parent": "p", "job.status": "Failed"}),
        ("{job.status: absent, run.is_child: absent, tags.team: x}", Facts(), {"tags.team": "x", "job.status": None}),
    ],
)
def test_what_nobody_knows_is_a_change_to_what_was_looked_up(match, facts, changes):
    assert told(match, UNTOLD, facts) == changes


BARE = Event("e", "RunCompleted", EVENT.time, "/s")


@pytest.mark.parametrize(
    ("match", "facts", "changes"),
    [
        ("{run.id: present, not: {run.is_child: true}}", Facts(), {"run.is_child": False}),
        (
            "{run.parent: absent, not: {run.is_child: absent}}",
            Facts(job=Job(is_child=True, parent="p")),
            {"run.parent": None, "run.is_child": False},
        ),
        ("{metrics.auc: '>= 0.9'}", Facts(), {"metrics.auc": 0.9}),
        ("{run.id: present, metrics.auc: absent}", Facts(), {"run.id": "some", "metrics.auc": None}),
        ("{endpoint.name: present, endpoint.models: absent}", Facts(), {"endpoint.name": "some"}),
    ],
)
def test_an_event_without_a_run_is_given_one_where_the_rule_asks(match, facts, changes):
    assert told(match, BARE, facts) == changes


def test_where_the_payload_speaks_of_the_family_it_goes_before_the_job():
    event = replace(EVENT, run=Run("r", is_child=True, parent="p"))
    facts = Facts(job=Job(is_child=False))
    assert told("{run.is_child: false}", event, facts) == {"run.is_child": False}
    assert told("{run.is_child: absent, run.parent: p}", event, facts) == {"run.is_child": None}


@pytest.mark.parametrize(
    "match",
    [
        "{workspace: dev, not: {workspace: dev}}",
        "{not: {tags.team: fraud}, tags.team: fraud}",
        "{metrics.auc: '> 0.9', not: {metrics.auc: present}}",
        "{metrics.auc: ['>= 0.9'], any: [{metrics.auc: '< 0.9'}, {metrics.auc: absent}]}",
        "{model.name: absent, model.version: '13'}",
        "{run.id: absent, run.experiment: x}",
        "{time: absent}",
        "{type: ModelDeployed}",
        "{workspace: dev, not: {workspace: '~ .'}}",
    ],
)
def test_a_rule_that_contradicts_itself_says_that_no_change_helps(match):
    assert nearest_change(rule(match), EVENT, FACTS).outcome == "impossible"


@pytest.mark.parametrize(
    "match",
    [
        r"{run.experiment: '~ \pN{3}'}",
        "{run.experiment: ['~ ^[^a-zA-Z0-9 ._é-]$']}",
        "{tags.team: '~ ^a.b', any: [{tags.team: '~ c.d$'}]}",
    ],
)
def test_an_expression_too_hard_to_make_a_text_for_is_described(match):
    found = nearest_change(rule(match), EVENT, FACTS)
    if found.outcome == "enough":
        assert matches(rule(match), *apply(found.changes, EVENT, FACTS))
        return
    assert found.outcome == "no example"
    assert [(one.kind, one.after) for one in found.changes] == [("text", None)]
    assert "~" in found.changes[0].asks
    with pytest.raises(AssertionError, match="no example"):
        apply(found.changes, EVENT, FACTS)


def test_a_change_tells_how_far_it_is():
    changes = nearest_change(
        rule("{metrics.auc: '> 0.9', tags.team: '!= fraud', model.name: present}"), EVENT, FACTS
    ).changes
    assert changes == (
        Change("metrics.auc", "above", 0.893, JUST_ABOVE, by=0.007, limit=0.9),
        Change("tags.team", "like", "fraud", "some", asks="!= fraud"),
        Change("model.name", "any", None, "some"),
    )
    (unknown,) = nearest_change(rule("{metrics.auc: 1}"), UNTOLD, Facts(unknown={"metrics": "HTTP 404"})).changes
    assert unknown == Change("metrics.auc", "value", None, 1, unknown="HTTP 404")


def with_when(match, judge):
    one = rule(match)
    when = When("w", 1, 1, judge, lambda event, facts: Checked("when", "w", held=judge(event, facts) == YES), one.file)
    return Rule(one.name, one.file, 1, 1, one.events, (*one.conditions, when), one.steps)


def test_a_condition_that_cannot_be_looked_into_makes_a_change_necessary_not_enough():
    found = nearest_change(with_when("{workspace: dev}", lambda *_: UNKNOWN), EVENT, FACTS)
    assert (found.outcome, [one.after for one in found.changes]) == ("necessary", ["dev"])
    found = nearest_change(with_when("{workspace: prod}", lambda *_: NO), EVENT, FACTS)
    assert (found.outcome, found.changes) == ("necessary", ())
    found = nearest_change(with_when("{workspace: dev}", lambda *_: YES), EVENT, FACTS)
    assert found.outcome == "enough"


def test_of_changes_of_one_size_one_that_a_condition_without_insight_allows_goes_first():
    one = with_when(
        "{any: [{tags.team: a}, {tags.team: b}]}", lambda event, _: YES if event.tags["team"] == "b" else NO
    )
    found = nearest_change(one, EVENT, FACTS)
    assert (found.outcome, found.changes[0].after) == ("enough", "b")


def test_a_rule_with_very_many_ways_is_given_up_in_time():
    blocks = ", ".join(
        f"{{any: [{{tags.a{n}: x}}, {{tags.b{n}: x}}, {{tags.c{n}: x, tags.d{n}: y}}]}}" for n in range(16)
    )
    nested = "{tags.z: q, not: {any: [" + ", ".join(f"{{not: {one}}}" for one in blocks.split(", {any")[:1]) + "]}}"
    assert nearest_change(rule(nested), EVENT, FACTS).outcome == "enough"
    many = "{not: {any: [" + ", ".join(f"{{tags.a{n}: absent, tags.b{n}: absent}}" for n in range(20)) + "]}}"
    assert nearest_change(rule(many), EVENT, FACTS).outcome == "too many ways"


# --- against all changes there are ---

VALUES: dict[str, tuple[object, ...]] = {
    "workspace": (None, "dev", "prod", "q"),
    "tags.a": (None, "x", "y", "5", "6", 5, "true"),
    "data.k": (None, "x", 5, 6.5, [5, "x"]),
    "metrics.m": (None, 0.5, 0.9, JUST_ABOVE, 1.0, 2.0),
    "metrics.l": (None, 0.5),
    "run.id": (None, "r", "q"),
    "run.is_child": (None, True, False),
    "run.parent": (None, "p", "q"),
    "job.status": (None, "Failed", "Completed"),
    "model.name": (None, "m", "q"),
    "model.version": (None, "1", "2", "3"),
    "endpoint.models": (None, ("a",), ("b",), ("a", "b"), ("q",)),
}
TESTS = {
    "workspace": ("prod", "[dev, prod]", "'!= prod'", "absent", "'~ ^d'"),
    "tags.a": ("x", "[y, absent]", "'!= x'", "'> 5'", "5", "'5'", "true", "present", "'~ x'"),
    "data.k": ("x", "5", "'> 5'", "absent", "'!= 5'"),
    "metrics.m": ("'> 0.9'", "'>= 0.9'", "0.5..1", "absent", "'!= 1'", "['< 0.6', '= 2']"),
    "metrics.l": ("absent", "0.5", "'< 1'"),
    "run.id": ("present", "absent", "r"),
    "run.is_child": ("true", "false", "absent", "'!= true'"),
    "run.parent": ("present", "p", "absent"),
    "job.status": ("Failed", "absent", "'!= Failed'"),
    "model.name": ("m", "absent", "'!= m'"),
    "model.version": ("'1'", "'>= 2'", "absent"),
    "endpoint.models": ("a", "absent", "'!= a'", "'~ b'"),
}
LINES = st.sampled_from([f"{field}: {test}" for field, tests in TESTS.items() for test in tests])


def block(lines: list[str]) -> str:
    """A mapping has each key once."""
    return "{" + ", ".join({line.partition(":")[0]: line for line in lines}.values()) + "}"


BLOCKS = st.recursive(
    st.lists(LINES, min_size=1, max_size=3).map(block),
    lambda inner: st.one_of(
        st.tuples(st.lists(LINES, max_size=2), inner).map(lambda pair: block([*pair[0], f"not: {pair[1]}"])),
        st.tuples(st.lists(LINES, max_size=2), st.lists(inner, min_size=1, max_size=2)).map(
            lambda pair: block([*pair[0], f"any: [{', '.join(pair[1])}]"])
        ),
        st.tuples(inner, st.lists(inner, min_size=1, max_size=2)).map(
            lambda pair: block([f"not: {pair[0]}", f"any: [{', '.join(pair[1])}]"])
        ),
    ),
    max_leaves=4,
)
RUNS = st.none() | st.builds(
    Run, st.just("r"), is_child=st.sampled_from([None, True, False]), parent=st.sampled_from([None, "p"])
)
EVENTS = st.builds(
    Event,
    st.just("e"),
    st.sampled_from(["RunCompleted", "ModelRegistered"]),
    st.just(EVENT.time),
    st.just("/s"),
    workspace=st.sampled_from([None, "prod"]),
    tags=st.sampled_from([{}, {"a": "x"}, {"a": 5}, {"a": "5"}]),
    run=RUNS,
    model=st.sampled_from([None, Model("m", "1")]),
    endpoint=st.sampled_from([None, Endpoint("e"), Endpoint("e", models=("a", "b"))]),
    data=st.sampled_from([{}, {"K": 5}, {"k": [5, 7]}]),
)
KNOWN = st.builds(
    Facts,
    st.sampled_from([None, {}, {"m": 0.893}, {"m": 1.0, "l": 2.0}]),
    st.sampled_from([None, Job(), Job(status="Failed", is_child=True, parent="p")]),
).map(lambda facts: replace(facts, unknown={"metrics": "404"}) if facts.metrics is None and facts.job else facts)


def changed(pairs, event, facts):
    """As `put` does it one by one, in any order; None where the order matters or a part is both made and unmade."""
    found = None
    for row in (pairs, pairs[::-1]):
        row = sorted(row, key=lambda pair: (pair[0] not in NECESSARY, pair[1] is None))  # noqa: PLW2901
        after = (event, facts)
        for field, value in row:
            after = put(field, value, *after)
        if found is not None and found != after:
            return None
        found = after
    return found


def smaller(one: Rule, fields: list[str], size: int, event: Event, facts: Facts):
    """A change of less than so many fields that makes the rule match, if there is one."""
    for n in range(size):
        for names in combinations(fields, n):
            for row in product(*(VALUES[name] for name in names)):
                pairs = tuple(zip(names, row, strict=True))
                after = changed(pairs, event, facts)
                if after and matches(one, *after):
                    return pairs
    return None


@settings(max_examples=300, deadline=None)
@given(BLOCKS, EVENTS, KNOWN)
def test_applied_it_matches_and_no_smaller_change_does(match, event, facts):
    one = rule(match, "[RunCompleted, ModelRegistered]")
    assume(not matches(one, event, facts))
    fields = [name for name in VALUES if name in match]
    found = nearest_change(one, event, facts)
    if found.outcome == "no example":  # a text that is a number too and fits an expression
        assert any(one.kind == "text" for one in found.changes)
        assert smaller(one, fields, min(len(found.changes), 4), event, facts) is None
        return
    if found.outcome == "impossible":
        assert smaller(one, fields, min(3, len(fields)) + 1, event, facts) is None
        return
    assert matches(one, *apply(found.changes, event, facts))
    assert smaller(one, fields, min(len(found.changes), 4), event, facts) is None


NUMBERS = st.integers(-5, 5) | st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 2))
ORDERED = st.one_of(
    st.tuples(st.sampled_from([">", ">=", "<", "<="]), NUMBERS).map(lambda pair: f"{pair[0]} {pair[1]}"),
    st.lists(NUMBERS, min_size=2, max_size=2).map(sorted).map(lambda ends: f"{ends[0]}..{ends[1]}"),
)
COMPARED = ORDERED | NUMBERS.map(lambda value: f"= {value}")


@settings(max_examples=150, deadline=None)
@given(st.lists(COMPARED, min_size=1, max_size=3), ORDERED, NUMBERS)
@example(["> 0.9"], "0.1..0.2", 0.9)
@example(["> 3", "-2..0"], "-1..0", 1)
def test_no_number_that_matches_is_nearer(wanted, unwanted, value):
    tests = ", ".join(f"'{one}'" for one in wanted)
    one = rule(f"{{metrics.m: [{tests}], not: {{metrics.m: '{unwanted}'}}}}")
    facts = Facts(metrics={"m": value})
    assume(not matches(one, EVENT, facts))
    found = nearest_change(one, EVENT, facts)
    marks = {float(part) for text in [*wanted, unwanted] for part in text.strip("<>= ").split("..")}
    near = {step for mark in marks for step in (mark, math.nextafter(mark, 9), math.nextafter(mark, -9))}
    fitting = [mark for mark in near if matches(one, EVENT, Facts(metrics={"m": mark}))]
    if not fitting:
        assert found.outcome == "impossible"
        return
    (change,) = found.changes
    nearest = min(abs(mark - value) for mark in fitting)
    assert math.isclose(abs(change.after - value), nearest, rel_tol=0, abs_tol=1e-14)


SIGNS = [
    *"ab-0.^$|()[]?*+",
    "(?i)",
    "(?:",
    "[^a]",
    "[a-z]",
    "\\d",
    "\\w",
    "\\.",
    "\\b",
    "{2}",
    "{0,3}",
    "[[:digit:]]",
    "(?P<n>",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SIGNS), min_size=1, max_size=8).map("".join))
def test_any_expression_gets_a_text_that_fits_or_a_description(pattern):
    text = pattern.replace("'", "''")
    loaded = load_texts(
        {
            "switchyard.yaml": "receivers: {a: {email: a@contoso.com}}",
            "rules/r.yaml": f"rules: [{{name: r, event: RunCompleted, match: {{tags.team: '~ {text}'}}, do: [{{notify: a}}]}}]",
        }
    )
    assume(not loaded.problems)
    one = loaded.rules.rules[0]
    event = EVENT
    assume(not matches(one, event, FACTS))
    found = nearest_change(one, event, FACTS)
    assert found.outcome in {"enough", "no example"}
    if found.outcome == "enough":
        assert matches(one, *apply(found.changes, event, FACTS))
