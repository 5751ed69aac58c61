"""Where a reader is led: from a card to the event that it is about, and in the demonstration to a page that opens."""

from datetime import UTC, datetime

import msgspec
import requests

from shared.actions.sms import fit
from shared.events import Drift, Event, Run
from shared.messages import render
from shared.perform import links
from shared.record import EventRecord, Facts, Job
from shared.rules.load import load_texts
from shared.settings import Settings
from shared.web import app
from simulator.app import Box
from tests.test_web import Desk, ask, words_of

NOW = datetime(2026, 11, 20, 8, 31, tzinfo=UTC)
CONFIG = "receivers: {team: {teams: '${HOOK}'}}\ndefaults: {tell: team}\n"
NOTICE = Event("n1", "ActionFailed", NOW, "/x", data={"record": "abc", "action": "teams", "reason": "HTTP 404"})


def record(event: Event, **more: object) -> EventRecord:
    return msgspec.structs.replace(EventRecord(event.record, NOW, "decided", event), **more)


def test_a_notice_leads_to_the_event_that_it_is_about_where_the_replay_button_is():
    settings = Settings(public_url="https://switchyard.contoso.com")
    assert [link.url for link in links(settings, record(NOTICE), Facts())] == [
        "https://switchyard.contoso.com/events/abc"
    ]


def test_a_text_message_ends_in_a_link_that_it_has_room_for():
    """The signed one is as long as a whole message: who is called by SMS reads the record."""
    settings = Settings(public_url="https://switchyard.contoso.com", signing_key="k")
    drift = Event("d1", "DriftDetected", NOW, "/x", drift=Drift("fraud-monitor", "data_drift"))
    found = links(settings, record(drift), Facts(), "fraud-oncall")
    assert "acknowledge" in {link.text for link in found}
    note = render(None, drift, Facts(), language="ja", links=found)
    assert fit(note.short) == note.short
    assert note.short.endswith(f"https://switchyard.contoso.com/events/{drift.record}")


async def test_the_page_of_a_notice_links_to_that_event_too():
    desk = Desk(load_texts({"switchyard.yaml": CONFIG}))
    desk.book.add(record(NOTICE), [])
    page = (await ask(app(lambda: desk), "GET", f"/events/{NOTICE.record}", {})).text
    assert 'href="/events/abc"' in page
    assert "teams: HTTP 404" in words_of(page)


async def test_a_change_of_state_says_which_and_a_lookup_reads_as_people_write_it():
    desk = Desk(load_texts({"switchyard.yaml": CONFIG}))
    event = Event("e1", "RunStatusChanged", NOW, "/x", run=Run("r1", status="Failed"))
    job = Job(duration=2520.008602, started="2026-11-20T08:09:56.3813180Z", is_child=False)
    desk.book.add(record(event, facts=Facts({"auc": 0.930000001}, job)), [])
    site = app(lambda: desk)
    assert "RunStatusChanged Failed" in words_of((await ask(site, "GET", "/", {})).text)
    page = words_of((await ask(site, "GET", f"/events/{event.record}?lang=ja", {})).text)
    for said in ("Failed", "所要時間 42分", "2026-11-20 08:09:56 UTC", "auc0.93 ", "子ジョブ いいえ"):
        assert said in page


def test_a_text_message_of_drift_ends_with_the_link_to_the_console():
    drift = Event("d1", "DriftDetected", NOW, "/x")
    ours = links(Settings(public_url="https://switchyard.contoso.com"), record(drift), Facts())
    note = render(None, drift, Facts(), language="en", links=ours)
    assert note.short.endswith(f"https://switchyard.contoso.com/events/{drift.record}")


def test_links_to_the_studio_open_a_page_in_the_simulated_azure():
    with Box() as box:
        people = {"Accept": "text/html", "Accept-Language": "en"}
        model = requests.get(f"{box.http}/studio/model/fraud:13/details", headers=people, timeout=5)
        assert (model.status_code, "In place of Azure ML studio" in model.text) == (200, True)
        assert requests.get(f"{box.http}/studio/runs/nobody", headers=people, timeout=5).status_code == 404
