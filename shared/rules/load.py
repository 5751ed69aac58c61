"""The configuration folder, read: rules in force, receivers and pipelines, and every mistake with its place.

A rule file with a mistake is refused alone. Nothing that people write makes this raise.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Final, Literal

from shared import messages
from shared.actions import discover
from shared.errors import Problem
from shared.events import AZURE_ML, OWN, TYPES
from shared.rules import match, paths
from shared.rules.config import FILE, Config, read_config
from shared.rules.plan import Rule, Rules
from shared.rules.report import Report
from shared.rules.steps import Known, read_steps
from shared.rules.tree import Node, Place, nearest, read

TELL: Final = "(tell)"
"""The implicit last rule: the receiver of `defaults.tell` hears of failed actions and refused events."""

_RULE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_KEYS: Final = ("name", "event", "match", "do", "stop", "enabled")
_LATER: Final = {"when", "throttle", "active", "mute", "expect", "after", "within", "by"}
_SHORT: Final = {f"{AZURE_ML}{name}".casefold(): name for name in TYPES} | {
    f"{AZURE_ML}DatasetDriftDetected".casefold(): "DriftDetected",
    "datasetdriftdetected": "DriftDetected",
    "microsoft.storage.blobcreated": "BlobCreated",
    **{f"{OWN}{name}".casefold(): name for name in TYPES},
}


@dataclass(frozen=True)
class Loaded:
    """`rejected_files` were refused alone; the rules of the others are in force."""

    rules: Rules
    config: Config
    templates: Mapping[str, object]
    problems: tuple[Problem, ...]
    rejected_files: tuple[str, ...]
    version: str


def load_texts(files: Mapping[str, str]) -> Loaded:
    """What files by these names, relative to the configuration folder, with these texts say."""
    digest = sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0{files[name]}".encode(errors="surrogatepass"))
    version = digest.hexdigest()[:12]

    problems: list[Problem] = []
    rejected: list[str] = []
    main = _read(FILE, files) if FILE in files else (None, Report(FILE, [Problem(FILE, 1, 1, "the file is missing")]))
    config = read_config(*main, files)
    if main[1].problems:
        problems += main[1].problems
        rejected.append(FILE)

    templates: dict[str, object] = {}
    declared = {
        section: {name: f"{FILE}:{at.line}:{at.column}" for name, at in inner.keys.items()}
        for section, inner in (main[0].items if main[0] else {}).items()
    }
    own = declared["templates"] = {}
    for file in _under("templates/", files):
        own[PurePosixPath(file).stem] = f"{file}:1:1"
        node, report = _read(file, files)
        template = _template(node, report)
        if report.problems:
            rejected.append(file)
        else:
            templates[PurePosixPath(file).stem] = template
        problems += report.problems

    rules = _Rules(Known(config, discover(), frozenset({*templates, *messages.builtin_names()}), declared))
    for file in _under("rules/", files):
        rules.file(*_read(file, files))
    problems += rules.problems
    rejected += rules.rejected
    in_force = [*rules.in_force, *_tell(rules.known, main[0])]
    return Loaded(
        Rules(in_force, version), config, templates, tuple(sorted(problems)), tuple(sorted(rejected)), version
    )


def _under(folder: str, files: Mapping[str, str]) -> list[str]:
    return sorted(name for name in files if name.startswith(folder))


def _read(file: str, files: Mapping[str, str]) -> tuple[Node | None, Report]:
    node, problems = read(file, files[file])
    if node is None and not problems:
        problems = [Problem(file, 1, 1, "the file is empty")]
    return node, Report(file, problems)


def _template(node: Node | None, report: Report) -> object:
    if node is None or not report.mapping(node, "a message template"):
        return None
    report.secrets(node)
    return report.model(messages.Template, node.plain(), node, lenient=frozenset())


def _tell(known: Known, main: Node | None) -> list[Rule]:
    receiver = known.config.defaults.tell
    if receiver is None or main is None:
        return []
    at = main.place(("defaults", "tell"), key=True)
    node, _ = read(FILE, f"- notify: {receiver!r}")
    assert node is not None
    steps = read_steps(node, known, Report(FILE))
    return [Rule(TELL, FILE, *at, ("ActionFailed", "EventRefused"), (), steps)]


class _Rules:
    """Rules of one file after the other: names are unique across all of them."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.in_force: list[Rule] = []
        self.problems: list[Problem] = []
        self.rejected: list[str] = []
        self._names: dict[str, str] = {}

    def file(self, node: Node | None, report: Report) -> None:
        rules: list[Rule] = []
        if node is not None and report.mapping(node, "'rules:' with a list of rules"):
            report.secrets(node)
            for key, at in node.keys.items():
                if key != "rules":
                    report.say(at, f"unknown key {key!r}{nearest(key, ['rules'])}")
            if not node.items:
                report.say(node.at, "'rules' is missing")
            if "rules" in node.items:
                for entry in report.entries(node.items["rules"], "rules"):
                    rules += self._rule(entry, report)
        _unreachable(rules, report)
        self.problems += report.problems
        if report.problems:
            self.rejected.append(report.file)
        else:
            self.in_force += rules

    def _rule(self, node: Node, report: Report) -> list[Rule]:
        """The rule, if it is enabled."""
        if not report.mapping(node, "a rule"):
            return []
        for key, at in node.keys.items():
            if key in _LATER:
                report.say(at, f"this version does not support {key!r} yet: leave it out")
            elif key not in _KEYS:
                report.say(at, f"unknown key {key!r}{nearest(key, _KEYS)}")
        later = "expect" in node.items
        for key in ("name", "do") if later else ("name", "event", "do"):
            if key not in node.items:
                report.say(node.at, f"{key!r} is missing: a rule has a name, an event and something to do")
        items = node.items
        rule = Rule(
            name=self._name(items["name"], report) if "name" in items else "",
            file=report.file,
            line=node.at.line,
            column=node.at.column,
            events=_events(items["event"], report) if "event" in items else (),
            conditions=_block(items["match"], report) if "match" in items else (),
            steps=read_steps(items["do"], self.known, report) if "do" in items else (),
            stop=report.truth(items.get("stop"), "stop", default=False),
        )
        return [rule] if report.truth(items.get("enabled"), "enabled", default=True) else []

    def _name(self, node: Node, report: Report) -> str:
        name = report.text(node, "the rule's name")
        if name is None:
            return ""
        if not _RULE_NAME.fullmatch(name):
            said = "expected at most 60 of lower-case letters, digits and '-', as in 'fraud-run-good'"
            report.say(node.at, f"rule name {name!r}: {said}")
        here = f"{report.file}:{node.at.line}:{node.at.column}"
        first = self._names.setdefault(name, here)
        if first != here:
            report.say(node.at, f"rule name {name!r} is taken: it stands in {first} already")
        return name


