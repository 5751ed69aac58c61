"""The Event Grid door of the embedded host: what the Functions extension does, on the same path."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs

import azure.functions as func
import msgspec

from shared.settings import WORK_QUEUE, Settings
from shared.wire import arrived, unread
from shared.world import Clock

type Put = Callable[[str, list[str]], Awaitable[None]]
type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log: Final = logging.getLogger("switchyard.host")

PATH: Final = "/runtime/webhooks/eventgrid"
_ORIGINS: Final = ("eventgrid.azure.net", "eventgrid.azure.us", "eventgrid.azure.cn")
_MOST: Final = 8 * 1024 * 1024


class Captured(func.Out[list[str]]):
    """An output binding: what the function sets, the host puts on the queue when the function has returned."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def set(self, val: list[str]) -> None:
        self.texts = val

    def get(self) -> list[str]:
        return self.texts


class Function:
    """A function of the app with an input of one kind and, perhaps, a queue output."""

    def __init__(self, function: Any, bindings: list[dict[str, Any]]) -> None:
        self.name: str = function.get_function_name()
        self._call = function.get_user_function()
        out = next((one for one in bindings if one["type"] == "queue"), None)
        self._input: str = next(one["name"] for one in bindings if str(one["type"]).endswith("Trigger"))
        self._output: str | None = out["name"] if out else None
        self.queue: str | None = out["queueName"] if out else None

    async def __call__(self, value: object) -> list[str]:
        """Runs it; what it put out."""
        captured = Captured()
        arguments = {self._input: value} | ({self._output: captured} if self._output else {})
        result = self._call(**arguments)
        if inspect.isawaitable(result):
            await result
        return captured.texts


class Door:
    """`POST|OPTIONS /runtime/webhooks/eventgrid?functionName=…` as an ASGI app.

    202 only when everything in the payload is durably on a queue: what the 202 promised survives a kill.
    """

    def __init__(self, functions: Mapping[str, Function], put: Put, clock: Clock, settings: Settings) -> None:
        self._functions = {name.casefold(): function for name, function in functions.items()}
        self._put = put
        self._clock = clock
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {bytes(name).decode("latin-1"): bytes(value).decode("latin-1") for name, value in scope["headers"]}
        wanted = parse_qs(scope["query_string"].decode("latin-1")).get("functionName", [""])[0]
        function = self._functions.get(wanted.casefold())
        if scope["method"] == "OPTIONS":
            await _answer(send, 200, headers=_handshake(headers))
        elif scope["method"] != "POST":
            await _answer(send, 405, b"Event Grid posts here")
        elif function is None:
            known = ", ".join(sorted(one.name for one in self._functions.values()))
            await _answer(send, 404, f"no Event Grid function {wanted!r}; known: {known}".encode())
        else:
            await self._delivery(function, headers.get("aeg-event-type", ""), receive, send)

    async def _delivery(self, function: Function, kind: str, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            await _answer(send, 413, b"more than 8 MiB")
        elif kind.casefold() == "subscriptionvalidation":
            await _validate(body, send)
        elif kind.casefold() == "unsubscribe":
            await _answer(send, 202)
        elif kind.casefold() != "notification":
            await _answer(send, 400, b"expected the header aeg-event-type: Notification")
        else:
            await self._notification(function, body, send)

    async def _notification(self, function: Function, body: bytes, send: Send) -> None:
        now = self._clock()
        try:
            sent = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            # Event Grid would drop what is answered 400: it is kept, with its bytes, and answered as taken.
            await self._put(function.queue or WORK_QUEUE, unread(body, f"not JSON: {error}", now))
            await _answer(send, 202)
            return
        events = sent if isinstance(sent, list) else [sent]
        texts: list[str] = []
        failed = False
        for one in events:  # one after the other: the function waits for nothing
            try:
                texts += await self._invoke(function, one, now)
            except Exception:
                log.exception("function failed", extra={"function": function.name})
                failed = True
        if texts:
            await self._put(function.queue or WORK_QUEUE, texts)
        await _answer(send, 500 if failed else 202)

    async def _invoke(self, function: Function, sent: object, now: datetime) -> list[str]:
        """One invocation for one event. What the SDK's types cannot hold never reaches the function: it is kept as unread."""
        if not isinstance(sent, dict):
            return unread(msgspec.json.encode(sent), "not an event: expected a JSON object", now)
        try:
            event = _event(sent)
        except (TypeError, ValueError):
            levels = self._settings.bounds.payload_levels
            return arrived(sent, now, sources=self._settings.sources, levels=levels)
        return await function(event)


def _event(sent: dict[str, Any]) -> func.EventGridEvent | func.CloudEvent:
    version = sent.get("specversion") or sent.get("specVersion")
    if version:
        known = ("id", "source", "type", "subject", "data", "datacontenttype", "dataschema")
        values: dict[str, Any] = {name: sent.get(name) for name in known}
        return func.CloudEvent(specversion=version, time=_time(sent.get("time")), **values)
    names = {"id": "id", "data": "data", "topic": "topic", "subject": "subject"}
    names |= {"event_type": "eventType", "data_version": "dataVersion"}
    values = {name: sent.get(spelled) for name, spelled in names.items()}
    return func.EventGridEvent(event_time=_time(sent.get("eventTime")), **values)


def _time(text: object) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)  # type: ignore[arg-type]  # TypeError is caught above


def _handshake(headers: Mapping[str, str]) -> dict[str, str]:
    """CloudEvents: the sender is allowed when it is Event Grid."""
    origin = headers.get("webhook-request-origin", "")
    return {"webhook-allowed-origin": origin} if origin in _ORIGINS else {}


async def _validate(body: bytes, send: Send) -> None:
    try:
        code = msgspec.json.decode(body)[0]["data"]["validationCode"]
    except (msgspec.DecodeError, RecursionError, KeyError, IndexError, TypeError):
        await _answer(send, 400, b"expected an array of one event with data.validationCode")
        return
    answer = msgspec.json.encode({"validationResponse": code})
    await _answer(send, 200, answer, {"content-type": "application/json"})


async def _read(receive: Receive) -> bytes | None:
    """The body; None when it is larger than anything Event Grid sends."""
    message = await receive()
    body = message.get("body", b"")
    if not message.get("more_body"):
        return body if len(body) <= _MOST else None
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MOST:
            return None
    return b"".join(parts)


async def _answer(send: Send, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
    sent = [(b"content-length", str(len(body)).encode())]
    sent += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
