"""The levers of what is served: endpoints that are there, how models behave, load, traffic by hand, and what Monitor sees."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from simulator.arm import Json, Refused, stamp
from simulator.azureml import AzureML, Workspace
from simulator.batch import BatchEndpoints
from simulator.faults import Handler
from simulator.monitor import Blindness, Monitor
from simulator.online import Endpoint, OnlineEndpoints
from simulator.state import Simulated
from simulator.traffic import Provisioning

_MOST: Final = 24 * 60

type Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
type Amount = Annotated[float, msgspec.Meta(ge=0)]


class Where(msgspec.Struct, forbid_unknown_fields=True):
    """`workspace`: its ARM id; empty: that of the story."""

    workspace: Annotated[
        str, msgspec.Meta(pattern="^(/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/workspaces/[^/]+)?$")
    ] = ""


class Serve(Where, forbid_unknown_fields=True, kw_only=True):
    """An endpoint as if it had been there for long: this model version serves everything; of a batch endpoint, it is the default."""

    name: str
    model: str
    version: str
    deployment: str = "blue"
    auth: str = "AADToken"
    kind: Literal["online", "batch"] = "online"


class Behave(Where, forbid_unknown_fields=True, kw_only=True):
    """How a model version behaves from now on: kept as its tags `simulated_…`, what is not given stays as it is."""

    model: str
    version: str
    error_rate: Share | None = None
    error_status: int | None = None
    latency_ms: Amount | None = None
    wrong: bool | None = None
    provisioning: Provisioning | None = None


class Load(Where, forbid_unknown_fields=True, kw_only=True):
    """Requests per minute in the mean, and the share of them that fails whichever deployment answers."""

    endpoint: str
    per_minute: Annotated[float, msgspec.Meta(ge=0, le=60_000)] | None = None
    incident: Share | None = None


class Shift(Where, forbid_unknown_fields=True, kw_only=True):
    """Somebody changes the weights by hand."""

    endpoint: str
    traffic: dict[str, int]
    mirror: dict[str, int] = {}


class Sight(msgspec.Struct, forbid_unknown_fields=True):
    """`logs`: "" (they work), "fails" or "empty". `stale`: for how long reads of an endpoint lag behind its traffic."""

    logs: Blindness | None = None
    stale: Amount | None = None


class Truth(msgspec.Struct, forbid_unknown_fields=True):
    """Of the fraud model, from now on: `drift`, the share of the truth that has nothing to do with its scores any more, in one `segment`
    or in all; `late`, how many seconds later than usual the truth is known (of the past too); `stops`: no truth comes.
    """

    drift: Share | None = None
    segment: str | None = None
    late: Amount | None = None
    stops: bool | None = None


async def read[T](request: Request, kind: type[T]) -> T:
    return msgspec.json.decode(await request.body(), type=kind)


@dataclass(frozen=True)
class Levers:
    """`usual`: the workspace that is meant where none is said."""

    sim: Simulated
    azureml: AzureML
    online: OnlineEndpoints
    batch: BatchEndpoints
    monitor: Monitor
    usual: Workspace

    def posts(self) -> dict[str, Handler]:
        return {
            "endpoint": self._serve,
            "manners": self._behave,
            "load": self._load,
            "traffic": self._shift,
            "sight": self._see,
            "truth": self._turn,
        }

    def _here(self, where: Where) -> Workspace:
        return self.azureml.at(where.workspace) if where.workspace else self.usual

    def _find(self, where: Where, name: str) -> Endpoint:
        found = self.online.get(self._here(where), name)
        if found is None:
            raise Refused(404, "NotFound", f"there is no endpoint {name} in {self._here(where).name}")
        return found

    async def endpoints(self, request: Request) -> Response:
        """Every endpoint with its weights, and for the last `?minutes=` what each deployment got, as it was."""
        asked = request.query_params.get("minutes", "")
        minutes = min(int(asked), _MOST) if asked.isdecimal() else 0
        return JSONResponse([self._picture(each, minutes) for each in self.online.all()])

    def _picture(self, endpoint: Endpoint, minutes: int) -> Json:
        now = self.sim.clock.now()
        last = int(now.timestamp() // 60)
        first = max(last - minutes, endpoint.requests.first or last)
        requests = {
            stamp(datetime.fromtimestamp(minute * 60, UTC)): Counter(
                row.deployment for row in endpoint.requests.rows(minute, now.timestamp())
            )
            for minute in range(first, last)
        }
        return {
            "id": endpoint.path,
            "state": endpoint.state,
            "traffic": endpoint.traffic,
            "mirror": endpoint.mirror,
            "per_minute": endpoint.per_minute,
            "incident": endpoint.incident,
            "deployments": {
                name: {"model": each.model, "state": each.state} for name, each in endpoint.deployments.items()
            },
            "shares": [
                {"since": stamp(datetime.fromtimestamp(since, UTC)), "of": shares}
                for since, shares in endpoint.requests.shares(first * 60.0)
            ],
            "requests": requests,
        }

    async def _serve(self, request: Request) -> Response:
        wish = await read(request, Serve)
        if wish.kind == "batch":
            batch = self.batch.serve(self._here(wish), wish.name, {wish.deployment: f"{wish.model}:{wish.version}"})
            return JSONResponse({"id": batch.path, "default": batch.default}, 201)
        made = self.online.serve(
            self._here(wish), wish.name, f"{wish.model}:{wish.version}", wish.deployment, wish.auth
        )
        return JSONResponse({"id": made.path, "traffic": made.traffic}, 201)

    async def _behave(self, request: Request) -> Response:
        wish = await read(request, Behave)
        model = self._here(wish).models.get(wish.model, {}).get(wish.version)
        if model is None:
            raise Refused(404, "NotFound", f"there is no model {wish.model}:{wish.version}")
        given = {
            name: getattr(wish, name) for name in ("error_rate", "error_status", "latency_ms", "wrong", "provisioning")
        }
        tags = {f"simulated_{name}": str(value).lower() for name, value in given.items() if value is not None}
        model.body["tags"] = (model.body.get("tags") or {}) | tags
        self.online.turn_all()
        return JSONResponse({"tags": model.body["tags"]})

    async def _load(self, request: Request) -> Response:
        wish = await read(request, Load)
        endpoint = self._find(wish, wish.endpoint)
        endpoint.per_minute = endpoint.per_minute if wish.per_minute is None else wish.per_minute
        endpoint.incident = endpoint.incident if wish.incident is None else wish.incident
        self.online.turn(endpoint, self.sim.clock.now())
        return JSONResponse({"per_minute": endpoint.per_minute, "incident": endpoint.incident})

    async def _shift(self, request: Request) -> Response:
        wish = await read(request, Shift)
        endpoint = self._find(wish, wish.endpoint)
        self.online.shift(endpoint, wish.traffic, wish.mirror)
        return JSONResponse({"traffic": endpoint.traffic, "mirror": endpoint.mirror})

    async def _see(self, request: Request) -> Response:
        wish = await read(request, Sight)
        self.monitor.blind = self.monitor.blind if wish.logs is None else wish.logs
        self.online.stale = self.online.stale if wish.stale is None else wish.stale
        return JSONResponse({"logs": self.monitor.blind, "stale": self.online.stale})

    async def _turn(self, request: Request) -> Response:
        wish, outcomes, now = await read(request, Truth), self.monitor.outcomes, self.sim.clock.now().timestamp()
        if wish.drift is not None:
            outcomes.drift, outcomes.drifts = wish.drift, now if wish.drift else float("inf")
        outcomes.segment = outcomes.segment if wish.segment is None else wish.segment
        outcomes.late = outcomes.late if wish.late is None else wish.late
        if wish.stops is not None:
            outcomes.stops = now if wish.stops else float("inf")
        outcomes.change()
        return JSONResponse({"drift": outcomes.drift, "segment": outcomes.segment, "late": outcomes.late})
