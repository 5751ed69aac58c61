"""The shipped configuration: its rule tests pass and cover every rule, nothing in it is doubtful, and rollouts find their people."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.cli.rules_test import read_tests
from shared.events import Event
from shared.rehearsal.story import read_stories
from shared.rehearsal.trial import as_text, try_all
from shared.rules.audit import audit
from shared.rules.load import TELL, load_texts
from shared.rules.plan import plan
from shared.settings import read_folder

CONFIG = Path(__file__).parent.parent / "config"
LOADED = load_texts(read_folder(CONFIG))


def test_the_rule_tests_pass_and_no_rule_is_without_one():
    stories, wrong = read_stories(read_tests(CONFIG), LOADED)
    assert [str(one) for one in wrong] == []
    trials, covered = try_all(stories, LOADED)
    assert all(trial.passed for trial in trials), as_text(trials)
    assert covered.missing == ()
    assert len({rule.file for rule in LOADED.rules.rules if rule.file.startswith("rules/")}) == 3  # three teams


def test_nothing_in_it_is_doubtful():
    assert [str(one) for one in audit(LOADED) if not one.note] == []


def event(kind: str, **data: object) -> Event:
    return Event("e", kind, datetime(2026, 11, 20, tzinfo=UTC), "/s", workspace="prod", data=data)


@pytest.mark.parametrize(
    ("happened", "effects"),
    [
        (
            event("RolloutWaiting", policy="fraud-online", ask_of="ml-leads"),
            {"(rollout fraud-online asks ml-leads)": ["teams", "email"]},
        ),
        (
            event("RolloutRolledBack", policy="fraud-online"),
            {
                "fraud-model-not-deployed (arrived)": ["arrived"],
                "(rollout fraud-online)": ["teams", "email"],
                "platform-rollout-rolled-back": ["teams", "email"],
            },
        ),
        (event("ActionFailed"), {TELL: ["teams", "email"]}),
        (event("Digest"), {TELL: ["teams", "email"]}),
    ],
)
def test_what_nobody_has_to_write_finds_its_people(happened, effects):
    found: dict[str, list[str]] = {}
    for intent in plan(LOADED.rules, happened).intents:
        found.setdefault(intent.rule, []).append(intent.action)
    assert found == effects
