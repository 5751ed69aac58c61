"""Online endpoints and their deployments: long-running operations, the rules of traffic, and reads that lag behind."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import LOCATION, PROVIDER, WORKSPACE, Json, Operations, Refused, door, read, system_data
from simulator.azureml import AzureML, Workspace
from simulator.faults import Handler
from simulator.state import Simulated
from simulator.traffic import USUAL, Arm, Manners, Traffic

type State = Literal["Creating", "Updating", "Deleting", "Succeeded", "Failed"]
type Weights = dict[str, int]

_BUSY: Final = {"Creating", "Updating", "Deleting"}
_MOST_MIRRORED: Final = 50
_SECONDS: Final = {"endpoint": 30.0, "deployment": 300.0, "delete": 60.0, "slow": 10_800.0}
"""How long the operations take, in simulated time."""
_TOKEN_LIFE: Final = 12 * 3600
_DOWN: Final = Manners(error_rate=1.0, error_status=503)
"""Of a deployment that gets requests and has never been up."""
_FAILED: Final[Json] = {
    "code": "ResourceNotReady",
    "message": "User container has crashed or terminated: ModuleNotFoundError: No module named 'lightgbm'. Please see "
    "troubleshooting guide, available here: https://aka.ms/oe-tsg#error-resourcenotready",
}


@dataclass(eq=False)
class Deployment:
    """`operation`: where the operation that makes or changes it can be asked. `up`: it was made once, and answers; an update
    that fails does not change that.
    """

    name: str
    body: Json
    created: datetime
    state: State = "Creating"
    operation: str = ""
    up: bool = False
    announced: bool = False

    @property
    def model(self) -> str:
        """`name:version` of the model it serves, however the body names it."""
        text = str(self.body["properties"].get("model") or "")
        name, _, version = text.partition("/models/")[2].partition("/versions/")
        return f"{name}:{version}" if version else text.removeprefix("azureml:")


@dataclass(eq=False)
class Endpoint:
    """`traffic` and `mirror` are in force; what a running update will change is not in them yet. `before`: what reads still
    show until `fresh`.
    """

    here: Workspace
    name: str
    body: Json
    created: datetime
    requests: Traffic
    state: State = "Creating"
    traffic: Weights = field(default_factory=dict)
    mirror: Weights = field(default_factory=dict)
    before: tuple[Weights, Weights] = field(default_factory=lambda: ({}, {}))
    fresh: datetime | None = None
    deployments: dict[str, Deployment] = field(default_factory=dict)
    per_minute: float = USUAL
    incident: float = 0.0

    @property
    def path(self) -> str:
        return f"{self.here.path}/onlineEndpoints/{self.name}"

    @property
    def kubernetes(self) -> bool:
        return bool(self.body["properties"].get("compute"))

    def key(self, number: int) -> str:
        """What opens it, where it is opened by keys: 1 or 2."""
        return sha256(f"{self.path.casefold()} {number}".encode()).hexdigest()[:32]

    def manners(self, deployment: Deployment) -> Manners:
        name, _, version = deployment.model.partition(":")
        model = self.here.models.get(name, {}).get(version)
        return Manners.of((model.body.get("tags") if model else None) or {}, deployment.body.get("tags") or {})


class OnlineEndpoints:
    """`stale`: for so many simulated seconds after a change of traffic, reads show what was before."""

    def __init__(self, sim: Simulated, azureml: AzureML, operations: Operations, seed: int) -> None:
        self._sim = sim
        self._ml = azureml
        self._operations = operations
        self._seed = seed
        self._all: dict[tuple[str, str], Endpoint] = {}
        self.stale = 20.0

    def routes(self) -> list[BaseRoute]:
        def at(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(WORKSPACE + "/onlineEndpoints" + path, door(self._sim, "arm", handler), methods=[method])

        return [
            at("", self._list),
            at("/{endpoint}", self._get),
            at("/{endpoint}", self._put, "PUT"),
            at("/{endpoint}", self._delete, "DELETE"),
            at("/{endpoint}/listKeys", self._list_keys, "POST"),
            at("/{endpoint}/token", self._token, "POST"),
            at("/{endpoint}/deployments", self._list_deployments),
            at("/{endpoint}/deployments/{deployment}", self._get_deployment),
            at("/{endpoint}/deployments/{deployment}", self._put_deployment, "PUT"),
            at("/{endpoint}/deployments/{deployment}", self._delete_deployment, "DELETE"),
            at("/{endpoint}/deployments/{deployment}/getLogs", self._logs, "POST"),
        ]

    # For the other parts of the box

    def all(self) -> Iterable[Endpoint]:
        return self._all.values()

    def get(self, here: Workspace, name: str) -> Endpoint | None:
        return self._all.get((here.path.casefold(), name.casefold()))

    def find(self, request: Request) -> Endpoint:
        """The endpoint that a request to ARM names."""
        found = self.get(self._ml.here(request), request.path_params["endpoint"])
        if found is None:
            raise _missing("online endpoint", request.path_params["endpoint"])
        return found

    def serve(
        self, here: Workspace, name: str, model: str, deployment: str = "blue", auth: str = "AADToken"
    ) -> Endpoint:
        """An endpoint where `model`, name:version, serves all requests, as if it had for long: nothing is announced."""
        now = self._sim.clock.now()
        body: Json = {"location": LOCATION, "tags": {}, "properties": {"authMode": auth}}
        made = self._keep(here, name, body)
        asset, version = model.split(":")
        if version not in here.models.get(asset, {}):
            self._ml.know(here, asset, version, {"stage": "production"})
        properties: Json = {
            "model": f"{here.path}/models/{asset}/versions/{version}",
            "instanceType": "Standard_DS3_v2",
            "endpointComputeType": "Managed",
        }
        body = {"location": LOCATION, "tags": {}, "properties": properties}
        made.deployments = {deployment: Deployment(deployment, body, now, state="Succeeded", up=True, announced=True)}
        made.state, made.traffic, made.mirror, made.fresh = "Succeeded", {deployment: 100}, {}, None
        self.turn(made, now)
        return made

    def shift(self, endpoint: Endpoint, traffic: Weights, mirror: Weights) -> None:
        """Somebody else changes the weights, at once."""
        _check_traffic(endpoint, traffic, mirror)
        self._change(endpoint, traffic, mirror, self._sim.clock.now())

    def turn(self, endpoint: Endpoint, moment: datetime) -> None:
        """From this moment on its requests go as its weights and the manners of its models say."""
        shares = endpoint.traffic | endpoint.mirror
        arms = [
            Arm(each.name, shares[each.name] / 100, endpoint.manners(each) if each.up else _DOWN)
            for each in endpoint.deployments.values()
            if shares.get(each.name)
        ]
        endpoint.requests.turn(
            moment.timestamp(), arms, endpoint.per_minute if endpoint.traffic else 0, endpoint.incident
        )

    def turn_all(self) -> None:
        """The same, for every endpoint: the manners of some model are others now."""
        for endpoint in self._all.values():
            self.turn(endpoint, self._sim.clock.now())

    # Endpoints

    def _keep(self, here: Workspace, name: str, body: Json) -> Endpoint:
        made = Endpoint(here, name, body, self._sim.clock.now(), Traffic(f"{self._seed}/{here.path.casefold()}/{name}"))
        self._all[here.path.casefold(), name.casefold()] = made
        return made

    def _json(self, endpoint: Endpoint) -> Json:
        old = endpoint.fresh and self._sim.clock.now() < endpoint.fresh
        traffic, mirror = endpoint.before if old else (endpoint.traffic, endpoint.mirror)
        uri = f"{self._sim.base}/score/{endpoint.here.experiment_id('')}/{endpoint.name}"
        said = {
            "provisioningState": endpoint.state,
            "traffic": traffic,
            "mirrorTraffic": mirror,
            "scoringUri": uri,
            "swaggerUri": f"{uri}/swagger.json",
        }
        return {
            "id": endpoint.path,
            "name": endpoint.name,
            "type": f"{PROVIDER}/workspaces/onlineEndpoints",
            "location": LOCATION,
            "kind": "K8S" if endpoint.kubernetes else "Managed",
            "identity": endpoint.body.get("identity"),
            "tags": endpoint.body.get("tags") or {},
            "properties": {"properties": {}} | endpoint.body["properties"] | said,
            "systemData": system_data(endpoint.created),
        }

    async def _list(self, request: Request) -> Response:
        here = self._ml.here(request)
        return JSONResponse({"value": [self._json(each) for each in self._all.values() if each.here is here]})

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._json(self.find(request)))

    async def _put(self, request: Request) -> Response:
        here, name, body = self._ml.here(request), request.path_params["endpoint"], await read(request)
        properties = body.setdefault("properties", {})
        known = self.get(here, name)
        if known and known.state in _BUSY:
            raise _conflict("online endpoint", known.name, known.state)
        traffic = _weights(properties.get("traffic"))
        mirror = _weights(properties.get("mirrorTraffic"))
        endpoint = known or Endpoint(here, name, body, self._sim.clock.now(), Traffic(""))
        if known and properties.get("compute", known.body["properties"].get("compute")) != known.body["properties"].get(
            "compute"
        ):
            raise Refused(400, "UserError", "The compute of an online endpoint cannot be changed.", "ImmutableProperty")
        _check_traffic(endpoint, traffic, mirror)
        if not known:
            endpoint = self._keep(here, name, body)
        endpoint.state = "Updating" if known else "Creating"

        def finish(moment: datetime) -> None:
            endpoint.body, endpoint.state = body, "Succeeded"
            self._change(endpoint, traffic, mirror, moment)

        headers = self._operations.start(here.subscription, _SECONDS["endpoint"], finish)
        return JSONResponse(self._json(endpoint), 200 if known else 201, headers)

    def _change(self, endpoint: Endpoint, traffic: Weights, mirror: Weights, moment: datetime) -> None:
        """New weights are in force; for a while, reads do not show it."""
        if (traffic, mirror) != (endpoint.traffic, endpoint.mirror):
            endpoint.before = (endpoint.traffic, endpoint.mirror)
            endpoint.fresh = moment + timedelta(seconds=self.stale)
        endpoint.traffic, endpoint.mirror = traffic, mirror
        self.turn(endpoint, moment)
        self._announce(endpoint)

    async def _delete(self, request: Request) -> Response:
        endpoint = self.find(request)
        endpoint.state = "Deleting"
        key = (endpoint.here.path.casefold(), endpoint.name.casefold())

        def finish(_: datetime) -> None:
            self._all.pop(key, None)

        headers = self._operations.start(endpoint.here.subscription, _SECONDS["delete"], finish)
        return Response(status_code=202, headers=headers)

    async def _list_keys(self, request: Request) -> Response:
        endpoint = self.find(request)
        if mode(endpoint) != "key":
            raise Refused(400, "UserError", f"The online endpoint '{endpoint.name}' is not opened by keys.")
        return JSONResponse({"primaryKey": endpoint.key(1), "secondaryKey": endpoint.key(2)})

    async def _token(self, request: Request) -> Response:
        """Valid by the wall clock, where its bearer looks."""
        endpoint = self.find(request)
        if mode(endpoint) != "amltoken":
            raise Refused(
                400, "UserError", f"The online endpoint '{endpoint.name}' is not opened by tokens of its own."
            )
        now = int(time.time())
        return JSONResponse(
            {
                "accessToken": endpoint.key(1),
                "tokenType": "Bearer",
                "expiryTimeUtc": now + _TOKEN_LIFE,
                "refreshAfterTimeUtc": now + _TOKEN_LIFE // 2,
            }
        )

    # Deployments

    def _find_deployment(self, request: Request) -> tuple[Endpoint, Deployment]:
        endpoint, name = self.find(request), request.path_params["deployment"]
        if name not in endpoint.deployments:
            raise _missing("deployment", name)
        return endpoint, endpoint.deployments[name]

    def _deployment_json(self, endpoint: Endpoint, deployment: Deployment) -> Json:
        body = deployment.body
        kind = "Kubernetes" if endpoint.kubernetes else "Managed"
        usual = {"scaleSettings": {"scaleType": "Default"}, "endpointComputeType": kind}
        given = {key: value for key, value in body["properties"].items() if value is not None}
        noted = dict(given.get("properties") or {})
        if deployment.operation:
            noted["AzureAsyncOperationUri"] = deployment.operation
        return {
            "id": f"{endpoint.path}/deployments/{deployment.name}",
            "name": deployment.name,
            "type": f"{PROVIDER}/workspaces/onlineEndpoints/deployments",
            "location": LOCATION,
            "kind": "K8S" if endpoint.kubernetes else "Managed",
            "sku": body.get("sku") or {"name": "Default", "capacity": 1},
            "tags": body.get("tags") or {},
            "properties": usual | given | {"provisioningState": deployment.state, "properties": noted},
            "systemData": system_data(deployment.created),
        }

    async def _list_deployments(self, request: Request) -> Response:
        endpoint = self.find(request)
        return JSONResponse(
            {"value": [self._deployment_json(endpoint, each) for each in endpoint.deployments.values()]}
        )

    async def _get_deployment(self, request: Request) -> Response:
        return JSONResponse(self._deployment_json(*self._find_deployment(request)))

    async def _put_deployment(self, request: Request) -> Response:
        endpoint, name, body = self.find(request), request.path_params["deployment"], await read(request)
        body.setdefault("properties", {})
        known = endpoint.deployments.get(name)
        if known and known.state in _BUSY:
            raise _conflict("deployment", name, known.state)
        deployment = Deployment(name, body, self._sim.clock.now())
        manners = endpoint.manners(deployment)
        if manners.provisioning == "quota":
            raise out_of_quota(endpoint.here, str(body["properties"].get("instanceType") or "Standard_DS3_v2"))
        if known:
            known.body = body
        deployment = endpoint.deployments.setdefault(name, deployment)
        deployment.state = "Updating" if known else "Creating"

        def finish(moment: datetime) -> Json | None:
            if manners.provisioning == "failed":
                deployment.state = "Failed"
                return _FAILED
            deployment.state, deployment.up, deployment.announced = "Succeeded", True, False
            self.turn(endpoint, moment)
            self._announce(endpoint)
            return None

        seconds = _SECONDS["slow" if manners.provisioning == "slow" else "deployment"]
        headers = self._operations.start(endpoint.here.subscription, seconds, finish)
        deployment.operation = headers["Azure-AsyncOperation"]
        return JSONResponse(self._deployment_json(endpoint, deployment), 200 if known else 201, headers)

    async def _delete_deployment(self, request: Request) -> Response:
        endpoint, deployment = self._find_deployment(request)
        if deployment.state in _BUSY:
            raise _conflict("deployment", deployment.name, deployment.state)
        for kind, weights in (("live", endpoint.traffic), ("mirrored", endpoint.mirror)):
            share = weights.get(deployment.name, 0)
            if share:
                raise Refused(
                    400,
                    "UserError",
                    f"Deployment '{deployment.name}' receives {share}% of the {kind} traffic of endpoint "
                    f"'{endpoint.name}' and cannot be deleted. Set its traffic to 0 first.",
                    "CannotDeleteDeploymentWithTraffic",
                )
        deployment.state = "Deleting"

        def finish(_: datetime) -> None:
            endpoint.deployments.pop(deployment.name, None)

        headers = self._operations.start(endpoint.here.subscription, _SECONDS["delete"], finish)
        return Response(status_code=202, headers=headers)

    async def _logs(self, request: Request) -> Response:
        _, deployment = self._find_deployment(request)
        said = _FAILED["message"] if deployment.state == "Failed" else f"Serving {deployment.model}."
        return JSONResponse({"content": f"{said}\n"})

    def _announce(self, endpoint: Endpoint) -> None:
        """ModelDeployed, once for each deployment that is ready and begins to take live traffic."""
        for deployment in endpoint.deployments.values():
            live = deployment.state == "Succeeded" and endpoint.traffic.get(deployment.name, 0) > 0
            if live and not deployment.announced:
                data: Json = {
                    "ServiceName": endpoint.name,
                    "ServiceComputeType": "AKS" if endpoint.kubernetes else "Managed",
                    "ModelIds": deployment.model,
                    "ServiceTags": endpoint.body.get("tags") or {},
                    "ServiceProperties": {"deployment": deployment.name},
                }
                self._ml.raise_event(endpoint.here, "ModelDeployed", f"endpoints/{endpoint.name}", data)
            deployment.announced = live


def out_of_quota(here: Workspace, size: str) -> Refused:
    """What a deployment that does not fit any more is answered."""
    why = (
        f"Not enough quota available for {size} in SubscriptionId {here.subscription}. Current usage/limit: 24/24. "
        "Additional needed: 8 Please see troubleshooting guide, available here: https://aka.ms/oe-tsg#error-outofquota"
    )
    detail = {"errors": {"VmSize": [why]}, "title": "One or more validation errors occurred.", "status": 400}
    inner = {
        "code": "InferencingClientCreateDeploymentFailed",
        "message": f"InferencingClient HttpRequest error, error detail: {json.dumps(detail)}",
    }
    return Refused(400, "BadRequest", "The request is invalid.", details=[inner])


def mode(endpoint: Endpoint) -> str:
    """By what it is opened: key, amltoken or aadtoken."""
    return str(endpoint.body["properties"].get("authMode") or "Key").casefold()


def _weights(given: Mapping[str, object] | None) -> Weights:
    return {name: share for name, share in (given or {}).items() if isinstance(share, int) and share}


def _check_traffic(endpoint: Endpoint, traffic: Weights, mirror: Weights) -> None:
    unknown = sorted((traffic.keys() | mirror.keys()) - endpoint.deployments.keys())
    both = sorted(traffic.keys() & mirror.keys())
    problem = None
    if unknown:
        problem = f"Traffic names deployments that do not exist: {', '.join(unknown)}."
    elif min([*traffic.values(), *mirror.values()], default=0) < 0:
        problem = "Traffic must not be negative."
    elif sum(traffic.values()) not in {0, 100}:
        problem = f"Traffic must sum to 0 or 100, but sums to {sum(traffic.values())}."
    elif mirror and endpoint.kubernetes:
        problem = "Mirror traffic is not supported for Kubernetes online endpoints."
    elif len(mirror) > 1:
        problem = "Mirror traffic can go to one deployment only."
    elif sum(mirror.values()) > _MOST_MIRRORED:
        problem = f"Mirror traffic must be at most {_MOST_MIRRORED}, but is {sum(mirror.values())}."
    elif both:
        problem = f"Deployment '{both[0]}' can take live or mirror traffic, not both."
    if problem:
        raise Refused(400, "UserError", problem, "InvalidTraffic")


def _missing(kind: str, name: str) -> Refused:
    return Refused(404, "ResourceNotFound", f"The {kind} '{name}' was not found.")


def _conflict(kind: str, name: str, state: State) -> Refused:
    return Refused(409, "Conflict", f"The {kind} '{name}' is {state}; wait for the operation to end and try again.")
