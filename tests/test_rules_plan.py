"""Planning: which rules fire, in which order, with which keys."""

import json
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events import Event, Model, Run
from shared.record import Facts, Job
from shared.rules import match as matching
from shared.rules.load import load_texts
from shared.rules.match import NO, UNKNOWN, YES
from shared.rules.paths import Path, find
from shared.rules.plan import Rule, Rules, Step, plan

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MAIN = "receivers: {a: {email: a@contoso.com, sms: '+818012345678'}}"


def event(**changes: object) -> Event:
    values = {"id": "e1", "type": "RunCompleted", "time": NOW, "source": "/s", "workspace": "prod"}
    return Event(**(values | changes))  # type: ignore[arg-type]


def rule(name: str, match: dict[str, object] | None = None, **more: object) -> dict[str, object]:
    asked = {"match": match} if match else {}
    return {"name": name, "event": "RunCompleted", "do": [{"notify": "a"}], **asked, **more}


def rules(*written: dict[str, object]) -> Rules:
    loaded = load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": json.dumps({"rules": written})})
    assert loaded.problems == ()
    return loaded.rules


def told(decision) -> list[tuple[str, str]]:
    return [(verdict.rule, verdict.outcome) for verdict in decision.verdicts]


def test_every_rule_that_matches_fires_in_the_order_of_files_and_lists():
    files = {
        "rules/b.yaml": json.dumps({"rules": [rule("third"), rule("fourth", {"workspace": "prod"})]}),
        "rules/a.yaml": json.dumps({"rules": [rule("first", {"workspace": "prod"}), rule("second")]}),
    }
    decision = plan(load_texts({"switchyard.yaml": MAIN, **files}).rules, event())
    assert told(decision) == [(name, "matched") for name in ("first", "second", "third", "fourth")]
    assert decision.considered == 4


def test_keys_are_the_same_for_every_delivery_and_fit_a_job_name():
    in_force = rules(rule("good-run"), rule("x" * 60))
    first, again = plan(in_force, event()), plan(in_force, event(data={"delivered": "again"}))
    keys = [intent.key for intent in first.intents]
    assert keys == [intent.key for intent in again.intents]
    assert keys[:2] == [f"{event().record}-good-run-1", f"{event().record}-good-run-2"]
    assert all(len(key) <= 255 and key.replace("-", "").isalnum() for key in keys)
    assert first.verdicts[0].intents == tuple(keys[:2])


def test_a_rule_that_does_not_match_leaves_no_verdict():
    assert told(plan(rules(rule("a", {"workspace": "dev"}), rule("b", event="ModelDeployed")), event())) == []


def test_stop_ends_it_and_says_who_did():
    in_force = rules(rule("a", {"workspace": "prod"}, stop=True), rule("b"), rule("c", {"workspace": "dev"}))
    decision = plan(in_force, event())
    assert told(decision) == [("a", "matched"), ("b", "stopped")]
    assert decision.verdicts[1].by == "a"
    assert {intent.rule for intent in decision.intents} == {"a"}


def test_a_disabled_rule_is_not_in_force():
    assert told(plan(rules(rule("a", enabled=False), rule("b")), event())) == [("b", "matched")]


def test_a_rule_that_needs_a_lookup_waits_and_names_it():
    in_force = rules(
        rule("a", {"metrics.auc": ">= 0.9"}), rule("b", {"run.is_child": False}), rule("c", {"workspace": "prod"})
    )
    decision = plan(in_force, event(run=Run("r")))
    assert told(decision) == [("a", "undecided"), ("b", "undecided"), ("c", "matched")]
    assert decision.needs == ("metrics", "job")
    facts = Facts(metrics={"auc": 0.95}, job=Job(is_child=True))
    after = plan(in_force, event(run=Run("r")), facts, only=frozenset({"a", "b"}))
    assert told(after) == [("a", "matched")]
    assert after.needs == ()


