"""A day in the workspace `prod`, told by its events and by three rollouts: what `make run` plays."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from simulator.approver import approve
from simulator.arm import Json, guid, stamp
from simulator.azureml import CODE_FAILED, NODE_PREEMPTED, AzureML, Run, Status, Trouble, Workspace
from simulator.eventgrid import EventGrid
from simulator.online import Endpoint, OnlineEndpoints
from simulator.state import Simulated

SUBSCRIPTION: Final = "5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59"
GROUP: Final = "mlops"
WORKSPACE: Final = "prod"
BREACH: Final = (
    "The signal 'fraud-monitor_data_drift' has failed due to one or more features violating metric thresholds.\n"
    "The feature names and their corresponding computed metric values violating the threshold are \n"
    '[\'{"group":"transaction_amount","metric_value":0.37,"metric_name":"NormalizedWassersteinDistance",'
    '"threshold_value":0.1}\', \'{"group":"merchant_category","metric_value":0.18,"metric_name":"JensenShannonDistance",'
    '"threshold_value":0.1}\']\n'
)
"""As the published component of Azure ML words it."""

ENDPOINT: Final = "fraud-online"
CHAMPION: Final = "12"

_TRIALS: Final = 20
_COHORTS: Final = {"north": 0.004, "south": -0.003, "online": 0.001, "new-merchants": -0.021}
"""How far from the metric of the whole those of its parts are."""
_ASSESSED: Final = {"responsible_ai": "assessments/fraud.yaml"}
_BEGINS: Final = timedelta(hours=6)
_ENDS: Final = timedelta(hours=24)
"""How long a rollout is waited for. Six simulated hours are a good minute at rate 300: someone may be starting up."""
_QUIET: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Chapter:
    title: str
    at: str
    events: Sequence[str]


@dataclass
class Story:
    """`pause`: seconds of the wall clock between chapters, so that a person can follow."""

    sim: Simulated
    eventgrid: EventGrid
    azureml: AzureML
    endpoints: OnlineEndpoints
    pause: float = 2.0
    state: Literal["not begun", "playing", "told"] = "not begun"
    chapters: list[Chapter] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._here = self.azureml.workspace(SUBSCRIPTION, GROUP, WORKSPACE)

    @property
    def workspace(self) -> Workspace:
        return self._here

    def describe(self) -> Json:
        return {"state": self.state, "workspace": self._here.path, "chapters": [vars(item) for item in self.chapters]}

    async def play(self) -> None:
        """From the beginning, with new runs, as often as one likes."""
        self.state, self.chapters = "playing", []
        self._open()
        heard = max((entry.n for entry in self.sim.inbox.all()), default=0)
        told: list[tuple[str, Callable[[], Iterable[str]]]] = [
            (f"A sweep with {_TRIALS} trials starts", self._sweep_starts),
            ("Its trials run and end", self._trials_run),
            ("The sweep ends with its best trial", self._sweep_ends),
            ("A training run ends well", self._good_run),
            ("A model is registered", self._model_registered),
            ("A run fails in the user's code", self._failed_run),
            ("A run is lost with its preempted node", self._preempted_run),
            ("An event is delivered again", self._again),
            ("A malformed event arrives", self._malformed),
        ]
        for n, (title, tell) in enumerate(told):
            if n:
                await asyncio.sleep(self.pause)
            self._told(title, tell())
        sato = self.eventgrid.spawn(approve(self.sim, heard))
        await self._rollout(self._candidate)
        self._told("The candidate's rollout ends", [])
        await asyncio.sleep(self.pause)
        self._told("A model is registered that is better on paper, and fails more often", self._worse_model())
        await self._rollout(self._candidate)
        self._told("Its rollout ends", [])
        await asyncio.sleep(self.pause)
        last = self._newest()
        self._told("The model monitor reports drift", self._drift())
        if await self._until(lambda: not self._listens or self._newest() > last, _BEGINS) and self._listens:
            self._told("A model comes of the retraining that answers it", [])
            # As good a server as the one that it is to replace: by itself a model fails twice as often.
            tags = self._here.models["fraud"][str(self._newest())].body["tags"]
            tags["simulated_error_rate"] = "0.001"
            await self._rollout(f"fraud:{self._newest()}")
            self._told("The retrained model's rollout ends", [])
        sato.cancel()
        self.state = "told"

    def _newest(self) -> int:
        """The newest version of the model."""
        return max(int(known) for known in self._here.models["fraud"])

    @property
    def _listens(self) -> bool:
        return any(to.state == "Succeeded" for to in self.eventgrid.subscriptions.values())

    def _told(self, title: str, events: Iterable[str]) -> None:
        self.chapters.append(Chapter(title, stamp(self.sim.clock.now()) or "", list(events)))

    def _open(self) -> None:
        """The endpoint, as the night has left it."""
        if self.endpoints.get(self._here, ENDPOINT):
            return
        run = self._trained("fraud train, last week", auc=0.921, accuracy=0.979)
        tags = {"stage": "production", "team": "fraud", "auc": "0.921"}
        self.azureml.know(self._here, "fraud", CHAMPION, tags | _ASSESSED, run.name)
        self.endpoints.serve(self._here, ENDPOINT, f"fraud:{CHAMPION}")

    def _trained(self, display: str, **metrics: float) -> Run:
        """A training run that ended before anybody looked."""
        body = self._command("fraud-train", display, {"team": "fraud", "model": "fraud"}, learning_rate="0.02")
        run = self.azureml.begin(self._here, f"fraud-train-{guid()[:8]}", body)
        self._ran(run, 42)
        run.status, run.ended = "Completed", self.sim.clock.now()
        run.metrics = {name: [value] for name, value in metrics.items()} | _cohorts(metrics["auc"])
        return run

    async def _rollout(self, model: str) -> None:
        """Waits until the rollout of this model version has ended, one way or the other; not long where none begins."""
        endpoint = self.endpoints.get(self._here, ENDPOINT)
        if endpoint is None or not self._listens:
            return
        watched = _Watched(endpoint, model)
        if await self._until(lambda: watched.begun, _BEGINS):
            await self._until(lambda: watched.ended(self.sim.clock.now()), _ENDS)

    async def _until(self, question: Callable[[], bool], limit: timedelta) -> bool:
        end = self.sim.clock.now() + limit
        while not question():
            if self.sim.clock.now() > end:
                return False
            await asyncio.sleep(0.05)
            self.sim.clock.settle()
        return True

    def _command(self, experiment: str, display: str, tags: dict[str, str], **inputs: str) -> Json:
        """What a data scientist's command job looks like in the workspace."""
        return {
            "jobType": "Command",
            "experimentName": experiment,
            "displayName": display,
            "command": "python train.py --data ${{inputs.data}}",
            "environmentId": f"{self._here.path}/environments/sklearn/versions/5",
            "computeId": f"{self._here.path}/computes/cpu-cluster",
            "inputs": {
                "data": {"jobInputType": "uri_folder", "uri": f"{self._here.path}/data/transactions/versions/31"},
                **{name: {"jobInputType": "literal", "value": value} for name, value in inputs.items()},
            },
            "tags": tags,
            "properties": {"azureml.git.commit": "9c1f7e2d4b6a8053", "azureml.git.branch": "main"},
            "isArchived": False,
        }

    def _sweep_job(self, command: Json) -> Json:
        """A sweep over what one command does."""
        trial = {key: command.pop(key) for key in ("command", "environmentId")}
        return command | {
            "jobType": "Sweep",
            "trial": trial,
            "objective": {"goal": "maximize", "primaryMetric": "auc"},
            "samplingAlgorithm": {"samplingAlgorithmType": "Random"},
            "searchSpace": {"learning_rate": ["loguniform", [-9.21, -2.3]], "max_depth": ["randint", [12]]},
            "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": _TRIALS, "maxConcurrentTrials": 4},
        }

    def _ran(self, run: Run, minutes: float) -> None:
        """It has been running for so long by now."""
        run.created = self.sim.clock.now() - timedelta(minutes=minutes + 1)
        run.started = self.sim.clock.now() - timedelta(minutes=minutes)

    def _turns(self, run: Run, *statuses: Status, trouble: Trouble | None = None) -> list[str]:
        *before, last = statuses
        raised = [event for status in before for event in self.azureml.turn(self._here, run, status)]
        return raised + self.azureml.turn(self._here, run, last, trouble)

    def _sweep_starts(self) -> Iterable[str]:
        body = self._sweep_job(self._command("fraud-sweep", "fraud sweep", {"team": "fraud"}))
        self._sweep = self.azureml.begin(self._here, f"HD_{guid()}", body)
        self._trials = [self._trial(n) for n in range(_TRIALS)]
        self._ran(self._sweep, 48)
        return self._turns(self._sweep, "Queued", "Running")

    def _trial(self, n: int) -> Run:
        rate, depth = 10 ** self.sim.chance.uniform(-4, -1), self.sim.chance.randint(3, 12)
        tags = {"team": "fraud", "hyperparameters": json.dumps({"learning_rate": round(rate, 5), "max_depth": depth})}
        body = self._command("fraud-sweep", f"trial {n}", tags, learning_rate=f"{rate:.5f}", max_depth=str(depth))
        # Run ids of trials are the sweep's with a number; nothing else in the payload names the parent.
        run = self.azureml.begin(self._here, f"{self._sweep.name}_{n}", body, parent=self._sweep)
        run.metrics = {"auc": [round(0.84 + self.sim.chance.random() * 0.07, 4)]}
        return run

    def _trials_run(self) -> Iterable[str]:
        for trial in self._trials:
            self._ran(trial, self.sim.chance.uniform(2, 9))
            yield from self._turns(trial, "Running", "Completed")

    def _sweep_ends(self) -> Iterable[str]:
        best = max(self._trials, key=lambda trial: trial.metrics["auc"])
        self._sweep.extra = {"best_child_run_id": best.name, "score": str(best.metrics["auc"][-1])}
        self._sweep.metrics = {"best_child_by_primary_metric": best.metrics["auc"]} | best.metrics
        return self._turns(self._sweep, "Finalizing", "Completed")

    def _good_run(self) -> Iterable[str]:
        body = self._command("fraud-train", "fraud train", {"team": "fraud", "model": "fraud"}, learning_rate="0.02")
        self._good = self.azureml.begin(self._here, f"fraud-train-{guid()[:8]}", body)
        self._ran(self._good, 42)
        self._good.metrics = {
            "auc": [0.93],
            "accuracy": [0.981],
            "precision": [0.874],
            "recall": [0.816],
            "loss": [0.41, 0.22, 0.14, 0.11],
            **_cohorts(0.93),
        }
        self._completed = self._turns(self._good, "Finalizing", "Completed")
        return self._completed

    def _model_registered(self) -> Iterable[str]:
        return self._register(self._good, {"auc": "0.93", "simulated_error_rate": "0.001"})

    def _worse_model(self) -> Iterable[str]:
        run = self._trained("fraud train, deeper trees", auc=0.936, accuracy=0.983)
        return self._register(run, {"auc": "0.936", "simulated_error_rate": "0.01"})

    def _register(self, run: Run, tags: dict[str, str]) -> list[str]:
        """The next version, a candidate."""
        version = self._newest() + 1
        self._candidate = f"fraud:{version}"
        tags = {"stage": "candidate", "team": "fraud"} | _ASSESSED | tags
        return self.azureml.register(self._here, "fraud", version=str(version), tags=tags, job=run.name)

    def _failed_run(self) -> Iterable[str]:
        body = self._command("churn-train", "churn train", {"team": "churn"}, horizon="30")
        run = self.azureml.begin(self._here, f"churn-train-{guid()[:8]}", body)
        self._ran(run, 6)
        return self._turns(run, "Finalizing", "Failed", trouble=CODE_FAILED)

    def _preempted_run(self) -> Iterable[str]:
        body = self._command("fraud-train", "fraud train, nightly", {"team": "fraud"}, learning_rate="0.05")
        run = self.azureml.begin(self._here, f"fraud-nightly-{guid()[:8]}", body)
        self._ran(run, 17)
        return self._turns(run, "Failed", trouble=NODE_PREEMPTED)

    def _drift(self) -> Iterable[str]:
        auc = 0.934  # what training on the newest data reaches
        self._here.reaches["fraud-retraining"] = {"auc": [auc], "accuracy": [0.982], **_cohorts(auc)}
        monitor = self._monitor()
        signal = self._part(monitor, monitor, "data_drift", "azureml.PipelineRun")
        metrics, compared = (
            self._part(monitor, signal, node, "azureml.StepRun")
            for node in ("compute_drift_metrics", "evaluate_metric_thresholds")
        )
        yield from self._turns(monitor, "Running")
        yield from self._turns(signal, "Running")
        yield from self._turns(metrics, "Running", "Completed")
        yield from self._turns(compared, "Running")
        # Only the step that compared has the tag, and each change of its status says it again.
        compared.body["tags"] = {"azureml_modelmonitor_threshold_breached": BREACH}
        yield from self._turns(
            compared, "Finalizing", "Failed", trouble=Trouble("UserError", BREACH, "UserExecutionFailure")
        )
        nodes = "Pipeline has failed child jobs. Failed nodes: /data_drift/evaluate_metric_thresholds"
        trouble = Trouble("UserError", nodes, "PipelineHasStepJobFailed")
        yield from self._turns(signal, "Failed", trouble=trouble)
        yield from self._turns(monitor, "Failed", trouble=trouble)

    def _monitor(self) -> Run:
        """The run of a monitor's schedule: a pipeline of one pipeline for each signal."""
        inputs = {
            "monitor_name": {"jobInputType": "literal", "value": "fraud-monitor"},
            "monitor_current_time": {"jobInputType": "literal", "value": stamp(self.sim.clock.now())},
            "baseline_data": {"jobInputType": "mltable", "uri": f"{self._here.path}/data/transactions/versions/31"},
            "target_data": {"jobInputType": "mltable", "uri": f"{self._here.path}/data/fraud-online-inputs/versions/1"},
        }
        body = self._command("fraud-monitor", "fraud-monitor", {"team": "fraud"}) | {
            "jobType": "Pipeline",
            "inputs": inputs,
            "jobs": {},
        }
        extra = {"azureml.runsource": "azureml.PipelineRun", "azureml.pipelineComponent": "pipelinerun"}
        run = self.azureml.begin(self._here, f"fraud-monitor-{guid()[:8]}", body, extra=extra)
        self._ran(run, 9)
        return run

    def _part(self, monitor: Run, parent: Run, node: str, source: str) -> Run:
        body = {"jobType": "Command", "experimentName": monitor.experiment, "displayName": node}
        extra = {
            "azureml.runsource": source,
            "azureml.pipelinerunid": monitor.name,
            "azureml.moduleName": node,
        }
        run = self.azureml.begin(self._here, guid(), body, run_type=source, parent=parent, extra=extra)
        self._ran(run, 7)
        return run

    def _again(self) -> Iterable[str]:
        return [self.eventgrid.repeat(self._completed[-1])]

    def _malformed(self) -> Iterable[str]:
        broken = {
            "topic": self._here.path,
            "subject": f"experiments/{self._here.experiment_id('fraud-train')}/runs/unknown",
            "eventType": "Microsoft.MachineLearningServices.RunCompleted",
            "id": guid(),
            "eventTime": "yesterday",
            "data": "not an object",
            "dataVersion": "",
            "metadataVersion": "1",
        }
        return [self.eventgrid.publish(broken)]


def _cohorts(auc: float) -> dict[str, list[float]]:
    return {f"auc/{name}": [round(auc + off, 4)] for name, off in _COHORTS.items()}


@dataclass
class _Watched:
    """A rollout, as somebody sees it who looks at the endpoint only."""

    endpoint: Endpoint
    model: str
    shared: bool = False
    since: datetime | None = None
    """When it was left without any traffic, after it had some."""

    @property
    def _names(self) -> list[str]:
        return [each.name for each in self.endpoint.deployments.values() if each.model == self.model]

    @property
    def begun(self) -> bool:
        return bool(self._names)

    def ended(self, now: datetime) -> bool:
        """It has everything, or is gone, or has had nothing for a while."""
        share = (
            max((self.endpoint.traffic | self.endpoint.mirror).get(name, 0) for name in self._names)
            if self.begun
            else 0
        )
        self.shared = self.shared or share > 0
        self.since = None if share else self.since or now
        if share == 100 or not self.begun:  # noqa: PLR2004 (per cent)
            return True
        return self.shared and self.since is not None and now - self.since > _QUIET
