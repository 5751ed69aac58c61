"""Online endpoints and their deployments: long-running operations, and the rules of traffic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import LOCATION, PROVIDER, WORKSPACE, Json, Operations, Refused, door, read, system_data
from simulator.azureml import AzureML, Workspace
from simulator.faults import Handler
from simulator.state import Simulated

type State = Literal["Creating", "Updating", "Deleting", "Succeeded"]

_BUSY: Final = {"Creating", "Updating", "Deleting"}
_MOST_MIRRORED: Final = 50
_SECONDS: Final = {"endpoint": 30.0, "deployment": 300.0, "delete": 60.0}
"""How long the operations take, in simulated time."""


@dataclass(eq=False)
class Deployment:
    name: str
    body: Json
    created: datetime
    state: State = "Creating"
    announced: bool = False

    @property
    def model(self) -> str:
        """`name:version` of the model it serves, however the body names it."""
        text = str(self.body["properties"].get("model") or "")
        name, _, version = text.partition("/models/")[2].partition("/versions/")
        return f"{name}:{version}" if version else text.removeprefix("azureml:")


@dataclass(eq=False)
class Endpoint:
    """`traffic` and `mirror` are in force; what a running update will change is not in them yet."""

    name: str
    body: Json
    created: datetime
    state: State = "Creating"
    traffic: dict[str, int] = field(default_factory=dict)
    mirror: dict[str, int] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)


class OnlineEndpoints:
    def __init__(self, sim: Simulated, azureml: AzureML, operations: Operations) -> None:
        self._sim = sim
        self._ml = azureml
        self._operations = operations
        self._all: dict[tuple[str, str], Endpoint] = {}

    def routes(self) -> list[BaseRoute]:
        def at(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(WORKSPACE + "/onlineEndpoints" + path, door(self._sim, "arm", handler), methods=[method])

        return [
            at("", self._list),
            at("/{endpoint}", self._get),
            at("/{endpoint}", self._put, "PUT"),
            at("/{endpoint}", self._delete, "DELETE"),
            at("/{endpoint}/deployments", self._list_deployments),
            at("/{endpoint}/deployments/{deployment}", self._get_deployment),
            at("/{endpoint}/deployments/{deployment}", self._put_deployment, "PUT"),
            at("/{endpoint}/deployments/{deployment}", self._delete_deployment, "DELETE"),
        ]

    def _key(self, request: Request) -> tuple[str, str]:
        return self._ml.here(request).path.casefold(), request.path_params["endpoint"].casefold()

    def _find(self, request: Request) -> Endpoint:
        found = self._all.get(self._key(request))
        if found is None:
            raise _missing("online endpoint", request.path_params["endpoint"])
        return found

    def _find_deployment(self, request: Request) -> tuple[Endpoint, Deployment]:
        endpoint, name = self._find(request), request.path_params["deployment"]
        if name not in endpoint.deployments:
            raise _missing("deployment", name)
        return endpoint, endpoint.deployments[name]

    def _json(self, here: Workspace, endpoint: Endpoint) -> Json:
        said = {
            "provisioningState": endpoint.state,
            "traffic": endpoint.traffic,
            "mirrorTraffic": endpoint.mirror,
            "scoringUri": f"https://{endpoint.name}.{LOCATION}.inference.ml.azure.com/score",
            "swaggerUri": f"https://{endpoint.name}.{LOCATION}.inference.ml.azure.com/swagger.json",
        }
        return {
            "id": f"{here.path}/onlineEndpoints/{endpoint.name}",
            "name": endpoint.name,
            "type": f"{PROVIDER}/workspaces/onlineEndpoints",
            "location": LOCATION,
            "kind": "Managed",
            "identity": endpoint.body.get("identity"),
            "tags": endpoint.body.get("tags") or {},
            "properties": endpoint.body["properties"] | said,
            "systemData": system_data(endpoint.created),
        }

    async def _list(self, request: Request) -> Response:
        here = self._ml.here(request)
        found = [endpoint for (path, _), endpoint in self._all.items() if path == here.path.casefold()]
        return JSONResponse({"value": [self._json(here, endpoint) for endpoint in found]})

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._json(self._ml.here(request), self._find(request)))

    async def _put(self, request: Request) -> Response:
        here, body = self._ml.here(request), await read(request)
        properties = body.setdefault("properties", {})
        known = self._all.get(self._key(request))
        if known and known.state in _BUSY:
            raise _conflict("online endpoint", known.name, known.state)
        traffic = _weights(properties.get("traffic"))
        mirror = _weights(properties.get("mirrorTraffic"))
        _check_traffic(traffic, mirror, set(known.deployments) if known else set())
        endpoint = known or Endpoint(request.path_params["endpoint"], body, self._sim.clock.now())
        self._all[self._key(request)] = endpoint
        endpoint.state = "Updating" if known else "Creating"

        def finish() -> None:
            endpoint.body, endpoint.state = body, "Succeeded"
            endpoint.traffic, endpoint.mirror = traffic, mirror
            self._announce(here, endpoint)

        headers = self._operations.start(here.subscription, _SECONDS["endpoint"], finish)
        return JSONResponse(self._json(here, endpoint), 200 if known else 201, headers)

    async def _delete(self, request: Request) -> Response:
        here, endpoint = self._ml.here(request), self._find(request)
        endpoint.state = "Deleting"
        key = self._key(request)
        headers = self._operations.start(here.subscription, _SECONDS["delete"], lambda: void(self._all.pop(key, None)))
        return Response(status_code=202, headers=headers)

    def _deployment_json(self, here: Workspace, endpoint: Endpoint, deployment: Deployment) -> Json:
        body = deployment.body
        usual = {"scaleSettings": {"scaleType": "Default"}, "endpointComputeType": "Managed"}
        given = {key: value for key, value in body["properties"].items() if value is not None}
        return {
            "id": f"{here.path}/onlineEndpoints/{endpoint.name}/deployments/{deployment.name}",
            "name": deployment.name,
            "type": f"{PROVIDER}/workspaces/onlineEndpoints/deployments",
            "location": LOCATION,
            "kind": "Managed",
            "sku": body.get("sku") or {"name": "Default", "capacity": 1},
            "tags": body.get("tags") or {},
            "properties": usual | given | {"provisioningState": deployment.state},
            "systemData": system_data(deployment.created),
        }

    async def _list_deployments(self, request: Request) -> Response:
        here, endpoint = self._ml.here(request), self._find(request)
        return JSONResponse(
            {"value": [self._deployment_json(here, endpoint, item) for item in endpoint.deployments.values()]}
        )

    async def _get_deployment(self, request: Request) -> Response:
        return JSONResponse(self._deployment_json(self._ml.here(request), *self._find_deployment(request)))

    async def _put_deployment(self, request: Request) -> Response:
        here, endpoint, name, body = (
            self._ml.here(request),
            self._find(request),
            request.path_params["deployment"],
            await read(request),
        )
        body.setdefault("properties", {})
        known = endpoint.deployments.get(name)
        if known and known.state in _BUSY:
            raise _conflict("deployment", name, known.state)
        deployment = known or Deployment(name, body, self._sim.clock.now())
        endpoint.deployments[name] = deployment
        deployment.body, deployment.state = body, "Updating" if known else "Creating"

        def finish() -> None:
            deployment.state, deployment.announced = "Succeeded", False
            self._announce(here, endpoint)

        headers = self._operations.start(here.subscription, _SECONDS["deployment"], finish)
        return JSONResponse(self._deployment_json(here, endpoint, deployment), 200 if known else 201, headers)

    async def _delete_deployment(self, request: Request) -> Response:
        here = self._ml.here(request)
        endpoint, deployment = self._find_deployment(request)
        share = endpoint.traffic.get(deployment.name, 0)
        if share:
            raise Refused(
                400,
                "UserError",
                f"Deployment '{deployment.name}' receives {share}% of the live traffic of endpoint '{endpoint.name}' and "
                "cannot be deleted. Set its traffic to 0 first.",
                "CannotDeleteDeploymentWithTraffic",
            )
        deployment.state = "Deleting"
        headers = self._operations.start(
            here.subscription, _SECONDS["delete"], lambda: void(endpoint.deployments.pop(deployment.name, None))
        )
        return Response(status_code=202, headers=headers)

    def _announce(self, here: Workspace, endpoint: Endpoint) -> None:
        """ModelDeployed, once for each deployment that is ready and begins to take live traffic."""
        for deployment in endpoint.deployments.values():
            live = deployment.state == "Succeeded" and endpoint.traffic.get(deployment.name, 0) > 0
            if live and not deployment.announced:
                data: Json = {
                    "ServiceName": endpoint.name,
                    "ServiceComputeType": "Managed",
                    "ModelIds": deployment.model,
                    "ServiceTags": endpoint.body.get("tags") or {},
                    "ServiceProperties": {"deployment": deployment.name},
                }
                self._ml.raise_event(here, "ModelDeployed", f"endpoints/{endpoint.name}", data)
            deployment.announced = live


def void(_: object) -> None:
    """For a lambda that acts and answers nothing."""


def _weights(given: Mapping[str, object] | None) -> dict[str, int]:
    return {name: share for name, share in (given or {}).items() if isinstance(share, int) and share}


def _check_traffic(traffic: Mapping[str, int], mirror: Mapping[str, int], deployments: set[str]) -> None:
    unknown = sorted((traffic.keys() | mirror.keys()) - deployments)
    both = sorted(traffic.keys() & mirror.keys())
    problem = None
    if unknown:
        problem = f"Traffic names deployments that do not exist: {', '.join(unknown)}."
    elif sum(traffic.values()) not in {0, 100}:
        problem = f"Traffic must sum to 0 or 100, but sums to {sum(traffic.values())}."
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
