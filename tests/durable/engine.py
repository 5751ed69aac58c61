"""The next Durable Functions in process: Microsoft's engine for tests, and the functions of the app behind it.

`Engine` stands where the Functions host stands: it hands what the engine has to do to the functions that the app has hung up,
in the host's own wire format, so that the package's worker, its codec and its client are the real ones.
"""

import asyncio
import json
import socket
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any, Final

import azure.durable_functions  # noqa: F401 (makes the engine's codec that of the bindings)
import azure.functions as func
from azure.functions import meta
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.testing import create_test_backend
from durabletask.worker import TaskHubGrpcWorker
from google.protobuf.wrappers_pb2 import StringValue

import function_app
from shared import wire

PATIENCE: Final = 30.0
FUNCTIONS: Final = {one.get_function_name(): one.get_user_function() for one in function_app.app.get_functions()}


class Engine(TaskHubGrpcWorker):
    """Every timer fires at once, since the worlds of the tests have clocks of their own; unless the story `holds` it."""

    def __init__(self, port: int) -> None:
        super().__init__(host_address=f"localhost:{port}", emit_trace_spans=False)
        self.holds: Callable[[], bool] = lambda: False
        self.performed = 0
        self.client = TaskHubGrpcClient(host_address=f"localhost:{port}", emit_trace_spans=False)
        self._binding = json.dumps({"taskHubName": "test", "rpcBaseUrl": f"localhost:{port}"})
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()

    def call[T](self, work: Coroutine[Any, Any, T]) -> T:
        """In the loop in which the activities run."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def nudge(self, rollout: str) -> None:
        """A message off the queue of rollouts."""
        message = func.QueueMessage(body=wire.dump(wire.Advance(rollout)).encode())
        self.call(FUNCTIONS["on_rollout"](message, self._binding))

    def end(self, rollout: str) -> str:
        """How it ends: the verdict."""
        state = self.client.wait_for_orchestration_completion(rollout, timeout=PATIENCE)
        assert state is not None
        assert state.runtime_status == OrchestrationStatus.COMPLETED, state.failure_details
        return str(json.loads(state.serialized_output or "null"))

    # What the engine has to do

    def _execute_orchestrator(self, req: Any, stub: Any, completionToken: Any) -> None:  # noqa: N803 (theirs)
        context = func.OrchestrationContext(b64encode(req.SerializeToString()).decode())
        response = pb.OrchestratorResponse.FromString(b64decode(FUNCTIONS["rollout"](context)))
        response.completionToken = completionToken
        for action in response.actions:
            if action.HasField("createTimer"):
                action.createTimer.fireAt.FromDatetime(datetime.now(UTC) + timedelta(days=self.holds()))  # noqa: TID251 (the engine's clock is the wall's)
        stub.CompleteOrchestratorTask(response)

    def _execute_activity(self, req: Any, stub: Any, completionToken: Any) -> None:  # noqa: N803 (theirs)
        self.performed += 1
        response = pb.ActivityResponse(
            instanceId=req.orchestrationInstance.instanceId, taskId=req.taskId, completionToken=completionToken
        )
        converter = meta.get_binding_registry().get("activityTrigger")
        try:
            given = converter.decode(meta.Datum(req.input.value, "json"), trigger_metadata=None)
            result = converter.encode(self.call(FUNCTIONS[req.name](given)), expected_type=None)
            response.result.CopyFrom(StringValue(value=result.value))
        except Exception as error:  # noqa: BLE001 (the host tells the engine, whatever it is)
            response.failureDetails.errorType = type(error).__name__
            response.failureDetails.errorMessage = str(error)
        stub.CompleteActivityTask(response)


@contextmanager
def running() -> Iterator[Engine]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    backend = create_test_backend(port=port, max_history_size=100_000)
    engine = Engine(port)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        backend.stop()
