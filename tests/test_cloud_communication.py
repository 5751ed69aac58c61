"""Mail and SMS through the real SDKs, against the simulated Azure: what arrives, and how often."""

import asyncio
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, Literal

import pytest

from shared.cloud import Doors, doors
from shared.cloud.communication import operation_id
from shared.cloud.smtp import SmtpMail
from shared.errors import PermanentError, TemporaryError
from shared.settings import Settings
from shared.world import Letter
from simulator.app import Box
from simulator.inbox import _letter as shown_in_inbox
from simulator.smtp import Server
from simulator.state import Fault, Received

LETTER = Letter(["ops@contoso.com", "ml@contoso.com"], "学習が失敗 – run failed", "text 日本", "<p>text 日本</p>")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=1, seed=1) as box:
        yield box


@pytest.fixture
async def outside(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Doors]:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))
    made = doors(Settings.of(box.environment), box.environment, tmp_path)
    yield made
    await made.close()
    box.sim.faults.clear()


def received(box: Box, key: str) -> list[Received]:
    return [one for one in box.sim.inbox.all() if one.key and key in one.key]


async def test_a_letter_arrives_with_all_that_is_in_it(box: Box, outside: Doors) -> None:
    known_as = await outside.mail.send(LETTER, "letter-1")
    [mail] = received(box, known_as)
    assert known_as == operation_id("letter-1")
    assert (mail.channel, mail.to, mail.title) == ("email", "ops@contoso.com, ml@contoso.com", LETTER.subject)
    assert mail.payload["html"] == LETTER.html  # type: ignore[index]
    assert mail.payload["text"] == LETTER.text  # type: ignore[index]


async def test_a_letter_sent_twice_under_its_key_is_one_letter(box: Box, outside: Doors) -> None:
    assert outside.mail.idempotent
    first, second = [await outside.mail.send(LETTER, "letter-2") for _ in range(2)]
    assert first == second
    assert len(received(box, first)) == 1


async def test_a_letter_whose_answer_is_lost_may_be_sent_again(box: Box, outside: Doors) -> None:
    box.sim.faults.append(Fault("email", "lost answer"))
    with pytest.raises(TemporaryError, match=r"sending mail.*no answer") as caught:
        await outside.mail.send(LETTER, "letter-3")
    assert caught.value.sent
    await outside.mail.send(LETTER, "letter-3")
    assert len(received(box, operation_id("letter-3"))) == 1


@pytest.mark.parametrize(("status", "retry_after"), [(429, 40), (503, None), (500, None)])
async def test_a_busy_service_is_asked_once_and_its_wait_is_passed_on(
    box: Box, outside: Doors, status: int, retry_after: int | None
) -> None:
    box.sim.faults.append(Fault("email", status, retry_after=retry_after))
    with pytest.raises(TemporaryError, match=f"HTTP {status}") as caught:
        await outside.mail.send(LETTER, f"busy-{status}")
    assert caught.value.retry_after == retry_after
    assert box.sim.faults[0].times == 0


async def test_a_letter_to_nobody_in_particular_is_refused_in_the_services_words(outside: Doors) -> None:
    with pytest.raises(PermanentError, match=r"refused with HTTP 400: .*'nobody'"):
        await outside.mail.send(replace(LETTER, to=["nobody"]), "letter-5")


async def test_every_recipient_of_an_sms_has_a_result(box: Box, outside: Doors) -> None:
    to = ["+81312345678", "12", "+81312345429", "+81312345678"]
    good, bad, busy = await outside.sms.send(to, "Drift in fraud: 0.41", "sms-1")
    assert (good.to, good.ok, good.error) == (to[0], True, None)
    assert good.id
    assert (bad.ok, bad.busy, bad.error) == (False, False, "HTTP 400: '12' is not a phone number in E.164 format")
    assert (busy.ok, busy.busy) == (False, True)
    assert [one.title for one in box.sim.inbox.all("sms") if one.to == to[0]] == ["Drift in fraud: 0.41"]


