"""`switchyard silences` and `events acknowledge`: against the real API, over HTTP."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from shared import book
from shared.cli import main
from shared.cli.given import FailedError
from shared.cli.silences import matched
from tests.served import Served, serving
from tests.test_web_silences import NOW, Desk

ADD = ("silences", "add", "--match", "run.experiment=fraud", "--reason", "migration", "--owner", "Naoko")


@pytest.fixture
def service() -> Iterator[Served[Desk]]:
    with serving(Desk()) as served:
        yield served


def in_force(service):
    return asyncio.run(service.desk.in_force())


@pytest.mark.parametrize(
    ("lines", "matchers"),
    [
        (["tags.team=fraud", "rule=fraud-run-failed"], {"tags.team": "fraud", "rule": "fraud-run-failed"}),
        (["rule=a", "rule=b", "rule = c"], {"rule": ["a", "b", "c"]}),
        (["rule=~ ^fraud-", "tags.a~x=y"], {"rule": "~ ^fraud-", "tags.a": "~ x=y"}),
        (["metrics.auc>=0.9", "drift.coefficient<0.1", "run.status!=Failed"], {
            "metrics.auc": ">= 0.9", "drift.coefficient": "< 0.1", "run.status": "!= Failed",
        }),
        (["run.is_child=false", "blob.size=5", "metrics.auc=0.5"], {
            "run.is_child": False, "blob.size": 5, "metrics.auc": 0.5,
        }),
        (["tags.my.key=a = b"], {"tags.my.key": "a = b"}),
    ],
)  # fmt: skip
def test_matches_are_written_as_field_and_value(lines, matchers):
    assert matched(lines) == matchers


@pytest.mark.parametrize("line", ["fraud", "=fraud", "", "~x"])
def test_a_match_that_names_no_field_is_refused(line):
    with pytest.raises(FailedError, match="expected FIELD=VALUE"):
        matched([line])


def test_a_silence_is_added_listed_commented_and_ended(service, capsys):
    service.desk.event()
    assert service.run("silences", "list") == 0
    assert capsys.readouterr().out == "nothing is silenced\n"
    assert service.run(*ADD, "--for", "4h") == 0
    (one,) = in_force(service)
    assert capsys.readouterr().out == (
        f"silenced until 2026-11-24T16:00:00Z: {one.id} (run.experiment = fraud)\n"
        "of the last 24 hours it would have held back 1 of 1 messages\n"
    )
    assert service.run("silences", "comment", one.id, "--by", "Mika", "--text", "done by noon") == 0
    assert capsys.readouterr().out == f"on record for Mika: {one.id}\n"
    assert service.run("silences", "list") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["UNTIL", "SILENCE", "HELD", "BACK", "OWNER", "ASKS", "FOR", "REASON"]
    assert row.split("  ")[-1] == "migration"
    assert service.run("silences", "expire", one.id, "--by", "Ito") == 0
    assert capsys.readouterr().out == "no longer silenced: run.experiment = fraud (0 messages were held back)\n"
    assert service.run("silences", "list", "--all") == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("migration  2026-11-24T12:00:00Z by Ito")


def test_a_preview_adds_nothing(service, capsys):
    service.desk.event()
    assert service.run("silences", "add", "--match", "receiver=fraud-team", "--preview") == 0
    assert capsys.readouterr().out == (
        "of the last 24 hours it would have held back 1 of 1 messages\n"
        "  RunStatusChanged fraud-failed -> fraud-team (rec)\n"
    )
    assert in_force(service) == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([*ADD, "--for", "soon"], "expected a length of time such as 30m, 4h or 2d"),
        (["silences", "add", "--match", "tag.team=x", "--for", "4h", "--reason", "x"], "did you mean 'tags.NAME'?"),
        (["silences", "add", "--match", "rule=x", "--for", "4h", "--owner", "M"], "reason is missing"),
        (["silences", "add", "--match", "x", "--for", "4h"], "--match 'x': expected FIELD=VALUE"),
        (["silences", "expire", "nothing"], "there is no silence 'nothing'"),
        (["silences", "comment", "nothing", "--text", "x"], "there is no silence 'nothing'"),
        (["events", "acknowledge", "nothing"], "no event has the id 'nothing'"),
        (["events", "acknowledge", "rec", "--by", ""], "by is missing: say who you are"),
    ],
)
def test_what_the_service_says_no_to_is_passed_on(service, capsys, argv, expected):
    service.desk.event()
    assert service.run(*argv) == 1
    said = capsys.readouterr()
    assert expected in said.err
    assert (said.out, in_force(service)) == ("", [])


def test_an_event_is_acknowledged_and_muted(service, capsys):
    service.desk.event()
    assert service.run("events", "acknowledge", "rec", "--by", "Mika", "--reason", "on it") == 0
    assert capsys.readouterr().out == "acknowledged by Mika at 2026-11-24T12:00:00Z\n"
    assert service.run("events", "acknowledge", "rec", "--by", "Ito") == 1
    assert "acknowledged already, by Mika at 2026-11-24 12:00 UTC" in capsys.readouterr().err
    assert service.run("events", "acknowledge", "rec", "--by", "Ito", "--mute") == 0
    (one,) = in_force(service)
    assert capsys.readouterr().out == (
        "acknowledged by Mika at 2026-11-24T12:00:00Z\n"
        f"muted until 2026-12-01T12:00:00Z at the latest: {one.id} ({book_words(one)})\n"
    )
    assert service.run("events", "show", "rec") == 0
    assert "seen      acknowledged by Mika at 2026-11-24T12:00:00Z: on it" in capsys.readouterr().out
    ack = asyncio.run(book.acknowledged(service.desk.shelf, "rec"))
    assert ack is not None
    assert (ack.via, ack.at) == ("command line", NOW)


def book_words(one):
    return ", ".join(
        f"{name} = {' or = '.join(value) if isinstance(value, list) else value}" for name, value in one.matchers.items()
    )


def test_json_is_all_that_is_printed(service, capsys):
    service.desk.event()
    for argv, key in (
        ([*ADD, "--for", "4h"], "asks"),
        (["silences", "list"], "silences"),
        (["silences", "add", "--match", "rule=x", "--preview"], "held_back"),
        (["events", "acknowledge", "rec", "--mute"], "silence"),
    ):
        assert service.run(*argv, "--json") == 0
        assert key in json.loads(capsys.readouterr().out)
    (one, *_) = in_force(service)
    assert service.run("silences", "comment", one.id, "--text", "x", "--json") == 0
    assert json.loads(capsys.readouterr().out)["comments"][0]["text"] == "x"
    assert service.run("silences", "expire", one.id, "--json") == 0
    assert json.loads(capsys.readouterr().out)["expired"]


@pytest.mark.parametrize(
    "argv",
    [
        ["silences"],
        ["silences", "add", "--for", "4h", "--reason", "x"],
        ["silences", "add", "--match", "a=b", "--reason", "x"],
        ["silences", "add", "--match", "a=b", "--for", "4h", "--preview"],
        ["silences", "comment", "x"],
        ["events", "acknowledge"],
    ],
)
def test_misuse_exits_2_with_the_usage(argv, capsys):
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert "usage: switchyard" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["silences", "silences add", "silences expire", "events acknowledge"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert "%(" not in capsys.readouterr().out
