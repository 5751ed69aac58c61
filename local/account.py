"""The live account on the terminal: event -> rule -> action -> result, as it happens, with links."""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.markup import escape

from shared.errors import printable
from shared.events import OWN, Event
from shared.record import Decision, Verdict
from shared.rollout import words
from shared.rollout.record import (
    Ask,
    Clear,
    Create,
    Done,
    Finish,
    Frozen,
    Heard,
    Mirror,
    Move,
    Probe,
    Probed,
    Promote,
    Refused,
    Restore,
    Rollout,
    Shift,
    Step,
    Verb,
)
from shared.rules.load import ARRIVED, TELL, Loaded
from shared.rules.plan import OF_RUNS
from shared.service import Told
from shared.world import Clock

_MARKS: Final = {
    "done": "[green]✓[/]",
    "later": "[yellow]…[/]",
    "refused": "[red]✗[/]",
    "failed": "[red]✗[/]",
    "held": "[yellow]■[/]",
    "waits": "[dim]◷[/]",
    "suppressed": "[dim]∅[/]",
    "collected": "[dim]≡[/]",
}
_SAID: Final[dict[Verb, str]] = {
    "approve": "approved",
    "reject": "rejected",
    "abort": "aborted",
    "override": "override of what holds it asked for",
    "replace": "takes its place",
    "next": "waits for the endpoint",
}
_INNER: Final = {"expect", "arrived"}
"""What absence rules are made of: only that something did not come is news."""

_BETWEEN: Final = {"replace", "next"}
_INDENT: Final = " " * 10
_QUIET: Final = 1.0
"""Seconds after which a count of unwanted events is printed even if nothing else happens."""


def subject(event: Event) -> str:
    """What the event is about, in a few words."""
    if event.data.get("state") and event.type in {"ActionCompleted", "ActionFailed"}:
        return str(event.data.get("said") or event.id)
    if event.type in {"ActionFailed", "EventRefused"}:
        return str(event.data.get("reason") or event.id)
    if event.type == "EventsDeadLettered":
        return str(event.data.get("said") or event.id)
    if event.drift and event.drift.monitor:
        return f"{event.drift.monitor} {event.drift.signal or ''}".strip()
    if event.run:
        return event.run.id
    if event.model and not event.endpoint:
        return f"{event.model.name}:{event.model.version}"
    if event.endpoint:
        return event.endpoint.name
    return (event.blob and event.blob.name) or event.subject or event.id


def matched(decision: Decision) -> str:
    """The rules, as a clause."""
    hits = [
        "defaults.tell" if verdict.rule == TELL else verdict.rule
        for verdict in _wanted(decision)
        if verdict.outcome == "matched"
    ]
    waiting = [verdict.rule for verdict in _wanted(decision) if verdict.outcome == "undecided"]
    said = [f"[bold]{escape(name)}[/]" for name in hits]
    said += [f"{escape(name)} [dim]waits for {' and '.join(decision.needs)}[/]" for name in waiting]
    return ", ".join(said) if said else f"[dim]no rule of {decision.considered} matched[/]"


def _wanted(decision: Decision | None) -> list[Verdict]:
    """That what was awaited has come is no news."""
    return [one for one in decision.verdicts if not one.rule.endswith(ARRIVED)] if decision else []


def progress(step: Step) -> str | None:
    """A step of a rollout as a clause; None for one that is nothing to tell."""
    command, answer = step.command, step.answer
    why = f": [dim]{escape(words.tell(command.why, 'en'))}[/]" if command.why else ""
    match command, answer:
        case _, Refused():
            return f"[red]✗[/] {type(command).__name__}: {escape(answer.reason)}"
        case _, Heard(word=word) if word.verb in _BETWEEN:
            return f"{escape(word.by)} {_SAID[word.verb]}"
        case _, Heard(word=word):
            reason = f": {escape(word.reason)}" if word.reason else ""
            return f"[yellow]{_SAID[word.verb]}[/] by {escape(word.by)}{reason}"
        case Create(), Done():
            return f"the deployment is being made{why}"
        case Probe(), Probed():
            return f"{answer.sent} test requests, {answer.errors} failed, p95 {answer.p95:.0f} ms"
        case Restore(), Done(again=False):
            return f"[yellow]the traffic goes back[/]: [cyan]{_traffic(command)}[/]{why}"
        case ((Mirror() | Shift() | Promote()), Done(again=False)):
            return f"[cyan]{_traffic(command)}[/]{why}"
        case Ask(), Done():
            return f"[yellow]?[/] {escape(words.tell(command.question, 'en'))}"
        case Clear(), Frozen():
            return f"[yellow]■[/] frozen until {answer.until:%Y-%m-%d %H:%M} UTC by {escape(answer.owner)}: {escape(answer.reason)}"
        case Finish(), _:
            colour = {"promoted": "green", "rolled back": "yellow", "stuck": "red"}[command.verdict]
            return f"[{colour}]{command.verdict}[/]{why}"
        case _:
            return None


def _traffic(move: Move) -> str:
    live = ", ".join(f"{name} {share} %" for name, share in move.traffic.items()) or "no traffic"
    copied = "".join(f", copies of {share} % to {name}" for name, share in move.mirror.items())
    return escape(live + copied)


