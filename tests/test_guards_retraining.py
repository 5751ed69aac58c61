"""What a pipeline's runs may cost: each limit by its story, and never more than the budget however workers race."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.guards.ask import Ended, Go, Held, Memory, Suppressed
from shared.guards.retraining import LEDGERS, Start, may_start, read, refund
from shared.guards.throttle import name_of
from shared.record import WorkspaceRef
from shared.rules.config import Budget, Pipeline, Spend
from tests.test_guards_throttle import race

T0 = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
PROD = WorkspaceRef("s", "rg", "prod")


def pipeline(**limits):
    return Pipeline.model_validate({"source": "azureml:fraud_train:3", "experiment": "fraud", **limits})


def start(key, hours=0.0, cost=0.0):
    return Start(key, T0 + timedelta(hours=hours), key, PROD, cost)


def ask(memory, limits, key, hours=0.0, zone="UTC"):
    return memory.run(may_start("fraud-weekly", limits, start(key, hours, limits.cost or 0.0), zone))


def test_nothing_is_asked_of_a_pipeline_without_limits():
    memory = Memory()
    assert [ask(memory, pipeline(), f"k{n}") for n in range(20)] == [Go()] * 20


def test_it_cools_down():
    memory, limits = Memory(), pipeline(cooldown="6h")
    assert ask(memory, limits, "a") == Go()
    no = ask(memory, limits, "b", 5)
    assert no == Suppressed(
        "cooldown",
        "'fraud-weekly' cools down for 6h: it was started at 2026-11-24 09:00:00 UTC, and can be again at "
        "2026-11-24 15:00:00 UTC",
    )
    assert ask(memory, limits, "a", 5) == Go()  # the same start: a try that was killed
    assert ask(memory, limits, "c", 6) == Go()


def test_so_many_at_the_same_time_and_the_next_when_one_has_ended():
    memory, limits = Memory(), pipeline(concurrency=2)
    assert (ask(memory, limits, "a"), ask(memory, limits, "b")) == (Go(), Go())
    no = ask(memory, limits, "c", 1)
    assert no == Suppressed("concurrency", "2 of at most 2 runs of 'fraud-weekly' are under way: a, b")
    memory.ended["a"] = T0 + timedelta(hours=2)
    assert ask(memory, limits, "d", 3) == Go()
    assert isinstance(ask(memory, limits, "e", 4), Suppressed)


def test_a_budget_of_runs_a_day_by_the_calendar_of_the_zone():
    memory, limits = Memory(), pipeline(budget={"day": {"runs": 2}})
    tokyo = "Asia/Tokyo"  # 09:00 UTC is 18:00 there
    assert [ask(memory, limits, key, zone=tokyo) for key in "ab"] == [Go(), Go()]
    no = ask(memory, limits, "c", 5, tokyo)
    assert isinstance(no, Held)
    assert no.note == "the budget of 'fraud-weekly' for this day is used up: 2 of 2 runs"
    assert ask(memory, limits, "d", 6, tokyo) == Go()  # midnight there
    later = ask(memory, limits, "e", 6, tokyo)
    assert later == Go()
    again = ask(memory, limits, "f", 6, tokyo)
    assert isinstance(again, Held)
    assert again.once != no.once  # each day's is told of


def test_a_budget_of_cost_a_month():
    memory, limits = Memory(), pipeline(cost=40, budget={"month": {"cost": 100}})
    assert [ask(memory, limits, key) for key in "ab"] == [Go(), Go()]
    no = ask(memory, limits, "c")
    assert isinstance(no, Held)
    assert (
        no.note
        == "the budget of 'fraud-weekly' for this month is used up: 80 of 100 are spent, and one more run costs 40"
    )
    assert ask(memory, limits, "d", 24 * 7) == Go()  # it is December then


def test_what_was_refused_is_not_spent():
    memory, limits = Memory(), pipeline(budget={"day": {"runs": 1}})
    assert ask(memory, limits, "a") == Go()
    memory.run(refund("fraud-weekly", "a"))
    memory.run(refund("fraud-weekly", "never-there"))
    assert ask(memory, limits, "b") == Go()


def test_what_has_ended_is_asked_only_where_it_matters():
    asked = []

    class Watched(Memory):
        def answer(self, ask, behind=0):
            asked.append(ask)
            return super().answer(ask, behind)

    memory = Watched()
    ask(memory, pipeline(cooldown="1h"), "a")
    ask(memory, pipeline(cooldown="1h"), "b", 2)
    assert not [one for one in asked if isinstance(one, Ended)]
    ask(memory, pipeline(concurrency=5), "c", 4)
    assert [one.job for one in asked if isinstance(one, Ended)] == ["a", "b"]


@given(
    st.lists(st.integers(0, 12), max_size=80),
    st.integers(2, 6),
    st.integers(0, 3),
    st.integers(0, 100),
    st.booleans(),
)
def test_whoever_races_no_budget_is_overdrawn(order, workers, runs, cost, refunds):
    memory = Memory()
    limits = Pipeline(
        source="azureml:a:1",
        experiment="e",
        cost=30,
        budget=Budget(day=Spend(runs=runs), month=Spend(cost=cost)),
    )
    scripts: list[Any] = [may_start("p", limits, start(f"k{n}", cost=30), "UTC") for n in range(workers)]
    if refunds:
        scripts += [refund("p", f"k{n}") for n in range(workers)]
    rulings = race(memory, scripts, order)
    ledger = read(memory.folders.get(LEDGERS, {}).get(name_of("p")))
    assert len(ledger.starts) <= runs
    assert sum(one.cost for one in ledger.starts) <= cost
    if not refunds:
        allowed = {f"k{n}" for n, one in enumerate(rulings) if isinstance(one, Go)}
        assert {one.key for one in ledger.starts} == allowed
        assert len(allowed) == min(workers, runs, cost // 30)  # none that there was room for is refused
