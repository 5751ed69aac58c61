"""What was counted, and prices, make the bill of a month. Pure: the same numbers give the same table."""

import json
import math
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
COUNTED: Final = HERE / "cost.json"
PRICES: Final = HERE / "prices.toml"
DOCS: Final = (HERE.parent / "docs" / "azure.md", HERE.parent / "docs" / "azure.ja.md")
READMES: Final = {"en": HERE.parent / "README.md", "ja": HERE.parent / "README.ja.md"}
BEGIN, END = "<!-- counted, by python -m bench.cost -->", "<!-- until here -->"
SIZES: Final = (1_000, 100_000)
"""Events a day."""

DAYS: Final = 30
_DAY: Final = 86_400.0
_LOOK: Final = 15.0
"""Seconds between two looks of one process at the configuration (`service.LOOK_EVERY`)."""

_SERVICES: Final = ("queue", "table", "blob")


@dataclass(frozen=True)
class Counted:
    """Of one event, or one of something else. `operations`: storage transactions by service and class; `executions`: by function."""

    operations: Mapping[str, float] = field(default_factory=dict)
    executions: Mapping[str, float] = field(default_factory=dict)
    log_bytes: float = 0.0
    table_bytes: float = 0.0
    blob_bytes: float = 0.0

    @property
    def transactions(self) -> float:
        return sum(self.operations.values())

    def of(self, service: str) -> float:
        return sum(n for operation, n in self.operations.items() if operation.startswith(service))


@dataclass(frozen=True)
class Measured:
    """`kinds`: of an event, by what becomes of it. `timers`: of one firing with nothing to do, and how often a day each fires. Of one
    event: `archived`, `forgotten`, and besides of one firing that does it: `archiving`, `forgetting`. Of one page that somebody looks at;
    of one look at a configuration `container`; of a `rollout`. `naive`: a handler that takes a message off a queue and puts a row into a table.
    """

    kinds: Mapping[str, Counted]
    timers: Mapping[str, Counted]
    fires: Mapping[str, int]
    archived: Counted
    archiving: Counted
    forgotten: Counted
    forgetting: Counted
    page: Counted
    container: Counted
    rollout: Counted
    naive: Counted
    poll_seconds: float
    queues: int

    @classmethod
    def load(cls, text: str) -> "Measured":
        said = json.loads(text)
        tables = {name: {one: Counted(**rest) for one, rest in said[name].items()} for name in ("kinds", "timers")}
        singles = ("archived", "archiving", "forgotten", "forgetting", "page", "container", "rollout", "naive")
        return cls(**said | tables | {name: Counted(**said[name]) for name in singles})


def prices(path: Path = PRICES) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Line:
    """One item of the bill: how much of it in a month, and what that costs. `assumed`: it is reckoned, not counted."""

    what: str
    quantity: float
    unit: str
    cost: float
    assumed: bool = False


