"""Run in an environment of requirements.txt alone: the worker library that Azure runs indexes the app and calls on_event.

The worker takes its protocol buffers from the host as a module; the few messages it needs are stood in for here, at the
edge of the machine. Prints JSON: the functions, what on_event puts on the queue for the event on standard input, and what the orchestrator of a
rollout that has just begun asks for.
"""

import asyncio
import json
import sys
import types
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from azure_functions_runtime import handle_event


class Message(types.SimpleNamespace):
    """Any protocol buffer message: keeps what it is given."""

    def WhichOneof(self, _: str) -> str:  # noqa: N802 (protocol buffers spell it so)
        return next(name for name in vars(self) if name != "name")


class BindingInfo(Message):
    class Direction(IntEnum):
        # "in" is a keyword; the worker reads the others by name
        out = 1
        inout = 2

    undefined, out, inout = 0, Direction.out, Direction.inout


class StatusResult(Message):
    Failure, Success = 0, 1


class Protos(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        return {"BindingInfo": BindingInfo, "StatusResult": StatusResult}.get(name, Message)


class Headers(dict[str, str]):
    def __iter__(self) -> Iterator[str]:
        return iter(())


HAPPENED = {"EventId": -1, "IsPlayed": False, "Timestamp": "2026-11-20T08:30:00Z"}
BEGUN = {
    "instanceId": "r1",
    "isReplaying": False,
    "parentInstanceId": None,
    "input": None,
    "upperSchemaVersion": 2,
    "history": [{"EventType": 12, **HAPPENED}, {"EventType": 0, "Name": "rollout", "Version": None, **HAPPENED}],
}
"""What the host says of an orchestration that has just begun: the orchestrator is started, and so is the execution."""


def ask(**request: Any) -> Any:
    protos = Protos("protos")
    return types.SimpleNamespace(request=types.SimpleNamespace(**request), properties={"host": "", "protos": protos})


async def probe(event: str) -> dict[str, Any]:
    init = types.SimpleNamespace(capabilities={}, function_app_directory=".")
    started = await handle_event.worker_init_request(ask(worker_init_request=init))
    if started.result.status != StatusResult.Success:
        raise SystemExit(f"the worker could not index the app: {started.result.exception}")
    found = (await handle_event.functions_metadata_request(ask())).function_metadata_results
    by_name = {one.name: one for one in found}

    async def call(name: str, argument: str, datum: Message) -> Any:
        invocation = types.SimpleNamespace(
            invocation_id="1",
            function_id=by_name[name].function_id,
            input_data=[Message(name=argument, data=datum)],
            trigger_metadata={},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )
        answer = await handle_event.invocation_request(ask(invocation_request=invocation))
        if answer.result.status != StatusResult.Success:
            raise SystemExit(f"{name} failed: {answer.result.exception}")
        return answer

    out = (await call("on_event", "event", Message(json=event))).output_data[0]
    begun = await call("rollout", "context", Message(string=json.dumps(BEGUN)))
    return {
        "functions": {name: [json.loads(raw) for raw in one.raw_bindings] for name, one in by_name.items()},
        "out": out.name,
        "texts": json.loads(vars(out.data)["json"]),
        "orchestrator": vars(begun.return_value)["json"],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(probe(sys.stdin.read()))))  # noqa: T201 (the test reads it)
