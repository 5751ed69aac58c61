"""The whole box: Azure over HTTPS with a throw-away certificate, and plain HTTP for people and control."""

import asyncio
import json
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from simulator import (
    airflow,
    communication,
    control,
    entra,
    event_hubs,
    github,
    inbox,
    jenkins,
    kubeflow,
    scoring,
    smtp,
    teams,
    webhooks,
)
from simulator.arm import Operations
from simulator.assets import WorkspaceAssets
from simulator.azureml import AzureML
from simulator.batch import BatchEndpoints
from simulator.blobs import PREFIX as BLOBS
from simulator.blobs import BlobStorage
from simulator.data_factory import DataFactory
from simulator.devops import ROOT as DEVOPS
from simulator.devops import DevOps
from simulator.eventgrid import LISTENING, TOPIC_KEY, EventGrid, Manners
from simulator.jenkins import Jenkins
from simulator.mlflow import MLflow
from simulator.monitor import Monitor
from simulator.online import OnlineEndpoints
from simulator.outcomes import Outcomes
from simulator.registry import Registries
from simulator.state import Clock, Inbox, Simulated
from simulator.story import ENDPOINT, Story
from simulator.synapse import PREFIX as SYNAPSE
from simulator.synapse import Synapse

TEAMS: Final = ("fraud", "churn", "platform")
"""Each has a channel, whose webhook is the setting TEAMS_<NAME>_URL."""


@dataclass(frozen=True)
class Options:
    """`rate`: simulated seconds in one real second. `start`: the simulated moment at which it begins, now where None.
    `deliver_to`: Event Grid subscribes it as soon as it answers. `dead_letters`: gets what Event Grid gives up.
    """

    https_port: int = 0
    http_port: int = 0
    rate: float = 60
    start: datetime | None = None
    seed: int = 7
    deliver_to: str | None = None
    state_dir: Path | None = None
    chaos: bool = False
    pause: float = 2.0
    dead_letters: Path | None = None


@dataclass
class Azure:
    """The running box."""

    sim: Simulated
    ca: Path
    eventgrid: EventGrid
    azureml: AzureML
    endpoints: OnlineEndpoints
    batch: BatchEndpoints
    data_factory: DataFactory
    synapse: Synapse
    devops: DevOps
    jenkins: Jenkins
    monitor: Monitor
    story: Story
    blobs: BlobStorage
    assets: WorkspaceAssets
    registries: Registries
    environment: dict[str, str] = field(default_factory=dict)
    """The settings that a client needs, by their names in the environment."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the box."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """At once: a TLS goodbye would wait for clients that keep idle connections."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)


