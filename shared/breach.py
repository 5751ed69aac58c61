"""What a v2 model monitor says of a breach: a sentence for people, in a tag of its run.

As the published components of Azure ML write it:

    The signal 'fraud-monitor_data_drift' has failed due to one or more features violating metric thresholds.
    The feature names and their corresponding computed metric values violating the threshold are
    ['{"group":"amount","metric_value":0.37,"metric_name":"NormalizedWassersteinDistance","threshold_value":0.1}']

Older ones name rows too that violate nothing, others say the sentence alone, and a long text may have been cut: what can be
read is taken, and nothing here raises.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from msgspec import Struct

TAG: Final = "azureml_modelmonitor_threshold_breached"
"""The tag on the step that compared, from which Event Grid's documented filter reads."""

ROOT_TAG: Final = "azureml.modelmonitor.threshold.breached."
"""How the tags on the monitor's own run begin, one a signal: only where somebody gets mail from Azure."""

ERROR_TAG: Final = "azureml.modelmonitor.error"
"""On a monitor's run that failed for another reason, such as a window without data."""

_MOST: Final = 200
"""Features of one breach that are kept."""

_SIGNAL: Final = re.compile(r"\bsignal\s+['\"](?P<name>[^'\"\n]+)['\"]\s+has\s+failed\s+due\s+to", re.IGNORECASE)
_TAIL: Final = re.compile(r"(?:^|\s+)has\s+failed\s+due\s+to\b.*", re.IGNORECASE | re.DOTALL)
_KINDS: Final = (
    "feature_attribution_drift",
    "prediction_drift",
    "data_quality",
    "data_drift",
    "model_performance",
    "generation_safety_quality",
    "generation_token_statistics",
)
"""Kinds of signals: a name that ends in one is split there, as Azure asks to name them: <monitor>_<signal>."""

_ROW: Final = re.compile(r"\{[^{}]*\}")
_FEATURE: Final = ("group", "feature", "feature_name", "featurename", "column")
_METRIC: Final = ("metric_name", "metricname", "metric")
_VALUE: Final = ("metric_value", "metricvalue", "value")
_LIMIT: Final = ("threshold_value", "thresholdvalue", "threshold")
_MONITORS: Final = ("azureml_modelmonitor_name", "azureml.modelmonitorname", "azureml.monitor_name", "monitor_name")
_LESS_IS_WORSE: Final = frozenset(
    {
        "twosamplekolmogorovsmirnovtest",
        "pearsonschisquaredtest",
        "normalizeddiscountedcumulativegain",
        "accuracy",
        "precision",
        "recall",
    }
)
"""Metrics of which a low value is the breach: p-values, and what should be high; pass rates too."""


class Crossed(Struct, frozen=True, omit_defaults=True):
    """A feature that crossed its threshold. What was not said is None; `feature` is "" for a value of all of them."""

    feature: str
    metric: str | None = None
    value: float | None = None
    threshold: float | None = None


def names(text: str, said: Mapping[str, object]) -> tuple[str | None, str | None]:
    """Monitor and signal. `said`: the tags and properties of the run, which may tell the monitor's name. Where nobody says
    where one ends and the other begins, both are the whole name.
    """
    found = _SIGNAL.search(text)
    whole = found["name"].strip() if found else _TAIL.sub("", text).strip()
    if not whole or "\n" in whole:
        return None, None
    known = {key.casefold(): str(value) for key, value in said.items()}
    monitor = next((known[key] for key in _MONITORS if known.get(key)), None)
    if monitor and whole != monitor:
        return monitor, whole.removeprefix(f"{monitor}_")
    plain = whole.casefold().replace("-", "_")
    kind = next((kind for kind in _KINDS if plain.endswith(kind)), None)
    if kind is None:
        return whole, whole if found else None
    cut = len(whole) - len(kind)
    return whole[:cut].rstrip("_-") or None, whole[cut:]


def crossed(text: str) -> tuple[Crossed, ...]:
    """The features that the text names, those that violate nothing left out."""
    found: dict[tuple[str, str | None], Crossed] = {}
    for row in _rows(text):
        one = _crossed(row)
        if one is not None and not _within(one):
            found.setdefault((one.feature, one.metric), one)
            if len(found) == _MOST:
                break
    return tuple(found.values())


def coefficient(features: tuple[Crossed, ...]) -> float | None:
    """The largest value, of those metrics of which a high one is drift."""
    values = [one.value for one in features if one.value is not None and not less_is_worse(one.metric)]
    return max(values, default=None)


def less_is_worse(metric: str | None) -> bool:
    plain = re.sub(r"[^a-z]", "", (metric or "").casefold())
    return plain in _LESS_IS_WORSE or plain.endswith("passrate")


def _within(one: Crossed) -> bool:
    if one.value is None or one.threshold is None:
        return False
    return one.value >= one.threshold if less_is_worse(one.metric) else one.value <= one.threshold


def _rows(text: str) -> Iterator[Mapping[str, object]]:
    """The objects in a text, as JSON or as Python prints them, quoted once more or not."""
    for piece in _ROW.findall(text):
        for plain in dict.fromkeys((piece, piece.replace("\\'", "'").replace("\\\\", "\\"))):
            row = _object(plain)
            if row is not None:
                yield row
                break


def _object(text: str) -> Mapping[str, object] | None:
    with suppress(ValueError):
        row = json.loads(text)
        return {str(key).casefold(): value for key, value in row.items()} if isinstance(row, dict) else None
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        row = ast.literal_eval(text)
        return {str(key).casefold(): value for key, value in row.items()} if isinstance(row, dict) else None
    return None


def _crossed(row: Mapping[str, object]) -> Crossed | None:
    metric = next((str(row[key]) for key in _METRIC if isinstance(row.get(key), str)), None)
    value, limit = (
        next((n for key in keys if (n := _number(row.get(key))) is not None), None) for keys in (_VALUE, _LIMIT)
    )
    feature = next((str(row[key]) for key in _FEATURE if isinstance(row.get(key), str)), "")
    return Crossed(feature, metric, value, limit) if feature or (metric and value is not None) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    with suppress(ValueError, OverflowError):
        number = float(value)
        return number if abs(number) != float("inf") and number == number else None  # noqa: PLR0124 (NaN)
    return None
