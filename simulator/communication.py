"""Azure Communication Services: SMS and e-mail."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import Handler, faulty, read
from simulator.state import Simulated

_NUMBER: Final = re.compile(r"\+[1-9]\d{6,14}")
_SENDER: Final = re.compile(r"\+[1-9]\d{6,14}|\d{5,6}|[A-Za-z0-9 ]{1,11}")
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|[^@\s]+@localhost")
_SMS_VERSIONS: Final = {"2021-03-07", "2024-12-10-preview", "2026-01-23"}
_EMAIL_VERSIONS: Final = {"2023-03-31", "2024-07-01-preview", "2025-09-01"}
_LONGEST_SMS: Final = 2048
_MOST_NUMBERS: Final = 100
_MOST_ADDRESSES: Final = 50
_LARGEST_MAIL: Final = 10 * 1024 * 1024
_REMEMBERED: Final = 20_000


@dataclass
class _Known[V]:
    """What was answered under a caller's key; the oldest are forgotten."""

    _kept: dict[str, V] = field(default_factory=dict)

    def get(self, key: str) -> V | None:
        return self._kept.get(key.lower())

    def keep(self, key: str, value: V) -> None:
        self._kept[key.lower()] = value
        if len(self._kept) > _REMEMBERED:
            del self._kept[next(iter(self._kept))]


def routes(sim: Simulated) -> list[BaseRoute]:
    sms, email = _Sms(sim), _Email(sim)
    return [
        Route("/sms", _guarded(sim, "sms", _SMS_VERSIONS, sms.send), methods=["POST"]),
        Route("/emails:send", _guarded(sim, "email", _EMAIL_VERSIONS, email.send), methods=["POST"]),
        Route("/emails/operations/{id}", _guarded(sim, "email status", _EMAIL_VERSIONS, email.status), methods=["GET"]),
    ]


def _guarded(sim: Simulated, where: str, versions: set[str], handler: Handler) -> Handler:
    async def checked(request: Request) -> Response:
        if not request.headers.get("authorization", "").startswith("Bearer "):
            return _error(401, "Denied", "Denied by the resource provider.")
        version = request.query_params.get("api-version")
        if version not in versions:
            return _error(
                400,
                "ApiVersionInvalid",
                f"api-version is {version!r}; this resource knows {', '.join(sorted(versions))}",
            )
        return await handler(request)

    return faulty(sim, where, _busy, checked)


def _busy(status: int) -> object:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return {"error": {"code": "TooManyRequests", "message": "The limit of requests is reached."}}
    return {"error": {"code": "Failed", "message": "Try again."}}


