"""`throttle` and the like of a rule: how often, by which fields, for how long."""

from typing import Final

import re2

from shared.record import PARTS, Kind
from shared.rollout.hours import seconds, written
from shared.rules import paths
from shared.rules.plan import DELIVERIES, Throttling, expression
from shared.rules.report import Report
from shared.rules.tree import Node, nearest

_KINDS: Final[tuple[Kind, ...]] = (
    "once_within",
    "once_after",
    "accumulate_within",
    "complete_within",
    "incomplete_after",
)
_KEYS: Final = (*_KINDS, "by", "threshold", "parts", "marker")
LONGEST: Final = 31 * 86_400.0
_MOST: Final = 500
_EXAMPLE: Final = "{once_within: 10m, by: [run.parent]}"
_DELIVERED: Final = "{complete_within: 6h, parts: 12, by: [blob.folder]}"
_FOLDER: Final = ("blob.container", "blob.folder")
"""What tells one delivery from another, where nobody says it."""


def read_throttle(node: Node, report: Report) -> Throttling | None:
    """None with everything that is wrong said."""
    if not report.mapping(node, f"how often, as in {_EXAMPLE}"):
        return None
    before = len(report.problems)
    for key, at in node.keys.items():
        if key not in _KEYS:
            report.say(at, f"unknown key {key!r}{nearest(key, _KEYS)}")
    kinds = [kind for kind in _KINDS if kind in node.items]
    if len(kinds) != 1:
        found = " and ".join(repr(kind) for kind in kinds) or "none of them"
        report.say(
            node.keys[kinds[1]] if kinds else node.at,
            f"expected one of {', '.join(_KINDS[:-1])} and {_KINDS[-1]}, found {found}: as in {_EXAMPLE}",
        )
        return None
    kind = kinds[0]
    length = read_length(node.items[kind], kind, report)
    by = read_fields(node.items["by"], report) if "by" in node.items else ()
    threshold = _threshold(node, kind, report)
    says = marker = ""
    if kind in DELIVERIES:
        by = by or tuple(paths.FIXED[name] for name in _FOLDER)
        threshold, says, marker = _delivery(node, report)
    else:
        for key in ("parts", "marker"):
            if key in node.items:
                report.say(
                    node.keys[key], f"{key!r} goes with complete_within and incomplete_after: as in {_DELIVERED}"
                )
    return Throttling(kind, length, by, threshold, says, marker) if len(report.problems) == before else None


def _delivery(node: Node, report: Report) -> tuple[int, str, str]:
    """How many parts there are, the expression by which their names say it, and that of the marker."""
    parts, marked = node.items.get("parts"), node.items.get("marker")
    number, says, marker, groups = 0, "", "", 0
    if parts is not None and isinstance(parts.value, str):
        says, count = _expression(parts, "parts", report)
        if says and count != 1:
            report.say(parts.at, f"parts: expected one group for how many there are, as in '-of-(\\d+)', found {count}")
    elif parts is not None:
        value = parts.value
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= PARTS:
            report.say(
                parts.at,
                f"parts: expected a whole number from 1 to {PARTS}, or an expression such as '-of-(\\d+)' by which each name "
                f"says it, found {value if isinstance(value, int | float) else parts.kind}",
            )
        else:
            number = value
    if marked is not None:
        marker, groups = _expression(marked, "marker", report)
        if groups > 1:
            report.say(marked.at, f"marker: expected one group at most, for how many there are, found {groups}")
    if parts is None and (marked is None or (marker and not groups)):
        report.say(
            node.at,
            "nothing says how many parts there are: expected 'parts: 12', an expression by which their names say it, as in "
            "'parts: -of-(\\d+)', or one by which the marker's name does, as in 'marker: ^_DONE-(\\d+)$'. A marker that says "
            "by being there that all has come needs no throttle: ask for its name in 'match'",
        )
    return number, says, marker


def _expression(node: Node, name: str, report: Report) -> tuple[str, int]:
    """The expression, and how many groups it has; "" with what is wrong said."""
    if not isinstance(node.value, str) or not node.value:
        report.say(node.at, f"{name}: expected an expression that is looked for in the file's name, found {node.kind}")
        return "", 0
    try:
        return node.value, int(expression(node.value).groups)
    except re2.error as error:
        said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        report.say(node.at, f"{name}: {node.value!r} is not an RE2 expression: {said}")
        return "", 0


def _threshold(node: Node, kind: Kind, report: Report) -> int:
    given = node.items.get("threshold")
    if kind != "accumulate_within":
        if given is not None:
            report.say(node.keys["threshold"], "'threshold' goes with accumulate_within: how many of them make it fire")
        return 0
    value = given.value if given is not None else None
    if given is None:
        report.say(node.at, "'threshold' is missing: how many within that time make the rule fire")
    elif isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= _MOST:  # noqa: PLR2004 (one is no crowd)
        report.say(given.at, f"threshold: expected a whole number from 2 to {_MOST}, found {value!r}")
    return value if isinstance(value, int) else 0


def read_length(
    node: Node,
    name: str,
    report: Report,
    *,
    shortest: float = 0.0,
    longest: float = LONGEST,
    example: str = "'10m', '2h' or '1d12h'",
) -> float:
    """Seconds; 0 with what is wrong said."""
    length = seconds(node.value) if isinstance(node.value, str) else None
    if length is None or length <= 0:
        shown = repr(node.value) if isinstance(node.value, str | int | float) else node.kind
        report.say(node.at, f"{name}: {shown} is no length of time: expected one such as {example}")
        return 0.0
    if length > longest:
        report.say(node.at, f"{name} is {written(length)}, and {written(longest)} is the limit")
        return 0.0
    if length < shortest:
        report.say(node.at, f"{name} is {written(length)}, and {written(shortest)} is the least")
        return 0.0
    return length


def read_fields(node: Node, report: Report) -> tuple[paths.Path, ...]:
    """`by`: the fields whose values tell one account from another."""
    found: list[paths.Path] = []
    for entry in report.entries(node, "fields, as in [model.name]"):
        name = report.text(entry, "a field such as model.name")
        path = paths.find(name) if name else None
        if isinstance(path, str):
            report.say(entry.at, path)
        elif path is not None:
            if any(path.name == one.name for one in found):
                report.say(entry.at, f"field {path.name!r} is named twice")
            found.append(path)
    return tuple(found)