@asynccontextmanager
async def running(options: Options | None = None) -> AsyncIterator[Azure]:
    """The box, listening. It ends with the block, and everything in it."""
    options = options or Options()
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    with (
        _listen(options.https_port) as secure,
        _listen(options.http_port) as plain,
        TemporaryDirectory(prefix="simulator-") as temporary,
    ):
        folder = options.state_dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        authority, context = _certificates(folder)
        base, people = f"https://localhost:{_port(secure)}", f"http://localhost:{_port(plain)}"
        clock = Clock(options.rate, options.start)
        sim = Simulated(base, people, clock, Inbox(clock.now), Random(options.seed))
        eventgrid = EventGrid(sim, spawn, Manners.chaos() if options.chaos else Manners(), options.dead_letters)
        operations = Operations(sim, spawn)
        azureml = AzureML(sim, eventgrid.publish, spawn, operations)
        endpoints = OnlineEndpoints(sim, azureml, operations, options.seed)
        batch = BatchEndpoints(sim, azureml, operations)
        factories, lakes = DataFactory(sim), Synapse(sim)
        devops, ci = DevOps(sim), Jenkins(sim)
        outcomes = Outcomes(options.seed)
        monitor = Monitor(sim, endpoints, outcomes)
        story = Story(sim, eventgrid, azureml, endpoints, options.pause)
        blobs = BlobStorage(sim, azureml, outcomes, story.workspace, ENDPOINT)
        assets = WorkspaceAssets(sim, azureml, blobs, operations)
        box = Azure(
            sim,
            authority,
            eventgrid,
            azureml,
            endpoints,
            batch,
            factories,
            lakes,
            devops,
            ci,
            monitor,
            story,
            blobs,
            assets,
            Registries(sim, azureml, blobs),
        )
        azure = [*operations.routes(), *azureml.routes(), *endpoints.routes(), *scoring.routes(sim, endpoints)]
        azure += [*batch.routes(), *monitor.routes(), *blobs.routes(), *eventgrid.routes(), *entra.routes(sim)]
        azure += [*factories.paths(), *lakes.paths(), *assets.routes(), *MLflow(sim, azureml, blobs).routes()]
        azure += box.registries.routes()
        for part in (teams, communication, github, webhooks, event_hubs):
            azure += part.routes(sim)
        for other in (devops, ci, airflow.Airflow(sim), kubeflow.Kubeflow(sim)):
            azure += other.routes()
        mail = smtp.start(sim)
        await eventgrid.start()
        try:
            levers = control.Control(sim, eventgrid, azureml, story, endpoints, batch, monitor).routes()
            async with _served((_server(azure, context), secure), (_server([*inbox.routes(sim), *levers]), plain)):
                box.environment = _environment(box, mail.port)
                _describe(folder, box)
                clock.changed = partial(_describe, folder, box)
                if options.deliver_to:
                    spawn(_subscribe(eventgrid, options.deliver_to))
                yield box
        finally:
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await eventgrid.stop()
            mail.stop()


class Box:
    """The box in a thread of its own, for synchronous callers: `with Box() as box: …`."""

    sim: Simulated
    https: str
    http: str
    ca: str
    environment: dict[str, str]

    def __init__(
        self,
        *,
        rate: float = 60,
        start: datetime | None = None,
        seed: int = 7,
        chaos: bool = False,
        deliver_to: str | None = None,
        state_dir: Path | None = None,
        pause: float = 2.0,
        dead_letters: Path | None = None,
    ) -> None:
        self._options = Options(
            rate=rate,
            start=start,
            seed=seed,
            chaos=chaos,
            deliver_to=deliver_to,
            state_dir=state_dir,
            pause=pause,
            dead_letters=dead_letters,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="azure-in-a-box", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._running = running(self._options)
        try:
            self.azure = self.run(self._running.__aenter__())
        except BaseException:
            self._close()
            raise
        self.sim, self.environment = self.azure.sim, self.azure.environment
        self.https, self.http, self.ca = self.sim.base, self.sim.plain, str(self.azure.ca)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run(self._running.__aexit__(None, None, None))
        self._close()

    def _close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it inside the box, whose parts live in its loop, and waits for what comes of it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def serve(self, workspace: str, endpoint: str, model: str, *, auth: str = "AADToken") -> None:
        """An endpoint of the workspace with this ARM id, where `model`, name:version, serves everything as `blue`."""

        async def go() -> None:
            self.azure.endpoints.serve(self.azure.azureml.at(workspace), endpoint, model, auth=auth)

        self.run(go())

    def publish(self, *events: dict[str, Any]) -> list[str]:
        """Events into Event Grid, as they are."""

        async def go() -> list[str]:
            return [self.azure.eventgrid.publish(event) for event in events]

        return self.run(go())


def _listen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError as error:
        sock.close()
        raise SystemExit(f"port {port} is taken: choose another one, or 0 for any ({error.strerror})") from error
    return sock


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def _certificates(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A new authority, its certificate in the folder; the server's own key stays in memory."""
    authority = trustme.CA()
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "*.blob.localhost").configure_cert(context)
    return path, context


def _server(routes: Sequence[BaseRoute], context: ssl.SSLContext | None = None) -> uvicorn.Server:
    config = uvicorn.Config(
        Starlette(routes=routes),
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,  # as far sides do: a caller whose loop was held up must not find its connection gone
        ssl_context_factory=(lambda *_: context) if context else None,
    )
    return _Server(config)


@asynccontextmanager
async def _served(*servers: tuple[uvicorn.Server, socket.socket]) -> AsyncIterator[None]:
    serving = [asyncio.create_task(server.serve([sock])) for server, sock in servers]
    while not all(server.started for server, _ in servers):  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.002)
    try:
        yield
    finally:
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*serving)


