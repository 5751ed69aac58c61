"""The configuration folder: what is in force, and what is said about what is not."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.actions import discover
from shared.rules.load import ORPHANS, TELL, UNTOLD, Loaded, load_texts
from shared.rules.tree import read
from shared.settings import read_folder

CONFIG = Path(__file__).parent.parent / "config"
WRONG = CONFIG / "wrong"
MAIN = (CONFIG / "switchyard.yaml").read_text()
DOCS = (CONFIG.parent / "docs" / "rules.md").read_text()
SHIPPED = read_folder(CONFIG)
POLICIES = {name: text for name, text in SHIPPED.items() if name.startswith(("rollouts/", "samples/", "quality/"))}
EXPECT = re.compile(r"# expect: (\d+:\d+: .+)\n")

RULE = """\
rules:
  - name: {name}
    event: RunCompleted
    do: [{{notify: fraud-team}}]
"""


def loaded(**rules: str) -> Loaded:
    return load_texts({"switchyard.yaml": MAIN} | {f"rules/{name}.yaml": text for name, text in rules.items()})


KINDS = {
    "switchyard": "switchyard.yaml",
    "message": "templates/own.yaml",
    "policy": "rollouts/wrong.yaml",
    "quality": "quality/wrong.yaml",
}


def wrong_cases() -> list[tuple[str, dict[str, str]]]:
    """A file stands for a rule file, or for what its name begins with; a folder is laid over the shipped configuration."""
    cases = []
    for path in sorted(WRONG.iterdir()):
        if path.name.startswith("test-"):
            continue  # rule tests: no part of the configuration
        if path.is_dir():
            texts = {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*.*")}
            cases.append((path.name, texts))
        else:
            kind = path.name.partition("-")[0]
            cases.append((path.stem, {KINDS.get(kind, "rules/wrong.yaml"): path.read_text()}))
    return cases


@pytest.mark.parametrize(("name", "texts"), wrong_cases(), ids=[name for name, _ in wrong_cases()])
def test_each_mistake_is_said_with_its_place_and_what_was_expected(name, texts):
    beside = {} if "switchyard.yaml" in texts else POLICIES
    result = load_texts({"switchyard.yaml": MAIN, **beside, **texts})
    expected = [f"{file}:{found[1]}" for file, text in sorted(texts.items()) if (found := EXPECT.match(text))]
    assert [str(problem) for problem in result.problems] == expected
    assert result.rejected_files == tuple(problem.file for problem in result.problems)


def test_there_are_enough_wrong_files():
    assert len(wrong_cases()) >= 160


def test_every_mistake_of_all_files_is_said_at_once():
    broken = RULE.format(name="a-run").replace("RunCompleted", "RunComplete").replace("fraud-team", "frud-team")
    result = loaded(a=broken, b=RULE.format(name="B"), c="rules: [")
    assert [(problem.file, problem.line) for problem in result.problems] == [
        ("rules/a.yaml", 3),
        ("rules/a.yaml", 4),
        ("rules/b.yaml", 2),
        ("rules/c.yaml", 1),
    ]


def test_a_broken_file_is_refused_alone():
    result = loaded(a=RULE.format(name="a-run"), b="rules: [", c=RULE.format(name="c-run"))
    assert [rule.name for rule in result.rules.rules] == ["a-run", "c-run", ORPHANS, UNTOLD, TELL]
    assert result.rejected_files == ("rules/b.yaml",)


def test_what_is_valid_of_a_broken_switchyard_yaml_stays():
    result = load_texts(
        {
            "switchyard.yaml": "receivers:\n  a: {email: a@contoso.com}\n  b: {emial: b@contoso.com}\n",
            "rules/a.yaml": "rules:\n  - {name: a-run, event: RunCompleted, do: [{notify: a}]}\n",
            "rules/b.yaml": "rules:\n  - {name: b-run, event: RunCompleted, do: [{notify: b}]}\n",
        }
    )
    assert [rule.name for rule in result.rules.rules] == ["a-run"]
    assert result.rejected_files == ("rules/b.yaml", "switchyard.yaml")
    assert "receiver 'b' has a mistake of its own: switchyard.yaml:3:3" in str(result.problems[0])


def test_a_rule_that_names_a_broken_template_is_told_so():
    texts = {"switchyard.yaml": MAIN, "templates/own.yaml": "text: no title\n"}
    step = "{notify: fraud-team, template: own}"
    result = load_texts(texts | {"rules/a.yaml": f"rules: [{{name: a, event: RunCompleted, do: [{step}]}}]\n"})
    assert "template 'own' has a mistake of its own: templates/own.yaml:1:1" in str(result.problems[0])


def test_an_own_template_can_be_named():
    texts = {"switchyard.yaml": MAIN, "templates/own.yaml": "title: {en: Done, ja: 完了}\n"}
    step = "{notify: fraud-team, template: own}"
    result = load_texts(texts | {"rules/a.yaml": f"rules: [{{name: a, event: RunCompleted, do: [{step}]}}]\n"})
    assert (result.problems, set(result.templates)) == ((), {"own"})


def test_the_shipped_configuration_has_no_mistake():
    result = load_texts(read_folder(CONFIG))
    assert result.problems == ()
    assert {"fraud-run-good", "platform-failure", TELL} <= {rule.name for rule in result.rules.rules}
    assert "churn-batch-by-airflow" not in {rule.name for rule in result.rules.rules}  # it is not enabled


def test_a_folder_that_is_not_there_is_a_problem_and_no_exception(tmp_path):
    result = load_texts(read_folder(tmp_path / "none"))
    assert [str(problem) for problem in result.problems] == ["switchyard.yaml:1:1: the file is missing"]
    assert len(result.rules) == 0


def test_bytes_that_are_not_text_are_a_problem_with_a_place(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "switchyard.yaml").write_text(MAIN)
    (tmp_path / "rules" / "a.yaml").write_bytes(b"rules:\n  - name: caf\xe9\n")
    assert [str(problem) for problem in load_texts(read_folder(tmp_path)).problems] == [
        "rules/a.yaml:2:14: a character that YAML does not allow: save the file as UTF-8 text"
    ]


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "switchyard.yaml").write_text(MAIN, encoding="utf-8-sig")
    assert load_texts(read_folder(tmp_path)).problems == ()


def test_the_version_names_the_bytes_of_all_files():
    one, same, other = (loaded(a=RULE.format(name=name)) for name in ("a-run", "a-run", "b-run"))
    assert re.fullmatch("[0-9a-f]{12}", one.version)
    assert one.version == same.version == one.rules.version != other.version


DAY = 86_400


@pytest.mark.parametrize(
    ("main", "kept", "archived"),
    [
        ("", [400 * DAY, 30 * DAY, 400 * DAY, 400 * DAY, 400 * DAY], 90),
        ("retention: {records: 60d, archive: 10d}", [400 * DAY, 60 * DAY, 400 * DAY, 400 * DAY, 400 * DAY], 10),
        ("limits: {archive_days: 7}", [400 * DAY, 30 * DAY, 400 * DAY, 400 * DAY, 400 * DAY], 7),
        ("limits: {archive_days: 7}\nretention: {unmatched: 7d}", [400 * DAY, 30 * DAY, *[400 * DAY] * 3], 7),
    ],
)
def test_a_rule_says_how_long_the_record_is_kept_or_else_retention_does(main, kept, archived):
    rules = """\
