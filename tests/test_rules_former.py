"""Former spellings: read as what they mean, said with what to write, and rewritten with everything else as it stands."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.cli import main
from shared.errors import Problem
from shared.rules.audit import audit
from shared.rules.former import SPELLINGS, modern, rewritten
from shared.rules.load import Loaded, load_texts
from shared.rules.report import Report
from shared.rules.tree import read
from shared.settings import read_folder
from shared.web import app
from tests.histories import FOLDER
from tests.histories import read as recorded
from tests.histories.decided import decided_by
from tests.test_histories_kept import includes
from tests.test_web import Desk, ask

FILE = "switchyard.yaml"
RECEIVERS = "receivers: {a: {email: a@contoso.com}}\n"
LOAD = "smoke: { requests: samples/fraud/*.json, load: { rps: 20, seconds: 30, p95_ms: 300 } }"


def loaded(text: str) -> Loaded:
    return load_texts({FILE: RECEIVERS + text})


# What they mean


def test_a_former_spelling_is_read_as_what_it_means_and_said_with_its_place():
    found = loaded("limits: {attempts: 3, archive_days: 30}")
    assert found.problems == ()
    assert (found.config.archived.days, found.config.limits.attempts) == (30, 3)
    message = "'archive_days: 30' is the spelling of 0.1: write 'archive: 30d' under 'retention'"
    assert found.former == (Problem(FILE, 2, 23, message),)
    assert [(one.code, str(one.message)) for one in audit(found) if one.code == "former"] == [("former", message)]


def test_the_load_of_a_smoke_test_says_for_how_long_like_everything_else():
    texts = read_folder(FOLDER.parents[1] / "config")
    policy = texts["rollouts/fraud-online.yaml"]
    smoke = next(line for line in policy.splitlines() if line.startswith("smoke:"))
    found = load_texts(texts | {"rollouts/fraud-online.yaml": policy.replace(smoke, LOAD)})
    assert found.problems == ()
    load = found.policies["fraud-online"].smoke
    assert load is not None
    assert load.load is not None
    assert load.load.seconds == 30
    (one,) = found.former
    assert one.message == "'seconds: 30' is the spelling of 0.1: write 'for: 30s'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {archive_days: ten}", "archive_days: expected a whole number of days above 0, found text"),
        ("limits: {archive_days: [3]}", "archive_days: expected a whole number of days above 0, found a list"),
        ("limits: {archive_days: true}", "archive_days: expected a whole number of days above 0, found True"),
        (
            "limits: {archive_days: 30}\nretention: {archive: 30d}",
            "'archive_days' says what 'archive' under 'retention'",
        ),
        ("limits: {archive_days: 9999}", "archive: 9999d is out of bounds"),
    ],
)
def test_a_mistake_in_a_former_spelling_is_said_at_its_place_with_what_is_written_now(text, said):
    (problem,) = loaded(text).problems
    assert problem.line == 2
    assert said in str(problem)


@pytest.mark.parametrize("one", SPELLINGS, ids=lambda one: ".".join(one.old))
def test_what_is_older_than_the_last_minor_version_is_refused_with_the_same_suggestion(one):
    text = f"{one.old[0]}: {{ {': { '.join(one.old[1:])}: 30 {'}' * (len(one.old) - 1)}"
    node, wrong = read(one.files, text)
    assert node is not None
    assert wrong == []
    major, minor = map(int, one.since.split("."))
    still, later = Report(one.files.replace("*", "a.yaml")), Report(one.files.replace("*", "a.yaml"))
    _, (found,) = modern(node, still, f"{major}.{minor}.7")
    assert still.problems == []
    refused, none = modern(node, later, f"{major}.{minor + 1}.0")
    assert none == []
    (problem,) = later.problems
    assert problem.message == found.message.replace(
        f"is the spelling of {one.before}", f"is not read any more since {one.since}"
    )
    assert one.old[-1] not in str(refused.plain())


# The text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("limits: {archive_days: 30}\n", "retention: { archive: 30d }\n"),
        ("limits:\n  archive_days: 30 # a month\n", "retention: { archive: 30d } # a month\n"),
        (
            "# how much\nlimits:\n  attempts: 3 # enough\n  archive_days: 30 # a month\n\n# more\ndefaults: {}\n",
            "# how much\nlimits:\n  attempts: 3 # enough\nretention: { archive: 30d } # a month\n\n# more\ndefaults: {}\n",
        ),
        ("limits: { attempts: 8, archive_days: 30 } # x", "limits: { attempts: 8 } # x\nretention: { archive: 30d }\n"),
        ("limits: { archive_days: 30, attempts: 8 }\n", "limits: { attempts: 8 }\nretention: { archive: 30d }\n"),
        ("limits: {archive_days: 30} # a month\n", "retention: { archive: 30d } # a month\n"),
        (
            "retention: {records: 60d}\nlimits:\n  depth: 2\n  archive_days: 30 # a month\n",
            "retention: { archive: 30d, records: 60d} # a month\nlimits:\n  depth: 2\n",
        ),
        (
            "retention: {records: 60d}\nlimits: {depth: 2, archive_days: 30, attempts: 8}\n",
            "retention: { archive: 30d, records: 60d}\nlimits: {depth: 2, attempts: 8}\n",
        ),
        (
            "limits:\n    archive_days: 30\n    depth: 2\nretention:\n    # of events\n    records: 60d\n",
            "limits:\n    depth: 2\nretention:\n    # of events\n    archive: 30d\n    records: 60d\n",
        ),
        (
            "retention:\n  records: 60d\nlimits:\n  depth: 2\n  archive_days: 30",
            "retention:\n  archive: 30d\n  records: 60d\nlimits:\n  depth: 2\n",
        ),
        ("limits:\r\n  archive_days: 30\r\n  depth: 2\r\n", "limits:\r\n  depth: 2\r\nretention: { archive: 30d }\r\n"),
        ("limits: {archive_days:\n  30}\n", None),
        ("limits:\n  # a month\n  archive_days: 30\n", None),
        ("limits: {archive_days: 30}\nretention: {archive: 30d}\n", None),
        ("limits: &x {archive_days: 30}\n", None),
    ],
)
def test_a_text_is_rewritten_at_the_place_and_nowhere_else(old, new):
    assert rewritten(FILE, old) == new


def test_a_key_that_is_renamed_stays_where_it_stands():
    assert rewritten("rollouts/a.yaml", LOAD) == LOAD.replace("seconds: 30", "for: 30s")
    block = "smoke:\n  load:\n    rps: 20\n    'seconds':  30   # half a minute\n"
    assert rewritten("rollouts/a.yaml", block) == block.replace("'seconds':  30", "for:  30s")
    assert rewritten("rollouts/a.yaml", "smoke: { load: { rps: 2 } }\n") == "smoke: { load: { rps: 2 } }\n"


ENTRIES = {"attempts: 3", "depth: 2", "follow: 12h"}


@st.composite
def files(draw: st.DrawFn) -> str:
    """switchyard.yaml in the spelling of 0.1, however it is laid out."""
    days, indent = draw(st.integers(1, 3660)), " " * draw(st.sampled_from([1, 2, 4]))
    remark = draw(st.sampled_from(["", " # a: {b}", " #"]))

    def section(name: str, entries: list[str]) -> str:
        if draw(st.booleans()):
            return f"{name}: {{{', '.join(entries)}}}{remark}\n"
        return f"{name}:{remark}\n" + "".join(f"{indent}{one}{remark}\n" for one in entries)

    limits = draw(st.permutations([f"archive_days: {days}", *draw(st.sets(st.sampled_from(sorted(ENTRIES))))]))
    parts = [section("limits", limits), RECEIVERS]
    if draw(st.booleans()):
        parts.append(section("retention", draw(st.sampled_from([["records: 60d"], ["records: 8d", "unmatched: 7d"]]))))
    if draw(st.booleans()):
        parts.append("# a remark of its own\n\ndefaults: {language: ja}\n")
    return "".join(draw(st.permutations(parts)))


@settings(max_examples=80)
@given(files())
def test_whatever_the_layout_the_new_text_says_the_same_without_a_warning(text):
    before = load_texts({FILE: text})
    assert before.problems == ()
    assert len(before.former) == 1
    new = rewritten(FILE, text)
    assert new is not None
    after = load_texts({FILE: new})
    assert (after.problems, after.former, after.config) == ((), (), before.config)
    section = "limits:" in text and "limits:" not in new  # which takes the remark in its own line with it
    assert text.count("#") - new.count("#") <= section


# The command line, and who does not use it


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config" / "rules").mkdir(parents=True)
    rules = "rules: [{name: good, event: RunCompleted, do: [{notify: a}]}]\n"
    (tmp_path / "config" / "rules" / "team.yaml").write_text(rules)
    (tmp_path / "config" / FILE).write_text(RECEIVERS + "limits: { attempts: 3, archive_days: 30 } # of ours\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_warns_and_fails_only_where_it_is_strict(folder, capsys):
    assert main(["check"]) == 0
    said = capsys.readouterr().out
    assert f"config/{FILE}:2:24: warning: 'archive_days: 30' is the spelling of 0.1: write 'archive: 30d'" in said
    assert "no problems, 1 warning" in said
    assert main(["check", "--strict"]) == 1
    capsys.readouterr()
    assert main(["check", "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert (warning["code"], warning["line"], warning["column"]) == ("former", 2, 24)


def test_the_diff_of_rewrite_is_one_that_git_applies(folder, capsys):
    assert main(["check", "--rewrite"]) == 0
    diff = capsys.readouterr().out
    assert "-limits: { attempts: 3, archive_days: 30 } # of ours" in diff
    assert "+limits: { attempts: 3 } # of ours" in diff
    subprocess.run(["git", "apply", "-"], input=diff, text=True, check=True, cwd=folder)
    assert main(["check", "--strict"]) == 0
    assert (folder / "config" / FILE).read_text().endswith("# of ours\nretention: { archive: 30d }\n")
    capsys.readouterr()
    assert main(["check", "--rewrite"]) == 0
    assert capsys.readouterr() == ("", "")


def test_what_rewrite_leaves_to_a_person_is_said_beside_the_diff(folder, capsys):
    (folder / "config" / FILE).write_text(RECEIVERS + "limits: {archive_days:\n  30}\n")
    assert main(["check", "--rewrite"]) == 0
    out, error = capsys.readouterr()
    assert out == ""
    assert "'archive_days: 30' is the spelling of 0.1" in error
    assert "write it by hand" in error


async def test_a_running_service_says_so_in_its_health_and_on_every_page():
    desk = Desk(loaded("limits: {archive_days: 30}"))
    health = (await desk.get("/api/health")).json
    assert (health["status"], health["former"]) == ("ok", 1)
    (one,) = (await desk.get("/api/config")).json["former"]
    assert (one["file"], one["line"], one["column"]) == (FILE, 2, 10)
    page = await desk.get("/freezes")
    assert "1 former spelling in the configuration" in page.words
    assert "write 'archive: 30d' under 'retention'" in page.words
    silent = await ask(app(lambda: Desk(loaded("retention: {archive: 30d}"))), "GET", "/freezes", {})
    assert "former spelling" not in silent.words


# All of the last minor version


def test_the_whole_configuration_of_the_last_minor_version_decides_the_same_and_so_does_its_rewrite():
    """As it was shipped, and with everything that it could say otherwise."""
    shipped = read_folder(FOLDER / "0.1" / "config")
    said = recorded(FOLDER / "0.1" / "decisions.json")
    policy = shipped["rollouts/fraud-online.yaml"]
    smoke = next(line for line in policy.splitlines() if line.startswith("smoke:"))
    main_file = shipped[FILE].replace("  attempts: 8\n", "  attempts: 8\n  archive_days: 30 # a month\n")
    full = shipped | {FILE: main_file, "rollouts/fraud-online.yaml": policy.replace(smoke, LOAD)}
    assert len(load_texts(full).former) == len(SPELLINGS), "each former spelling is in it"
    new = {name: rewritten(name, text) if name.endswith(".yaml") else text for name, text in full.items()}
    texts = {name: text for name, text in new.items() if text is not None}
    assert texts.keys() == full.keys()
    assert load_texts(texts).former == ()
    assert [one for one in audit(load_texts(texts)) if not one.note] == []
    for version in (shipped, full, texts):
        decided = decided_by(version, said["envelopes"])
        for name, old in said["decided"].items():
            assert includes(decided[name], old), name