def bill(measured: Measured, price: Mapping[str, Any], a_day: float) -> list[Line]:
    """A month of thirty days, with so many events on each."""
    day, events = _day(measured, price, a_day), a_day * DAYS
    functions, host, logs = price["functions"], price["host"], price["logs"]
    run = Counter({name: n * DAYS for name, n in day.executions.items()})
    seconds = DAYS * sum(
        _busy(n, functions["shortest_seconds"], timer=name in measured.fires)
        for name, n in day.executions.items()
        if name != _ORCHESTRATOR
    )
    gb_seconds = seconds * functions["memory_gb"]
    polls = DAYS * (
        host["awake_queues"] * _DAY / measured.poll_seconds + measured.queues * _DAY / host["scale_seconds"]
    )
    looks = DAYS * (measured.fires["on_configuration"] + _DAY / (_LOOK + _DAY / max(1.0, day.executions["on_message"])))
    fired = DAYS * sum(measured.fires.values())
    leases = DAYS * len(measured.fires) * _DAY / host["lease_seconds"]
    durable = (
        DAYS * price["rollouts"]["a_day"] * sum(measured.rollout.executions.values()) * host["durable_transactions"]
    )
    listed = Counter({name: n * looks for name, n in measured.container.operations.items()})
    gb = day.log_bytes * DAYS / 1e9
    host_gb = logs["execution_bytes"] * run.total() / 1e9
    grid, kept, mails = price["event_grid"], price["storage"]["gb_month"], price["messages"]
    table_gb, blob_gb = (
        day.table_bytes * price["retention"]["records"] / 1e9,
        day.blob_bytes * price["retention"]["archive"] / 1e9,
    )

    def transactions(operations: Mapping[str, float]) -> float:
        each: Mapping[str, float] = price["storage"]["ten_thousand"]
        return sum(n / 10_000 * each[name] for name, n in operations.items())

    def line(service: str) -> Line:
        mine = {name: n * DAYS for name, n in day.operations.items() if name.startswith(service)}
        return Line(f"storage: {service}s", sum(mine.values()), "transactions", transactions(mine))

    return [
        Line("functions: time", gb_seconds, "GB-s", _beyond(gb_seconds, functions["free_gb_seconds"]) * functions["gb_second"], assumed=True),
        Line("functions: executions", run.total(), "executions", _beyond(run.total(), functions["free_executions"]) / 1e6 * functions["million_executions"]),
        *(line(service) for service in _SERVICES),
        Line("storage: looks at the configuration", listed.total(), "transactions", transactions(listed)),
        Line("storage: the host polls its queues", polls, "transactions", transactions({"queue read": polls}), assumed=True),
        Line(
            "storage: the host's timers and leases",
            2 * fired + leases,
            "transactions",
            transactions({"blob write": fired, "blob read": fired, "blob other": leases}),
            assumed=True,
        ),
        Line("storage: Durable Functions", durable, "transactions", transactions({"table write": durable / 2, "queue write": durable / 2}), assumed=True),
        Line("storage: records kept", table_gb, "GB", table_gb * kept["table"]),
        Line("storage: archive kept", blob_gb, "GB", blob_gb * kept["blob"]),
        Line("Event Grid", grid["an_event"] * events, "operations", _beyond(grid["an_event"] * events, grid["free"]) / 1e6 * grid["million"], assumed=True),
        Line("logs: ours", gb, "GB", _beyond(gb + host_gb, logs["free_gb"]) * logs["gb"] * (gb / (gb + host_gb))),
        Line("logs: the host's", host_gb, "GB", _beyond(gb + host_gb, logs["free_gb"]) * logs["gb"] * (host_gb / (gb + host_gb)), assumed=True),
        Line("Key Vault", price["key_vault"]["reads_a_day"] * DAYS, "reads", price["key_vault"]["reads_a_day"] * DAYS / 10_000 * price["key_vault"]["ten_thousand"], assumed=True),
        Line(
            "alerts",
            price["alerts"]["log_rules"] + price["alerts"]["metric_rules"],
            "rules",
            price["alerts"]["log_rules"] * price["alerts"]["log_rule"] + price["alerts"]["metric_rules"] * price["alerts"]["metric_rule"],
        ),
        Line(
            "mail and SMS",
            (mails["mails_a_day"] + mails["sms_a_day"]) * DAYS,
            "messages",
            (mails["mails_a_day"] * mails["mail"] + mails["sms_a_day"] * mails["sms"]) * DAYS,
            assumed=True,
        ),
    ]  # fmt: skip


def _beyond(used: float, free: float) -> float:
    return max(0.0, used - free)


_ORCHESTRATOR: Final = "rollout"
"""Shares an instance with the activities, each of which it calls and hears of within the same second."""


def _busy(executions: float, shortest: float, *, timer: bool) -> float:
    """Seconds of a day in which an instance is billed: a function's executions share its instance, and come at any time, or by the clock."""
    return executions * shortest if timer else _DAY * -math.expm1(-executions * shortest / _DAY)


def _day(measured: Measured, price: Mapping[str, Any], a_day: float) -> Counted:
    """Everything that was counted, for a day of so many events."""
    shares = [(measured.kinds[kind], a_day * n / 1_000) for kind, n in price["mix"].items()]
    repeated = a_day * price["mix"].get("delivered again", 0) / 1_000
    once = [(measured.archived, a_day - repeated), (measured.forgotten, a_day - repeated)]
    once += [
        (run, min(float(measured.fires[name]), a_day))
        for name, run in (("on_archive", measured.archiving), ("on_retention", measured.forgetting))
    ]
    rest = [(measured.page, price["people"]["pages_a_day"]), (measured.rollout, price["rollouts"]["a_day"])]
    return added([*shares, *once, (_timers(measured), 1), *rest])