rules:
  - {name: long, event: RunCompleted, keep: 400d, do: [{notify: a}]}
  - {name: usual, event: RunCompleted, do: [{notify: a}]}
  - {name: missing, expect: ModelDeployed, after: ModelRegistered, within: 2h, keep: 400d, do: [{notify: a}]}
"""
    result = load_texts(
        {"switchyard.yaml": f"receivers: {{a: {{email: a@contoso.com}}}}\n{main}", "rules/a.yaml": rules}
    )
    assert result.problems == ()
    assert sorted(rule.keep for rule in result.rules.rules) == sorted(kept)
    assert result.config.archived.days == archived


def test_a_receiver_becomes_one_intent_for_each_channel_address():
    main = """\
defaults: {language: ja}
receivers:
  all: {teams: ["${A_URL}", "${B_URL}"], email: [a@contoso.com, b@contoso.com], sms: "+818012345678"}
"""
    rules = "rules: [{name: a, event: RunCompleted, do: [{notify: all, template: run-completed, language: en}]}]"
    result = load_texts({"switchyard.yaml": main, "rules/a.yaml": rules})
    said = {"template": "run-completed", "language": "en"}
    assert [(step.action, step.params) for step in result.rules.rules[0].steps] == [
        ("teams", {"url": "${A_URL}"} | said),
        ("teams", {"url": "${B_URL}"} | said),
        ("email", {"to": ["a@contoso.com", "b@contoso.com"]} | said),
        ("sms", {"to": ["+818012345678"]} | said),
    ]


def test_a_message_is_in_the_receivers_language_or_else_the_default():
    main = """\
