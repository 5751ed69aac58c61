"""A Teams channel's Workflows webhook: takes everything at once, and fails later, inside the flow, where no caller sees it."""

from collections.abc import Mapping
from http import HTTPStatus
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator import cards
from simulator.faults import faulty, read
from simulator.state import Simulated

CARD = "application/vnd.microsoft.card.adaptive"


def routes(sim: Simulated) -> list[BaseRoute]:
    async def invoke(request: Request) -> Response:
        signature = request.query_params.get("sig", "")
        if not signature:
            return _error(
                401, "DirectApiAuthorizationRequired", "The request must be authenticated only by Shared Access scheme."
            )
        if signature == "wrong":
            return _error(401, "AuthorizationFailed", "The signature 'sig' of the request is not the trigger's.")
        message = await read(request)
        if message is None:
            return _error(400, "InvalidRequestContent", "The body of trigger 'manual' is not a JSON object.")
        # Logic Apps keeps a caller's own id for a run under this header, and shows it in the history of runs.
        key = request.headers.get("x-ms-client-tracking-id")
        name = channel(request.path_params["id"])
        sim.inbox.add("teams", name, _title(message), message, key=key, problem="; ".join(_problems(message)) or None)
        run = uuid4().hex.upper()
        return Response(status_code=202, headers={"x-ms-workflow-run-id": run, "x-ms-client-tracking-id": key or run})

    handler = faulty(sim, "teams", _busy, invoke)
    tail = "/workflows/{id}/triggers/manual/paths/invoke"
    return [Route(prefix + tail, handler, methods=["POST"]) for prefix in ("/powerautomate/automations/direct", "")]


def channel(workflow: str) -> str:
    """A name for people: `fraud-team` is "Fraud team"; an id that is no name keeps its first letters."""
    if len(workflow) == 32 and all(letter in "0123456789abcdef" for letter in workflow.lower()):  # noqa: PLR2004 (a GUID)
        return f"Channel {workflow[:8].lower()}"
    words = workflow.replace("-", " ").replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def attached(message: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The cards that a message carries."""
    attachments = message.get("attachments")
    parts = attachments if isinstance(attachments, list) else []
    return [part["content"] for part in parts if isinstance(part, dict) and isinstance(part.get("content"), dict)]


def _problems(message: Mapping[str, object]) -> list[str]:
    attachments = message.get("attachments")
    if not isinstance(attachments, list) or not attachments:
        return ["no attachments: the flow's loop over them fails on null"]
    found = []
    for part in attachments:
        if not isinstance(part, dict) or not isinstance(part.get("content"), dict):
            found.append("an attachment without content: the flow posts nothing")
        elif part.get("contentType") != CARD:
            found.append(f"an attachment of type {part.get('contentType')!r}, expected {CARD}")
        else:
            found += cards.problems(part["content"])
    return found


def _title(message: Mapping[str, object]) -> str:
    found = attached(message)
    return cards.title(found[0]) if found else str(message.get("text") or "a message without a card")[:200]


def _error(status: int, code: str, text: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": text}}, status)


def _busy(status: int) -> object:
    text = "Rate limit is exceeded." if status == HTTPStatus.TOO_MANY_REQUESTS else "The flow can't be reached."
    return {"statusCode": status, "message": text}
