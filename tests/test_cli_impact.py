"""`switchyard test` and `switchyard impact`, as they are typed."""

import gzip
import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from bench.impact import configuration, lines
from shared.cli import main

CONFIG = Path(__file__).parent.parent / "config"


def test_the_shipped_rules_pass_their_tests_which_fire_every_rule(capsys):
    assert main(["test", str(CONFIG), "--coverage"]) == 0
    told = capsys.readouterr().out
    assert "all passed" in told
    assert " rules are covered by tests" in told


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("wrong"))
    return tmp_path / "config"


def test_an_edit_that_breaks_a_promise_is_seen(folder, capsys):
    rules = folder / "rules/fraud.yaml"
    rules.write_text(rules.read_text().replace('metrics.auc: ">= 0.9"', 'metrics.auc: ">= 0.95"'))
    assert main(["test", str(folder)]) == 1
    told = capsys.readouterr().out
    assert (
        f"{folder}/tests/fraud.yaml:8:9: 'a good run is told once, and one that is not good enough is not', step 1"
        in told
    )
    assert "- fraud-run-good: notify fraud-team\n      metrics.auc >= 0.95, is 0.934 (rules/fraud.yaml:" in told
    assert main(["test", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["tests"] if not one["passed"]]


def test_mistakes_are_said_like_those_of_the_configuration(folder, capsys):
    (folder / "tests/new.yaml").write_text("tests: {}\n")
    assert main(["test", str(folder)]) == 1
    assert f"{folder}/tests/new.yaml:1:8: expected a list of tests, found a mapping" in capsys.readouterr().out


def test_a_broken_rule_file_is_named_once_and_the_tests_of_the_others_are_played(folder, capsys):
    rules = folder / "rules/fraud.yaml"
    rules.write_text(rules.read_text().replace("notify: fraud-incident", "notify: fraud-incidnt"))
    assert main(["test", str(folder)]) == 1
    first, left, played = capsys.readouterr().out.splitlines()
    assert first.endswith("unknown receiver 'fraud-incidnt'; did you mean 'fraud-incident'?")
    assert left == f"{folder}: tests that name rules of rules/fraud.yaml are left out until that is mended"
    assert played.endswith("tests, all passed")


def test_a_rule_without_a_test_fails_coverage_only(folder, capsys):
    (folder / "tests/churn.yaml").unlink()
    assert main(["test", str(folder)]) == 0
    assert main(["test", str(folder), "--coverage"]) == 1
    assert f"{folder}/rules/churn.yaml:3: rule 'churn-run-good': no test fires it" in capsys.readouterr().out


def test_no_tests_is_said(tmp_path, capsys):
    shutil.copytree(CONFIG, tmp_path / "c", ignore=shutil.ignore_patterns("wrong", "tests"))
    assert main(["test", str(tmp_path / "c")]) == 0
    assert "there are no tests: write" in capsys.readouterr().out


@pytest.fixture(scope="module")
def edit(tmp_path_factory):
    """Two configurations, and events."""
    root = tmp_path_factory.mktemp("edit")
    configuration(root / "before", "0.9", "30m")
    configuration(root / "after", "0.8", "30m")
    (root / "events.jsonl").write_text("".join(f"{line}\n" for line in lines(300)))
    return root


def told(edit, events, *options):
    return main(
        ["impact", "--from", str(edit / "before"), "--to", str(edit / "after"), "--events", str(events), *options]
    )


def test_a_file_a_folder_a_packed_file_and_standard_input_say_the_same(edit, tmp_path, capsys, monkeypatch):
    text = (edit / "events.jsonl").read_bytes()
    assert told(edit, edit / "events.jsonl") == 0
    first = capsys.readouterr().out
    assert "all: notify" in first
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as file:
        file.write(text[len(text) // 2 :].partition(b"\n")[2])
    head = text[: len(text) // 2]
    (tmp_path / "a.jsonl").write_bytes(head + text[len(head) :].partition(b"\n")[0] + b"\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    for events in (tmp_path, "-"):
        assert told(edit, events) == 0
        assert capsys.readouterr().out == first


def test_two_processes_say_what_one_does(edit, capsys, monkeypatch):
    assert told(edit, edit / "events.jsonl", "--json") == 0
    first = capsys.readouterr().out
    monkeypatch.setattr("shared.cli.impact._CHUNK", 50)
    assert told(edit, edit / "events.jsonl", "--json", "--progress") == 0
    seen = capsys.readouterr()
    assert seen.out == first
    assert "300 events" in seen.err


def test_a_line_that_cannot_be_read_is_named_and_does_not_stop_the_others(edit, tmp_path, capsys):
    text = (edit / "events.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "e.jsonl").write_text("".join([*text[:10], "{\n", "\n", *text[10:]]))
    assert told(edit, tmp_path / "e.jsonl") == 0
    seen = capsys.readouterr()
    assert f"{tmp_path}/e.jsonl:11: not a line of the archive, nor an event" in seen.err
    assert "1 line could not be read" in seen.out
    assert "300 events" in seen.out


@pytest.mark.parametrize("name", ["missing.jsonl", "torn.jsonl.gz"])
def test_what_is_no_file_of_events_is_said(edit, tmp_path, capsys, name):
    (tmp_path / "torn.jsonl.gz").write_bytes(b"\x1f\x8bnothing")
    assert told(edit, tmp_path / name) == 1
    assert name in capsys.readouterr().err


def test_an_envelope_as_it_came_counts_too(edit, tmp_path, capsys):
    envelope = json.loads((CONFIG.parent / "samples/events/run-completed.json").read_text())[0]
    (tmp_path / "e.jsonl").write_text(json.dumps(envelope) + "\n")
    assert told(edit, tmp_path / "e.jsonl") == 0
    assert "1 event, 2026-11-20 08:30 to 2026-11-20 08:30 UTC" in capsys.readouterr().out


def test_markdown_is_a_comment(edit, capsys):
    assert told(edit, edit / "events.jsonl", "--markdown") == 0
    text = capsys.readouterr().out
    assert "|  | was | would be | added | removed | changed | held back |" in text
    assert "<details><summary>Examples</summary>" in text


def test_a_broken_file_stays_as_it_was_and_is_named_first(edit, tmp_path, capsys):
    shutil.copytree(edit / "before", tmp_path / "after")
    (tmp_path / "after/rules/team-00.yaml").write_text("rules: [")
    arguments = [
        "--from",
        str(edit / "before"),
        "--to",
        str(tmp_path / "after"),
        "--events",
        str(edit / "events.jsonl"),
    ]
    assert main(["impact", *arguments]) == 0
    seen = capsys.readouterr()
    assert "Look at these first:\n  ! rules/team-00.yaml:1:" in seen.out
    assert "added" not in seen.out
    assert "rules/team-00.yaml left as before for mistakes" in seen.err