defaults: {language: ja}
receivers: {a: {email: a@contoso.com}, b: {email: b@contoso.com, language: en}}
"""
    rules = "rules: [{name: a, event: RunCompleted, do: [{notify: a}, {notify: b}]}]"
    steps = load_texts({"switchyard.yaml": main, "rules/a.yaml": rules}).rules.rules[0].steps
    assert [step.params["language"] for step in steps] == ["ja", "en"]


def test_what_stands_beside_retrain_goes_before_the_pipelines_own():
    step = "{retrain: fraud-weekly, inputs: {reason: drift, learning_rate: 0.1}, experiment: again}"
    rules = loaded(a=f"rules: [{{name: a, event: DriftDetected, do: [{step}]}}]").rules
    params = rules.rules[0].steps[0].params
    assert params["experiment"] == "again"
    assert params["inputs"] == {
        "training_data": "azureml:transactions:31",
        "learning_rate": 0.1,
        "reason": "drift",
    }
    assert params["workspace"] == {
        "subscription": "5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59",
        "resource_group": "mlops",
        "workspace": "prod",
    }


def test_a_value_that_becomes_known_with_the_event_is_not_judged_before():
    step = '{resubmit: {limit: "{{ event.tags.limit }}"}}'
    assert loaded(a=f"rules: [{{name: a, event: RunStatusChanged, do: [{step}]}}]").problems == ()


def test_the_receiver_to_tell_hears_of_our_own_failures():
    rule = loaded().rules.rules[-1]
    assert rule.name == TELL
    assert {"ActionFailed", "EventRefused", "Digest", "RuleSilent", "RulesChanged"} <= set(rule.events)
    assert [step.action for step in rule.steps] == ["teams", "email"]


def test_a_secret_in_clear_is_never_repeated():
    clear = "https://prod.example.com/workflows/invoke?sig=Zm9vYmFyYmF6"
    main = f"receivers: {{a: {{teams: '{clear}'}}}}\n"
    rules = f"rules: [{{name: a, event: RunCompleted, do: [{{teams: {{url: '{clear}'}}}}]}}]"
    problems = load_texts({"switchyard.yaml": main, "rules/a.yaml": rules}).problems
    assert problems
    assert not any("Zm9v" in problem.message or "example.com" in problem.message for problem in problems)


def test_words_are_read_as_yaml_1_2_reads_them():
    node, problems = read(
        "f", "{a: no, b: on, c: 22:30, d: 1_0, e: 012, f: 0.5, g: 'true', h: 2026-01-01, i: ~, j: 1e3}"
    )
    assert problems == []
    assert node is not None
    assert node.plain() == {
        "a": "no",
        "b": "on",
        "c": "22:30",
        "d": "1_0",
        "e": 12,
        "f": 0.5,
        "g": "true",
        "h": "2026-01-01",
        "i": None,
        "j": 1000.0,
    }


def test_an_alias_stands_for_what_it_names():
    text = """\
rules:
  - {name: a, event: RunCompleted, do: &tell [{notify: fraud-team}]}
  - {name: b, event: RunCompleted, do: *tell}
"""
    rules = loaded(a=text).rules.rules
    assert rules[0].steps == rules[1].steps != ()


WORDS = r"""{ } [ ] : # | > ~ = \ " ' - &a *a !x .. {{ }} null 1e999 any: 🎉 name: notify: match: ${ .nan "\ud800" ? <<: {%"""
PIECES = st.sampled_from(
    [*(f"{word} " for word in WORDS.split()), "\n", "\n  ", "\t", "\0", "\udc80", "- - - ", "9" * 50]
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), PIECES), min_size=1, max_size=5)
EDITED = {
    "switchyard.yaml": MAIN,
    "rollouts/fraud-online.yaml": SHIPPED["rollouts/fraud-online.yaml"],
    "rules/churn.yaml": (CONFIG / "rules" / "churn.yaml").read_text(),
    "templates/own.yaml": "title: {en: Done, ja: 完了}\nfacts: [{name: Id, value: '{{ event.id }}'}]\n",
}


