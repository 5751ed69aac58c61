"""What an expression says for certain about the texts in which it is found."""

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.rules.literals import Found, literals


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^fraud", {("begins", "fraud")}),
        (r"^fraud\b", {("begins", "fraud")}),
        (r"\.csv$", {("ends", ".csv")}),
        ("^fraud$", {("is", "fraud")}),
        ("fraud", {("contains", "fraud")}),
        ("^fraud[-_]monitor", {("begins", "fraud-monitor"), ("begins", "fraud_monitor")}),
        ("^(fraud|churn)-", {("begins", "fraud-"), ("begins", "churn-")}),
        ("^a|b$", {("begins", "a"), ("ends", "b")}),
        (r"v\d+-final", {("contains", "-final")}),
        ("ab+c", {("contains", "ab")}),
        ("colou?r", {("contains", "colo")}),
        ("x{2}", {("contains", "x")}),
        ("(?i)^fraud", {("begins", "fraud")}),
        ("(?i)node lost", {("contains", "node lo")}),  # without case, s is also the long s, which others may not know
        ("(?P<team>fraud)-x", {("contains", "fraud-x")}),
        ("[[:alpha:]]foo[^]]", {("contains", "foo")}),
    ],
)
def test_what_is_certain(pattern, expected):
    assert {(one.where, one.text) for one in literals(pattern)} == expected


@pytest.mark.parametrize(
    "pattern", ["", "a*", ".*", "^", "a|", r"\d", "(?s)a", "a(?i)b", r"\Qa.b\E", "a?", "(" * 60 + "a" + ")" * 60]
)
def test_what_says_nothing_certain(pattern):
    assert literals(pattern) == ()


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "K",
        "s",
        "-",
        r"\.",
        ".",
        r"\d",
        "[ab]",
        "[^a]",
        "[-a]",
        "[]a]",
        "^",
        "$",
        r"\b",
        r"\w",
        "ab",
        "é",
        r"\pL",
    ]
)
REPEATS = st.sampled_from(["", "", "", "?", "*", "+", "{2}", "{0,1}", "{1,}", "+?"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pieces = st.tuples(st.one_of(inner, inner.map(lambda text: f"({text})")), REPEATS).map("".join)
    row = st.lists(pieces, min_size=1, max_size=3).map("".join)
    return st.lists(row, min_size=1, max_size=2).map("|".join).map(lambda text: f"(?:{text})")


PATTERNS = st.tuples(
    st.sampled_from(["", "^", "(?i)"]), st.recursive(PIECES, _grown, max_leaves=5), st.sampled_from(["", "$"])
).map("".join)
TEXTS = st.text(alphabet="abABkK\u212asS\u017f-.1éÉ]^", max_size=7)


def holds(one: Found, text: str) -> bool:
    mine, theirs = one.text.lower(), text.lower()
    return {
        "is": mine == theirs,
        "begins": theirs.startswith(mine),
        "ends": theirs.endswith(mine),
        "contains": mine in theirs,
    }[one.where]


@settings(max_examples=600, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=8, max_size=8))
def test_every_text_that_matches_has_one_of_them(pattern, texts):
    found = literals(pattern)
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error:
        return
    for text in texts:
        if found and compiled.search(text):
            assert any(holds(one, text) for one in found), (pattern, text)
