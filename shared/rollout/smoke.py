"""What the smoke test found, and whether that is good enough."""

from typing import Final

from shared.rollout.policy import Load, Smoke
from shared.rollout.record import Probed, Said, UnderLoad

_KEPT: Final = 0.9
"""The share of the asked rate that must have been brought, or nothing is known of it."""

type Values = dict[str, str | int | float]


def passed(deployment: str, smoke: Smoke, found: Probed) -> Said:
    """That it was passed, with what was measured."""
    if smoke.load is None or found.load is None:
        return Said("probed", measured(deployment, smoke, found))
    return Said("probed under load", measured(deployment, smoke, found) | _figures(deployment, smoke.load, found.load))


def trouble(deployment: str, smoke: Smoke, found: Probed) -> Said | None:
    """Why it was not passed; None where it was."""
    values = measured(deployment, smoke, found)
    if found.sent == 0:
        return Said("probe sent nothing", {"deployment": deployment})
    if found.errors > smoke.max_errors:
        return Said("probe errors", values | {"detail": "; ".join(found.failed) or "-"})
    if found.wrong:
        return Said("probe wrong", values | {"detail": "; ".join(found.wrong)})
    if smoke.p95_ms is not None and found.p95 > smoke.p95_ms:
        return Said("probe slow", values | {"limit": smoke.p95_ms})
    if smoke.load is None:
        return None
    # A host of before this was asked for has answered: nobody knows.
    return _under_load(deployment, smoke.load, found.load or UnderLoad(0, 0.0))


def measured(deployment: str, smoke: Smoke, found: Probed) -> Values:
    """Of the samples."""
    return {
        "deployment": deployment,
        "sent": found.sent,
        "errors": found.errors,
        "max_errors": smoke.max_errors,
        "p95": round(found.p95, 1),
    }


def _figures(deployment: str, load: Load, found: UnderLoad) -> Values:
    bad, asked = sum(found.failed.values()) + found.missed, found.sent + found.missed
    return {
        "deployment": deployment,
        "rps": load.rps,
        "seconds": load.seconds,
        "pressed": asked,
        "bad": bad,
        "share": _short(100 * bad / asked, 2) if asked else 0,
        "most": _short(100 * load.max_error_rate, 2),
        "rate": _short(found.rate, 1),
        "under50": _short(found.p50, 1),
        "under95": _short(found.p95, 1),
        "under99": _short(found.p99, 1),
    }


def _short(number: float, digits: int) -> float | int:
    """As people write it: 20, not 20.0."""
    rounded = round(number, digits)
    return int(rounded) if rounded == int(rounded) else rounded


def _under_load(deployment: str, load: Load, found: UnderLoad) -> Said | None:
    values = _figures(deployment, load, found)
    bad, asked = sum(found.failed.values()) + found.missed, found.sent + found.missed
    if asked and bad > load.max_error_rate * asked:
        told = [
            f"{status}: {n}" if status == "no answer" else f"HTTP {status}: {n}" for status, n in found.failed.items()
        ]
        told += [f"more than {load.at_once} at once: {found.missed}"] if found.missed else []
        return Said("load errors", values | {"detail": ", ".join(told)})
    if found.rate < _KEPT * load.rps:
        return Said("load not brought", values)
    for name, value, limit in (("p95", found.p95, load.p95_ms), ("p99", found.p99, load.p99_ms)):
        if limit is not None and value > limit:
            return Said("load slow", values | {"quantile": name, "value": _short(value, 1), "limit": limit})
    return None