@settings(max_examples=40)
@given(st.sampled_from(sorted(EDITED)), EDITS)
def test_nothing_that_people_write_makes_loading_raise(file, edits):
    text = EDITED[file]
    for where, cut, piece in edits:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + cut :]
    result = load_texts({"switchyard.yaml": MAIN, **POLICIES, file: text})
    assert all(problem.line >= 1 and problem.column >= 1 and str(problem) for problem in result.problems)
    assert bool(result.rejected_files) == bool(result.problems)


# --- The last good version ---

SHARED = """\
receivers: {a: {email: a@contoso.com}, b: {email: b@contoso.com}}
pipelines: {p: {source: pipelines/p.yml, experiment: e}}
"""
OWN = "title: {en: Done, ja: 完了}\n"
BROKEN = "rules: [{name: x"


def rule(name, *, receiver="a", template=""):
    step = f"notify: {receiver}" + (f", template: {template}" if template else "")
    return f"rules: [{{name: {name}, event: RunCompleted, do: [{{{step}}}]}}]\n"


GOOD = {
    "switchyard.yaml": SHARED,
    "pipelines/p.yml": "jobs: {}\n",
    "templates/own.yaml": OWN,
    "rules/a.yaml": rule("one", template="own"),
    "rules/b.yaml": rule("two", receiver="b"),
}


def in_force(result):
    return [(one.name, one.file) for one in result.rules.rules]


def test_a_broken_file_stays_as_it_was_and_is_still_named():
    before = load_texts(GOOD)
    after = load_texts(GOOD | {"rules/a.yaml": BROKEN, "rules/c.yaml": rule("three")}, before.good)
    assert in_force(after) == [("one", "rules/a.yaml"), ("two", "rules/b.yaml"), ("three", "rules/c.yaml")]
    assert (after.rejected_files, after.kept) == (("rules/a.yaml",), ("rules/a.yaml",))
    assert [problem.file for problem in after.problems] == ["rules/a.yaml"]
    assert after.good == GOOD | {"rules/c.yaml": rule("three")}
    assert after.version == load_texts(after.good).version != before.version


def test_a_broken_file_that_was_never_good_is_refused_alone():
    after = load_texts(GOOD | {"rules/new.yaml": BROKEN}, GOOD)
    assert (after.rejected_files, after.kept, after.good) == (("rules/new.yaml",), (), GOOD)


def test_a_file_that_is_gone_is_gone():
    left = {name: text for name, text in GOOD.items() if name != "rules/a.yaml"}
    after = load_texts(left, GOOD)
    assert (in_force(after), after.problems, after.good) == ([("two", "rules/b.yaml")], (), left)


@pytest.mark.parametrize(
    ("edit", "refused", "kept", "said"),
    [
        # A name that another file has already: the file that came by it is the one that is refused.
        ({"rules/a.yaml": rule("two")}, ["rules/a.yaml"], ["rules/a.yaml"], "it stands in rules/b.yaml:1:16 already"),
        ({"rules/0.yaml": rule("two")}, ["rules/0.yaml"], [], "it stands in rules/b.yaml:1:16 already"),
        # A receiver, a template or a pipeline file that a file needs which nobody has changed.
        (
            {"switchyard.yaml": SHARED.replace(", b: {email: b@contoso.com}", "")},
            ["rules/b.yaml", "switchyard.yaml"],
            ["switchyard.yaml"],
            "does not fit rules/b.yaml, which nobody has changed",
        ),
        (
            {"templates/own.yaml": None, "switchyard.yaml": SHARED.replace("{a:", "{c: {email: c@contoso.com}, a:")},
            ["rules/a.yaml", "templates/own.yaml"],
            ["templates/own.yaml"],
            "is gone, and is still needed by rules/a.yaml",
        ),
        (
            {"pipelines/p.yml": None},
            ["pipelines/p.yml", "switchyard.yaml"],
            ["pipelines/p.yml"],
            "is gone, and is still needed by switchyard.yaml",
        ),
        ({"switchyard.yaml": SHARED + "limit: 3\n"}, ["switchyard.yaml"], ["switchyard.yaml"], "unknown key 'limit'"),
        ({"switchyard.yaml": None}, ["switchyard.yaml"], ["switchyard.yaml"], "the file is missing"),
        # Both halves of a rule's move: neither file is in force without the other.
        (
            {"rules/a.yaml": rule("two"), "rules/b.yaml": BROKEN},
            ["rules/a.yaml", "rules/b.yaml"],
            ["rules/a.yaml", "rules/b.yaml"],
            "it stands in rules/b.yaml:1:16 already",
        ),
    ],
)
def test_no_edit_takes_out_what_another_file_needs(edit, refused, kept, said):
    files = {name: text for name, text in (GOOD | edit).items() if text is not None}
    after = load_texts(files, GOOD)
    assert (list(after.rejected_files), list(after.kept)) == (refused, kept)
    assert any(said in problem.message for problem in after.problems), after.problems
    assert {("one", "rules/a.yaml"), ("two", "rules/b.yaml")} == set(in_force(after))


