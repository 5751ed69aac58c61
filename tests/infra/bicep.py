"""Bicep, read as far as tests need it: what a file declares, what it uses, what stands in its resources.

No compiler is among the packages that these tests may install. A grammar is: what it can't read, nobody can; and names,
parameters of modules and their outputs are held together here, which is most of what a compiler would find.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_bicep
from tree_sitter import Node

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


class Expr(str):
    """An expression that is no literal, as it is written; a text with `${…}` in it too."""

    __slots__ = ()


@dataclass(frozen=True)
class Parameter:
    name: str
    required: bool
    allowed: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Block:
    """A resource or module: `what` is its type with version, or its path."""

    symbol: str
    what: str
    body: Any
    condition: str
    existing: bool
    node: Node = field(repr=False)

    @property
    def type(self) -> str:
        return self.what.partition("@")[0]


@dataclass(frozen=True)
class File:
    path: Path
    parameters: dict[str, Parameter]
    variables: dict[str, Any]
    resources: dict[str, Block]
    modules: dict[str, Block]
    outputs: dict[str, Any]
    broken: tuple[str, ...]
    root: Node = field(repr=False)

    @property
    def declared(self) -> set[str]:
        return {*self.parameters, *self.variables, *self.resources, *self.modules}


def text(node: Node) -> str:
    return (node.text or b"").decode()


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def value(node: Node) -> Any:
    """Objects, lists, texts and numbers as Python has them; of a loop what it makes each time; all else an Expr."""
    kind, inner = node.type, node.named_children
    if kind == "object":
        found = {}
        for one in inner:
            if one.type == "object_property" and len(one.named_children) > 1:
                key = one.named_children[0]
                found[str(value(key)) if key.type == "string" else text(key)] = value(one.named_children[-1])
        return found
    if kind == "array":
        return [value(one) for one in inner if one.type != "comment"]
    if kind == "string":
        if all(one.type in {"string_content", "escape_sequence"} for one in inner):
            return text(node)[1:-1]
        return Expr(text(node)[1:-1])
    if kind == "boolean":
        return text(node) == "true"
    if kind == "number":
        return int(text(node))
    if kind in {"for_statement", "if_statement"}:
        return value(inner[-1])
    return Expr(text(node))


def _named(node: Node, kind: str) -> Node | None:
    return next((one for one in node.named_children if one.type == kind), None)


@cache
def read(path: Path) -> File:
    return parse(path.read_text("utf-8"), path)


def parse(source: str, path: Path = Path("text.bicep")) -> File:
    root = _PARSER.parse(source.encode()).root_node
    file = File(path, {}, {}, {}, {}, {}, tuple(_broken(root)), root)
    decorators: list[Node] = []
    for node in root.named_children:
        if node.type == "decorators":
            decorators = node.named_children
            continue
        given, decorators = decorators, []
        name = next(
            (text(one) for one in node.named_children if one.type in {"identifier", "compatible_identifier"}), ""
        )
        last = node.named_children[-1] if node.named_children else node
        if node.type == "parameter_declaration":
            has_default = any(not one.is_named and text(one) == "=" for one in node.children)
            file.parameters[name] = Parameter(name, required=not has_default, allowed=_allowed(given))
        elif node.type == "variable_declaration":
            file.variables[name] = value(last)
        elif node.type == "output_declaration":
            file.outputs[name] = value(last)
        elif node.type in {"resource_declaration", "module_declaration"}:
            what = _named(node, "string")
            condition = next((text(one.named_children[0]) for one in walk(node) if one.type == "if_statement"), "")
            existing = any(text(one) == "existing" for one in node.children)
            block = Block(name, value(what) if what else "", value(last), condition, existing, node)
            (file.resources if node.type.startswith("resource") else file.modules)[name] = block
    return file


def _allowed(decorators: list[Node]) -> tuple[Any, ...]:
    for one in decorators:
        call = one.named_children[0]
        if call.type == "call_expression" and text(call.named_children[0]) == "allowed":
            return tuple(value(call.named_children[1].named_children[0]))
    return ()


def _broken(root: Node) -> Iterator[str]:
    for node in walk(root):
        if node.type == "ERROR" or node.is_missing:
            yield f"{node.start_point.row + 1}:{node.start_point.column + 1}: {text(node)[:60]!r}"


_DECLARES = {
    "parameter_declaration",
    "variable_declaration",
    "resource_declaration",
    "module_declaration",
    "output_declaration",
}


def used(file: File) -> Iterator[tuple[str, int]]:
    """Each name that an expression uses, with its line; those of loops and lambdas left out."""
    source = file.root.text or b""
    for node in _used(file.root, frozenset()):
        # In a list on one line the grammar takes the head of `subscription().id` for a name.
        if source[node.end_byte : node.end_byte + 1] != b"(":
            yield text(node), node.start_point.row + 1


def _used(node: Node, local: frozenset[str]) -> Iterator[Node]:
    kind = node.type
    if kind == "identifier":
        if text(node) not in local:
            yield node
        return
    if kind in {"type", "metadata_declaration", "target_scope_assignment", "decorators", "comment"}:
        return
    children = list(node.named_children)
    if kind in _DECLARES or kind == "call_expression":  # its own name, and the name of the function
        first = next(
            n
            for n, one in enumerate(children)
            if one.type in {"identifier", "member_expression", "compatible_identifier"}
        )
        if children[first].type == "identifier":
            children.pop(first)
    elif kind == "object_property" and children and children[0].type == "identifier":
        children.pop(0)
    elif kind == "for_statement":
        if children[0].type == "for_loop_parameters":
            local |= {text(one) for one in children[0].named_children}
        else:
            local |= {text(children[0])}
        children = children[1:]
    elif kind == "lambda_expression":
        local |= {text(one) for one in children[:-1] if one.type == "identifier"}
        children = children[-1:]
    for child in children:
        yield from _used(child, local)


_OUTPUT = re.compile(r"\b(\w+)!?(?:\[[^\]]*\])?!?\.outputs\.(\w+)")


def outputs_used(file: File) -> set[tuple[str, str]]:
    """`module.outputs.name`: the module, and the name."""
    return set(_OUTPUT.findall(text(file.root)))


def parameters_of(path: Path) -> dict[str, Any]:
    """What a .bicepparam file sets. The grammar knows no such file: but for their first word its lines are those of variables."""
    source = path.read_text("utf-8")
    lines = [re.sub(r"^param ", "var ", line) for line in source.splitlines() if not line.startswith("using ")]
    file = parse("\n".join(lines) + "\n", path)
    assert file.broken == (), f"{path}: {file.broken}"
    return file.variables
