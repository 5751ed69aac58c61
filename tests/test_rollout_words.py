"""What a rollout says: every sentence in both languages, with the same values, and readings that can be read."""

import ast
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rollout import script, smoke, words
from shared.rollout.record import Reading, Said

ELSEWHERE = {"gave up", "nothing approved"}
"""Said by the conductor, where no script runs."""


def codes():
    """Every text that script.py, and what it asks of smoke.py, use as the code of a Said."""
    nodes = [
        node for module in (script, smoke) for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text()))
    ]
    firsts = [node.args[0] for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Said"]
    inside = {
        part.value
        for first in firsts
        for part in ast.walk(first)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
    return inside | set(script._REFUSED.values())


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_everything_the_script_says_has_a_sentence_and_every_sentence_is_said():
    assert set(words.SENTENCES) == codes() | ELSEWHERE


@pytest.mark.parametrize("code", words.SENTENCES)
def test_both_languages_tell_the_same_values(code):
    english, japanese = words.SENTENCES[code]
    assert fields(english) == fields(japanese)
    assert re.search(r"[ぁ-んァ-ヶ一-龠]", japanese)
    assert not re.search(r"[ぁ-んァ-ヶ一-龠]", english)
    ends = ("。", "か。", "}", "い。")
    assert japanese.endswith(ends)
    assert english.endswith((".", "?", "}"))


@pytest.mark.parametrize(
    ("said", "english", "japanese"),
    [
        (
            Said("approved", {"by": "mori", "reason": ""}),
            "Approved by mori.",
            "mori さんが承認しました。",
        ),
        (
            Said("rejected", {"by": "mori", "reason": "too slow"}),
            "Rejected by mori: too slow",
            "mori さんが却下しました (理由: too slow)。",
        ),
        (
            Said("refused quota", {"what": "Create", "detail": "16 cores needed, 4 left"}),
            "Creating the deployment: there is no quota for it. Free some, or ask for more. 16 cores needed, 4 left",
            "デプロイの作成: クォータが不足しています。不要なリソースを解放するか、増枠を申請してください。16 cores needed, 4 left",
        ),
        (
            Said(
                "breach",
                {
                    "gate": "http_5xx",
                    "canary": "2.40 % (24/1000)",
                    "baseline": "1.00 % (90/9000)",
                    "figure": "e 41 >= 40",
                },
            ),
            "HTTP 5xx is over its limit: canary 2.40 % (24/1000), baseline 1.00 % (90/9000), e 41 >= 40.",
            "HTTP 5xx が基準を超えました: カナリア 2.40 % (24/1000)、ベースライン 1.00 % (90/9000)、e 41 >= 40。",
        ),
        (
            Said("silence goes back", {"of": "ml-leads", "within": 86_400.0}),
            "Nobody of ml-leads answered within 1 d: it goes back, as the policy says.",
            "ml-leads から 1 日以内に回答がなかったため、ポリシーに従ってロールバックします。",
        ),
        (Said("of a newer version", {"n": 3}), "of a newer version (n 3)", "of a newer version (n 3)"),
        (Said("approved", {"who": "{by}"}), "approved (who {by})", "approved (who {by})"),
    ],
)
def test_sentences_as_people_read_them(said, english, japanese):
    assert (words.tell(said, "en"), words.tell(said, "ja")) == (english, japanese)


@pytest.mark.parametrize(
    ("reading", "english", "japanese"),
    [
        (
            Reading("http_5xx", "holds", 24, 1000, 90, 9000, e=3.1, threshold=40, estimate=2.4),
            "HTTP 5xx: canary 2.40 % (24 of 1000) against baseline 1.00 % (90 of 9000), odds ratio 2.40, e 3.1 (limit 40): holds",
            "HTTP 5xx: カナリア 2.40 % (1000 件中 24 件)、ベースライン 1.00 % (9000 件中 90 件)、オッズ比 2.40、e 3.1 (上限 40): 基準内",
        ),
        (
            Reading("mean_latency_ms", "breach", 0, 1000, 0, 9000, e=45.1, threshold=40, estimate=0.35, limit=0.2),
            "mean latency: canary n = 1000 against baseline n = 9000, difference +35.0 %, e 45.1 (limit 40), limit 20 %: over the limit",
            "平均レイテンシ: カナリア n = 1000、ベースライン n = 9000、相対差 +35.0 %、e 45.1 (上限 40)、許容値 20 %: 基準超過",
        ),
        (
            Reading("ceiling_latency_over_400", "unknown", limit=0.2),
            "ceiling of answers over 400 ms: canary ? (0 of 0) against baseline ? (0 of 0), limit 20 %: unknown",
            "400 ms 超の応答の上限: カナリア ? (0 件中 0 件)、ベースライン ? (0 件中 0 件)、許容値 20 %: 不明",
        ),
        (
            Reading("http_5xx", "holds", 31, 17515, 32, 17582, e=0.033, threshold=40, upper=0.0007, limit=0.01),
            "HTTP 5xx: canary 0.18 % (31 of 17515) against baseline 0.18 % (32 of 17582), e < 0.1 (limit 40), difference at most +0.07 points (limit 1): holds",
            "HTTP 5xx: カナリア 0.18 % (17515 件中 31 件)、ベースライン 0.18 % (17582 件中 32 件)、e < 0.1 (上限 40)、差は最大 +0.07 ポイント (許容値 1): 基準内",
        ),
        (
            Reading("http_5xx", "holds", 3, 1000, upper=0.0088, limit=0.2),
            "HTTP 5xx: canary 0.30 % (3 of 1000) against baseline ? (0 of 0), rate at most 0.88 % (limit 20): holds",
            "HTTP 5xx: カナリア 0.30 % (1000 件中 3 件)、ベースライン ? (0 件中 0 件)、率は最大 0.88 % (許容値 20): 基準内",
        ),
        (
            Reading("http_4xx", "too few", 1, 100, 9, 900, e=0.5, threshold=20, upper=0.012, limit=0.01),
            "HTTP 4xx: canary 1.00 % (1 of 100) against baseline 1.00 % (9 of 900), e 0.5 (limit 20), difference at most +1.20 points (limit 1): too few requests",
            "HTTP 4xx: カナリア 1.00 % (100 件中 1 件)、ベースライン 1.00 % (900 件中 9 件)、e 0.5 (上限 20)、差は最大 +1.20 ポイント (許容値 1): データ不足",
        ),
    ],
)
def test_readings_tell_measured_value_threshold_and_sample_size(reading, english, japanese):
    assert (words.reading(reading, "en"), words.reading(reading, "ja")) == (english, japanese)


VALUES = st.one_of(st.text(), st.integers(), st.floats())


@given(
    st.sampled_from([*words.SENTENCES, "unknown"]),
    st.dictionaries(st.text(), VALUES),
    st.sampled_from(["en", "ja"]),
    st.data(),
)
def test_no_value_that_a_person_or_azure_wrote_breaks_a_sentence(code, values, language, data):
    needed = fields(words.SENTENCES.get(code, ("", ""))[0])
    values |= {name: data.draw(VALUES) for name in needed if name != "because"}
    assert words.tell(Said(code, values), language)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0 s"),
        (45.0, "45 s"),
        (90.0, "90 s"),
        (900.0, "15 min"),
        (5400.0, "90 min"),
        (7200.0, "2 h"),
        (86_400.0, "1 d"),
    ],
)
def test_lengths_of_time_are_told_as_people_say_them(seconds, told):
    assert words.span(seconds, "en") == told
