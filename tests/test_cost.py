"""What an event costs: the bill follows from what was counted, and the document says what the bill says."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bill import (
    BEGIN,
    COUNTED,
    DOCS,
    PRICES,
    READMES,
    SIZES,
    STEP,
    Counted,
    Line,
    Measured,
    bill,
    prices,
    steps,
    summary,
    tables,
    total,
    written,
)
from bench.cost import CONFIG, RULES, Bench, Meter, operation
from simulator.app import Box
from tests import azurite_server

MEASURED = Measured.load(COUNTED.read_text(encoding="utf-8"))
PRICE = prices()


def lines(measured: Measured = MEASURED, price: Mapping[str, Any] = PRICE, a_day: float = 1_000) -> dict[str, Line]:
    return {line.what: line for line in bill(measured, price, a_day)}


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("POST", "switchyard-work/messages", "", "queue write"),
        ("GET", "switchyard-work/messages", "visibilitytimeout=30", "queue read"),
        ("DELETE", "switchyard-work/messages/b3a6", "popreceipt=x", "queue write"),
        ("POST", "switchyardevents", "", "table write"),
        ("PATCH", "switchyardevents(PartitionKey='a',RowKey='b')", "", "table write"),
        ("GET", "switchyardevents(PartitionKey='a',RowKey='b')", "", "table read"),
        ("GET", "switchyardevents()", "$filter=x", "table scan"),
        ("DELETE", "switchyardevents(PartitionKey='a',RowKey='b')", "", "table delete"),
        ("POST", "$batch", "", "table batch"),
        ("PUT", "switchyard-archive/2026-11-24.jsonl", "comp=appendblock", "blob write"),
        ("GET", "switchyard-config", "restype=container&comp=list", "blob list"),
        ("GET", "switchyard-config/rules/fraud.yaml", "", "blob read"),
        ("DELETE", "switchyard-deadletter/S/1.json", "", "blob delete"),
    ],
)
def test_a_line_of_the_access_log_is_a_transaction_of_a_class_with_a_price(
    method: str, path: str, query: str, expected: str
) -> None:
    assert operation(method, path, query) == expected
    assert expected in PRICE["storage"]["ten_thousand"]


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_the_document_says_what_was_counted_and_what_it_costs(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert len(STEP.findall(text)) == 10
    assert written(text, MEASURED, PRICE) == text, "python -m bench.cost --kept --write"
    assert BEGIN in DOCS[0].read_text(encoding="utf-8")


def test_the_steps_are_typed_alike_in_both_languages() -> None:
    english, japanese = (re.findall(r"```.*?```", path.read_text(encoding="utf-8"), re.DOTALL) for path in DOCS)
    assert len(japanese) > 10
    assert english[: len(japanese)] == japanese


@pytest.mark.parametrize("language", READMES)
def test_the_readmes_say_the_same(language: str) -> None:
    line = summary(MEASURED, PRICE, language)
    assert line in READMES[language].read_text(encoding="utf-8").splitlines(), "python -m bench.cost --kept --write"
    assert f"{total(MEASURED, PRICE, 100_000):.0f}" in line


def test_everything_that_was_counted_has_a_price_and_a_share() -> None:
    assert PRICE["mix"].keys() == MEASURED.kinds.keys()
    assert sum(PRICE["mix"].values()) == 1_000
    named = {name for one in MEASURED.kinds.values() for name in one.operations}
    named |= {name for one in MEASURED.timers.values() for name in one.operations}
    assert named <= PRICE["storage"]["ten_thousand"].keys()
    assert set(MEASURED.timers) == set(MEASURED.fires)
    for size in SIZES:
        each = steps(MEASURED, PRICE, size)
        assert len(each) == 10
        assert sum(each) == pytest.approx(total(MEASURED, PRICE, size))


def test_the_bill_of_a_day_that_can_be_reckoned_by_hand() -> None:
    """Ten events a day, each of which takes one execution, two messages and three rows; one timer that finds nothing to do."""
    nothing, one = Counted(), Counted({"queue write": 2, "table write": 3}, {"on_message": 1}, 100.0, 1_000.0)
    none = dict.fromkeys(("archived", "archiving", "forgotten", "forgetting", "page", "container", "rollout"), nothing)
    naive = Counted({"queue write": 1})
    fires = {"on_configuration": 24, "on_archive": 0, "on_retention": 0}
    idle = {name: Counted({"table read": 1}, {name: 1}) for name in fires}
    measured = Measured({"x": one}, idle, fires, naive=naive, poll_seconds=2.0, queues=6, **none)
    price = PRICE | {
        "mix": {"x": 1_000},
        "functions": PRICE["functions"] | {"free_gb_seconds": 0, "free_executions": 0},
    }
    found = lines(measured, price, 10)
    assert found["functions: executions"].quantity == 30 * (10 + 24)
    assert found["functions: time"].quantity == pytest.approx(30 * (10 + 24) * 2, rel=1e-3)
    assert found["functions: time"].cost == pytest.approx(30 * 34 * 2 * 0.000026, rel=1e-3)
    assert found["storage: queues"].quantity == 600
    assert found["storage: queues"].cost == pytest.approx(600 / 10_000 * 0.004)
    assert found["storage: tables"].quantity == 30 * (30 + 24)
    assert found["storage: records kept"].quantity == pytest.approx(10 * 1_000 * 30 / 1e9)
    assert found["Event Grid"].cost == 0  # below what is free


def test_what_is_priced_by_the_piece_is_as_many_as_the_templates_make() -> None:
    alerts, topics, network = (
        (COUNTED.parents[1] / "infra" / "modules" / f"{name}.bicep").read_text(encoding="utf-8")
        for name in ("alerts", "delivery", "network")
    )
    assert PRICE["alerts"]["log_rules"] == len(re.findall(r"^    query: ", alerts, re.MULTILINE))
    assert PRICE["alerts"]["metric_rules"] == alerts.count("metricAlerts@") + len(
        re.findall(r"^    metric: ", topics, re.MULTILINE)
    )
    assert PRICE["options"]["private_endpoints"] == len(re.findall(r"^    group: ", network, re.MULTILINE))


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_more_events_never_cost_less(some: float, others: float) -> None:
    few, many = sorted((some, others))
    assert total(MEASURED, PRICE, few) <= total(MEASURED, PRICE, many) + 1e-9


@given(st.sampled_from(sorted(MEASURED.kinds)), st.floats(1, 1e4))
def test_whatever_takes_more_of_anything_costs_no_less(kind: str, times: float) -> None:
    one = MEASURED.kinds[kind]
    more = replace(
        one, operations={name: n * times for name, n in one.operations.items()}, table_bytes=one.table_bytes * times
    )
    dearer = replace(MEASURED, kinds={**MEASURED.kinds, kind: more})
    assert total(dearer, PRICE, 1_000) >= total(MEASURED, PRICE, 1_000) - 1e-9


def test_a_file_of_prices_of_ones_own_is_taken(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(PRICES.read_text().replace("gb_second = 0.000026", "gb_second = 1.0").replace('"USD"', '"JPY"'))
    assert total(MEASURED, prices(own), 1_000) > 1_000
    assert "JPY" in tables(MEASURED, prices(own))


def test_what_was_counted_can_be_kept_and_read_again() -> None:
    assert Measured.load(json.dumps(asdict(MEASURED))) == MEASURED


def test_the_counts_are_those_of_this_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted anew, for few events: nobody may make an event dearer and leave the document as it is."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "switchyard.yaml").write_text(CONFIG)
    (tmp_path / "rules" / "team.yaml").write_text(RULES)
    meter = Meter()
    with Box(rate=0, seed=1) as box, azurite_server.running(tmp_path, print, hear=meter.hear) as azurite:
        for name, value in box.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("functions.host._given", [])

        async def count() -> dict[str, Counted]:
            bench = Bench(tmp_path, azurite, meter, box, 1)
            return {kind: await bench.kind(kind) for kind in ("no rule wants it", "a card")}

        found = asyncio.run(count())
    for kind, counted in found.items():
        known = MEASURED.kinds[kind]
        assert counted.executions == known.executions, kind
        assert counted.operations == pytest.approx(known.operations, abs=0.5), f"{kind}: python -m bench.cost --write"
