"""`worth` of a retraining step: what has to be known of the model, so that a training is worth its cost."""

from typing import Final, get_args

from shared.quality.watch import ESTIMABLE, LOWER_IS_BETTER, Watch
from shared.record import Worth
from shared.rules.report import Report
from shared.rules.tree import Node, nearest

KEYS: Final = ("quality", "drop", "metric", "by", "new_labels", "unknown")
WAYS: Final[tuple[str, ...]] = get_args(Worth.__annotations__["by"])
UNKNOWN: Final[tuple[str, ...]] = get_args(Worth.__annotations__["unknown"])
_EXAMPLE: Final = "{quality: fraud, drop: 0.01, metric: auc, new_labels: 2000}"


def read_worth(node: Node, report: Report, watch: Watch | None, missing: str) -> Worth | None:
    """None with everything that is wrong said. `watch`: the one that `quality` names; `missing`: why there is none."""
    if not report.mapping(node, f"what makes it worth a training, as in {_EXAMPLE}"):
        return None
    before = len(report.problems)
    for key, at in node.keys.items():
        if key not in KEYS:
            report.say(at, f"unknown key {key!r}{nearest(key, KEYS)}")
    items = node.items
    if "quality" not in items:
        report.say(node.at, f"'quality' is missing: a file of quality/, as in {_EXAMPLE}")
    elif watch is None and missing:
        report.say(items["quality"].at, missing)
    if "drop" not in items and "new_labels" not in items:
        report.say(node.at, f"expected 'drop', 'new_labels' or both, as in {_EXAMPLE}")
    alone = [key for key in ("drop", "metric") if key in items]
    if len(alone) == 1:
        other = "metric" if alone[0] == "drop" else "drop"
        report.say(node.keys[alone[0]], f"{alone[0]!r} without {other!r}: they go together")
    drop, labels = _above_zero(node, "drop", report), _above_zero(node, "new_labels", report)
    by, unknown = _word(node, "by", WAYS, report), _word(node, "unknown", UNKNOWN, report)
    metric = str(items["metric"].value) if "metric" in items else ""
    if metric and watch is not None:
        _measured(node, metric, by, watch, report)
    if len(report.problems) > before:
        return None
    return Worth(
        quality=str(items["quality"].value),
        metric=metric,
        drop=drop,
        lower_is_better=metric in LOWER_IS_BETTER,
        by=by,  # type: ignore[arg-type]  # one of WAYS
        new_labels=int(labels),
        unknown=unknown,  # type: ignore[arg-type]  # one of UNKNOWN
    )


def _measured(node: Node, metric: str, by: str, watch: Watch, report: Report) -> None:
    at = node.items["metric"].at
    known = [ask.metric for ask in watch.asks]
    if metric not in known:
        report.say(at, f"quality/{watch.name}.yaml measures no {metric!r}{nearest(metric, known)}")
    elif by == "estimated" and (metric not in ESTIMABLE or not watch.predictions.score):
        why = "its predictions have no score" if metric in ESTIMABLE else f"{metric} needs the truth"
        report.say(node.items["by"].at, f"{metric} of quality/{watch.name}.yaml is never estimated: {why}")


def _above_zero(node: Node, key: str, report: Report) -> float:
    inner = node.items.get(key)
    if inner is None:
        return 0.0
    value, whole = inner.value, key == "new_labels"
    good = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not good or not value > 0:  # type: ignore[operator]  # a number
        what = "a whole number above 0" if whole else "a number above 0, in units of the metric"
        report.say(inner.at, f"{key} is {inner.plain()!r}: expected {what}")
        return 0.0
    return float(value)  # type: ignore[arg-type]  # a number


def _word(node: Node, key: str, words: tuple[str, ...], report: Report) -> str:
    inner = node.items.get(key)
    if inner is None:
        return words[0]
    if inner.value not in words:
        report.say(
            inner.at,
            f"{key} is {inner.plain()!r}, expected {', '.join(words[:-1])} or {words[-1]}",
        )
    return str(inner.value)


def in_words(asked: Worth) -> str:
    """What it asks for."""
    told = []
    if asked.drop:
        way = "measured or estimated" if asked.by == "either" else asked.by
        told.append(f"{asked.metric} worse by {asked.drop:g} or more ({way}, quality/{asked.quality}.yaml)")
    if asked.new_labels:
        told.append(f"{asked.new_labels:,} new labels since the last training")
    held = "is held back" if asked.unknown == "hold" else "goes"
    return f"{' and '.join(told)}; where nobody knows, it {held}"
