"""Whom the rules call by name, held against the lists of the settings: what will be refused is told before it is in force."""

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from shared.rules.audit import Finding
from shared.rules.load import Loaded
from shared.rules.tree import Node, read
from shared.settings import ALLOWED_HOSTS, GITHUB_REPOS, in_list

_CALLS: Final = frozenset({"webhook", "jenkins", "forward"})
_ADDRESSES: Final = frozenset({"url", "topic"})


def uncalled(loaded: Loaded, hosts: Sequence[str], repositories: Sequence[str]) -> list[Finding]:
    """What stands on none of the lists; an empty list forbids nothing. `${NAME}` and templates are known only when they are used."""
    found = []
    for file, text in loaded.good.items():
        node, _ = read(file, text, loaded.bounds) if file.startswith("rules/") else (None, [])
        for name, at in _named(node) if node is not None else ():
            host = urlsplit(name).hostname if "://" in name else None
            known, setting = (hosts, ALLOWED_HOSTS) if host else (repositories, GITHUB_REPOS)
            if known and not in_list(host or name, known):
                message = f"{host or name} is not on the list of {setting}: this is refused when it is due"
                found.append(Finding(file, at.at.line, at.at.column, message, "list"))
    return found


def _named(node: Node) -> Iterator[tuple[str, Node]]:
    """Addresses and repositories that are written out, with their places."""
    for name, inner in node.items.items():
        if name in _CALLS:
            yield from _addresses(inner)
        elif name == "dispatch" and "github" in inner.items:
            yield from _plain(inner.items["github"])
        else:
            yield from _named(inner)
    for inner in node.list:
        yield from _named(inner)


def _addresses(node: Node) -> Iterator[tuple[str, Node]]:
    for name, inner in node.items.items():
        if name in _ADDRESSES:
            yield from ((text, at) for text, at in _plain(inner) if text.startswith("https://"))
        elif name == "follow":
            yield from _addresses(inner)


def _plain(node: Node) -> Iterator[tuple[str, Node]]:
    text = node.value
    if isinstance(text, str) and "{{" not in text.partition("://")[2].partition("/")[0] and "${" not in text:
        yield text, node
