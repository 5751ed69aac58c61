"""What the deployments of an endpoint did, by Azure Monitor: its traffic log, or its metrics."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from shared.cloud.azureml import Workspaces, part, resource, table
from shared.cloud.credentials import Tokens
from shared.cloud.failures import Doing, one_line, translating
from shared.cloud.http import AioHttp
from shared.cloud.logs import client
from shared.errors import PermanentError, TemporaryError
from shared.rollout.policy import BinaryGate, CeilingGate, Gate
from shared.rollout.record import Minute, Pair
from shared.world import EndpointRef

if TYPE_CHECKING:
    from azure.monitor.query.aio import LogsQueryClient

type _Done = Mapping[tuple[datetime, str], Minute]
"""What each deployment did in the minutes of which something is known."""

_ROLE: Final = "the role 'Monitoring Reader' on the workspace"
_METRICS_API: Final = "2024-02-01"
_NAMESPACE: Final = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
_MINUTE: Final = timedelta(minutes=1)
_SERIES: Final = 1000
"""Without a number the service tells of ten: status codes by deployments are soon more."""

_MODEL_ERROR: Final = 424
"""What the endpoint answers where the model's container did not answer 200. What that said is the model's status code: a 4xx is
the caller's fault, anything else, also nothing, the model's.
"""

_MODEL: Final = "iff(toint(ModelStatusCode) < 500, toint(ModelStatusCode), 500)"
_CODE: Final = f"iff(toint(ResponseCode) == {_MODEL_ERROR}, {_MODEL}, toint(ResponseCode))"

_NO_TABLE: Final = re.compile(r"resolve table.*AmlOnlineEndpointTrafficLog", re.IGNORECASE)


class MonitorCounts:
    """Implements `world.Counts`.

    In the log, a minute in which any deployment of the endpoint has a row is known, and who has none had no request. A minute
    without any row may be one without a request or without a log: the endpoint's metrics are asked then, and only where they
    say 0 it is known to have been idle; else it is unknown. In the metrics an arm is known where one of its values is there.
    """

    def __init__(self, workspaces: Workspaces, logs: str, tokens: Tokens, http: AioHttp) -> None:
        self._workspaces = workspaces
        self._logs = logs
        self._tokens = tokens
        self._http = http
        self._made: LogsQueryClient | None = None

    @property
    def _client(self) -> "LogsQueryClient":
        if self._made is None:
            self._made = client(self._logs, self._tokens, self._http)
        return self._made

    async def minutes(
        self,
        endpoint: EndpointRef,
        source: Literal["logs", "metrics"],
        arms: tuple[str, Sequence[str]],
        span: tuple[datetime, datetime],
        gates: Sequence[Gate],
    ) -> Sequence[Pair]:
        if endpoint.kind == "batch":
            raise PermanentError(f"batch endpoint {endpoint.name} has no counts: its jobs are judged by themselves")
        start, end = _whole(span)
        if start >= end:
            return []
        canary, others = arms
        every = [start + n * _MINUTE for n in range((end - start) // _MINUTE)]
        if source == "metrics":
            done = await self._metrics(endpoint, [canary, *others], (start, end))
            return [Pair(at, done.get((at, canary)), _together(done, at, others)) for at in every]
        done = await self._log(endpoint, (start, end), _limits(gates))
        known = {at for at, _ in done}
        if not known.issuperset(every):
            known |= await self._idle(endpoint, (start, end))
        none = Minute(0, dict.fromkeys(_counted(_limits(gates)), 0), 0.0, 0.0)
        return [
            Pair(at, done.get((at, canary), none), _together(done, at, others) or none) if at in known else Pair(at)
            for at in every
        ]

    async def _log(self, endpoint: EndpointRef, span: tuple[datetime, datetime], limits: Sequence[float]) -> _Done:
        from azure.monitor.query import LogsQueryPartialResult

        doing = Doing(f"reading the traffic log of endpoint {endpoint.name}", _ROLE)
        of = f"{resource(endpoint.where)}/onlineEndpoints/{part(endpoint.name)}"
        try:
            with translating(doing):
                result = await self._client.query_resource(of, query(endpoint.name, span, limits), timespan=span)
        except PermanentError as error:
            if not _NO_TABLE.search(str(error)):
                raise
            raise PermanentError(
                f"{error}. A diagnostic setting of the endpoint has to send AmlOnlineEndpointTrafficLog to Log Analytics; "
                "after the first one that takes up to an hour"
            ) from error
        if isinstance(result, LogsQueryPartialResult):  # fewer bad requests than there were would pass for health
            raise TemporaryError(f"{doing.what}: only a part came: {one_line(str(result.partial_error))}")
        if not result.tables:
            return {}
        rows = [dict(zip(result.tables[0].columns, row, strict=True)) for row in result.tables[0].rows]
        return {(_moment(row["TimeGenerated"]), str(row["DeploymentName"])): _minute(row, limits) for row in rows}

    async def _metrics(self, endpoint: EndpointRef, names: Sequence[str], span: tuple[datetime, datetime]) -> _Done:
        either = " or ".join(f"deployment eq '{name.replace("'", "''")}'" for name in dict.fromkeys(names))
        wanted = f"({either}) and statusCode eq '*' and modelStatusCode eq '*'"
        return _summed(await self._requests(endpoint, span, {"$filter": wanted}))

    async def _idle(self, endpoint: EndpointRef, span: tuple[datetime, datetime]) -> set[datetime]:
        """The minutes in which the endpoint had no request, by its metrics. What they do not tell is no such minute."""
        try:
            series = await self._requests(endpoint, span, {})
        except (TemporaryError, PermanentError):
            return set()
        points = [point for one in series for point in one.get("data") or ()]
        busy = {_moment(point["timeStamp"]) for point in points if point.get("average") != 0}
        return {_moment(point["timeStamp"]) for point in points} - busy

    async def _requests(
        self, endpoint: EndpointRef, span: tuple[datetime, datetime], more: Mapping[str, str]
    ) -> Sequence[Any]:
        """The time series of RequestsPerMinute."""
        doing = Doing(f"reading the metrics of endpoint {endpoint.name}", _ROLE)
        asked = {
            "metricnames": "RequestsPerMinute",
            "metricnamespace": _NAMESPACE,
            "aggregation": "average",
            "interval": "PT1M",
            "timespan": "/".join(_stamp(moment) for moment in span),
            "top": str(_SERIES),
            **more,
        }
        of = f"/onlineEndpoints/{part(endpoint.name)}/providers/Microsoft.Insights/metrics"
        path = f"{of}?{'&'.join(f'{name}={quote(value, safe="")}' for name, value in asked.items())}"
        said = await self._workspaces.arm("GET", endpoint.where, path, doing, version=_METRICS_API)
        return [one for metric in said.get("value") or () for one in table(metric).get("timeseries") or ()]


_BY: Final = ("deployment", "statuscode", "modelstatuscode")


def query(endpoint: str, span: tuple[datetime, datetime], limits: Sequence[float]) -> str:
    """One row for each minute and deployment that had requests. `limits`: of latency, in ms."""
    over = "".join(f"{_column(limit)} = countif(TotalDurationMs > {limit:g}), " for limit in limits)
    start, end = (f"datetime({_stamp(moment)})" for moment in span)
    return (
        f"AmlOnlineEndpointTrafficLog | where TimeGenerated >= {start} and TimeGenerated < {end}"
        f" | where EndpointName == {_quoted(endpoint)} | extend Code = {_CODE}"
        " | summarize requests = count(), http_5xx = countif(Code >= 500),"
        f" http_4xx = countif(Code >= 400 and Code < 500), {over}total = sum(TotalDurationMs),"
        " squares = sum(TotalDurationMs * TotalDurationMs) by bin(TimeGenerated, 1m), DeploymentName"
    )


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _over(limit: float) -> str:
    return f"latency_over_{limit:g}"


def _column(limit: float) -> str:
    name = _over(limit)
    return name if name.isidentifier() else f"['{name}']"


def _limits(gates: Sequence[Gate]) -> list[float]:
    """The latencies that are limits to one of the gates."""
    return sorted({one.slo_ms for one in gates if isinstance(one, BinaryGate | CeilingGate) and one.slo_ms is not None})


def _counted(limits: Sequence[float]) -> list[str]:
    return ["http_5xx", "http_4xx", *(_over(limit) for limit in limits)]


def _whole(span: tuple[datetime, datetime]) -> tuple[datetime, datetime]:
    """From the first whole minute to the end of the last."""
    start, end = (moment.astimezone(UTC) for moment in span)
    floor = start.replace(second=0, microsecond=0)
    return floor if floor == start else floor + _MINUTE, end.replace(second=0, microsecond=0)


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _moment(value: datetime | str) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _minute(row: Mapping[str, Any], limits: Sequence[float]) -> Minute:
    bad = {name: int(row[name]) for name in _counted(limits)}
    return Minute(int(row["requests"]), bad, float(row["total"] or 0), float(row["squares"] or 0))


def _summed(series: Iterable[Any]) -> _Done:
    """Of one time series for each deployment and status code. A null is no value, and no nought."""
    sums: dict[tuple[datetime, str], dict[str, float]] = {}
    for one in series:
        of = {str(table(said.get("name")).get("value")).casefold(): said for said in one.get("metadatavalues") or ()}
        name, code, model = (str(table(of.get(key)).get("value")) for key in _BY)
        kind = ("4" if model.startswith("4") else "5") if code == str(_MODEL_ERROR) else code
        for point in one.get("data") or ():
            if point.get("average") is not None:
                sum_ = sums.setdefault((_moment(point["timeStamp"]), name), {})
                sum_[kind[:1]] = sum_.get(kind[:1], 0.0) + float(point["average"])
    return {
        key: Minute(round(sum(by.values())), {"http_5xx": round(by.get("5", 0)), "http_4xx": round(by.get("4", 0))})
        for key, by in sums.items()
    }


def _together(done: _Done, at: datetime, names: Sequence[str]) -> Minute | None:
    """Several deployments as one arm; None where nothing is known of any."""
    found = [minute for name in dict.fromkeys(names) if (minute := done.get((at, name)))]
    if not found:
        return None
    timed = all(one.total is not None for one in found)
    return Minute(
        sum(one.requests for one in found),
        {key: sum(one.bad.get(key, 0) for one in found) for key in found[0].bad},
        sum(one.total or 0 for one in found) if timed else None,
        sum(one.squares or 0 for one in found) if timed else None,
    )
