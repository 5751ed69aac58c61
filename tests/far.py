"""Every action against its far side, while things go wrong: what is observed is the table in docs/actions.md.

An action is one entry of FAR. All of them run in one embedded host with the real doors, on one state file, against one
simulated Azure: trial after trial, and in each trial all actions at once. `python -m tests.far` writes the table anew.
"""

import asyncio
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, get_args

from ruamel.yaml import YAML

from local.host import Host
from shared import wire
from shared.book import HEADS, heads
from shared.follow import account_of
from shared.record import FINAL, EventRecord, IntentRecord, State
from shared.settings import WORK_QUEUE
from shared.web import app
from shared.world import Queue
from simulator.app import Box
from simulator.eventgrid import TOPIC_KEY
from simulator.state import Channel, Fault
from tests.station import WORKSPACE, run_event
from tests.test_web import ask

type Trial = Literal["success", "refusal", "rate limit", "lost answer", "restart"]

TRIALS: Final[Sequence[Trial]] = get_args(Trial.__value__)
TITLES: Final[Mapping[Trial, str]] = {
    "success": "it works",
    "refusal": "refused",
    "rate limit": "rate limit",
    "lost answer": "answer lost after the effect",
    "restart": "our host dies after the effect",
}
ASKED: Final = 40
"""Seconds that a far side asks us to wait: longer than we would by ourselves."""

RATE: Final = 60
DOC: Final = Path(__file__).parent.parent / "docs" / "actions.md"
BEGIN, END = "<!-- the trials, by python -m tests.far -->", "<!-- until here -->"

SECRETS: Final = {name: f"marker-{name.lower()}" for name in ("FAR_TOKEN", "FAR_SIGN", "SWITCHYARD_SIGNING_KEY")}
PEOPLE: Final[Sequence[Channel]] = ("teams", "email", "sms")


@dataclass(frozen=True)
class Far:
    """One row of the table. `step`: as it stands under `do`, on one line. `where`, `method`, `path`: by which the simulated
    Azure tells the request that has the effect, for its faults; empty where no request has it. `count`: the effects there so
    far. `refused`: a step that the far side refuses, or the status with which it is made to.

    `stops`: after an answer that was lost, nothing more is done.

    `on`, `event`: of which type, and what is sent: by a name, with the tag `case`. `files`: of the configuration, by name.
    `prepare`: what is there before. `hold`: how a host without such a request is stopped after the effect.
    """

    action: str
    step: str
    count: Callable[["Ground"], int]
    where: str = ""
    refused: str | int = 403
    method: str = "POST"
    path: str = ""
    busy: int = 429
    variant: str = ""
    stops: bool = False
    on: str = "RunStatusChanged"
    event: Callable[["Far", str, str], Mapping[str, object]] = lambda *asked: failed(*asked)  # noqa: PLW0108 (it stands below)
    files: Mapping[str, str] = field(default_factory=dict)
    environ: Callable[[Box], Mapping[str, str]] = lambda _: {}
    prepare: Callable[[Box, "Far"], None] = lambda *_: None
    hold: Callable[[Host], None] | None = None

    @property
    def trials(self) -> Sequence[Trial]:
        """Where nothing is asked of a far side, none is busy and no answer is lost."""
        return [trial for trial in TRIALS if self.where or trial not in {"rate limit", "lost answer"}]

    @property
    def label(self) -> str:
        return f"`{self.action}`{self.variant and f' {self.variant}'}"

    @property
    def name(self) -> str:
        """Of its rule, its workspace, and whatever else must be its own."""
        return "-".join(re.findall("[a-z0-9]+", f"{self.action} {self.variant}".lower()))

    @property
    def workspace(self) -> str:
        return WORKSPACE.replace("/prod", f"/{self.name}")


def failed(far: Far, name: str, case: str) -> Mapping[str, object]:
    """A failed run of the entry's own workspace."""
    sent = run_event(name, "RunStatusChanged", runStatus="Failed", runTags={"case": case})
    return {**sent, "topic": far.workspace}


