"""Mistakes in words: what is wrong, where, what was expected, and the nearest name that is known."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from shared.bounds import DEFAULTS, Bounds
from shared.errors import Problem
from shared.rules.tree import Node, Place, kind_of, nearest
from shared.settings import NOT_FOR_RULES, ours

_CLEAR: Final = re.compile(
    r"[?&](sig|code|token|key)=|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bBearer\s+[\w.~+/-]{16,}|AccountKey=|accesskey=|"
    r"\beyJ[\w-]{10,}\.[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.IGNORECASE,
)
"""What only a secret looks like: signed URLs, tokens of GitHub, bearer tokens, account keys, JWTs, private keys."""

_NAMED: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")

_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "string_too_short": "some text",
    "too_short": "at least one entry",
}
_MEMBERS: Final = ("str", "bool", "int", "float")
"""Where a value may be of several types, the last step of a mistake's path is one of them."""

_PATTERNS: Final = (
    ("^(\\+[1-9]", "a phone number with its country, as in '+818012345678' (E.164)"),
    ("@", "an e-mail address, as in 'ops@contoso.com'"),
    ("^\\$\\{", "${NAME}"),
    ("^[A-Za-z0-9][A-Za-z0-9-]*/", "owner/repository"),
)


@dataclass
class Report:
    """The mistakes of one file, as they are found."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    bounds: Bounds = DEFAULTS
    """How much one file may say."""

    def say(self, at: Place, message: str) -> None:
        problem = Problem(self.file, *at, message)
        if problem not in self.problems:
            self.problems.append(problem)

    def mapping(self, node: Node, what: str) -> bool:
        if isinstance(node.value, dict):
            return True
        self.say(node.at, f"expected {what} (a mapping), found {node.kind}")
        return False

    def entries(self, node: Node, what: str) -> list[Node]:
        """The elements of a list that must not be empty."""
        if not isinstance(node.value, list):
            self.say(node.at, f"expected a list of {what}, found {node.kind}")
        elif not node.value:
            self.say(node.at, f"an empty list: expected {what}")
        return node.list

    def text(self, node: Node, what: str) -> str | None:
        if isinstance(node.value, str) and node.value:
            return node.value
        self.say(node.at, f"expected {what} (text), found {node.kind}")
        return None

    def truth(self, node: Node | None, name: str, *, default: bool) -> bool:
        if node is None:
            return default
        if isinstance(node.value, bool):
            return node.value
        said = f" {node.value!r}" if isinstance(node.value, str) else ""
        self.say(node.at, f"{name} is true or false, found {node.kind}{said}")
        return default

    def secrets(self, node: Node) -> None:
        """Refuses what can only be a secret, wherever it stands, and the service's own by their names. Never says one."""
        if isinstance(node.value, str) and _CLEAR.search(node.value):
            self.say(node.at, "a secret in clear: put it into the environment (Key Vault) and write ${NAME} here")
        for name in _NAMED.findall(node.value) if isinstance(node.value, str) else ():
            if ours(name):
                self.say(node.at, f"{name} {NOT_FOR_RULES}")
        for inner in [*node.items.values(), *node.list]:
            self.secrets(inner)

    def model[M: BaseModel](self, kind: type[M], value: object, node: Node, *, lenient: frozenset[str]) -> M | None:
        """The value as this model; None with everything that is wrong said. Fields in `lenient` hold templates: what they
        become is not known yet.
        """
        try:
            return kind.model_validate(value, context=self.bounds)
        except ValidationError as error:
            self._invalid(kind, error.errors(include_url=False), node, lenient)
            return None

    def _invalid(self, kind: type[BaseModel], errors: Sequence[Any], node: Node, lenient: frozenset[str]) -> None:
        said: set[Place] = set()
        for error in errors:
            path = error["loc"]
            unsure = path[0] in lenient if path else bool(lenient)
            if unsure and error["type"] not in {"missing", "extra_forbidden"}:
                continue
            unknown = error["type"] == "extra_forbidden"
            at = node.place(path, key=unknown)
            if at in said and error["type"] != "missing":
                continue  # each member of a union complains; one sentence is enough
            said.add(at)
            self.say(at, _sentence(kind, error))


def _sentence(kind: type[BaseModel], error: Mapping[str, Any]) -> str:
    path, type_ = error["loc"], error["type"]
    name = ".".join(step for step in path if isinstance(step, str) and step not in _MEMBERS)
    if type_ == "extra_forbidden":
        return f"unknown key {path[-1]!r}{nearest(str(path[-1]), _keys(kind, path[:-1]))}"
    if type_ == "missing":
        return f"{name!r} is missing"
    if type_ in {"value_error", "assertion_error"}:
        said = str(error["ctx"]["error"])
        return f"{name}: {said}" if name else said
    found = error["input"]
    if type_ == "string_pattern_mismatch":
        return _mismatch(name, str(found), error["ctx"]["pattern"])
    if type_ == "literal_error":
        known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        return f"{name}: unknown value {found!r}{nearest(str(found), known)}"
    if type_ in _EXPECTED:
        expected = "text, a number, true or false" if path[-1] in _MEMBERS else _EXPECTED[type_]
        return f"{name}: expected {expected}, found {kind_of(found)}"
    shown = found if isinstance(found, int | float) else f"{len(found)} entries" if hasattr(found, "__len__") else found
    return f"{name} is {shown}: {error['msg'].replace('Input should be', 'expected to be')}"


def _keys(kind: type[BaseModel], path: Sequence[object]) -> set[str]:
    """The keys that may stand at this place."""
    known: type[BaseModel] | None = kind
    for step in path:
        if known is not None and isinstance(step, str):
            found = next((field for name, field in known.model_fields.items() if step in (name, field.alias)), None)
            known = next(_models(found.annotation), None) if found else None
    return {field.alias or name for name, field in known.model_fields.items()} if known else set()


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _mismatch(name: str, found: str, pattern: str) -> str:
    if pattern.startswith("^\\$\\{"):
        if found.startswith("${"):
            return f"{name}: expected ${{NAME}} in capitals, digits and underscores, found {found!r}"
        return f"{name} is a secret: put it into the environment (Key Vault) and write ${{NAME}} here"
    expected = next((words for part, words in _PATTERNS if part in pattern), f"text like {pattern}")
    return f"{name}: {found!r} is not {expected}"


def has_template(value: object) -> bool:
    if isinstance(value, str):
        return any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return any(has_template(one) for pair in value.items() for one in pair)
    return isinstance(value, list | tuple) and any(has_template(one) for one in value)
