"""A mail server that keeps what it is given."""

import asyncio
from base64 import b64encode
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from simulator.state import Simulated

_REFUSED: Final = 550


class Server(Controller):
    """Runs in a thread of its own. `port` is the one it listens on, also where it was asked for any (0)."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        super()._trigger_server()  # type: ignore[no-untyped-call]


class _Mailbox:
    def __init__(self, sim: Simulated) -> None:
        self._sim = sim

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        fault = self._sim.fault("smtp")
        if fault is None or fault.how in {"lost answer", "hang"}:
            self._keep(envelope)
        if fault is None:
            return "250 2.0.0 Taken"
        while fault.how == "hang" and self._sim.hangs(fault):  # noqa: ASYNC110 (tests take it back from another thread)
            await asyncio.sleep(0.01)
        if not isinstance(fault.how, int):
            server.transport.abort()  # type: ignore[union-attr]
        return "550 5.7.1 Refused" if fault.how == _REFUSED else "451 4.3.2 Try again later"

    def _keep(self, envelope: Envelope) -> None:
        mail = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        to, subject = ", ".join(envelope.rcpt_tos), str(mail["subject"] or "")
        payload = {
            "by": "SMTP",
            "from": envelope.mail_from,
            "subject": subject,
            "to": list(envelope.rcpt_tos),
            "text": _part(mail, "plain"),
            "html": _part(mail, "html"),
            "pictures": _inline(mail),
        }
        key = str(mail["message-id"] or "").strip("<>") or None
        self._sim.inbox.add("email", to, subject or "no subject", payload, key=key)


def start(sim: Simulated, port: int = 0) -> Server:
    """Listens at once; `.port` and `.stop()`. Any name and password are taken."""

    def authenticate(*_: object) -> AuthResult:
        return AuthResult(success=True)

    server = Server(_Mailbox(sim), hostname="127.0.0.1", port=port, auth_require_tls=False, authenticator=authenticate)
    server.start()
    return server


def _part(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def _inline(mail: EmailMessage) -> dict[str, str]:
    """Pictures that the HTML shows, in base64 by their content id."""
    parts = [part for part in mail.walk() if part.get_content_maintype() == "image" and part["content-id"]]
    return {str(part["content-id"]).strip("<>"): b64encode(part.get_content()).decode() for part in parts}
