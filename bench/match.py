"""Time to decide one event among 10 to 10,000 rules: ours beside a loop and three expression engines, in the same run.

    python -m bench.match [--rules 10 100 1000 10000] [--events 200] [--seconds 1]

Every engine gets the same rules in its own language, already compiled, and the same events; what it finds has to be what ours
finds. Each rule names an event type and a workspace, a tag, or both, and asks for a metric and for a run that is no child. About two
rules match each event, however many there are. Ends with 1 where ours takes three times as long with 10,000 rules as with 100.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import cel
import celpy
import rule_engine
from rich.console import Console
from rich.table import Table

from shared.events import Event, Run
from shared.record import Facts, view
from shared.rules import match, paths
from shared.rules.match import YES
from shared.rules.plan import Rule, Rules, Step, plan

LIMIT: Final = 3.0
SIZES: Final = (100, 10_000)
NOW: Final = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
STEP: Final = Step("webhook", {"url": "${HOOK}"})

type Found = tuple[str, ...]
type Decide = Callable[[Event, Facts], Found]


@dataclass(frozen=True)
class Written:
    """A rule before it is put into a language. None: it does not ask."""

    name: str
    workspace: str | None
    team: str | None
    auc: float

    @property
    def lines(self) -> list[tuple[str, object]]:
        named = [("workspace", self.workspace), ("tags.team", self.team)]
        asked: list[tuple[str, object]] = [(field, value) for field, value in named if value]
        return [*asked, ("metrics.auc", f">= {self.auc}"), ("run.is_child", False)]


def written(count: int) -> list[Written]:
    """A third by workspace, a third by tag, a third by both."""
    rules = []
    for n in range(count):
        place, team = f"ws-{n // 3}", f"team-{n // 3}"
        workspace, tag = ((place, None), (None, team), (place, team))[n % 3]
        rules.append(Written(f"rule-{n}", workspace, tag, (0.8, 0.9, 0.99)[n % 7 % 3]))
    return rules


def happened(count: int, rules: int) -> list[tuple[Event, Facts]]:
    chance = Random(7)
    found = []
    for n in range(count):
        which = chance.randrange(max(1, rules // 3))
        other = which if n % 2 else chance.randrange(max(1, rules // 3))
        event = Event(
            id=f"bench-{n}",
            type="RunCompleted",
            time=NOW,
            source="/subscriptions/s/resourceGroups/mlops/providers/Microsoft.MachineLearningServices/workspaces/prod",
            subject=f"experiments/x/runs/run-{n}",
            workspace=f"ws-{which}",
            tags={"team": f"team-{other}", "owner": "ops"},
            properties={f"azureml.property{m}": "x" * 40 for m in range(6)},
            run=Run(f"run-{n}", status="Completed", experiment="bench", is_child=n % 5 == 0),
        )
        found.append((event, Facts(metrics={"auc": chance.choice((0.7, 0.85, 0.95, 0.995))})))
    return found


# Ours, and the same judges in a loop


def compiled(rules: Sequence[Written]) -> Rules:
    found = []
    for n, one in enumerate(rules, 1):
        conditions = []
        for name, value in one.lines:
            path = paths.find(name)
            assert not isinstance(path, str)
            conditions.append(match.line(path, match.test_of(value, path), (n, 1), "rules/bench.yaml"))
        found.append(Rule(one.name, "rules/bench.yaml", n, 1, ("RunCompleted",), tuple(conditions), (STEP,)))
    return Rules(found, "bench")


def switchyard(rules: Sequence[Written]) -> Decide:
    in_force = compiled(rules)
    return lambda event, facts: tuple([one.rule for one in plan(in_force, event, facts).verdicts])


def loop(rules: Sequence[Written]) -> Decide:
    table = [(one.name, one.events, [line.judge for line in one.conditions]) for one in compiled(rules).rules]

    def decide(event: Event, facts: Facts) -> Found:
        kind = event.type
        return tuple([n for n, kinds, judges in table if kind in kinds and all(j(event, facts) == YES for j in judges)])

    return decide


# Others


def in_cel(rule: Written) -> str:
    asked = ['event.type == "RunCompleted"']
    asked += [f'event.workspace == "{rule.workspace}"'] if rule.workspace else []
    asked += [f'event.tags.team == "{rule.team}"'] if rule.team else []
    return " && ".join([*asked, f"event.metrics.auc >= {rule.auc}", "!event.run.is_child"])


def rust(rules: Sequence[Written]) -> Decide:
    programs = [(one.name, cel.compile(in_cel(one)).execute) for one in rules]

    def decide(event: Event, facts: Facts) -> Found:
        context = cel.Context({"event": view(event, facts)})
        return tuple([name for name, execute in programs if execute(context) is True])

    return decide


def python(rules: Sequence[Written]) -> Decide:
    environment = celpy.Environment()
    programs = [(one.name, environment.program(environment.compile(in_cel(one)))) for one in rules]

    def decide(event: Event, facts: Facts) -> Found:
        activation: Any = {"event": celpy.json_to_cel(view(event, facts))}
        return tuple([name for name, program in programs if program.evaluate(activation)])

    return decide


def engine(rules: Sequence[Written]) -> Decide:
    """It reads a table anew wherever it is named, so its fields are variables of their own: in one table it takes 100 times as long."""
    matchers = []
    for one in rules:
        text = in_cel(one).replace("&&", "and").replace("!event", "not event").replace("event.", "")
        matchers.append((one.name, rule_engine.Rule(text).matches))

    def decide(event: Event, facts: Facts) -> Found:
        thing = view(event, facts)
        return tuple([name for name, matches in matchers if matches(thing)])

    return decide


ENGINES: Final[dict[str, Callable[[Sequence[Written]], Decide]]] = {
    "switchyard": switchyard,
    "the same judges in a loop": loop,
    "common-expression-language": rust,
    "rule-engine": engine,
    "cel-python": python,
}


@dataclass(frozen=True)
class Measured:
    """Seconds an event, of so many; `ready`: seconds until the rules were compiled."""

    seconds: float
    events: int
    ready: float


def measured(build: Callable[[Sequence[Written]], Decide], rules: int, events: int, seconds: float) -> Measured:
    """The best of the rounds that fit into the time; a slow engine is measured on the first events only."""
    asked, work = written(rules), happened(events, rules)
    begun = time.perf_counter()
    decide = build(asked)
    ready = time.perf_counter() - begun
    wanted = switchyard(asked)
    gc.collect()
    gc.disable()
    try:
        begun, done, spent = time.perf_counter(), 0, 0.0
        for event, facts in work:  # warms up, and compares
            at = time.thread_time()
            found = decide(event, facts)
            spent += time.thread_time() - at
            done += 1
            if found != wanted(event, facts):
                raise SystemExit(f"{build.__name__} finds {found}, and ours {wanted(event, facts)}")
            if time.perf_counter() - begun > seconds:
                break
        best = spent / done
        begun = time.perf_counter()
        while spent < seconds and time.perf_counter() - begun < seconds:
            best = min(best, once(decide, work[:done]))
    finally:
        gc.enable()
    return Measured(best, done, ready)


def once(decide: Decide, work: Sequence[tuple[Event, Facts]]) -> float:
    """Seconds of this thread an event: what else the machine does is left out."""
    at = time.thread_time()
    for event, facts in work:
        decide(event, facts)
    return (time.thread_time() - at) / len(work)


def growth(low: int, high: int, events: int, seconds: float) -> float:
    """How many times as long ours takes with more rules. Both in turn, since a busy machine is not equally fast all the time."""
    sides = [(switchyard(written(rules)), happened(events, rules)) for rules in (low, high)]
    best = [float("inf")] * 2
    begun = time.perf_counter()
    while time.perf_counter() - begun < 2 * seconds:
        best = [min(known, once(*side)) for known, side in zip(best, sides, strict=True)]
    return best[1] / best[0]


def report(found: dict[tuple[str, int], Measured], sizes: Sequence[int], console: Console) -> None:
    table = Table(title="one event decided, all rules compiled: µs of processor time (times ours)")
    table.add_column("engine")
    for size in sizes:
        table.add_column(f"{size:,} rules", justify="right")
    for name in ENGINES:
        row = []
        for size in sizes:
            one, ours = found[name, size], found["switchyard", size]
            beside = "" if name == "switchyard" else f" ({one.seconds / ours.seconds:,.1f})"
            row.append(f"{one.seconds * 1e6:,.1f}{beside}")
        table.add_row(name, *row)
    console.print(table)
    few = [f"{name} at {size:,}: {one.events} events" for (name, size), one in found.items() if one.events < _MANY]
    if few:
        console.print(f"[dim]measured on less than {_MANY} events: {'; '.join(few)}[/]")


_MANY: Final = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1, help="for each engine and number of rules")
    asked = parser.parse_args()
    console = Console(width=130)
    found = {}
    for size in asked.rules:
        for name, build in ENGINES.items():
            found[name, size] = one = measured(build, size, asked.events, asked.seconds)
            console.print(f"[dim]{name}, {size:,} rules: {one.seconds * 1e6:,.1f} µs, compiled in {one.ready:.2f} s[/]")
    report(found, asked.rules, console)
    times = growth(*SIZES, asked.events, asked.seconds)
    console.print(f"ours from {SIZES[0]:,} to {SIZES[1]:,} rules: {times:.2f} times as long (limit {LIMIT:g})")
    return 1 if times >= LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