def _error(status: int, code: str, text: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": text}}, status)


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


class _Sms:
    def __init__(self, sim: Simulated) -> None:
        self._sim = sim
        self._sent: _Known[dict[str, object]] = _Known()

    async def send(self, request: Request) -> Response:
        body = await read(request)
        if body is None:
            return _error(400, "BadRequest", "The body is not a JSON object.")
        sender, message, recipients = body.get("from"), body.get("message"), body.get("smsRecipients")
        wrong = {
            "from": None
            if isinstance(sender, str) and _SENDER.fullmatch(sender)
            else "A number in E.164 format, a short code or an alphanumeric sender.",
            "message": None
            if isinstance(message, str) and len(message) <= _LONGEST_SMS
            else f"A string of at most {_LONGEST_SMS} characters.",
            "smsRecipients": None
            if isinstance(recipients, list) and 1 <= len(recipients) <= _MOST_NUMBERS
            else f"A list of 1 to {_MOST_NUMBERS} recipients.",
        }
        errors = {name: [text] for name, text in wrong.items() if text}
        if errors:
            said = {"title": "One or more validation errors occurred.", "status": 400, "errors": errors}
            return JSONResponse(said, 400)
        assert isinstance(recipients, list)
        items = [self._one(_table(recipient), str(sender), str(message)) for recipient in recipients]
        return JSONResponse({"value": items}, 202)

    def _one(self, recipient: Mapping[str, object], sender: str, message: str) -> dict[str, object]:
        """What becomes of one recipient. Only a success is remembered: what was refused may be tried again."""
        to, key, first = (recipient.get(name) for name in ("to", "repeatabilityRequestId", "repeatabilityFirstSent"))
        number = to if isinstance(to, str) else ""
        repeatable = _repeatable(key, first)
        known = self._sent.get(str(key)) if key else None
        if repeatable is None and known is not None:
            return known
        status, problem = 202, ""
        if not _NUMBER.fullmatch(number):
            status, problem = 400, f"{number!r} is not a phone number in E.164 format"
        elif repeatable:
            status, problem = 400, repeatable
        elif number.endswith("429"):
            status, problem = 429, "the number gets more messages than it may"
        item: dict[str, object] = {"to": number, "httpStatusCode": status, "successful": not problem}
        if key or first:
            item["repeatabilityResult"] = "rejected" if problem else "accepted"
        if problem:
            item["errorMessage"] = problem
        else:
            item["messageId"] = f"Outgoing_{uuid4()}"
            if key:
                self._sent.keep(str(key), item)
        payload = {"from": sender, "to": number, "message": message}
        # Busy means that nothing became of it, and that it will be tried again.
        if status != HTTPStatus.TOO_MANY_REQUESTS:
            self._sim.inbox.add("sms", number, message, payload, key=str(key) if key else None, problem=problem or None)
        return item


def _repeatable(key: object, first: object) -> str | None:
    """What is wrong with the two fields that make a repetition harmless; None also where neither is there."""
    if key is None and first is None:
        return None
    if key is None or first is None:
        return "repeatabilityRequestId and repeatabilityFirstSent go together, or not at all"
    if not _uuid(key):
        return "repeatabilityRequestId is not a UUID"
    try:
        sent = parsedate_to_datetime(str(first))
    except ValueError:
        return "repeatabilityFirstSent is not a date such as Tue, 26 Mar 2019 16:06:51 GMT"
    return None if isinstance(sent, datetime) else "repeatabilityFirstSent is not a date"


def _uuid(value: object) -> bool:
    try:
        return str(UUID(str(value))) == str(value).lower()
    except ValueError:
        return False


class _Email:
    def __init__(self, sim: Simulated) -> None:
        self._sim = sim
        self._operations: _Known[str] = _Known()

    async def send(self, request: Request) -> Response:
        operation = request.headers.get("operation-id") or str(uuid4())
        if not _uuid(operation):
            return _error(400, "InvalidOperationId", "Operation-Id is not a UUID.")
        if self._operations.get(operation) is None:
            mail = await read(request) or {}
            to = _recipients(mail)
            content = _table(mail.get("content"))
            problem = _wrong(mail, to, len(await request.body()))
            payload = {
                "by": "Communication Services",
                "from": mail.get("senderAddress"),
                "subject": content.get("subject"),
                "to": to,
                "text": content.get("plainText") or "",
                "html": content.get("html") or "",
                "pictures": _inline(mail),
            }
            title = str(content.get("subject") or "no subject")
            self._sim.inbox.add("email", ", ".join(to), title, payload, key=operation, problem=problem)
            if problem:
                return _error(400, "BadRequest", problem)
            self._operations.keep(operation, "Succeeded")
        version = request.query_params["api-version"]
        where = {"Operation-Location": f"{self._sim.base}/emails/operations/{operation}?api-version={version}"}
        return JSONResponse({"id": operation, "status": "Running", "error": None}, 202, where)

    async def status(self, request: Request) -> Response:
        operation = request.path_params["id"]
        status = self._operations.get(operation)
        if status is None:
            return _error(404, "OperationNotFound", f"There is no operation {operation}.")
        return JSONResponse({"id": operation, "status": status, "error": None})


def _recipients(mail: Mapping[str, object]) -> list[str]:
    fields = _table(mail.get("recipients"))
    people = [person for name in ("to", "cc", "bcc") for person in _people(fields.get(name))]
    return [str(_table(person).get("address") or "") for person in people]


def _inline(mail: Mapping[str, object]) -> dict[str, str]:
    """Pictures that the HTML shows, in base64 by their content id."""
    tables = [_table(one) for one in _people(mail.get("attachments"))]
    return {str(one["contentId"]): str(one.get("contentInBase64") or "") for one in tables if one.get("contentId")}


def _people(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _wrong(mail: Mapping[str, object], to: list[str], size: int) -> str | None:
    content = _table(mail.get("content"))
    bad = [address for address in to if not _ADDRESS.fullmatch(address)]
    if size > _LARGEST_MAIL:
        return f"The mail has {size:,} bytes, at most {_LARGEST_MAIL:,} go."
    if not _ADDRESS.fullmatch(str(mail.get("senderAddress") or "")):
        return "senderAddress is not an e-mail address."
    if not _people(_table(mail.get("recipients")).get("to")):
        return "recipients.to is empty."
    if bad:
        return f"Not an e-mail address: {', '.join(map(repr, bad))}."
    if len(to) > _MOST_ADDRESSES:
        return f"{len(to)} recipients, at most {_MOST_ADDRESSES} go."
    if not content.get("subject"):
        return "content.subject is missing."
    for one in map(_table, _people(mail.get("attachments"))):
        missing = [name for name in ("name", "contentType", "contentInBase64") if not one.get(name)]
        if missing:
            return f"An attachment has no {missing[0]}."
    return None if content.get("plainText") or content.get("html") else "content has neither plainText nor html."
