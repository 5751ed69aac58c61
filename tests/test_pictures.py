"""The pictures of cards, mails and pages."""

import json
import re
import subprocess
import sys
from base64 import b64decode
from datetime import timedelta
from io import BytesIO
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from shared import pictures
from shared.actions import Note, Picture
from shared.actions.email import Email, html
from shared.actions.email import run as mail
from shared.actions.teams import LIMIT, message
from shared.pictures import svg
from shared.rollout.policy import Compare
from shared.rollout.record import Compared
from shared.rollout.scorecard import scorecard
from simulator.cards import problems
from tests.test_actions import context
from tests.test_actions_notify import TRACE, note
from tests.world import START, Outside

QUALITY = {
    "kind": "line",
    "metric": "auc",
    "points": [
        [f"2026-11-{day:02d}T00:00:00Z", 0.92 - day / 500, 0.91 - day / 500, 0.93 - day / 500, 800]
        for day in range(1, 31)
    ],
    "limit": 0.88,
    "reference": 0.915,
    "higher_is_better": True,
}
COHORTS = {
    "kind": "cohorts",
    "metric": "auc",
    "rows": [["cards", 0.94, 0.93], ["young-merchants", 0.87, 0.905], ["若年層", 0.9, 0.88], ["new", 0.8, None]],
    "at_least": -0.01,
    "higher_is_better": True,
}
BOTH = {"chart": [QUALITY, COHORTS]}
RED, BLUE = (156, 38, 38), (29, 90, 138)


def colours(png: bytes, *near: tuple[int, int, int]) -> list[int]:
    """How many pixels are about of each colour."""
    image = Image.open(BytesIO(png)).convert("RGB")
    counted: Any = image.getcolors(1 << 24)
    return [sum(n for n, one in counted if max(abs(one[i] - to[i]) for i in range(3)) < 20) for to in near]


def test_a_breach_is_red_and_a_healthy_model_is_not():
    (sick,) = pictures.of({"chart": QUALITY}, "en")
    (well,) = pictures.of({"chart": QUALITY | {"limit": None}}, "en")
    (red, blue), (none, _) = colours(sick.png, RED, BLUE), colours(well.png, RED, BLUE)
    assert red > 500
    assert blue > 500
    assert none == 0
    assert sick.alt == (
        "auc over 30 windows, 2026-11-01 to 2026-11-30: newest 0.86, interval 0.85 to 0.87, n = 800, limit 0.88, training run"
        " 0.915, beyond the limit in 10 of them"
    )
    assert "許容値 0.88" in pictures.of({"chart": QUALITY}, "ja")[0].alt


def test_where_less_is_better_the_limit_is_above():
    lower = QUALITY | {"higher_is_better": False, "limit": 0.9}
    (chart,) = pictures.charts({"chart": lower})
    assert sum(chart.breaks(one) for one in chart.points) == 9  # type: ignore[union-attr]
    (chart,) = pictures.charts({"chart": COHORTS | {"higher_is_better": False}})
    assert [row.name for row in chart.rows if chart.below(row)] == ["若年層"]  # type: ignore[union-attr]


def test_a_cohort_that_lost_is_named_in_words_and_one_that_cannot_be_written_has_a_number():
    (english,), (japanese,) = pictures.of({"chart": COHORTS}, "en"), pictures.of({"chart": COHORTS}, "ja")
    assert "1 below the limit of -0.01 (young-merchants -0.035)" in english.alt
    assert "許容差 -0.01 を下回るもの 1 件" in japanese.alt
    assert "#3 若年層" in english.legend
    page = svg.draw(pictures.charts({"chart": COHORTS})[0], "ja", 350)
    assert ">若年層<" in page  # a browser has the letters
    assert "コホート別の auc" in page


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("chart", [QUALITY, COHORTS])
def test_a_png_has_the_width_of_a_phones_card_twice_and_few_bytes(chart, language):
    (picture,) = pictures.of({"chart": chart}, language)
    image = Image.open(BytesIO(picture.png))
    assert image.width == 640
    assert image.mode == "P"
    assert len(picture.png) < 12_000


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"chart": None},
        {"chart": "line"},
        {"chart": {"kind": "pie"}},
        {"chart": QUALITY | {"points": []}},
        {"chart": QUALITY | {"points": [["yesterday", 1, 1, 1, 1]]}},
        {"chart": COHORTS | {"rows": [["a", None, None]]}},
        {"chart": COHORTS | {"rows": [["a", float("nan"), None]]}},
    ],
)
def test_what_is_no_chart_is_no_picture(data):
    assert pictures.of(data, "en") == ()


