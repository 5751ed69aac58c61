"""What a person may acknowledge, what muting it holds back, and which event says that it is over: one table of it all."""
# ruff: noqa: RUF001 (Japanese is written with full-width signs)

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.actions import Language, discover
from shared.events import BREACH, Event
from shared.record import EventRecord, Facts, run_of
from shared.rollout.hours import seconds
from shared.rules.paths import Path, find

MUTED: Final = timedelta(days=7)
"""How long at most."""

_FAILED: Final = ("Failed", "NotResponding")
_RUNS: Final = ["RunCompleted", "RunStatusChanged"]

type Match = dict[str, object]
type Words = tuple[str, str]


@dataclass(frozen=True)
class Trouble:
    """`matchers`: what muting it holds back; `resolves`: what ends it, None where only time does. In words, English and
    Japanese, with `{name}` for the values of `said`.
    """

    matchers: Match
    resolves: Match | None
    what: Words
    over: Words
    said: Mapping[str, str]
    since: timedelta = timedelta()
    """What happened so long before the event may end it too: what was missed may have been on its way."""

    def what_in(self, language: Language) -> str:
        return _in(self.what, language).format(**self.said)

    def over_in(self, language: Language) -> str:
        return _in(self.over, language).format(**self.said)


def _in(words: Words, language: Language) -> str:
    return words[1] if language == "ja" else words[0]


def trouble_of(record: EventRecord) -> Trouble | None:
    """Of an event that is bad news; None for others."""
    event = record.event
    if event is None:
        return None
    if event.type == "RunStatusChanged" and (event.run is None or event.run.status not in _FAILED):
        return None
    reader = _TABLE.get(event.type)
    return reader(event, record.facts or Facts()) if reader else None


def acknowledgeable(record: EventRecord) -> bool:
    """Bad news, or something that more people hear of until somebody says that they see to it."""
    intents = record.decision.intents if record.decision else ()
    return trouble_of(record) is not None or any(one.terms and one.terms.unless_acknowledged for one in intents)


def muted_of(record: EventRecord) -> Trouble | None:
    """What muting this event would hold back. Of one that is no bad news by itself: its like, as told by the same rules."""
    event = record.event
    trouble = trouble_of(record)
    if trouble is not None or event is None:
        return trouble
    verdicts = record.decision.verdicts if record.decision else ()
    matched = (one.rule for one in verdicts if one.outcome == "matched")
    rules = sorted({rule.partition(" (")[0] for rule in matched if rule and not rule.startswith("(")})
    if not rules:
        return None
    what = (
        "events of the type {type} by the rules {rules}",
        "ルール {rules} による {type} イベント",
    )
    said = {"type": event.type, "rules": ", ".join(rules)}
    asked = {"type": event.type, "workspace": event.workspace, "rule": rules}
    return Trouble(_block(asked), None, what, _ONLY_TIME, said)


_ONLY_TIME: Final = ("until the time is up", "期限まで")


def _run(event: Event, facts: Facts) -> Trouble:
    run = run_of(event, facts)
    assert run is not None
    fails: Match = {"type": event.type, "workspace": event.workspace, "run.status": _FAILED}
    ends: Match = {"type": _RUNS, "workspace": event.workspace, "run.status": "Completed"}
    said = {"workspace": event.workspace or "–", "run": run.id, "experiment": run.experiment or "–"}
    if run.is_child and run.parent:
        return Trouble(
            _block(fails | {"run.parent": run.parent}),
            _block(ends | {"run.id": run.parent, "run.status": ["Completed", "Failed", "Canceled"]}),
            ("failed child runs of {run} in {workspace}", "{workspace} の {run} の子ジョブの失敗"),
            ("until that run ends", "親ジョブの終了まで"),
            said | {"run": run.parent},
        )
    if run.experiment:
        return Trouble(
            _block(fails | {"run.experiment": run.experiment}),
            _block(ends | {"run.experiment": run.experiment}),
            (
                "failed runs of the experiment {experiment} in {workspace}",
                "{workspace} の実験 {experiment} のジョブの失敗",
            ),
            ("until one of its runs completes", "この実験のジョブが完了するまで"),
            said,
        )
    return Trouble(
        _block(fails | {"run.id": run.id}),
        _block(ends | {"run.id": run.id}),
        ("failures of the run {run} in {workspace}", "{workspace} のジョブ {run} の失敗"),
        ("until it completes", "このジョブが完了するまで"),
        said,
    )