def test_rules_behind_an_undecided_stop_wait_with_it():
    in_force = rules(rule("first"), rule("a", {"metrics.auc": ">= 0.9"}, stop=True), rule("b"))
    decision = plan(in_force, event(run=Run("r")))
    assert told(decision) == [("first", "matched"), ("a", "undecided"), ("b", "undecided")]
    assert (decision.needs, decision.verdicts[2].by) == (("metrics",), "a")
    waiting = frozenset({"a", "b"})
    good, bad = (
        told(plan(in_force, event(run=Run("r")), Facts(metrics={"auc": auc}), only=waiting)) for auc in (0.95, 0.5)
    )
    assert good == [("a", "matched"), ("b", "stopped")]
    assert bad == [("b", "matched")]


def test_a_condition_that_fails_already_saves_the_lookup():
    assert plan(rules(rule("a", {"metrics.auc": "> 0", "workspace": "dev"})), event(run=Run("r"))).needs == ()


def test_verdicts_say_what_was_expected_and_what_was_there():
    in_force = rules(rule("a", {"workspace": ["dev", "prod"], "tags.auc": ">= 0.9", "tags.x": "absent"}))
    checked = plan(in_force, event(tags={"auc": "0.93"})).verdicts[0].checked
    assert [(line.path, line.expected, line.actual, line.present, line.held) for line in checked] == [
        ("workspace", "= dev or = prod", "prod", True, True),
        ("tags.auc", ">= 0.9", "0.93", True, True),
        ("tags.x", "absent", None, False, True),
    ]


def test_an_event_of_any_other_type_is_matched_by_its_full_name():
    in_force = rules(rule("a", event="Contoso.Orders.Placed"))
    assert told(plan(in_force, event(type="Contoso.Orders.Placed"))) == [("a", "matched")]


def test_the_index_finds_few_candidates_among_many_rules():
    written = [rule(f"r-{n}", {"workspace": "prod", "tags.team": [f"t{n // 10}", "x"]}) for n in range(300)]
    in_force = rules(*written)
    assert len(in_force.candidates(event(tags={"team": "t7"}))) == 10
    assert in_force.candidates(event(tags={"team": ["t7"]})) == []
    assert in_force.candidates(event(workspace=None, tags={"team": "t7"})) == []