def registered(far: Far, name: str, case: str) -> Mapping[str, object]:
    """A model of the entry's own workspace; where it is to be refused, one without a version."""
    sent = run_event(name, "ModelRegistered")
    data = {"modelName": far.name, "modelVersion": "7" if case == far.name else "", "modelTags": {"case": case}}
    return {**sent, "topic": far.workspace, "subject": f"models/{far.name}", "data": data}


def received(channel: Channel, to: str) -> Callable[["Ground"], int]:
    """What came to somebody, and was not refused."""
    return lambda ground: sum(one.to == to and not one.problem for one in ground.box.sim.inbox.all(channel))


@dataclass(frozen=True)
class Outcome:
    """What was seen of one trial."""

    effects: int
    record: IntentRecord
    end: State | None = None
    """Of what was started, as far as it was followed; None where nothing goes on."""

    @property
    def waited(self) -> float:
        """Seconds from the first try to the last."""
        return (self.record.attempts[-1].at - self.record.attempts[0].at).total_seconds()

    @property
    def found_again(self) -> bool:
        return self.record.result is not None and "earlier try" in self.record.result.said

    @property
    def times(self) -> str:
        """How often it was done, in words."""
        match self.effects, self.record.maybe_twice:
            case 1, False:
                return "once, found again" if self.found_again else "once"
            case 1, True:
                return "once; the record says it may be twice"
            case 2, True:
                return "twice; the record says it may be"
            case effects, twice:
                return f"WRONG: {effects} times, and the record says {'it may be twice' if twice else 'nothing'}"

    def words(self, trial: Trial) -> str:
        """For the table."""
        attempts, status = self.record.attempts, self.record.status
        if status == "refused" and self.effects == 1 and not self.record.maybe_twice:
            return "once, then stops: the record says that it may have been started"
        if status == "refused":
            code = re.search(r"HTTP \d{3}|SMTP \d{3}", attempts[-1].note.replace("SMTP: ", "SMTP "))
            return f"refused{f': {code[0]}' if code else ''}"
        if status != "done":
            return f"WRONG: {status}"
        if trial == "rate limit":
            waits = "waits as asked" if self.waited >= ASKED else "waits" if self.waited > 1 else "WRONG: does not wait"
            return f"{waits}, then {self.times}"
        return self.times


