"""What the runs of a model monitor say: tags of the step that compared, of the runs above it, and metrics.

A monitor's run is a pipeline whose steps are pipelines again, one a signal; the step `evaluate_metric_thresholds` in each of
them has the tag. Azure documents none of that: it is read from the published components (azureml-assets, model_monitoring).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from shared import breach
from shared.breach import Crossed
from shared.cloud.azureml import Json, table, text
from shared.errors import PermanentError
from shared.events import Drift, breach_of

type Ask = Callable[[str, str], Awaitable[Json]]
"""From the run history: of a run, its `details` or its `children`."""

type Metrics = Callable[[str], Awaitable[Mapping[str, float]]]

_FAILED: Final = "failed"
_PIPELINES: Final = frozenset({"azureml.pipelinerun", "azureml.steprun", "pipeline", "steprun"})
_DEEPEST: Final = 3
_MOST: Final = 40
"""Runs below one that are looked at: a monitor has about eight steps for each signal."""

_WINDOW: Final[Mapping[str, tuple[str, ...]]] = {
    "baseline": ("baseline_data", "reference_data"),
    "target": ("target_data", "production_data"),
    "start": ("data_window_start", "window_start"),
    "end": ("data_window_end", "window_end", "monitor_current_time"),
}
"""Inputs of the monitor's pipeline, by what they are to us."""


async def found(run: str, ask: Ask, metrics: Metrics) -> Drift:
    """What the run found; nothing at all where no threshold was breached, or where it failed for another reason too."""
    details = await ask(run, "details")
    tagged, broken = _told(details), _is_error(details)
    drift = tagged
    if tagged is None and _is_pipeline(details):
        below = await _below(run, ask)
        told = [(one, said) for one in below if (said := _told(one)) is not None]
        broken = broken or _fails_otherwise(below)
        drift = _joined([said for _, said in told])
        run = str(told[0][0].get("runId") or run) if told else run
    if drift is None or broken:
        return Drift()
    if not drift.crossed:
        with suppress(PermanentError):  # that a threshold was breached is known without them
            drift = _measured(drift, await metrics(run))
    return _about(drift, [details, *await _above(details, ask)])


def _told(details: Json) -> Drift | None:
    """What the run's own tags say of breaches: one tag on a step, one for each signal on the runs above."""
    tags = table(details.get("tags"))
    said = tags | table(details.get("properties"))
    texts = [str(value) for key, value in tags.items() if key.casefold() == breach.TAG]
    texts = texts or [str(value) for key, value in tags.items() if key.casefold().startswith(breach.ROOT_TAG)]
    return _joined([breach_of(one, said) for one in texts])


def _joined(drifts: Sequence[Drift]) -> Drift | None:
    """Of several signals: the first that says something, and the features of all."""
    if not drifts:
        return None
    crossed = tuple(one for drift in drifts for one in drift.crossed)
    named = next((drift for drift in drifts if drift.signal), drifts[0])
    drift = _with(named, crossed)
    return drift if drift != Drift() else Drift(signal="unnamed")


def _with(drift: Drift, crossed: tuple[Crossed, ...]) -> Drift:
    features = tuple(dict.fromkeys(one.feature for one in crossed if one.feature))
    return replace(drift, crossed=crossed, features=features, coefficient=breach.coefficient(crossed))


def _is_error(details: Json) -> bool:
    return any(key.casefold() == breach.ERROR_TAG for key in table(details.get("tags")))


def _is_pipeline(details: Json) -> bool:
    source = text(table(details.get("properties")).get("azureml.runsource")) or text(details.get("runType")) or ""
    return source.casefold() in _PIPELINES


async def _below(run: str, ask: Ask) -> list[Json]:
    """The runs below, as far down as a monitor goes; as many as one has."""
    seen: list[Json] = []
    level = [run]
    for _ in range(_DEEPEST):
        children = [child for name in level for child in await _children(name, ask)]
        seen += children[: _MOST - len(seen)]
        level = [str(child["runId"]) for child in children if _is_pipeline(child) and _told(child) is None]
        if not level or len(seen) >= _MOST:
            break
    return seen


async def _children(run: str, ask: Ask) -> list[Json]:
    rows = (await ask(run, "children")).get("value")
    return [row for row in rows if isinstance(row, dict) and row.get("runId")] if isinstance(rows, list) else []


def _fails_otherwise(below: Sequence[Json]) -> bool:
    """Whether a run failed, none of those below it did, and no breach is why."""
    failed = [one for one in below if (text(one.get("status")) or "").casefold() == _FAILED]
    above = {str(one.get("parentRunId")) for one in failed}
    return any(_told(one) is None and str(one["runId"]) not in above for one in failed) or any(map(_is_error, below))


def _measured(drift: Drift, metrics: Mapping[str, float]) -> Drift:
    """By the run's own metrics, `FEATURE.METRIC` and `FEATURE.METRIC.threshold`: without a threshold nobody knows whether it
    was crossed.
    """
    crossed = []
    for name, value in metrics.items():
        feature, _, metric = name.rpartition(".")
        limit = next((metrics[key] for end in (".threshold", "_threshold") if (key := f"{name}{end}") in metrics), None)
        if feature and limit is not None and metric != "threshold":
            worse = value < limit if breach.less_is_worse(metric) else value > limit
            crossed += [Crossed(feature, metric, value, limit)] if worse else []
    return _with(drift, tuple(crossed)) if crossed else drift


async def _above(details: Json, ask: Ask) -> list[Json]:
    """The runs above, nearest first: what a monitor compares stands with its pipeline."""
    found: list[Json] = []
    for _ in range(_DEEPEST):
        parent = text(details.get("parentRunId"))
        if parent is None or parent == text(details.get("runId")):
            break
        try:
            details = await ask(parent, "details")
        except PermanentError:
            break
        found.append(details)
    return found


def _about(drift: Drift, runs: Sequence[Json]) -> Drift:
    """With the monitor's name and what it compared, where one of its runs says it."""
    said: dict[str, str] = {}
    for run in reversed(runs):
        said |= {key.casefold(): value for key, value in _inputs(run).items()}
        said |= {
            key.casefold().removeprefix("azureml."): str(value)
            for key, value in (table(run.get("properties")) | table(run.get("tags"))).items()
        }
    known = {name: next((said[key] for key in keys if said.get(key)), None) for name, keys in _WINDOW.items()}
    return replace(drift, monitor=drift.monitor or said.get("monitor_name"), **known)


def _inputs(run: Json) -> dict[str, str]:
    """Inputs by name: a value, or where data is."""
    plain: dict[str, str] = {}
    for name, given in table(run.get("inputs")).items():
        one = given if isinstance(given, dict) else {"value": given}
        value = next((text(one.get(key)) for key in ("value", "uri", "assetId", "path") if text(one.get(key))), None)
        if value:
            plain[str(name)] = value
    return plain
