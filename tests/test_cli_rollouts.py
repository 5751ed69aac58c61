"""`switchyard rollouts` and `freezes`: against the real API, over HTTP."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from shared import book
from shared.cli import main
from shared.rollout.record import Bake, Clear, Elapsed, Frozen, Heard, Word
from tests.served import Served, serving
from tests.test_web_rollouts import ABOUT, ID, NOW, Desk, asking, begun, kept, promoted, rolled_back


@pytest.fixture
def service() -> Iterator[Served[Desk]]:
    with serving(Desk()) as served:
        yield served


def test_rollouts_are_listed_in_aligned_columns(service, capsys):
    asyncio.run(asking(service.desk))
    assert service.run("rollouts", "list") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["BEGAN", "ROLLOUT", "ENDPOINT", "MODEL", "STATUS", "TRAFFIC", "WHY"]
    assert row.startswith(f"2026-11-20T08:30:00Z  {ID}  fraud-online  fraud:7  asking")
    assert row[head.index("WHY") :].startswith("Stage 2 of 3 has passed")
    assert "May it go on?" in row


def test_one_rollout_is_shown_as_a_story(service, capsys):
    asyncio.run(promoted(service.desk))
    assert service.run("rollouts", "show", ID) == 0
    said = capsys.readouterr().out
    assert said.startswith("fraud:7 -> fraud-online  promoted, 100% of the traffic\n")
    for line in (
        "  because      Stage 2 of 3 has passed",
        "  replaces     fraud:6",
        "  ✓ Smoke test of fraud-7-1a2b3c passed: 20 requests",
        "  ✓ HTTP 5xx: canary",
        "Mika approved: looks good (link to ml-leads)",
        "  run          frosty_sun_1",
        "  data         train azureml:transactions:41",
        "  code         9d41c7e0b1 main",
        f"  event        ModelRegistered models/fraud:7 ({ABOUT.event})",
        "  rule         fraud-candidate",
        "  config       5f3a9c1",
        "  approved by  Mika",
        "Compared it with fraud:6 — auc 0.934; in production auc 0.931",
        "steps of waiting and looking, until 2026-11-20T",
        "Gave it all of the traffic: fraud-7-1a2b3c 100%",
    ):
        assert line in said, line


def test_what_holds_a_rollout_and_who_overrides_it_is_not_folded_away(service, capsys):
    tape = begun()
    word = Word("override", "Mika", tape.now, "hotfix")
    for _ in range(5):
        tape.step(Bake(status="frozen", until=NOW), Elapsed(at=tape.now))
    tape.step(Clear(status="frozen"), Frozen(at=tape.now, reason="year end", owner="dora", until=NOW))
    tape.step(Bake(status="frozen", until=NOW), Heard(at=tape.now, word=word))
    tape.step(Bake(status="frozen", until=NOW), Elapsed(at=tape.now))
    asyncio.run(kept(service.desk, tape, (word, Word("next", "other-rollout", tape.now))))
    assert service.run("rollouts", "show", ID) == 0
    said = capsys.readouterr().out
    assert "5 steps of waiting and looking" in said
    assert "Looked for freezes — frozen by dora until 2026-11-20 12:00:00: year end" in said
    assert "Mika asked to go on all the same: hotfix" in said
    people = said[said.index("who said what") : said.index("where it comes from")]
    assert ("Mika" in people, "other-rollout" in people) == (True, False)


def test_what_is_asked_now_is_shown(service, capsys):
    asyncio.run(asking(service.desk))
    assert service.run("rollouts", "show", ID) == 0
    said = capsys.readouterr().out
    assert "asked now: Stage 2 of 3 has passed" in said
    assert "  of           ml-leads\n  until        2026-11-21T12:00:00Z\n" in said
    assert "nobody has said anything" in said


@pytest.mark.parametrize("verb", ["approve", "reject", "abort", "override"])
def test_a_word_is_said(service, capsys, monkeypatch, verb):
    monkeypatch.setenv("LOGNAME", "mika")
    asyncio.run(kept(service.desk, begun(), status="frozen") if verb == "override" else asking(service.desk))
    assert service.run("rollouts", verb, ID, "--reason", "looks good") == 0
    assert capsys.readouterr().out == f"on record for mika: switchyard rollouts show {ID} --url {service.url}\n"
    (word,) = service.desk.words
    assert (word["verb"], word["by"], word["reason"], word["via"]) == (verb, "mika", "looks good", "command line")


def test_there_is_nothing_to_override_where_nothing_is_frozen(service, capsys):
    asyncio.run(asking(service.desk))
    assert service.run("rollouts", "override", ID, "--reason", "hotfix") == 1
    assert "there is nothing to override" in capsys.readouterr().err


def test_a_name_may_be_given(service, capsys):
    asyncio.run(asking(service.desk))
    assert service.run("rollouts", "abort", ID, "--by", "Naoko Abe", "--reason", "x", "--json") == 0
    assert json.loads(capsys.readouterr().out)["by"] == "Naoko Abe"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["rollouts", "show", "nothing"], "switchyard: no rollout has the id 'nothing'\n"),
        (["rollouts", "approve", ID, "--reason", "x"], f"switchyard: rollout {ID} has ended already: rolled back\n"),
        (["rollouts", "abort", ID, "--by", "", "--reason", "x"], "switchyard: by is missing: say who you are\n"),
        (["freezes", "lift", "nothing"], "switchyard: there is no freeze 'nothing'\n"),
        (["freezes", "add", "--reason", "x", "--until", "soon"], "expected an RFC 3339 time"),
        (["freezes", "add", "--reason", "x", "--for", "soon"], "expected a length of time such as 30m, 4h or 2d"),
    ],
)
def test_what_the_service_says_no_to_is_passed_on(service, capsys, argv, expected):
    asyncio.run(rolled_back(service.desk))
    assert service.run(*argv) == 1
    said = capsys.readouterr()
    assert expected in said.err
    assert said.out == ""


def test_freezes_are_added_listed_and_lifted(service, capsys):
    assert service.run("freezes", "list") == 0
    assert capsys.readouterr().out == "nothing is frozen\n"
    assert service.run("freezes", "add", "--reason", "quarter end", "--owner", "Naoko", "--for", "4h") == 0
    (one,) = asyncio.run(book.freezes(service.desk.shelf, NOW))
    assert capsys.readouterr().out == f"frozen: all endpoints until 2026-11-20T16:00:00Z: {one.id}\n"
    assert (one.endpoint, one.owner, one.until) == ("*", "Naoko", NOW + timedelta(hours=4))
    assert service.run("freezes", "list") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["UNTIL", "FREEZE", "ENDPOINT", "OWNER", "REASON"]
    assert row.endswith("*         Naoko  quarter end")
    assert service.run("freezes", "lift", one.id, "--by", "Ito") == 0
    assert capsys.readouterr().out == "no longer frozen: all endpoints: quarter end\n"
    assert service.run("freezes", "list", "--all") == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("quarter end  2026-11-20T12:00:00Z by Ito")
    until = ["--until", "2026-11-21T09:00:00+09:00", "--json"]
    assert service.run("freezes", "add", "--endpoint", "fraud-online", "--owner", "M", "--reason", "x", *until) == 0
    new = json.loads(capsys.readouterr().out)
    assert (new["endpoint"], datetime.fromisoformat(new["until"])) == ("fraud-online", datetime.fromisoformat(until[1]))


def test_json_is_all_that_is_printed(service, capsys):
    asyncio.run(asking(service.desk))
    for argv, key in (
        (["rollouts", "list"], "rollouts"),
        (["rollouts", "show", ID], "lineage"),
        (["freezes", "list"], "freezes"),
    ):
        assert service.run(*argv, "--json") == 0
        assert key in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", ["rollouts", "rollouts approve", "freezes", "freezes add"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert "%(" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["rollouts"],
        ["rollouts", "show"],
        ["rollouts", "approve", "x"],
        ["freezes", "add", "--reason", "x"],
        ["freezes", "add", "--reason", "x", "--until", "t", "--for", "4h"],
    ],
)
def test_misuse_exits_2_with_the_usage(argv, capsys):
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert "usage: switchyard" in capsys.readouterr().err


@pytest.mark.parametrize(("address", "code", "said"), [("/?code=k3y", 0, ""), ("", 1, "add ?code=KEY to the address")])
def test_a_service_on_azure_is_asked_with_its_key_and_no_error_says_it(capsys, address, code, said):
    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("x-functions-key") == "k3y" and "code=" not in self.path
            body = b'{"rollouts": [], "next": null}' if known else b""
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.handle_request).start()
        assert main(["rollouts", "list", "--json", "--url", f"http://127.0.0.1:{server.server_port}{address}"]) == code
    told = capsys.readouterr()
    assert said in told.err
    assert "k3y" not in told.out + told.err