async def _subscribe(eventgrid: EventGrid, endpoint: str) -> None:
    """Again and again until the service is up and agrees."""
    while (await eventgrid.subscribe("switchyard", endpoint)).state != "Succeeded":  # noqa: ASYNC110 (asks another process)
        await asyncio.sleep(0.25)


def _environment(box: Azure, mail: int) -> dict[str, str]:
    base, ca = box.sim.base, str(box.ca)
    return {
        "AZURE_RESOURCE_MANAGER_URL": base,
        "AZURE_AUTHORITY_HOST": base,
        "AZURE_ML_STUDIO_URL": f"{box.sim.plain}/studio",
        "AZURE_TENANT_ID": entra.TENANT,
        "AZURE_CLIENT_ID": entra.CLIENT,
        "AZURE_CLIENT_SECRET": entra.CLIENT_SECRET,
        "ACS_ENDPOINT": base,
        "ACS_EMAIL_SENDER": "DoNotReply@switchyard.example.com",
        "ACS_SMS_FROM": "+18005550100",
        "SMTP_URL": f"smtp://localhost:{mail}",
        "GITHUB_API_URL": base,
        "GITHUB_TOKEN": "github_pat_simulated",
        "AZURE_DEVOPS_URL": f"{base}{DEVOPS}",
        "JENKINS_URL": f"{base}{jenkins.ROOT}",
        "JENKINS_USER": jenkins.USER,
        "JENKINS_TOKEN": jenkins.TOKEN,
        "AIRFLOW_URL": f"{base}{airflow.ROOT}",
        "AIRFLOW_TOKEN": airflow.TOKEN,
        "KUBEFLOW_URL": f"{base}{kubeflow.ROOT}",
        "KUBEFLOW_TOKEN": kubeflow.TOKEN,
        "EVENTGRID_TOPIC_ENDPOINT": f"{base}/topics/switchyard/api/events",
        "EVENTGRID_TOPIC_KEY": TOPIC_KEY,
        "SWITCHYARD_TOPIC_ENDPOINT": f"{base}/topics/{LISTENING}/api/events",
        "SWITCHYARD_TOPIC_KEY": TOPIC_KEY,
        "EVENT_HUBS_SUFFIX": f"{base}{event_hubs.PREFIX}",
        "SYNAPSE_DEV_SUFFIX": f"{base}{SYNAPSE}",
        "AZURE_LOGS_URL": f"{base}/v1",
        "AZURE_MONITOR_URL": base,
        "AZURE_BLOB_SUFFIX": f"{base}{BLOBS}",
        "REQUESTS_CA_BUNDLE": ca,
        "SSL_CERT_FILE": ca,
    } | {f"TEAMS_{name.upper()}_URL": _teams_webhook(base, name) for name in TEAMS}


def _teams_webhook(base: str, team: str) -> str:
    path = f"/powerautomate/automations/direct/workflows/{team}-team/triggers/manual/paths/invoke"
    signature = uuid5(NAMESPACE_URL, f"the webhook of {team}").hex
    return f"{base}{path}?api-version=1&sp={quote('/triggers/manual/run', safe='')}&sv=1.0&sig={signature}"


def _describe(folder: Path, box: Azure) -> None:
    """`simulator.json`: there once everything listens, never half, and again whenever the clock is turned."""
    said = {
        "pid": os.getpid(),
        "https": box.sim.base,
        "http": box.sim.plain,
        "ca": str(box.ca),
        "clock": box.sim.clock.describe(),
        "environment": box.environment,
    }
    draft = folder / "simulator.json.new"
    draft.write_text(json.dumps(said, indent=2))
    draft.replace(folder / "simulator.json")
