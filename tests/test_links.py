"""Signed links: whoever holds one may do one thing, and nobody can make one up."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import PermanentError
from shared.links import Acknowledgement, Approval, read, token

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=4)
KEY = "a long random text"
GOOD = token(KEY, Approval("fraud-online-fraud-7-1a2b3c4d", 17, LATER, "ml-leads"))
ACKNOWLEDGES = token(KEY, Acknowledgement("317c8b92dbd28a4232f2", LATER, "fraud-team"))
SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

moments = st.timedeltas(timedelta(seconds=1), timedelta(days=30_000)).map(lambda ahead: NOW + ahead)
approvals = st.builds(Approval, st.text(), st.integers(0, 10**6), moments, st.text())
acknowledgements = st.builds(Acknowledgement, st.text(), moments, st.text())


@given(st.text(min_size=1), approvals | acknowledgements)
def test_what_was_signed_is_read_again_and_fits_a_url(key, link):
    made = token(key, link)
    assert set(made) <= set(SIGNS)
    assert read(key, made, NOW, type(link)) == link


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(SIGNS) | st.characters())
def test_any_changed_character_is_refused(place, sign):
    changed = GOOD[:place] + sign + GOOD[place + 1 :]
    if changed != GOOD:
        with pytest.raises(PermanentError, match="not one of ours, or was not copied whole"):
            read(KEY, changed, NOW, Approval)


@given(st.integers(0, len(GOOD) - 1), st.text(min_size=1, max_size=3))
def test_a_link_that_was_cut_or_grew_is_refused(length, more):
    for changed in (GOOD[:length], GOOD[length:], GOOD + more, f"{GOOD}=", f" {GOOD}"):
        if changed != GOOD:
            with pytest.raises(PermanentError, match="not copied whole"):
                read(KEY, changed, NOW, Approval)


@given(st.text())
def test_no_made_up_text_is_a_link(text):
    with pytest.raises(PermanentError):
        read(KEY, text, NOW, Approval)
    with pytest.raises(PermanentError):
        read(KEY, text, NOW, Acknowledgement)


def test_a_link_of_one_kind_opens_nothing_of_another():
    with pytest.raises(PermanentError, match="not one of ours"):
        read(KEY, GOOD, NOW, Acknowledgement)
    with pytest.raises(PermanentError, match="not one of ours"):
        read(KEY, ACKNOWLEDGES, NOW, Approval)


def test_another_key_opens_nothing():
    with pytest.raises(PermanentError, match="not one of ours"):
        read(f"{KEY} ", GOOD, NOW, Approval)


@pytest.mark.parametrize(("now", "good"), [(LATER - timedelta(microseconds=1), True), (LATER, False)])
def test_a_link_is_good_until_its_time(now, good):
    if good:
        assert read(KEY, GOOD, now, Approval).ask == 17
    else:
        with pytest.raises(PermanentError, match="this link was good until 2026-11-20 12:30 UTC"):
            read(KEY, GOOD, now, Approval)


def test_without_a_key_no_link_is_made_and_none_is_good():
    with pytest.raises(PermanentError, match="set SWITCHYARD_SIGNING_KEY"):
        token("", Approval("r", 1, LATER, "x"))
    with pytest.raises(PermanentError):
        read("", GOOD, NOW, Approval)


def test_a_refusal_repeats_nothing_of_the_link():
    with pytest.raises(PermanentError) as refused:
        read(KEY, GOOD[:-1], NOW, Approval)
    assert GOOD[:20] not in str(refused.value)
