"""Rule tests as they are written: every mistake with its place."""

import re
from pathlib import Path

import pytest

from shared.cli.rules_test import read_tests
from shared.rehearsal.story import read_stories
from shared.rules.load import load_texts
from shared.settings import read_folder

CONFIG = Path(__file__).parent.parent / "config"
LOADED = load_texts(read_folder(CONFIG))
FILES = read_tests(CONFIG)
EXPECT = re.compile(r"# expect: (.+)\n")
WRONG = sorted((CONFIG / "wrong").glob("test-*.yaml"))
STORY = """\
now: {now}
tests:
  - name: a test
    steps:
      - event: RunCompleted
"""


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_each_mistake_is_said_with_its_place_and_what_was_expected(path):
    text = path.read_text()
    beside = {name: text for name, text in FILES.items() if name.endswith(".json")}
    stories, problems = read_stories(beside | {"tests/wrong.yaml": text}, LOADED)
    assert stories == []
    expected = EXPECT.match(text)
    assert expected is not None
    assert [str(one) for one in problems] == [f"tests/wrong.yaml:{expected[1]}"]


def test_a_file_with_a_mistake_is_left_out_alone():
    stories, problems = read_stories(FILES | {"tests/zz.yaml": "tests: ["}, LOADED)
    assert len(stories) > 15
    assert [one.file for one in problems] == ["tests/zz.yaml"]


def test_what_is_no_text_is_no_test():
    _, problems = read_stories({"tests/a.yaml": "", "tests/b.yaml": "- a", "tests/c.yaml": "a: \udcff"}, LOADED)
    assert [one.file for one in problems] == ["tests/a.yaml", "tests/b.yaml", "tests/c.yaml"]


@pytest.mark.parametrize(
    ("now", "utc"),
    [
        ("2026-11-24T17:55", "2026-11-24T08:55:00+00:00"),  # defaults.time_zone is Tokyo's
        ("2026-11-24T17:55:00Z", "2026-11-24T17:55:00+00:00"),
        ("2026-11-24T17:55+01:00\nzone: Europe/Berlin", "2026-11-24T16:55:00+00:00"),
        ("2026-07-24T17:55\nzone: Europe/Berlin", "2026-07-24T15:55:00+00:00"),
    ],
)
def test_now_is_what_the_clock_on_the_wall_shows(now, utc):
    (story,), problems = read_stories({"tests/a.yaml": STORY.format(now=now)}, LOADED)
    assert problems == []
    assert story.now.isoformat() == utc or story.now.timestamp() == type(story.now).fromisoformat(utc).timestamp()


def test_tests_are_no_part_of_the_configuration():
    assert not [name for name in read_folder(CONFIG) if name.startswith("tests/")]


def test_a_test_sends_nothing_from_outside_the_folder():
    text = STORY.format(now="2026-11-24T17:55").replace("event: RunCompleted", "send: ../../samples/a.json")
    _, problems = read_stories({"tests/a.yaml": text, "samples/a.json": "{}"}, LOADED)
    assert "there is no file '../../samples/a.json' in the configuration folder" in str(problems[0])
