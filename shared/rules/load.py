"""The configuration folder, read: rules in force, receivers and pipelines, and every mistake with its place.

A rule file with a mistake is refused alone. Nothing that people write makes this raise.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Final

import msgspec

from shared import messages
from shared.actions import discover
from shared.errors import Problem
from shared.events import AZURE_ML, OWN, TYPES
from shared.rollout.policy import Policy
from shared.rules.block import read_block
from shared.rules.config import FILE, Config, read_config
from shared.rules.match import Condition
from shared.rules.plan import Rule, Rules
from shared.rules.policies import read_policy
from shared.rules.report import Report
from shared.rules.steps import MODEL, Known, read_steps
from shared.rules.tree import Node, Place, nearest, read

TELL: Final = "(tell)"
"""The implicit last rule: the receiver of `defaults.tell` hears of failed actions, refused events, and what the service
notices about its rules.
"""

ORPHANS: Final = "(rollouts)"
"""The implicit rule before it: a rollout goes on when its policy is gone, and somebody has to hear of it."""

_ENDS: Final = ("RolloutCompleted", "RolloutRolledBack", "RolloutStuck")
_ASKS: Final = ("RolloutWaiting",)
_OURS: Final = (
    "ActionFailed",
    "EventRefused",
    "Digest",
    "RuleSilent",
    "RulesChanged",
    "SilenceEnding",
    "SilenceLong",
)

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
    """`rejected_files` were refused alone; the rules of the others are in force.

    `idle`: rules that are not enabled. `declared`: by section, where each entry stands.
    """

    rules: Rules
    config: Config
    templates: Mapping[str, object]
    problems: tuple[Problem, ...]
    rejected_files: tuple[str, ...]
    version: str
    policies: Mapping[str, Policy] = field(default_factory=dict)
    idle: tuple[Rule, ...] = ()
    declared: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


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

    known = Known(config, discover(), frozenset({*templates, *messages.builtin_names()}), declared)
    policies: dict[str, Policy] = {}
    candidates: dict[str, tuple[Condition, ...]] = {}
    declared["rollouts"] = {PurePosixPath(file).stem: f"{file}:1:1" for file in _under("rollouts/", files)}
    for file in _under("rollouts/", files):
        node, report = _read(file, files)
        found = read_policy(node, report, known, files)
        if found is not None:
            policies[found[0].name], candidates[found[0].name] = found
        else:
            rejected.append(file)
        problems += report.problems

    rules = _Rules(replace(known, policies=policies), candidates)
    for file in _under("rules/", files):
        rules.file(*_read(file, files))
    problems += rules.problems
    rejected += rules.rejected
    told = _Told(rules.known, main[0])
    # A `stop` may silence what people wrote, never a question that a rollout waits for.
    in_force = [
        *(rule for policy in policies.values() for rule in told.of(policy)),
        *rules.in_force,
        *told.last(policies),
    ]
    return Loaded(
        Rules(in_force, version),
        config,
        templates,
        tuple(sorted(problems)),
        tuple(sorted(rejected)),
        version,
        policies,
        tuple(rules.idle),
        declared,
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


class _Told:
    """The rules that nobody writes: who hears of rollouts, of failed actions and of refused events."""

    def __init__(self, known: Known, main: Node | None) -> None:
        self._known = known
        self._tell = (known.config.defaults.tell,) if known.config.defaults.tell else ()
        self._at = main.place(("defaults", "tell"), key=True) if main else Place(1, 1)

    def of(self, policy: Policy) -> list[Rule]:
        """Of a policy's rollouts: how they end, and each question for whom it asks. One for somebody whom the policy does not
        name any more goes where those without a receiver go.
        """
        name, file = policy.name, f"rollouts/{policy.name}.yaml"
        told = policy.notify or self._tell
        asked = sorted({one.by for one in (policy.approve, *(stage.approve for stage in policy.stages)) if one})
        mine = {"data.policy": f"= {name}"}
        others = {"not": {"data.ask_of": [f"= {one}" for one in asked]}} if asked else {}
        return [
            self._rule(f"(rollout {name})", file, _ENDS, told, mine),
            *(
                self._rule(f"(rollout {name} asks {one})", file, _ASKS, [one], {**mine, "data.ask_of": f"= {one}"})
                for one in asked
            ),
            self._rule(f"(rollout {name} asks)", file, _ASKS, told, {**mine, **others}),
        ]

    def last(self, policies: Mapping[str, Policy]) -> list[Rule]:
        if not self._tell:
            return []
        gone = {"not": {"data.policy": [f"= {name}" for name in policies]}} if policies else {}
        return [
            self._rule(ORPHANS, FILE, (*_ENDS, *_ASKS), self._tell, gone),
            self._rule(TELL, FILE, _OURS, self._tell, {}),
        ]

    def _rule(
        self, name: str, file: str, events: tuple[str, ...], told: Sequence[str], lines: Mapping[str, object]
    ) -> Rule:
        steps, block = (_node(file, value) for value in ([{"notify": one} for one in told], lines))
        at, report = self._at if file == FILE else Place(1, 1), Report(file)
        return Rule(
            name,
            file,
            *at,
            events,
            read_block(block, report) if lines else (),
            read_steps(steps, self._known, report),
        )


def _node(file: str, value: object) -> Node:
    """As if it stood there: JSON is YAML."""
    node, _ = read(file, msgspec.json.encode(value).decode())
    assert node is not None
    return node


class _Rules:
    """Rules of one file after the other: names are unique across all of them."""

    def __init__(self, known: Known, candidates: Mapping[str, tuple[Condition, ...]]) -> None:
        self.known = known
        self._candidates = candidates
        self.in_force: list[Rule] = []
        self.idle: list[Rule] = []
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
            self.in_force += [part for rule in rules for part in self._parts(rule)]

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
            conditions=read_block(items["match"], report) if "match" in items else (),
            steps=read_steps(items["do"], self.known, report) if "do" in items else (),
            stop=report.truth(items.get("stop"), "stop", default=False),
        )
        _promotes(items.get("do"), rule, report)
        if report.truth(items.get("enabled"), "enabled", default=True):
            return [rule]
        self.idle.append(rule)
        return []

    def _parts(self, rule: Rule) -> list[Rule]:
        """The rule as it is decided: a registered model is promoted when it is a candidate of the policy too; the other steps
        do not depend on that.
        """
        numbered = list(enumerate(rule.steps, 1))
        asked = [(n, step) for n, step in numbered if step.action == "promote" and MODEL.items() <= step.params.items()]
        rest = [(n, step) for n, step in numbered if (n, step) not in asked]
        parts = []
        for n, step in asked:
            policy = str(step.params["policy"])
            conditions = (*rule.conditions, *self._candidates[policy])
            name = f"{rule.name} (promote {policy})"
            parts.append(replace(rule, name=name, conditions=conditions, steps=(step,), numbers=(n,), stop=False))
        if rest or rule.stop:
            numbers = tuple(n for n, _ in rest)
            parts.append(replace(rule, steps=tuple(step for _, step in rest), numbers=numbers))
        return parts

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


def _promotes(node: Node | None, rule: Rule, report: Report) -> None:
    """What only the whole rule can tell of its `promote` steps."""
    seen: set[str] = set()
    for entry in node.list if node else ():
        name = entry.items.get("promote")
        if name is None:
            continue
        other = next((event for event in rule.events if event != "ModelRegistered"), None)
        if other and "model" not in entry.items:
            said = f"'promote' takes the model that was registered, and {other} registers none: name it by 'model' and 'version' beside"
            report.say(entry.keys["promote"], said)
        if isinstance(name.value, str):
            if name.value in seen:
                report.say(name.at, f"policy {name.value!r} stands in this rule already")
            seen.add(name.value)


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
