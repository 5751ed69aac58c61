"""Upgrades: rollouts that ran when the service was deployed anew, on both hosts, as the version before recorded them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import azure.functions as func
import msgspec
import pytest

from local.rollouts import Rollouts
from shared import VERSION, book, wire
from shared.cli import main
from shared.conduct import Conductor
from shared.rollout.record import (
    CHANGES,
    ENDED,
    OLDEST,
    SCRIPT,
    Answered,
    Asked,
    Bake,
    Finish,
    Head,
    Rollout,
    Shift,
    Step,
)
from shared.rollout.script import script
from shared.rules.former import SPELLINGS
from tests.durable.drivers import Resting
from tests.fleet import Fleet
from tests.histories import FOLDER, name, read, recorded
from tests.histories.__main__ import durable
from tests.histories.stories import STORIES
from tests.test_rollout_driver import FUNCTIONS

pytestmark = [
    pytest.mark.filterwarnings("ignore:azure.functions (df_loads|Durable JSON):DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Potential duplicate Task completion"),
]

ROLLOUTS, DURABLE = recorded("rollouts"), recorded("durable")
RELEASE = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]["version"]


def before(path: Path) -> bool:
    """Whether a version before this one recorded it."""
    return not RELEASE.startswith(f"{path.parts[-3]}.")


def minor(release: str) -> tuple[int, int]:
    first, second = release.split(".")[:2]
    return int(first), int(second)


def account(path: Path) -> tuple[Rollout, list[Step], str]:
    found = read(path)
    return (
        msgspec.convert(found["about"], Rollout),
        msgspec.convert(found["steps"], list[Step]),
        found["verdict"],
    )


# The script


@pytest.mark.parametrize("path", ROLLOUTS, ids=name)
def test_a_recorded_rollout_is_replayed_word_for_word(path):
    """Where this fails, the script asks for something else than the version that the rollout began with: add a line to CHANGES
    (shared/rollout/record.py), and put `_since` at the place of the change.
    """
    about, steps, verdict = account(path)
    play = script(about)
    command = next(play)
    for step in steps[:-1]:
        assert command == step.command, f"step {step.n}"
        command = play.send(step.answer)
    assert command == steps[-1].command
    with pytest.raises(StopIteration) as end:
        play.send(steps[-1].answer)
    assert end.value.value == verdict


class Record(Conductor):
    """The far side is what it was: it answers from the record, and knows nothing else."""

    def __init__(self, fleet: Fleet, steps: list[Step]) -> None:
        super().__init__(fleet.world)
        self._record = steps

    async def _hear(self, about: Rollout, head: Head, n: int, command: Bake) -> Any:
        return self._answer(n, command)

    async def _do(self, about: Rollout, head: Head, n: int, command: Asked) -> Answered:
        if isinstance(command, Finish):
            await self._end(about, head)
        return self._answer(n, command)

    def _answer(self, n: int, command: Asked) -> Answered:
        assert command == self._record[n].command, f"step {n}"
        return self._record[n].answer


@pytest.mark.parametrize("path", [path for path in ROLLOUTS if before(path)], ids=name)
async def test_cut_behind_any_step_the_driver_of_today_takes_it_up_and_ends_it_as_it_would_have_ended(path):
    about, steps, verdict = account(path)
    for cut in range(len(steps)):
        fleet = Fleet(1)
        await book.begin(fleet.shelf, about)
        for step in steps[:cut]:
            await book.keep_step(fleet.shelf, about.id, step)
        await Rollouts(Record(fleet, steps)).advance(wire.Advance(about.id))
        assert await book.steps(fleet.shelf, about.id) == steps, f"cut behind step {cut}"
        assert (await book.head(fleet.shelf, about)).status == verdict


@pytest.mark.parametrize("story", ["promoted", "rejected", "judge-rolls-back", "batch", "asked-for-a-day", "stuck"])
async def test_a_rollout_that_the_version_before_began_goes_on_in_a_living_world(story):
    """The commands on record are done in the story's world, by whatever host; at the cut the driver of today takes over."""
    about, steps, verdict = account(FOLDER / "0.1" / "rollouts" / f"{story}.json")
    for cut in (0, len(steps) // 3, 2 * len(steps) // 3, len(steps) - 1):
        fleet = STORIES[story].fleet()
        fleet.rollout = about
        conductor = Resting(fleet)
        await conductor.begin()
        for step in steps[:cut]:
            while await conductor.step(about.id, step.n, step.asked, step.command) is None:
                pass
        while (await conductor.head()).status not in ENDED:
            await Rollouts(conductor).advance(wire.Advance(about.id))
        assert (await conductor.head()).status == verdict
        assert await conductor.steps() == steps, f"cut behind step {cut}"


async def test_what_begins_now_does_what_is_new_and_what_runs_does_not():
    """The same wait for an answer of a day, before and after the deployment that brought the second smoke test."""
    probes = {}
    for version in (1, SCRIPT):
        fleet = STORIES["asked-for-a-day"].fleet()
        fleet.rollout = msgspec.structs.replace(fleet.rollout, script=version)
        conductor = Resting(fleet)
        await conductor.begin()
        while (await conductor.head()).status not in ENDED:
            await Rollouts(conductor).advance(wire.Advance(fleet.rollout.id))
        probes[version] = [call[0] for call in fleet.calls].count("score")
    assert probes == {1: 1, SCRIPT: 2}


# Durable Functions


def asked(name: str, found: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    """What the orchestrator of today asks the host for, with so much of a history."""
    body = json.dumps({
        "history": history, "instanceId": found["instance"], "isReplaying": False, "parentInstanceId": None,
        "input": None, "upperSchemaVersion": 2,
    })  # fmt: skip
    state: dict[str, Any] = json.loads(FUNCTIONS[name](func.OrchestrationContext(body)))
    return state


def uncancelled(action: dict[str, Any]) -> dict[str, Any]:
    inner = (
        {"compoundActions": [uncancelled(one) for one in action["compoundActions"]]}
        if "compoundActions" in action
        else {}
    )
    return {key: value for key, value in action.items() if key != "isCanceled"} | inner


@pytest.mark.parametrize("path", DURABLE, ids=name)
def test_a_recorded_history_of_durable_functions_is_replayed_at_every_event(path):
    """The host compares what the orchestrator asks for with what it asked for before the deployment, in order: another action is a
    non-deterministic orchestration, and fails.
    """
    found = read(path)
    for episode in found["episodes"]:
        for events, actions in episode["turns"] if before(path) else episode["turns"][-1:]:
            state = asked("rollout", found, episode["history"][:events])
            wanted = [uncancelled(one) for one in episode["actions"][:actions]]
            assert [uncancelled(one) for one in state["actions"][0]] == wanted, f"at event {events}"
        assert state["actions"][0] == episode["actions"]
        assert state["isDone"]
    assert state["output"] == found["output"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("0.1/durable/*.json")), ids=name)
async def test_the_host_would_keep_the_same_history_to_the_letter_for_what_the_version_before_began(path):
    """In the same world. So whatever the moment of the deployment, what comes after it fits what came before."""
    assert await durable(path.stem, script=1) == path.read_text()


# The last resort


@pytest.mark.parametrize(("version", "word"), [(OLDEST - 1, "an older"), (SCRIPT + 1, "a newer")])
async def test_a_rollout_of_a_script_that_is_not_ours_moves_nothing_and_a_person_is_told(version, word):
    about, steps, _ = account(FOLDER / "0.1" / "rollouts" / "promoted.json")
    fleet = STORIES["promoted"].fleet()
    fleet.rollout = about = msgspec.structs.replace(about, script=version)
    conductor = Conductor(fleet.world)
    await conductor.start(about)
    shifted = next(step.n for step in steps if isinstance(step.command, Shift))
    for step in steps[: shifted + 1]:
        await book.keep_step(fleet.shelf, about.id, step)
    await Rollouts(conductor).advance(wire.Advance(about.id))
    head = await book.head(fleet.shelf, about)
    assert head.status == "stuck"
    assert f"it was begun by {word} version of Switchyard: by version {version}" in str(head.why)
    assert "our own fault" not in str(head.why)
    assert [call[0] for call in fleet.calls] == ["event", "publish"], "nothing but to tell of it"
    assert await book.take_turn(fleet.shelf, msgspec.structs.replace(about, id="next")) == "next"


# At a release


def test_every_change_of_the_script_names_its_release_and_what_is_older_than_the_last_minor_is_refused():
    releases = [minor(release) for release, _ in CHANGES.values()]
    assert list(CHANGES) == list(range(1, SCRIPT + 1))
    assert releases == sorted(releases)
    assert releases[-1] <= minor(RELEASE)
    before = [version for version, (release, _) in CHANGES.items() if minor(release) < minor(RELEASE)]
    assert max(before, default=1) == OLDEST


KINDS = {"config", "decisions.json", "durable", "engine", "links.json", "messages.json", "rollouts", "shapes.json"}
KINDS |= {"state.json", "state.sql", "tables.json"}


def test_both_the_last_minor_version_and_this_one_are_on_record():
    """`python -m tests.histories 0.N` records a version; folders of what is older than the last minor can go."""
    first, second = minor(RELEASE)
    for version in (f"{first}.{second - 1}", f"{first}.{second}"):
        assert {path.name for path in (FOLDER / version).iterdir()} >= KINDS, version
    versions = {account(path)[0].script for path in ROLLOUTS}
    assert versions == set(range(OLDEST, SCRIPT + 1))


def test_the_document_and_the_package_name_the_same_versions(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"switchyard {RELEASE}\n"
    text = (FOLDER.parents[1] / "docs" / "upgrades.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+\.\d+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(str(version), *change) for version, change in CHANGES.items()]
    assert VERSION == RELEASE
    former = re.findall(
        r"^\| (\d+\.\d+) \| `([^`]+)` \| `([^`:]+): [^`]+` \| `([^`:]+): [^`]+` \|$", text, re.MULTILINE
    )
    assert former == [(one.before, one.files, ".".join(one.old), ".".join(one.new)) for one in SPELLINGS]
    assert f"## {RELEASE}" in (FOLDER.parents[1] / "CHANGELOG.md").read_text()
