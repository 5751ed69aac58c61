"""Rule tests as people write them: stories with a clock, read with every mistake and its place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from shared.actions import discover
from shared.calendars import instant
from shared.errors import PermanentError, Problem
from shared.events import Event, parse
from shared.record import LOOKUPS, Facts
from shared.rehearsal.given import Fields, event_of, overlaid, read_fields
from shared.rollout.hours import seconds
from shared.rules.load import Loaded, read_events
from shared.rules.report import Report
from shared.rules.silences import read_matchers
from shared.rules.terms import read_length
from shared.rules.tree import Node, Place, nearest, read

FOLDER: Final = "tests/"

_TOP: Final = ("now", "zone", "defaults", "tests")
_TEST: Final = ("name", "now", "given", "steps")
_KINDS: Final = ("event", "send", "after", "at", "acknowledge", "silence")
_EXPECTS: Final = ("expect", "expect_at_least")
_GIVEN: Final = ("event", "send", "silence", "retrain", "quality")
_VERBS: Final = ("notify", *(name for name, action in discover().items() if not action.internal))
_OUTCOMES: Final = ("suppressed", "held", "collected", "waits", "undecided", "refused")
_NUMBERS: Final = ("measured", "estimated", "reference")
_MORE: Final = ("rule", "to", "tell", "together", "times")
GUARDS: Final = {
    "suppressed": ("throttle", "calendar", "silence", "acknowledged", "escalation", "cooldown", "concurrency", "worth"),
    "held": ("budget", "loop", "parts"),
    "undecided": LOOKUPS,
}
"""What may stand behind an outcome."""

_EXAMPLE: Final = "{rule: fraud-run-good, notify: fraud-team}"
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Expected:
    """One line of `expect`. Empty and None: whatever it is. `outcome` is "" for what is done; `until`: seconds that it waits."""

    at: Place
    rule: str
    verb: str = ""
    target: str = ""
    outcome: str = ""
    guard: str = ""
    to: str = ""
    together: int | None = None
    until: float | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Silenced:
    """A silence that is put in place."""

    matchers: dict[str, object]
    length: float
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class Happens:
    """An event of a few lines, or those of a file."""

    kind: str
    fields: Fields
    file: tuple[Event, ...] = ()

    def events(self, number: str, at: datetime, loaded: Loaded) -> list[tuple[Event, Facts]]:
        if not self.file:
            return [event_of(self.kind, self.fields, number, at, loaded.config)]
        return [overlaid(msgspec.structs.replace(one, time=at), Facts(), self.fields) for one in self.file]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the last message told of, or the event with this id. `mute`: until it is resolved."""

    by: str
    of: str = ""
    mute: bool = False


@dataclass(frozen=True, slots=True)
class Passes:
    """Time: so long, or until the clock on the wall shows it."""

    after: float = 0.0
    at: str = ""

    def reaches(self, now: datetime, zone: str) -> datetime:
        if not self.at:
            return now + timedelta(seconds=self.after)
        if "T" in self.at or " " in self.at:
            return moment_of(self.at, zone)
        wall = time.fromisoformat(self.at)
        today = now.astimezone(ZoneInfo(zone)).date()
        offers = (instant(datetime.combine(today + n * _DAY, wall), zone) for n in range(3))
        return next(offer for offer in offers if offer > now)


@dataclass(frozen=True, slots=True)
class Started:
    """A run of this pipeline. `running`: it has not ended yet."""

    pipeline: str
    running: bool = False


@dataclass(frozen=True, slots=True)
class Stands:
    """How the model of a file of quality/ stands, by metric; `labels`: truths that have come."""

    quality: str
    measured: Mapping[str, float]
    estimated: Mapping[str, float]
    reference: Mapping[str, float]
    labels: int = 0


type Move = Happens | Acknowledged | Silenced | Passes | Started | Stands


@dataclass(frozen=True, slots=True)
class Step:
    """`words`: what it does, for people. `exact`: nothing else may happen."""

    at: Place
    words: str
    move: Move
    expect: tuple[Expected, ...] = ()
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Before:
    """What was the case so many seconds before the story begins."""

    ago: float
    move: Move


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    file: str
    at: Place
    now: datetime
    zone: str
    given: tuple[Before, ...]
    steps: tuple[Step, ...]


