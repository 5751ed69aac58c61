"""docs/security.md is held: every threat has its control, a test that is there, and what remains."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from shared.bounds import DEFAULTS, RANGES
from shared.rules.config import Limits

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/security.md").read_text()
THREATS = {
    part.partition("\n")[0]: part.partition("\n")[2]
    for part in TEXT.partition("\n## Threats\n")[2].partition("\n## Limits\n")[0].split("\n### ")[1:]
}
PARTS = ("What could happen.", "Control.", "Shown by.", "What remains.")
ASKED = """forged events, replayed and forwarded approval links, forged approval links, template injection, server-side request forgery,
patterns and expressions, bombs of yaml, large, cards, logs, secrets, cross-site, parts with holes, open redirects, clickjacking,
rebinding, paths that climb, compressed, redirects, storms, hostile author, settings of the service, the one who asked,
record that is changed"""


@cache
def written_in(file: str) -> frozenset[str]:
    tree_ = ast.parse((ROOT / file).read_text())
    return frozenset(one.name for one in tree_.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


def parts(threat: str) -> dict[str, str]:
    pieces = re.split(rf"\*({'|'.join(map(re.escape, PARTS))})\*", THREATS[threat])
    return {name: " ".join(said.split()) for name, said in zip(pieces[1::2], pieces[2::2], strict=True)}


@pytest.mark.parametrize("threat", THREATS)
def test_every_threat_has_a_control_a_test_that_is_there_and_what_remains(threat: str) -> None:
    said = parts(threat)
    assert tuple(said) == PARTS
    assert all(len(text) > 10 for text in said.values())
    files = re.findall(r"`([\w./-]+\.(?:py|yml|bicep)|Makefile)`", said["Control."])
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
    shown = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", said["Shown by."])
    assert shown
    assert [f"{file}::{name}" for file, name in shown if name not in written_in(file)] == []


def test_the_threats_that_were_asked_about_are_there() -> None:
    titles = "\n".join(THREATS).lower()
    assert [word for one in ASKED.split(",") if (word := " ".join(one.split()).lower()) not in titles] == []


def test_the_limits_are_those_of_the_code() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TEXT.partition("\n## Limits\n")[2].splitlines()
        if line.startswith("|")
    ][2:]
    assert all(len(row) == 5 and row[2] for row in rows), "a setting, or why there is none"
    limits = Limits()
    for of, said in (
        ("tries of one action", f"{limits.attempts}"),
        ("chain of causes", f"{limits.depth} actions"),
        ("following what was started", f"{limits.follow / 86_400:.0f} days"),
    ):
        assert [of, said] in [row[:2] for row in rows]
    named = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[2]) if name in RANGES}
    assert set(named) == set(RANGES)
    for name, (low, high) in RANGES.items():
        assert f"{getattr(DEFAULTS, name):,}" in re.findall(r"[\d,]*\d", named[name][1]), name
        assert named[name][3] == f"{low:,}, {high:,}"
        assert low <= getattr(DEFAULTS, name) <= high
