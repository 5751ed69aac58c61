"""What every part of the simulated Azure shares: a clock, chance, faults on demand, and the inbox."""

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Literal

type Channel = Literal[
    "teams",
    "email",
    "sms",
    "github",
    "webhook",
    "job",
    "pipeline",
    "devops",
    "jenkins",
    "airflow",
    "kubeflow",
    "topic",
    "event_hub",
]


class Clock:
    """Simulated time: runs `rate` times as fast as the wall, or stands still (rate 0) and is moved by hand.

    Others can tell the same time from `start`, `wall` and `rate`: start + (time.time() - wall) * rate.
    """

    def __init__(self, rate: float = 60, start: datetime | None = None) -> None:
        self._said = (
            (start or datetime.now(UTC)).astimezone(UTC),
            time.time(),
            rate,
        )  # one value: tests turn it from another thread
        self._later: list[tuple[datetime, int, Callable[[datetime], object]]] = []
        self._number = count()
        self.changed: Callable[[], object] = lambda: None
        """Told whenever the clock is turned or moved."""

    @property
    def rate(self) -> float:
        return self._said[2]

    def now(self) -> datetime:
        start, wall, rate = self._said
        return start + timedelta(seconds=(time.time() - wall) * rate)

    def describe(self) -> dict[str, object]:
        start, wall, rate = self._said
        return {"start": start.isoformat(), "wall": wall, "rate": rate}

    def turn(self, rate: float) -> None:
        """From now on `rate` times as fast as the wall; the moment stays the same."""
        self._said = (self.now(), time.time(), rate)
        self.changed()

    def advance(self, seconds: float) -> None:
        start, wall, rate = self._said
        self._said = (start + timedelta(seconds=seconds), wall, rate)
        self.changed()

    def call(self, moment: datetime, what: Callable[[datetime], object]) -> None:
        """`what(moment)` happens then: at the first `settle` after it, in the order of the moments."""
        heappush(self._later, (moment, next(self._number), what))

    def settle(self) -> None:
        """Everything whose moment has come happens, so that whoever asks next sees the world as it is now."""
        now = self.now()
        while self._later and self._later[0][0] <= now:
            moment, _, what = heappop(self._later)
            what(moment)

    async def until(self, moment: datetime) -> None:
        """Waits, in small steps of the wall clock, until simulated time has reached `moment`."""
        while (left := (moment - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 (the clock can be moved by hand)
            await asyncio.sleep(min(0.25, left / self.rate) if self.rate else 0.01)


@dataclass
class Fault:
    """The next `times` requests to `where` (for example `teams`, `arm`, `sms`, `github`, `eventgrid`) go wrong.

    `how`: an HTTP status to answer with, "drop" (the connection breaks before anything happened), "lost answer" (the effect
    happens, then the connection breaks) or "hang" (the effect happens, and the connection breaks when the caller gives up or
    the fault is taken back). `method`, `path`: only of requests by this method, with this text in their path.
    """

    where: str
    how: int | Literal["drop", "lost answer", "hang"]
    times: int = 1
    retry_after: int | None = None
    method: str = ""
    path: str = ""

    def fits(self, where: str, method: str, path: str) -> bool:
        return self.times > 0 and self.where == where and self.method in {"", method} and self.path in path


@dataclass
class Received:
    """One thing that arrived in the simulated world. `problem`: why the real service would have refused or dropped it."""

    n: int
    at: datetime
    channel: Channel
    to: str
    title: str
    payload: object
    key: str | None = None
    problem: str | None = None


class Inbox:
    """What was received, newest last; the oldest go beyond `keep`. The mail server adds from a thread of its own."""

    def __init__(self, now: Callable[[], datetime], keep: int = 5000) -> None:
        self._now = now
        self._kept: deque[Received] = deque(maxlen=keep)
        self._count = 0
        self._lock = threading.Lock()

    def add(
        self,
        channel: Channel,
        to: str,
        title: str,
        payload: object,
        *,
        key: str | None = None,
        problem: str | None = None,
    ) -> Received:
        with self._lock:
            self._count += 1
            received = Received(self._count, self._now(), channel, to, title, payload, key, problem)
            self._kept.append(received)
        return received

    def all(self, channel: Channel | None = None) -> Sequence[Received]:
        with self._lock:
            kept = list(self._kept)
        return [received for received in kept if channel in {None, received.channel}]

    def get(self, n: int) -> Received | None:
        return next((received for received in self.all() if received.n == n), None)


@dataclass
class Simulated:
    """`base`: https://localhost:PORT, where everything answers; `plain`: http://localhost:PORT for people and control."""

    base: str
    plain: str
    clock: Clock
    inbox: Inbox
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    faults: list[Fault] = field(default_factory=list)

    def fault(self, where: str, method: str = "", path: str = "") -> Fault | None:
        """Takes the next fault for this request, if one is set."""
        for fault in self.faults:
            if fault.fits(where, method, path):
                fault.times -= 1
                return fault
        return None

    def hangs(self, fault: Fault) -> bool:
        """Until somebody takes the fault back."""
        return any(one is fault for one in self.faults)