figures = st.floats(-1e9, 1e9) | st.floats(0, 1)
points = st.tuples(
    st.integers(0, 10**6).map(lambda minutes: (START + timedelta(minutes=minutes)).isoformat()),
    figures,
    figures | st.none(),
    figures | st.none(),
    st.integers(0, 10**6),
).map(list)
lines = st.fixed_dictionaries(
    {"kind": st.just("line"), "metric": st.text(max_size=50), "points": st.lists(points, min_size=1, max_size=60)},
    optional={"limit": figures | st.none(), "reference": figures | st.none(), "higher_is_better": st.booleans()},
)
tables = st.fixed_dictionaries(
    {
        "kind": st.just("cohorts"),
        "metric": st.text(max_size=50),
        "rows": st.lists(
            st.tuples(st.text(max_size=60), figures, figures | st.none()).map(list), min_size=1, max_size=40
        ),
    },
    optional={"at_least": figures | st.none(), "higher_is_better": st.booleans()},
)


@example({"kind": "line", "metric": "", "points": [["2026-11-20T08:30:00+00:00", 1.1e-308, None, None, 0]]}, "en", 320)
@settings(max_examples=60, deadline=None)
@given(lines | tables, st.sampled_from(["en", "ja"]), st.sampled_from([320, 350, 720]))
def test_any_chart_is_drawn_within_its_frame(table, language, width):
    (chart,) = pictures.charts({"chart": table})
    frame = ET.fromstring(
        re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", svg.draw(chart, language, width))
    )
    height = float(frame.attrib["height"])
    for shape in frame.iter():
        for name, most in (("cx", width), ("x", width), ("cy", height), ("y", height)):
            if name in shape.attrib:
                assert -1 <= float(shape.attrib[name]) <= most + 9
    assert pictures.alt(chart, language)
    assert pictures.legend(chart, language)


@settings(max_examples=15, deadline=None)
@given(lines | tables)
def test_any_chart_becomes_a_picture(table):
    (picture,) = pictures.of({"chart": table}, "en")
    assert picture.png.startswith(b"\x89PNG")


def test_hostile_names_are_no_markup():
    nasty = COHORTS | {"metric": "<script>", "rows": [["</text><script>", 1, 0]]}
    assert "<script" not in svg.draw(pictures.charts({"chart": nasty})[0], "en", 720)


def images(said: Note) -> list[dict[str, str]]:
    raw = message(said, "k" * 128)
    assert len(raw) < LIMIT
    card = json.loads(raw)["attachments"][0]["content"]
    assert problems(card) == []
    return [part for part in card["body"] if part["type"] == "Image"]


def test_a_card_carries_the_picture_and_leaves_out_what_does_not_fit():
    drawn = pictures.of({"chart": [QUALITY, QUALITY, QUALITY]}, "ja")
    (image,) = images(note(pictures=drawn))
    assert b64decode(image["url"].removeprefix("data:image/png;base64,")) == drawn[0].png
    assert image["altText"] == drawn[0].alt
    assert images(note(pictures=(Picture(b"\x89PNG" * 5000, "too large"),))) == []
    assert images(note(code=TRACE, pictures=drawn)) == []  # words never give way to a picture


async def test_a_mail_shows_each_picture_within_its_page_and_tells_it_in_its_text():
    outside, drawn = Outside(), pictures.of(BOTH, "en")
    await mail(Email(to=("a@contoso.com",), note=note(pictures=drawn)), context(outside))
    letter, _ = outside.mail.sent[0]
    assert letter.pictures == {"picture1": drawn[0].png, "picture2": drawn[1].png}
    assert re.findall(r'src="cid:(\w+)"', letter.html) == list(letter.pictures)
    assert drawn[1].alt in letter.text
    assert "<img" not in html(note())


def test_the_library_is_loaded_with_the_first_picture_only():
    code = "import sys; from shared import pictures; pictures.of({}, 'en'); print('PIL' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


def test_the_scorecard_has_a_row_for_each_cohort_against_what_it_is_compared_with():
    compare = (
        Compare("auc", at_least=0.0, cohorts=True, cohort_at_least=-0.01),
        Compare("loss", against=0.4, lower_is_better=True, cohorts=True),
        Compare("f1"),
    )
    mine = {"auc": 0.93, "auc/night": 0.9, "auc/cards": 0.94, "loss/night": 0.3, "f1/night": 0.5}
    first, second = scorecard(compare, Compared(at=START, candidate=mine, champion={"auc/cards": 0.95}))
    assert (first["rows"], first["at_least"]) == ([["cards", 0.94, 0.95], ["night", 0.9, None]], -0.01)
    assert (second["rows"], second["higher_is_better"]) == ([["night", 0.3, 0.4]], False)
    assert scorecard(compare, Compared(at=START, candidate=None, unknown="HTTP 503")) == []
