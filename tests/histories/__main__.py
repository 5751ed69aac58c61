"""Records what this version writes, for the versions after it: `python -m tests.histories 0.2`. What is recorded stays."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace

from functions import host
from local.queue import LocalQueue
from shared import wire
from shared.links import Acknowledgement, Approval, token
from shared.rollout.record import SCRIPT
from shared.service import Service
from shared.settings import ROLLOUT_QUEUE, configuration, read_folder
from tests import azurite_server
from tests.durable.drivers import Resting, embedded
from tests.histories import FOLDER
from tests.histories.decided import decided_by, samples
from tests.histories.life import KEY, MAIN, RULES, OnAzure, hear, kept, live, plain
from tests.histories.shapes import shapes
from tests.histories.stories import DURABLE, STORIES
from tests.histories.tables import dump
from tests.station import Station, opened
from tests.test_rollout_driver import Extension
from tests.world import START, FakeQueue, Outside


def episode(one: dict[str, Any]) -> str:
    """Events and actions, a row each."""
    return lines({"turns": one["turns"]}, {"history": one["history"], "actions": one["actions"]}).strip()


def lines(head: dict[str, object], rows: Mapping[str, Sequence[object]]) -> str:
    """JSON with a row a line, so that a change can be read."""
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    for name, row in rows.items():
        parts.append(f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(one) for one in row) + "\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


async def rollout(name: str) -> str:
    """What it is about, and every step with what was asked and answered, by the embedded driver."""
    fleet = STORIES[name].fleet()
    steps = await embedded(fleet)
    return lines({"about": plain(fleet.rollout), "verdict": steps[-1].command.status}, {"steps": [*map(plain, steps)]})


class Watched(Extension):
    """Keeps each history to its end, and of each event how many events the orchestrator saw and how many actions it asked for."""

    def _anew(self) -> None:
        super()._anew()
        self.turns: list[list[int]] = []

    async def _go_through(self, actions: list[dict[str, Any]]) -> bool:
        self.turns.append([len(self.history), len(actions)])
        self.actions = actions
        ended = await super()._go_through(actions)
        if ended:
            self.keep()
        return ended

    episodes: list[dict[str, Any]]

    def keep(self) -> None:
        self.episodes.append({"turns": self.turns, "history": self.history, "actions": self.actions})


async def durable(name: str, script: int = SCRIPT) -> str:
    """The histories of one orchestration on Durable Functions 1.7, as the host's extension hands them over."""
    fleet = STORIES[name].fleet()
    fleet.rollout = replace(fleet.rollout, script=script)
    conductor = Resting(fleet)
    host.use(cast("Service", SimpleNamespace(conductor=conductor)))
    await conductor.begin()
    extension = Watched(fleet.rollout.id, DURABLE[name])
    extension.episodes = []
    output = await extension.run()
    extension.keep()
    head = lines({"instance": fleet.rollout.id, "output": output}, {"episodes": []})
    return head.replace("[\n\n]", "[\n" + ",\n".join(map(episode, extension.episodes)) + "\n]")


async def state(folder: Path) -> None:
    """The file of the embedded host as SQL, what is read from it, and one message of each kind that there was."""
    with TemporaryDirectory() as temporary, opened(Path(temporary) / "state.db") as database:
        heard, station = hear(database), Station(Outside(), database, RULES, MAIN)
        await live(station, LocalQueue(station.queues, ROLLOUT_QUEUE))
        read = await kept(station)
        (folder / "state.sql").write_text("\n".join(await database.read(lambda db: list(db.iterdump()))) + "\n")
    at = read.pop("at")
    (folder / "state.json").write_text(lines({"at": at}, read))
    heard += [("switchyard-work", wire.dump(wire.Edited("one", "two")))]
    kinds = {(queue, json.loads(body).get("type")): body for queue, body in reversed(heard)}
    (folder / "messages.json").write_text(json.dumps([[queue, body] for (queue, _), body in kinds.items()], indent=1))


async def tables(folder: Path) -> None:
    """The same on Azure: every row, and the messages that wait. What is read is the same."""
    with TemporaryDirectory() as temporary, azurite_server.running(Path(temporary), print) as azurite:
        account = azurite.account()
        station = OnAzure(Outside(), account)
        await live(station, FakeQueue())
        read, rows = await kept(station), await dump(account)
        await station.close()
    waiting = [[due.isoformat(), text] for due, text in station.waiting]
    (folder / "tables.json").write_text(lines({"waiting": waiting}, rows))
    assert read == json.loads((folder / "state.json").read_text())


def signed(folder: Path) -> None:
    """The links of messages that were sent: whoever has one may use it after a deployment too."""
    until = START + timedelta(days=1)
    made = (Approval("rollout-1", 23, until, "leads"), Acknowledgement("78eb2946f451ec0d01dd", until, "incident"))
    found = {type(one).__name__: {"token": token(KEY, one), "says": plain(one)} for one in made}
    (folder / "links.json").write_text(json.dumps(found, indent=1) + "\n")


def decisions(folder: Path) -> None:
    """The shipped configuration, and what it decides about the sample events, with and without the answers of lookups."""
    root = FOLDER.parents[1]
    for name, path in configuration(root / "config"):
        copy = folder / "config" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    envelopes = samples()
    said = {"envelopes": envelopes, "decided": decided_by(read_folder(folder / "config"), envelopes)}
    (folder / "decisions.json").write_text(json.dumps(said, indent=1) + "\n")


async def record(folder: Path) -> None:
    kinds: list[tuple[str, Callable[[str], Coroutine[Any, Any, str]], Any]] = [
        ("rollouts", rollout, STORIES), ("durable", durable, DURABLE),
    ]  # fmt: skip
    for kind, make, names in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / kind / f"{name}.json").write_text(await make(name))
    await state(folder)
    await tables(folder)
    decisions(folder)
    signed(folder)
    (folder / "shapes.json").write_text(json.dumps(shapes(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    asyncio.run(record(FOLDER / sys.argv[1]))
