"""The live account tells what happens to a rollout in a few lines; its minutes are in the console."""

import io
import logging

import pytest
from rich.console import Console

from local.account import Account
from local.rollouts import Rollouts
from local.serve import Plain
from shared.conduct import Conductor
from shared.rules.load import load_texts
from tests.fleet import Fate
from tests.station import SWITCHYARD, Station, opened, run_event
from tests.test_rollouts import POLICY, STORIES, Machine
from tests.test_versions import BROKEN, OTHER, RULES
from tests.world import Outside, VirtualClock


async def told(policy, fate):
    machine, text = Machine(policy, fate), io.StringIO()
    account = Account(Console(file=text, width=200), "http://localhost:7071", machine.fleet.clock)
    machine.driver = Rollouts(Conductor(machine.world, account.rollout))
    await machine.run()
    return text.getvalue().splitlines()


@pytest.mark.parametrize(
    ("story", "phrases"),
    [
        (
            STORIES["promotion"],
            [
                "the deployment is being made",
                "test requests, 0 failed",
                "fraud-6 90 %, fraud-7 10 %",
                "fraud-7 100 %",
                "promoted",
            ],
        ),
        (
            STORIES["rollback"],
            ["fraud-6 50 %, fraud-7 50 %", "the traffic goes back: fraud-6 100 %", "HTTP 5xx: canary", "rolled back"],
        ),
        (STORIES["approval"], ["? ", "switchyard rollouts approve rollout-1", "approved by erin: says the seed"]),
        ((POLICY, Fate(frozen=(0, 3600))), ["frozen until 2026-11-20 09:30 UTC by dora: year end"]),
        ((POLICY, Fate(creation="quota")), ["Create: there is no quota", "rolled back"]),
    ],
)
async def test_what_happens_to_a_rollout_is_told_in_order(story, phrases):
    lines = await told(*story)
    text = "\n".join(lines)
    places = [text.find(phrase) for phrase in phrases]
    assert -1 not in places, text
    assert places == sorted(places)
    assert "http://localhost:7071/rollouts/rollout-1" in text
    assert len(lines) < 30


async def test_a_freeze_is_told_of_once_and_a_question_says_itself_once():
    frozen = await told(POLICY, Fate(frozen=(0, 7200)))
    assert sum("frozen until" in line for line in frozen) == 1
    (asked,) = [line for line in await told(*STORIES["approval"]) if "? " in line]
    assert asked.count("has passed") <= 1


async def test_an_edit_of_the_rules_has_its_line_and_what_is_wrong_with_it():
    text = io.StringIO()
    account = Account(Console(file=text, width=200), "http://localhost:7071", VirtualClock())
    before = load_texts({"switchyard.yaml": SWITCHYARD, "rules/a.yaml": RULES, "rules/b.yaml": OTHER})
    edited = {"switchyard.yaml": SWITCHYARD, "rules/a.yaml": BROKEN, "rules/c.yaml": OTHER}
    after = load_texts(edited, before.good)
    await account.reloaded(before, after)
    first, *rest = text.getvalue().splitlines()
    assert f"rules: 2 in force, version {after.version} (rules/c.yaml changed; rules/b.yaml gone)" in first
    assert "refused  rules/a.yaml:1:28: unknown event type 'RunComplete'" in rest[0]
    assert "rules/a.yaml: the last good version stays in force" in rest[1]


HOSTILE = "run\x1b[2J\x1b]0;owned\x07\r\nfake: all is well\u202e[red]x[/]"


async def test_no_name_moves_the_cursor_makes_a_line_or_a_colour(tmp_path):
    """Whoever names a run chooses what an operator's terminal is told to print."""
    text = io.StringIO()
    clock = VirtualClock()
    account = Account(Console(file=text, width=300, force_terminal=True), "http://localhost:7071", clock)
    with opened(tmp_path / "state.db") as database:
        at = Station(Outside(), database, "rules: [{name: all, event: RunCompleted, do: [{notify: fraud}]}]")
        at.service._listener = account
        await at.send(run_event("e1", runId=HOSTILE), {"id": HOSTILE, "eventType": HOSTILE, "topic": 7})
        await at.work()
    said = text.getvalue()
    assert "run\\x1b[2J" in said
    assert "[red]x[/]" in said
    assert not {"\x1b[2J", "\x1b]0", "\x07", "\u202e"} & {
        mark for mark in ("\x1b[2J", "\x1b]0", "\x07", "\u202e") if mark in said
    }
    assert "\nfake:" not in said


def test_a_log_record_stays_one_record():
    record = logging.LogRecord("switchyard", logging.ERROR, "f", 1, "no %s", (HOSTILE,), None)
    said = Plain("%(levelname)s %(name)s: %(message)s").format(record)
    assert "\x1b" not in said
    assert [line for line in said.split("\n") if not line.startswith(("ERROR switchyard: ", "  "))] == []
