"""The outside of the measurement: one loop that posts events as Event Grid does, and takes the deliveries that come of them.

Raw sockets: the client must cost less than what it measures.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

AZURE_ML = "Microsoft.MachineLearningServices."
SOURCE = "/subscriptions/s/resourceGroups/mlops/providers/Microsoft.MachineLearningServices/workspaces/prod"


def bodies(first: int, count: int, rules: int) -> Iterator[tuple[str, bytes]]:
    """Events of about 900 bytes, each of which one of the rules matches."""
    properties = {f"azureml.property{n}": "x" * 40 for n in range(6)}
    for n in range(first, first + count):
        event_id = f"bench-{n:09d}"
        data: dict[str, object] = {"experimentName": "bench", "runId": f"run-{n}", "runType": "azureml.PipelineRun"}
        data |= {"runTags": {"team": f"team-{n % rules}"}, "runProperties": properties}
        event: dict[str, object] = {
            "id": event_id,
            "topic": SOURCE,
            "subject": f"experiments/x/runs/run-{n}",
            "data": data,
        }
        event |= {
            "eventType": f"{AZURE_ML}RunCompleted",
            "eventTime": "2026-11-20T08:30:00.1234567Z",
            "dataVersion": "1",
        }
        yield event_id, json.dumps([event]).encode()


@dataclass
class Sink:
    """Takes posts of `{"id": …}` and remembers when each id came, and how often."""

    at: dict[str, float] = field(default_factory=dict)
    doubles: int = 0
    wanted: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, count: int) -> None:
        self.at.clear()
        self.doubles, self.wanted = 0, count
        self.complete.clear()

    def took(self, body: bytes) -> None:
        name = json.loads(body)["id"]
        if name in self.at:
            self.doubles += 1
            return
        self.at[name] = time.perf_counter()
        if len(self.at) >= self.wanted:
            self.complete.set()


class SinkConnection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._sink.took(self._buffer[end + 4 : end + 4 + length])
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")


class Poster(asyncio.Protocol):
    """One kept-alive connection: one request at a time."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(int(data[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    async def post(self, path: str, body: bytes) -> int:
        self._answer = asyncio.get_running_loop().create_future()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\naeg-event-type: Notification\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        return await self._answer


@dataclass(frozen=True)
class Measured:
    """`rate`: events a second from the first post to the last delivery. Times in milliseconds, post to delivery."""

    rate: float
    p50: float
    p99: float
    lost: int
    doubles: int
    refused: int


def _summary(sink: Sink, sent: dict[str, float], refused: int, took: float) -> Measured:
    waits = sorted((sink.at[name] - at) * 1000 for name, at in sent.items() if name in sink.at)
    p50, p99 = (waits[int(len(waits) * share)] for share in (0.5, 0.99)) if waits else (0.0, 0.0)
    return Measured(len(waits) / took, p50, p99, len(sent) - len(waits), sink.doubles, refused)


async def closed_loop(sink: Sink, port: int, path: str, events: list[tuple[str, bytes]], in_flight: int) -> Measured:
    """As many at a time as `in_flight`, each connection posting as soon as it is answered."""
    loop = asyncio.get_running_loop()
    sink.expect(len(events))
    sent: dict[str, float] = {}
    left = iter(events)
    refused = 0

    async def connection() -> None:
        nonlocal refused
        _, poster = await loop.create_connection(Poster, "127.0.0.1", port)
        for name, body in left:
            sent[name] = time.perf_counter()
            refused += await poster.post(path, body) >= 300

    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(in_flight)))
    await _finish(sink)
    return _summary(sink, sent, refused, max(sink.at.values(), default=began) - began)


async def open_loop(sink: Sink, port: int, path: str, events: list[tuple[str, bytes]], rate: float) -> Measured:
    """One every `1 / rate` seconds, whether the others are through or not."""
    loop = asyncio.get_running_loop()
    sink.expect(len(events))
    sent: dict[str, float] = {}
    posters = [(await loop.create_connection(Poster, "127.0.0.1", port))[1] for _ in range(16)]
    statuses = []
    began = time.perf_counter()
    for n, (name, body) in enumerate(events):
        await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
        sent[name] = time.perf_counter()
        statuses.append(asyncio.ensure_future(posters[n % len(posters)].post(path, body)))
    refused = sum(status >= 300 for status in await asyncio.gather(*statuses))
    await _finish(sink)
    return _summary(sink, sent, refused, max(sink.at.values(), default=began) - began)


async def _finish(sink: Sink) -> None:
    """All deliveries are there, or none has come for ten seconds."""
    before = -1
    while not sink.complete.is_set() and len(sink.at) != before:
        before = len(sink.at)
        try:
            await asyncio.wait_for(sink.complete.wait(), 10)
        except TimeoutError:
            continue
