"""What a workspace has beside models and components: clusters, code, environments; and the tables of contents of its data."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import LOCATION, PROVIDER, WORKSPACE, Json, Operations, Refused, door, guid, read, system_data
from simulator.azureml import AzureML, Version, Workspace, newest
from simulator.blobs import ACCOUNT, BlobStorage
from simulator.faults import Handler
from simulator.state import Simulated

USUAL: Final = "cpu-cluster"
"""The cluster that every workspace has. One that a test takes away, or asks for and never made, is not there."""
_CREATION: Final = 60.0
_NODES: Final[Json] = {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT120S"}
_CLUSTER: Final[Json] = {
    "computeType": "AmlCompute",
    "properties": {"vmSize": "STANDARD_DS3_V2", "vmPriority": "Dedicated", "scaleSettings": _NODES},
}


class WorkspaceAssets:
    """`computes`: by workspace and name. `kept`: code and environments, by workspace, kind and name, their versions."""

    def __init__(self, sim: Simulated, azureml: AzureML, blobs: BlobStorage, operations: Operations) -> None:
        self._sim = sim
        self._ml = azureml
        self._blobs = blobs
        self._operations = operations
        self.computes: defaultdict[str, dict[str, Json]] = defaultdict(lambda: {USUAL: dict(_CLUSTER)})
        self.kept: defaultdict[tuple[str, str, str], dict[str, Version]] = defaultdict(dict)

    def routes(self) -> list[BaseRoute]:
        def at(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(WORKSPACE + path, door(self._sim, "arm", handler), methods=[method])

        routes: list[BaseRoute] = [
            Route("/metadata/endpoints", self._clouds),
            at("/computes", self._list_computes),
            at("/computes/{name}", self._get_compute),
            at("/computes/{name}", self._put_compute, "PUT"),
            at("/computes/{name}", self._delete_compute, "DELETE"),
            at("/data/{name}/versions", self._list_data),
        ]
        for kind in ("codes", "environments"):
            versions = f"/{kind}/{{name}}/versions"
            routes += [
                at(versions, self._listing(kind)),
                at(versions + "/{version}/startPendingUpload", self._upload, "POST"),
                at(versions + "/{version}", self._getting(kind)),
                at(versions + "/{version}", self._putting(kind), "PUT"),
            ]
        return routes

    async def _clouds(self, _: Request) -> Response:
        """How the tools find their way in a cloud that they do not know: `ARM_CLOUD_METADATA_URL`."""
        said = {
            "name": f"Simulated-{self._sim.base.rpartition(':')[2]}",
            "portal": "https://portal.azure.com/",
            "resourceManager": f"{self._sim.base}/",
            "authentication": {"loginEndpoint": self._sim.base, "audiences": ["https://management.azure.com/"]},
            "suffixes": {"storage": self._sim.base.removeprefix("https://")},
        }
        return JSONResponse([said])

    # Clusters

    def _clusters(self, request: Request) -> tuple[Workspace, dict[str, Json]]:
        here = self._ml.here(request)
        return here, self.computes[here.path.casefold()]

    def _compute(self, here: Workspace, name: str, body: Json) -> Json:
        properties = {"provisioningState": "Succeeded", "provisioningErrors": None, "isAttachedCompute": False} | body
        return {
            "id": f"{here.path}/computes/{name}",
            "name": name,
            "type": f"{PROVIDER}/workspaces/computes",
            "location": LOCATION,
            "properties": properties | {"computeLocation": LOCATION},
        }

    async def _list_computes(self, request: Request) -> Response:
        here, known = self._clusters(request)
        return JSONResponse({"value": [self._compute(here, name, body) for name, body in known.items()]})

    async def _get_compute(self, request: Request) -> Response:
        here, known = self._clusters(request)
        name = request.path_params["name"]
        if name not in known:
            raise Refused(404, "ComputeNotFound", f"Compute with name {name} was not found in workspace {here.name}.")
        return JSONResponse(self._compute(here, name, known[name]))

    async def _put_compute(self, request: Request) -> Response:
        here, known = self._clusters(request)
        name, body = request.path_params["name"], (await read(request)).get("properties")
        if not isinstance(body, dict) or not body.get("computeType"):
            raise Refused(400, "ValidationError", "The field 'properties.computeType' is required.")
        known[name] = body
        headers = self._operations.start(here.subscription, _CREATION, lambda _: None)
        return JSONResponse(self._compute(here, name, body), 201, headers)

    async def _delete_compute(self, request: Request) -> Response:
        here, known = self._clusters(request)
        known.pop(request.path_params["name"], None)
        return Response(status_code=202, headers=self._operations.start(here.subscription, _CREATION, lambda _: None))

    # Code, environments, data

    def _versions(self, request: Request, kind: str) -> dict[str, Version]:
        return self.kept[self._ml.here(request).path.casefold(), kind, request.path_params["name"]]

    def _asset(self, here: Workspace, kind: str, item: Version) -> Json:
        return {
            "id": f"{here.path}/{kind}/{item.name}/versions/{item.version}",
            "name": item.version,
            "type": f"{PROVIDER}/workspaces/{kind}/versions",
            "properties": {"provisioningState": "Succeeded"} | item.body,
            "systemData": system_data(item.created),
        }

    def _page(self, request: Request, kind: str, versions: Mapping[str, Version]) -> Response:
        here, wanted = self._ml.here(request), request.query_params.get("hash")
        found = [
            item
            for item in newest(request, list(versions.values()))
            if wanted in {None, (item.body.get("properties") or {}).get("hash_sha256")}
        ]
        return JSONResponse({"value": [self._asset(here, kind, item) for item in found]})

    def _listing(self, kind: str) -> Handler:
        async def answer(request: Request) -> Response:
            return self._page(request, kind, self._versions(request, kind))

        return answer

    def _getting(self, kind: str) -> Handler:
        async def answer(request: Request) -> Response:
            name, version = request.path_params["name"], request.path_params["version"]
            found = self._versions(request, kind).get(version)
            if found is None:
                raise Refused(404, "UserError", f"Version {version} of {kind} '{name}' was not found.", "NotFound")
            return JSONResponse(self._asset(self._ml.here(request), kind, found))

        return answer

    def _putting(self, kind: str) -> Handler:
        async def answer(request: Request) -> Response:
            name, version = request.path_params["name"], request.path_params["version"]
            body = dict((await read(request)).get("properties") or {})
            known = self._versions(request, kind)
            before = known.get(version)
            if before and any(before.body.get(key) != value for key, value in body.items() if key in _FIXED):
                raise Refused(409, "UserError", f"{kind} {name}:{version} exists with other content.", "AssetImmutable")
            known[version] = Version(name, version, body, before.created if before else self._sim.clock.now())
            return JSONResponse(self._asset(self._ml.here(request), kind, known[version]), 200 if before else 201)

        return answer

    async def _upload(self, request: Request) -> Response:
        """A container of its own for each upload, and a signature that opens it."""
        await read(request)
        container, asked = guid(), guid()
        uri = self._blobs.opened(ACCOUNT, container)
        bare = uri.partition("?")[0]
        reference = {"blobUri": bare, "credential": {"credentialType": "SAS", "sasUri": uri}}
        storage = {"storageAccountArmId": f"/storageAccounts/{ACCOUNT}"}
        return JSONResponse(
            {
                "pendingUploadId": asked,
                "pendingUploadType": "TemporaryBlobReference",
                "blobReferenceForConsumption": reference | storage,
            }
        )

    async def _list_data(self, request: Request) -> Response:
        name = request.path_params["name"]
        versions = self._ml.here(request).data.get(name)
        if not versions:
            raise Refused(404, "UserError", f"Data asset '{name}' was not found.", "NotFound")
        return self._page(request, "data", versions)


_FIXED: Final = {"codeUri", "condaFile", "image"}