async def test_an_sms_sent_twice_under_its_key_is_one_for_each_recipient(box: Box, outside: Doors) -> None:
    to = ["+4915112345601", "+4915112345602"]
    box.sim.faults.append(Fault("sms", "lost answer"))
    with pytest.raises(TemporaryError) as caught:
        await outside.sms.send(to, "once", "sms-2")
    assert caught.value.sent
    assert all(one.ok for one in await outside.sms.send(to, "once", "sms-2"))
    assert all(one.ok for one in await outside.sms.send(to, "once", "another"))
    assert [one.to for one in box.sim.inbox.all("sms") if one.title == "once"] == [*to, *to]


@pytest.mark.parametrize(
    ("to", "text", "said"),
    [([], "x", "0 recipients"), (["+1"] * 1, "x" * 2049, "2,049 characters")],
)
async def test_an_sms_that_can_not_go_is_refused_before_it_goes(
    outside: Doors, to: list[str], text: str, said: str
) -> None:
    with pytest.raises(PermanentError, match=said):
        await outside.sms.send(to, text, "sms-3")


async def test_a_secret_that_ended_is_told_apart_from_a_busy_service(
    box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))
    environ = box.environment | {"AZURE_CLIENT_SECRET": "an-old-one"}
    made = doors(Settings.of(environ), environ, tmp_path)
    with pytest.raises(PermanentError, match=r"signing in to Azure.*AADSTS7000215") as caught:
        await made.mail.send(LETTER, "letter-6")
    assert "an-old-one" not in str(caught.value)
    await made.close()


@pytest.mark.parametrize(
    ("how", "said"), [(503, "HTTP Error: 503"), (429, "AADSTS90033"), ("drop", "signing in to Azure: no answer")]
)
async def test_a_sign_in_that_is_busy_or_away_is_later(
    box: Box, outside: Doors, how: int | Literal["drop"], said: str
) -> None:
    box.sim.faults.append(Fault("entra", how))
    with pytest.raises(TemporaryError, match=said):
        await outside.mail.send(LETTER, "letter-12")


# SMTP


class Mailbox:
    def __init__(self) -> None:
        self.answers: list[str] = []
        self.kept: list[bytes] = []

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:  # noqa: N802 (aiosmtpd's name)
        self.kept.append(envelope.content)  # type: ignore[attr-defined]
        return self.answers.pop(0) if self.answers else "250 Taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, str]]:
    kept = Mailbox()
    server = Server(kept, hostname="127.0.0.1", port=0)
    server.start()
    yield kept, f"smtp://127.0.0.1:{server.port}?starttls=never"
    server.stop()


async def test_a_letter_by_smtp_carries_its_key_in_the_message_id(mailbox: tuple[Mailbox, str]) -> None:
    kept, url = mailbox
    mail = SmtpMail(url, "ml@contoso.com")
    known_as = await mail.send(LETTER, "letter-7")
    assert not mail.idempotent
    assert known_as == f"<{operation_id('letter-7')}@contoso.com>"
    assert f"Message-ID: {known_as}".encode() in kept.kept[0]
    assert b"To: ops@contoso.com, ml@contoso.com" in kept.kept[0]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ("451 4.3.2 Try later", TemporaryError, "451 4.3.2 Try later"),
        ("554 5.6.0 No such mail", PermanentError, "554 5.6.0 No such mail"),
    ],
)
async def test_a_mail_servers_no_is_later_or_never(
    mailbox: tuple[Mailbox, str], answer: str, kind: type[Exception], said: str
) -> None:
    kept, url = mailbox
    kept.answers = [answer]
    with pytest.raises(kind, match=said):
        await SmtpMail(url, "ml@contoso.com").send(LETTER, "letter-8")


async def test_a_mail_server_that_is_away_was_sent_nothing(mailbox: tuple[Mailbox, str]) -> None:
    with pytest.raises(TemporaryError, match="no connection") as caught:
        await SmtpMail("smtp://user:secret@127.0.0.1:1", "ml@contoso.com").send(LETTER, "letter-9")
    assert not caught.value.sent
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["secret", "http://u:secret@host", "smtp://u:secret@host:x", "smtp://u:secret@host?starttls=maybe", "smtp://"],
)
async def test_a_wrong_smtp_url_is_explained_unseen(url: str) -> None:
    with pytest.raises(PermanentError, match=r"SMTP_URL can't be read, expected smtp://user:password@host") as caught:
        await SmtpMail(url, "ml@contoso.com").send(LETTER, "letter-10")
    assert "secret" not in str(caught.value) + repr(SmtpMail(url))


