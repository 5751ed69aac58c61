"""Azure Monitor in the box: the same counts whenever asked, a little late, and an error for what it does not understand."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from simulator import kusto
from simulator.app import Box
from simulator.state import Fault
from simulator.traffic import Arm, Manners, Traffic

PATH = (
    "/subscriptions/5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59/resourceGroups/mlops"
    "/providers/Microsoft.MachineLearningServices/workspaces/dev"
)
MORNING = datetime(2026, 11, 20, 8, tzinfo=UTC)
TABLE = "AmlOnlineEndpointTrafficLog"


def query(endpoint: str, since: datetime, until: datetime) -> str:
    span = [f"datetime({moment:%Y-%m-%dT%H:%M:%SZ})" for moment in (since, until)]
    return (
        f"{TABLE} | where TimeGenerated >= {span[0]} and TimeGenerated < {span[1]} | where EndpointName == '{endpoint}'"
        " | extend Code = toint(ResponseCode) | summarize requests = count(), http_5xx = countif(Code >= 500),"
        " http_4xx = countif(Code >= 400 and Code < 500), latency_over_400 = countif(TotalDurationMs > 400),"
        " ['latency_over_0.5'] = countif(TotalDurationMs > 0.5), total = sum(TotalDurationMs),"
        " squares = sum(TotalDurationMs * TotalDurationMs) by bin(TimeGenerated, 1m), DeploymentName"
    )


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=0, start=MORNING) as box:
        yield box


@pytest.fixture(scope="module")
def logs(box: Box) -> Iterator[Any]:
    from azure.identity import ClientSecretCredential
    from azure.monitor.query import LogsQueryClient

    named = [box.environment[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
    credential = ClientSecretCredential(
        *named, authority=box.https, disable_instance_discovery=True, connection_verify=box.ca
    )
    with LogsQueryClient(
        credential, endpoint=box.environment["AZURE_LOGS_URL"], connection_verify=box.ca, retry_total=0
    ) as client:
        yield client


@pytest.fixture
def arm(box: Box) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.verify, session.trust_env = box.ca, False
        session.headers["Authorization"] = "Bearer anything"
        yield session


def served(box: Box, name: str, **sick: object) -> str:
    """An endpoint with a champion, and green beside it with a fifth of the traffic mirrored, from now on."""
    box.serve(PATH, name, "fraud:12")
    arm = {"headers": {"Authorization": "Bearer anything"}, "verify": box.ca, "timeout": 5}
    tags = {f"simulated_{key}": str(value) for key, value in sick.items()}
    body = {"tags": tags, "properties": {"model": f"{PATH}/models/fraud/versions/12"}}
    requests.put(f"{box.https}{PATH}/onlineEndpoints/{name}/deployments/green", json=body, **arm).raise_for_status()  # type: ignore[arg-type]
    box.sim.clock.advance(300)
    shift = {"workspace": PATH, "endpoint": name, "traffic": {"blue": 100}, "mirror": {"green": 20}}
    requests.post(f"{box.http}/control/traffic", json=shift, timeout=5).raise_for_status()
    return f"{PATH}/onlineEndpoints/{name}"


def minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def test_the_log_has_a_row_for_each_minute_and_deployment(box, logs):
    endpoint = served(box, "counted", error_rate=0.5, latency_ms=400)
    since = box.sim.clock.now()
    box.sim.clock.advance(1800)
    table = logs.query_resource(endpoint, query("counted", since, since + timedelta(minutes=20)), timespan=None).tables[
        0
    ]
    assert table.columns[:3] == ["TimeGenerated", "DeploymentName", "requests"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert Counter(row["DeploymentName"] for row in rows) == {"blue": 20, "green": 20}
    sums = {
        arm: {key: sum(row[key] for row in rows if row["DeploymentName"] == arm) for key in table.columns[2:]}
        for arm in ("blue", "green")
    }
    blue, green = sums["blue"], sums["green"]
    assert 20 * 600 * 0.8 < blue["requests"] < 20 * 600 * 1.2
    assert 0.16 < green["requests"] / blue["requests"] < 0.24
    assert blue["http_5xx"] / blue["requests"] < 0.006
    assert 0.45 < green["http_5xx"] / green["requests"] < 0.55
    assert (blue["latency_over_400"], blue["latency_over_0.5"]) == (0, blue["requests"])
    assert 0.45 < green["latency_over_400"] / green["requests"] < 0.55
    mean = blue["total"] / blue["requests"]
    assert 40 < mean < 47  # the median is 40, and log-normal
    assert 10 < math.sqrt(blue["squares"] / blue["requests"] - mean**2) < 30


def test_the_log_knows_a_request_about_two_minutes_later_and_never_less_than_before(box, logs):
    endpoint = served(box, "late")
    box.sim.clock.advance(60 - box.sim.clock.now().second)
    since = box.sim.clock.now()
    seen = []
    for _ in range(8):
        result = logs.query_resource(endpoint, query("late", since, since + timedelta(minutes=1)), timespan=None)
        seen.append(sum(row[2] for row in result.tables[0].rows))
        box.sim.clock.advance(30)
    assert seen[:4] == [0, 0, 0, 0]
    assert sorted(seen) == seen
    assert 0 < seen[5] < seen[7]
    assert seen[7] > 500


def test_a_timespan_narrows_the_query_and_a_workspace_sees_all_its_endpoints(box, logs):
    served(box, "here"), served(box, "there")
    since = minute(box.sim.clock.now()) + timedelta(minutes=1)
    box.sim.clock.advance(900)
    text = f"{TABLE} | summarize n = count() by bin(TimeGenerated, 1m), EndpointName"
    span = (since, since + timedelta(minutes=2))
    for result in (logs.query_workspace("any", text, timespan=span), logs.query_resource(PATH, text, timespan=span)):
        assert {row[1] for row in result.tables[0].rows} >= {"here", "there"}
        assert {row[0] for row in result.tables[0].rows} == {since, since + timedelta(minutes=1)}


def test_a_request_that_somebody_made_is_logged_too(box, logs, arm):
    box.serve(PATH, "probed", "fraud:12", auth="Key")
    requests.post(
        f"{box.http}/control/load", json={"workspace": PATH, "endpoint": "probed", "per_minute": 0}, timeout=5
    )
    url = f"{box.https}{PATH}/onlineEndpoints/probed"
    key = arm.post(f"{url}/listKeys").json()["primaryKey"]
    since = box.sim.clock.now()
    for _ in range(3):
        requests.post(
            arm.get(url).json()["properties"]["scoringUri"],
            json={"rows": 1},
            headers={"Authorization": f"Bearer {key}"},
            verify=box.ca,
            timeout=5,
        )
    box.sim.clock.advance(300)
    text = (
        f"{TABLE} | where TimeGenerated >= datetime({since:%Y-%m-%dT%H:%M:%SZ})"
        " | extend Code = iff(toint(ResponseCode) == 424, toint(ModelStatusCode), toint(ResponseCode))"
        " | summarize n = count(), bad = countif(Code == 400 or Code >= 500) by DeploymentName"
    )
    result = logs.query_resource(f"{PATH}/onlineEndpoints/probed", text, timespan=None)
    assert [list(row) for row in result.tables[0].rows] == [["blue", 3, 3]]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("StormEvents | summarize n = count()", "SEM0100", "table expression named 'StormEvents'"),
        (f"{TABLE} | where Colour == 'red' | summarize n = count()", "SEM0100", "column expression named 'Colour'"),
        (f"{TABLE} | take 10", "SYN0002", "'take' on line [1,30]"),
        (f"{TABLE}\n| summarize n = dcount(DeploymentName)", "SYN0002", "'dcount' on line [2,16]"),
        (f"{TABLE} | summarize n = count() by bin(TimeGenerated, 5m)", "SYN0002", "'5m'"),
        (f"{TABLE} | where TimeGenerated > datetime(yesterday) | summarize n = count()", "SYN0002", "yesterday"),
        (f"{TABLE} | summarize n = count() | where n > 1", "SYN0002", "'where'"),
        (f"{TABLE} | where DeploymentName == 'a", "SYN0002", "'''"),
        (f"{TABLE} | summarize n = countif(TotalDurationMs >)", "SYN0002", "')'"),
        (f"{TABLE} | summarize n = count(", "SYN0002", "'<EOF>'"),
        (f"{TABLE} | extend a = iff(1 == 1, 2) | summarize n = count()", "SEM0219", "arguments"),
        (f"{TABLE}", "SEM0001", "summarize"),
        ("", "SYN0002", "<EOF>"),
    ],
)
def test_what_it_does_not_understand_is_a_kusto_error(box, arm, text, code, words):
    answer = arm.post(f"{box.https}/v1/workspaces/w/query", json={"query": text})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "BadArgumentError"
    inner = error["innererror"]["innererror"]
    assert (inner["code"], words in inner["message"]) == (code, True), inner


def test_the_sdk_raises_such_an_error_with_its_words(logs):
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match="StormEvents"):
        logs.query_workspace("w", "StormEvents | summarize n = count()", timespan=None)


def test_the_logs_can_go_blind_in_two_ways_and_only_a_bearer_may_ask(box, logs):
    from azure.core.exceptions import HttpResponseError

    endpoint = served(box, "unseen")
    since = box.sim.clock.now()
    box.sim.clock.advance(900)
    text = query("unseen", since, since + timedelta(minutes=5))

    def see(blindness: str) -> None:
        requests.post(f"{box.http}/control/sight", json={"logs": blindness}, timeout=5).raise_for_status()

    see("empty")
    assert logs.query_resource(endpoint, text, timespan=None).tables[0].rows == []
    see("fails")
    with pytest.raises(HttpResponseError, match="not able"):
        logs.query_resource(endpoint, text, timespan=None)
    see("")
    assert logs.query_resource(endpoint, text, timespan=None).tables[0].rows
    box.sim.faults.append(Fault("logs", 500))
    url = f"{box.https}/v1{endpoint}/query"
    assert requests.post(url, json={}, verify=box.ca, timeout=5).status_code == 500
    assert requests.post(url, json={}, verify=box.ca, timeout=5).status_code == 401


def points(answer: requests.Response) -> dict[tuple[str, ...], list[float | None]]:
    answer.raise_for_status()
    [metric] = answer.json()["value"]
    return {
        tuple(item["value"] for item in series["metadatavalues"]): [point.get("average") for point in series["data"]]
        for series in metric["timeseries"]
    }


def test_metrics_tell_requests_by_deployment_and_class_and_nothing_of_the_last_two_minutes(box, arm, logs):
    endpoint = served(box, "measured", error_rate=0.5)
    box.sim.clock.advance(60 - box.sim.clock.now().second)
    since = box.sim.clock.now()
    box.sim.clock.advance(600)
    asked = {
        "metricnames": "RequestsPerMinute",
        "interval": "PT1M",
        "timespan": f"{since:%Y-%m-%dT%H:%M:%SZ}/{since + timedelta(minutes=10):%Y-%m-%dT%H:%M:%SZ}",
        "$filter": "(deployment eq 'green' or deployment eq 'blue') and statusCodeClass eq '*'",
    }
    url = f"{box.https}{endpoint}/providers/Microsoft.Insights/metrics"
    found = points(arm.get(url, params=asked))
    assert found.keys() >= {("blue", "2xx"), ("green", "2xx"), ("green", "5xx")}
    for values in found.values():
        assert [value is None for value in values] == [False] * 8 + [True] * 2
    table = logs.query_resource(endpoint, query("measured", since, since + timedelta(minutes=5)), timespan=None).tables[
        0
    ]
    logged = [row[3] for row in sorted(table.rows, key=lambda row: row[0]) if row[1] == "green"]
    assert found["green", "5xx"][:5] == logged
    [late] = points(
        arm.get(url, params=asked | {"metricnames": "RequestLatency_P95", "$filter": "deployment eq 'blue'"})
    ).values()
    assert all(50 < value < 120 for value in late[:8] if value)
    for wrong in ({"metricnames": "Joy"}, {"interval": "PT5M"}, {"$filter": "colour eq 'red'"}, {"timespan": "now"}):
        refused = arm.get(url, params=asked | wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "BadRequest")


# The requests themselves, without a server.


def drawn(traffic: Traffic, minutes: range, now: float = 1e9) -> list[Sequence[object]]:
    return [tuple(traffic.rows(each, now)) for each in minutes]


def arms(**shares: float) -> list[Arm]:
    return [Arm(name, share, Manners()) for name, share in shares.items()]


def test_the_same_minute_is_the_same_whenever_and_in_whatever_order_it_is_asked():
    one, other, third = Traffic("7/e"), Traffic("7/e"), Traffic("8/e")
    for each in (one, other, third):
        each.turn(0, arms(blue=1), 600, 0)
        each.turn(630, arms(blue=0.9, green=0.1), 600, 0)
    assert drawn(one, range(20)) == drawn(other, range(19, -1, -1))[::-1] == drawn(one, range(20), now=0)
    assert drawn(one, range(20)) != drawn(third, range(20))


def test_a_change_within_a_minute_counts_from_its_second_on():
    traffic = Traffic("7/e")
    traffic.turn(0, arms(blue=1), 6000, 0)
    traffic.turn(90, arms(green=1), 6000, 0)
    by = Counter((row.deployment, row.at >= 90) for row in traffic.rows(1, 1e9))
    assert set(by) == {("blue", False), ("green", True)}
    assert all(2400 < n < 3600 for n in by.values())


def test_an_incident_strikes_every_arm():
    traffic = Traffic("7/e")
    traffic.turn(0, arms(blue=0.5, green=0.5), 6000, 0.3)
    rows = traffic.rows(0, 1e9)
    for arm in ("blue", "green"):
        mine = [row for row in rows if row.deployment == arm]
        assert 0.25 < sum(row.status == 500 for row in mine) / len(mine) < 0.36


def test_nonsense_in_a_tag_is_no_manner():
    assert Manners.of({"simulated_error_rate": "often", "simulated_provisioning": "maybe"}) == Manners()
    assert Manners.of({"simulated_error_rate": "0.5"}, {"simulated_error_rate": "0.1"}).error_rate == 0.1


def test_a_query_whose_times_are_part_of_something_else_has_no_shape():
    columns = {"T": {"TimeGenerated": "datetime", "A": "string"}}
    plain = "T | where TimeGenerated >= datetime(2026-01-01) and TimeGenerated < datetime(2026-01-02) | summarize n = count()"
    assert (
        kusto.parse(plain, columns).shape == kusto.parse(plain.replace("2026-01-01", "2025-01-01"), columns).shape != ""
    )
    other = "T | where TimeGenerated >= datetime(2026-01-01) or A == 'x' | summarize n = count()"
    parsed = kusto.parse(other, columns)
    assert (parsed.shape, parsed.since) == ("", None)