class Ground:
    """Where the trials take place. `without`: settings that the host does not get."""

    def __init__(self, box: Box, folder: Path, far: Sequence[Far], *, without: Collection[str] = ()) -> None:
        self.box = box
        self.far = far
        self._without = without
        self.state = folder / "state" / "state.db"
        self.told: list[str] = []
        self._config = folder / "config"
        for name, text in _configuration(far).items():
            path = self._config / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for one in far:
            one.prepare(box, one)

    def host(self) -> Host:
        environ = self.box.environment | SECRETS
        for one in self.far:
            environ = {**environ, **one.environ(self.box)}
        environ = {name: value for name, value in environ.items() if name not in self._without}
        made = Host(self._config, self.state, environ, clock=self.box.sim.clock.now, pace=RATE)
        assert not made.service.loaded.problems, made.service.loaded.problems
        return made

    async def play(self) -> Mapping[tuple[str, Trial], Outcome]:
        seen: dict[tuple[str, Trial], Outcome] = {}
        host = self.host()
        host.start()
        for trial in TRIALS[:-1]:
            before = self._counts()
            await self._send(host, trial)
            seen |= await self._outcomes(host, trial, before)
        before = self._counts()
        for one in self.far:
            if one.hold:
                one.hold(host)
        await self._send(host, "restart")
        async with asyncio.timeout(120):
            while any(  # noqa: ASYNC110 (the far sides are in another thread)
                after <= before[name] for name, after in self._counts().items()
            ):
                await asyncio.sleep(0.05)
        await host.stop(patience=0)
        self.box.sim.faults.clear()
        host = self.host()
        host.start()
        seen |= await self._outcomes(host, "restart", before)
        async with asyncio.timeout(120):
            ends = await asyncio.gather(*(_followed(host, one.record) for one in seen.values()))
        seen = {at: replace(one, end=end) for (at, one), end in zip(seen.items(), ends, strict=True)}
        self.told += await self._records(host)
        await host.stop()
        return seen

    def _counts(self) -> dict[str, int]:
        return {one.name: one.count(self) for one in self.far}

    async def _send(self, host: Host, trial: Trial) -> None:
        self.box.sim.faults.clear()
        self.box.sim.faults += [fault for one in self.far if (fault := _fault(one, trial))]
        now, texts = self.box.sim.clock.now(), list[str]()
        for one in self._tried(trial):
            case = f"{one.name}-refused" if trial == "refusal" and isinstance(one.refused, str) else one.name
            texts += wire.arrived(one.event(one, _name(one, trial), case), now)
        await host.queues.put(WORK_QUEUE, texts)

    async def _outcomes(
        self, host: Host, trial: Trial, before: Mapping[str, int]
    ) -> Mapping[tuple[str, Trial], Outcome]:
        """Of all, when the last of them has ended."""
        tried = self._tried(trial)
        async with asyncio.timeout(120):
            ended = await asyncio.gather(*(_ended(host, _name(one, trial)) for one in tried))
        after = self._counts()
        return {
            (one.name, trial): Outcome(after[one.name] - before[one.name], record)
            for one, record in zip(tried, ended, strict=True)
        }

    def _tried(self, trial: Trial) -> Sequence[Far]:
        return [one for one in self.far if trial in one.trials]

    async def _records(self, host: Host) -> list[str]:
        store = host.service.world.store
        found = [await store.event(_name(one, trial)) for one in self.far for trial in TRIALS]
        records = [one for one in found if isinstance(one, EventRecord)]
        intents = await store.intents([one.id for one in records])
        shown = [wire.dump(one) for several in intents.values() for one in several]
        return [*map(wire.dump, records), *shown, *await self._pages(host, [one.id for one in records])]

    async def _pages(self, host: Host, records: Sequence[str]) -> list[str]:
        """What the API and the console say, and what people were told."""
        site = app(lambda: host.service)
        ways = ("/api/events/{}", "/api/events/{}/chain", "/events/{}")
        lists = ("/", "/rollouts", "/silences", "/freezes", "/api/events?limit=500", "/api/config", "/api/health")
        rollouts = [head.id for _, head in await heads(host.service.world.shelf, limit=50)]
        paths = [
            *lists,
            *(way.format(one) for one in records for way in ways),
            *(way.format(one) for one in rollouts for way in ("/api/rollouts/{}", "/rollouts/{}")),
        ]
        answers = [await ask(site, "GET", path, {}) for path in paths]
        assert {one.status for one in answers} == {200}
        messages = [one for channel in PEOPLE for one in self.box.sim.inbox.all(channel)]
        assert messages
        return [*(one.text for one in answers), *(json.dumps(one.payload, default=str) for one in messages)]


def _name(far: Far, trial: Trial) -> str:
    return f"{far.name}-{TRIALS.index(trial)}"


def _fault(far: Far, trial: Trial) -> Fault | None:
    if not far.where:
        return None
    match trial:
        case "refusal" if isinstance(far.refused, int):
            how: int | Literal["lost answer", "hang"] = far.refused
        case "rate limit":
            how = far.busy
        case "lost answer":
            how = "lost answer"
        case "restart":
            how = "hang"
        case _:
            return None
    asked = ASKED if trial == "rate limit" else None
    return Fault(far.where, how, retry_after=asked, method=far.method, path=far.path)


