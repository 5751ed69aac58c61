"""How a candidate does by cohort, as the table of a picture (shared/pictures)."""

from collections.abc import Sequence

from shared.rollout.policy import Compare
from shared.rollout.record import Compared


def scorecard(wanted: Sequence[Compare], found: Compared) -> list[dict[str, object]]:
    """One table for each comparison that asks for cohorts and has some: what is logged as `<metric>/<cohort>`."""
    return [table for one in wanted if one.cohorts and (table := _table(one, found)) is not None]


def _table(one: Compare, found: Compared) -> dict[str, object] | None:
    prefix = f"{one.metric}/"
    fixed = one.against if isinstance(one.against, int | float) else None
    rivals = found.champion or {}
    rows = [
        [name.removeprefix(prefix), value, rivals.get(name) if fixed is None else fixed]
        for name, value in sorted((found.candidate or {}).items())
        if name.startswith(prefix)
    ]
    least = one.at_least if one.cohort_at_least is None else one.cohort_at_least
    return (
        {
            "kind": "cohorts",
            "metric": one.metric,
            "rows": rows,
            "at_least": least,
            "higher_is_better": not one.lower_is_better,
        }
        if rows
        else None
    )
