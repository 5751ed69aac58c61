"""Former spellings: what the last minor version wrote otherwise. It is read as what it means now, and the new text is suggested.

One line in SPELLINGS is all that a new name takes: `modern` gives every reader of files the new one, and `rewritten` the text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from shared import VERSION
from shared.bounds import DEFAULTS, Bounds
from shared.errors import Problem
from shared.rules.report import Report
from shared.rules.tree import Node, Place, read


@dataclass(frozen=True)
class Spelling:
    """In files that `files` fits: the key at `old`, from the root, is the one at `new` as of the release `since`. `value`: as it is
    written now, None for what was no value; `expected`: in words what was one.

    Both keys are in the same block, or each is in a section of the file.
    """

    files: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    since: str
    value: Callable[[object], str | None]
    expected: str

    @property
    def before(self) -> str:
        """The minor version that wrote it so."""
        major, minor = _minor(self.since)
        return f"{major}.{minor - 1}"


def _whole(unit: str) -> Callable[[object], str | None]:
    return lambda value: f"{value}{unit}" if isinstance(value, int) and value is not True and value > 0 else None


SPELLINGS: Final[Sequence[Spelling]] = (
    Spelling(
        "switchyard.yaml",
        ("limits", "archive_days"),
        ("retention", "archive"),
        "0.2",
        _whole("d"),
        "a whole number of days above 0",
    ),
    Spelling(
        "rollouts/*",
        ("smoke", "load", "seconds"),
        ("smoke", "load", "for"),
        "0.2",
        _whole("s"),
        "a whole number of seconds above 0",
    ),
)


def _minor(release: str) -> tuple[int, int]:
    major, minor = release.split(".")[:2]
    return int(major), int(minor)


def modern(
    node: Node, report: Report, release: str = VERSION, spellings: Sequence[Spelling] = SPELLINGS
) -> tuple[Node, list[Problem]]:
    """The file with every former spelling read as what it means, at its place; and those that were found.

    One that is older than the last minor version before `release` is a mistake, and so is what says one thing in both spellings.
    """
    found: list[Problem] = []
    for one in spellings:
        at = _key(node, one.old) if fnmatchcase(report.file, one.files) else None
        if at is None:
            continue
        old = _inner(node, one.old)
        assert old is not None
        node, text = _without(node, one.old), one.value(old.value)
        new, where = one.new[-1], _where(one)
        if text is None:
            shown = old.value if isinstance(old.value, int | float) else old.kind
            report.say(old.at, f"{one.old[-1]}: expected {one.expected}, found {shown}; it is {new!r}{where} by now")
        elif _key(node, one.new) is not None:
            report.say(at, f"{one.old[-1]!r} says what {new!r}{where} says too: leave it out")
        elif _minor(release) > _minor(one.since):
            report.say(at, f"{_said(one, old)} is not read any more since {one.since}: write '{new}: {text}'{where}")
        else:
            message = f"{_said(one, old)} is the spelling of {one.before}: write '{new}: {text}'{where}"
            found.append(Problem(report.file, *at, message))
            node = _with(node, one.new, Node(text, old.at), at)
    return node, found


def _said(one: Spelling, old: Node) -> str:
    return f"'{one.old[-1]}: {old.value}'"


def _where(one: Spelling) -> str:
    return "" if one.old[:-1] == one.new[:-1] else f" under {one.new[-2]!r}"


# Trees


def _inner(node: Node, path: Sequence[str]) -> Node | None:
    for key in path:
        if key not in node.items:
            return None
        node = node.items[key]
    return node


def _key(node: Node, path: Sequence[str]) -> Place | None:
    """Where this key stands."""
    above = _inner(node, path[:-1])
    return above.keys.get(path[-1]) if above else None


def _without(node: Node, path: Sequence[str]) -> Node:
    """Without this key; and without the mapping that held nothing else."""
    key, *rest = path
    items = dict(node.items)
    inner = _without(items[key], rest) if rest else None
    if inner is None or not inner.items:
        del items[key]
    else:
        items[key] = inner
    return replace(node, value=items)


def _with(node: Node, path: Sequence[str], value: Node, at: Place) -> Node:
    key, *rest = path
    inner = _with(node.items.get(key, Node({}, at)), rest, value, at) if rest else value
    there = node.keys.get(key, at) if rest else at
    return replace(node, value={**node.items, key: inner}, keys={**node.keys, key: there})


# Texts


_ENTRY: Final = re.compile(
    r"""(?P<key>"[^"]*"|'[^']*'|[^\s:,{}\[\]"']+)(?P<colon>\s*:\s+)(?P<value>"[^"]*"|'[^']*'|[^\s,{}\[\]"'#]+)"""
)
_FLOW: Final = re.compile(r"[{\[]")


def rewritten(file: str, text: str, spellings: Sequence[Spelling] = SPELLINGS, bounds: Bounds = DEFAULTS) -> str | None:
    """The text with today's spellings, and everything else as it stands, comments included; None where somebody has to write it, as
    where an entry goes over several lines.
    """
    wanted = _plain(file, text, spellings, bounds)
    if wanted is None:
        return None
    windows = "\r\n" in text
    text = text.replace("\r\n", "\n")
    for one in spellings:
        node, _ = read(file, text, bounds)
        if node is None or not fnmatchcase(file, one.files) or _key(node, one.old) is None:
            continue
        lines = text.splitlines(keepends=True)
        edited = _renamed(lines, node, one) if one.old[:-1] == one.new[:-1] else _moved(lines, node, one)
        if edited is None:
            return None
        text = "".join(edited)
    text = text.replace("\n", "\r\n") if windows else text
    return text if _plain(file, text, (), bounds) == wanted else None


def _plain(file: str, text: str, spellings: Sequence[Spelling], bounds: Bounds) -> object:
    """What it says, whatever is written how; None where that is not clear."""
    node, problems = read(file, text, bounds)
    report = Report(file, list(problems))
    node = modern(node, report, VERSION, spellings)[0] if node and node.items else node
    return None if node is None or report.problems else node.plain()


def _entry(lines: Sequence[str], at: Place) -> re.Match[str] | None:
    """A key and its value in one line."""
    return _ENTRY.match(lines[at.line - 1], at.column - 1)


def _renamed(lines: list[str], node: Node, one: Spelling) -> list[str] | None:
    at, old = _key(node, one.old), _inner(node, one.old)
    assert at is not None
    assert old is not None
    entry, text = _entry(lines, at), one.value(old.value)
    if entry is None or text is None:
        return None
    line = lines[at.line - 1]
    lines[at.line - 1] = f"{line[: entry.start()]}{one.new[-1]}{entry['colon']}{text}{line[entry.end() :]}"
    return lines


def _moved(lines: list[str], node: Node, one: Spelling) -> list[str] | None:
    """From one section into another, which comes behind it where it is not there yet."""
    (section, key), (other, name) = one.old, one.new
    at, head, block = node.items[section].keys[key], node.keys[section], node.items[section]
    entry, text = _entry(lines, at), one.value(block.items[key].value)
    if entry is None or text is None or head.column != 1:
        return None
    end, added = _last(block), f"{name}: {text}"
    gone = re.fullmatch(r"\s*\}?\s*(#.*?)?\s*", lines[at.line - 1][entry.end() :])
    # What is said of the line goes with it, where the whole line goes.
    comment = f" {gone[1]}" if gone and gone[1] and (len(block.items) == 1 or not _flows(lines, block)) else ""
    if other in node.items:
        if not _added(lines, node.items[other], added, comment):
            return None
    else:
        lines[end - 1] = lines[end - 1] if lines[end - 1].endswith("\n") else f"{lines[end - 1]}\n"
        lines.insert(end, f"{other}: {{ {added} }}{comment}\n")
    shift = other in node.items and node.items[other].at < at and not _flows(lines, node.items[other])
    return _removed(lines, node, section, entry, at.line + shift)


def _last(node: Node) -> int:
    """The last line on which something of it begins."""
    return max(
        [node.at.line, *(place.line for place in node.keys.values()), *(_last(one) for one in node.items.values())]
    )


def _flows(lines: Sequence[str], node: Node) -> bool:
    return bool(_FLOW.match(lines[node.at.line - 1], node.at.column - 1))


def _added(lines: list[str], block: Node, added: str, comment: str) -> bool:
    line = lines[block.at.line - 1]
    if _flows(lines, block):
        start, comma = block.at.column, "," if block.items else ""
        lines[block.at.line - 1] = f"{line[:start]} {added}{comma} {line[start:].strip()}{comment}\n"
        return True
    if not block.items:
        return False
    lines.insert(block.at.line - 1, f"{line[: block.at.column - 1]}{added}{comment}\n")
    return True


def _removed(lines: list[str], node: Node, section: str, entry: re.Match[str], number: int) -> list[str] | None:
    """`number`: the line of the entry. The section goes with the last that stood in it."""
    block, line = node.items[section], lines[number - 1]
    before, after = line[: entry.start()], line[entry.end() :]
    alone = len(block.items) == 1
    if not before.strip():
        del lines[number - 1]
        if alone:
            above = number - 2
            if lines[above].split("#")[0].strip() != f"{section}:":
                return None
            del lines[above]
    elif alone:
        if not re.fullmatch(r"\s*\}\s*(#.*)?\s*", after) or re.fullmatch(rf"{section}\s*:\s*\{{\s*", before) is None:
            return None
        del lines[number - 1]
    elif ahead := re.match(r"\s*,\s*", after):
        lines[number - 1] = before + after[ahead.end() :]
    else:
        lines[number - 1] = re.sub(r"\s*,\s*$", "", before) + after
    return lines