async def _ended(host: Host, event: str) -> IntentRecord:
    """The one thing that came of this event, when it has ended."""
    store = host.service.world.store
    while True:
        record = await store.event(event)
        intents = (await store.intents([record.id]))[record.id] if record else []
        assert len(intents) <= 1, f"{event} did more than one thing"
        if intents and intents[0].status in FINAL:
            return intents[0]
        await asyncio.sleep(0.05)


async def _followed(host: Host, started: IntentRecord) -> State | None:
    """How what was started has ended, as its account says."""
    while (account := await account_of(host.service.world, started.intent.key)) and account.ended is None:  # noqa: ASYNC110 (as above)
        await asyncio.sleep(0.2)
    return account.progress.state if account and account.progress else None


def _configuration(far: Sequence[Far]) -> Mapping[str, str]:
    rules = "".join(
        f"  - {{name: {name}, event: {one.on}, match: {{tags.case: {name}}}, do: [{step}]}}\n"
        for one in far
        for name, step in ((one.name, one.step), (f"{one.name}-refused", one.refused))
        if isinstance(step, str)
    )
    files = {"switchyard.yaml": SWITCHYARD, "rules/far.yaml": f"rules:\n{rules}"}
    for one in far:
        files |= one.files
    return files


POLICY: Final = """
name: far
candidate: {model: promote}
notify: far
endpoint: far-online
stages: [{traffic: 50, for: 5m}]
gates: [{bad: http_5xx, alpha: 0.05}]
deployment: {instance_type: Standard_DS3_v2}
"""

SWITCHYARD: Final = """
receivers: {far: {email: rollouts@example.com}}
workspaces:
  retrain: {subscription: s1, resource_group: mlops, workspace: retrain}
pipelines:
  weekly: {workspace: retrain, source: "azureml:fraud_train:3", experiment: weekly, tags: {simulated_seconds: 30}}
"""


def _teams(box: Box) -> Mapping[str, str]:
    flow = f"{box.https}/powerautomate/automations/direct/workflows/far-team/triggers/manual/paths/invoke"
    return {"FAR_TEAMS": f"{flow}?sig=marker-of-the-flow", "FAR_TEAMS_WRONG": f"{flow}?sig=wrong"}


def _failed_runs(box: Box, far: Far) -> None:
    """One for each trial: resubmissions of one run have a limit."""

    async def go() -> None:
        here = box.azure.azureml.at(far.workspace)
        for trial in TRIALS:
            name = f"run-{_name(far, trial)}"
            body = {"jobType": "Command", "experimentName": "theirs", "tags": {"simulated_seconds": "30"}}
            box.azure.azureml.begin(here, name, body)
            here.runs[name].status = "Failed"

    box.run(go())


def _batch_endpoint(box: Box, far: Far) -> None:
    async def go() -> None:
        box.azure.batch.serve(box.azure.azureml.at(far.workspace), "scores", {"blue": "churn:1"})

    box.run(go())


def _states(box: Box, far: Far) -> None:
    """One thing for each trial that can be made so: an endpoint, a model version, a schedule."""

    async def go() -> None:
        ml = box.azure.azureml
        here = ml.at(far.workspace)
        for trial in TRIALS:
            name = f"run-{_name(far, trial)}"
            box.azure.batch.serve(here, name, {"blue": "churn:1", "green": "churn:2"})
            ml.know(here, "churn", name, {})
            ml.plan(here, name, "/jobs/nightly")

    box.run(go())


def _switched(ground: Ground) -> int:
    """Or on the way: the operation takes a while."""
    return sum(one.default == "green" or one.state == "Updating" for one in ground.box.azure.batch.all())


def _tagged(ground: Ground) -> int:
    here = ground.box.azure.azureml.at(WORKSPACE.replace("/prod", "/tag-model"))
    return sum("stage" in one.body["tags"] for one in here.models["churn"].values())


