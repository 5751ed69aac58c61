"""Telling people: Teams, mail, text messages."""

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.actions import Fact, Link, Note, Severity
from shared.actions.email import Email, html, text
from shared.actions.email import run as mail
from shared.actions.sms import Sms, fit
from shared.actions.sms import run as send_sms
from shared.actions.teams import LIMIT, Teams, card, literal, message
from shared.actions.teams import run as post_card
from shared.errors import PermanentError, TemporaryError
from shared.world import Texted
from tests.test_actions import NOTE, context
from tests.world import Outside

TRACE = "Traceback (most recent call last):\n" + "    at step\n" * 4000 + "ValueError: the last line says it"


def note(**changes: object) -> Note:
    values = {name: getattr(NOTE, name) for name in NOTE.__struct_fields__}
    return Note(**(values | changes))


long_words = st.sampled_from(
    ["😀", "失敗", "a*b_", "\\", '"', "\n# ", "\x00", "\ud800", "x " * 9, "](", "<at>"]
).flatmap(lambda part: st.integers(0, 9000).map(lambda count: part * count))
any_text = st.text(max_size=30) | long_words
any_facts = st.lists(st.builds(Fact, any_text, any_text), max_size=40).map(tuple)
any_links = st.lists(st.builds(Link, any_text, any_text.map(lambda part: f"https://x/{part}")), max_size=9).map(tuple)
any_severity = st.sampled_from(["good", "info", "warning", "bad"])
any_notes = st.builds(
    Note,
    any_text,
    any_text,
    any_text,
    any_severity,
    st.sampled_from(["en", "ja"]),
    any_facts,
    any_facts,
    any_text,
    any_links,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(any_notes)
def test_a_card_is_never_too_large_and_always_a_card(any_note: Note):
    raw = message(any_note, "k" * 128)
    assert len(raw) < LIMIT
    shown = json.loads(raw)["attachments"][0]["content"]
    assert (shown["type"], shown["version"]) == ("AdaptiveCard", "1.4")
    assert shown["body"][0]["items"][0]["text"].strip()
    assert len(shown["actions"]) <= 6


def test_the_largest_note_of_the_widest_letters_still_fits():
    wide = '😀*\\"' * 9000
    facts = tuple(Fact(wide, wide) for _ in range(50))
    links = tuple(Link(wide, "https://x/" + "あ" * 330) for _ in range(9))
    everything = Note(wide, wide, wide, "bad", "ja", facts, facts, wide, links)
    assert len(message(everything, "k" * 128)) < LIMIT


def test_the_error_text_gives_way_first_and_keeps_both_ends():
    long = note(
        code=TRACE, facts=tuple(Fact(f"name {n}", "value " * 20) for n in range(15)), text="Why it matters. " * 20
    )
    body = json.loads(message(long, "k"))["attachments"][0]["content"]["body"]
    code = body[-1]["items"][0]["text"]
    assert code.startswith("Traceback (most recent call last)")
    assert code.endswith("ValueError: the last line says it")
    assert "…" in code
    assert len(next(part for part in body if part["type"] == "FactSet")["facts"]) == 15
    assert body[1]["text"] == ("Why it matters. " * 20).strip()


def test_what_fits_is_not_shortened():
    code = "line\n" * 300 + "end"
    body = card(note(code=code))["body"]
    assert isinstance(body, list)
    assert body[-1]["items"][0]["text"].replace("\n\n", "\n") == code
    assert body[-1]["items"][0]["fontType"] == "Monospace"


@pytest.mark.parametrize(
    ("severity", "style"), [("good", "good"), ("info", "accent"), ("warning", "warning"), ("bad", "attention")]
)
def test_the_colour_says_how_bad_it_is(severity: Severity, style: str):
    body = card(note(severity=severity))["body"]
    assert isinstance(body, list)
    assert (body[0]["style"], body[0]["bleed"]) == (style, True)


def test_only_addresses_of_the_web_become_buttons():
    links = (
        Link("bad", "javascript:alert(1)"),
        Link("good", "https://ml.azure.com"),
        Link("long", "https://x/" + "y" * 5000),
    )
    assert card(note(links=links))["actions"] == [
        {"type": "Action.OpenUrl", "title": "good", "url": "https://ml.azure.com"}
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("[click](https://evil)", "[click]\u200b(https://evil)"),
        ("<at>Boss</at>", "<\u200bat>Boss<\u200b/at>"),
        ("# heading", "\u200b# heading"),
        ("- item", "\u200b- item"),
        ("1. item", "\u200b1. item"),
        ("**loud** _soft_", r"\*\*loud\*\* \_soft\_"),
        ("my_run_1 stays", "my_run_1 stays"),
        ("auc 0.9 - 1.0", "auc 0.9 - 1.0"),
        ("a\n    b", "a\n\n\u00a0\u00a0\u00a0\u00a0b"),
        ("C:\\temp\\*", "C:\\temp\\\\\\*"),
    ],
)
def test_text_of_others_shows_as_it_is(said: str, shown: str):
    assert literal(said) == shown


async def test_the_key_travels_as_the_flow_s_tracking_id_and_again_is_admitted():
    outside = Outside()
    params = Teams(url="${TEAMS_FRAUD}", note=NOTE)
    result = await post_card(params, context(outside))
    assert result.said == "queued for Teams: Data drift: transactions"
    assert outside.http.sent[0].url == outside.secret.values["TEAMS_FRAUD"]
    assert outside.http.sent[0].headers["x-ms-client-tracking-id"] == context(outside).key
    repeated = await post_card(params, context(outside, again=True))
    assert "may have been sent twice" in repeated.said


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"img", "link", "script", "iframe"}:
            self.loads.append(tag)


