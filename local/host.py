"""The embedded host: the triggers of function_app on one machine, with a durable queue, journal and record in one file."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket as socketlib
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import azure.functions as func
import uvicorn
from croniter import croniter

from local import queue, shelf
from local.archive import FileArchive
from local.dead_letters import FOLDER, FolderDeadLetters
from local.door import PATH, Door, Function, Receive, Scope, Send
from local.rollouts import Rollouts
from local.shelf import SqliteShelf
from local.sqlite import Database
from local.store import ADDED, SCHEMA, SqliteStore
from shared import wire
from shared.cloud import Doors, doors
from shared.conduct import OnStep
from shared.service import Listener, OnChange, Service
from shared.settings import ROLLOUT_QUEUE, WORK_QUEUE, Secrets, Settings
from shared.web import app as web_app
from shared.world import Clock, World

log: Final = logging.getLogger("switchyard.host")

CONCURRENCY: Final = 128
MOST_DEQUEUES: Final = 5
WATCH: Final = 1.0
"""Seconds of the wall between two looks at the configuration folder."""

_AGAIN: Final = 30.0
_LAST_CALL: Final = 5
"""Seconds for requests that are under way when the host stops."""


def wall() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 (the clock of the host is the wall's)


def signing_key(state: Path) -> str:
    """For approval links: made at the first start, and kept beside the state file for its owner alone to read."""
    path = state.with_name(f"{state.name}.key")
    if path.exists() and (kept := path.read_text()):
        return kept
    key = secrets.token_urlsafe(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as new:
        new.write(key)
    return key


@dataclass(frozen=True)
class Functions:
    """What function_app hangs on its app, by kind of trigger."""

    eventgrid: Mapping[str, Function]
    queues: Mapping[str, Function]
    timers: Mapping[str, Function]
    """By schedule."""


@cache
def discover(app: func.FunctionApp) -> Functions:
    """The triggers of the app, found as the Functions host finds them. The SDK tells them once a process."""
    found: dict[str, dict[str, Function]] = {"eventGridTrigger": {}, "queueTrigger": {}, "timerTrigger": {}}
    for function in app.get_functions():
        bindings = [binding.get_dict_repr() for binding in function.get_bindings()]
        trigger = next(one for one in bindings if str(one["type"]).endswith("Trigger"))
        key = str(trigger.get("queueName") or trigger.get("schedule") or function.get_function_name())
        if trigger["type"] in found:  # an HTTP trigger mounts shared.web, which this host serves itself
            found[trigger["type"]][key] = Function(function, bindings)
    return Functions(found["eventGridTrigger"], found["queueTrigger"], found["timerTrigger"])


class Host:
    """Runs the functions. Everything it has answered for is in `state`; a second host on the same file goes on from there.

    `pace`: seconds of the clock in one second of waiting.
    """

    def __init__(
        self,
        config: Path,
        state: Path,
        environ: Mapping[str, str],
        *,
        listener: Listener | None = None,
        on_step: OnStep | None = None,
        on_change: OnChange | None = None,
        clock: Clock = wall,
        pace: float = 1,
        inbox: str | None = None,
    ) -> None:
        import function_app
        from functions import host as functions_host

        self._clock = clock
        self._pace = pace
        self.database = Database(state, SCHEMA + queue.SCHEMA + shelf.SCHEMA, ADDED)
        self.queues = queue.Queues(self.database, clock, pace)
        given = {"SWITCHYARD_CONFIG": str(config)}
        if not environ.get("SWITCHYARD_SIGNING_KEY"):
            given["SWITCHYARD_SIGNING_KEY"] = signing_key(state)
        settings = Settings.of({**environ, **given})
        self._doors: Doors = doors(settings, environ, config)
        world = World(
            clock=clock,
            http=self._doors.http,
            secret=Secrets(environ),
            platform=self._doors.platform,
            mail=self._doors.mail,
            sms=self._doors.sms,
            github=self._doors.github,
            queue=queue.LocalQueue(self.queues, WORK_QUEUE),
            store=SqliteStore(self.database, self.queues, clock),
            serving=self._doors.serving,
            counts=self._doors.counts,
            topic=self._doors.topic,
            documents=self._doors.documents,
            shelf=SqliteShelf(self.database),
            rollouts=queue.LocalQueue(self.queues, ROLLOUT_QUEUE),
            archive=FileArchive(state.parent / "archive"),
            azure=self._doors.azure,
            logs=self._doors.logs,
            blobs=self._doors.blobs,
            dead_letters=FolderDeadLetters(state.parent / FOLDER),
        )
        self.service = Service.of(
            world, settings, listener=listener or (lambda _: None), on_step=on_step, look_every=WATCH * pace
        )
        self.service.on_change += [on_change] if on_change else []
        self.service.inbox = inbox is not None
        functions_host.use(self.service)
        self.functions = discover(function_app.app)
        self._rollouts = Rollouts(self.service.conductor)
        self._door = Door(self.functions.eventgrid, self.queues.put, clock, settings)
        names = ("localhost", "127.0.0.1", urlsplit(settings.public_url).hostname or "localhost")
        self._web = web_app(lambda: self.service, names)
        self._inbox = inbox
        self._working: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._free = asyncio.Semaphore(CONCURRENCY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app: Event Grid's path, the simulated inbox, and the web app for everything else."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path == PATH:
            await self._door(scope, receive, send)
        elif self._inbox and path.split("/")[1] == "inbox":
            await self._borrow(self._inbox, scope, send)
        else:
            await self.service.refresh()
            await self._web(scope, receive, send)

    async def _borrow(self, base: str, scope: Scope, send: Send) -> None:
        """The simulated inbox is another process: its pages appear here, beside the console's."""
        language = dict(scope["headers"]).get(b"accept-language", b"en").decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        reply = await self.service.world.http.send(
            "GET", f"{base}{scope['path']}{'?' if query else ''}{query}", headers={"accept-language": language}
        )
        kept = {"content-type", "content-security-policy", "referrer-policy", "cache-control", "x-content-type-options"}
        headers = [(name.encode(), value.encode()) for name, value in reply.headers.items() if name in kept]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def start(self) -> None:
        """Begins to work on the queue and the schedules, in the running loop."""
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._watch())]
        self._tasks += [
            asyncio.create_task(self._schedule(schedule, function))
            for schedule, function in self.functions.timers.items()
        ]

    async def stop(self, patience: float = 10) -> int:
        """Takes no new work, waits for what is under way, and says how many messages are left for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=patience)
            for task in late:  # its message comes again at the next start, and counts as interrupted
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._doors.close()
        left = await self.queues.waiting()
        self.database.close()
        return left

    async def _work(self) -> None:
        while True:
            await self._free.acquire()
            message = await self._next()
            task = asyncio.create_task(self._one(message))
            self._working.add(task)
            task.add_done_callback(self._finished)

    async def _watch(self) -> None:
        """The configuration folder: an edit is in force a moment after it was saved."""
        while True:
            try:
                await self.service.refresh()
            except Exception:
                log.exception("the configuration can't be taken up")
            await asyncio.sleep(WATCH)

    async def _next(self) -> queue.Handed:
        while True:
            try:
                return await self.queues.take()
            except Exception:
                log.exception("the queue can't be read")
                await asyncio.sleep(_AGAIN)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        self._free.release()

    async def _one(self, message: queue.Handed) -> None:
        try:
            if message.queue == ROLLOUT_QUEUE:  # not by the app's function: that one starts an orchestration
                await self._rollouts.advance(wire.load(wire.Advance, message.body))
            elif message.queue == f"{ROLLOUT_QUEUE}-poison":
                await self._rollouts.give_up(message.body)
            elif function := self.functions.queues.get(message.queue):
                texts = await function(func.QueueMessage(id=str(message.id), body=message.body))
                if texts and function.queue:
                    await self.queues.put(function.queue, texts)
            else:
                await self.queues.again(message, _AGAIN)
                return
        except Exception:
            log.exception("function failed", extra={"queue": message.queue, "dequeued": message.dequeued})
            if message.dequeued + 1 >= MOST_DEQUEUES and not message.queue.endswith("-poison"):
                await self.queues.move(message, f"{message.queue}-poison")
            else:
                await self.queues.again(message, _AGAIN)
            return
        self.queues.done(message)

    async def _schedule(self, schedule: str, function: Function) -> None:
        due = croniter(schedule, self._clock(), second_at_beginning=True)
        while True:
            moment: datetime = due.get_next(datetime)
            await asyncio.sleep(max(0.0, (moment - self._clock()).total_seconds()) / self._pace)
            try:
                await function(func.TimerRequest(past_due=False))
            except Exception:
                log.exception("timer failed", extra={"function": function.name})

    async def idle(self) -> None:
        """Until nothing is left to do now; messages that wait for a later time do not count."""
        while self._working or self.queues.ready():  # noqa: ASYNC110 (two sources of work, neither with an event)
            await asyncio.sleep(0.005)


class _Server(uvicorn.Server):
    """The signals stay with whoever runs the host: it drains first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextlib.asynccontextmanager
async def listening(host: Host, port: int = 0) -> AsyncGenerator[int]:
    """The host behind a real HTTP server, at work; yields the port. OSError when the port is taken."""
    socket = socketlib.create_server(("127.0.0.1", port), backlog=4096)
    config = uvicorn.Config(
        host,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_CALL,  # who has not sent the whole request by then does not hold up the end
    )
    server = _Server(config)
    host.start()
    serving = asyncio.create_task(server.serve([socket]))
    try:
        yield socket.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