def _disabled(ground: Ground) -> int:
    here = ground.box.azure.azureml.at(WORKSPACE.replace("/prod", "/schedule"))
    return sum(not one.body["isEnabled"] for one in here.schedules.values())


_RUNS: Final = (
    ("with `correlation_parameter`", "keyed", ", correlation_parameter: correlation"),
    ("with `repeat`", "repeated", ", repeat: true"),
    ("with neither", "plain", ""),
)
"""Of a pipeline: what tells its runs apart, or that it does not matter."""


def _pipelines() -> Sequence[Far]:
    made = []
    for action, place in (("data_factory", "factory"), ("synapse", "workspace")):
        for variant, name, more in _RUNS:
            where = f"{action.replace('_', '-')}-{name}"
            one = Far(
                action=action,
                variant=variant,
                step=f"{{{action}: {{{place}: {where}, pipeline: prepare{more}}}}}",
                refused=f"{{{action}: {{{place}: {where}, pipeline: missing}}}}",
                where=action,
                path=f"/{where}/pipelines/",
                count=received("pipeline", where),
                stops=not more,
            )
            made.append(one)
    return made


def _topic(name: str, other: str) -> Far:
    setting = f"FAR_TOPIC_{name.upper()}"

    def step(form: str) -> str:
        return f'{{forward: {{topic: "${{{setting}}}", key: "${{FAR_TOPIC_KEY}}", format: {form}}}}}'

    return Far(
        action="forward",
        variant=f"to a topic, {name}",
        step=step(name),
        refused=step(other),
        where="topic",
        path=f"/to-{name}/",
        count=received("topic", f"to-{name}"),
        environ=lambda box: {setting: f"{box.https}/topics/to-{name}/api/events", "FAR_TOPIC_KEY": TOPIC_KEY},
    )


def _forwards() -> Sequence[Far]:
    hub = Far(
        action="forward",
        variant="to an event hub",
        step="{forward: {event_hub: far-hubs/events, partition_key: far}}",
        refused="{forward: {event_hub: far-hubs/missing}}",
        where="event_hub",
        path="/far-hubs/events/",
        count=received("event_hub", "far-hubs/events"),
    )
    return [_topic("eventgrid", "cloudevents"), _topic("cloudevents", "eventgrid"), hub]


def _rollouts(ground: Ground) -> int:
    with closing(sqlite3.connect(ground.state)) as db:
        return int(db.execute("SELECT count(*) FROM shelf WHERE folder = ?", (HEADS,)).fetchone()[0])


