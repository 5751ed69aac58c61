"""Azure in a box beside the embedded host: started as a process of its own, because it stands for somebody else's."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests


@dataclass(frozen=True)
class Simulated:
    """`http`: the page and the control of the simulator; `environment`: the settings that point at it."""

    process: subprocess.Popen[bytes]
    http: str
    environment: Mapping[str, str]

    def subscribe(self, endpoint: str) -> None:
        """Event Grid delivers there from now on, after its handshake."""
        self._post("/control/subscribe", {"endpoint": endpoint, "schema": "EventGridSchema"})

    def play(self) -> None:
        """The demonstration's story begins."""
        self._post("/control/story", {})

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _post(self, path: str, body: Mapping[str, object]) -> None:
        requests.post(f"{self.http}{path}", json=body, timeout=30).raise_for_status()


def start(folder: Path, *, rate: float = 60) -> Simulated:
    """Starts it and waits until it answers. RuntimeError, with what it printed, when it does not."""
    folder.mkdir(parents=True, exist_ok=True)
    ready, said = folder / "simulator.json", folder / "simulator.log"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "simulator", "--http-port", "0", "--state-dir", str(folder), "--rate", str(rate)]
    with said.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own module)
            [*command, "--parent", str(os.getpid())], stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + 30
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"the simulated Azure did not start: {said.read_text()[-2000:]}")
        time.sleep(0.02)  # noqa: TID251 (another process is starting)
    found = json.loads(ready.read_text())
    return Simulated(process, found["http"], found["environment"])
