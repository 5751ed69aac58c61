"""Azure Machine Learning: workspaces, jobs that live in simulated time, models, run history and MLflow."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import (
    LOCATION,
    PROVIDER,
    WORKSPACE,
    Json,
    Operations,
    Refused,
    Spawn,
    door,
    guid,
    read,
    stamp,
    system_data,
)
from simulator.faults import Handler
from simulator.state import Simulated

type Publish = Callable[[Json], str]
"""Hands an event to Event Grid and returns its id."""

type Status = Literal[
    "NotStarted", "Queued", "Running", "Finalizing", "Completed", "Failed", "CancelRequested", "Canceled"
]

OUTCOME: Final = "simulated_outcome"
"""Tag of a job that decides how it ends: `failed` (the user's code) or `preempted` (the platform). Else it completes."""
ENDPOINT: Final = "azureml.endpointname"
"""Property of a job that is an invocation of a batch endpoint."""
DURATION: Final = "simulated_seconds"
"""Tag of a job: how many simulated seconds it runs. Else two to five minutes."""

_SCHEDULING: Final = 5.0
_JOB_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}")
_MUTABLE: Final = {"description", "tags", "displayName", "properties", "isArchived"}
_OURS: Final = {"status", "services"}
_ENDED: Final = {"Completed", "Failed", "Canceled"}
_RUN_TYPES: Final = {"Pipeline": "azureml.PipelineRun", "Sweep": "hyperdrive", "AutoML": "automl"}
_MLFLOW: Final = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED", "Running": "RUNNING"}
_USUAL_INPUTS: Final = {
    "training_data": "uri_folder",
    "learning_rate": "number",
    "epochs": "integer",
    "drift": "number",
    "model_name": "string",
    "reason": "string",
}
_TRAINING: Final = re.compile(r"[-_]?(re)?train(ing)?[-_]?", re.IGNORECASE)


@dataclass(frozen=True)
class Trouble:
    """Why a run failed, as run history tells it."""

    code: str
    message: str
    inner: str


CODE_FAILED: Final = Trouble(
    "UserError",
    "Execution failed. User process '/azureml-envs/sklearn-1.5/bin/python' exited with status code 1. "
    "Please check log file 'user_logs/std_log.txt' for error details. Error: Traceback (most recent call last):\n"
    '  File "train.py", line 87, in <module>\n'
    "    main(parse_args())\n"
    '  File "train.py", line 61, in main\n'
    "    features = frame[FEATURES]\n"
    "KeyError: \"['merchant_category'] not in index\"\n",
    "UserExecutionFailure",
)
NODE_PREEMPTED: Final = Trouble(
    "ServiceError",
    "AzureMLCompute job failed. NodePreempted: the low-priority node tvmps_3f1c0d8e96a1b2c4_p was preempted by the "
    "platform while the job was running on it. The job did not fail because of user code; submit it again to run it "
    "on another node.",
    "NodePreempted",
)


@dataclass(eq=False)
class Run:
    """A job, or a run below one. `body` is what the job was submitted with: the `properties` of its PUT."""

    name: str
    type: str
    body: Json
    created: datetime
    status: Status = "NotStarted"
    started: datetime | None = None
    ended: datetime | None = None
    parent: "Run | None" = None
    trouble: Trouble | None = None
    metrics: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    """Run properties that the service adds to those of the submitter."""
    life: asyncio.Task[None] | None = None

    @property
    def experiment(self) -> str:
        return str(self.body["experimentName"])

    @property
    def root(self) -> "Run":
        return self.parent.root if self.parent else self

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.body.get("tags") or {})

    @property
    def properties(self) -> dict[str, str]:
        return dict(self.body.get("properties") or {}) | self.extra


@dataclass(eq=False)
class Version:
    """One version of an asset; `body` as it was put."""

    name: str
    version: str
    body: Json
    created: datetime


type Assets = dict[str, dict[str, Version]]


@dataclass(eq=False)
class Schedule:
    name: str
    body: Json
    created: datetime
    state: str = "Creating"


