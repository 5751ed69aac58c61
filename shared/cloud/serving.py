"""Endpoints, deployments and the registry of Azure Machine Learning.

What a deployment is, azure-ai-ml says; everything is written and read as the resource itself. The SDK's own way of writing
follows each operation to its end in a thread, and what it reads and writes back is not what was there: of an endpoint it
adds properties, of a model version it forgets the job.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from shared.cloud.azureml import JOBS_API, ROLE, Json, Workspaces, answer, part, resource, submitted, table, text
from shared.cloud.failures import Doing, one_line
from shared.errors import ConflictError, MissingError, PermanentError, TemporaryError
from shared.record import WorkspaceRef
from shared.rollout.policy import Kind, Load, Recipe
from shared.rollout.record import DeploymentState, EndpointState, Weights
from shared.world import DATA, Data, EndpointRef, Http, Invocation, Moved, Origin, Pressed, Scored, Submitted

_API: Final = "2025-12-01"
"""Stable, and that by which the SDK words deployments. Versions of 2022 forget the mirrored traffic."""

_OURS: Final = "switchyard"
"""How the names of the tags begin by which we know our own deployments."""

_UNDER_WAY: Final = {"Creating", "Updating"}
_FAILED: Final = {"Failed", "Canceled"}
_READ_ONLY: Final = {"scoringUri", "swaggerUri", "provisioningState"}
_OPERATION: Final = "AzureAsyncOperationUri"
"""The property by which a resource names the operation that made it what it is."""

_STAMPS: Final = {
    *("createdby", "createdat", "createdbytype", "lastmodifiedby", "lastmodifiedat", "lastmodifiedbytype"),
    *("azureasyncoperationuri", "azureml.onlineendpointid", "azureml.batchendpointid"),
}
"""What the service writes among an endpoint's own properties, and what the SDK copies there out of systemData; in small letters."""

_MODEL: Final = re.compile(r"/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$", re.IGNORECASE)
_ASSET: Final = re.compile(r"azureml:(?P<name>[^:@/]+):(?P<version>[^:@/]+)")
_REMOTE: Final = re.compile(r"azureml://\S+|(azureml:)?/subscriptions/\S+", re.IGNORECASE)
_JOB_OF_PATH: Final = re.compile(r"azureml://(?:\S*?/)?jobs/(?P<job>[^/]+)/")
_COLLECTED: Final = "azureml://datastores/workspaceblobstore/paths/modelDataCollector"
_MINI_BATCH: Final = 10
"""Files at once: the default of the deployment's schema, which the SDK asks for."""

_KINDS: Final = {"uri_folder": "UriFolder", "uri_file": "UriFile", "mltable": "MLTable"}
"""How the scoring address of a batch endpoint spells them."""

_KUBERNETES: Final = {"k8s", "kubernetes"}


@dataclass(frozen=True)
class _Way:
    """How to score: where, and by which key or token of the endpoint. None: by a token of Entra, which others keep."""

    url: str
    key: str | None = field(repr=False)


