"""The configuration folder, read: rules in force, receivers and pipelines, and every mistake with its place.

A rule file with a mistake is refused alone. Nothing that people write makes this raise.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Final, TypedDict

import msgspec

from shared import messages
from shared.actions import discover
from shared.bounds import DEFAULTS, Bounds
from shared.errors import Problem
from shared.events import AZURE_ML, OWN, TYPES
from shared.quality.watch import Watch
from shared.rollout.policy import Policy
from shared.rules.block import read_block
from shared.rules.cel import read_when
from shared.rules.config import FILE, LONGEST_KEPT, SHORTEST_KEPT, Config, read_config
from shared.rules.former import modern
from shared.rules.match import Condition
from shared.rules.plan import DELIVERIES, Rule, Rules, Step, Throttling
from shared.rules.policies import read_policy
from shared.rules.quality import read_watch
from shared.rules.report import Report
from shared.rules.steps import MODEL, Known, read_steps
from shared.rules.terms import read_fields, read_length, read_throttle
from shared.rules.tree import Node, Place, nearest, read

TELL: Final = "(tell)"
"""The implicit last rule: the receiver of `defaults.tell` hears of failed actions, refused events, and what the service
notices about its rules.
"""

ORPHANS: Final = "(rollouts)"
"""The implicit rule before it: a rollout goes on when its policy is gone, and somebody has to hear of it."""

UNTOLD: Final = "(ended)"
"""The implicit rule beside it: what was started has ended, and whom its rule named is not there any more."""

_COMPLETED: Final = "ActionCompleted"
_FAILED: Final = "ActionFailed"
_ENDS: Final = ("RolloutCompleted", "RolloutRolledBack", "RolloutStuck")
_ASKS: Final = ("RolloutWaiting",)
TOLD: Final = (
    "ActionFailed",
    "EventRefused",
    "EventsDeadLettered",
    "Digest",
    "RuleSilent",
    "RulesChanged",
    "SilenceEnding",
    "SilenceLong",
    "ModelQualityUnknown",
)
"""Events of ours that the implicit rule tells. That one of them reached nobody is told no further."""

_RULES: Final = "rules/"
_NOTHING: Final[Mapping[str, str]] = {}
ARRIVED: Final = " (arrived)"
MISSING: Final = " (missing)"
_MISSED: Final = "ExpectedEventMissing"
_HAS: Final = {
    False: "a rule has a name, an event and something to do",
    True: "a rule about what did not happen says 'expect' of which event, 'after' which other, 'within' what time, and what to 'do'",
}

_RULE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_TIMED: Final = ("throttle", "active", "mute")
_KEYS: Final = ("name", "event", "match", "when", *_TIMED, "children", "do", "stop", "keep", "enabled")
_ABSENCE_KEYS: Final = ("name", "expect", "after", "within", "by", "match", "when", *_TIMED, "do", "keep", "enabled")
_SHORT: Final = {f"{AZURE_ML}{name}".casefold(): name for name in TYPES} | {
    f"{AZURE_ML}DatasetDriftDetected".casefold(): "DriftDetected",
    "datasetdriftdetected": "DriftDetected",
    "microsoft.storage.blobcreated": "BlobCreated",
    **{f"{OWN}{name}".casefold(): name for name in TYPES},
}


@dataclass(frozen=True)
class Loaded:
    """`rejected_files` were refused alone; the rules of the others are in force, and so is the last good version of those in
    `kept`. `version` names the texts that are in force; of these, `good` are without a mistake.

    `idle`: rules that are not enabled. `declared`: by section, where each entry stands. `former`: what is in the spelling of the last
    minor version, and is read as what it means now.
    """

    rules: Rules
    config: Config
    templates: Mapping[str, object]
    problems: tuple[Problem, ...]
    rejected_files: tuple[str, ...]
    version: str
    policies: Mapping[str, Policy] = field(default_factory=dict)
    quality: Mapping[str, Watch] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    good: Mapping[str, str] = field(default_factory=dict)
    idle: tuple[Rule, ...] = ()
    declared: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    former: tuple[Problem, ...] = ()
    bounds: Bounds = DEFAULTS
    """How much one of the files may say."""


def load_texts(files: Mapping[str, str], last_good: Mapping[str, str] = _NOTHING, bounds: Bounds = DEFAULTS) -> Loaded:
    """What files by these names, relative to the configuration folder, with these texts say.

    `last_good`: texts that were in force together before. A file that is broken now stays as it was; one that is gone is gone.
    What several files share stays as it was, too, where it no longer fits a file that nobody has changed: so no edit takes
    a rule out of force but one of its own file.
    """
    texts = dict(files)
    loaded = _load(texts, last_good, bounds)
    said: set[Problem] = set()
    while stays := _staying(loaded, texts, last_good):
        wrong = stays & set(loaded.rejected_files)
        needy = set() if wrong else {name for name in loaded.rejected_files if texts.get(name) == last_good.get(name)}
        said |= {problem for problem in loaded.problems if problem.file in wrong | needy}
        said |= {Problem(name, 1, 1, _needed(name, files, needy)) for name in stays - wrong}
        texts |= {name: last_good[name] for name in stays}
        loaded = _load(texts, last_good, bounds)
    # What is said of an older text would point to lines that are not there.
    said |= {problem for problem in loaded.problems if texts.get(problem.file) == files.get(problem.file)}
    kept = {name for name in texts if texts[name] != files.get(name)} - set(loaded.rejected_files)
    return replace(
        loaded,
        problems=tuple(sorted(said)),
        rejected_files=tuple(sorted({problem.file for problem in said} | set(loaded.rejected_files))),
        kept=tuple(sorted(kept)),
        former=tuple(one for one in loaded.former if texts.get(one.file) == files.get(one.file)),
    )


def _needed(name: str, files: Mapping[str, str], needy: Collection[str]) -> str:
    what = "does not fit" if name in files else "is gone, and is still needed by"
    return f"{what} {', '.join(sorted(needy))}, which nobody has changed: the last good version stays in force"


def _staying(loaded: Loaded, texts: Mapping[str, str], last_good: Mapping[str, str]) -> set[str]:
    """Files that have to go back to their last good version. What several files share comes first: their mistakes may be its."""
    changed = {name for name, text in last_good.items() if texts.get(name) != text}
    rejected = set(loaded.rejected_files)
    shared = {name for name in changed if not name.startswith(_RULES)}
    if broken := rejected & shared:
        return broken
    unfit = {name for name in rejected - changed if name in last_good}
    for name in sorted(shared) if unfit and len(shared) > 1 else ():
        if unfit - set(_load({**texts, name: last_good[name]}, last_good, loaded.bounds).rejected_files):
            return {name}
    return shared if unfit and shared else rejected & changed


def _version(files: Mapping[str, str]) -> str:
    digest = sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0{files[name]}".encode(errors="surrogatepass"))
    return digest.hexdigest()[:12]


def _load(files: Mapping[str, str], settled: Mapping[str, str], bounds: Bounds) -> Loaded:
    """`settled`: where two files claim one name, the one whose text stands here has it already."""
    problems: list[Problem] = []
    rejected: list[str] = []
    former: list[Problem] = []
    main = (
        _read(FILE, files, former, bounds)
        if FILE in files
        else (None, Report(FILE, [Problem(FILE, 1, 1, "the file is missing")]))
    )
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
        node, report = _read(file, files, former, bounds)
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
        node, report = _read(file, files, former, bounds)
        found = read_policy(node, report, known, files)
        if found is not None:
            policies[found[0].name], candidates[found[0].name] = found
        else:
            rejected.append(file)
        problems += report.problems

    quality: dict[str, Watch] = {}
    declared["quality"] = {PurePosixPath(file).stem: f"{file}:1:1" for file in _under("quality/", files)}
    for file in _under("quality/", files):
        node, report = _read(file, files, former, bounds)
        watch = read_watch(node, report, known)
        if watch is not None:
            quality[watch.name] = watch
        else:
            rejected.append(file)
        problems += report.problems

    rules = _Rules(replace(known, policies=policies, quality=quality), candidates)
    for file in sorted(_under(_RULES, files), key=lambda file: files[file] != settled.get(file)):
        rules.file(*_read(file, files, former, bounds))
    problems += rules.problems
    rejected += rules.rejected
    told = _Told(rules.known, main[0])
    written = sorted(rules.in_force, key=attrgetter("file"))
    named = sorted({step.tell for rule in written for step in rule.steps if step.tell})
    # A `stop` may silence what people wrote, never a question that a rollout waits for, nor the arrival of what is awaited.
    in_force = [
        *(rule for policy in policies.values() for rule in told.of(policy)),
        *(rule for rule in written if rule.name.endswith(ARRIVED)),
        *(rule for rule in written if not rule.name.endswith(ARRIVED)),
        *told.ends(named),
        *told.last(policies, named),
    ]
    good = {name: text for name, text in files.items() if name not in rejected}
    # Of switchyard.yaml each entry stands or falls alone.
    version = _version(good | ({FILE: files[FILE]} if FILE in files else {}))
    return Loaded(
        Rules(in_force, version),
        config,
        templates,
        tuple(sorted(problems)),
        tuple(sorted(rejected)),
        version,
        policies,
        quality,
        good=good,
        idle=tuple(rules.idle),
        declared=declared,
        former=tuple(sorted(former)),
        bounds=bounds,
    )


def _under(folder: str, files: Mapping[str, str]) -> list[str]:
    return sorted(name for name in files if name.startswith(folder))


def _read(file: str, files: Mapping[str, str], former: list[Problem], bounds: Bounds) -> tuple[Node | None, Report]:
    """In today's spelling; `former` gets what was written otherwise."""
    node, problems = read(file, files[file], bounds)
    if node is None and not problems:
        problems = [Problem(file, 1, 1, "the file is empty")]
    report = Report(file, problems, bounds)
    if node is not None and node.items:
        node, found = modern(node, report)
        former += found
    return node, report


