"""SWITCHYARD_LIMITS: at each limit things pass, beyond it what docs/security.md says happens, and a higher one lets them through."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import function_app
from functions import host as functions_host
from local.host import discover
from shared import wire
from shared.bounds import DEFAULTS, RANGES, SETTING, Bounds, read_bounds
from shared.cli import main
from shared.cloud import doors
from shared.errors import PermanentError, TemporaryError
from shared.events import parse
from shared.record import EventRecord, Facts
from shared.rules.explain import as_text, explain
from shared.rules.load import load_texts
from shared.service import Service
from shared.settings import INTAKE_QUEUE, Settings
from shared.world import Search
from tests.station import Station, opened, run_event
from tests.test_web_silences import NOW, Desk
from tests.world import START, Outside

type Probe = Callable[[Settings, int, Path], Awaitable[str]]
"""What is said of so much of it; "" where it passes."""

RULE = "rules:\n  - name: r\n    event: RunCompleted\n{more}    do: [{{email: {{to: [a@example.com]}}}}]\n"


def limited(name: str, value: int, **more: str) -> Settings:
    return Settings.of({SETTING: f"{name}={value}", **more})


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


# --- The door, and answers ---


async def payload(settings: Settings, levels: int, _: Path) -> str:
    service = Service(Outside().world, settings, load_texts({}))
    before = list(functions_host._given)
    functions_host.use(service)
    try:
        body = msgspec.json.encode(run_event("deep") | {"data": nested(levels)})
        [text] = await discover(function_app.app).queues[INTAKE_QUEUE](func.QueueMessage(body=body))
    finally:
        functions_host._given[:] = before
    found = wire.unpack(text)
    return found.reason if isinstance(found, wire.Unread) else ""


async def answered(settings: Settings, folder: Path, handler: Callable[[web.Request], Awaitable[web.Response]]) -> int:
    app = web.Application()
    app.router.add_get("/", handler)
    server, there = TestServer(app), doors(settings, {}, folder)
    await server.start_server()
    try:
        return len((await there.http.send("GET", f"http://127.0.0.1:{server.port}/")).body)
    finally:
        await there.close()
        await server.close()


async def answer(settings: Settings, size: int, folder: Path) -> str:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * size)

    read = await answered(settings, folder, handler)
    return "" if read == size else f"{read} bytes are read"


async def patience(settings: Settings, seconds: int, folder: Path) -> str:
    """On the clock of the loop, which the far side moves; the client counts whole seconds."""
    loop = asyncio.get_running_loop()
    real, late = loop.time, 0.0

    async def handler(_request: web.Request) -> web.Response:
        nonlocal late
        late = seconds - 1
        for _ in range(5):
            await asyncio.sleep(0)
        return web.Response(body=b"x")

    loop.time = lambda: real() + late  # type: ignore[method-assign]
    try:
        await answered(settings, folder, handler)
    except TemporaryError as error:
        return str(error)
    finally:
        loop.time = real  # type: ignore[method-assign]
    return ""


# --- What people write ---


def configured(settings: Settings, folder: Path, rule: str, template: str = "title: t\n") -> Service:
    for name, text in (
        ("switchyard.yaml", "limits: {attempts: 3}\n"),
        ("rules/r.yaml", rule),
        ("templates/own.yaml", template),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return Service.of(Outside().world, settings)


async def refused(settings: Settings, folder: Path, rule: str, template: str = "title: t\n") -> str:
    service = configured(settings, folder, rule, template)
    return "; ".join(one.message for one in service.loaded.problems)


async def characters(settings: Settings, size: int, folder: Path) -> str:
    text = RULE.format(more="")
    return await refused(
        settings, folder, text + f"# {'x' * 98}\n" * ((size - len(text)) // 101) + "\n" * ((size - len(text)) % 101)
    )


async def levels(settings: Settings, depth: int, folder: Path) -> str:
    """`rules`, its entry, `match` and its line stand around what is nested."""
    inner = depth - 4
    more = f"    match: {'{not: ' * inner}{{tags.team: fraud}}{'}' * inner}\n"
    return await refused(settings, folder, RULE.format(more=more))


async def values(settings: Settings, count: int, folder: Path) -> str:
    text = RULE.format(more="    match: {tags.team: [MANY]}\n")
    rest = count - 12  # the list stands among so many others
    return await refused(settings, folder, text.replace("MANY", ",".join(f"t{n}" for n in range(rest))))


async def template(settings: Settings, size: int, folder: Path) -> str:
    return await refused(
        settings, folder, RULE.format(more=""), f"title: t\ntext: '{'x' * (size - 14)}{{{{ event.id }}}}'\n"
    )


async def expression(settings: Settings, size: int, folder: Path) -> str:
    when = "event.id != 'x'"
    return await refused(settings, folder, RULE.format(more=f'    when: "{when}{" " * (size - len(when))}"\n'))


def judged(settings: Settings, folder: Path, data: object) -> str:
    service = configured(
        settings, folder, RULE.format(more="    when: \"event.data.many.exists(i, string(i) == 'last')\"\n")
    )
    assert not service.loaded.problems
    event = parse(run_event("e", many=data))
    said = as_text(explain(service.loaded.rules, event, Facts()))
    return "" if "an error" not in said else said


async def expression_values(settings: Settings, count: int, folder: Path) -> str:
    """The event, `data` and `many` are values, too, and so are their names."""
    return judged(settings, folder, ["a"] * (count - 6) + ["last"])


async def expression_text(settings: Settings, count: int, folder: Path) -> str:
    return judged(settings, folder, ["x" * (count - len("datamanylast")), "last"])


# --- Messages ---


async def told(settings: Settings, folder: Path, template: str, **data: Any) -> str:
    rule = "rules: [{name: r, event: RunCompleted, do: [{notify: fraud, template: own}]}]\n"
    outside = Outside()
    with opened(folder / "state.db") as database:
        at = Station(outside, database, rule, **{"templates/own.yaml": template})
        at.service.settings = settings
        await at.send(run_event("e", **data))
        await at.work()
    [sent] = [one for one in outside.http.sent if b"AdaptiveCard" in one.body]
    return sent.body.decode()


async def turns(settings: Settings, count: int, folder: Path) -> str:
    text = "title: t\ntext: '{% for n in event.data.many %}{{ n }}{% endfor %}'\n"
    said = await told(settings, folder, text, many=["x"] * (count - 1) + ["end"])
    return "" if "xend" in said else "cut"


async def work(settings: Settings, amount: int, folder: Path) -> str:
    """A filter costs what goes in and what comes out, and ten for each."""
    text = "title: t\ntext: '{{ event.data.long | upper | length }}'\n"
    each = (amount - 40) // 3
    said = await told(settings, folder, text, long="x" * each)
    return "" if f"{each}" in said else said


# --- The API ---


async def body(settings: Settings, size: int, _: Path) -> str:
    said = json.dumps({"matchers": {"tags.team": "fraud"}, "reason": "r", "owner": "o", "for": "4h"}).encode()
    found = await Desk(settings=settings).ask("POST", "/api/silences", said.ljust(size))
    return "" if found.status == 201 else f"{found.status} {found.text}"


async def page(settings: Settings, rows: int, _: Path) -> str:
    for path in ("/api/events", "/api/rollouts"):
        found = await Desk(settings=settings).get(f"{path}?limit={rows}")
        if found.status != 200:
            return f"{found.status} {found.text}"
    return ""


async def silence(settings: Settings, days: int, _: Path) -> str:
    said: dict[str, Any] = {"matchers": {"tags.team": "fraud"}, "endpoint": "*", "reason": "r", "owner": "o"}
    answers = []
    for path in ("/api/silences", "/api/freezes"):
        for length in ({"for": f"{days}d"}, {"until": (NOW + timedelta(days=days)).isoformat()}):
            found = await Desk(settings=settings).api("POST", path, said | length)
            answers.append("" if found.status == 201 else f"{found.status} {found.text}")
    assert len({not one for one in answers}) == 1, answers
    return " ".join(answers).strip()


TABLE: dict[str, tuple[Probe, int, str]] = {
    "payload_levels": (payload, 1, "data is nested deeper than {limit} levels"),
    "answer_bytes": (answer, 1, "{limit} bytes are read"),
    "answer_seconds": (patience, 2, "no answer (TimeoutError)"),
    "file_characters": (characters, 1, "{limit:,} is the limit"),
    "file_levels": (levels, 1, "nested deeper than {limit} levels"),
    "file_values": (values, 1, "more than {limit} values"),
    "template_characters": (template, 1, "{limit:,} is the limit"),
    "template_turns": (turns, 1, "cut"),
    "template_work": (work, 99, "it goes through more than {limit:,} characters"),
    "expression_characters": (expression, 1, "expected at most {limit}"),
    "expression_values": (expression_values, 1, "more than {limit} values in the fields it names"),
    "expression_text": (expression_text, 1, "more than {limit} characters in the fields it names"),
    "body_bytes": (body, 1, "413"),
    "page": (page, 1, "a whole number from 1 to {limit}"),
    "silence_days": (silence, 1, "400"),
}
"""How it is tried, how much is just beyond it, and what is said then."""


def test_every_limit_is_tried() -> None:
    assert set(TABLE) == set(RANGES)


@pytest.mark.parametrize("name", TABLE)
async def test_at_a_limit_it_passes_beyond_it_not_and_a_higher_one_lets_it_through(name: str, tmp_path: Path) -> None:
    probe, step, words = TABLE[name]
    limit = 20 if name == "answer_seconds" else RANGES[name][0]
    folders = iter([tmp_path / f"{n}" for n in range(3)])

    async def said(setting: int, amount: int) -> str:
        folder = next(folders)
        folder.mkdir()
        given = limited(name, setting, SWITCHYARD_CONFIG=str(folder), SWITCHYARD_PRIVATE_HOSTS="127.0.0.1")
        assert not given.wrong
        return await probe(given, amount, folder)

    assert await said(limit, limit) == ""
    assert words.format(limit=limit) in await said(limit, limit + step)
    assert await said(limit + step, limit + step) == ""


async def test_what_a_template_renders_is_cut_at_the_same_limit(tmp_path: Path) -> None:
    """A card is shorter than that by itself; what goes to a webhook is not."""
    sends = '{webhook: {url: "https://x.example.com/", body: {long: "{{ event.data.long }}"}}}'
    for limit in (5_000, 6_000):
        outside = Outside()
        with opened(tmp_path / f"{limit}.db") as database:
            at = Station(outside, database, f"rules: [{{name: r, event: RunCompleted, do: [{sends}]}}]\n")
            at.service.settings = limited("template_characters", limit)
            await at.send(run_event("e", long="x" * 7_000))
            await at.work()
        [sent] = outside.http.sent
        assert json.loads(sent.body)["long"] == "x" * limit


async def test_the_highest_nesting_goes_all_the_way(tmp_path: Path) -> None:
    """What every reader of an event or a file goes down by itself."""
    name, most = "payload_levels", RANGES["payload_levels"][1]
    with opened(tmp_path / "state.db") as database:
        at = Station(Outside(), database, RULE.format(more="    match: {data.a: present}\n"))
        at.service.settings = limited(name, most)
        envelope = run_event("deep", a=nested(most - 1))
        await at.queues.put("switchyard-work", wire.arrived(envelope, START, levels=most))
        await at.work()
        record = parse(envelope, levels=most).record
        assert (await at.record(record)).status == "decided"
        desk = Desk(store=at.service.world.store)  # type: ignore[arg-type]  # what the pages read
        for path in (f"/api/events/{record}", f"/events/{record}"):
            assert (await desk.get(path)).status == 200
    name, most = "file_levels", RANGES["file_levels"][1]
    assert await levels(limited(name, most, SWITCHYARD_CONFIG=str(tmp_path)), most, tmp_path) == ""


async def test_what_was_refused_is_taken_when_the_limit_is_higher(tmp_path: Path) -> None:
    """Replayed, or given up by Event Grid and brought back."""
    deep = run_event("deep") | {"data": nested(100)}
    with opened(tmp_path / "state.db") as database:
        at = Station(Outside(), database, RULE.format(more=""))

        async def arrive() -> list[EventRecord]:
            at.outside.dead_letters.files["topic/1.json"] = json.dumps([deep]).encode()
            await at.service.on_dead_letters(at.outside.clock())
            await at.work()
            found = await at.service.world.store.events(Search(limit=50))
            return [one for one in found if one.event is None or one.event.id == "deep"]

        [refused] = await arrive()
        assert refused.refusal
        assert "nested deeper than 64 levels" in refused.refusal
        with pytest.raises(PermanentError, match="nested deeper than 64 levels"):
            await at.service.replay(refused.id)
        at.service.settings = limited("payload_levels", 100)
        await at.service.replay(refused.id)
        await at.work()
        assert [one.status for one in await arrive() if one.event] == ["decided"]


async def test_an_edit_is_read_by_the_same_limits() -> None:
    rule = RULE.format(more=f"    when: event.id != {' ' * 500}'x'\n")
    for settings, wrong in ((Settings(), 1), (limited("expression_characters", 600), 0)):
        outside = Outside()
        outside.documents.edited = {"switchyard.yaml": "limits: {attempts: 3}\n", "rules/r.yaml": rule}
        service = Service(outside.world, settings)
        await service.refresh()
        assert [len(service.loaded.rejected_files), len(service.loaded.rules)] == [wrong, 1 - wrong]


def test_the_door_knows_them_before_there_is_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions_host, "_given", [])
    monkeypatch.setenv(SETTING, "payload_levels=70")
    functions_host._bounds.cache_clear()
    try:
        assert functions_host.levels() == 70
    finally:
        functions_host._bounds.cache_clear()


def test_where_nothing_is_said_the_defaults_are() -> None:
    assert Settings.of({}).bounds == Settings().bounds == Bounds() == DEFAULTS
    assert read_bounds(" page = 60 ,, body_bytes=2048,") == (Bounds(page=60, body_bytes=2048), ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pages=60", "SWITCHYARD_LIMITS: there is no limit 'pages'; did you mean 'page'?"),
        ("zzz=1", "SWITCHYARD_LIMITS: there is no limit 'zzz'; known: payload_levels, answer_bytes,"),
        ("page", "page is '', expected a whole number from 50 to 999; it is 500 now"),
        ("=60", "there is no limit ''; known: payload_levels"),
        ("page=many", "page is 'many', expected a whole number from 50 to 999; it is 500 now"),
        ("page=49", "page is '49', expected a whole number from 50 to 999"),
        ("page=1000", "page is '1000', expected a whole number from 50 to 999"),
        ("page=-60", "page is '-60', expected"),
        ("page=６０", "page is '６０', expected"),
        (f"page={'9' * 5000}", "page is '9999999999999999999999999999999999999999', expected"),
        ("page=60,page=70", "page stands there twice, expected it once; it is 60 now"),
    ],
)
def test_what_is_wrong_is_said_in_the_log_and_the_others_count(
    text: str,
    said: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings.of({SETTING: f"{text},body_bytes=2048"})
    assert (settings.bounds.body_bytes, settings.bounds.page) == (2048, 60 if "60," in text else 500)
    doors(settings, {}, tmp_path)
    [record] = [one for one in caplog.records if "a part of a setting is wrong" in one.message]
    assert said in record.getMessage()


@pytest.mark.parametrize("name", RANGES)
def test_each_goes_from_its_lowest_to_its_highest(name: str) -> None:
    low, high = RANGES[name]
    for value in (low, high):
        assert read_bounds(f"{name}={value}") == (Bounds(**{name: value}), ())
    for value in (low - 1, high + 1):
        assert read_bounds(f"{name}={value}")[0] == DEFAULTS


def test_the_command_line_reads_as_the_service_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(Settings(config=str(tmp_path)), tmp_path, RULE.format(more=f"    when: event.id != {' ' * 500}'x'\n"))
    for limit, status in (("", 1), ("expression_characters=600", 0)):
        monkeypatch.setenv(SETTING, limit)
        assert main(["check", str(tmp_path)]) == status
    assert "expected at most 500" in capsys.readouterr().out
    monkeypatch.setenv(SETTING, "expression_characters=many")
    assert main(["check", str(tmp_path)]) == 1
    assert "expression_characters is 'many', expected a whole number from 100 to 5000" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["switchyard.yaml", "rules/r.yaml"])
def test_no_file_of_the_configuration_raises_one(file: str) -> None:
    loaded = load_texts({"switchyard.yaml": "limits: {attempts: 3}\n", file: "limits: {file_levels: 99}\n"})
    assert [one.file for one in loaded.problems] == [file]
    assert "unknown key" in loaded.problems[0].message