class Endpoints:
    """Implements `world.Serving`."""

    def __init__(self, workspaces: Workspaces, http: Http) -> None:
        self._workspaces = workspaces
        self._http = http
        self._ways: dict[EndpointRef, _Way] = {}

    async def endpoint(self, endpoint: EndpointRef) -> EndpointState | None:
        doing = Doing(f"reading endpoint {endpoint.name}", ROLE)
        try:
            found = await self._arm("GET", endpoint, doing)
            path = f"{_path(endpoint)}/deployments"
            listed = [one async for one in self._workspaces.all(endpoint.where, path, doing, version=_API)]
        except MissingError:
            return None
        traffic, mirror = _weights(endpoint.kind, found)
        return EndpointState(
            name=endpoint.name,
            state=_state(found),
            traffic=traffic,
            mirror=mirror,
            deployments=tuple([await self._deployment(one) for one in listed]),
            kubernetes=_on_kubernetes(found, listed),
        )

    async def _deployment(self, body: Json) -> DeploymentState:
        properties, name, error = _properties(body), str(body.get("name")), ""
        operation = text(table(properties.get("properties")).get(_OPERATION))
        if _state(body) == "Failed" and operation:  # only the operation knows why
            with suppress(TemporaryError, PermanentError):
                doing = Doing(f"asking why deployment {name} failed", ROLE)
                said = table((await self._workspaces.at(operation, doing)).get("error"))
                error = one_line(": ".join(str(said[key]) for key in ("code", "message") if said.get(key)))
        tags = {str(tag): str(value) for tag, value in table(body.get("tags")).items()}
        return DeploymentState(name, _state(body), _model(properties), tags, error)

    async def create(
        self, endpoint: EndpointRef, name: str, model: str, recipe: Recipe, tags: Mapping[str, str]
    ) -> None:
        doing = Doing(f"creating deployment {name} of endpoint {endpoint.name}", ROLE)
        there = await self._arm("GET", endpoint, doing)
        if _on_kubernetes(there, ()):
            endpoint = replace(endpoint, kind="kubernetes")  # whatever the policy says of it
        if await self._accepted(endpoint, name, tags, doing):
            return
        if recipe.collect and endpoint.kind != "batch":
            await self._collections(endpoint, name, recipe)
        at = str(there.get("location"))
        body: Json = await self._workspaces.by_sdk(
            endpoint.where, doing, lambda _: _worded(_entity(endpoint, name, model, recipe, tags), at)
        )
        await self._arm("PUT", endpoint, doing, f"/deployments/{part(name)}", body)

    async def _accepted(self, endpoint: EndpointRef, name: str, tags: Mapping[str, str], doing: Doing) -> bool:
        """Whether an earlier try has made it. One that failed is made anew."""
        try:
            found = await self._arm("GET", endpoint, doing, f"/deployments/{part(name)}")
        except MissingError:
            return False
        ours = {tag: value for tag, value in tags.items() if tag.startswith(_OURS)} or tags
        theirs = table(found.get("tags"))
        if any(theirs.get(tag) != value for tag, value in ours.items()):
            raise ConflictError(
                f"{doing.what}: there is one already, and it is not ours: its tags do not name this rollout. Delete it, "
                "if nobody needs it"
            )
        if _state(found) == "Deleting":
            raise TemporaryError(f"{doing.what}: the one before is being deleted")
        return _state(found) in {*_UNDER_WAY, "Succeeded"}

    async def _collections(self, endpoint: EndpointRef, name: str, recipe: Recipe) -> None:
        """The data assets by which collected data is found; the SDK registers them in its own way of writing only."""
        for collection in recipe.collect:
            asset = f"{endpoint.name}-{name}-{collection}"
            doing = Doing(f"registering data asset {asset}", ROLE)
            uri = f"{_COLLECTED}/{endpoint.name}/{name}/{collection}"
            body = {"properties": {"dataType": "uri_folder", "dataUri": uri}}
            path = f"/data/{part(asset)}/versions/1"
            try:
                await self._workspaces.arm("GET", endpoint.where, path, doing, version=_API)
            except MissingError:
                await self._workspaces.arm("PUT", endpoint.where, path, doing, body, version=_API)

    async def move(
        self, endpoint: EndpointRef, traffic: Weights, mirror: Weights, expected: tuple[Weights, Weights] | None
    ) -> Moved:
        doing = Doing(f"moving the traffic of endpoint {endpoint.name}", ROLE)
        body = await self._arm("GET", endpoint, doing)
        if _state(body) in _UNDER_WAY:
            raise TemporaryError(f"{doing.what}: another operation is under way, the endpoint is {_state(body)}")
        found, wanted = _weights(endpoint.kind, body), (_real(traffic), _real(mirror))
        if found == wanted and _state(body) not in _FAILED:  # else writing it again is what brings the endpoint to rest
            return Moved("already", *found)
        if expected is not None and found != (_real(expected[0]), _real(expected[1])):
            return Moved("changed", *found)
        _turn(body, endpoint, *wanted)
        await self._arm("PUT", endpoint, doing, body=_writable(body))
        return Moved("accepted", *found)

    async def delete(self, endpoint: EndpointRef, name: str) -> None:
        doing = Doing(f"deleting deployment {name} of endpoint {endpoint.name}", ROLE)
        try:
            await self._arm("DELETE", endpoint, doing, f"/deployments/{part(name)}")
        except MissingError:
            return

    async def press(self, endpoint: EndpointRef, deployment: str, bodies: Sequence[bytes], load: Load) -> Pressed:
        way, headers = await self._asking(endpoint, deployment)
        failed: Counter[int] = Counter()
        took: list[float] = []
        under_way: set[asyncio.Task[None]] = set()
        missed, planned, clock = 0, load.rps * load.seconds, time.perf_counter

        async def one(body: bytes, due: float) -> None:
            try:
                status = (await self._http.send("POST", way.url, headers=headers, body=body)).status
            except TemporaryError:
                status = 0
            if 200 <= status < 300:  # noqa: PLR2004 (HTTP)
                took.append((clock() - due) * 1000)
            else:
                failed[status] += 1

        began = clock()
        for n in range(planned):
            due = began + n / load.rps
            # No wait for something to come true: this is the beat of the load, whatever becomes of its requests.
            await asyncio.sleep(max(0.0, due - clock()))
            if len(under_way) >= load.at_once:
                missed += 1
                continue
            task = asyncio.create_task(one(bodies[n % len(bodies)], due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        seconds = max(clock() - began, planned / load.rps)
        await asyncio.gather(*under_way)
        if not took and set(failed) <= {0, 401}:
            self._ways.pop(endpoint, None)
            raise TemporaryError(f"load on deployment {deployment} of endpoint {endpoint.name}: {_nothing(failed)}")
        return Pressed(planned - missed, seconds, took, failed, missed)

    async def _asking(self, endpoint: EndpointRef, deployment: str) -> tuple[_Way, dict[str, str]]:
        """Where its scoring address is, and what is said there to be answered by this deployment."""
        way = await self._way(endpoint)
        return way, {
            "Authorization": f"Bearer {way.key or await self._workspaces.token()}",
            "Content-Type": "application/json",
            "azureml-model-deployment": deployment,
        }

    async def score(self, endpoint: EndpointRef, deployment: str, body: bytes) -> Scored:
        way, headers = await self._asking(endpoint, deployment)
        began = time.perf_counter()
        try:
            reply = await self._http.send("POST", way.url, headers=headers, body=body)
        except TemporaryError as error:
            self._ways.pop(endpoint, None)
            raise TemporaryError(f"scoring deployment {deployment} of endpoint {endpoint.name}: {error}") from error
        took = (time.perf_counter() - began) * 1000
        if reply.status == 401:  # noqa: PLR2004 (HTTP)
            self._ways.pop(endpoint, None)
            raise TemporaryError(
                f"scoring deployment {deployment} of endpoint {endpoint.name}: HTTP 401, the key or token is no longer good"
            )
        return Scored(reply.status, reply.body, took)

    async def invoke(self, endpoint: EndpointRef, asked: Invocation) -> Submitted:
        by = f"deployment {asked.deployment} of " if asked.deployment else ""
        doing = Doing(f"invoking {by}batch endpoint {endpoint.name}", ROLE)
        body = json.dumps({"properties": _invocation(endpoint.where, asked)}).encode()
        earlier = await self._invoked(endpoint, asked.name)
        if earlier is not None:
            return earlier
        found = await self._arm("GET", endpoint, doing)
        headers = {
            "Authorization": f"Bearer {await self._workspaces.token()}",
            "Content-Type": "application/json",
        }
        if asked.deployment:
            headers["azureml-model-deployment"] = asked.deployment
        try:
            reply = await self._http.send("POST", _scoring(found, doing), headers=headers, body=body)
            made = answer(reply, doing)
        except TemporaryError as error:
            raise TemporaryError(_naming(doing, error), retry_after=error.retry_after, sent=error.sent) from error
        name = text(made.get("name")) or (text(made.get("id")) or "").rpartition("/")[2]
        if not name:
            raise PermanentError(f"{doing.what}: accepted, but the answer names no job")
        return submitted(name, made)

    async def _invoked(self, endpoint: EndpointRef, name: str) -> Submitted | None:
        """The job of an earlier try."""
        doing = Doing(f"looking for job {name}", ROLE)
        try:
            found = await self._workspaces.arm("GET", endpoint.where, f"/jobs/{part(name)}", doing, version=JOBS_API)
        except MissingError:
            return None
        return submitted(name, found, again=True)

    async def origin(self, where: WorkspaceRef, model: str, version: str) -> Origin | None:
        doing = Doing(f"looking up model {model}:{version}", ROLE)
        try:
            found = await self._workspaces.by_sdk(where, doing, lambda ml: ml.models.get(model, version))
        except MissingError:
            return None
        of_path = _JOB_OF_PATH.match(text(found.path) or "")
        run = text(found.job_name) or (of_path["job"] if of_path else None)
        properties = await self._job(where, run) if run else {}
        stamped = table(properties.get("properties"))
        studio = table(table(properties.get("services")).get("Studio"))
        made = found.creation_context
        return Origin(
            tags={str(name): str(value) for name, value in (found.tags or {}).items()},
            created=getattr(made, "created_at", None),
            created_by=text(getattr(made, "created_by", None)),
            run=run,
            experiment=text(properties.get("experimentName")),
            inputs=_inputs(properties),
            commit=text(stamped.get("azureml.git.commit")) or text(stamped.get("mlflow.source.git.commit")),
            branch=text(stamped.get("azureml.git.branch")) or text(stamped.get("mlflow.source.git.branch")),
            studio_url=text(studio.get("endpoint")),
        )

    async def _job(self, where: WorkspaceRef, run: str) -> Json:
        doing = Doing(f"looking up job {run}", ROLE)
        try:
            found = await self._workspaces.arm("GET", where, f"/jobs/{part(run)}", doing, version=JOBS_API)
        except MissingError:  # deleted since, or a run that is no job
            return {}
        return table(found.get("properties"))

    async def tag(self, where: WorkspaceRef, model: str, version: str, tags: Mapping[str, str]) -> None:
        doing = Doing(f"tagging model {model}:{version}", ROLE)
        path = f"/models/{part(model)}/versions/{part(version)}"
        found = await self._workspaces.arm("GET", where, path, doing, version=_API)
        properties = {name: value for name, value in table(found.get("properties")).items() if name not in _READ_ONLY}
        known = table(properties.get("tags"))
        wanted = {**known, **tags}
        if wanted == known:
            return
        body = {"properties": properties | {"tags": wanted}}
        await self._workspaces.arm("PUT", where, path, doing, body, version=_API)

    async def _arm(
        self, method: str, endpoint: EndpointRef, doing: Doing, below: str = "", body: Json | None = None
    ) -> Json:
        return await self._workspaces.arm(method, endpoint.where, _path(endpoint) + below, doing, body, version=_API)

    async def _way(self, endpoint: EndpointRef) -> _Way:
        """Kept until it is refused: a probe asks many times."""
        if endpoint not in self._ways:
            doing = Doing(f"finding the scoring address of endpoint {endpoint.name}", ROLE)
            found = await self._arm("GET", endpoint, doing)
            url, mode = _scoring(found, doing), (text(_properties(found).get("authMode")) or "").casefold()
            key = None
            if mode != "aadtoken":
                ask, said = ("/token", "accessToken") if mode == "amltoken" else ("/listKeys", "primaryKey")
                key = text((await self._arm("POST", endpoint, doing, ask)).get(said))
                if key is None:
                    raise PermanentError(
                        f"{doing.what}: it gives neither key nor token (authMode {mode or 'not said'})"
                    )
            self._ways[endpoint] = _Way(url, key)
        return self._ways[endpoint]


def _path(endpoint: EndpointRef) -> str:
    kind = "batchEndpoints" if endpoint.kind == "batch" else "onlineEndpoints"
    return f"/{kind}/{part(endpoint.name)}"


def _properties(body: Json) -> Json:
    return table(body.get("properties"))


def _state(body: Json) -> str:
    return text(_properties(body).get("provisioningState")) or "Unknown"


def _scoring(body: Json, doing: Doing) -> str:
    url = text(_properties(body).get("scoringUri")) or ""
    if urlsplit(url).scheme not in {"http", "https"}:  # Kubernetes endpoints may have no certificate
        raise TemporaryError(f"{doing.what}: it has no scoring address yet")
    return url


def _invocation(where: WorkspaceRef, asked: Invocation) -> Json:
    """In the words of the scoring address."""
    said: Json = {"name": asked.name, "inputData": {name: _input(where, one) for name, one in asked.inputs.items()}}
    if asked.outputs:
        said["outputData"] = {
            name: {"jobOutputType": _KINDS[one.kind], "uri": _located(where, one)}
            for name, one in asked.outputs.items()
        }
    named = {"experimentName": asked.experiment} if asked.experiment else {}
    return said | {"properties": {**asked.properties, **named}}


def _input(where: WorkspaceRef, given: Data | str | bool | float) -> Json:  # noqa: FBT001 (an input's value)
    if isinstance(given, Data):
        return {"jobInputType": _KINDS[given.kind], "uri": _located(where, given)}
    return {"jobInputType": "Literal", "value": given}


def _located(where: WorkspaceRef, data: Data) -> str:
    if not DATA.fullmatch(data.path):
        raise PermanentError(
            f"{data.path!r} is no data for a batch endpoint, expected azureml:<name>:<version> or a URL"
        )
    return _asset(where, "data", data.path)


def _naming(doing: Doing, error: TemporaryError) -> str:
    return str(error) if str(error).startswith(doing.what) else f"{doing.what}: {error}"


def _nothing(failed: Mapping[int, int]) -> str:
    return "HTTP 401, the key or token is no longer good" if failed[401] else "not one answer came"


def _weights(kind: Kind, body: Json) -> tuple[Weights, Weights]:
    properties = _properties(body)
    if kind == "batch":
        default = text(table(properties.get("defaults")).get("deploymentName"))
        return ({default: 100} if default else {}), {}
    return _real(table(properties.get("traffic"))), _real(table(properties.get("mirrorTraffic")))


def _real(weights: Mapping[str, Any]) -> Weights:
    """Those with something."""
    return {name: int(share) for name, share in weights.items() if share}


def _turn(body: Json, endpoint: EndpointRef, traffic: Weights, mirror: Weights) -> None:
    """Writes the new traffic into the body of an endpoint."""
    properties = body["properties"] = _properties(body)
    if endpoint.kind == "batch":
        if mirror or any(share != 100 for share in traffic.values()):  # noqa: PLR2004 (per cent)
            raise PermanentError(f"batch endpoint {endpoint.name} has one default deployment and no shares of traffic")
        properties["defaults"] = table(properties.get("defaults")) | {"deploymentName": next(iter(traffic), None)}
        return
    properties["traffic"] = traffic
    properties["mirrorTraffic"] = mirror
    if endpoint.kind == "kubernetes" or _on_kubernetes(body, ()):
        if mirror:
            raise PermanentError(f"endpoint {endpoint.name} is on Kubernetes, where no traffic can be mirrored")
        del properties["mirrorTraffic"]


def _writable(body: Json) -> Json:
    """An endpoint without what only the service writes."""
    kept = {name: value for name, value in body.items() if name in {"location", "kind", "sku", "tags", "identity"}}
    properties = {name: value for name, value in _properties(body).items() if name not in _READ_ONLY}
    if "properties" in properties:
        properties["properties"] = {
            name: value for name, value in table(properties["properties"]).items() if name.casefold() not in _STAMPS
        }
    identity = table(kept.get("identity"))
    if identity:
        kept["identity"] = {"type": identity.get("type")}
        if named := table(identity.get("userAssignedIdentities")):
            kept["identity"]["userAssignedIdentities"] = {name: {} for name in named}
    return {name: value for name, value in kept.items() if value is not None} | {"properties": properties}


def _on_kubernetes(body: Json, deployments: Any) -> bool:
    kinds = [text(_properties(one).get("endpointComputeType")) for one in deployments]
    named = {(kind or "").casefold() for kind in (*kinds, text(body.get("kind")))}
    return bool(_properties(body).get("compute")) or bool(named & _KUBERNETES)


def _model(properties: Json) -> str:
    """`name:version`, however it is spelled: an ARM id, an id in a registry, `azureml:…`, a reference to one of them."""
    named = text(table(properties.get("model")).get("assetId")) or text(properties.get("model")) or ""
    found = _MODEL.search(named)
    return f"{found['name']}:{found['version']}" if found else named.removeprefix("azureml:")


def _asset(where: WorkspaceRef, kind: str, named: str) -> str:
    """The ARM id of `azureml:<name>:<version>` in this workspace; what is an id or an address stays as it is."""
    found = _ASSET.fullmatch(named)
    return f"{resource(where)}/{kind}/{part(found['name'])}/versions/{part(found['version'])}" if found else named


def _registered(where: WorkspaceRef, kind: str, named: str, what: str) -> str:
    if not (_ASSET.fullmatch(named) or _REMOTE.fullmatch(named)):
        raise PermanentError(
            f"{what} {named!r} is not registered: expected azureml:<name>:<version> or the id of one in a workspace or "
            "registry; this app uploads nothing from its own disk"
        )
    return _asset(where, kind, named)


def _worded(entity: Any, location: str) -> Json:
    """The body of the request that the SDK would send; its public way of sending waits for the end."""
    body: Json = entity._to_rest_object(location=location).as_dict()  # noqa: SLF001 (nothing public does it)
    return body


def _entity(endpoint: EndpointRef, name: str, model: str, recipe: Recipe, tags: Mapping[str, str]) -> Any:
    """The deployment in the words of the SDK. What it refuses it says by itself."""
    from azure.ai.ml import entities

    where = endpoint.where
    given: dict[str, Any] = {
        "name": name,
        "endpoint_name": endpoint.name,
        "model": _registered(where, "models", f"azureml:{model}", "model"),
        "tags": dict(tags),
    }
    if recipe.environment:
        given["environment"] = _registered(where, "environments", recipe.environment, "environment")
    if recipe.code:
        code = _registered(where, "codes", recipe.code, "code")
        given["code_configuration"] = entities.CodeConfiguration(code=code, scoring_script=recipe.scoring_script)
    if endpoint.kind == "batch":
        return _batch(where, recipe, given)
    settings = {
        "request_timeout_ms": recipe.request_timeout_ms,
        "max_concurrent_requests_per_instance": recipe.max_concurrent_requests,
    }
    told = {setting: value for setting, value in settings.items() if value is not None}
    given |= {
        "instance_count": recipe.instance_count,
        "instance_type": recipe.instance_type,
        "environment_variables": recipe.variables,
        "app_insights_enabled": recipe.app_insights,
        "request_settings": entities.OnlineRequestSettings(**told) if told else None,
        "data_collector": _collector(endpoint, name, recipe) if recipe.collect else None,
    }
    made = entities.KubernetesOnlineDeployment if endpoint.kind == "kubernetes" else entities.ManagedOnlineDeployment
    return made(**given)


def _batch(where: WorkspaceRef, recipe: Recipe, given: dict[str, Any]) -> Any:
    from azure.ai.ml import entities

    compute = (recipe.compute or "").removeprefix("azureml:")
    if not compute:
        raise PermanentError("a batch deployment needs a compute: name a cluster of the workspace in the policy")
    given["compute"] = compute if compute.startswith("/") else f"{resource(where)}/computes/{part(compute)}"
    return entities.ModelBatchDeployment(
        **given,
        resources=entities.ResourceConfiguration(
            instance_count=recipe.instance_count, instance_type=recipe.instance_type
        ),
        settings=entities.ModelBatchDeploymentSettings(
            mini_batch_size=_MINI_BATCH,
            max_concurrency_per_instance=recipe.max_concurrent_requests,
            environment_variables=recipe.variables,
        ),
    )


def _collector(endpoint: EndpointRef, name: str, recipe: Recipe) -> Any:
    from azure.ai.ml import entities

    def asset(collection: str) -> str:
        return f"{resource(endpoint.where)}/data/{part(f'{endpoint.name}-{name}-{collection}')}/versions/1"

    return entities.DataCollector(
        collections={one: entities.DeploymentCollection(enabled="true", data=asset(one)) for one in recipe.collect}
    )


def _inputs(properties: Json) -> dict[str, str]:
    """Of a job: what each input was, an address or a value."""
    given = {str(name): table(one) for name, one in table(properties.get("inputs")).items()}
    said = {name: text(one.get("uri")) or text(one.get("value")) for name, one in given.items()}
    return {name: value for name, value in said.items() if value is not None}