class Account:
    """Prints what the service tells: each event that a rule wants has its line, each action its own. Events that no rule
    wants are counted, and the count is printed when something else happens or nothing does for a moment.
    """

    def __init__(self, console: Console, base: str, clock: Clock) -> None:
        self._console = console
        self._base = base
        self._clock = clock
        self._unwanted: Counter[str] = Counter()
        self._alike: Counter[str] = Counter()
        self._held: dict[str, datetime] = {}
        self._later: asyncio.TimerHandle | None = None

    def __call__(self, told: Told) -> None:
        record = told.record
        if told.performed is not None:
            self._action(told)
        elif record.event is None:
            self._line("[red]refused[/]", escape(record.refusal))
        elif told.what != "decided" and not _wanted(record.decision):
            if record.event.raw_type.startswith(f"{OWN}Rollout"):
                return  # the rollout's own lines say it
            if record.event.data.get("state") and record.event.type == "ActionCompleted" and told.what != "again":
                self._line(_head(record.event), "[dim]nobody asked to hear of it[/]")
                return
            self._count(f"{record.event.type} again" if told.what == "again" else record.event.type)
        elif told.what == "again" and record.event.raw_type.startswith(OWN):
            self._line(_head(record.event), "[dim]people were told of this already[/]")
        elif told.what == "again":
            self._line(_head(record.event), "[dim]delivered again: taken in once, nothing to do[/]")
        elif record.event.run and record.event.run.is_child and record.event.type in OF_RUNS and record.decision:
            if told.what != "decided":
                self._count(f"{record.event.type} of children → {matched(record.decision)}", self._alike)
        else:
            waited = " [dim]after the lookup[/]" if told.what == "decided" else ""
            self._line(f"{_head(record.event)}{waited}", matched(record.decision) if record.decision else "")

    def _count(self, kind: str, counter: "Counter[str] | None" = None) -> None:
        (self._unwanted if counter is None else counter)[kind] += 1
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(_QUIET, self.flush)

    def flush(self) -> None:
        """Prints the counts of what no rule wanted, and of what many wanted alike, since the last line."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._unwanted:
            kinds = ", ".join(f"{count} {escape(kind)}" for kind, count in self._unwanted.most_common())
            self._unwanted.clear()
            self._print(f"{self._now()}  [dim]{kinds}: on record, no rule wants them[/]")
        for kind, count in self._alike.most_common():
            self._print(f"{self._now()}  {count} {kind}")
        self._alike.clear()

    def _now(self) -> str:
        return f"[dim]{self._clock().astimezone():%H:%M:%S}[/]"

    def _line(self, head: str, rest: str) -> None:
        self.flush()
        self._print(f"{self._now()}  {head}  → {rest}")

    def _action(self, told: Told) -> None:
        performed = told.performed
        if performed is None or performed.claim is None:
            return
        intent = performed.claim.record.intent
        if performed.outcome == "collected":
            self._count(
                f"of {escape(intent.rule)} → [cyan]{intent.action}[/]: goes into the message of another", self._alike
            )
            return
        if intent.action in _INNER and performed.outcome == "done" and "raised" not in performed.note:
            return
        self.flush()
        link = f"[dim]{self._base}/events/{told.record.id}[/]"
        mark = _MARKS.get(performed.outcome, " ")
        self._print(
            f"{_INDENT}{mark} {escape('defaults.tell' if intent.rule == TELL else intent.rule)} → [cyan]{intent.action}[/]: {escape(performed.note)}  {link}"
        )

    def rollout(self, about: Rollout, step: Step) -> None:
        """What is worth a line of one step of a rollout; its minutes are in the console."""
        text = progress(step)
        held = step.answer.until if isinstance(step.answer, Frozen) else None
        if text is None or (held and self._held.get(about.id) == held):
            return  # it looks at the same freeze again and again
        if held:
            self._held[about.id] = held
        head = f"[bold magenta]rollout[/] {escape(about.endpoint)} [bold]{escape(f'{about.model}:{about.version}')}[/]"
        self._line(head, f"{text}  [dim]{self._base}/rollouts/{about.id}[/]")
        for one in step.command.readings:
            self._print(f"{_INDENT}[dim]{escape(words.reading(one, 'en'))}[/]")
        if isinstance(step.command, Ask):
            self._print(f"{_INDENT}[dim]answer there, or: switchyard rollouts approve {about.id} (or reject)[/]")

    async def reloaded(self, old: Loaded, new: Loaded) -> None:
        """An edit of the configuration, and what became of it."""
        self.flush()
        changed = [name for name, text in new.good.items() if old.good.get(name) != text]
        gone = [name for name in old.good if name not in new.good]
        edits = [f"{', '.join(changed)} changed"] * bool(changed) + [f"{', '.join(gone)} gone"] * bool(gone)
        said = f"[bold]rules[/]: {len(new.rules)} in force, version {new.version}"
        self._print(f"{self._now()}  {said}{escape(f' ({"; ".join(edits)})') if edits else ''}")
        for problem in new.problems:
            if problem not in old.problems:
                self._print(f"{_INDENT}[red]refused[/]  {escape(str(problem))}")
        for name in new.kept:
            self._print(f"{_INDENT}[yellow]■[/] {escape(name)}: the last good version stays in force")

    def _print(self, line: str) -> None:
        # What others named may hold control characters: they are shown, and move nobody's cursor.
        self._console.print(printable(line), soft_wrap=True, highlight=False)


def _head(event: Event) -> str:
    place = f" [dim]{escape(event.workspace)}[/]" if event.workspace else ""
    status = (
        f" {escape(event.run.status)}" if event.run and event.run.status and event.type == "RunStatusChanged" else ""
    )
    return f"[bold cyan]{escape(event.type)}[/]{status} {escape(subject(event))}{place}"
