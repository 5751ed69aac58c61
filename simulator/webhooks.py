"""A place to send webhooks to: it keeps what came and how it was signed."""

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import faulty
from simulator.state import Simulated

_KEYS = ("idempotency-key", "webhook-id", "x-request-id")
_SECRET = {"authorization", "cookie", "proxy-authorization"}


def routes(sim: Simulated) -> list[BaseRoute]:
    async def hook(request: Request) -> Response:
        raw = await request.body()
        # What a receiver needs to check a signature is the text as it came; what people read is the value in it.
        text = raw.decode(errors="replace")
        headers = {name: "…" if name in _SECRET else value for name, value in request.headers.items()}
        signed = next((value for name, value in headers.items() if "signature" in name), None)
        key = next((headers[name] for name in _KEYS if name in headers), None)
        try:
            body = json.loads(text)
        except ValueError:
            body = text
        name = request.path_params["name"]
        payload = {"body": body, "text": text, "headers": headers, "signature": signed}
        received = sim.inbox.add("webhook", name, f"{request.method} /hooks/{name}", payload, key=key)
        return JSONResponse({"received": received.n})

    def error(status: int) -> object:
        return {"error": f"asked to answer {status}"}

    handler = faulty(sim, "webhook", error, hook)
    return [Route("/hooks/{name:path}", handler, methods=["POST", "PUT", "PATCH"])]