def test_a_mail_shows_text_of_others_as_it_is_and_loads_nothing():
    nasty = "<script>alert(1)</script> & <img src=x>"
    said = note(title=nasty, text=nasty, code=nasty, facts=(Fact(nasty, nasty),), table=(Fact(nasty, nasty),))
    page = _Words()
    page.feed(html(said))
    assert page.loads == []
    assert page.words.count(nasty) >= 5


async def test_a_mail_has_one_line_of_subject_and_both_forms():
    outside = Outside()
    said = note(title="Line one\r\nBcc: everybody@contoso.com", code="boom", table=(Fact("auc", "0.93"),))
    result = await mail(Email(to=("a@contoso.com", "${ONCALL_MAIL_TOKEN}"), note=said), context(outside))
    letter, _ = outside.mail.sent[0]
    assert letter.subject == "Line one Bcc: everybody@contoso.com"
    assert letter.to == ("a@contoso.com", outside.secret.values["ONCALL_MAIL_TOKEN"])
    for form in (letter.text, letter.html):
        assert all(word in form for word in ("The data has moved.", "0.93", "boom", "https://ml.azure.com"))
    assert result.said == "mailed a@contoso.com, ${ONCALL_MAIL_TOKEN}"


@pytest.mark.parametrize("kind", [TemporaryError, PermanentError])
async def test_an_address_out_of_a_setting_is_said_by_its_setting_also_when_it_is_refused(kind):
    outside = Outside()
    outside.mail.failure = kind(f"550 {outside.secret('ONCALL_MAIL')} is unknown, a@contoso.com is not")
    with pytest.raises(kind, match=r"550 \$\{ONCALL_MAIL\} is unknown, a@contoso\.com is not") as caught:
        await mail(Email(to=("a@contoso.com", "${ONCALL_MAIL}"), note=NOTE), context(outside))
    assert "marker" not in str(caught.value)


@pytest.mark.parametrize(
    ("send", "params", "words"),
    [
        (mail, Email(to=("${DEPLOY_TOKEN}",), note=NOTE), "the setting in ${DEPLOY_TOKEN} holds no mail address"),
        (send_sms, Sms(to=("${DEPLOY_TOKEN}",), note=NOTE), "the setting in ${DEPLOY_TOKEN} holds no phone number"),
        (send_sms, Sms(to=("${DEPLOY_MAIL}",), note=NOTE), "the setting in ${DEPLOY_MAIL} holds no phone number"),
    ],
)
async def test_a_secret_is_no_recipient(send, params, words):
    """A rule that names somebody else's token as a recipient would have a server repeat it into the record."""
    outside = Outside()
    with pytest.raises(PermanentError, match=re.escape(words)) as caught:
        await send(params, context(outside))
    assert "marker" not in str(caught.value)
    assert not outside.mail.sent
    assert not outside.sms.sent


async def test_a_mail_that_its_transport_may_repeat_says_so():
    outside = Outside()
    outside.mail.idempotent = False
    params = Email(to=("a@contoso.com",), note=NOTE)
    assert "twice" not in (await mail(params, context(outside))).said
    assert "may have been sent twice" in (await mail(params, context(outside, again=True))).said


def test_the_plain_text_of_a_mail_reads_as_a_letter():
    assert text(note(table=(Fact("auc", "0.93"),))) == (
        "Data drift: transactions\n\nThe data has moved.\n\nauc: 0.93\n\nCoefficient: 0.83\n\nOpen:\nhttps://ml.azure.com\n\n"
        "-- \nSent by Switchyard because a rule asks for it.\n"
    )


ONE, TWO, THREE = "+818011111111", "+818022222222", "+818033333333"


async def texted(*results: Texted) -> str:
    outside = Outside()
    outside.sms.results = {one.to: one for one in results}
    return (await send_sms(Sms(to=(ONE, TWO, THREE), note=NOTE), context(outside))).said


async def test_every_recipient_has_an_own_result():
    assert await texted() == "texted …111, …222, …333"
    said = await texted(Texted(TWO, ok=False, error=f"{TWO} is not a mobile number"))
    assert said == "texted …111, …333; refused for …222 (…222 is not a mobile number)"


async def test_one_who_is_busy_is_tried_again():
    with pytest.raises(TemporaryError, match=r"…222 \(too many\)"):
        await texted(Texted(TWO, ok=False, busy=True, error="too many"), Texted(ONE, ok=False, error="bad number"))


async def test_refused_for_all_is_for_good():
    with pytest.raises(PermanentError, match=r"…111 \(bad\).*…222 \(bad\).*…333 \(bad\)"):
        await texted(*(Texted(one, ok=False, error="bad") for one in (ONE, TWO, THREE)))


@pytest.mark.parametrize(
    ("said", "length", "ends"),
    [
        ("Run failed: x", 13, "x"),
        ("a" * 1000, 459, "a..."),
        ("失敗" * 500, 201, "失敗…"),
        ("😀" * 500, 101, "😀…"),  # two units of UCS-2 each
        ("{" * 500, 231, "{..."),  # two septets each
        ("it’s – “fine”…", 16, "..."),
    ],
)
def test_a_text_message_has_three_segments_at_most(said: str, length: int, ends: str):
    assert len(fit(said)) == length
    assert fit(said).endswith(ends)


@given(st.text(max_size=700))
def test_a_text_message_is_one_line(said: str):
    assert "\n" not in fit(said)
    assert len(fit(said)) <= 459
