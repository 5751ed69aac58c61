"""MLflow as a workspace offers it: what runs log, their artifacts, and the registry of models."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import WORKSPACE, Json, door, read
from simulator.azureml import AzureML, Run, Version, Workspace, milliseconds
from simulator.blobs import ACCOUNT, BlobStorage
from simulator.faults import Handler
from simulator.state import Simulated

_CONTAINER: Final = "azureml"
_STATUS: Final = {"FINISHED": "Completed", "FAILED": "Failed", "KILLED": "Canceled", "RUNNING": "Running"}


class Unknown(Exception):  # noqa: N818 (an answer of theirs)
    """What is asked for is not there, as MLflow words it."""

    def response(self) -> Response:
        return JSONResponse({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": str(self)}, 404)


class MLflow:
    """Beside `runs/get`, which is AzureML's own."""

    def __init__(self, sim: Simulated, azureml: AzureML, blobs: BlobStorage) -> None:
        self._sim = sim
        self._ml = azureml
        self._blobs = blobs

    def routes(self) -> list[BaseRoute]:
        api = "/mlflow/v2.0" + WORKSPACE + "/api/2.0/mlflow"

        def at(path: str, handler: Handler, method: str = "POST") -> Route:
            async def answer(request: Request) -> Response:
                try:
                    return await handler(request)
                except Unknown as unknown:
                    return unknown.response()

            return Route(path, door(self._sim, "mlflow", answer), methods=[method])

        run = "/history/v1.0" + WORKSPACE + "/experiments/{experiment}/runs/{run}"
        return [
            at(api + "/runs/update", self._update),
            at(api + "/runs/log-metric", self._log_metric),
            at(api + "/runs/log-parameter", self._log_parameter),
            at(api + "/runs/log-batch", self._log_batch),
            at(api + "/runs/set-tag", self._set_tag),
            at(api + "/experiments/get", self._experiment, "GET"),
            at(api + "/registered-models/create", self._create_model),
            at(api + "/model-versions/create", self._create_version),
            at(api + "/model-versions/get", self._get_version, "GET"),
            at(run + "/artifacts/batch/metadata", self._artifacts),
        ]

    def _run(self, here: Workspace, name: object) -> Run:
        run = here.runs.get(str(name))
        if run is None:
            raise Unknown(f"Run {name} was not found.")
        return run

    async def _asked(self, request: Request) -> tuple[Workspace, Run, Json]:
        here, body = self._ml.here(request), await read(request)
        return here, self._run(here, body.get("run_id") or body.get("run_uuid")), body

    def _metric(self, run: Run, given: Mapping[str, object]) -> None:
        run.metrics.setdefault(str(given["key"]), []).append(float(str(given["value"])))

    def _label(self, run: Run, where: str, given: Mapping[str, object]) -> None:
        run.body[where] = dict(run.body.get(where) or {}) | {str(given["key"]): str(given["value"])}

    async def _update(self, request: Request) -> Response:
        """A job's end is told by the service: what a script says of itself is kept, and changes no state."""
        _, run, body = await self._asked(request)
        status = _STATUS.get(str(body.get("status")), run.status)
        info = {"run_id": run.name, "run_uuid": run.name, "status": str(body.get("status") or status)}
        return JSONResponse({"run_info": info | {"lifecycle_stage": "active"}})

    async def _log_metric(self, request: Request) -> Response:
        _, run, body = await self._asked(request)
        self._metric(run, body)
        return JSONResponse({})

    async def _log_parameter(self, request: Request) -> Response:
        _, run, body = await self._asked(request)
        self._label(run, "properties", body | {"key": f"param.{body['key']}"})
        return JSONResponse({})

    async def _set_tag(self, request: Request) -> Response:
        _, run, body = await self._asked(request)
        self._label(run, "tags", body)
        return JSONResponse({})

    async def _log_batch(self, request: Request) -> Response:
        _, run, body = await self._asked(request)
        for metric in body.get("metrics") or ():
            self._metric(run, metric)
        for parameter in body.get("params") or ():
            self._label(run, "properties", parameter | {"key": f"param.{parameter['key']}"})
        for tag in body.get("tags") or ():
            self._label(run, "tags", tag)
        return JSONResponse({})

    async def _experiment(self, request: Request) -> Response:
        asked = request.query_params.get("experiment_id")
        here = self._ml.here(request)
        name = next((run.experiment for run in here.runs.values() if here.experiment_id(run.experiment) == asked), "")
        return JSONResponse({"experiment": {"experiment_id": asked, "name": name, "lifecycle_stage": "active"}})

    async def _artifacts(self, request: Request) -> Response:
        """Where each is to be put: an address that is signed."""
        here, paths = self._ml.here(request), (await read(request)).get("paths") or []
        run = self._run(here, request.path_params["run"])
        said = {}
        for given in paths:
            path = str(given["path"])
            place = f"ExperimentRun/dcid.{run.name}/{path}"
            uri, _, query = self._blobs.opened(ACCOUNT, _CONTAINER).partition("?")
            kept = {"origin": "ExperimentRun", "container": f"dcid.{run.name}", "path": path, "tags": {}}
            said[path] = kept | {"contentUri": f"{uri}/{place}?{query}"}
        return JSONResponse({"artifacts": {}, "artifactContentInformation": said, "errors": {}})

    # The registry

    async def _create_model(self, request: Request) -> Response:
        here, name = self._ml.here(request), str((await read(request)).get("name"))
        if name in here.models:
            known = {"error_code": "RESOURCE_ALREADY_EXISTS", "message": f"Registered Model {name} already exists."}
            return JSONResponse(known, 400)
        here.models[name] = {}
        return JSONResponse({"registered_model": {"name": name}})

    async def _create_version(self, request: Request) -> Response:
        here, body = self._ml.here(request), await read(request)
        name, run = str(body.get("name")), str(body.get("run_id") or "")
        if name not in here.models:
            raise Unknown(f"Registered Model {name} was not found.")
        folder = f"ExperimentRun/dcid.{run}/{str(body.get('source')).rpartition('/')[2]}/"
        if not any(place.startswith(folder) for _, _, place in self._blobs.files):
            raise Unknown(f"No artifacts at {body.get('source')}.")
        tags = {str(tag["key"]): str(tag["value"]) for tag in body.get("tags") or ()}
        self._ml.register(here, name, tags=tags, job=run or None)
        made = list(here.models[name].values())[-1]
        return JSONResponse({"model_version": self._version(made)})

    async def _get_version(self, request: Request) -> Response:
        here, asked = self._ml.here(request), request.query_params
        found = here.models.get(asked.get("name", ""), {}).get(asked.get("version", ""))
        if found is None:
            raise Unknown(f"Model version {asked.get('name')}:{asked.get('version')} was not found.")
        return JSONResponse({"model_version": self._version(found)})

    def _version(self, item: Version) -> Json:
        tags = [{"key": key, "value": value} for key, value in (item.body.get("tags") or {}).items()]
        return {
            "name": item.name,
            "version": item.version,
            "creation_timestamp": milliseconds(item.created),
            "run_id": item.body.get("jobName") or "",
            "source": item.body.get("modelUri") or "",
            "status": "READY",
            "tags": tags,
        }
