"""Azure in a box beside the embedded host: started as a process of its own, because it stands for somebody else's."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests


@dataclass(frozen=True)
class Simulated:
    """`http`: the page and the control of the simulator; `environment`: the settings that point at it.

    Its time began at `began`, when the wall's was `wall` (seconds since 1970), and runs `rate` times as fast.
    """

    process: subprocess.Popen[bytes]
    http: str
    environment: Mapping[str, str]
    began: datetime
    wall: float
    rate: float

    def now(self) -> datetime:
        return self.began + timedelta(seconds=(time.time() - self.wall) * self.rate)

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


_MOMENTS = (
    "SELECT max(received) FROM events",
    "SELECT max(at) FROM intents",
    """
    SELECT unixepoch(json_extract(text, '$.answer.at')) FROM shelf WHERE folder GLOB 'rollout-*-steps'
    ORDER BY rowid DESC LIMIT 1
    """,
)


def newest(state: Path) -> datetime | None:
    """The newest moment that the state file knows of: simulated time is ahead of the wall's, and must not go back."""
    if not state.exists():
        return None
    stamps = []
    with closing(sqlite3.connect(state)) as db:
        for sql in _MOMENTS:
            try:
                stamps += [row[0] for row in db.execute(sql) if row[0] is not None]
            except (
                sqlite3.OperationalError
            ):  # a file of an earlier version, or of nobody yet: the host makes its tables
                continue
    return datetime.fromtimestamp(max(stamps), UTC) if stamps else None


def start(folder: Path, dead_letters: Path, *, begin: datetime, rate: float = 300) -> Simulated:
    """Starts it and waits until it answers. `dead_letters`: where it puts what it could not deliver. RuntimeError, with what it printed, when it does not."""
    folder.mkdir(parents=True, exist_ok=True)
    ready, said = folder / "simulator.json", folder / "simulator.log"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "simulator", "--http-port", "0", "--state-dir", str(folder), "--rate", str(rate)]
    with said.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own module)
            [*command, "--start", begin.isoformat(), "--parent", str(os.getpid()), "--dead-letters", str(dead_letters)],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 30
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"the simulated Azure did not start: {said.read_text()[-2000:]}")
        time.sleep(0.02)  # noqa: TID251 (another process is starting)
    found = json.loads(ready.read_text())
    clock = found["clock"]
    began = datetime.fromisoformat(clock["start"])
    return Simulated(process, found["http"], found["environment"], began, clock["wall"], clock["rate"])
