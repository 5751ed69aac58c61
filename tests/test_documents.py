"""The documents say what is so: links lead somewhere, examples load, and what can be listed is listed."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from ruamel.yaml import YAML

from shared.cli import main
from shared.events import Event, Run
from shared.record import Facts
from shared.rehearsal.story import read_stories
from shared.rehearsal.trial import as_text, try_all
from shared.rollout.policy import Policy
from shared.rollout.record import Status
from shared.rules.audit import audit
from shared.rules.explain import as_text as explained
from shared.rules.explain import explain
from shared.rules.filters import filters
from shared.rules.load import load_texts
from shared.rules.plan import plan
from shared.settings import read_folder

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("infra/**/*.md"), *ROOT.glob("samples/**/*.md")]
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
EXAMPLE = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
FUNCTION = re.compile(r'function_name\("(\w+)"\)')


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(document):
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", ["README.md", "README.ja.md", "docs/rollouts.md"])
def test_the_policy_that_is_shown_is_the_one_that_is_shipped(document):
    examples = [YAML(typ="safe").load(found) for found in EXAMPLE.findall(text(document))]
    (shown,) = [one for one in examples if one.get("name") == "fraud-online"]
    shipped = YAML(typ="safe").load(text("config/rollouts/fraud-online.yaml"))
    assert {key: shipped.get(key) for key in shown} == shown


def test_every_status_and_every_key_of_a_policy_is_explained():
    told = text("docs/rollouts.md")
    names = [*get_args(Status.__value__), *Policy.__struct_fields__]
    assert [name for name in names if f"`{name}`" not in told] == []


WATCHES = [found for found in EXAMPLE.findall(text("docs/quality.md")) if "predictions:" in found]


def test_the_watch_that_is_shown_is_the_one_that_is_shipped():
    assert YAML(typ="safe").load(WATCHES[0]) == YAML(typ="safe").load(text("config/quality/fraud.yaml"))


def test_every_watch_that_is_shown_loads():
    names = [str(YAML(typ="safe").load(shown)["name"]) for shown in WATCHES]
    files = {f"quality/{name}.yaml": shown for name, shown in zip(names, WATCHES, strict=True)}
    loaded = load_texts({"switchyard.yaml": text("config/switchyard.yaml")} | files)
    assert [str(one) for one in loaded.problems] == []
    assert list(loaded.quality) == sorted(names)


def test_every_key_of_a_watch_is_explained_and_check_says_what_is_printed(capsys):
    told, schema = text("docs/quality.md"), json.loads(text("config/schema/quality.schema.json"))
    models = [schema, *schema["$defs"].values()]
    keys = {key for model in models for key in model.get("properties", {})}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", told)] == []
    assert main(["check", str(ROOT / "config")]) == 0
    meant = [line for line in told.splitlines() if line.startswith(("fraud: a model", "  one that keeps"))]
    assert len(meant) == 2
    assert "\n".join(meant) in capsys.readouterr().out


def test_every_function_is_looked_for_on_azure():
    functions = {name for file in ROOT.glob("functions/*.py") for name in FUNCTION.findall(file.read_text())}
    told = text("docs/real-azure.md")
    assert len(functions) > 10
    assert [name for name in sorted(functions) if f"`{name}`" not in told] == []


ROW = re.compile(r"^\| (\d+) \|(?:.*\|)? ([\d, ]*) \|$")


def test_the_hour_is_an_hour_and_every_row_that_is_referred_to_is_there():
    head, _, rest = text("docs/real-azure.md").partition("\n## Taking in")
    hour = [found.groups() for line in head.splitlines() if (found := ROW.match(line))]
    rows = re.findall(r"^\| (\d+) \|", rest, re.MULTILINE)
    assert len(rows) == len(set(rows)) > 80
    assert 50 <= sum(int(minutes) for minutes, _ in hour) <= 60
    named = {row for _, asked in hour for row in re.findall(r"\d+", asked)}
    for document in DOCUMENTS:
        named |= set(re.findall(r"real-azure\.md\), row (\d+)", document.read_text(encoding="utf-8")))
        named |= set(re.findall(r"real-azure\.md\) の (\d+)", document.read_text(encoding="utf-8")))
    named |= set(re.findall(r"\brows? (\d+)", text("docs/real-azure.md")))
    assert len(hour) > 15
    assert sorted(named - set(rows)) == []


def test_the_hour_counts_the_functions():
    functions = [name for file in ROOT.glob("functions/*.py") for name in FUNCTION.findall(file.read_text())]
    assert f"wc -l` | `{len(functions)}`, by the names of row 1" in text("docs/real-azure.md")


def test_the_rules_of_the_document_are_one_configuration_whose_tests_pass_and_cover_it():
    """Its examples say in their first line in which file they stand."""
    document = text("docs/rules.md")
    blocks = re.findall(r"```yaml\n# config/(\S+)\n(.*?)```", document, re.DOTALL)
    files = dict(blocks)
    assert len(files) == len(blocks) > 15
    loaded = load_texts({name: inner for name, inner in files.items() if not name.startswith("tests/")})
    assert [str(one) for one in loaded.problems] == []
    stories, wrong = read_stories(files, loaded)
    assert [str(one) for one in wrong] == []
    trials, covered = try_all(stories, loaded)
    assert all(trial.passed for trial in trials), as_text(trials)
    assert covered.missing == ()


@pytest.mark.parametrize("document", ["README.md", "README.ja.md"])
def test_the_rules_that_are_shown_are_shipped(document):
    shipped = {
        rule["name"]: rule
        for path in (ROOT / "config" / "rules").glob("*.yaml")
        for rule in YAML(typ="safe").load(path.read_text(encoding="utf-8"))["rules"]
    }
    shown = [YAML(typ="safe").load(found) for found in EXAMPLE.findall(text(document))]
    rules = [rule for one in shown for rule in one.get("rules", []) if "throttle" in rule or "expect" in rule]
    assert len(rules) == 2
    assert [rule for rule in rules if shipped[rule["name"]] != rule] == []


def documented():
    """The configuration of docs/rules.md, without its tests."""
    blocks = re.findall(r"```yaml\n# config/(\S+)\n(.*?)```", text("docs/rules.md"), re.DOTALL)
    return {name: f"\n{inner}" for name, inner in blocks if not name.startswith("tests/")}


def printed(command):
    """What the document shows as the answer to this command."""
    found = re.search(rf"```console\n\$ {re.escape(command)}[^\n]*\n(.*?)```", text("docs/rules.md"), re.DOTALL)
    assert found
    return found[1]


def test_what_explain_prints_in_the_document_is_what_it_prints():
    happened = Event(
        "e", "RunCompleted", datetime(2026, 11, 24, tzinfo=UTC), "/s", tags={"team": "great"}, run=Run("r")
    )
    told = explain(load_texts(documented()).rules, happened, Facts({"auc": 0.893}))
    said = explained([one for one in told if one.rule == "fraud-run-great"])
    assert said == printed("switchyard explain run-completed.json")


def test_what_explain_says_of_a_time_in_the_document_is_what_it_says():
    loaded = load_texts(documented())
    at = datetime.fromisoformat("2026-11-24T17:55:00+09:00")
    happened = Event("e", "ModelRegistered", at, "/s", tags={"team": "hours"})
    told = explain(loaded.rules, happened, hours=loaded.config.hours)
    said = explained([one for one in told if one.rule == "model-registered"])
    assert said == printed("switchyard explain model-registered.json")


def following(heading):
    """The first example behind a heading that stands in no file."""
    section = text("docs/rules.md").partition(f"\n## {heading}\n")[2]
    return next(one for one in EXAMPLE.findall(section) if not one.startswith("#"))


def test_what_check_warns_of_in_the_document_is_what_it_warns_of():
    example = following("What check finds beside mistakes")
    loaded = load_texts(documented() | {"rules/fraud.yaml": example})
    assert loaded.problems == ()
    (found,) = [one for one in audit(loaded) if one.code == "loop" and not one.note]
    said = f"config/{found.file}:{found.line}:{found.column}: warning: {found.message}"
    assert said == " ".join(printed("switchyard check").split())


def test_the_filters_of_the_document_are_those_of_its_rule():
    main = {name: inner for name, inner in documented().items() if name == "switchyard.yaml"}
    loaded = load_texts(main | {"rules/fraud.yaml": following("Event Grid filters")})
    assert loaded.problems == ()
    (topic,) = filters(loaded.rules, loaded.config.workspaces.values()).topics
    (one,) = topic.subscriptions
    said = text("docs/rules.md").partition("\n## Event Grid filters\n")[2]
    clauses = [f"{clause.key} {clause.operator} {' '.join(clause.values)}" for clause in one.clauses]
    assert len(clauses) == 3
    assert [clause for clause in clauses if f"`{clause}`" not in said] == []


def test_the_rule_of_the_first_card_fits_the_shipped_configuration():
    ((name, rule),) = re.findall(r"```yaml\n# config/(\S+)\n(.*?)```", text("docs/azure.md"), re.DOTALL)
    loaded = load_texts(read_folder(ROOT / "config") | {name: rule})
    assert [str(one) for one in loaded.problems] == []
    event = Event("e", "RunCompleted", datetime(2026, 11, 24, tzinfo=UTC), "/s", tags={"first": "yes"}, run=Run("r"))
    matched = [verdict.rule for verdict in plan(loaded.rules, event).verdicts if verdict.outcome == "matched"]
    assert "first-card" in matched


def test_the_broken_file_of_the_document_stays_as_it_was():
    broken = following("An edit in force")
    worked = broken.replace("RunComplete ", "RunCompleted ")
    main = {name: inner for name, inner in documented().items() if name == "switchyard.yaml"}
    before = load_texts(main | {"rules/fraud.yaml": worked})
    after = load_texts(main | {"rules/fraud.yaml": broken}, before.good)
    assert (before.problems, after.version, after.kept) == ((), before.version, ("rules/fraud.yaml",))
    (problem,) = after.problems
    assert f"refused  {problem}".partition("; did")[0] in text("docs/rules.md")