async def test_the_simulated_mail_server_takes_a_letter(box: Box) -> None:
    url = box.environment.get("SMTP_URL")
    if not url:
        pytest.skip("this box has no mail server")
    known_as = await SmtpMail(url, "ml@contoso.com").send(LETTER, "letter-11")
    [mail] = received(box, known_as.strip("<>"))
    assert mail.title == LETTER.subject


SHOWN = Letter(["ops@contoso.com"], "auc fell", "auc", '<img src="cid:picture1">', {"picture1": b"\x89PNG picture"})


async def test_a_picture_arrives_within_the_page_that_shows_it_by_either_transport(box: Box, outside: Doors) -> None:
    keys = [await outside.mail.send(SHOWN, "letter-12")]
    if url := box.environment.get("SMTP_URL"):
        keys.append((await SmtpMail(url, "ml@contoso.com").send(SHOWN, "letter-13")).strip("<>"))
    for key in keys:
        [mail] = received(box, key)
        assert mail.problem is None
        assert mail.payload["pictures"] == {"picture1": b64encode(b"\x89PNG picture").decode()}  # type: ignore[index]
        assert "data:image/png;base64," in shown_in_inbox(mail.payload)  # type: ignore[arg-type]


async def test_a_letter_by_smtp_is_read_without_its_pictures_too(mailbox: tuple[Mailbox, str]) -> None:
    kept, url = mailbox
    await SmtpMail(url, "ml@contoso.com").send(SHOWN, "letter-14")
    mail = message_from_bytes(kept.kept[0], policy=policy.default)
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]


async def test_whoever_stops_does_not_wait_for_a_mail_server_that_says_nothing(box: Box) -> None:
    box.sim.faults.append(Fault("smtp", "hang"))
    came = len(box.sim.inbox.all("email"))
    sending = asyncio.create_task(SmtpMail(box.environment["SMTP_URL"], "ml@contoso.com").send(LETTER, "letter-15"))
    async with asyncio.timeout(10):
        while len(box.sim.inbox.all("email")) == came:  # noqa: ASYNC110 (the server is in another thread)
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    box.sim.faults.clear()


# What is not set up, and what is not loaded


async def test_what_is_not_set_up_says_what_to_set(tmp_path: Path) -> None:
    bare = doors(Settings(), {}, tmp_path)
    with pytest.raises(PermanentError, match="ACS_ENDPOINT and ACS_EMAIL_SENDER, or SMTP_URL"):
        await bare.mail.send(LETTER, "k")
    with pytest.raises(PermanentError, match="ACS_ENDPOINT and ACS_SMS_FROM"):
        await bare.sms.send(["+1"], "x", "k")
    with pytest.raises(PermanentError, match="mail has no sender"):
        await SmtpMail("smtp://mail.contoso.com").send(LETTER, "k")
    await bare.close()


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"acs_endpoint": "https://acs", "acs_sender": "a@b.c", "smtp_url": "smtp://x"}, "AcsMail"),
        ({"acs_endpoint": "https://acs", "smtp_url": "smtp://x"}, "SmtpMail"),
        ({"acs_sender": "a@b.c"}, "_NoMail"),
    ],
)
async def test_the_settings_choose_the_transport(more: dict[str, Any], kind: str, tmp_path: Path) -> None:
    made = doors(Settings(**more), {}, tmp_path)
    assert type(made.mail).__name__ == kind
    await made.close()


def test_building_the_doors_loads_no_sdk() -> None:
    code = """
import sys
from pathlib import Path
from typing import Any
from shared.cloud import doors
from shared.settings import Settings
doors(Settings(acs_endpoint="https://a", acs_sender="a@b.c", sms_from="+1"), {}, Path())
heavy = ("azure", "msal", "jwt", "aiosmtplib", "requests", "jinja2")
print([name for name in sys.modules if name.partition(".")[0] in heavy])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