def _drift(event: Event, _: Facts) -> Trouble:
    monitor = event.drift.monitor if event.drift else None
    experiment = event.run.experiment if event.run else None
    calm = {
        "type": _RUNS,
        "workspace": event.workspace,
        "run.status": "Completed",
        "run.experiment": experiment,
    }
    return Trouble(
        _block({"type": event.type, "workspace": event.workspace, "drift.monitor": monitor}),
        _block(calm) | {f"tags.{BREACH}": "absent"} if experiment else None,
        ("drift that {monitor} finds", "{monitor} が検出したドリフト"),
        ("until its next run finds none", "次の実行でドリフトが検出されなくなるまで") if experiment else _ONLY_TIME,
        {"monitor": monitor or "–"},
    )


def _absence(event: Event, facts: Facts) -> Trouble:
    """What a rule waits for, with the same values of its `by`: it may still come."""
    data = event.data
    rule, expected, by = str(data.get("rule") or ""), str(data.get("expected") or ""), data.get("by")
    key = {name: _text(name, event, facts) for name in by if isinstance(name, str)} if isinstance(by, list) else {}
    asked = {"type": expected.split(" or "), **key}
    about = ", ".join(text for text in key.values() if text)
    return Trouble(
        _block({"type": event.type, "data.rule": rule, **key}),
        _block(asked) if expected else None,
        ("what the rule {rule} misses{about}", "ルール {rule} が待つイベントの未発生{about}"),
        ("until it arrives", "イベントの到着まで") if expected else _ONLY_TIME,
        {"rule": rule or "–", "about": f" ({about})" if about else ""},
        timedelta(seconds=seconds(str(data.get("within") or "")) or 0),
    )


def _text(name: str, event: Event, facts: Facts) -> str | None:
    path = find(name)
    value = path.get(event, facts) if isinstance(path, Path) else None
    return value if isinstance(value, str) else None


def _rollout(event: Event, _: Facts) -> Trouble:
    endpoint = event.endpoint.name if event.endpoint else None
    there = {"workspace": event.workspace, "endpoint.name": endpoint}
    return Trouble(
        _block({"type": ["RolloutStuck", "RolloutRolledBack"], **there}),
        _block({"type": "RolloutCompleted", **there}),
        (
            "rollouts on {endpoint} that get stuck or go back",
            "{endpoint} のロールアウトの停止とロールバック",
        ),
        ("until a rollout there completes", "そのエンドポイントのロールアウトが完了するまで"),
        {"endpoint": endpoint or "–"},
    )


def _quality(event: Event, _: Facts) -> Trouble:
    model = event.model.name if event.model else None
    there = {"workspace": event.workspace, "model.name": model}
    return Trouble(
        _block({"type": event.type, **there}),
        _block({"type": "ModelQualityRecovered", **there}),
        ("degraded quality of the model {model}", "モデル {model} の品質低下"),
        ("until its quality is measured as good again", "品質の回復が確認されるまで"),
        {"model": model or "–"},
    )


def _action(event: Event, _: Facts) -> Trouble:
    """Not all failed actions: those of the same rule that fail in the same action."""
    rule, action = str(event.data.get("rule") or ""), str(event.data.get("action") or "")
    known = discover().get(action)
    follows = bool(rule) and known is not None and known.look is not None
    return Trouble(
        _block({"type": event.type, "data.rule": rule, "data.action": action}),
        _block({"type": "ActionCompleted", "data.rule": rule, "data.action": action}) if follows else None,
        ("failures of {action} by the rule {rule}", "ルール {rule} の {action} の失敗"),
        ("until what it starts ends well", "開始したものが正常に終了するまで") if follows else _ONLY_TIME,
        {"action": action or "–", "rule": rule or "–"},
    )


_TABLE: Final[Mapping[str, Callable[[Event, Facts], Trouble]]] = {
    "RunStatusChanged": _run,
    "DriftDetected": _drift,
    "ExpectedEventMissing": _absence,
    "RolloutStuck": _rollout,
    "RolloutRolledBack": _rollout,
    "ModelQualityDegraded": _quality,
    "ActionFailed": _action,
}

_PLAIN: Final = re.compile(r"[\w/:@+-][\w/:@+ -]*(\.[\w/:@+-]+)*")


def _block(fields: Mapping[str, object]) -> Match:
    """A `match` block of exact texts. What is not known is not asked for."""
    known = {name: value for name, value in fields.items() if value}
    return {
        name: [_exact(str(one)) for one in value] if isinstance(value, list | tuple) else _exact(str(value))
        for name, value in known.items()
    }


def _exact(text: str) -> str:
    """A text that stands for itself, whatever signs are in it."""
    return text if _PLAIN.fullmatch(text) and text not in {"present", "absent"} and ".." not in text else f"= {text}"