def _events(node: Node, report: Report) -> tuple[str, ...]:
    entries = report.entries(node, "event types") if isinstance(node.value, list) else [node]
    found: list[str] = []
    for entry in entries:
        name = report.text(entry, "an event type")
        if name is None:
            continue
        short = _SHORT.get(name.casefold())
        if short:
            report.say(entry.at, f"event type {name!r} is known as {short!r} here")
        elif name not in TYPES and not re.fullmatch(r"[\w-]+(\.[\w-]+)+", name):
            report.say(
                entry.at,
                f"unknown event type {name!r}{nearest(name, TYPES)}; any other is named in full, with its dots",
            )
        if name in found:
            report.say(entry.at, f"event type {name!r} is named twice")
        found.append(name)
    return tuple(found)


def _block(node: Node, report: Report) -> tuple[match.Condition, ...]:
    """The lines of a block: all of them have to hold."""
    if not report.mapping(node, "lines such as 'workspace: prod'"):
        return ()
    if not node.items:
        report.say(node.at, "an empty block: expected at least one line, or leave it out")
    found: list[match.Condition] = []
    for name, value in node.items.items():
        at = node.keys[name]
        if name in {"any", "not"}:
            blocks = report.entries(value, "blocks ('- FIELD: value')") if name == "any" else [value]
            conditions = [_block(one, report) for one in blocks]
            kind: Literal["any", "not"] = "any" if name == "any" else "not"
            if conditions and all(conditions):
                found.append(match.block(kind, conditions, at))
            continue
        path = paths.find(name)
        if isinstance(path, str):
            report.say(at, path)
            continue
        tests = _tests(path, value, report)
        if tests:
            found.append(match.line(path, match.either(tests), at))
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


def _unreachable(rules: Sequence[Rule], report: Report) -> None:
    """Rules behind one with `stop` that matches whatever they match: as far as one file shows it."""
    stops: list[tuple[Rule, frozenset[str]]] = []
    for rule in rules:
        asks = frozenset(condition.text for condition in rule.conditions)
        for first, needed in stops:
            if needed <= asks and set(rule.events) <= set(first.events):
                said = f"rule {rule.name!r} is never reached: {first.name!r} in line {first.line} stops all that it matches"
                report.say(Place(rule.line, rule.column), said)
                break
        if rule.stop:
            stops.append((rule, asks))
