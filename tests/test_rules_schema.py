"""The JSON Schemas that editors use."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from shared.rules.schema import texts
from shared.rules.tree import read
from tests.test_rules_calendars import MAIN as CALENDARS

CONFIG = Path(__file__).parent.parent / "config"
TEXTS = texts()
CHECKS = {name: Draft202012Validator(json.loads(text)) for name, text in TEXTS.items()}


def complaints(schema: str, path: Path) -> list[str]:
    node, problems = read(path.name, path.read_text())
    assert problems == []
    assert node is not None
    return [error.message for error in CHECKS[schema].iter_errors(node.plain())]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_published_schemas_are_current(name):
    said = "run: python -m shared.cli.schema"
    assert (CONFIG / "schema" / name).read_text() == TEXTS[name], said
    Draft202012Validator.check_schema(json.loads(TEXTS[name]))


def test_calendars_and_escalations_may_be_written_in_each_way():
    node, problems = read("switchyard.yaml", CALENDARS)
    assert problems == []
    assert node is not None
    assert [error.message for error in CHECKS["switchyard.schema.json"].iter_errors(node.plain())] == []


@pytest.mark.parametrize("path", sorted((CONFIG / "rules").glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_rules_are_valid_and_name_their_schema(path):
    assert complaints("rules.schema.json", path) == []
    assert path.read_text().startswith("# yaml-language-server: $schema=../schema/rules.schema.json\n")


@pytest.mark.parametrize("path", sorted((CONFIG / "rollouts").glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_policies_are_valid_and_name_their_schema(path):
    assert complaints("rollout.schema.json", path) == []
    assert path.read_text().startswith("# yaml-language-server: $schema=../schema/rollout.schema.json\n")


@pytest.mark.parametrize("path", sorted((CONFIG / "quality").glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_watches_are_valid_and_name_their_schema(path):
    assert complaints("quality.schema.json", path) == []
    assert path.read_text().startswith("# yaml-language-server: $schema=../schema/quality.schema.json\n")


@pytest.mark.parametrize("path", sorted((CONFIG / "tests").glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_tests_are_valid_and_name_their_schema(path):
    assert complaints("test.schema.json", path) == []
    assert path.read_text().startswith("# yaml-language-server: $schema=../schema/test.schema.json\n")


def test_the_shipped_switchyard_yaml_is_valid_and_names_its_schema():
    path = CONFIG / "switchyard.yaml"
    assert complaints("switchyard.schema.json", path) == []
    assert path.read_text().startswith("# yaml-language-server: $schema=schema/switchyard.schema.json\n")


def test_an_editor_shows_most_mistakes_of_shape():
    """What it cannot know, `switchyard check` says: names, secrets, texts that are expressions, keys that do not go together."""
    seen: list[str] = []
    missed: list[str] = []
    for path in sorted((CONFIG / "wrong").glob("*.yaml")):
        kind = path.name.partition("-")[0]
        kinds = {"message": "template", "policy": "rollout"}
        schema = kinds.get(kind, kind if kind in {"switchyard", "quality", "test"} else "rules")
        node, problems = read(path.name, path.read_text())
        if kind != "when" and node is not None and not problems:
            found = complaints(f"{schema}.schema.json", path)
            (seen if found else missed).append(path.stem)
    assert len(seen) > len(missed), missed