@pytest.mark.parametrize("order", [("rules/a.yaml", "rules/b.yaml"), ("rules/b.yaml", "rules/a.yaml")])
def test_a_rule_may_move_from_one_file_to_another_in_one_edit(order):
    there, here = order
    both = GOOD[here].replace("}]\n", "}, ") + GOOD[there].replace("rules: [", "")
    moved = GOOD | {there: rule("new"), here: both}
    after = load_texts(moved, GOOD)
    assert (after.problems, after.kept, after.good) == ((), (), moved)


TEXTS = {
    "switchyard.yaml": [SHARED, SHARED.replace("b:", "c:"), SHARED + "limit: 3\n", BROKEN],
    "pipelines/p.yml": ["jobs: {}\n"],
    "templates/own.yaml": [OWN, OWN.replace("ja", "jp"), "title: {en: Over, ja: 終了}\n"],
    "templates/new.yaml": [OWN],
    "rules/a.yaml": [GOOD["rules/a.yaml"], rule("two"), rule("three", receiver="c"), BROKEN],
    "rules/b.yaml": [GOOD["rules/b.yaml"], rule("one"), rule("two", template="new"), BROKEN],
    "rules/c.yaml": [rule("one"), rule("three", template="own"), rule("four", receiver="b"), BROKEN],
}
FOLDERS = st.fixed_dictionaries({name: st.sampled_from([*texts, None]) for name, texts in TEXTS.items()})


@settings(max_examples=120)
@given(st.lists(FOLDERS, min_size=1, max_size=4))
def test_whatever_is_edited_what_is_in_force_is_good_and_no_file_loses_its_rules(folders):
    before = load_texts(GOOD)
    for folder in folders:
        files = {name: text for name, text in folder.items() if text is not None}
        after = load_texts(files, before.good)
        alone = load_texts(after.good)
        assert (alone.problems, alone.version, in_force(alone)) == ((), after.version, in_force(after))
        for name, text in after.good.items():
            assert text in {files.get(name), before.good.get(name)}
        assert {name for name in before.good if name in files} <= set(after.good)
        assert {name for name in after.good if after.good[name] != files.get(name)} == set(after.kept)
        assert {name for name in files if files[name] != after.good.get(name)} <= set(after.rejected_files)
        assert bool(after.rejected_files) == bool(after.problems)
        before = after


FIRST = DOCS.partition("\n## `when`")[0]
"""Of the document what is not one configuration together with its tests: those are in test_documents."""


def examples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", FIRST, re.DOTALL)


def test_the_examples_in_the_docs_are_valid():
    rule, block, main = examples()
    assert load_texts({"switchyard.yaml": main, "rules/doc.yaml": rule}).problems == ()
    inner = "".join(f"    {line}\n" for line in block.splitlines())
    shown = f"rules:\n  - name: shown\n    event: RunCompleted\n{inner}    do: [{{notify: fraud-team}}]\n"
    assert load_texts({"switchyard.yaml": main, "rules/doc.yaml": shown}).problems == ()


@pytest.mark.parametrize("line", re.findall(r"^\| `([\w.]+: [^`]+)` \|", FIRST.split("## Operators")[1], re.MULTILINE))
def test_each_operator_and_step_in_the_docs_is_valid(line):
    line = line.replace("{…}", "{}").replace("[…]", "[]")
    step = line.split(":")[0] in {"notify", *discover()}
    match, do = ("{workspace: prod}", f"{{{line}}}") if step else (f"{{{line}}}", "{notify: fraud-team}")
    rules = f"rules: [{{name: a, event: ModelRegistered, match: {match}, do: [{do}]}}]\n"
    assert load_texts({"switchyard.yaml": MAIN, **POLICIES, "rules/a.yaml": rules}).problems == ()
