"""The responsible AI assessment: a file for a person to answer, whose answers nobody overwrites."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cli import main
from shared.errors import PermanentError
from shared.rules.assessments import GUIDE, QUESTIONS, assessment, still_open, written
from tests.test_cli import config  # noqa: F401 (a fixture)

SHIPPED = Path(__file__).parent.parent / "config" / "assessments" / "fraud.yaml"


def assess(folder: Path, *more: str) -> int:
    return main(["assess", "fraud", "--config", str(folder), *more])


def test_a_new_file_asks_every_question_with_what_helps_to_answer_it(config, capsys):  # noqa: F811
    assert assess(config) == 0
    path = config / "assessments" / "fraud.yaml"
    text, said = path.read_text(), capsys.readouterr().out
    for key, guide in GUIDE.items():
        question, speaks_of = guide["en"]
        assert re.search(rf"# {re.escape(question)}\n(#   - .+\n){{{len(speaks_of)}}}{key}:\n", text)
        line = text.splitlines().index(f"{key}:") + 1
        assert f"{path}:{line}:1: {key} is not answered: {question}" in said
    assert (
        "7 of 7 questions are open; when they are answered, tag the model version with responsible_ai: assessments/fraud.yaml"
        in said
    )
    assert assessment("a", text) == QUESTIONS


def test_answers_and_comments_stay_as_they_are_and_only_what_is_missing_is_added(config, capsys):  # noqa: F811
    path = config / "assessments" / "fraud.yaml"
    path.parent.mkdir()
    before = "# ours\nfallback: >\n  Fixed rules,\n  as before.\n\npii: TODO # ask legal\nowner: mika"
    path.write_text(before)
    assert assess(config, "--language", "ja") == 0
    text = path.read_text()
    assert text.startswith(before)
    assert "誰が覆せますか。" in text
    assert text.count("pii:") == 1
    assert f"{path}:6:1: pii is not answered: どの個人情報を扱い、どう保護しますか。" in capsys.readouterr().out
    assert assessment("a", text) == QUESTIONS[1:]
    assert assess(config) == 0
    assert path.read_text() == text, "written once"


def test_check_writes_nothing_and_says_no_until_a_person_has_answered(config, capsys):  # noqa: F811
    path = config / "assessments" / "fraud.yaml"
    assert assess(config, "--check") == 1
    assert not path.exists()
    assert f"{path}:1:1: there is no such file: `switchyard assess fraud` writes it" in capsys.readouterr().out
    assess(config)
    assert assess(config, "--check") == 1
    path.write_text(re.sub(r"(?m)^(\w+):$", r"\1: an answer", path.read_text()))
    assert assess(config, "--check") == 0
    assert "all 7 questions are answered" in capsys.readouterr().out
    path.write_text("fallbck: yes\n" + path.read_text().replace("fallback:", "# fallback:"))
    assert assess(config, "--check") == 1
    assert "fallback is not there; did you mean 'fallbck'?" in capsys.readouterr().out


def test_json_has_the_places_and_both_languages(config, capsys):  # noqa: F811
    assert assess(config, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["added"], told["complete"]) == (list(QUESTIONS), False)
    assert told["open"][0]["asks"].keys() == {"en", "ja"}
    assert all(one["line"] > 1 for one in told["open"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fallback: [", "nothing was written"),
        ("- a list\n", "is not written as one key a line: add fallback, stakeholders"),
        ("{fallback: yes}\n", "assessments/fraud.yaml is not written as one key a line: add stakeholders, misuse"),
    ],
)
def test_what_cannot_be_added_to_is_left_alone_and_said(config, capsys, text, said):  # noqa: F811
    path = config / "assessments" / "fraud.yaml"
    path.parent.mkdir()
    path.write_text(text)
    assert assess(config) == 1
    assert said in capsys.readouterr().err
    assert path.read_text() == text


@pytest.mark.parametrize("model", ["../switchyard", "a/b", "", "fraud:7"])
def test_a_name_that_is_no_models_is_refused(config, capsys, model):  # noqa: F811
    assert main(["assess", model, "--config", str(config)]) == 1
    assert "is no name of a model" in capsys.readouterr().err


def test_the_shipped_assessment_is_complete():
    assert still_open("a", SHIPPED.read_text()) == ([], [])


@given(
    st.dictionaries(st.sampled_from(QUESTIONS), st.sampled_from(["an answer", "", "TODO", "?", "|\n  two\n  lines"])),
    st.sampled_from(["en", "ja"]),
)
def test_whatever_is_answered_stays_and_everything_is_asked(answers, language):
    text = "".join(f"{key}: {answer}\n" for key, answer in answers.items())
    new, added = written("fraud", text or None, language)
    assert set(added) == set(QUESTIONS) - set(answers)
    assert new.startswith(text)
    assert set(assessment("a", new)) == {key for key in QUESTIONS if answers.get(key, "") in {"", "TODO", "?"}}
    assert written("fraud", new, language) == (new, ())


def test_an_unreadable_one_is_no_assessment():
    with pytest.raises(PermanentError, match="can't be read"):
        assessment("a.yaml", "a: [")
