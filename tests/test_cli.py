"""The command line: what a person types, reads and gets back as exit status."""

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from shared.cli import main
from shared.events import parse

SAMPLES = Path(__file__).parent.parent / "samples" / "events"
COMPLETED = SAMPLES / "run-completed.json"
MAIN = "receivers: {team: {teams: '${TEAM}'}}\n"
RULES = """
rules:
  - name: good
    event: RunCompleted
    match: {workspace: prod, metrics.auc: ">= 0.9"}
    do: [{notify: team}]
  - name: other-place
    event: RunCompleted
    match: {workspace: dev}
    do: [{notify: team}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    (folder / "rules").mkdir(parents=True)
    (folder / "switchyard.yaml").write_text(MAIN)
    (folder / "rules" / "a.yaml").write_text(RULES)
    return folder


@dataclass
class Far:
    """An HTTP server that keeps what it was sent and gives the answers it was told to."""

    url: str = ""
    got: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    answers: list[tuple[int, Any]] = field(default_factory=list)


@pytest.fixture
def far() -> Iterator[Far]:
    kept = Far()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.got.append((self.command, self.path, headers, json.loads(body) if body else None))
            status, said = kept.answers.pop(0) if kept.answers else (202, None)
            text = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *said: Any) -> None:
            pass

    doors = {f"do_{method}": Handler.answer for method in ("GET", "POST")}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Far", (Handler,), doors))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


# --- Usage ---


@pytest.mark.parametrize(
    "argv", [[], ["chek"], ["events"], ["events", "show"], ["send"], ["serve", "--port", "x"], ["explain"]]
)
def test_misuse_exits_2_with_the_usage(argv, capsys):
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert "usage: switchyard" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "check", "explain", "send", "events", "events list"])
def test_every_command_explains_itself_and_shows_no_markup_of_help_texts(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert "%(" not in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_said_in_one_sentence(tmp_path, capsys):
    gone = str(tmp_path / "gone")
    for argv in (["check", gone], ["explain", str(COMPLETED), "--config", gone], ["serve", "--config", gone]):
        assert main(argv) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert f"there is no configuration folder {gone}" in said.err
        assert said.err.count("\n") == 1


# --- check ---


def test_a_good_configuration_is_counted(config, capsys):
    assert main(["check", str(config)]) == 0
    assert capsys.readouterr().out.startswith(f"{config}: 2 rules, no problems (version ")


def test_every_problem_stands_in_a_line_with_its_place(config, capsys):
    (config / "rules" / "a.yaml").write_text(RULES.replace("RunCompleted", "RunComplete"))
    (config / "rules" / "b.yaml").write_text("rules: [{name: b, event: ModelDeployed, do: [{notify: taem}]}]\n")
    assert main(["check", str(config)]) == 1
    *problems, last = capsys.readouterr().out.splitlines()
    assert problems[0].startswith(f"{config}/rules/a.yaml:4:12: unknown event type 'RunComplete'")
    assert any(line.startswith(f"{config}/rules/b.yaml:1:") and "did you mean 'team'" in line for line in problems)
    assert last == f"{config}: 3 problems in 2 files; 0 rules would be in force"


UNUSED = "receivers: {team: {teams: '${TEAM}'}, nobody: {email: a@contoso.com}}\n"


def test_warnings_stand_behind_the_problems_and_count_only_when_asked(config, capsys):
    (config / "switchyard.yaml").write_text(UNUSED)
    assert main(["check", str(config)]) == 0
    warning, last = capsys.readouterr().out.splitlines()
    place = f"{config}/switchyard.yaml:1:39"
    assert warning == f"{place}: warning: receiver 'nobody' is used by no rule: leave it out, or name it in one"
    assert last.startswith(f"{config}: 2 rules, no problems, 1 warning (version ")
    assert main(["check", str(config), "--strict"]) == 1


def test_notes_are_told_only_when_asked_and_never_count(config, capsys):
    again = "  - {name: again, event: RunCompleted, match: {workspace: dev}, do: [{notify: team, template: event}]}\n"
    (config / "rules" / "a.yaml").write_text(RULES + again)
    assert main(["check", str(config), "--strict"]) == 0
    assert ": note: " not in capsys.readouterr().out
    assert main(["check", str(config), "--strict", "--verbose"]) == 0
    assert f"{config}/rules/a.yaml:11:5: note: rules 'other-place'" in capsys.readouterr().out


def test_problems_and_warnings_as_json(config, capsys):
    (config / "rules" / "b.yaml").write_text("rules: 7\n")
    (config / "rules" / "c.yaml").write_text(
        "rules: [{name: c, event: RunCompleted, match: {run.status: Failed}, do: [{notify: team}]}]\n"
    )
    assert main(["check", str(config), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [(one["file"], one["line"]) for one in said["problems"]] == [(f"{config}/rules/b.yaml", 1)]
    (warning,) = said["warnings"]
    assert (warning["code"], warning["file"], warning["also"]) == (
        "never",
        f"{config}/rules/c.yaml",
        [f"{config}/rules/c.yaml:1:9"],
    )
    assert (said["rules"], said["notes"]) == (3, [])


# --- explain ---


def test_an_event_is_explained_rule_by_rule(config, capsys):
    assert main(["explain", str(COMPLETED), "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("RunCompleted experiments/")
    assert "WAITS    good" in said
    assert "missed   other-place: 1 of 1 lines failed" in said


def test_the_configuration_folder_may_be_a_setting(config, monkeypatch, capsys):
    monkeypatch.setenv("SWITCHYARD_CONFIG", str(config))
    assert main(["explain", str(COMPLETED)]) == 0
    assert "WAITS    good" in capsys.readouterr().out


def test_with_facts_beside_it_nothing_waits(config, tmp_path, capsys):
    facts = tmp_path / "facts.json"
    facts.write_text('{"metrics": {"auc": 0.93}}')
    assert main(["explain", str(COMPLETED), "--config", str(config), "--facts", str(facts)]) == 0
    assert "MATCHED  good" in capsys.readouterr().out


def test_json_is_all_that_is_printed(config, capsys):
    assert main(["explain", str(COMPLETED), "--config", str(config), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["type"] == "RunCompleted"
    assert {rule["rule"]: rule["outcome"] for rule in told["rules"]} == {"good": "undecided", "other-place": "missed"}


def test_an_array_of_events_is_explained_one_after_another(config, tmp_path, capsys):
    (event,) = json.loads(COMPLETED.read_text())
    both = tmp_path / "both.json"
    both.write_text(json.dumps([event, event | {"subject": "x\x1b[2J"}]))
    assert main(["explain", str(both), "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert said.count("RunCompleted ") == 2
    assert "\x1b" not in said


def test_an_event_is_read_from_standard_input(config, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(COMPLETED.read_text()))
    assert main(["explain", "-", "--config", str(config)]) == 0
    assert "WAITS    good" in capsys.readouterr().out


def test_rules_left_out_for_mistakes_are_said_beside_the_answer(config, capsys):
    (config / "rules" / "b.yaml").write_text("rules: 7\n")
    assert main(["explain", str(COMPLETED), "--config", str(config), "--json"]) == 0
    said = capsys.readouterr()
    json.loads(said.out)
    assert "rules/b.yaml left out for their mistakes: `switchyard check" in said.err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["gone.json"], "gone.json cannot be read: No such file or directory"),
        (["{broken}"], ":1:2: not JSON: "),
        (["{empty}"], "holds no event: expected an object, or an array of objects"),
        ([str(SAMPLES / "malformed.json")], "malformed.json: not an Event Grid event: topic is missing"),
        ([str(COMPLETED), "--at", "noon"], "--at noon is not a time: expected one such as 2026-11-20T08:30:00Z"),
        ([str(COMPLETED), "--facts", "{wrong}"], 'expected {"metrics": {"auc": 0.93}'),
    ],
)
def test_what_cannot_be_explained_says_why(config, tmp_path, capsys, argv, expected):
    files = {"broken": "{'", "empty": "[]", "wrong": '{"metrics": {"auc": "high"}}'}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    argv = [
        part.format(**{name: tmp_path / name for name in files}) if part in {"{broken}", "{empty}", "{wrong}"} else part
        for part in argv
    ]
    assert main(["explain", *argv, "--config", str(config)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("switchyard: ")
    assert expected in said.err


def test_a_time_stands_in_for_the_events_own(config, capsys):
    (config / "rules" / "a.yaml").write_text(
        "rules: [{name: future, event: RunCompleted, match: {time: '~ ^2031'}, do: [{notify: team}]}]\n"
    )
    assert main(["explain", str(COMPLETED), "--config", str(config)]) == 0
    assert "missed" in capsys.readouterr().out
    assert main(["explain", str(COMPLETED), "--config", str(config), "--at", "2031-01-01T00:00:00Z"]) == 0
    assert "MATCHED  future" in capsys.readouterr().out


# --- send ---


def test_each_event_is_delivered_as_event_grid_does(far, capsys):
    files = [str(COMPLETED), str(SAMPLES / "malformed.json")]
    assert main(["send", *files, "--to", far.url]) == 0
    (first, second) = far.got
    method, path, headers, body = first
    assert (method, path) == ("POST", "/runtime/webhooks/eventgrid?functionName=on_event")
    assert headers["aeg-event-type"] == "Notification"
    assert body == json.loads(COMPLETED.read_text())
    assert second[3] == json.loads((SAMPLES / "malformed.json").read_text())
    said = capsys.readouterr().out
    assert f"{far.url}/events/{parse(body[0]).record}" in said
    assert "topic is missing" in said


def test_cloudevents_are_sent_one_object_at_a_time_and_mean_the_same(far):
    assert main(["send", str(COMPLETED), "--to", f"{far.url}/hook?code=k", "--cloudevents"]) == 0
    ((_, path, headers, body),) = far.got
    assert path == "/hook?code=k"
    assert headers["content-type"].startswith("application/cloudevents+json")
    (plain,) = json.loads(COMPLETED.read_text())
    assert parse(body) == parse(plain)


def test_missing_ids_and_times_are_given_and_fresh_ones_where_asked(far, tmp_path):
    (event,) = json.loads(COMPLETED.read_text())
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps({name: value for name, value in event.items() if name not in {"id", "eventTime"}}))
    assert main(["send", str(bare), str(bare), str(COMPLETED), "--to", far.url]) == 0
    assert main(["send", str(COMPLETED), "--to", far.url, "--fresh"]) == 0
    ids = [body[0]["id"] for *_, body in far.got]
    assert ids[2] == event["id"]
    assert len(set(ids)) == 4
    assert all(parse(body[0]).time for *_, body in far.got)


def test_one_refused_delivery_keeps_no_other_back(far, capsys):
    far.answers = [(404, None), (202, None)]
    assert main(["send", str(COMPLETED), str(SAMPLES / "run-failed.json"), "--to", far.url]) == 1
    said = capsys.readouterr()
    assert "there is no function on_event" in said.err
    assert "run-failed.json: RunStatusChanged" in said.out
    assert len(far.got) == 2


def test_a_function_key_is_never_printed(far, capsys):
    far.answers = [(401, None)]
    assert main(["send", str(COMPLETED), "--to", f"{far.url}/runtime/webhooks/eventgrid?code=hush"]) == 1
    said = capsys.readouterr()
    assert "asks for a key" in said.err
    assert "hush" not in said.out + said.err


def test_a_topic_is_served_by_its_own_client_with_its_key(far, monkeypatch, capsys):
    monkeypatch.setenv("TOPIC_KEY", "hush")
    far.answers = [(200, None), (200, None)]
    both = [str(COMPLETED), str(SAMPLES / "model-registered.json")]
    assert main(["send", *both, "--to", f"{far.url}/topic/api/events", "--key", "TOPIC_KEY"]) == 0
    assert main(["send", *both, "--to", f"{far.url}/topic/api/events", "--key", "TOPIC_KEY", "--cloudevents"]) == 0
    (_, path, headers, plain), (_, _, cloud_headers, cloud) = far.got
    assert path == "/topic/api/events?api-version=2018-01-01"
    assert headers["aeg-sas-key"] == "hush"
    assert [event["eventType"].rpartition(".")[2] for event in plain] == ["RunCompleted", "ModelRegistered"]
    assert cloud_headers["content-type"].startswith("application/cloudevents-batch+json")
    assert [event["specversion"] for event in cloud] == ["1.0", "1.0"]
    assert "hush" not in capsys.readouterr().out


def test_an_event_without_a_topic_is_what_a_topic_takes_but_a_cloudevent_needs_its_source(
    far, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("EVENTGRID_KEY", "hush")
    (event,) = json.loads((SAMPLES / "labels-delivered.json").read_text())
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps({name: value for name, value in event.items() if name != "topic"}))
    far.answers = [(200, None)]
    assert main(["send", str(bare), "--to", f"{far.url}/api/events"]) == 0
    assert f"sent {bare}: Contoso.Fraud.LabelsDelivered labels-2026w46 to" in capsys.readouterr().out
    assert main(["send", str(bare), "--to", f"{far.url}/api/events", "--cloudevents"]) == 1
    assert "says no source, which a CloudEvent needs" in capsys.readouterr().err
    assert len(far.got) == 1


@pytest.mark.parametrize(
    ("status", "expected"), [(400, "try --cloudevents"), (401, "set EVENTGRID_KEY"), (413, "HTTP 413")]
)
def test_a_topic_that_refuses_is_quoted(far, monkeypatch, capsys, status, expected):
    monkeypatch.setenv("EVENTGRID_KEY", "hush")
    far.answers = [(status, {"error": {"code": "x", "message": "m"}})]
    assert main(["send", str(COMPLETED), "--to", f"{far.url}/api/events"]) == 1
    assert expected in capsys.readouterr().err


def test_no_address_is_no_target(capsys):
    assert main(["send", str(COMPLETED), "--to", "localhost:7071"]) == 1
    assert "expected a URL such as http://localhost:7071" in capsys.readouterr().err


# --- events ---


@pytest.mark.parametrize(
    "argv",
    [
        ["send", str(COMPLETED), "--to", NOBODY],
        ["events", "list", "--url", NOBODY],
        ["events", "replay", "x", "--url", NOBODY],
    ],
)
def test_where_nobody_answers_the_remedy_is_said(argv, capsys):
    assert main(argv) == 1
    assert capsys.readouterr().err == f"switchyard: no service answers at {NOBODY}: start one with `switchyard serve`\n"


BRIEF = {
    "id": "317c8b92dbd28a4232f2",
    "received": "2026-11-20T08:31:00.123Z",
    "status": "decided",
    "deliveries": 2,
    "replays": 0,
    "refusal": "",
    "event": {
        "id": "e-1",
        "type": "RunCompleted",
        "time": "2026-11-20T08:30:00Z",
        "subject": "日本語\x1b[31m",
        "workspace": "prod",
    },
    "matched": ["good"],
    "actions": [
        {"key": f"k{n}", "rule": "good", "action": "teams", "status": "done", "maybe_twice": n == 1} for n in (1, 2)
    ],
}
REFUSED = BRIEF | {"id": "r2", "status": "refused", "event": None, "matched": [], "actions": [], "refusal": "not JSON"}


def test_events_are_listed_in_aligned_columns(far, capsys):
    far.answers = [(200, {"events": [BRIEF, REFUSED], "next": None})]
    assert (
        main(["events", "list", "--url", far.url, "--type", "RunCompleted", "--since", "2026-11-20T00:00:00+09:00"])
        == 0
    )
    assert far.got[0][1] == "/api/events?limit=20&type=RunCompleted&since=2026-11-20T00%3A00%3A00%2B09%3A00"
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["RECEIVED", "RECORD", "STATUS", "TYPE", "SUBJECT", "MATCHED", "ACTIONS"]
    assert "teams done x2" in first
    assert r"日本語\x1b[31m" in first
    assert second.split()[:2] == ["2026-11-20T08:31:00Z", "r2"]
    wide = 3  # Japanese takes two columns for each character
    assert first.index("teams done") + wide == head.index("ACTIONS")


def test_one_event_is_shown_as_a_story(far, capsys):
    line = {"path": "metrics.auc", "expected": ">= 0.9", "actual": 0.93, "present": True, "held": True, "note": ""}
    full = BRIEF | {
        "bytes": "",
        "facts": {"metrics": {"auc": 0.93}, "job": None, "drift": None, "unknown": {}},
        "decision": {
            "config": "abc",
            "considered": 4,
            "needs": [],
            "verdicts": [
                {
                    "rule": "good",
                    "file": "rules/a.yaml",
                    "outcome": "matched",
                    "by": "",
                    "intents": ["k1"],
                    "checked": [line],
                }
            ],
        },
        "actions": [
            {
                **BRIEF["actions"][n],  # type: ignore[index]
                "result": {"said": "posted to Teams", "link": "https://teams.example/1", "values": {}}
                if n == 0
                else None,
                "attempts": [{"at": "2026-11-20T08:31:02Z", "outcome": "done", "note": "", "uncertain": False}] * 2,
            }
            for n in (0, 1)
        ],
    }
    far.answers = [(200, full)]
    assert main(["events", "show", "a/b", "--url", far.url]) == 0
    assert far.got[0][1] == "/api/events/a%2Fb"
    said = capsys.readouterr().out
    assert (
        "good (rules/a.yaml): matched\n  ✓ metrics.auc is 0.93; asked for >= 0.9\n  → teams done: posted to Teams\n"
        in said
    )
    assert "may have been sent twice" in said
    assert "2 times, taken in once" in said
    assert "from an earlier decision" in said
    assert "\x1b" not in said


def test_a_replay_is_on_its_way(far, capsys):
    far.answers = [(202, {"id": "r1", "status": "accepted", "event": "/api/events/r1"})]
    assert main(["events", "replay", "r1", "--url", far.url]) == 0
    assert far.got[0][:2] == ("POST", "/api/events/r1/replay")
    assert f"switchyard events show r1 --url {far.url}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((404, {"detail": "no event has the id 'x'"}), "no event has the id 'x'"),
        ((400, {"detail": "status is 'ok', expected one of waiting"}), "expected one of waiting"),
        ((200, b"<html>"), "and no JSON: is this a Switchyard host?"),
        ((503, {}), "answers HTTP 503"),
    ],
)
def test_what_the_service_says_no_to_is_passed_on(far, capsys, answer, expected):
    far.answers = [answer]
    assert main(["events", "show", "x", "--url", far.url]) == 1
    said = capsys.readouterr()
    assert expected in said.err
    assert said.out == ""


def test_the_archive_is_printed_day_by_day_and_counted(far, capsys):
    far.answers = [(200, b'{"id":"a"}\n{"id":"b"}\n'), (200, b""), (200, b'{"id":"c"}\n')]
    span = ["--since", "2026-11-20T18:00:00Z", "--until", "2026-11-22T03:00:00+00:00"]
    assert main(["events", "export", "--url", f"{far.url}?code=key", *span]) == 0
    asked = [dict(parse_qsl(urlsplit(path).query)) for _, path, _, _ in far.got]
    edges = ["2026-11-20T18:00:00", "2026-11-21T00:00:00", "2026-11-22T00:00:00", "2026-11-22T03:00:00"]
    assert [(one["since"][:19], one["until"][:19]) for one in asked] == list(pairwise(edges))
    said = capsys.readouterr()
    assert (said.out, said.err) == ('{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n', "3 events\n")


def test_without_an_end_the_archive_is_printed_up_to_the_clock_of_the_service(far, capsys):
    """Which may be a simulated one, hours ahead of ours."""
    far.answers = [(200, b'{"id":"a"}\n')] * 3
    assert main(["events", "export", "--url", far.url, "--since", "1d"]) == 0
    asked = [dict(parse_qsl(urlsplit(path).query)) for _, path, _, _ in far.got]
    assert ["until" in one for one in asked] == [True] * (len(asked) - 1) + [False]


def test_a_time_that_is_none_is_no_span(far, capsys):
    assert main(["events", "export", "--url", far.url, "--since", "yesterday"]) == 1
    assert "'yesterday' is no time: expected one such as 2026-11-20T08:30:00Z" in capsys.readouterr().err
    assert far.got == []


def test_json_comes_as_the_service_gave_it(far, capsys):
    for argv in (["events", "list"], ["events", "show", "x"], ["events", "replay", "x"]):
        far.answers = [(200, {"id": "日本"})]
        assert main([*argv, "--url", far.url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"id": "日本"}


# --- Samples, and the start ---


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_every_sample_is_what_its_name_says(path):
    kinds = {
        "run-completed": "RunCompleted",
        "run-failed": "RunStatusChanged",
        "model-registered": "ModelRegistered",
        "model-deployed": "ModelDeployed",
        "dataset-drift": "DriftDetected",
        "monitor-breach": "DriftDetected",
        "blob-created": "BlobCreated",
        "labels-delivered": "Contoso.Fraud.LabelsDelivered",
        "policy-state-changed": "Microsoft.PolicyInsights.PolicyStateChanged",
        "health-changed": "Microsoft.ResourceNotifications.HealthResources.AvailabilityStatusChanged",
    }
    (envelope,) = json.loads(path.read_text())
    assert f"`{path.name}`" in (SAMPLES / "README.md").read_text()
    if path.stem != "malformed":
        assert parse(envelope).type == kinds[path.stem]


def test_the_samples_lead_to_what_their_readme_says(capsys):
    readme = (SAMPLES / "README.md").read_text()
    facts = str(SAMPLES.parent / "facts.json")
    shipped = str(SAMPLES.parent.parent / "config")
    for path in sorted(SAMPLES.glob("*.json")):
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{path.name}`")]
        if path.stem == "malformed":
            continue
        assert main(["explain", str(path), "--config", shipped, "--facts", facts, "--json"]) == 0
        (told,) = json.loads(capsys.readouterr().out)
        matched = {rule["rule"] for rule in told["rules"] if rule["outcome"] == "matched"}
        said = {rule["rule"] for rule in told["rules"] if f"`{rule['rule']}`" in row}
        assert matched == said - {"platform-failure"}  # that one asks for an error that these facts do not have


def test_help_needs_none_of_the_heavy_libraries():
    import subprocess
    import sys

    said = "import sys, shared.cli; shared.cli._parser(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "msgspec", "requests", "jinja2", "ruamel.yaml", "starlette", "azure.eventgrid"} & set(
        modules
    )
