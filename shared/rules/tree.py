"""YAML 1.2 text as values that know where they stand. One reader for every file that a person writes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from shared.bounds import DEFAULTS, Bounds
from shared.errors import Problem

type Scalar = str | int | float | bool | None
type Plain = Scalar | list["Plain"] | dict[str, "Plain"]

_INT: Final = re.compile(r"[-+]?[0-9]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_HALF: Final = re.compile("[\ud800-\udfff]")
_WORDS: Final[Mapping[str, Scalar]] = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"))
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
)


class Place(NamedTuple):
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Node:
    """A value with the place where it begins. `size`: how many values it holds, aliases written out; `style`: of a text, the quotes
    around it, and "|" where it goes over several lines.
    """

    value: Scalar | list["Node"] | dict[str, "Node"]
    at: Place
    keys: dict[str, Place] = field(default_factory=dict)
    size: int = 1
    style: str = ""

    @property
    def items(self) -> dict[str, "Node"]:
        """The entries of a mapping; none for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def list(self) -> list["Node"]:
        return self.value if isinstance(self.value, list) else []

    @property
    def kind(self) -> str:
        """In words."""
        return kind_of(self.value)

    def plain(self) -> Plain:
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value

    def place(self, path: Sequence[object], *, key: bool = False) -> Place:
        """Where the value at `path` stands, or the nearest one above that exists; with `key`, where its key stands."""
        node, at = self, self.at
        for step in path:
            if isinstance(step, str) and step in node.items:
                at = node.keys[step] if key else node.items[step].at
                node = node.items[step]
            elif isinstance(step, int) and step < len(node.list):
                node = node.list[step]
                at = node.at
        return at


def kind_of(value: object) -> str:
    """What a value is, in words."""
    if value is None:
        return "nothing"
    names = {bool: "true or false", str: "text", dict: "a mapping", list: "a list", tuple: "a list"}
    return names.get(type(value), "a number")


class _RefusedError(Exception):
    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


def read(file: str, text: str, bounds: Bounds = DEFAULTS) -> tuple[Node | None, list[Problem]]:
    """The one document of a file. With problems the file is not to be used; duplicate keys are all told at once."""
    longest = bounds.file_characters
    if len(text) > longest:
        said = f"the file has {len(text):,} characters, and {longest:,} is the limit: make several of it"
        return None, [Problem(file, 1, 1, said)]
    reader = _Reader(file, bounds)
    try:
        node = reader.document(text)
    except _RefusedError as error:
        return None, [*reader.problems, Problem(file, *error.place, str(error))]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        said = " ".join(part for part in (error.context, error.problem) if part)
        hint = "; indent with spaces, never with tabs" if r"\t" in said else ""
        return None, [*reader.problems, Problem(file, *place, f"not YAML: {said}{hint}")]
    except ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        place = Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        return None, [Problem(file, *place, "a character that YAML does not allow: save the file as UTF-8 text")]
    except (YAMLError, ValueError) as error:  # ValueError: a %YAML line with an odd number
        return None, [*reader.problems, Problem(file, 1, 1, f"not YAML: {error}")]
    return node, reader.problems


class _Reader:
    def __init__(self, file: str, bounds: Bounds) -> None:
        self._file = file
        self._bounds = bounds
        self._anchors: dict[str, Node] = {}
        self._events: Iterator[Event] = iter(())
        self.problems: list[Problem] = []

    def document(self, text: str) -> Node | None:
        self._events = YAML(typ="safe", pure=True).parse(text)
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise _RefusedError(_place(event), "a second document: expected one document a file, without '---'")
                if event.version not in {None, (1, 2)}:
                    raise _RefusedError(_place(event), "files are YAML 1.2: leave the %YAML line out")
                root = self._node(next(self._events), 0)
        return root

    def _node(self, event: Event, depth: int) -> Node:
        place = _place(event)
        if isinstance(event, AliasEvent):
            if event.anchor not in self._anchors:
                known = nearest(event.anchor, self._anchors)
                raise _RefusedError(place, f"unknown anchor {event.anchor!r}{known}")
            return self._anchors[event.anchor]
        if (tag := getattr(event, "ctag", None)) is not None:
            raise _RefusedError(place, f"tag {str(tag)!r}: tags are not used here, leave it out")
        if depth > self._bounds.file_levels:
            raise _RefusedError(place, f"nested deeper than {self._bounds.file_levels} levels")
        if isinstance(event, ScalarEvent):
            if _HALF.search(event.value):
                raise _RefusedError(place, "half of a character (\\ud800 to \\udfff): no file or message can hold it")
            node = Node(_scalar(event.value) if event.implicit[0] else event.value, place, style=_style(event))
        else:
            assert isinstance(event, MappingStartEvent | SequenceStartEvent)
            node = self._list(place, depth) if isinstance(event, SequenceStartEvent) else self._mapping(place, depth)
        if node.size > self._bounds.file_values:
            raise _RefusedError(
                place, f"more than {self._bounds.file_values} values once the aliases (*) are written out"
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _list(self, place: Place, depth: int) -> Node:
        found = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            found.append(self._node(event, depth + 1))
        return Node(found, place, size=1 + sum(node.size for node in found))

    def _mapping(self, place: Place, depth: int) -> Node:
        found: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            at = _place(event)
            if not isinstance(event, ScalarEvent):
                raise _RefusedError(at, "a key has to be a word, not a mapping, a list or an alias")
            key = event.value
            if key == "<<" and event.implicit[0]:
                raise _RefusedError(
                    at, "merge keys ('<<') are not YAML 1.2: anchor (&) and alias (*) whole values instead"
                )
            below = next(self._events)
            value = self._node(below, depth + 1)
            if value.value is None and below.start_mark.index == below.end_mark.index:
                value = replace(value, at=at)  # nothing stands there: YAML would place it at the next word
            if key in found:
                first = keys[key].line
                self.problems.append(
                    Problem(self._file, *at, f"duplicate key {key!r}: it stands in line {first} already")
                )
                continue
            found[key], keys[key] = value, at
        return Node(found, place, keys, size=1 + sum(node.size for node in found.values()))


def _style(event: ScalarEvent) -> str:
    several = event.start_mark.line != event.end_mark.line
    return "|" if several else event.style or ""


def _place(event: Event) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _scalar(text: str) -> Scalar:
    """An unquoted word by the core schema of YAML 1.2: `no`, `on` and `22:30` are text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) < 20 else text  # noqa: PLR2004 (longer ones are ids, and int() of thousands of digits raises)
    return float(text) if _FLOAT.fullmatch(text) else text


def nearest(word: str, known: Sequence[str] | Mapping[str, object] | set[str] | frozenset[str]) -> str:
    """`; did you mean 'x'?`, or the known words where none is near, to be put behind a message."""
    names = sorted(known)
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
