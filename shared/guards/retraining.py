"""What a pipeline's runs may cost: cooldown, concurrency, and a budget a day and a month. One ledger for each pipeline.

A start is put into the ledger before it happens, under the key of its intent and by comparing what was there: two workers
cannot both take the last of a budget, and a try that was killed finds its own start again.
"""

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from shared.guards.ask import Ended, Get, Go, Guarding, Held, Ruling, Suppressed, Swap
from shared.guards.throttle import name_of
from shared.record import WorkspaceRef
from shared.rollout.hours import written
from shared.rules.config import Budget, Pipeline, Spend

LEDGERS: Final = "ledgers"
_KEPT: Final = timedelta(days=62)
"""Longer than the longest budget."""


class Start(msgspec.Struct, frozen=True, omit_defaults=True):
    """`job`: its name, in the workspace `where`."""

    key: str
    at: datetime
    job: str
    where: WorkspaceRef | None = None
    cost: float = 0.0
    ended: datetime | None = None


class Ledger(msgspec.Struct, frozen=True, omit_defaults=True):
    starts: tuple[Start, ...] = ()


_json: Final = msgspec.json.Encoder()
_ledger: Final = msgspec.json.Decoder(Ledger)


def read(text: str | None) -> Ledger:
    return Ledger() if text is None else _ledger.decode(text)


def may_start(name: str, pipeline: Pipeline, start: Start, zone: str) -> Guarding[Ruling]:
    """Go, with the start in the ledger; or why not. `zone`: in which a day and a month begin."""
    shelf_name = name_of(name)
    while True:
        text = yield Get(LEDGERS, shelf_name)
        ledger = read(text)
        if any(one.key == start.key for one in ledger.starts):
            return Go()
        ledger = yield from _told_of_ends(ledger, pipeline)
        no = _why_not(name, pipeline, ledger, start, zone)
        if no is not None:
            return no
        kept = tuple(one for one in ledger.starts if one.at > start.at - _KEPT)
        if (yield Swap(LEDGERS, shelf_name, text, _json.encode(Ledger((*kept, start))).decode())):
            return Go()


def refund(name: str, key: str) -> Guarding[None]:
    """It was refused: nothing has started, and nothing was spent."""
    shelf_name = name_of(name)
    while True:
        text = yield Get(LEDGERS, shelf_name)
        ledger = read(text)
        left = tuple(one for one in ledger.starts if one.key != key)
        if len(left) == len(ledger.starts):
            return
        if (yield Swap(LEDGERS, shelf_name, text, _json.encode(Ledger(left)).decode())):
            return


def _told_of_ends(ledger: Ledger, pipeline: Pipeline) -> Guarding[Ledger]:
    """Asks only where it matters: what is still running counts against `concurrency`."""
    if pipeline.concurrency is None:
        return ledger
    starts = []
    for one in ledger.starts:
        ended = one.ended
        if ended is None:
            ended = yield Ended(one.job, one.where, one.at)
        starts.append(replace(one, ended=ended))
    return Ledger(tuple(starts))


def _why_not(name: str, pipeline: Pipeline, ledger: Ledger, start: Start, zone: str) -> Ruling | None:
    running = [one for one in ledger.starts if one.ended is None]
    if pipeline.concurrency is not None and len(running) >= pipeline.concurrency:
        jobs = ", ".join(one.job for one in running)
        return Suppressed(
            "concurrency", f"{len(running)} of at most {pipeline.concurrency} runs of {name!r} are under way: {jobs}"
        )
    last = max((one.at for one in ledger.starts), default=None)
    if pipeline.cooldown and last is not None and start.at < last + timedelta(seconds=pipeline.cooldown):
        again = last + timedelta(seconds=pipeline.cooldown)
        said = f"{name!r} cools down for {written(pipeline.cooldown)}: it was started at {_at(last)}, and can be again at {_at(again)}"
        return Suppressed("cooldown", said)
    return _over_budget(name, pipeline.budget, ledger, start, zone) if pipeline.budget else None


def _over_budget(name: str, budget: Budget, ledger: Ledger, start: Start, zone: str) -> Held | None:
    today = start.at.astimezone(ZoneInfo(zone)).date()
    for span, limit in (("day", budget.day), ("month", budget.month)):
        if limit is None:
            continue
        days = [(one, one.at.astimezone(ZoneInfo(zone)).date()) for one in ledger.starts]
        if span == "day":
            spent = [one for one, day in days if day == today]
            once = f"budget-{name_of(name)}-{today:%Y%m%d}"
        else:
            spent = [one for one, day in days if (day.year, day.month) == (today.year, today.month)]
            once = f"budget-{name_of(name)}-{today:%Y%m}"
        said = _over(limit, spent, start)
        if said:
            return Held("budget", f"the budget of {name!r} for this {span} is used up: {said}", once)
    return None


def _over(limit: Spend, spent: list[Start], start: Start) -> str:
    if limit.runs is not None and len(spent) + 1 > limit.runs:
        return f"{len(spent)} of {limit.runs} runs"
    cost = sum(one.cost for one in spent)
    if limit.cost is not None and cost + start.cost > limit.cost:
        return f"{cost:g} of {limit.cost:g} are spent, and one more run costs {start.cost:g}"
    return ""


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