def _timers(measured: Measured) -> Counted:
    """A day of all timers, with nothing to do."""
    return added((timer, measured.fires[name]) for name, timer in measured.timers.items())


def added(parts: Iterable[tuple[Counted, float]]) -> Counted:
    """So many of each, together."""
    operations, executions = defaultdict[str, float](float), defaultdict[str, float](float)
    logged = tables = blobs = 0.0
    for one, times in parts:
        for name, n in one.operations.items():
            operations[name] += n * times
        for name, n in one.executions.items():
            executions[name] += n * times
        logged, tables = logged + one.log_bytes * times, tables + one.table_bytes * times
        blobs += one.blob_bytes * times
    return Counted(operations, executions, logged, tables, blobs)


# As text


def tables(measured: Measured, price: Mapping[str, Any]) -> str:
    """The tables of the document, in Markdown: of an event, of a month, and what besides."""
    return "\n".join([*_events(measured, price), "", *_month(measured, price), "", *_besides(measured, price)])


def total(measured: Measured, price: Mapping[str, Any], a_day: float) -> float:
    return sum(line.cost for line in bill(measured, price, a_day))


def steps(measured: Measured, price: Mapping[str, Any], a_day: float) -> list[float]:
    """A month of each of the ten steps in docs/azure.md; together they are the bill. What stands there costs something before the first event
    arrives (6), the secrets (7) and the configuration (8) are looked at, events are taken in (9), and people get and look at what comes of
    them: messages, pages, rollouts (10).
    """
    alone = {**price, "people": {"pages_a_day": 0}, "rollouts": {"a_day": 0}}
    before = {line.what: line.cost for line in bill(measured, alone, 0)}
    secrets, looks, messages = (
        before[name] for name in ("Key Vault", "storage: looks at the configuration", "mail and SMS")
    )
    standing, taking = sum(before.values()), total(measured, alone, a_day)
    people = total(measured, price, a_day) - taking
    return [0, 0, 0, 0, 0, standing - secrets - looks - messages, secrets, looks, taking - standing, people + messages]


def _events(measured: Measured, price: Mapping[str, Any]) -> Iterator[str]:
    yield "| an event | executions | queue | table | blob | all | of the naive handler's | log bytes | table bytes |"
    yield "|---|---|---|---|---|---|---|---|---|"
    kinds = {kind: measured.kinds[kind] for kind in price["mix"]}
    rows = {**kinds, "the same in the archive": measured.archived, "the same forgotten": measured.forgotten}
    rows |= {
        f"(all {len(measured.timers)} timers, a day)": _timers(measured),
        "(a look at the configuration)": measured.container,
        "(a rollout, to its end)": measured.rollout,
        "(a page of the console)": measured.page,
        "(a naive handler)": measured.naive,
    }
    for name, one in rows.items():
        counts = " | ".join(_number(one.of(service)) for service in _SERVICES)
        runs = _number(sum(one.executions.values()))
        ratio = "" if name.startswith("(") else _number(one.transactions / measured.naive.transactions)
        yield (
            f"| {name} | {runs} | {counts} | {_number(one.transactions)} | {ratio} "
            f"| {_number(one.log_bytes)} | {_number(one.table_bytes)} |"
        )


def _month(measured: Measured, price: Mapping[str, Any]) -> Iterator[str]:
    bills = [bill(measured, price, size) for size in SIZES]
    sums = [sum(line.cost for line in one) for one in bills]
    heads = " | ".join(f"{size:,} events a day | {price['about']['currency']} | share" for size in SIZES)
    yield f"| a month | {heads} |"
    yield "|---|" + "---:|---:|---:|" * len(SIZES)
    for rows in zip(*bills, strict=True):
        cells = " | ".join(
            f"{_number(line.quantity)} {line.unit} | {line.cost:.2f} | {line.cost / whole:.0%}"
            for line, whole in zip(rows, sums, strict=True)
        )
        yield f"| {rows[0].what}{' *' if rows[0].assumed else ''} | {cells} |"
    yield f"| **together** | {' | '.join(f'| **{whole:.2f}** | 100%' for whole in sums)} |"


