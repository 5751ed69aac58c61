"""`throttle` and the like of a rule: how often, by which fields, for how long."""

from typing import Final

from shared.record import Kind
from shared.rollout.hours import seconds, written
from shared.rules import paths
from shared.rules.plan import Throttling
from shared.rules.report import Report
from shared.rules.tree import Node, nearest

_KINDS: Final[tuple[Kind, ...]] = ("once_within", "once_after", "accumulate_within")
_KEYS: Final = (*_KINDS, "by", "threshold")
LONGEST: Final = 31 * 86_400.0
_MOST: Final = 500
_EXAMPLE: Final = "{once_within: 10m, by: [run.parent]}"


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
            f"expected one of once_within, once_after and accumulate_within, found {found}: as in {_EXAMPLE}",
        )
        return None
    kind = kinds[0]
    length = read_length(node.items[kind], kind, report)
    by = read_fields(node.items["by"], report) if "by" in node.items else ()
    threshold = _threshold(node, kind, report)
    return Throttling(kind, length, by, threshold) if len(report.problems) == before else None


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


def read_length(node: Node, name: str, report: Report) -> float:
    """Seconds; 0 with what is wrong said."""
    length = seconds(node.value) if isinstance(node.value, str) else None
    if length is None or length <= 0:
        shown = repr(node.value) if isinstance(node.value, str | int | float) else node.kind
        report.say(node.at, f"{name}: {shown} is no length of time: expected one such as '10m', '2h' or '1d12h'")
        return 0.0
    if length > LONGEST:
        report.say(node.at, f"{name} is {written(length)}, and {written(LONGEST)} is the limit")
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