def test_no_more_rules_are_judged_among_many_than_among_few():
    """However fast the machine: of rules that name a type and a workspace, a tag, or both."""
    named = ({"workspace": "w{n}"}, {"tags.team": "t{n}"}, {"workspace": "w{n}", "tags.team": "t{n}"})
    seen = []
    for count in (100, 10_000):
        in_force = Rules(
            Rule(
                f"r-{n}",
                "a.yaml",
                n,
                1,
                ("RunCompleted",),
                tuple(
                    matching.line(path, matching.test_of(value.format(n=n // 3), path), (n, 1), "a.yaml")
                    for name, value in [*named[n % 3].items(), ("metrics.auc", "> 0.5")]
                    if isinstance(path := find(name), Path)
                ),
                (Step("email", {}),),
            )
            for n in range(count)
        )
        seen.append(len(in_force.candidates(event(workspace="w7", tags={"team": "t7"}))))
        assert len(plan(in_force, event(workspace="w7", tags={"team": "t7"}), Facts(metrics={"auc": 1})).verdicts) == 3
    assert seen == [3, 3]


TEXTS = st.sampled_from(["x", "y", "prod", "0.9"])
LINES = st.dictionaries(
    st.sampled_from(
        ["workspace", "tags.team", "tags.n", "model.name", "run.experiment", "metrics.auc", "run.is_child"]
    ),
    st.one_of(
        TEXTS,
        st.lists(TEXTS, min_size=1, max_size=3),
        st.sampled_from(["!= x", "absent", "present", "~ ^[xp]", "> 0.5", "0.1..0.95"]),
    ),
    max_size=3,
).map(lambda lines: {path: fit(path, value) for path, value in lines.items()})


def fit(path: str, value: object) -> object:
    """A value that the field can have."""
    if path == "metrics.auc":
        return value if value in ["absent", "present", "> 0.5", "0.1..0.95"] else 0.9
    return value == "x" if path == "run.is_child" else value


BLOCKS = st.one_of(
    LINES,
    st.builds(lambda lines, inner: lines | {"not": inner}, LINES, LINES.filter(bool)),
    st.builds(lambda lines, inner: lines | {"any": inner}, LINES, st.lists(LINES.filter(bool), min_size=1, max_size=2)),
)
RULES = st.lists(
    st.tuples(
        BLOCKS, st.sampled_from([["RunCompleted"], ["ModelDeployed"], ["RunCompleted", "ModelDeployed"]]), st.booleans()
    ),
    min_size=1,
    max_size=8,
)
TAGS = st.dictionaries(st.sampled_from(["team", "n"]), st.one_of(TEXTS, st.integers(0, 1), st.lists(TEXTS, max_size=1)))
EVENTS = st.builds(
    lambda kind, workspace, tags, model, run: event(type=kind, workspace=workspace, tags=tags, model=model, run=run),
    st.sampled_from(["RunCompleted", "ModelDeployed", "Other.Type"]),
    st.sampled_from([None, "prod", "x"]),
    TAGS,
    st.sampled_from([None, Model("x", "1")]),
    st.sampled_from([None, Run("r"), Run("r", experiment="x", is_child=False)]),
)
FACTS = st.sampled_from(
    [
        Facts(),
        Facts(metrics={"auc": 0.9}, job=Job()),
        Facts(metrics={}, job=Job(is_child=True)),
        Facts(unknown={"metrics": "404", "job": "404"}),
        Facts(metrics={"auc": 0.2}, unknown={"job": "404"}),
    ]
)


def naive(in_force: Rules, happened: Event, facts: Facts) -> list[tuple[str, str]]:
    """Every rule, every line, one after the other."""
    found: list[tuple[str, str]] = []
    stopped = waiting = False
    for one in in_force.rules:
        codes = [condition.judge(happened, facts) for condition in one.conditions]
        if happened.type not in one.events or any(code in {NO, UNKNOWN} for code in codes):
            continue
        sure = all(code == YES for code in codes)
        outcome = "stopped" if stopped else "undecided" if waiting or not sure else "matched"
        found.append((one.name, outcome))
        stopped = stopped or (outcome == "matched" and one.stop)
        waiting = waiting or (outcome == "undecided" and one.stop)
    return found


@settings(max_examples=100)
@given(RULES, EVENTS, FACTS)
def test_the_index_finds_what_a_walk_over_all_rules_finds(written, happened, facts):
    entries = [rule(f"r{n}", match, event=kinds, stop=stop) for n, (match, kinds, stop) in enumerate(written)]
    # A file for each, since a rule that is never reached is refused where one file shows it.
    files = {f"rules/{one['name']}.yaml": json.dumps({"rules": [one]}) for one in entries}
    loaded = load_texts({"switchyard.yaml": MAIN, **files})
    assert loaded.problems == ()
    decision = plan(loaded.rules, happened, facts)
    assert told(decision) == naive(loaded.rules, happened, facts)
    assert plan(loaded.rules, happened, facts) == decision
    fired = {verdict.rule for verdict in decision.verdicts if verdict.outcome == "matched"}
    assert {intent.rule for intent in decision.intents} == fired


@settings(max_examples=40)
@given(RULES, EVENTS)
def test_an_unreachable_rule_never_fires(written, happened):
    entries = [rule(f"r{n}", match, event=kinds, stop=stop) for n, (match, kinds, stop) in enumerate(written)]
    texts = [json.dumps({"rules": entries}), json.dumps({"rules": [one | {"stop": False} for one in entries]})]
    checked, free = (load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": text}) for text in texts)
    shadowed = {problem.message.split("'")[1] for problem in checked.problems}
    facts = Facts(metrics={"auc": 0.9}, job=Job(is_child=False))
    stops = {f"r{n}" for n, (_, _, stop) in enumerate(written) if stop}
    before: set[str] = set()
    for verdict in plan(free.rules, happened, facts).verdicts:
        assert verdict.rule not in shadowed or before & stops
        before.add(verdict.rule)
