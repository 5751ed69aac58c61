"""Records orchestrations as the next engine hands them over, for the versions after this one: `python -m tests.durable.record 0.2`, in
`.venv-durable`. Times are those of the wall, so that no two recordings are the same.
"""

import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import azure.functions as func
from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.json_format import MessageToDict

from functions import host
from shared.service import Service
from tests.durable import engine as engines
from tests.durable.drivers import Resting
from tests.durable.engine import FUNCTIONS
from tests.histories import FOLDER
from tests.histories.stories import STORIES

RECORDED: Final = ("rejected", "frozen", "not-created")


def answered(request: bytes) -> list[dict[str, Any]]:
    """What the orchestrator of this version asks the engine for."""
    context = func.OrchestrationContext(b64encode(request).decode())
    response = pb.OrchestratorResponse.FromString(b64decode(FUNCTIONS["rollout"](context)))
    return [MessageToDict(action) for action in response.actions]


class Recorder(engines.Engine):
    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.turns: list[tuple[Any, list[dict[str, Any]]]] = []

    def _execute_orchestrator(self, req: Any, stub: Any, completionToken: Any) -> None:  # noqa: N803 (theirs)
        self.turns.append((req, answered(req.SerializeToString())))
        super()._execute_orchestrator(req, stub, completionToken)


def recorded(turns: list[tuple[Any, list[dict[str, Any]]]]) -> dict[str, Any]:
    """By execution: all events, and of each turn how many were past and how many new, with what was asked for."""
    executions: list[dict[str, Any]] = []
    for req, actions in turns:
        if not req.pastEvents:
            executions.append({})
        events = [*req.pastEvents, *req.newEvents]
        executions[-1]["events"] = [b64encode(one.SerializeToString()).decode() for one in events]
        executions[-1].setdefault("turns", []).append([len(req.pastEvents), len(req.newEvents), actions])
    return {"instance": turns[0][0].instanceId, "executions": executions}


def requests(found: dict[str, Any]) -> Iterator[tuple[bytes, list[dict[str, Any]]]]:
    """Each turn, and what was asked for then."""
    for execution in found["executions"]:
        events = [pb.HistoryEvent.FromString(b64decode(one)) for one in execution["events"]]
        for past, new, actions in execution["turns"]:
            request = pb.OrchestratorRequest(instanceId=found["instance"])
            request.pastEvents.extend(events[:past])
            request.newEvents.extend(events[past : past + new])
            yield request.SerializeToString(), actions


def run(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    engines.Engine = Recorder  # type: ignore[misc] # what `running` makes
    for name in RECORDED:
        with engines.running() as engine:
            assert isinstance(engine, Recorder)
            conductor = Resting(STORIES[name].fleet())
            host.use(cast("Service", SimpleNamespace(conductor=conductor)))
            engine.call(conductor.begin())
            engine.nudge(conductor.fleet.rollout.id)
            engine.end(conductor.fleet.rollout.id)
            (folder / f"{name}.json").write_text(json.dumps(recorded(engine.turns), indent=0) + "\n")


if __name__ == "__main__":
    run(FOLDER / sys.argv[1] / "engine")
