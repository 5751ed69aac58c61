"""How long `switchyard impact` takes: 100,000 recorded events through two configurations of 100 rules, and the same bytes twice.

`python -m bench.impact [EVENTS]`
"""

import gzip
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 11, 10, tzinfo=UTC)
SOURCE = "/subscriptions/s/resourceGroups/mlops/providers/Microsoft.MachineLearningServices/workspaces/prod"
TEAMS = 20
LIMIT = 20.0
"""Seconds."""

MAIN = """
receivers:
{receivers}
pipelines:
  weekly: {{source: "azureml:train:1", experiment: weekly, cooldown: 6h, concurrency: 1, cost: 10, budget: {{day: {{runs: 3}}, month: {{cost: 900}}}}}}
calendars:
  office: {{days: mon-fri, from: "08:00", to: "18:00"}}
"""

RULES = """
  - name: {team}-trials
    event: [RunCompleted, RunStatusChanged]
    match: {{workspace: prod, tags.team: {team}, run.is_child: true, run.status: [Completed, Failed]}}
    do: [{{notify: {team}}}]
  - name: {team}-good
    event: RunCompleted
    match: {{workspace: prod, tags.team: {team}, metrics.auc: ">= {auc}", run.is_child: false}}
    active: office
    do: [{{notify: {team}}}]
  - name: {team}-failed
    event: RunStatusChanged
    match: {{workspace: prod, tags.team: {team}, run.status: Failed, run.is_child: false}}
    throttle: {{once_within: {within}, by: [run.experiment]}}
    do: [{{notify: {team}}}]
  - name: {team}-drift
    event: DriftDetected
    match: {{workspace: prod, drift.monitor: "~ ^{team}-monitor", drift.coefficient: "> 0.3"}}
    throttle: {{once_within: 1h, by: [drift.monitor]}}
    do: [{{notify: {team}}}, {{retrain: weekly}}]
  - name: {team}-not-deployed
    expect: ModelDeployed
    after: ModelRegistered
    within: 2h
    by: [model.name, model.version]
    match: {{workspace: prod, model.name: {team}}}
    do: [{{notify: {team}}}]
"""


def configuration(folder: Path, auc: str, within: str) -> Path:
    """Five rules for each of twenty teams."""
    teams = [f"team-{n:02d}" for n in range(TEAMS)]
    (folder / "rules").mkdir(parents=True)
    told = "\n".join(
        f"  {team}: {{teams: '${{TEAMS_{n}}}', email: [{team}@contoso.com]}}" for n, team in enumerate(teams)
    )
    (folder / "switchyard.yaml").write_text(MAIN.format(receivers=told))
    for team in teams:
        (folder / "rules" / f"{team}.yaml").write_text("rules:" + RULES.format(team=team, auc=auc, within=within))
    return folder


def lines(count: int, seed: int = 7) -> Iterator[str]:
    """As the archive keeps them: sweeps with their trials, statuses of jobs, drift, models that are registered and deployed."""
    chance = random.Random(seed)
    at, n = START, 0
    while n < count:
        team = f"team-{chance.randrange(TEAMS):02d}"
        for event, facts in _story(chance, team, n):
            if n < count:
                at += timedelta(seconds=chance.expovariate(1 / 12))
                moment = at.isoformat().replace("+00:00", "Z")
                event |= {
                    "id": f"e{n}",
                    "time": moment,
                    "source": SOURCE,
                    "workspace": "prod",
                    "resource_group": "mlops",
                }
                event |= {"subscription": "s", "raw_type": f"Microsoft.MachineLearningServices.{event['type']}"}
                yield json.dumps({"id": f"r{n}", "received": moment, "event": event, "facts": facts})
                n += 1


def _story(chance: random.Random, team: str, n: int) -> Iterator[tuple[dict[str, object], dict[str, object] | None]]:
    data = {"experimentName": "e", "runId": f"run-{n}", "runProperties": {f"azureml.p{i}": "x" * 30 for i in range(5)}}
    tags = {"team": team, "git.commit": f"{chance.getrandbits(28):07x}"}
    kind = chance.random()
    if kind < 0.02:  # a sweep
        for trial in range(chance.randrange(5, 40)):
            run = {"id": f"HD_{n}_{trial}", "status": "Completed", "is_child": True, "parent": f"HD_{n}"}
            yield {"type": "RunCompleted", "tags": tags, "run": run, "data": data}, None
        run = {"id": f"HD_{n}", "status": "Completed", "is_child": False, "type": "azureml.HyperDriveRun"}
        yield (
            {"type": "RunCompleted", "tags": tags, "run": run, "data": data},
            {"metrics": {"auc": chance.uniform(0.7, 1)}},
        )
    elif kind < 0.1:
        drift = {"monitor": f"{team}-monitor", "signal": "data_drift", "coefficient": chance.random()}
        yield {"type": "DriftDetected", "drift": drift, "data": data}, None
    elif kind < 0.15:
        model = {"name": team, "version": str(n)}
        yield {"type": "ModelRegistered", "model": model, "tags": tags, "data": data}, None
        if chance.random() < 0.8:
            endpoint = {"name": team, "models": [f"{team}:{n}"]}
            yield {"type": "ModelDeployed", "model": model, "endpoint": endpoint, "data": data}, None
    else:
        run = {"id": f"run-{n}", "experiment": f"exp-{chance.randrange(4)}", "is_child": False}
        for status in ("Preparing", "Running", "Finalizing"):
            yield {"type": "RunStatusChanged", "tags": tags, "run": run | {"status": status}, "data": data}, None
        if chance.random() < 0.15:
            yield {"type": "RunStatusChanged", "tags": tags, "run": run | {"status": "Failed"}, "data": data}, None
        else:
            run |= {"status": "Completed"}
            yield (
                {"type": "RunCompleted", "tags": tags, "run": run, "data": data},
                {"metrics": {"auc": chance.uniform(0.7, 1)}},
            )


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = configuration(folder / "before", "0.9", "30m")
        after = configuration(folder / "after", "0.88", "1h")
        events = folder / "events.jsonl.gz"
        with gzip.open(events, "wt", compresslevel=1) as file:
            file.writelines(f"{line}\n" for line in lines(count))
        said = []
        for run in range(2):
            began = time.perf_counter()
            arguments = ["impact", "--from", str(before), "--to", str(after), "--events", str(events), "--json"]
            code = "import sys; from shared.cli import main; sys.exit(main())"
            done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
            took = time.perf_counter() - began
            said.append(hashlib.sha256(done.stdout).hexdigest()[:16])
            print(
                f"run {run + 1}: {count:,} events through 2 x 100 rules in {took:.1f} s, {took / count * 1e6:.0f} us an event"
            )
        found = json.loads(done.stdout)
        print(f"{len(found['differences']):,} differences; the same bytes twice: {said[0] == said[1]} ({said[0]})")
        if count >= 100_000:
            print(f"under {LIMIT:.0f} s: {took < LIMIT}")


if __name__ == "__main__":
    main()
