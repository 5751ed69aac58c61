"""A registry that workspaces share: models are imported from one of them, and read from anywhere."""

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import LOCATION, PROVIDER, Json, Refused, door, read, system_data
from simulator.azureml import AzureML, Version, newest
from simulator.blobs import BlobStorage
from simulator.faults import Handler
from simulator.state import Simulated

ACCOUNT: Final = "registries"
_FRONT: Final = "/mferp/managementfrontend"
_SUBSCRIPTION: Final = "11111111-1111-1111-1111-111111111111"
_FOLDER: Final = "model"


class Registries:
    """Any registry is there as soon as someone names it. `models`: by registry, name and version."""

    def __init__(self, sim: Simulated, azureml: AzureML, blobs: BlobStorage) -> None:
        self._sim = sim
        self._ml = azureml
        self._blobs = blobs
        self.models: dict[tuple[str, str, str], Version] = {}

    def routes(self) -> list[BaseRoute]:
        at = _FRONT + "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + PROVIDER
        at += "/registries/{registry}"

        def route(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(path, door(self._sim, "registry", handler), methods=[method])

        return [
            route("/registrymanagement/v1.0/registries/{registry}/discovery", self._discovery),
            route(at + "/import", self._import, "POST"),
            route(at + "/models/{name}/versions", self._list),
            route(at + "/models/{name}/versions/{version}", self._get),
            route(at + "/datarefs/{name}/versions/{version}", self._reference, "POST"),
        ]

    async def _discovery(self, request: Request) -> Response:
        name = request.path_params["registry"]
        said = {
            "registryName": name,
            "primaryRegion": LOCATION,
            "regions": [LOCATION],
            "subscriptionId": _SUBSCRIPTION,
            "resourceGroup": f"rg-{name}",
            "primaryRegionResourceProviderUri": f"{self._sim.base}/",
        }
        return JSONResponse(said)

    async def _import(self, request: Request) -> Response:
        """`azureml://locations/…/workspaces/GUID/models/NAME/versions/VERSION`, and the files of its job."""
        asked: Json = (await read(request)).get("properties") or {}
        parts = str(asked.get("sourceAssetId")).removeprefix("azureml://").split("/")
        guid, source, number = parts[3], parts[5], parts[7]
        here = next((one for one in self._ml.all() if one.experiment_id("") == guid), None)
        found = here.models.get(source, {}).get(number) if here else None
        if found is None:
            raise Refused(404, "UserError", f"{asked.get('sourceAssetId')} was not found.", "NotFound")
        registry, name = request.path_params["registry"], str(asked.get("destinationName"))
        version = str(asked.get("destinationVersion"))
        container, folder = f"{registry}-{name}-{version}", f"ExperimentRun/dcid.{found.body.get('jobName')}/{_FOLDER}/"
        for (_, _, path), content in list(self._blobs.files.items()):
            if path.startswith(folder):
                self._blobs.put(ACCOUNT, container, f"{_FOLDER}/{path.removeprefix(folder)}", content)
        uri = f"https://{ACCOUNT}.blob.core.windows.net/{container}/{_FOLDER}"
        body = found.body | {"modelUri": uri, "jobName": None}
        self.models[registry, name, version] = Version(name, version, body, self._sim.clock.now())
        return Response(status_code=200)

    def _find(self, request: Request) -> Version:
        registry, name, version = (request.path_params[part] for part in ("registry", "name", "version"))
        found = self.models.get((registry, name, version))
        if found is None:
            raise Refused(404, "UserError", f"Model {name}:{version} was not found in registry {registry}.", "NotFound")
        return found

    async def _list(self, request: Request) -> Response:
        registry, name = request.path_params["registry"], request.path_params["name"]
        found = [item for (of, named, _), item in self.models.items() if (of, named) == (registry, name)]
        return JSONResponse({"value": [self._json(registry, item) for item in newest(request, found)]})

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._json(request.path_params["registry"], self._find(request)))

    def _json(self, registry: str, found: Version) -> Json:
        body = {"flavors": {}, "provisioningState": "Succeeded"} | found.body
        path = f"azureml://registries/{registry}/models/{found.name}/versions/{found.version}"
        return {"id": path, "name": found.version, "properties": body, "systemData": system_data(found.created)}

    async def _reference(self, request: Request) -> Response:
        found = self._find(request)
        uri = self._blobs.opened(ACCOUNT, f"{request.path_params['registry']}-{found.name}-{found.version}")
        credential = {"credentialType": "SAS", "sasUri": uri}
        reference = {"blobUri": uri.partition("?")[0], "credential": credential}
        return JSONResponse({"blobReferenceForConsumption": reference})