def moment_of(text: str, zone: str) -> datetime:
    """A time with its offset, or as the clock on the wall shows it there."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else instant(moment, zone)


def read_stories(files: Mapping[str, str], loaded: Loaded) -> tuple[list[Story], list[Problem]]:
    """The stories of all files under tests/. A file with a mistake is left out. `files`: also those that `send` names."""
    stories: list[Story] = []
    problems: list[Problem] = []
    for name in sorted(files):
        if not (name.startswith(FOLDER) and name.endswith((".yaml", ".yml"))):
            continue
        node, wrong = read(name, files[name], loaded.bounds)
        if node is None and not wrong:
            wrong = [Problem(name, 1, 1, "the file is empty")]
        report = Report(name, wrong, loaded.bounds)
        found = _File(loaded, files, report).stories(node) if node is not None else []
        if report.problems:
            problems += report.problems
        else:
            stories += found
    return stories, sorted(problems)


class _File:
    def __init__(self, loaded: Loaded, files: Mapping[str, str], report: Report) -> None:
        self._loaded = loaded
        self._files = files
        self._report = report
        self._zone = loaded.config.defaults.time_zone
        self._rules = {_written(rule.name) for rule in loaded.rules.rules}
        self._timed = False
        self._defaults: dict[str, tuple[Node, Place]] = {}

    def stories(self, node: Node) -> list[Story]:
        report = self._report
        if not report.mapping(node, "'now:' and 'tests:' with a list of tests"):
            return []
        report.secrets(node)
        self._keys(node, _TOP)
        items = node.items
        if "zone" in items:
            self._read_zone(items["zone"])
        if "defaults" in items and report.mapping(items["defaults"], "fields that every event has"):
            inner = items["defaults"]
            self._defaults = {name: (value, inner.keys[name]) for name, value in inner.items.items()}
            read_fields(self._defaults, report)
        self._timed = "now" in items
        now = self._now(items["now"]) if "now" in items else None
        if "tests" not in items:
            report.say(node.at, "'tests' is missing: a list of tests, each with a name and steps")
            return []
        found: list[Story] = []
        for entry in report.entries(items["tests"], "tests"):
            story = self._story(entry, now)
            if story is not None:
                first = next((one for one in found if one.name == story.name), None)
                if first is not None:
                    report.say(story.at, f"test {story.name!r} stands in line {first.at.line} already")
                found.append(story)
        return found

    def _keys(self, node: Node, known: Sequence[str]) -> None:
        for key, at in node.keys.items():
            if key not in known:
                self._report.say(at, f"unknown key {key!r}{nearest(key, known)}")

    def _read_zone(self, node: Node) -> None:
        name = self._report.text(node, "a time zone such as Asia/Tokyo")
        try:
            self._zone = ZoneInfo(name).key if name else self._zone
        except (KeyError, ValueError, OSError):
            self._report.say(node.at, f"unknown time zone {name!r}: expected a name such as 'Asia/Tokyo' or 'UTC'")

    def _now(self, node: Node) -> datetime | None:
        try:
            return moment_of(str(node.value), self._zone)
        except (ValueError, OverflowError):
            said = "a time such as 2026-11-24T17:55, by the clock of the time zone, or with an offset behind it"
            self._report.say(node.at, f"now: {node.value!r} is no time: expected {said}")
            return None

    def _story(self, node: Node, now: datetime | None) -> Story | None:
        report = self._report
        if not report.mapping(node, "a test with a name and steps"):
            return None
        self._keys(node, _TEST)
        name = report.text(node.items["name"], "what the test shows") if "name" in node.items else None
        if "name" not in node.items:
            report.say(node.at, "'name' is missing: what the test shows, in words")
        if "now" in node.items:
            now = self._now(node.items["now"])
        elif not self._timed:
            report.say(node.at, "'now' is missing, here or at the top of the file: when the story begins")
        given = self._given(node.items["given"]) if "given" in node.items else ()
        if "steps" not in node.items:
            report.say(node.at, "'steps' is missing: what happens, and what is expected then")
            return None
        entries = report.entries(node.items["steps"], "steps such as '- event: RunCompleted'")
        steps = [step for entry in entries if (step := self._step(entry)) is not None]
        if name is None or now is None:
            return None
        return Story(name, report.file, node.at, now, self._zone, given, tuple(steps))

    # What was the case before

    def _given(self, node: Node) -> tuple[Before, ...]:
        found = []
        for entry in self._report.entries(node, "what was the case, such as '- retrain: PIPELINE'"):
            kind = self._kind(entry, _GIVEN)
            if kind is None:
                continue
            ago = read_length(entry.items["ago"], "ago", self._report) if "ago" in entry.items else 0.0
            if "ago" not in entry.items and kind not in {"silence", "quality"}:
                self._report.say(entry.at, "'ago' is missing: how long before the story begins, as in 'ago: 3h'")
            own: Mapping[str, Callable[[Node], Move | None]] = {"retrain": self._started, "quality": self._stands}
            move = own[kind](entry) if kind in own else self._move(kind, entry, ("ago",))
            if move is not None:
                found.append(Before(ago, move))
        return tuple(sorted(found, key=lambda one: -one.ago))

    def _started(self, node: Node) -> Started | None:
        self._keys(node, ("retrain", "ago", "running"))
        pipelines = self._loaded.config.pipelines
        name = self._report.text(node.items["retrain"], "the name of a pipeline")
        if name is not None and name not in pipelines:
            self._report.say(node.items["retrain"].at, f"unknown pipeline {name!r}{nearest(name, pipelines)}")
        running = self._report.truth(node.items.get("running"), "running", default=False)
        return Started(name, running) if name else None

    def _stands(self, node: Node) -> Stands | None:
        self._keys(node, ("quality", "ago", *_NUMBERS, "labels"))
        name, report = str(node.items["quality"].plain()), self._report
        watch = self._loaded.quality.get(name)
        if watch is None:
            report.say(node.items["quality"].at, f"unknown quality {name!r}{nearest(name, self._loaded.quality)}")
            return None
        known = [ask.metric for ask in watch.asks]
        measured, estimated, reference = (self._figures(node.items.get(key), known) for key in _NUMBERS)
        labels = node.items["labels"].value if "labels" in node.items else 0
        if not isinstance(labels, int) or isinstance(labels, bool) or labels < 0:
            report.say(node.items["labels"].at, f"labels: expected how many truths have come, found {labels!r}")
            return None
        return Stands(name, measured, estimated, reference, labels)

    def _figures(self, node: Node | None, known: Sequence[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        if node is None or not self._report.mapping(node, "metrics, as in {auc: 0.91}"):
            return found
        for name, inner in node.items.items():
            if name not in known:
                hint = nearest(name, known) or f": {', '.join(known)}"
                self._report.say(node.keys[name], f"unknown metric {name!r}{hint}")
            elif isinstance(inner.value, bool) or not isinstance(inner.value, int | float):
                self._report.say(inner.at, f"{name}: expected a number, found {inner.kind} {inner.plain()!r}")
            else:
                found[name] = float(inner.value)
        return found

    # What happens

    def _kind(self, node: Node, kinds: Sequence[str]) -> str | None:
        if not self._report.mapping(node, f"a step such as '{kinds[0]}: …'"):
            return None
        named = [kind for kind in kinds if kind in node.items]
        if len(named) == 1:
            return named[0]
        if named:
            said = " and ".join(map(repr, named))
            self._report.say(node.keys[named[1]], f"{said} in one step: write a step ('- ') for each")
            return None
        wrong = next((key for key in node.keys if key not in _EXPECTS), "")
        at = node.keys.get(wrong, node.at)
        self._report.say(
            at, f"unknown step {wrong!r}{nearest(wrong, kinds)}" if wrong else f"a step is one of {', '.join(kinds)}"
        )
        return None

    def _step(self, node: Node) -> Step | None:
        kind = self._kind(node, _KINDS)
        if kind is None:
            return None
        move = self._move(kind, node, _EXPECTS)
        both = [name for name in _EXPECTS if name in node.items]
        if len(both) > 1:
            self._report.say(
                node.keys[both[1]], "'expect' says all that happens, 'expect_at_least' some of it: one of them"
            )
        expect = self._expect(node.items[both[0]]) if both else ()
        shown = node.items[kind].value
        words = f"{kind} {shown}" if isinstance(shown, str | int | float) else kind
        exact = both != ["expect_at_least"]
        return None if move is None else Step(node.at, words, move, expect, exact)

    def _move(self, kind: str, node: Node, beside: Sequence[str]) -> Move | None:
        if kind in {"event", "send"}:
            return self._happens(kind, node, beside)
        self._keys(node, (kind, *beside))
        inner = node.items[kind]
        match kind:
            case "after":
                length = read_length(inner, "after", self._report)
                return Passes(after=length) if length else None
            case "at":
                return self._at(inner)
            case "silence":
                return self._silence(inner)
            case _:
                return self._acknowledge(inner)

    def _happens(self, kind: str, node: Node, beside: Sequence[str]) -> Happens | None:
        own = {
            name: (value, node.keys[name]) for name, value in node.items.items() if name != kind and name not in beside
        }
        fields = read_fields((self._defaults if kind == "event" else {}) | own, self._report)
        if kind == "send":
            events = self._sent(node.items["send"])
            return Happens("", fields, events) if events else None
        names = read_events(node.items["event"], self._report)
        if len(names) > 1:
            self._report.say(node.items["event"].at, "one event a step")
        return Happens(names[0], fields) if names else None

    def _sent(self, node: Node) -> tuple[Event, ...]:
        """The events of a file of the configuration folder: named from the folder of the tests, or from the top."""
        report = self._report
        name = report.text(node, "a file such as samples/run-completed.json")
        if name is None:
            return ()
        file = _joined(report.file, name)
        if file is None or file not in self._files:
            known = [one for one in self._files if one.endswith(".json")]
            report.say(node.at, f"there is no file {name!r} in the configuration folder{nearest(file or name, known)}")
            return ()
        try:
            content = msgspec.json.decode(self._files[file].encode(errors="surrogateescape"))
            levels = report.bounds.payload_levels
            return tuple(parse(one, levels=levels) for one in (content if isinstance(content, list) else [content]))
        except (msgspec.DecodeError, PermanentError, AttributeError) as error:
            report.say(node.at, f"{name} holds no event: {error}")
            return ()

    def _at(self, node: Node) -> Passes | None:
        text = str(node.value)
        try:
            move = Passes(at=text)
            move.reaches(datetime.fromisoformat("2026-01-01T00:00:00+00:00"), self._zone)
        except (ValueError, OverflowError):
            self._report.say(node.at, f"at: {text!r} is no time: expected one such as '18:01' or 2026-11-25T09:00")
            return None
        return move

    def _acknowledge(self, node: Node) -> Acknowledged | None:
        if not self._report.mapping(node, "who, as in {by: sato}"):
            return None
        self._keys(node, ("by", "of", "mute"))
        by = self._report.text(node.items["by"], "a name") if "by" in node.items else None
        if "by" not in node.items:
            self._report.say(node.at, "'by' is missing: who acknowledges it")
        of = self._report.text(node.items["of"], "the id of an event") if "of" in node.items else ""
        mute = self._report.truth(node.items.get("mute"), "mute", default=False)
        return Acknowledged(by, of or "", mute) if by else None

    def _silence(self, node: Node) -> Silenced | None:
        report = self._report
        if not report.mapping(node, "as in {match: {tags.team: fraud}, for: 4h}"):
            return None
        self._keys(node, ("match", "for", "owner", "reason"))
        for key in ("match", "for"):
            if key not in node.items:
                report.say(node.at, f"{key!r} is missing: expected as in {{match: {{tags.team: fraud}}, for: 4h}}")
        if not {"match", "for"} <= node.items.keys():
            return None
        inner, length = node.items["match"], node.items["for"]
        matchers, wrong = read_matchers(msgspec.json.encode(inner.plain()).decode())
        for one in wrong:
            report.say(inner.at, one.message)
        text = length.value
        found = seconds(text) if isinstance(text, str) else None
        days = report.bounds.silence_days
        if not found or timedelta(seconds=found) > timedelta(days=days):
            report.say(
                length.at,
                f"for: {text!r} is no length of a silence: expected one such as '4h', at most {days}d",
            )
            return None
        owner, reason = (str(node.items[key].value) if key in node.items else "test" for key in ("owner", "reason"))
        return None if wrong else Silenced(matchers, found, owner, reason)

    # What is expected

    def _expect(self, node: Node) -> tuple[Expected, ...]:
        if node.value == "nothing":
            return ()
        if isinstance(node.value, str):
            self._report.say(node.at, f"expected 'nothing', or a list of lines such as {_EXAMPLE}")
            return ()
        lines = [self._line(entry) for entry in self._report.entries(node, f"lines such as {_EXAMPLE}, or 'nothing'")]
        return tuple(line for line in lines if line is not None)

    def _line(self, node: Node) -> Expected | None:
        report = self._report
        if not report.mapping(node, f"a line such as {_EXAMPLE}"):
            return None
        items = node.items
        self._keys(node, (*_MORE, *_VERBS, *_OUTCOMES))
        rule = report.text(items["rule"], "the name of a rule") if "rule" in items else None
        if "rule" not in items:
            report.say(node.at, f"'rule' is missing: which rule does it, as in {_EXAMPLE}")
        elif rule is not None and rule not in self._rules:
            report.say(items["rule"].at, f"unknown rule {rule!r}{nearest(rule, self._known(rule))}")
        verbs = [verb for verb in _VERBS if verb in items]
        outcomes = [one for one in _OUTCOMES if one in items]
        for several in (verbs, outcomes):
            if len(several) > 1:
                report.say(
                    node.keys[several[1]], f"{' and '.join(map(repr, several))} in one line: write a line for each"
                )
        if not verbs and outcomes != ["undecided"]:
            report.say(node.at, f"what the rule does is missing: an action beside it, as in {_EXAMPLE}")
        verb = verbs[0] if verbs else ""
        target = self._target(verb, items[verb]) if verb else ""
        outcome = outcomes[0] if outcomes else ""
        guard, until = self._guard(outcome, items[outcome]) if outcome else ("", None)
        to = report.text(items["to"], "who is on call") if "to" in items else ""
        to = self._told(verb, items["tell"]) if "tell" in items else to
        together, times = (self._count(name, items.get(name)) for name in ("together", "times"))
        return Expected(node.at, rule or "", verb, target, outcome, guard, to or "", together, until, times or 1)

    def _told(self, verb: str, node: Node) -> str:
        """Who hears how what was started has ended."""
        action = discover().get(verb)
        if action is None or action.look is None:
            self._report.say(node.at, f"'tell' goes with what is started and goes on, not with {verb!r}")
        name = self._report.text(node, "the receiver that hears how it ended") or ""
        if name and name not in self._loaded.config.receivers:
            self._report.say(node.at, f"unknown receiver {name!r}{nearest(name, self._loaded.config.receivers)}")
        return name

    def _known(self, rule: str) -> set[str]:
        """The names to choose from: of rules that nobody writes, only where one is meant."""
        return {name for name in self._rules if name.startswith("(") == rule.startswith("(")}

    def _target(self, verb: str, node: Node) -> str:
        """Receivers, pipelines and policies by name; what else can be told from each other, as it is written in the rule."""
        if node.value is True:
            return ""
        name = self._report.text(node, f"what it {verb}s, or true for any")
        config, policies = self._loaded.config, self._loaded.policies
        known: Mapping[str, Mapping[str, Any]] = {
            "notify": config.receivers,
            "retrain": config.pipelines,
            "promote": policies,
        }
        what = {"notify": "receiver", "retrain": "pipeline", "promote": "rollout policy"}
        if name is not None and verb in known and name not in known[verb]:
            self._report.say(node.at, f"unknown {what[verb]} {name!r}{nearest(name, known[verb])}")
        return name or ""

    def _guard(self, outcome: str, node: Node) -> tuple[str, float | None]:
        if outcome == "waits" and node.value is not True:
            return "", read_length(node, "waits", self._report) or None
        if node.value is True:
            return "", None
        known = GUARDS.get(outcome, ())
        if node.value not in known:
            options = f"true, or one of {', '.join(known)}" if known else "true"
            self._report.say(node.at, f"{outcome}: expected {options}; found {node.value!r}")
        return str(node.value), None

    def _count(self, name: str, node: Node | None) -> int | None:
        if node is None:
            return None
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self._report.say(node.at, f"{name}: expected a whole number from 1, found {value!r}")
            return None
        return value


def _written(rule: str) -> str:
    return rule if rule.startswith("(") else rule.partition(" (")[0]


def _joined(file: str, name: str) -> str | None:
    """Seen from the file. None outside of the folder."""
    parts = file.split("/")[:-1]
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)
