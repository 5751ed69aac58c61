"""Mail by any SMTP server: the second transport, for where there are no Communication Services."""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from functools import cached_property
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from shared.cloud.communication import operation_id
from shared.cloud.failures import one_line
from shared.errors import PermanentError, TemporaryError
from shared.world import Letter

_FORM: Final = (
    "smtp://user:password@host:port?starttls=always|auto|never&from=address (smtps:// for TLS from the start)"
)
_STARTTLS: Final = {"always": True, "never": False, "auto": None}
_TIMEOUT: Final = 30.0
_TEMPORARY: Final = range(400, 500)


@dataclass(frozen=True)
class _Server:
    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool
    starttls: bool | None
    sender: str | None


def _server(url: str) -> _Server:
    """Says what is wrong with the URL, and never shows it: it holds a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise PermanentError(f"SMTP_URL can't be read, expected {_FORM}") from None
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    starttls = asked.get("starttls", "auto")
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or starttls not in _STARTTLS:
        raise PermanentError(f"SMTP_URL can't be read, expected {_FORM}")
    tls = parts.scheme == "smtps"
    user = unquote(parts.username) if parts.username else None
    return _Server(
        host=parts.hostname,
        port=port or (465 if tls else 587),
        user=user,
        password=unquote(parts.password) if parts.password else None,
        tls=tls,
        starttls=False if tls else _STARTTLS[starttls],
        sender=asked.get("from") or (user if user and "@" in user else None),
    )


class SmtpMail:
    """`sender`: who writes, where the URL does not say it by `from` or by its user."""

    idempotent = False
    """The key is in the Message-ID, which some readers fold by and no server does."""

    def __init__(self, url: str, sender: str = "", clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._sender = sender
        self._clock = clock

    def __repr__(self) -> str:
        return "SmtpMail(…)"

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # reads the machine's certificates: not for every letter

    async def send(self, letter: Letter, key: str) -> str:
        import aiosmtplib

        server = _server(self._url)
        message = self._message(letter, key, server)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.tls,
            start_tls=server.starttls,
            tls_context=self._trust,
            timeout=_TIMEOUT,
        )
        try:
            await client.connect()
            refused, _ = await client.send_message(message)
            with suppress(aiosmtplib.SMTPException):
                await client.quit()
        except aiosmtplib.SMTPException as error:
            raise _translated(error) from error
        finally:
            client.close()  # whoever is told to stop does not wait for a goodbye
        if refused:
            told = "; ".join(f"{address}: {code} {one_line(said)}" for address, (code, said) in refused.items())
            raise PermanentError(f"the mail went to some only; the server refused {told}")
        return str(message["Message-ID"])

    def _message(self, letter: Letter, key: str, server: _Server) -> EmailMessage:
        sender = server.sender or self._sender
        if not sender:
            raise PermanentError("mail has no sender: add ?from=address to SMTP_URL, or set ACS_EMAIL_SENDER")
        message = EmailMessage()
        try:
            message["From"] = sender
            message["To"] = ", ".join(letter.to)
            message["Subject"] = " ".join(letter.subject.split())
        except ValueError as error:
            raise PermanentError(f"the mail has an address that can't be one: {error}") from error
        message["Date"] = formatdate(self._clock())
        message["Message-ID"] = f"<{operation_id(key)}@{sender.rpartition('@')[2].rstrip('>')}>"
        message.set_content(letter.text)
        message.add_alternative(letter.html, subtype="html")
        for name, png in letter.pictures.items():
            page = message.get_body(("html",))
            assert page is not None
            page.add_related(png, "image", "png", cid=f"<{name}>", filename=f"{name}.png", disposition="inline")
        return message


def _translated(error: Exception) -> Exception:
    import aiosmtplib

    doing = "sending mail by SMTP"
    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            told = [f"{one.recipient}: {one.code} {one_line(one.message)}" for one in error.recipients]
            again = any(one.code in _TEMPORARY for one in error.recipients)
            return (TemporaryError if again else PermanentError)(f"{doing}: no recipient taken; {'; '.join(told)}")
        case aiosmtplib.SMTPAuthenticationError() if error.code not in _TEMPORARY:
            return PermanentError(f"{doing}: the server does not take user and password of SMTP_URL ({error.code})")
        case aiosmtplib.SMTPResponseException():
            said = f"{doing}: {error.code} {one_line(error.message)}"
            return TemporaryError(said) if error.code in _TEMPORARY else PermanentError(said)
        case aiosmtplib.SMTPConnectError():
            return TemporaryError(f"{doing}: no connection ({type(error).__name__})")
        case aiosmtplib.SMTPTimeoutError() | aiosmtplib.SMTPServerDisconnected():
            return TemporaryError(f"{doing}: no answer ({type(error).__name__})", sent=True)
        case _:
            return PermanentError(f"{doing}: {one_line(str(error))}")