@dataclass(eq=False)
class Workspace:
    """`path`: its ARM id, spelled as it was first asked for."""

    path: str
    runs: dict[str, Run] = field(default_factory=dict)
    models: Assets = field(default_factory=dict)
    components: Assets = field(default_factory=dict)
    data: Assets = field(default_factory=dict)
    reaches: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By experiment, the metrics of its next runs, where a story says them."""
    schedules: dict[str, "Schedule"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def subscription(self) -> str:
        return self.path.split("/")[2]

    def experiment_id(self, name: str) -> str:
        return str(uuid5(NAMESPACE_URL, f"{self.path.casefold()}/{name}"))


class AzureML:
    """Any workspace is there as soon as someone names it."""

    def __init__(self, sim: Simulated, publish: Publish, spawn: Spawn, operations: Operations) -> None:
        self._sim = sim
        self._publish = publish
        self._spawn = spawn
        self._operations = operations
        self._workspaces: dict[str, Workspace] = {}

    def workspace(self, subscription: str, group: str, name: str) -> Workspace:
        path = WORKSPACE.format(subscription=subscription, group=group, workspace=name)
        return self._workspaces.setdefault(path.casefold(), Workspace(path))

    def at(self, path: str) -> Workspace:
        """The workspace with this ARM id."""
        parts = path.strip("/").split("/")
        return self.workspace(parts[1], parts[3], parts[7])

    def all(self) -> Iterable[Workspace]:
        return list(self._workspaces.values())

    def counts(self) -> dict[str, dict[str, int]]:
        return {
            here.path: {"runs": len(here.runs), "models": sum(map(len, here.models.values()))}
            for here in self._workspaces.values()
        }

    def raise_event(self, here: Workspace, kind: str, subject: str, data: Json) -> str:
        """One of the workspace's events, in the Event Grid schema, with the casing of names that the service uses."""
        return self._publish(
            {
                "topic": here.path,
                "subject": subject,
                "eventType": f"{PROVIDER}.{kind}",
                "eventTime": stamp(self._sim.clock.now()),
                "id": guid(),
                "data": data,
                "dataVersion": "",
                "metadataVersion": "1",
            }
        )

    # Runs

    def begin(
        self,
        here: Workspace,
        name: str,
        body: Json,
        *,
        run_type: str | None = None,
        parent: Run | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Run:
        """A run that exists, and does nothing until it is told to `turn`."""
        kind = run_type or _RUN_TYPES.get(str(body.get("jobType")), "azureml.scriptrun")
        run = Run(name, kind, body, self._sim.clock.now(), parent=parent, extra=dict(extra or {}))
        here.runs[name] = run
        return run

    def turn(self, here: Workspace, run: Run, status: Status, trouble: Trouble | None = None) -> list[str]:
        """The run changes its state, and the workspace says so. Returns the ids of the events."""
        now = self._sim.clock.now()
        run.status, run.trouble = status, trouble or run.trouble
        run.started = run.started or (now if status == "Running" else None)
        if status in _ENDED:
            run.ended = now
        subject = f"experiments/{here.experiment_id(run.experiment)}/runs/{run.name}"
        data: Json = {
            "experimentId": here.experiment_id(run.experiment),
            "experimentName": run.experiment,
            "runId": run.name,
            "runType": run.type,
            "runTags": run.tags,
            "runProperties": run.properties,
        }
        raised = [self.raise_event(here, "RunStatusChanged", subject, data | {"runStatus": status})]
        if status == "Completed":
            raised.append(self.raise_event(here, "RunCompleted", subject, data))
        return raised

    def submit(self, here: Workspace, name: str, body: Json) -> tuple[Run, bool]:
        """A new job, which now lives; or the one of this name, and False, if nothing but its labels differs."""
        self._check(name, body)
        body = {key: value for key, value in body.items() if key not in _OURS}
        known = here.runs.get(name)
        if known:
            changed = sorted(
                key for key in (body.keys() | known.body.keys()) - _MUTABLE if body.get(key) != known.body.get(key)
            )
            if changed:
                raise Refused(
                    400,
                    "UserError",
                    "A job with this name already exists. If you are trying to create a new job, use a different name. "
                    f"If you are trying to update an existing job, the existing job's {', '.join(changed)} cannot be "
                    "changed. Only description, tags, displayName, properties, and isArchived can be updated.",
                    "JobPropertyImmutable",
                )
            known.body |= {key: value for key, value in body.items() if key in _MUTABLE}
            return known, False
        extra = {"azureml.runsource": "azureml.PipelineRun", "azureml.pipelineComponent": "pipelinerun"}
        run = self.begin(here, name, body, extra=extra if body["jobType"] == "Pipeline" else None)
        self._sim.inbox.add("job", here.name, str(body.get("displayName") or name), body, key=name)
        run.life = self._spawn(self._live(here, run, self._seconds(run)))
        return run, True

    def _check(self, name: str, body: Json) -> None:
        if not _JOB_NAME.fullmatch(name):
            raise Refused(
                400,
                "UserError",
                f"The job name '{name}' is invalid. It must begin with a letter or number, be 1-255 characters long and "
                "contain only letters, numbers, underscores and dashes.",
                "InvalidJobName",
            )
        if not body.get("jobType"):
            raise Refused(400, "ValidationError", "The field 'properties.jobType' is required.")
        if not body.get("experimentName"):
            raise Refused(400, "ValidationError", "The field 'properties.experimentName' is required.")

    def _seconds(self, run: Run) -> float:
        drawn = self._sim.chance.uniform(120, 300)
        try:
            return float(run.tags.get(DURATION, drawn))
        except ValueError:
            return drawn

    async def _live(self, here: Workspace, run: Run, seconds: float) -> None:
        self.turn(here, run, "NotStarted")
        self.turn(here, run, "Queued")
        await self._wait(20)
        self.turn(here, run, "Running")
        nodes: Mapping[str, object] = (run.body.get("jobs") or {}) if run.body["jobType"] == "Pipeline" else {}
        outcome = run.tags.get(OUTCOME)
        trouble = {"failed": CODE_FAILED, "preempted": NODE_PREEMPTED}.get(outcome or "")
        for n, (node, spec) in enumerate(nodes.items(), 1):
            last = n == len(nodes)
            await self._step(here, run, node, spec, seconds=seconds / len(nodes), trouble=trouble if last else None)
        if not nodes:
            await self._wait(seconds)
        self.turn(here, run, "Finalizing")
        if trouble:
            self.turn(here, run, "Failed", trouble)
            return
        # What a script logged by itself is what there is to know.
        run.metrics = run.metrics or here.reaches.get(run.experiment) or self._metrics()
        self.turn(here, run, "Completed")
        self._register_trained(here, run)

    async def _step(
        self, here: Workspace, parent: Run, node: str, spec: object, *, seconds: float, trouble: Trouble | None
    ) -> None:
        given = spec if isinstance(spec, dict) else {}
        body = {"jobType": "Command", "experimentName": parent.experiment, "displayName": node} | {
            key: given[key] for key in ("componentId", "inputs") if key in given
        }
        extra = {
            "azureml.runsource": "azureml.StepRun",
            "azureml.pipelinerunid": parent.name,
            "azureml.moduleName": node,
        }
        step = self.begin(here, guid(), body, run_type="azureml.StepRun", parent=parent, extra=extra)
        self.turn(here, step, "Running")
        await self._wait(seconds)
        self.turn(here, step, "Failed" if trouble else "Completed", trouble)

    def _metrics(self) -> dict[str, list[float]]:
        chance = self._sim.chance
        losses = [round(0.7 / (epoch + 1) ** 0.6 + chance.uniform(0, 0.02), 4) for epoch in range(5)]
        auc = round(chance.uniform(0.90, 0.96), 4)
        return {"auc": [auc], "accuracy": [round(auc + 0.02, 4)], "f1_score": [round(auc - 0.05, 4)], "loss": losses}

    def _register_trained(self, here: Workspace, run: Run) -> None:
        """The model of a training pipeline: named by tag or input `model` or `model_name`, else after the experiment."""
        if run.body["jobType"] != "Pipeline" or ENDPOINT in run.properties:
            return
        if any(version.body.get("jobName") == run.name for all_ in here.models.values() for version in all_.values()):
            return  # its last step did, by MLflow
        inputs = {name: item.get("value") for name, item in (run.body.get("inputs") or {}).items() if item}
        named = next((v for given in (run.tags, inputs) for k in ("model", "model_name") if (v := given.get(k))), None)
        if not named and not _TRAINING.search(run.experiment):
            return
        name = str(named or _TRAINING.sub("", run.experiment) or run.experiment).partition(":")[0]
        tags = {key: value for key, value in run.tags.items() if not key.startswith("simulated_")}
        self.register(here, name, tags={"stage": "dev"} | tags, job=run.name)

    async def _wait(self, seconds: float) -> None:
        await self._sim.clock.until(self._sim.clock.now() + timedelta(seconds=seconds))

    def register(
        self, here: Workspace, name: str, *, version: str = "", tags: Mapping[str, str], job: str | None = None
    ) -> list[str]:
        """A model version, the next one where none is said. Returns the ids of the events."""
        numbers = [int(known) for known in here.models.get(name, {}) if known.isdecimal()]
        version = version or str(max(numbers, default=0) + 1)
        self.know(here, name, version, tags, job)
        return [self._registered(here, here.models[name][version])]

    def know(self, here: Workspace, name: str, version: str, tags: Mapping[str, str], job: str | None = None) -> None:
        """A model version that has been there for long: nobody hears of it."""
        body: Json = {
            "description": "",
            "tags": dict(tags),
            "properties": {"mlflow.modelSourceUri": f"runs:/{job}/model"} if job else {},
            "modelType": "mlflow_model",
            "modelUri": f"azureml://jobs/{job}/outputs/artifacts/paths/model/"
            if job
            else "azureml://datastores/models",
            "jobName": job,
            "isArchived": False,
            "isAnonymous": False,
        }
        here.models.setdefault(name, {})[version] = Version(name, version, body, self._sim.clock.now())

    def plan(self, here: Workspace, name: str, job: str) -> None:
        """A schedule that has been there for long: it starts `job`, an ARM id, every night."""
        trigger = {"triggerType": "Recurrence", "frequency": "day", "interval": 1, "timeZone": "UTC", "startTime": None}
        body: Json = {
            "displayName": name,
            "isEnabled": True,
            "action": {"actionType": "CreateJob", "jobDefinition": {"jobType": "Pipeline", "sourceJobId": job}},
            "trigger": trigger,
            "tags": {},
            "properties": {},
        }
        here.schedules[name] = Schedule(name, body, self._sim.clock.now(), "Succeeded")

    def _registered(self, here: Workspace, model: Version) -> str:
        data: Json = {
            "ModelName": model.name,
            "ModelVersion": model.version,
            "ModelTags": model.body.get("tags") or {},
            "ModelProperties": model.body.get("properties") or {},
        }
        return self.raise_event(here, "ModelRegistered", f"models/{model.name}:{model.version}", data)

    # ARM, run history and MLflow

    def routes(self) -> list[BaseRoute]:
        def at(path: str, handler: Handler, method: str = "GET", where: str = "arm") -> Route:
            return Route(path, door(self._sim, where, handler), methods=[method])

        history, mlflow = "/history/v1.0" + WORKSPACE, "/mlflow/v2.0" + WORKSPACE + "/api/2.0/mlflow"
        models, components = WORKSPACE + "/models", WORKSPACE + "/components"
        return [
            Route("/discovery/workspaces/{id}", self._discovery),
            at(WORKSPACE, self._get_workspace),
            at(WORKSPACE + "/jobs", self._list_jobs),
            at(WORKSPACE + "/jobs/{job}", self._get_job),
            at(WORKSPACE + "/jobs/{job}", self._put_job, "PUT"),
            at(WORKSPACE + "/jobs/{job}/cancel", self._cancel_job, "POST"),
            at(models, self._list_models),
            at(models + "/{name}", self._get_model),
            at(models + "/{name}/versions", self._list_versions),
            at(models + "/{name}/versions/{version}", self._get_version),
            at(models + "/{name}/versions/{version}", self._put_version, "PUT"),
            at(components + "/{name}/versions", self._list_components),
            at(components + "/{name}/versions/{version}", self._get_component),
            at(components + "/{name}/versions/{version}", self._put_component, "PUT"),
            at(WORKSPACE + "/data/{name}/versions/{version}", self._get_data),
            at(WORKSPACE + "/data/{name}/versions/{version}", self._put_data, "PUT"),
            at(WORKSPACE + "/schedules", self._list_schedules),
            at(WORKSPACE + "/schedules/{name}", self._get_schedule),
            at(WORKSPACE + "/schedules/{name}", self._put_schedule, "PUT"),
            at(history + "/runs/{job}", self._get_run, where="history"),
            at(history + "/runs/{job}/details", self._get_details, where="history"),
            at(history + "/runs/{job}/children", self._get_children, where="history"),
            at(history + "/experiments/{experiment}/runs/{job}", self._patch_run, "PATCH", "history"),
            at(mlflow + "/runs/get", self._get_mlflow, where="mlflow"),
        ]

    async def studio(self, request: Request) -> Response:
        """Where links to a run lead, in place of the studio: what there is to know about it, as JSON."""
        for here in self._workspaces.values():
            run = here.runs.get(request.path_params["job"])
            if run and request.query_params.get("wsid", here.path).casefold() == here.path.casefold():
                job = self.job(here, run)["properties"]
                return JSONResponse({"run": self._history(here, run), "metrics": run.metrics, "job": job})
        return JSONResponse({"error": f"no run {request.path_params['job']}"}, 404)

    def here(self, request: Request) -> Workspace:
        """The workspace that a request names."""
        return self.workspace(*(request.path_params[name] for name in ("subscription", "group", "workspace")))

    def _run(self, request: Request, name: str | None = None) -> Run:
        name = name or request.path_params["job"]
        run = self.here(request).runs.get(name)
        if run is None:
            raise Refused(404, "UserError", f"Run {name} was not found.", "NotFound")
        return run

    async def _discovery(self, _: Request) -> Response:
        base = self._sim.base
        return JSONResponse(dict.fromkeys(("api", "history", "experimentation", "studio", "mlflow"), base))

    async def _get_workspace(self, request: Request) -> Response:
        here = self.here(request)
        properties = {
            "friendlyName": here.name,
            "workspaceId": here.experiment_id(""),
            "provisioningState": "Succeeded",
            "discoveryUrl": f"{self._sim.base}/discovery/workspaces/{here.experiment_id('')}",
            "mlFlowTrackingUri": f"azureml://{self._sim.base.removeprefix('https://')}/mlflow/v1.0{here.path}",
            "publicNetworkAccess": "Enabled",
        }
        return JSONResponse(
            {
                "id": here.path,
                "name": here.name,
                "type": f"{PROVIDER}/workspaces",
                "location": LOCATION,
                "kind": "Default",
                "tags": {},
                "sku": {"name": "Basic", "tier": "Basic"},
                "properties": properties,
            }
        )

    def job(self, here: Workspace, run: Run) -> Json:
        studio = f"{self._sim.plain}/studio/runs/{run.name}?wsid={here.path}"
        services = {
            "Tracking": {"jobServiceType": "Tracking", "endpoint": f"azureml://{LOCATION}.api.azureml.ms{here.path}"},
            "Studio": {"jobServiceType": "Studio", "endpoint": studio},
        }
        said = {"status": run.status, "services": services, "properties": run.properties, "tags": run.tags}
        return {
            "id": f"{here.path}/jobs/{run.name}",
            "name": run.name,
            "type": f"{PROVIDER}/workspaces/jobs",
            "properties": run.body | said,
            "systemData": system_data(run.created),
        }

    async def _list_jobs(self, request: Request) -> Response:
        here, view = self.here(request), request.query_params.get("listViewType", "ActiveOnly")
        wanted = {"ActiveOnly": {False}, "ArchivedOnly": {True}}.get(view, {False, True})
        runs = [run for run in here.runs.values() if not run.parent and bool(run.body.get("isArchived")) in wanted]
        return JSONResponse({"value": [self.job(here, run) for run in reversed(runs)]})

    async def _get_job(self, request: Request) -> Response:
        return JSONResponse(self.job(self.here(request), self._run(request)))

    async def _put_job(self, request: Request) -> Response:
        here, properties = self.here(request), (await read(request)).get("properties")
        if not isinstance(properties, dict):
            raise Refused(400, "ValidationError", "The field 'properties' is required.")
        run, new = self.submit(here, request.path_params["job"], properties)
        return JSONResponse(self.job(here, run), 201 if new else 200)

    async def _cancel_job(self, request: Request) -> Response:
        here, run = self.here(request), self._run(request)
        if run.status in _ENDED:
            raise Refused(400, "UserError", f"Run {run.name} is already in the terminal state {run.status}.")
        for below in [run, *(child for child in here.runs.values() if child.parent is run)]:
            if below.life:
                below.life.cancel()
            if below.status not in _ENDED:
                self.turn(here, below, "CancelRequested")

        def finish(_: datetime) -> None:
            for below in here.runs.values():
                if below.root is run.root and below.status == "CancelRequested":
                    self.turn(here, below, "Canceled")

        return Response(status_code=202, headers=self._operations.start(here.subscription, 5, finish))

    def _asset(self, here: Workspace, kind: str, item: Version) -> Json:
        body = {"flavors": {}, "provisioningState": "Succeeded"} if kind == "models" else {}
        return {
            "id": f"{here.path}/{kind}/{item.name}/versions/{item.version}",
            "name": item.version,
            "type": f"{PROVIDER}/workspaces/{kind}/versions",
            "properties": body | item.body,
            "systemData": system_data(item.created),
        }

    def _container(self, here: Workspace, name: str, versions: Iterable[str]) -> Json:
        numbers = [int(version) for version in versions if version.isdecimal()]
        latest = max(numbers, default=0)
        return {
            "id": f"{here.path}/models/{name}",
            "name": name,
            "type": f"{PROVIDER}/workspaces/models",
            "properties": {
                "latestVersion": str(latest),
                "nextVersion": str(latest + 1),
                "isArchived": False,
                "tags": {},
            },
        }

    async def _list_models(self, request: Request) -> Response:
        here = self.here(request)
        return JSONResponse({"value": [self._container(here, name, all_) for name, all_ in here.models.items()]})

    async def _get_model(self, request: Request) -> Response:
        here, name = self.here(request), request.path_params["name"]
        return JSONResponse(self._container(here, name, self._model_versions(here, name)))

    def _model_versions(self, here: Workspace, name: str) -> dict[str, Version]:
        if name not in here.models:
            raise Refused(404, "UserError", f"The model '{name}' was not found in workspace {here.name}.", "NotFound")
        return here.models[name]

    async def _list_versions(self, request: Request) -> Response:
        here = self.here(request)
        versions = list(self._model_versions(here, request.path_params["name"]).values())
        return JSONResponse({"value": [self._asset(here, "models", item) for item in newest(request, versions)]})

    async def _get_version(self, request: Request) -> Response:
        here, name, version = self.here(request), request.path_params["name"], request.path_params["version"]
        found = self._model_versions(here, name).get(version)
        if not found:
            raise Refused(404, "UserError", f"Version {version} of model '{name}' was not found.", "NotFound")
        return JSONResponse(self._asset(here, "models", found))

    async def _put_version(self, request: Request) -> Response:
        here, name, version = self.here(request), request.path_params["name"], request.path_params["version"]
        body = dict((await read(request)).get("properties") or {})
        known = here.models.get(name, {}).get(version)
        if known and body.get("modelUri", known.body["modelUri"]) != known.body["modelUri"]:
            raise Refused(400, "UserError", f"Model {name}:{version} exists with another modelUri.", "AssetImmutable")
        body = {"modelUri": "", "jobName": known.body.get("jobName") if known else None} | body
        kept = Version(name, version, body, known.created if known else self._sim.clock.now())
        here.models.setdefault(name, {})[version] = kept
        if not known:
            self._registered(here, kept)
        return JSONResponse(self._asset(here, "models", kept), 200 if known else 201)

    def _component(self, here: Workspace, name: str, version: str) -> Version:
        """As it was put; one that nobody put takes what trainings usually take, so that any name can be played with, in versions
        that are numbers.
        """
        if not version.isdecimal() and version not in here.components.get(name, {}):
            raise Refused(404, "UserError", f"Version {version} of component '{name}' was not found.", "NotFound")
        spec = {"name": name, "version": version, "type": "command", "display_name": name, "is_deterministic": True}
        run = {
            "command": f"python {name}.py",
            "environment": "azureml:AzureML-sklearn-1.5:1",
            "inputs": {key: {"type": kind, "optional": True} for key, kind in _USUAL_INPUTS.items()},
            "outputs": {},
        }
        new = Version(name, version, {"componentSpec": spec | run, "isAnonymous": False}, self._sim.clock.now())
        return here.components.setdefault(name, {}).setdefault(version, new)

    async def _list_components(self, request: Request) -> Response:
        here, name = self.here(request), request.path_params["name"]
        versions = list(here.components.get(name, {}).values()) or [self._component(here, name, "1")]
        return JSONResponse({"value": [self._asset(here, "components", item) for item in newest(request, versions)]})

    async def _get_component(self, request: Request) -> Response:
        here = self.here(request)
        found = self._component(here, request.path_params["name"], request.path_params["version"])
        return JSONResponse(self._asset(here, "components", found))

    async def _put_component(self, request: Request) -> Response:
        here, name, version = self.here(request), request.path_params["name"], request.path_params["version"]
        item = Version(name, version, dict((await read(request)).get("properties") or {}), self._sim.clock.now())
        here.components.setdefault(name, {})[version] = item
        return JSONResponse(self._asset(here, "components", item), 201)

    async def _get_data(self, request: Request) -> Response:
        here, name, version = self.here(request), request.path_params["name"], request.path_params["version"]
        found = here.data.get(name, {}).get(version)
        if not found:
            raise Refused(404, "UserError", f"Version {version} of data asset '{name}' was not found.", "NotFound")
        return JSONResponse(self._asset(here, "data", found))

    async def _put_data(self, request: Request) -> Response:
        here, name, version = self.here(request), request.path_params["name"], request.path_params["version"]
        item = Version(name, version, dict((await read(request)).get("properties") or {}), self._sim.clock.now())
        here.data.setdefault(name, {})[version] = item
        return JSONResponse(self._asset(here, "data", item), 201)

    def _schedule(self, here: Workspace, item: Schedule) -> Json:
        return {
            "id": f"{here.path}/schedules/{item.name}",
            "name": item.name,
            "type": f"{PROVIDER}/workspaces/schedules",
            "properties": item.body | {"provisioningState": item.state},
            "systemData": system_data(item.created),
        }

    async def _list_schedules(self, request: Request) -> Response:
        here, view = self.here(request), request.query_params.get("listViewType", "EnabledOnly")
        wanted = {"EnabledOnly": {True}, "DisabledOnly": {False}}.get(view, {True, False})
        found = [item for item in here.schedules.values() if bool(item.body.get("isEnabled")) in wanted]
        return JSONResponse({"value": [self._schedule(here, item) for item in found]})

    async def _get_schedule(self, request: Request) -> Response:
        here, name = self.here(request), request.path_params["name"]
        if name not in here.schedules:
            raise Refused(404, "UserError", f"The schedule '{name}' was not found.", "NotFound")
        return JSONResponse(self._schedule(here, here.schedules[name]))

    async def _put_schedule(self, request: Request) -> Response:
        here, name = self.here(request), request.path_params["name"]
        body = dict((await read(request)).get("properties") or {})
        for needed in ("action", "trigger"):
            if not isinstance(body.get(needed), dict):
                raise Refused(400, "ValidationError", f"The field 'properties.{needed}' is required.")
        known = here.schedules.get(name)
        if known and known.state != "Succeeded":
            raise Refused(409, "Conflict", f"The schedule '{name}' is {known.state}.")
        kept = here.schedules.setdefault(name, Schedule(name, body, self._sim.clock.now()))
        # What it is to be is seen at once, and in force when the operation has ended.
        kept.body = {"isEnabled": True} | {key: value for key, value in body.items() if key != "provisioningState"}
        kept.state = "Updating" if known else "Creating"

        def finish(_: datetime) -> None:
            kept.state = "Succeeded"

        headers = self._operations.start(here.subscription, _SCHEDULING, finish)
        return JSONResponse(self._schedule(here, kept), 200 if known else 201, headers)

    def _history(self, here: Workspace, run: Run) -> Json:
        names = {"runId": run.name, "rootRunId": run.root.name, "parentRunId": run.parent.name if run.parent else None}
        trouble = run.trouble
        error = trouble and {
            "error": {
                "code": trouble.code,
                "message": trouble.message,
                "messageParameters": {},
                "details": [],
                "innerError": {"code": trouble.inner, "innerError": None},
            },
            "environment": LOCATION,
            "location": LOCATION,
            "time": stamp(run.ended),
        }
        return names | {
            "status": run.status,
            "runType": run.type,
            "experimentId": here.experiment_id(run.experiment),
            "displayName": run.body.get("displayName") or run.name,
            "target": str(run.body.get("computeId") or "").rsplit("/", 1)[-1] or None,
            "startTimeUtc": stamp(run.started),
            "endTimeUtc": stamp(run.ended),
            "duration": str(run.ended - run.started) if run.ended and run.started else None,
            "error": error,
            "warnings": [],
            "tags": run.tags,
            "properties": run.properties,
        }

    async def _get_run(self, request: Request) -> Response:
        run = self._run(request)
        body = self._history(self.here(request), run)
        return JSONResponse(body | {"createdUtc": stamp(run.created), "description": run.body.get("description")})

    async def _get_details(self, request: Request) -> Response:
        run = self._run(request)
        body = self._history(self.here(request), run)
        return JSONResponse(
            body
            | {
                "createdTimeUtc": stamp(run.created),
                "logFiles": {},
                "inputDatasets": [],
                "inputs": run.body.get("inputs") or {},
            }
        )

    async def _get_children(self, request: Request) -> Response:
        here, run = self.here(request), self._run(request)
        children = [child for child in here.runs.values() if child.parent is run]
        return JSONResponse({"value": [self._history(here, child) for child in children]})

    async def _patch_run(self, request: Request) -> Response:
        """How the portal and the SDK change the labels of a run: what is given is merged, nothing is taken away."""
        run, body = self._run(request), await read(request)
        for key in ("tags", "properties"):
            if body.get(key):
                run.body[key] = dict(run.body.get(key) or {}) | body[key]
        run.body |= {key: body[key] for key in ("displayName", "description") if body.get(key) is not None}
        return JSONResponse(self._history(self.here(request), run))

    async def _get_mlflow(self, request: Request) -> Response:
        here, name = self.here(request), request.query_params.get("run_id", "")
        run = here.runs.get(name)
        if run is None:
            missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"Run {name} was not found."}
            return JSONResponse(missing, 404)
        at = milliseconds(run.ended or self._sim.clock.now())
        metrics = [
            {"key": key, "value": values[-1], "timestamp": at, "step": len(values) - 1}
            for key, values in run.metrics.items()
            if values
        ]
        inputs: Mapping[str, Json] = run.body.get("inputs") or {}
        params = [{"key": key, "value": str(item["value"])} for key, item in inputs.items() if "value" in (item or {})]
        info = {
            "run_id": run.name,
            "run_uuid": run.name,
            "run_name": run.body.get("displayName") or run.name,
            "experiment_id": here.experiment_id(run.experiment),
            "status": _MLFLOW.get(run.status, "SCHEDULED"),
            "start_time": milliseconds(run.started),
            "end_time": milliseconds(run.ended),
            "lifecycle_stage": "active",
            "artifact_uri": f"azureml://{self._sim.base.removeprefix('https://')}/mlflow/v2.0{here.path}"
            f"/experiments/{run.experiment}/runs/{run.name}/artifacts",
        }
        tags = [{"key": key, "value": value} for key, value in run.tags.items()]
        return JSONResponse({"run": {"info": info, "data": {"metrics": metrics, "params": params, "tags": tags}}})


def newest(request: Request, versions: Sequence[Version]) -> Sequence[Version]:
    """As asked: `$orderBy=createdtime desc`, `$top`."""
    ordered = list(reversed(versions)) if "desc" in request.query_params.get("$orderBy", "").lower() else versions
    top = request.query_params.get("$top", "")
    return ordered[: int(top)] if top.isdecimal() else ordered


def milliseconds(moment: datetime | None) -> int | None:
    return int(moment.timestamp() * 1000) if moment else None
