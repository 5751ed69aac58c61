"""Event Hubs: namespaces are folders here, and any hub is there as soon as someone sends to it, unless its name has `missing` in it."""

import json
import re
from typing import Final

import jwt
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import Refused, door
from simulator.state import Simulated

PREFIX: Final = "/eventhubs"
AUDIENCE: Final = "https://eventhubs.azure.net"
LARGEST: Final = 1_048_576
"""Bytes of an event with all its properties, in every tier but Basic."""

_BATCH: Final = "application/vnd.microsoft.servicebus.json"
_KEY: Final = 128
_NAMESPACE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]")
_NOT_THEIRS: Final = {
    *("host", "authorization", "content-type", "content-length", "brokerproperties", "accept", "accept-encoding"),
    *("user-agent", "connection"),
}


def routes(sim: Simulated) -> list[BaseRoute]:
    async def send(request: Request) -> Response:
        namespace, hub = request.path_params["namespace"], request.path_params["hub"]
        claims = jwt.decode(request.headers["authorization"].partition(" ")[2], options={"verify_signature": False})
        if claims.get("aud") != AUDIENCE:
            raise Refused(
                401, "Unauthorized", f"Attempted to perform an unauthorized operation: audience {claims.get('aud')}"
            )
        if not _NAMESPACE.fullmatch(namespace) or "missing" in hub:
            raise Refused(404, "NotFound", f"The messaging entity '{namespace}:eventhub:{hub}' could not be found.")
        body = await request.body()
        properties = {name: value for name, value in request.headers.items() if name not in _NOT_THEIRS}
        broker = _broker(request.headers.get("brokerproperties", "{}"))
        if len(body) + sum(len(name) + len(value) for name, value in properties.items()) > LARGEST:
            raise Refused(
                413,
                "RequestEntityTooLarge",
                f"The received message (delivery-id:0, size:{len(body)} bytes) exceeds the limit ({LARGEST} bytes) currently allowed on the link.",
            )
        texts = (
            _bodies(body)
            if request.headers.get("content-type", "").startswith(_BATCH)
            else [body.decode(errors="replace")]
        )
        for text in texts:
            payload = {"body": _plain(text), "properties": properties, "partition_key": broker.get("PartitionKey")}
            sim.inbox.add("event_hub", f"{namespace}/{hub}", hub, payload, key=properties.get("switchyard-key"))
        return Response(status_code=201)

    async def answer(request: Request) -> Response:
        """Its errors are XML, unlike those of everybody else."""
        try:
            return await send(request)
        except Refused as refused:
            text = f"<Error><Code>{refused.status}</Code><Detail>{refused}</Detail></Error>"
            return PlainTextResponse(text, refused.status, media_type="application/xml")

    return [Route(PREFIX + "/{namespace}/{hub}/messages", door(sim, "event_hub", answer), methods=["POST"])]


def _broker(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or len(str(found.get("PartitionKey") or "")) > _KEY:
        raise Refused(400, "BadRequest", "The BrokerProperties header is invalid.")
    return found


def _bodies(body: bytes) -> list[str]:
    try:
        return [str(one["Body"]) for one in json.loads(body)]
    except (ValueError, TypeError, KeyError):
        raise Refused(400, "BadRequest", "The batch is no JSON list of objects with a Body.") from None


def _plain(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
