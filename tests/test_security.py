"""docs/security.md is held: every threat has its control, a test that is there, and what remains."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from shared import events
from shared.cloud import http
from shared.messages import sandbox
from shared.rules import cel, tree
from shared.rules.config import Limits
from shared.web import asked

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
    table = TEXT.partition("\n## Limits\n")[2]
    limits = Limits()
    for row in (
        f"| nesting of a payload | {events.DEEPEST} levels |",
        f"| an answer of a far side | {http.LIMIT >> 20} MiB |",
        f"| tries of one action | {limits.attempts} |",
        f"| chain of causes | {limits.depth} actions |",
        f"| following what was started | {limits.follow / 86_400:.0f} days |",
        f"| one file of the configuration | {tree.LONGEST:,} characters, {tree._DEEPEST} levels, {tree._MOST:,} values |",
        f"| one template | {sandbox.LONGEST:,} characters, and of what it renders |",
        f"| work of one template | {sandbox._RANGE:,} turns of a loop, {sandbox._WORK:,} characters and entries",
        f"| one expression (CEL) | {cel.LONGEST} characters; {cel.LINEAR.values:,} values or {cel.LINEAR.characters:,} characters",
        f"| what somebody says to the API | {asked._LARGEST >> 10} KiB |",
        f"| one page of a list | {asked.MOST} |",
    ):
        assert row in table
    assert (cel.SQUARE.values, cel.SQUARE.characters) == (cel.LINEAR.values // 10, cel.LINEAR.characters // 10)