def _besides(measured: Measured, price: Mapping[str, Any]) -> Iterator[str]:
    """What a parameter asks for, and what filters of Event Grid save."""
    options, memory, code = price["options"], price["functions"]["memory_gb"], price["about"]["currency"]
    ready = options["always_ready_gb_second"] * memory * DAYS * _DAY
    yield f"| besides | {' | '.join(f'{code} at {size:,}' for size in SIZES)} |"
    yield "|---|---:|---:|"
    saved = " | ".join(f"{_filtered(measured, price, size):.2f}" for size in SIZES)
    yield f"| all of it, where the filters of Event Grid keep back what no rule wants | {saved} |"
    yield f"| `alwaysReady`: one instance that is always there, more | {ready:.2f} | {ready:.2f} |"
    endpoints = options["private_endpoint"] * options["private_endpoints"]
    yield f"| `privateNetwork`: {options['private_endpoints']} private endpoints, more | {endpoints:.2f} | {endpoints:.2f} |"


UNWANTED: Final = "no rule wants it"


def _filtered(measured: Measured, price: Mapping[str, Any], a_day: float) -> float:
    """The bill of those events that some rule wants. Event Grid still counts each that is published."""
    wanted = {kind: n for kind, n in price["mix"].items() if kind != UNWANTED}
    left = sum(wanted.values()) / 1_000
    shares = {kind: wanted.get(kind, 0) / left for kind in price["mix"]}
    grid = price["event_grid"]
    published = {**grid, "an_event": (1 + left * (grid["an_event"] - 1)) / left}
    return total(measured, {**price, "mix": shares, "event_grid": published}, a_day * left)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def written(text: str, measured: Measured, price: Mapping[str, Any]) -> str:
    """The document with the tables, and the cost of each of its steps, as they are now."""
    each = zip(*(steps(measured, price, size) for size in SIZES), strict=True)
    said = iter([_step(costs, price["about"]["currency"], _STEP_JA in text) for costs in each])
    text = STEP.sub(lambda _: next(said), text)
    head, begin, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{tables(measured, price)}\n{END}{tail}" if begin else text


def summary(measured: Measured, price: Mapping[str, Any], language: str) -> str:
    """The line of the readme."""
    code, most = price["about"]["currency"], SIZES[-1]
    sums = [total(measured, price, size) for size in SIZES] + [_filtered(measured, price, most)]
    few, many, left = (f"{one:,.0f}" for one in sums)
    if language == "ja":
        return (
            f"費用の目安は、月額で {SIZES[0]:,} 件/日なら約 {few} {code}、{most:,} 件/日なら約 {many} {code}、"
            f"どのルールにも当たらないイベントをフィルターで除けば約 {left} {code} です。"
        )
    return (
        f"At example prices a month costs about {few} {code} at {SIZES[0]:,} events a day, {many} at {most:,}, and {left} where filters keep back "
        "what no rule wants: counted, and reckoned with your prices by `python -m bench.cost`."
    )


def summarised(text: str, line: str) -> str:
    return _SUMMARY.sub(lambda _: line, text)


_SUMMARY: Final = re.compile(r"^(At example prices|費用の目安は).*$", re.MULTILINE)
_STEP_JA: Final = "*月額:*"
STEP: Final = re.compile(r"^\*(A month|月額):\*.*$", re.MULTILINE)


def _step(costs: tuple[float, ...], currency: str, japanese: bool) -> str:  # noqa: FBT001 (one of two languages)
    if japanese:
        said = "、".join(f"{size:,} 件/日で {cost:.2f} {currency}" for cost, size in zip(costs, SIZES, strict=True))
        return f"{_STEP_JA} {said if any(costs) else 'なし'}。"
    if not any(costs):
        return "*A month:* nothing."
    said = " and ".join(
        f"{cost:.2f} {currency} at {size:,} events a day" for cost, size in zip(costs, SIZES, strict=True)
    )
    return f"*A month:* {said}."