class _Stuck:
    """A queue that takes what it gets, and never says so."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        await self._queue.put(texts, delay=delay)
        await asyncio.Event().wait()


def _stick(host: Host) -> None:
    """It dies when a rollout has begun."""
    host.service.world = replace(host.service.world, rollouts=_Stuck(host.service.world.rollouts))


def _jenkins(job: str, more: str) -> str:
    return f'{{jenkins: {{url: "${{JENKINS_URL}}", job: {job}, user: "${{JENKINS_USER}}", token: "${{JENKINS_TOKEN}}", {more}}}}}'


def _worked(name: str) -> str:
    """The step that the document shows under this heading."""
    text = DOC.read_text(encoding="utf-8")
    found = re.search(rf"^### {name}\n.*?```yaml\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert found, f"{DOC} shows no step for {name}"
    return json.dumps({"webhook": YAML(typ="safe", pure=True).load(found[1])})


FAR: Final[Sequence[Far]] = (
    *_pipelines(),
    *_forwards(),
    Far(
        action="teams",
        step='{teams: {url: "${FAR_TEAMS}"}}',
        refused='{teams: {url: "${FAR_TEAMS_WRONG}"}}',
        where="teams",
        count=received("teams", "Far team"),
        environ=_teams,
    ),
    Far(
        action="email",
        step="{email: {to: [far@example.com]}}",
        refused="{email: {to: [far@nowhere]}}",
        where="email",
        count=received("email", "far@example.com"),
    ),
    Far(
        action="sms",
        step='{sms: {to: ["+819011112222"]}}',
        refused=401,
        where="sms",
        count=received("sms", "+819011112222"),
    ),
    Far(
        action="retrain",
        step="{retrain: weekly}",
        where="arm",
        method="PUT",
        path="/workspaces/retrain/jobs/",
        count=received("job", "retrain"),
    ),
    Far(
        action="resubmit",
        step="{resubmit: {limit: 2}}",
        where="arm",
        method="PUT",
        path="/workspaces/resubmit/jobs/",
        count=received("job", "resubmit"),
        prepare=_failed_runs,
    ),
    Far(
        action="batch",
        step="{batch: {endpoint: scores, inputs: {data: azureml:customers:12}}}",
        refused="{batch: {endpoint: nobodys, inputs: {data: azureml:customers:12}}}",
        where="scoring",
        path="/batchEndpoints/scores/jobs",
        count=received("job", "batch"),
        prepare=_batch_endpoint,
    ),
    Far(
        action="batch_default",
        step='{batch_default: {endpoint: "{{ event.run.id }}", deployment: green}}',
        refused='{batch_default: {endpoint: "{{ event.run.id }}", deployment: grey}}',
        where="arm",
        method="PUT",
        path="/workspaces/batch-default/batchEndpoints/",
        count=_switched,
        prepare=_states,
    ),
    Far(
        action="tag_model",
        step='{tag_model: {tags: {stage: good}, model: churn, version: "{{ event.run.id }}"}}',
        refused="{tag_model: {tags: {stage: good}, model: nobodys, version: 1}}",
        where="arm",
        method="PUT",
        path="/workspaces/tag-model/models/",
        count=_tagged,
        prepare=_states,
    ),
    Far(
        action="schedule",
        step='{schedule: {name: "{{ event.run.id }}", enabled: false}}',
        refused="{schedule: {name: nobodys, enabled: false}}",
        where="arm",
        method="PUT",
        path="/workspaces/schedule/schedules/",
        count=_disabled,
        prepare=_states,
    ),
    Far(
        action="azure_pipelines",
        variant="with `correlation_parameter`",
        step='{azure_pipelines: {project: far/pipelines, pipeline: 12, parameters: {model: "{{ event.run.id }}"}, '
        'variables: {password: "${FAR_TOKEN}"}, correlation_parameter: correlation}}',
        refused="{azure_pipelines: {project: far/missing, pipeline: 12}}",
        where="devops",
        path="/far/pipelines/",
        count=received("devops", "far/pipelines"),
    ),
    Far(
        action="azure_pipelines",
        variant="without it",
        step="{azure_pipelines: {project: far/plain, pipeline: 12}}",
        refused="{azure_pipelines: {project: far/plain, pipeline: 1000}}",
        where="devops",
        path="/far/plain/",
        count=received("devops", "far/plain"),
    ),
    Far(
        action="jenkins",
        variant="with `correlation_parameter`",
        step=_jenkins("far/train", "correlation_parameter: SWITCHYARD_KEY"),
        refused=_jenkins("far/missing", "correlation_parameter: SWITCHYARD_KEY"),
        where="jenkins",
        path="/job/far/job/train/",
        count=received("jenkins", "far/train"),
    ),
    Far(
        action="jenkins",
        variant="without it",
        step=_jenkins("far/plain", 'parameters: {RUN: "{{ event.run.id }}"}'),
        refused=_jenkins("far/missing", 'parameters: {RUN: "{{ event.run.id }}"}'),
        where="jenkins",
        path="/job/far/job/plain/",
        count=received("jenkins", "far/plain"),
    ),
    Far(
        action="promote",
        step="{promote: far}",
        refused="{promote: far}",
        on="ModelRegistered",
        event=registered,
        count=_rollouts,
        files={"rollouts/far.yaml": POLICY},
        hold=_stick,
    ),
    Far(
        action="webhook",
        step='{webhook: {url: "${FAR_HOOK}", headers: {Authorization: "Bearer ${FAR_TOKEN}"}, sign: "${FAR_SIGN}"}}',
        refused='{webhook: {url: "${FAR_NOWHERE}"}}',
        where="webhook",
        path="/hooks/far",
        count=received("webhook", "far"),
        environ=lambda box: {
            "FAR_HOOK": f"{box.https}/hooks/far",
            "FAR_NOWHERE": f"{box.https}/nowhere/marker-of-the-path",
        },
    ),
    Far(
        action="webhook",
        variant="to Airflow",
        step=_worked("Airflow"),
        refused=_worked("Airflow").replace("/dags/score_churn/", "/dags/missing/"),
        where="airflow",
        count=received("airflow", "score_churn"),
    ),
    Far(
        action="webhook",
        variant="to Kubeflow",
        step=_worked("Kubeflow"),
        refused=_worked("Kubeflow").replace("7b1c5f0e-churn", "missing"),
        where="kubeflow",
        count=received("kubeflow", "7b1c5f0e-churn"),
    ),
    Far(
        action="dispatch",
        variant="with `correlation_input`",
        step="{dispatch: {github: far/correlated, workflow: deploy.yml, correlation_input: correlation}}",
        refused="{dispatch: {github: far/correlated, workflow: missing.yml}}",
        where="github",
        path="/far/correlated/",
        busy=403,
        count=received("github", "far/correlated"),
    ),
    Far(
        action="dispatch",
        variant="without it",
        step="{dispatch: {github: far/plain, workflow: deploy.yml}}",
        refused="{dispatch: {github: far/plain, workflow: missing.yml}}",
        where="github",
        path="/far/plain/",
        busy=403,
        count=received("github", "far/plain"),
    ),
    Far(
        action="dispatch",
        variant="of a repository",
        step="{dispatch: {github: far/raised, event_type: model-ready}}",
        refused=404,
        where="github",
        path="/far/raised/",
        busy=403,
        count=received("github", "far/raised"),
    ),
)


SMTP: Final = Far(
    action="email",
    variant="by SMTP",
    step="{email: {to: [smtp@example.com]}}",
    refused=550,
    where="smtp",
    method="",
    busy=451,
    count=received("email", "smtp@example.com"),
)


def by_smtp(box: Box, folder: Path) -> Ground:
    """A host has one transport for mail."""
    return Ground(box, folder, [SMTP], without=["ACS_ENDPOINT"])


def table(seen: Mapping[tuple[str, Trial], Outcome]) -> str:
    """In Markdown, actions by name."""
    far = [*FAR, SMTP]
    rows = [
        [
            one.label,
            *(seen[one.name, trial].words(trial) if trial in one.trials else "—" for trial in TRIALS),
            _end(seen[one.name, "success"].end),
        ]
        for one in sorted(far, key=lambda one: (one.action, far.index(one)))
    ]
    head = ["action", *TITLES.values(), "followed"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _end(state: State | None) -> str:
    return "—" if state is None else "to its end" if state == "succeeded" else f"WRONG: {state}"


def written() -> str:
    """The table as it stands in the document."""
    text = DOC.read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def write(found: str) -> None:
    text = DOC.read_text(encoding="utf-8")
    DOC.write_text(text.replace(f"{BEGIN}\n{written()}\n{END}", f"{BEGIN}\n{found}\n{END}"), encoding="utf-8")


def main() -> None:
    with Box(rate=RATE) as box, TemporaryDirectory() as folder:
        os.environ.update(box.environment)  # noqa: TID251 (the edge)
        seen = asyncio.run(Ground(box, Path(folder), FAR).play())
        seen = {**seen, **asyncio.run(by_smtp(box, Path(folder) / "smtp").play())}
    write(table(seen))
    sys.stdout.write(f"{table(seen)}\n")


if __name__ == "__main__":
    main()
