"""What `make run` plays, seen by whoever started it: two promotions, one rollback, a chain of causes, and the cards, by the API and the command
line of the real process. The simulated Azure is the real one too: a process of its own, that runs 300 times as fast.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from simulator.approver import NAME
from simulator.story import CHAMPION, ENDPOINT
from tests.test_kill import Hosted, until

ROOT = Path(__file__).resolve().parents[1]
ENDED = {"promoted", "rolled back", "stuck"}
LIVE = {"keeping", *ENDED}
PATIENCE = 220


class Played(Hosted):
    """`switchyard serve --simulate`, and the simulated Azure behind it."""

    def __init__(self, folder):
        super().__init__(folder, {}, config=ROOT / "config")
        self._box = folder / "simulator" / "simulator.json"

    def azure(self, path, method="GET", **body):
        """A resource of the workspace, as Azure Resource Manager knows it."""
        box = json.loads(self._box.read_text())
        url = f"{box['https']}{self.control('story')['workspace']}{path}"
        with requests.Session() as http:
            http.trust_env = False
            headers = {"Authorization": "Bearer anything"}
            answer = http.request(method, url, json=body or None, headers=headers, verify=box["ca"], timeout=30)
        answer.raise_for_status()
        return answer.json()["properties"]

    def control(self, lever, **wish):
        url = f"{json.loads(self._box.read_text())['http']}/control/{lever}"
        return (requests.post(url, json=wish, timeout=30) if wish else requests.get(url, timeout=30)).json()

    def rollouts(self):
        return self.get("/api/rollouts")["rollouts"]

    def ended(self):
        return all(one["status"] in ENDED and one["ended"] for one in self.rollouts())

    def settled(self):
        """The last one keeps the deployment that it replaced for a day."""
        return all(one["status"] in LIVE for one in self.rollouts())

    def switchyard(self, *arguments):
        command = [Path(sys.executable).with_name("switchyard"), *arguments, "--url", self.url]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=60).stdout


def way(knot, end):
    """What lies between the beginning of a chain and the rollout `end`; nothing where it does not lead there."""
    if knot["href"].endswith(end):
        yield knot["type"]
        return
    for deed in [*knot["actions"], {"action": "", "after": knot["after"]}]:
        for each in deed["after"]:
            if further := list(way(each, end)):
                yield from filter(None, [knot["type"], deed["action"], *further])
                return


@pytest.fixture
def played(tmp_path):
    played = Played(tmp_path)
    yield played
    played.kill()


def test_the_story_promotes_one_model_takes_back_another_and_answers_drift_with_a_third(played):
    played.start("--simulate", "--story")
    until(lambda: played.control("story")["state"] == "told" and played.settled(), PATIENCE, "the story has no end")

    last, bad, good = [played.get(f"/api/rollouts/{one['id']}") for one in played.rollouts()]
    assert (good["status"], good["percent"], good["replaced"]) == ("promoted", 100, f"fraud:{CHAMPION}")
    [word] = [one for one in good["people"] if one["verb"] == "approve"]
    assert (word["by"], word["via"]) == (NAME, "link to ml-leads")
    assert {one["state"] for one in good["readings"]} == {"holds"}
    assert all(f"{one['canary_total']:.0f}" in one["said"] for one in good["readings"])

    assert (bad["status"], bad["percent"]) == ("rolled back", 0)
    [breach] = [one for one in bad["readings"] if one["state"] == "breach"]
    assert breach["e"] >= breach["threshold"]
    assert bad["why"].startswith("HTTP 5xx is over its limit: canary")
    assert f">= {breach['threshold']:g}." in bad["why"]

    [endpoint] = played.control("endpoints")
    assert (endpoint["id"].rpartition("/")[2], endpoint["traffic"]) == (ENDPOINT, {last["deployment"]: 100})
    # The oldest went when the next one came; the one before is kept.
    assert set(endpoint["deployments"]) == {good["deployment"], last["deployment"]}
    stages = {
        version: played.azure(f"/models/fraud/versions/{version}")["tags"]["stage"]
        for version in (CHAMPION, good["version"], bad["version"], last["version"])
    }
    assert list(stages.values()) == ["archived", "archived", "rolled-back", "production"]

    assert (last["status"], last["percent"], last["replaced"]) == ("keeping", 100, f"fraud:{good['version']}")
    chain = played.get(f"/api/events/{last['lineage']['event']['record']}/chain")["chain"]
    assert list(way(chain, last["id"])) == [
        "DriftDetected",
        "retrain",
        "ModelRegistered",
        "dispatch",
        "ActionCompleted",
        "promote",
        "RolloutCompleted",
    ]

    cards = [one["title"] for one in played.control("inbox") if one["channel"] == "teams"]
    for title, one in (
        ("承認依頼", good),
        ("ロールアウト完了", good),
        ("ロールバック", bad),
        ("ロールアウト完了", last),
    ):
        assert cards.count(f"{title}: {ENDPOINT} (fraud バージョン {one['version']})") == 1
    assert f"Rolled back: fraud version {bad['version']} on {ENDPOINT}" in cards

    listed = played.switchyard("rollouts", "list")
    for one in (good, bad):
        assert f"{one['id']}  {ENDPOINT}  fraud:{one['version']}  {one['status']}" in listed
        shown = played.switchyard("rollouts", "show", one["id"])
        for words in (one["why"], one["readings"][0]["said"], one["lineage"]["event"]["subject"]):
            assert words in shown
    assert NAME in played.switchyard("rollouts", "show", good["id"])


def test_a_rollout_whose_simulated_azure_is_gone_ends_with_a_reason(played):
    """Ctrl-C in the middle of it, and another start: that world is a new one, where nobody knows the endpoint."""
    played.start("--simulate")
    tags = {"team": "fraud", "responsible_ai": "assessments/fraud.yaml", "auc": "0.92"}
    played.azure(f"/models/fraud/versions/{CHAMPION}", "PUT", properties={"tags": tags})
    played.control("endpoint", name=ENDPOINT, model="fraud", version=CHAMPION)
    played.azure("/models/fraud/versions/13", "PUT", properties={"tags": tags | {"stage": "candidate"}})
    until(lambda: any(one["status"] == "mirroring" for one in played.rollouts()), 60, "no rollout begins")
    before = played.rollouts()[0]
    played.kill(signal.SIGINT)
    assert played.log.read_text().rstrip().endswith("left for the next start.")
    played.start("--simulate")
    until(played.ended, 60, "it hangs")
    [after] = played.rollouts()
    assert (after["id"], after["status"]) in {(before["id"], "rolled back"), (before["id"], "stuck")}
    assert f"The online endpoint '{ENDPOINT}' was not found." in after["why"]
    assert after["ended"] > before["began"]  # simulated time went on from where it was
