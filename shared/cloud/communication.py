"""Mail and SMS by Azure Communication Services. The key fixes the ids under which the service knows a repetition."""

import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from shared.cloud.credentials import Tokens
from shared.cloud.failures import LOADING, Doing, busy, translating
from shared.cloud.http import AioHttp
from shared.errors import PermanentError
from shared.world import Letter, Texted

if TYPE_CHECKING:
    from azure.communication.email.aio import EmailClient
    from azure.communication.sms.aio import SmsClient

_OURS: Final = UUID("3f2b6d0e-52a1-4c79-9f6e-6d1a7c0b8e54")
_ROLE: Final = "the role 'Communication and Email Service Owner' on the Communication Services resource"
_MAILING: Final = Doing("sending mail by Communication Services", _ROLE)
_TEXTING: Final = Doing("sending SMS by Communication Services", _ROLE)

_LONGEST_SMS: Final = 2048
_MOST_NUMBERS: Final = 100
_HOUR: Final = 3600


def operation_id(key: str) -> str:
    """The UUID that stands for our key where a service takes nothing but UUIDs."""
    return str(uuid5(_OURS, key))


class AcsMail:
    idempotent = True

    def __init__(self, endpoint: str, sender: str, tokens: Tokens, http: AioHttp) -> None:
        self._endpoint = endpoint
        self._sender = sender
        self._tokens = tokens
        self._http = http
        self._made: EmailClient | None = None

    @property
    def _client(self) -> "EmailClient":
        if self._made is None:
            with LOADING:
                from azure.communication.email.aio import EmailClient

            # The queue is the one owner of retries.
            self._made = EmailClient(self._endpoint, self._tokens, transport=self._http.transport(), retry_total=0)
        return self._made

    async def send(self, letter: Letter, key: str) -> str:
        message: dict[str, object] = {
            "senderAddress": self._sender,
            "content": {"subject": letter.subject, "plainText": letter.text, "html": letter.html},
            "recipients": {"to": [{"address": address} for address in letter.to]},
        }
        if letter.pictures:
            message["attachments"] = [
                {
                    "name": f"{name}.png",
                    "contentType": "image/png",
                    "contentInBase64": b64encode(png).decode(),
                    "contentId": name,
                }
                for name, png in letter.pictures.items()
            ]
        known_as = operation_id(key)
        with translating(_MAILING):
            # Without polling: accepted is all that a message of ours waits for.
            await self._client.begin_send(message, operation_id=known_as, polling=False)
        return known_as


class AcsSms:
    def __init__(
        self, endpoint: str, sender: str, tokens: Tokens, http: AioHttp, clock: Callable[[], float] = time.time
    ) -> None:
        self._endpoint = endpoint
        self._sender = sender
        self._tokens = tokens
        self._http = http
        self._clock = clock
        self._made: SmsClient | None = None

    @property
    def _client(self) -> "SmsClient":
        if self._made is None:
            with LOADING:
                from azure.communication.sms.aio import SmsClient

            self._made = SmsClient(self._endpoint, self._tokens, transport=self._http.transport(), retry_total=0)
        return self._made

    async def send(self, to: Sequence[str], text: str, key: str) -> Sequence[Texted]:
        numbers = list(dict.fromkeys(to))
        _sendable(numbers, text)
        # The client's own `send` makes new repeatability ids at every call, so that a repetition would be a second
        # message. What it calls itself takes ours.
        from azure.communication.sms._generated.models import (
            SendMessageRequest,
            SmsRecipient,
            SmsSendOptions,
        )

        first = self._first_sent()
        request = SendMessageRequest(
            from_property=self._sender,
            sms_recipients=[
                SmsRecipient(
                    to=number, repeatability_request_id=operation_id(f"{key}\n{number}"), repeatability_first_sent=first
                )
                for number in numbers
            ],
            message=text,
            sms_send_options=SmsSendOptions(enable_delivery_report=False),
        )
        with translating(_TEXTING):
            answer = await self._client._sms_service_client.sms.send(request)  # noqa: SLF001 (see above)
        items = {str(item.to): item for item in answer.value}
        return [_texted(number, items.get(number)) for number in numbers]

    def _first_sent(self) -> str:
        """The hour in which we send. The same for nearly all repetitions, also after a restart, and never so old that
        the service would refuse a repetition it can no longer know.
        """
        return formatdate(self._clock() // _HOUR * _HOUR, usegmt=True)


def _sendable(numbers: Sequence[str], text: str) -> None:
    if not 1 <= len(numbers) <= _MOST_NUMBERS:
        raise PermanentError(f"{_TEXTING.what}: {len(numbers)} recipients, expected 1 to {_MOST_NUMBERS}")
    if len(text) > _LONGEST_SMS:
        raise PermanentError(f"{_TEXTING.what}: {len(text):,} characters, at most {_LONGEST_SMS:,} go")


def _texted(number: str, item: object) -> Texted:
    if item is None:
        return Texted(number, ok=False, error="the service did not say what became of it")
    status = int(getattr(item, "http_status_code", 0))
    if getattr(item, "successful", False):
        return Texted(number, ok=True, id=getattr(item, "message_id", None))
    said = getattr(item, "error_message", None)
    return Texted(number, ok=False, error=f"HTTP {status}{f': {said}' if said else ''}", busy=busy(status))
