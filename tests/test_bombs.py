"""What is small to write and would be large to work on: in rule files, and in the events that they are held against."""

import pytest

from shared.bounds import DEFAULTS
from shared.events import parse
from shared.record import Facts
from shared.rules.load import load_texts
from shared.rules.plan import plan
from shared.rules.tree import read
from tests.station import run_event


def rule(**match: str) -> str:
    lines = "".join(f"      {name}: {value}\n" for name, value in match.items())
    return f"rules:\n  - name: bomb\n    event: RunCompleted\n    match:\n{lines}    do: [{{email: {{to: [a@example.com]}}}}]\n"


def loaded(text: str):
    return load_texts({"switchyard.yaml": "limits: {attempts: 3}", "rules/bomb.yaml": text})


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*)*x", "(x+x+)+y"],
)
def test_a_pattern_that_others_take_years_for_is_decided_at_once(pattern: str):
    """RE2 knows no backtracking: this would never end otherwise."""
    found = loaded(rule(**{"tags.team": f"'~ {pattern}'"}))
    assert not found.problems
    event = parse(run_event("e1", runTags={"team": "a" * 50_000 + "!"}))
    decided = plan(found.rules, event, Facts())
    assert (decided.considered, [one.outcome for one in decided.verdicts]) == (1, [])


@pytest.mark.parametrize("pattern", ["((a{1000}){1000}){1000}", "(((x{30}){30}){30}){30}", "a{100000}"])
def test_a_pattern_that_would_be_a_large_program_is_refused_at_its_place(pattern: str):
    [problem] = loaded(rule(**{"tags.team": f"'~ {pattern}'"})).problems
    assert str(problem).startswith("rules/bomb.yaml:5:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)),
            "once the aliases",
        ),
        ("[" * 10_000, "nested deeper"),
        ("a: " * 1, ""),
        ("a: &a [*a]", "unknown anchor"),
        ("x" * (DEFAULTS.file_characters + 1), "is the limit"),
        ("a: !!python/object/apply:os.system [id]", "tags are not used"),
        ("<<: {a: 1}", "merge keys"),
    ],
)
def test_a_page_of_anchors_or_brackets_is_refused_before_it_grows(text: str, words: str):
    node, problems = read("rules/bomb.yaml", text)
    if words:
        assert node is None or problems
        assert words in str(problems[-1])


def test_five_hundred_rules_are_loaded_and_decided():
    text = "rules:\n" + "".join(
        f"  - {{name: r{n}, event: RunCompleted, match: {{tags.team: t{n}}}, do: [{{email: {{to: [a@example.com]}}}}]}}\n"
        for n in range(500)
    )
    found = loaded(text)
    assert not found.problems
    decided = plan(found.rules, parse(run_event("e1", runTags={"team": "t7"})), Facts())
    assert [one.rule for one in decided.verdicts if one.outcome == "matched"] == ["r7"]
