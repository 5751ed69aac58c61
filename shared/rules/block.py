"""A block of conditions, as `match` of a rule and `candidate` of a rollout policy write it."""

from collections.abc import Mapping
from typing import Final, Literal

from shared.rules import match, paths
from shared.rules.report import Report
from shared.rules.tree import Node

_NO_SHORT: Final[Mapping[str, str]] = {}
_NO_MORE: Final[Mapping[str, paths.Path]] = {}


def read_block(
    node: Node,
    report: Report,
    short: Mapping[str, str] = _NO_SHORT,
    more: Mapping[str, paths.Path] = _NO_MORE,
) -> tuple[match.Condition, ...]:
    """The lines of a block: all of them have to hold. `short`: fields that may be written shorter here; `more`: fields
    that are known here only.
    """
    if not report.mapping(node, "lines such as 'workspace: prod'"):
        return ()
    if not node.items:
        report.say(node.at, "an empty block: expected at least one line, or leave it out")
    found: list[match.Condition] = []
    for name, value in node.items.items():
        at = node.keys[name]
        if name in {"any", "not"}:
            blocks = report.entries(value, "blocks ('- FIELD: value')") if name == "any" else [value]
            conditions = [read_block(one, report, short, more) for one in blocks]
            kind: Literal["any", "not"] = "any" if name == "any" else "not"
            if conditions and all(conditions):
                found.append(match.block(kind, conditions, at, report.file))
            continue
        path = more.get(name) or paths.find(short.get(name, name), [*short, *more])
        if isinstance(path, str):
            report.say(at, path)
            continue
        tests = _tests(path, value, report)
        if tests:
            found.append(match.line(path, match.either(tests), at, report.file))
    return tuple(found)


def _tests(path: paths.Path, node: Node, report: Report) -> list[match.Test]:
    if isinstance(node.value, dict):
        inner = next(iter(node.value), "NAME")
        report.say(node.at, f"expected a value, found a mapping; write the whole field: '{path.name}.{inner}: value'")
        return []
    entries = report.entries(node, "values") if isinstance(node.value, list) else [node]
    found = []
    for entry in entries:
        if isinstance(entry.value, dict | list):
            report.say(entry.at, f"expected a value in the list, found {entry.kind}")
            continue
        try:
            found.append(match.test_of(entry.value, path))
        except match.OperatorError as error:
            report.say(entry.at, str(error))
    return found
