"""Counts by the real azure-monitor-query and by REST, against the simulated Azure Monitor and one that says what we script."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any, Literal
from urllib.parse import unquote

import pytest
import trustme
from aiohttp import web

from shared.cloud import Doors, doors
from shared.cloud.counts import MonitorCounts, query
from shared.errors import PermanentError, TemporaryError
from shared.record import WorkspaceRef
from shared.rollout.policy import BinaryGate, CeilingGate, Gate, MeanGate
from shared.rollout.record import Minute, Pair
from shared.settings import Settings
from shared.world import EndpointRef
from simulator.app import Box
from simulator.online import Endpoint
from simulator.state import Fault

WHERE = WorkspaceRef("6560575d-fa06-4e7d-95fb-f962e74efd7a", "rg-ml", "prod")
START = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
GATES: tuple[Gate, ...] = (
    BinaryGate(bad="http_5xx"),
    BinaryGate(bad="latency_over", slo_ms=400),
    CeilingGate(ceiling="error_rate", max=0.2),
    CeilingGate(ceiling="latency_over", max=0.5, slo_ms=40),
    MeanGate(mean="latency_ms"),
)
REF = EndpointRef(WHERE, "fraud")
ARMS = ("green", ("blue",))
MINUTE = timedelta(minutes=1)


def test_the_query_is_the_one_that_was_agreed() -> None:
    assert query("fraud", (START, START + 5 * MINUTE), [400]) == (
        "AmlOnlineEndpointTrafficLog | where TimeGenerated >= datetime(2026-11-20T08:30:00Z)"
        " and TimeGenerated < datetime(2026-11-20T08:35:00Z) | where EndpointName == 'fraud'"
        " | extend Code = iff(toint(ResponseCode) == 424, iff(toint(ModelStatusCode) < 500, toint(ModelStatusCode), 500),"
        " toint(ResponseCode)) | summarize requests = count(), http_5xx = countif(Code >= 500),"
        " http_4xx = countif(Code >= 400 and Code < 500), latency_over_400 = countif(TotalDurationMs > 400),"
        " total = sum(TotalDurationMs), squares = sum(TotalDurationMs * TotalDurationMs)"
        " by bin(TimeGenerated, 1m), DeploymentName"
    )


def test_a_name_can_not_leave_its_quotes() -> None:
    asked = query("x' | union SecretTable | where 'a\\' == '", (START, START + MINUTE), [0.5])
    assert r"EndpointName == 'x\' | union SecretTable | where \'a\\\' == \''" in asked
    assert "['latency_over_0.5'] = countif(TotalDurationMs > 0.5)" in asked


# Against the simulated Azure Monitor


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=0, seed=1) as box:
        yield box


@pytest.fixture
async def outside(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Doors]:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))
    made = doors(Settings.of(box.environment), box.environment, tmp_path)
    yield made
    await made.close()
    box.sim.faults.clear()
    box.azure.monitor.blind = ""


def canary(box: Box, name: str, error_rate: float) -> Endpoint:
    """Half an hour of traffic to blue and green, one half each."""

    async def make() -> Endpoint:
        ml = box.azure.azureml
        here = ml.workspace(WHERE.subscription, WHERE.resource_group, WHERE.workspace)
        endpoint = box.azure.endpoints.serve(here, name, "fraud:6")
        blue = endpoint.deployments["blue"]
        endpoint.deployments["green"] = type(blue)(
            "green",
            {"properties": dict(blue.body["properties"]), "tags": {"simulated_error_rate": str(error_rate)}},
            box.sim.clock.now(),
            state="Succeeded",
            up=True,
        )
        box.azure.endpoints.shift(endpoint, {"blue": 50, "green": 50}, {})
        return endpoint

    made = box.run(make())
    box.sim.clock.advance(1800)
    return made


def last(box: Box, minutes: int, ago: int = 5) -> tuple[datetime, datetime]:
    end = box.sim.clock.now() - ago * MINUTE
    return end - minutes * MINUTE, end


@pytest.mark.parametrize("source", ["logs", "metrics"])
async def test_a_canary_that_fails_more_often_is_seen_in_either_source(
    box: Box, outside: Doors, source: Literal["logs", "metrics"]
) -> None:
    canary(box, f"seen-{source}", 0.3)
    pairs = await outside.counts.minutes(EndpointRef(WHERE, f"seen-{source}"), source, ARMS, last(box, 12), GATES)
    assert len(pairs) == 11  # whole minutes
    assert [one.at.second for one in pairs] == [0] * 11
    green, blue = ([minute for one in pairs if (minute := getattr(one, arm))] for arm in ("canary", "baseline"))
    assert len(green) == len(blue) == 11
    bad, good = (sum(one.bad["http_5xx"] for one in arm) / sum(one.requests for one in arm) for arm in (green, blue))
    assert 0.2 < bad < 0.4
    assert good < 0.02
    assert (green[0].total is None) is (source == "metrics")


async def test_both_sources_count_the_same(box: Box, outside: Doors) -> None:
    canary(box, "same", 0.1)
    ref, span = EndpointRef(WHERE, "same"), last(box, 10)
    by_log, by_metric = [await outside.counts.minutes(ref, one, ARMS, span, ()) for one in ("logs", "metrics")]
    assert [(one.canary and one.canary.requests, one.canary and one.canary.bad) for one in by_log] == [
        (one.canary and one.canary.requests, one.canary and one.canary.bad) for one in by_metric
    ]


async def test_logs_that_know_nothing_are_not_healthy_logs(box: Box, outside: Doors) -> None:
    canary(box, "blind", 0.1)
    box.azure.monitor.blind = "empty"
    pairs = await outside.counts.minutes(EndpointRef(WHERE, "blind"), "logs", ARMS, last(box, 10), GATES)
    assert pairs
    assert all(one.canary is None and one.baseline is None for one in pairs)


async def test_an_idle_endpoint_is_known_to_be_idle_by_its_metrics(box: Box, outside: Doors) -> None:
    """No row in the log is "no request" or "no log": the metrics tell which."""
    endpoint = canary(box, "idle", 0.1)
    endpoint.per_minute = 0
    box.azure.endpoints.turn(endpoint, box.sim.clock.now())
    box.sim.clock.advance(1800)
    pairs = await outside.counts.minutes(EndpointRef(WHERE, "idle"), "logs", ARMS, last(box, 10), GATES)
    assert {one.canary and one.canary.requests for one in pairs} == {0}
    assert {one.baseline and one.baseline.requests for one in pairs} == {0}
    box.sim.faults.append(Fault("metrics", 503, 9))
    pairs = await outside.counts.minutes(EndpointRef(WHERE, "idle"), "logs", ARMS, last(box, 10), GATES)
    assert {one.canary for one in pairs} == {None}


async def test_the_last_minutes_of_the_metrics_are_unknown_and_not_nought(box: Box, outside: Doors) -> None:
    canary(box, "late", 0.1)
    pairs = await outside.counts.minutes(EndpointRef(WHERE, "late"), "metrics", ARMS, last(box, 6, ago=0), GATES)
    assert pairs[0].canary is not None
    assert (pairs[-1].canary, pairs[-1].baseline) == (None, None)


@pytest.mark.parametrize("source", ["logs", "metrics"])
@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (503, TemporaryError, "of endpoint fraud: HTTP 503"),
        (429, TemporaryError, "HTTP 429"),
        (403, PermanentError, "probably lacks the role 'Monitoring Reader' on the workspace"),
    ],
)
async def test_a_source_that_does_not_answer_says_so_once(  # noqa: PLR0917 (a table)
    box: Box, outside: Doors, source: Literal["logs", "metrics"], status: int, kind: type[Exception], said: str
) -> None:
    box.sim.faults += [Fault("logs", status, retry_after=7), Fault("metrics", status, retry_after=7)]
    with pytest.raises(kind, match=said):
        await outside.counts.minutes(REF, source, ARMS, (START, START + MINUTE), GATES)


async def test_a_batch_endpoint_has_no_counts(outside: Doors) -> None:
    with pytest.raises(PermanentError, match="batch endpoint fraud has no counts"):
        await outside.counts.minutes(EndpointRef(WHERE, "fraud", "batch"), "logs", ARMS, (START, START + MINUTE), GATES)


# Against a Monitor that says what we script


@dataclass
class Monitor:
    """Answers every request with `body`; keeps what it was asked."""

    url: str = ""
    status: int = 200
    body: object = None
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path_qs, await request.json() if request.can_read_body else None))
        return web.json_response(self.body, status=self.status)


def authority_of(box: Box) -> bytes:
    return Path(box.ca).read_bytes()


@pytest.fixture
async def monitor(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Monitor]:
    authority, context = trustme.CA(), SSLContext(PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    both = tmp_path / "ca.pem"
    both.write_bytes(authority.cert_pem.bytes() + authority_of(box))  # tokens come from the box
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(both))
    made, app = Monitor(), web.Application()
    app.router.add_route("*", "/{any:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
    await site.start()
    made.url = f"https://localhost:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def counts(box: Box, monitor: Monitor, tmp_path: Path) -> AsyncIterator[MonitorCounts]:
    settings = {**box.environment, "AZURE_LOGS_URL": f"{monitor.url}/v1", "AZURE_RESOURCE_MANAGER_URL": monitor.url}
    made = doors(Settings.of(settings), settings, tmp_path)
    yield made.counts
    await made.close()


COLUMNS = (
    "TimeGenerated",
    "DeploymentName",
    "requests",
    "http_5xx",
    "http_4xx",
    "latency_over_400",
    "total",
    "squares",
)


def log(*rows: tuple[int, str, int, int], error: object = None) -> dict[str, object]:
    """Rows of the answer: minute, deployment, requests, failures."""
    columns = [{"name": name, "type": "datetime" if name == "TimeGenerated" else "long"} for name in COLUMNS]
    filled = [
        [f"{START + n * MINUTE:%Y-%m-%dT%H:%M:%SZ}", name, all_, bad, 0, 1, all_ * 50, all_ * 2500]
        for n, name, all_, bad in rows
    ]
    said: dict[str, object] = {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": filled}]}
    return said | ({"error": error} if error else {})


async def test_no_request_to_one_arm_is_nought_and_no_row_at_all_is_unknown(
    monitor: Monitor, counts: MonitorCounts
) -> None:
    monitor.body = log((0, "green", 10, 1), (0, "blue", 90, 2), (1, "blue", 100, 0), (3, "other", 5, 0))
    pairs = await counts.minutes(
        REF, "logs", ("green", ("blue", "grey")), (START, START + 4 * MINUTE), [BinaryGate("latency_over", slo_ms=400)]
    )
    none = Minute(0, {"http_5xx": 0, "http_4xx": 0, "latency_over_400": 0}, 0.0, 0.0)
    green = Minute(10, {"http_5xx": 1, "http_4xx": 0, "latency_over_400": 1}, 500.0, 25_000.0)
    blue = Minute(90, {"http_5xx": 2, "http_4xx": 0, "latency_over_400": 1}, 4500.0, 225_000.0)
    assert pairs[0] == Pair(START, green, blue)
    assert (pairs[1].canary, pairs[1].baseline and pairs[1].baseline.requests) == (none, 100)
    assert pairs[2] == Pair(START + 2 * MINUTE)
    assert pairs[3] == Pair(START + 3 * MINUTE, none, none)  # only who is on neither side had requests


async def test_several_deployments_together_are_the_baseline(monitor: Monitor, counts: MonitorCounts) -> None:
    monitor.body = log((0, "blue", 10, 1), (0, "grey", 30, 2))
    [pair] = await counts.minutes(REF, "logs", ("green", ("blue", "grey")), (START, START + MINUTE), ())
    assert pair.baseline == Minute(40, {"http_5xx": 3, "http_4xx": 0}, 2000.0, 100_000.0)


async def test_only_whole_minutes_are_asked_for_and_of_the_endpoint_itself(
    monitor: Monitor, counts: MonitorCounts
) -> None:
    monitor.body = log()
    second = timedelta(seconds=1)
    pairs = await counts.minutes(REF, "logs", ARMS, (START + second, START + 3 * MINUTE - second), GATES)
    assert [one.at for one in pairs] == [START + MINUTE]
    (path, body), (second_opinion, _) = monitor.asked
    assert "/providers/Microsoft.Insights/metrics?" in second_opinion
    assert path.startswith("/v1/subscriptions/6560575d-fa06-4e7d-95fb-f962e74efd7a/resourceGroups/rg-ml/providers/")
    assert path.partition("?")[0].endswith("/workspaces/prod/onlineEndpoints/fraud/query")
    assert body["timespan"] == "2026-11-20T08:31:00.000Z/2026-11-20T08:32:00.000Z"
    assert body["query"] == query("fraud", (START + MINUTE, START + 2 * MINUTE), [40, 400])
    assert await counts.minutes(REF, "logs", ARMS, (START + second, START + MINUTE), GATES) == []
    assert len(monitor.asked) == 2


async def test_half_an_answer_is_none(monitor: Monitor, counts: MonitorCounts) -> None:
    error = {"code": "PartialError", "message": "the query ran too long", "details": []}
    monitor.body = log((0, "green", 10, 0), error=error)
    with pytest.raises(TemporaryError, match=r"endpoint fraud: only a part came.*the query ran too long"):
        await counts.minutes(REF, "logs", ARMS, (START, START + MINUTE), GATES)


async def test_an_endpoint_that_sends_no_log_is_told_what_to_set_up(monitor: Monitor, counts: MonitorCounts) -> None:
    said = "Failed to resolve table or column expression named 'AmlOnlineEndpointTrafficLog'"
    inner = {"code": "SemanticError", "message": f"A semantic error occurred. 'where' operator: {said}"}
    error = {"code": "BadArgumentError", "message": "The request had some invalid properties", "innererror": inner}
    monitor.status, monitor.body = 400, {"error": error}
    with pytest.raises(PermanentError, match="diagnostic setting of the endpoint has to send AmlOnlineEndpointTraffic"):
        await counts.minutes(REF, "logs", ARMS, (START, START + MINUTE), GATES)


def series(deployment: str, code: str, *values: float | None, model: str = "200") -> dict[str, object]:
    return {
        "metadatavalues": [
            {"name": {"value": "deployment"}, "value": deployment},
            {"name": {"value": "statuscode"}, "value": code},
            {"name": {"value": "modelstatuscode"}, "value": model},
        ],
        "data": [
            {"timeStamp": f"{START + n * MINUTE:%Y-%m-%dT%H:%M:%SZ}"} | ({} if value is None else {"average": value})
            for n, value in enumerate(values)
        ],
    }


async def test_a_metric_without_a_value_is_unknown_and_never_nought(monitor: Monitor, counts: MonitorCounts) -> None:
    given = [
        series("green", "200", 9.0, 8.0, None, None),
        series("green", "503", 1.0, None, None, None),
        series("green", "424", None, 1.0, None, None, model="400"),
        series("green", "424", 2.0, None, None, None, model="500"),
        series("green", "404", None, 1.0, None, None),
        series("blue", "200", 90.0, 91.0, 92.0, 0.0),
    ]
    monitor.body = {"value": [{"name": {"value": "RequestsPerMinute"}, "timeseries": given}]}
    pairs = await counts.minutes(REF, "metrics", ARMS, (START, START + 5 * MINUTE), GATES)
    assert [one.canary for one in pairs] == [
        Minute(12, {"http_5xx": 3, "http_4xx": 0}),
        Minute(10, {"http_5xx": 0, "http_4xx": 2}),
        None,
        None,
        None,
    ]
    assert [one.baseline and one.baseline.requests for one in pairs] == [90, 91, 92, 0, None]
    [(path, _)] = monitor.asked
    assert "/onlineEndpoints/fraud/providers/Microsoft.Insights/metrics?" in path
    for part in (
        "metricnames=RequestsPerMinute",
        "aggregation=average",
        "interval=PT1M",
        "statusCode eq '*'",
        "'green'",
    ):
        assert part in unquote(path)
    assert "timespan=2026-11-20T08:30:00Z/2026-11-20T08:35:00Z" in unquote(path)
