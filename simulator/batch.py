"""Batch endpoints: a default deployment that can be switched, and invocations that become jobs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import LOCATION, PROVIDER, WORKSPACE, Json, Operations, Refused, door, guid, read, system_data
from simulator.azureml import DURATION, ENDPOINT, OUTCOME, AzureML, Version, Workspace
from simulator.faults import Handler
from simulator.scoring import PIN
from simulator.state import Simulated
from simulator.traffic import Manners

_KINDS: Final = {"UriFolder": "uri_folder", "UriFile": "uri_file", "MLTable": "mltable"}
_URI: Final = re.compile(r"(azureml:|/subscriptions/|https?://|wasbs?://|abfss?://)")
_SECONDS: Final = {"endpoint": 10.0, "deployment": 60.0, "slow": 10_800.0}


@dataclass(eq=False)
class Deployment:
    name: str
    body: Json
    created: datetime
    state: str = "Creating"
    operation: str = ""

    @property
    def model(self) -> tuple[str, str]:
        """Name and version; an asset reference in the body says `assetId`."""
        given = self.body["properties"].get("model") or {}
        text = str(given.get("assetId") or given.get("path") or "")
        name, _, version = text.partition("/models/")[2].partition("/versions/")
        return name, version


@dataclass(eq=False)
class Endpoint:
    here: Workspace
    name: str
    body: Json
    created: datetime
    state: str = "Creating"
    deployments: dict[str, Deployment] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{self.here.path}/batchEndpoints/{self.name}"

    @property
    def default(self) -> str:
        defaults = self.body["properties"].get("defaults") or {}
        return str(defaults.get("deploymentName") or "")


class BatchEndpoints:
    def __init__(self, sim: Simulated, azureml: AzureML, operations: Operations) -> None:
        self._sim = sim
        self._ml = azureml
        self._operations = operations
        self._all: dict[tuple[str, str], Endpoint] = {}

    def routes(self) -> list[BaseRoute]:
        def at(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(WORKSPACE + "/batchEndpoints" + path, door(self._sim, "arm", handler), methods=[method])

        jobs = f"{WORKSPACE}/batchEndpoints/{{endpoint}}/jobs"
        return [
            at("", self._list),
            at("/{endpoint}", self._get),
            at("/{endpoint}", self._put, "PUT"),
            at("/{endpoint}/deployments", self._list_deployments),
            at("/{endpoint}/deployments/{deployment}", self._get_deployment),
            at("/{endpoint}/deployments/{deployment}", self._put_deployment, "PUT"),
            at("/{endpoint}/deployments/{deployment}", self._delete_deployment, "DELETE"),
            Route(jobs, door(self._sim, "arm", self._list_jobs)),
            Route(f"/batch{jobs}", door(self._sim, "scoring", self._invoke), methods=["POST"]),
        ]

    def all(self) -> Sequence[Endpoint]:
        return list(self._all.values())

    def serve(self, here: Workspace, name: str, models: Mapping[str, str]) -> Endpoint:
        """An endpoint as if it had been there for long: its deployments, each of a model `name:version`; the first is the default."""
        now = self._sim.clock.now()
        default = next(iter(models), None)
        body: Json = {"properties": {"authMode": "AADToken", "defaults": {"deploymentName": default}}}
        made = Endpoint(here, name, body, now, "Succeeded")
        for deployment, model in models.items():
            named, _, version = model.rpartition(":")
            spec: Json = {"properties": {"model": {"assetId": f"{here.path}/models/{named}/versions/{version}"}}}
            made.deployments[deployment] = Deployment(deployment, spec, now, "Succeeded")
        self._all[here.path.casefold(), name.casefold()] = made
        return made

    def _find(self, request: Request) -> Endpoint:
        here, name = self._ml.here(request), request.path_params["endpoint"]
        found = self._all.get((here.path.casefold(), name.casefold()))
        if found is None:
            raise Refused(404, "ResourceNotFound", f"The batch endpoint '{name}' was not found.")
        return found

    def _find_deployment(self, request: Request) -> tuple[Endpoint, Deployment]:
        endpoint, name = self._find(request), request.path_params["deployment"]
        if name not in endpoint.deployments:
            raise Refused(404, "ResourceNotFound", f"The deployment '{name}' was not found.")
        return endpoint, endpoint.deployments[name]

    def _json(self, endpoint: Endpoint) -> Json:
        path = endpoint.path
        said = {
            "provisioningState": endpoint.state,
            "scoringUri": f"{self._sim.base}/batch{path}/jobs",
            "defaults": {"deploymentName": endpoint.default or None},
        }
        return {
            "id": path,
            "name": endpoint.name,
            "type": f"{PROVIDER}/workspaces/batchEndpoints",
            "location": LOCATION,
            "tags": endpoint.body.get("tags") or {},
            "properties": endpoint.body["properties"] | said,
            "systemData": system_data(endpoint.created),
        }

    async def _list(self, request: Request) -> Response:
        here = self._ml.here(request)
        return JSONResponse({"value": [self._json(each) for each in self._all.values() if each.here is here]})

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._json(self._find(request)))

    async def _put(self, request: Request) -> Response:
        here, name, body = self._ml.here(request), request.path_params["endpoint"], await read(request)
        body["properties"] = dict(body.get("properties") or {})
        key = (here.path.casefold(), name.casefold())
        known = self._all.get(key)
        if known and known.state != "Succeeded":
            raise Refused(409, "Conflict", f"The batch endpoint '{name}' is {known.state}.")
        wanted = Endpoint(here, name, body, self._sim.clock.now())
        if wanted.default and (not known or wanted.default not in known.deployments):
            raise Refused(400, "UserError", f"The default deployment '{wanted.default}' does not exist.")
        endpoint = self._all.setdefault(key, wanted)
        endpoint.state = "Updating" if known else "Creating"

        def finish(_: datetime) -> None:
            endpoint.body, endpoint.state = body, "Succeeded"

        headers = self._operations.start(here.subscription, _SECONDS["endpoint"], finish)
        return JSONResponse(self._json(endpoint), 200 if known else 201, headers)

    def _deployment_json(self, endpoint: Endpoint, deployment: Deployment) -> Json:
        given = {key: value for key, value in deployment.body["properties"].items() if value is not None}
        noted = dict(given.get("properties") or {}) | {"AzureAsyncOperationUri": deployment.operation}
        return {
            "id": f"{endpoint.here.path}/batchEndpoints/{endpoint.name}/deployments/{deployment.name}",
            "name": deployment.name,
            "type": f"{PROVIDER}/workspaces/batchEndpoints/deployments",
            "location": LOCATION,
            "tags": deployment.body.get("tags") or {},
            "properties": given | {"provisioningState": deployment.state, "properties": noted},
            "systemData": system_data(deployment.created),
        }

    async def _list_deployments(self, request: Request) -> Response:
        endpoint = self._find(request)
        return JSONResponse(
            {"value": [self._deployment_json(endpoint, each) for each in endpoint.deployments.values()]}
        )

    async def _get_deployment(self, request: Request) -> Response:
        return JSONResponse(self._deployment_json(*self._find_deployment(request)))

    async def _put_deployment(self, request: Request) -> Response:
        endpoint, name, body = self._find(request), request.path_params["deployment"], await read(request)
        body["properties"] = dict(body.get("properties") or {})
        known = endpoint.deployments.get(name)
        if known and known.state in {"Creating", "Updating", "Deleting"}:
            raise Refused(409, "Conflict", f"The deployment '{name}' is {known.state}.")
        deployment = endpoint.deployments.setdefault(name, Deployment(name, body, self._sim.clock.now()))
        deployment.body, deployment.state = body, "Updating" if known else "Creating"
        provisioning = Manners.of(self._tags(endpoint, deployment), body.get("tags") or {}).provisioning

        def finish(_: datetime) -> Json | None:
            deployment.state = "Failed" if provisioning in {"failed", "quota"} else "Succeeded"
            failed = {"code": "BadArgument", "message": f"The deployment '{name}' could not be made."}
            return failed if deployment.state == "Failed" else None

        seconds = _SECONDS["slow" if provisioning == "slow" else "deployment"]
        headers = self._operations.start(endpoint.here.subscription, seconds, finish)
        deployment.operation = headers["Azure-AsyncOperation"]
        return JSONResponse(self._deployment_json(endpoint, deployment), 200 if known else 201, headers)

    def _model(self, endpoint: Endpoint, deployment: Deployment) -> Version | None:
        name, version = deployment.model
        return endpoint.here.models.get(name, {}).get(version)

    def _tags(self, endpoint: Endpoint, deployment: Deployment) -> dict[str, str]:
        model = self._model(endpoint, deployment)
        return dict(model.body.get("tags") or {}) if model else {}

    async def _delete_deployment(self, request: Request) -> Response:
        endpoint, deployment = self._find_deployment(request)
        if endpoint.default == deployment.name:
            raise Refused(
                400,
                "UserError",
                f"Deployment '{deployment.name}' is the default of '{endpoint.name}': cannot be deleted.",
            )
        deployment.state = "Deleting"

        def finish(_: datetime) -> None:
            endpoint.deployments.pop(deployment.name, None)

        headers = self._operations.start(endpoint.here.subscription, _SECONDS["deployment"], finish)
        return Response(status_code=202, headers=headers)

    async def _list_jobs(self, request: Request) -> Response:
        """Of an endpoint, the newest first."""
        endpoint = self._find(request)
        runs = [run for run in endpoint.here.runs.values() if run.properties.get(ENDPOINT) == endpoint.name]
        return JSONResponse({"value": [self._ml.job(endpoint.here, run) for run in reversed(runs)]})

    async def _invoke(self, request: Request) -> Response:
        """A new job at every call, by the deployment that is asked for or the default one. One that is given a name bears it."""
        endpoint, body = self._find(request), await read(request)
        given = dict(body.get("properties") or {})
        name = request.headers.get(PIN) or endpoint.default
        deployment = endpoint.deployments.get(name)
        if deployment is None or deployment.state != "Succeeded":
            raise Refused(
                404, "NotFound", f"The deployment '{name}' of '{endpoint.name}' was not found, or is not ready."
            )
        named = dict(given.get("properties") or {})
        job = {
            "jobType": "Pipeline",
            "experimentName": named.pop("experimentName", None) or endpoint.name,
            "displayName": f"{endpoint.name}:{deployment.name}",
            "inputs": {key: _read_in(key, value) for key, value in (given.get("inputData") or {}).items()},
            "outputs": {key: _written(key, value) for key, value in (given.get("outputData") or {}).items()},
            "tags": {
                key: value for key, value in self._tags(endpoint, deployment).items() if key in {OUTCOME, DURATION}
            },
            "properties": named | {ENDPOINT: endpoint.name, "azureml.deploymentname": deployment.name},
        }
        wanted = str(given.get("name") or f"batchjob-{guid()}")
        if wanted in endpoint.here.runs:
            raise Refused(409, "Conflict", f"A job with this name already exists: '{wanted}'.")
        run, _ = self._ml.submit(endpoint.here, wanted, job)
        return JSONResponse(self._ml.job(endpoint.here, run), 201)


def _read_in(name: str, value: Json) -> Json:
    """As the job says it: the scoring address spells the kinds in its own way, UriFolder for uri_folder."""
    if not isinstance(value, dict) or value.get("jobInputType") not in {*_KINDS, "Literal"}:
        raise _invalid(f"inputData.{name}", "jobInputType is none of UriFolder, UriFile, MLTable, Literal")
    if value["jobInputType"] == "Literal":
        if not isinstance(value.get("value"), str | int | float):
            raise _invalid(f"inputData.{name}", "a Literal has no value")
        # A job holds its literals as texts.
        said = value["value"]
        return {"jobInputType": "literal", "value": str(said).lower() if isinstance(said, bool) else str(said)}
    return _data(f"inputData.{name}", value, "jobInputType")


def _written(name: str, value: Json) -> Json:
    if not isinstance(value, dict) or value.get("jobOutputType") not in _KINDS:
        raise _invalid(f"outputData.{name}", "jobOutputType is none of UriFolder, UriFile, MLTable")
    return _data(f"outputData.{name}", value, "jobOutputType")


def _data(where: str, value: Json, kind: str) -> Json:
    if not _URI.match(str(value.get("uri") or "")):
        raise _invalid(where, f"'{value.get('uri')}' is no URI of data")
    return value | {kind: _KINDS[value[kind]]}


def _invalid(where: str, why: str) -> Refused:
    return Refused(400, "BadArgument", f"The request is invalid: {where}: {why}.")
