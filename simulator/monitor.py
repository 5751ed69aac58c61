"""Azure Monitor: the log of requests by Kusto, and the metrics of endpoints. Both know the last minutes later, or not at all."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from statistics import mean, quantiles
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator import kusto, outcomes
from simulator.arm import PROVIDER, WORKSPACE, Json, Refused, door, guid, read
from simulator.online import Endpoint, OnlineEndpoints
from simulator.state import Simulated
from simulator.traffic import Row, settled

type Blindness = Literal["", "fails", "empty"]

_COLUMNS: Final = {
    "AmlOnlineEndpointTrafficLog": {
        "TimeGenerated": "datetime",
        "EndpointName": "string",
        "DeploymentName": "string",
        "ResponseCode": "string",
        "ModelStatusCode": "string",
        "TotalDurationMs": "int",
    },
    **outcomes.COLUMNS,
}
_KEPT: Final = 20_000
_MOST_MINUTES: Final = 60 * 24 * 7
_NULLS: Final = timedelta(minutes=2)
_DIMENSIONS: Final[Mapping[str, Callable[[Row], str]]] = {
    "deployment": lambda row: row.deployment,
    "statuscode": lambda row: str(row.status),
    "statuscodeclass": lambda row: f"{row.status // 100}xx",
    "modelstatuscode": lambda row: str(row.model_status),
}
_CONDITION: Final = re.compile(r"\s*(\w+)\s+eq\s+'([^']*)'\s*")


def _milliseconds(rows: Sequence[Row]) -> list[int]:
    return [row.ms for row in rows]


def _percentile(percent: int) -> Callable[[Sequence[Row]], float | None]:
    def of(rows: Sequence[Row]) -> float | None:
        return quantiles(_milliseconds(rows) * 2, n=100)[percent - 1] if rows else None

    return of


_METRICS: Final[Mapping[str, tuple[str, Callable[[Sequence[Row]], float | None]]]] = {
    "RequestsPerMinute": ("Count", lambda rows: float(len(rows))),
    "RequestLatency": ("MilliSeconds", lambda rows: mean(_milliseconds(rows)) if rows else None),
    **{f"RequestLatency_P{percent}": ("MilliSeconds", _percentile(percent)) for percent in (50, 90, 95, 99)},
}
"""By name: the unit, and the value of a minute."""


@dataclass
class Monitor:
    """`blind`: the logs fail, or know nothing."""

    sim: Simulated
    endpoints: OnlineEndpoints
    outcomes: outcomes.Outcomes
    blind: Blindness = ""

    def __post_init__(self) -> None:
        self._told: OrderedDict[tuple[str, str, int], list[list[kusto.Value]]] = OrderedDict()

    def routes(self) -> list[BaseRoute]:
        logs = door(self.sim, "logs", self._logs)
        metrics = f"{WORKSPACE}/onlineEndpoints/{{endpoint}}/providers/Microsoft.Insights/metrics"
        return [
            Route("/v1/workspaces/{id}/query", logs, methods=["POST"]),
            Route("/v1/{resource:path}/query", logs, methods=["POST"]),
            Route(metrics, door(self.sim, "metrics", self._metrics)),
        ]

    # Logs

    async def _logs(self, request: Request) -> Response:
        if self.blind == "fails":
            raise Refused(503, "ServiceUnavailable", "The service is not able to answer at the moment.")
        body = await read(request)
        try:
            query = kusto.parse(str(body.get("query") or ""), _COLUMNS)
            since, until = _span(body.get("timespan"))
        except kusto.Misunderstood as error:
            return _misunderstood(error)
        query.since = max((each for each in (query.since, since) if each is not None), default=None)
        query.until = min((each for each in (query.until, until) if each is not None), default=None)
        found = [] if self.blind else self._answers(query, request.path_params.get("resource"))
        names = kusto.columns(query)
        rows = [[_shown(value, kind) for value, (_, kind) in zip(row, names, strict=True)] for row in found]
        columns = [{"name": name, "type": kind} for name, kind in names]
        return JSONResponse({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]})

    def _answers(self, query: kusto.Query, resource: str | None) -> list[list[kusto.Value]]:
        if query.table in outcomes.COLUMNS:
            now = self.sim.clock.now().timestamp()
            until = now if query.until is None else min(now, query.until)
            rows = self.outcomes.rows(query.table, until - 86_400 if query.since is None else query.since, until)
            return query.run((row, 1) for row in rows) if query.aggregates else query.pick(rows)
        found = []
        for endpoint in self._scope(resource):
            for minute in self._minutes(endpoint, query):
                found += self._minute(query, endpoint, minute)
        return found

    def _scope(self, resource: str | None) -> Iterable[Endpoint]:
        """The endpoints whose logs a resource has: its own, or all of a workspace; all there are for a log workspace."""
        if resource is None:
            return self.endpoints.all()
        path = "/" + resource.strip("/").casefold()
        if f"/providers/{PROVIDER}/workspaces/".casefold() not in path:
            raise Refused(400, "PathNotFoundError", "The requested path does not exist")
        found = [each for each in self.endpoints.all() if f"{each.path.casefold()}/".startswith(f"{path}/")]
        if not found and "/onlineendpoints/" in path:
            raise Refused(404, "ResourceNotFoundError", f"The resource {path} was not found.")
        return found

    def _minutes(self, endpoint: Endpoint, query: kusto.Query) -> range:
        now = self.sim.clock.now().timestamp()
        first, last = endpoint.requests.first, now if query.until is None else min(now, query.until)
        if first is None:
            return range(0)
        begin = first if query.since is None else max(first, int(query.since // 60))
        end = int(-(-last // 60))
        return range(max(begin, end - _MOST_MINUTES), end)

    def _minute(self, query: kusto.Query, endpoint: Endpoint, minute: int) -> list[list[kusto.Value]]:
        now, begin = self.sim.clock.now().timestamp(), minute * 60.0
        whole = settled(minute, now) and (query.since or begin) <= begin and (query.until or begin + 60) >= begin + 60
        key = (endpoint.path, query.shape, minute)
        if whole and query.shape and key in self._told:
            return self._told[key]
        if not whole or not query.shape:
            rows = endpoint.requests.rows(minute, now)
            return query.run((_row(endpoint, row), 1) for row in rows if row.seen <= now and _within(row, query))
        counted = endpoint.requests.counted(minute, now)
        found = query.run((_row(endpoint, row), times) for row, times in counted.items())
        self._told[key] = found
        if len(self._told) > _KEPT:
            self._told.popitem(last=False)
        return found

    # Metrics

    async def _metrics(self, request: Request) -> Response:
        endpoint = self.endpoints.find(request)
        asked = request.query_params
        names = [name.strip() for name in asked.get("metricnames", "RequestsPerMinute").split(",")]
        unknown = [name for name in names if name not in _METRICS]
        if unknown:
            known = ", ".join(_METRICS)
            raise Refused(
                400, "BadRequest", f"Failed to find metric configuration for metric: {unknown[0]}. Valid: {known}"
            )
        if asked.get("interval", "PT1M") != "PT1M":
            raise Refused(400, "BadRequest", "The simulation keeps metrics at the time grain PT1M.")
        since, until = self._timespan(asked.get("timespan", ""))
        wanted = _conditions(asked.get("$filter", ""))
        minutes = range(int(since.timestamp() // 60), int(until.timestamp() // 60))
        body: Json = {
            "cost": len(minutes),
            "timespan": f"{_short(since)}/{_short(until)}",
            "interval": "PT1M",
            "namespace": f"{PROVIDER}/workspaces/onlineEndpoints",
            "resourceregion": "westeurope",
            "value": [self._metric(endpoint, name, minutes, wanted) for name in names],
        }
        return JSONResponse(body)

    def _timespan(self, text: str) -> tuple[datetime, datetime]:
        if not text:
            return self.sim.clock.now() - timedelta(hours=1), self.sim.clock.now()
        try:
            since, until = (datetime.fromisoformat(part.replace(" ", "+")) for part in text.split("/"))
        except ValueError as error:
            raise Refused(400, "BadRequest", f"Detected invalid time interval input: {text}") from error
        return since, min(until, since + timedelta(minutes=_MOST_MINUTES))

    def _metric(self, endpoint: Endpoint, name: str, minutes: range, wanted: Mapping[str, Sequence[str]]) -> Json:
        unit, of = _METRICS[name]
        dimensions = wanted if name == "RequestsPerMinute" else {k: v for k, v in wanted.items() if k == "deployment"}
        now = self.sim.clock.now()
        ready = int((now - _NULLS).timestamp() // 60)
        by_minute = {
            minute: _grouped(endpoint.requests.rows(minute, now.timestamp()), dimensions)
            for minute in minutes
            if minute < ready
        }
        seen = sorted({key for groups in by_minute.values() for key in groups}) or [] if dimensions else [()]
        series = [
            {
                "metadatavalues": [
                    {"name": {"value": dimension, "localizedValue": dimension}, "value": value}
                    for dimension, value in zip(dimensions, key, strict=True)
                ],
                "data": [_point(minute, by_minute, key, of) for minute in minutes],
            }
            for key in seen
        ]
        return {
            "id": f"{endpoint.path}/providers/Microsoft.Insights/metrics/{name}",
            "type": "Microsoft.Insights/metrics",
            "name": {"value": name, "localizedValue": name},
            "unit": unit,
            "timeseries": series,
            "errorCode": "Success",
        }


def _span(given: object) -> tuple[float | None, float | None]:
    """The times around a query, beside those in it: `start/end`."""
    if not given:
        return None, None
    try:
        since, until = (datetime.fromisoformat(part) for part in str(given).split("/"))
    except ValueError as error:
        raise kusto.Misunderstood("BadArgumentError", f"timespan: {given} is not start/end") from error
    return since.timestamp(), until.timestamp()


def _within(row: Row, query: kusto.Query) -> bool:
    return (query.since is None or row.at >= query.since) and (query.until is None or row.at < query.until)


def _row(endpoint: Endpoint, row: Row) -> kusto.Row:
    return {
        "TimeGenerated": row.at,
        "EndpointName": endpoint.name,
        "DeploymentName": row.deployment,
        "ResponseCode": str(row.status),
        "ModelStatusCode": str(row.model_status),
        "TotalDurationMs": row.ms,
    }


def _shown(value: kusto.Value, kind: str) -> kusto.Value:
    if kind == "datetime" and isinstance(value, int | float):
        return _short(datetime.fromtimestamp(value, UTC))
    return int(value) if kind == "long" and isinstance(value, int | float) else value


def _short(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _misunderstood(error: kusto.Misunderstood) -> Response:
    kind = "SyntaxError" if error.code.startswith("SYN") else "SemanticError"
    innermost: Json = {"code": error.code, "message": str(error)}
    if error.code.startswith("SYN"):
        innermost |= {"line": error.line, "pos": error.at, "token": error.token}
    said = "A recognition error occurred." if kind == "SyntaxError" else "A semantic error occurred."
    body = {
        "message": "The request had some invalid properties",
        "code": "BadArgumentError",
        "correlationId": guid(),
        "innererror": {"code": kind, "message": f"{said} {error}", "innererror": innermost},
    }
    return JSONResponse({"error": body}, HTTPStatus.BAD_REQUEST)


def _conditions(text: str) -> dict[str, list[str]]:
    """By dimension, the values that are wanted: `A eq 'x' and B eq '*'`, `or` within one dimension only."""
    wanted: dict[str, list[str]] = {}
    for part in re.split(r"\s+(?:and|or)\s+", text.strip(" ()"), flags=re.IGNORECASE) if text.strip() else []:
        found = _CONDITION.fullmatch(part.strip("() "))
        if not found or found[1].casefold() not in _DIMENSIONS:
            raise Refused(400, "BadRequest", f"Metric does not support requested dimension combination: {part}")
        wanted.setdefault(found[1], []).append(found[2])
    return wanted


def _grouped(rows: Sequence[Row], wanted: Mapping[str, Sequence[str]]) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(_DIMENSIONS[dimension.casefold()](row) for dimension in wanted)
        if all("*" in values or value in values for value, values in zip(key, wanted.values(), strict=True)):
            groups.setdefault(key, []).append(row)
    return groups


def _point(
    minute: int,
    by_minute: Mapping[int, Mapping[tuple[str, ...], Sequence[Row]]],
    key: tuple[str, ...],
    of: Callable[[Sequence[Row]], float | None],
) -> Json:
    """A minute that is not known yet has a time and nothing else."""
    at: Json = {"timeStamp": _short(datetime.fromtimestamp(minute * 60, UTC))}
    value = of(by_minute[minute].get(key, ())) if minute in by_minute else None
    return at if value is None else at | {"average": value}
