"""What travels on the queue comes back as it went, however long it is."""

import base64
import json
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import wire
from shared.errors import PermanentError
from shared.events import Event

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


def event(data):
    return Event(id="e1", type="T", time=NOW, source="/s", data=data)


@given(
    message=st.one_of(
        st.builds(wire.Perform, st.text(), st.integers(0, 99)),
        st.builds(wire.Decide, st.text(), st.integers(0, 99), st.booleans()),
        st.builds(wire.Unread, st.text(), st.text(), st.just(NOW)),
        st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53)).map(lambda d: wire.Arrived(event(d), NOW)),
    )
)
def test_a_message_comes_back_as_it_went(message):
    (text,) = wire.pack(message)
    assert wire.unpack(text) == message


@settings(max_examples=15)
@given(size=st.integers(0, 400_000), compressible=st.booleans())
def test_every_part_of_a_long_message_fits_a_queue_and_together_they_are_the_message(size, compressible):
    noise = "x" * size if compressible else base64.b64encode(os.urandom(size * 3 // 4)).decode()
    message = wire.Arrived(event({"noise": noise}), NOW)
    texts = wire.pack(message)
    assert max(len(base64.b64encode(text.encode())) for text in texts) < 65_536
    parts = [wire.load(wire.Packed, text) for text in texts] if len(texts) > 1 else []
    assert (wire.join([part.body for part in parts]) if parts else wire.unpack(texts[0])) == message


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"type": "arrived"}', '{"type": "nobody"}', "\x00"])
def test_what_none_of_our_versions_wrote_is_refused(text):
    with pytest.raises(PermanentError, match="not a message of ours"):
        wire.unpack(text)


def test_parts_that_do_not_fit_together_are_refused():
    with pytest.raises(PermanentError, match="parts that make no message"):
        wire.join(["AAAA", "BBBB"])


def test_a_newer_version_may_add_fields():
    assert wire.unpack('{"type":"perform","key":"k","attempt":1,"colour":"red"}') == wire.Perform("k", 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"eventTime": "0001-01-01T00:00:00+14:00"},
        {"id": "half \ud800"},
        {"data": {"x": "half \ud800"}},
        {"eventType": "Microsoft.MachineLearningServices.DatasetDriftDetected", "data": {"driftCoefficient": 10**400}},
        {"eventType": "Microsoft.Storage.BlobCreated", "data": {"contentLength": float("nan")}},
    ],
)
def test_what_the_worker_reads_and_we_cannot_keep_is_refused_with_its_bytes(wrong):
    sent = {"id": "e", "topic": "t", "eventType": "T", "eventTime": "2026-11-20T08:30:00Z"} | wrong
    (text,) = wire.arrived(sent, NOW)
    message = wire.unpack(text)
    assert isinstance(message, wire.Unread)
    assert json.loads(base64.b64decode(message.bytes)).keys() == sent.keys()