def _template(node: Node | None, report: Report) -> object:
    if node is None or not report.mapping(node, "a message template"):
        return None
    report.secrets(node)
    return report.model(messages.Template, node.plain(), node, lenient=frozenset())


class _Timed(TypedDict):
    """What a rule says about when, how often, and for how long."""

    throttle: Throttling | None
    active: tuple[str, ...]
    mute: tuple[str, ...]
    keep: float


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

    def ends(self, named: Sequence[str]) -> list[Rule]:
        """Who asked by `tell` how what a rule starts has ended: one message, whatever it was."""
        ends = (_COMPLETED, _FAILED)
        return [self._rule(f"(ended {one})", FILE, ends, [one], {"data.tell": f"= {one}"}) for one in named]

    def last(self, policies: Mapping[str, Policy], named: Sequence[str]) -> list[Rule]:
        """`named`: the receivers that hear of ends themselves."""
        if not self._tell:
            return []
        others = {"not": {"data.tell": [f"= {one}" for one in named]}} if named else {}
        gone = {"not": {"data.policy": [f"= {name}" for name in policies]}} if policies else {}
        return [
            self._rule(ORPHANS, FILE, (*_ENDS, *_ASKS), self._tell, gone),
            self._rule(UNTOLD, FILE, (_COMPLETED,), self._tell, {"data.tell": "present", **others}),
            self._rule(TELL, FILE, TOLD, self._tell, others),
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
            keep=self._known.config.retention.records,
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
        absence = "expect" in node.items
        keys = _ABSENCE_KEYS if absence else _KEYS
        for key, at in node.keys.items():
            if key not in keys:
                report.say(at, f"unknown key {key!r}{_hint(key, keys, absence=absence)}")
        for key in ("name", "expect", "after", "within", "do") if absence else ("name", "event", "do"):
            if key not in node.items:
                report.say(node.at, f"{key!r} is missing: {_HAS[absence]}")
        items = node.items
        if absence:
            return self._absence(node, report)
        rule = Rule(
            name=self._name(items["name"], report) if "name" in items else "",
            file=report.file,
            line=node.at.line,
            column=node.at.column,
            events=read_events(items["event"], report) if "event" in items else (),
            conditions=_conditions(items, report),
            steps=read_steps(items["do"], self.known, report) if "do" in items else (),
            stop=report.truth(items.get("stop"), "stop", default=False),
            together=_together(items.get("children"), report),
            **self._timed(items, report),
        )
        _promotes(items.get("do"), rule, report)
        if rule.throttle and rule.throttle.kind in DELIVERIES and set(rule.events) - {"BlobCreated"}:
            report.say(
                items["throttle"].at, f"{rule.throttle.kind} counts blobs: it goes with 'event: BlobCreated' alone"
            )
        if report.truth(items.get("enabled"), "enabled", default=True):
            return [rule]
        self.idle.append(rule)
        return []

    def _timed(self, items: Mapping[str, Node], report: Report) -> _Timed:
        return {
            "throttle": read_throttle(items["throttle"], report) if "throttle" in items else None,
            "active": self._calendars(items.get("active"), report),
            "mute": self._calendars(items.get("mute"), report),
            "keep": self._keep(items.get("keep"), report),
        }

    def _keep(self, node: Node | None, report: Report) -> float:
        usual = self.known.config.retention.records
        if node is None:
            return usual
        bounds = {"shortest": SHORTEST_KEPT, "longest": LONGEST_KEPT}
        return read_length(node, "keep", report, **bounds, example="'90d' or '400d'") or usual

    def _calendars(self, node: Node | None, report: Report) -> tuple[str, ...]:
        """One name, or a list of them."""
        if node is None:
            return ()
        entries = report.entries(node, "calendars") if isinstance(node.value, list) else [node]
        names = []
        for entry in entries:
            name = report.text(entry, "the name of a calendar")
            if name is not None and name not in self.known.config.calendars:
                report.say(entry.at, self.known.missing("calendars", "calendar", name))
            names += [name] if name else []
        return tuple(names)

    def _absence(self, node: Node, report: Report) -> list[Rule]:
        """A rule about what did not happen, as it is decided: what opens it, what meets it, and what is done if nothing does."""
        items = node.items
        name = self._name(items["name"], report) if "name" in items else ""
        awaited, narrowed = _awaited(items["expect"], report)
        openings = read_events(items["after"], report) if "after" in items else ()
        within = read_length(items["within"], "within", report) if "within" in items else 0.0
        keys = read_fields(items["by"], report) if "by" in items else ()
        for path, at in zip(keys, [entry.at for entry in items["by"].list] if keys else (), strict=False):
            if path.lookup is not None:
                report.say(at, f"{path.name!r} is looked up: 'by' takes what the events say themselves")
        steps = read_steps(items["do"], self.known, report) if "do" in items else ()
        timed = self._timed(items, report)
        missing = read_block(_node(report.file, {"data.rule": f"= {name}"}), Report(report.file))
        params: dict[str, object] = {
            "rule": name,
            "expected": list(awaited),
            "within": within,
            "by": [path.name for path in keys],
        }
        here = Rule(name, report.file, node.at.line, node.at.column, openings, (), (), keys=keys)
        conditions = _conditions(items, report)
        parts = [
            replace(here, conditions=conditions, steps=(Step("expect", params, after=within),), keep=timed["keep"]),
            replace(
                here,
                name=f"{name}{ARRIVED}",
                events=awaited,
                conditions=narrowed,
                steps=(Step("arrived", {"rule": name}),),
                numbers=(0,),
                keep=timed["keep"],
            ),
            replace(
                here, name=f"{name}{MISSING}", events=(_MISSED,), conditions=missing, steps=steps, keys=(), **timed
            ),
        ]
        if report.truth(items.get("enabled"), "enabled", default=True):
            return parts
        self.idle += parts
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


def _awaited(node: Node, report: Report) -> tuple[tuple[str, ...], tuple[Condition, ...]]:
    """What `expect` waits for: event types, or `{event: …, match: …}`."""
    if not isinstance(node.value, dict):
        return read_events(node, report), ()
    for key, at in node.keys.items():
        if key not in {"event", "match"}:
            report.say(at, f"unknown key {key!r}{nearest(key, ['event', 'match'])}")
    if "event" not in node.items:
        report.say(node.at, "'event' is missing: expected the type that is waited for")
    events = read_events(node.items["event"], report) if "event" in node.items else ()
    return events, read_block(node.items["match"], report) if "match" in node.items else ()


def _conditions(items: Mapping[str, Node], report: Report) -> tuple[Condition, ...]:
    """The lines of `match`, then `when`: an expression is asked only where the lines hold."""
    lines = read_block(items["match"], report) if "match" in items else ()
    when = read_when(items["when"], report) if "when" in items else None
    return (*lines, when) if when else lines


def _hint(key: str, keys: Sequence[str], *, absence: bool) -> str:
    if absence and key in _KEYS:
        return ": a rule with 'expect' has none"
    if key in {"within", "by", "after"} and not absence:
        return ": it belongs to a rule with 'expect', or under 'throttle'"
    return nearest(key, keys)


def _together(node: Node | None, report: Report) -> bool:
    """Whether the children of one run make one message."""
    if node is None or node.value == "together":
        return True
    if node.value != "each":
        shown = repr(node.value) if isinstance(node.value, str) else node.kind
        report.say(node.at, f"children: expected 'together' or 'each', found {shown}")
    return False


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


def read_events(node: Node, report: Report) -> tuple[str, ...]:
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
