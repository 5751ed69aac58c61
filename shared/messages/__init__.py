"""Messages: what a person is told about an event, from a template. And the templates within an action's parameters.

Jinja2 is imported when the first template is used, never before: a cold start that only queues an event does not pay
for it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from shared.actions import Fact, Language, Link, Note, Severity
from shared.bounds import DEFAULTS, Bounds
from shared.errors import PermanentError
from shared.events import Event
from shared.messages import formats
from shared.messages.together import Together, plain
from shared.record import Facts, Lookup, view

_DEFAULTS: Final = {
    "RunCompleted": "run-completed",
    "RunStatusChanged": "run-status",
    "ModelRegistered": "model-registered",
    "ModelDeployed": "model-deployed",
    "DriftDetected": "drift-detected",
    "BlobCreated": "blob-created",
    "ModelQualityDegraded": "model-quality-degraded",
    "ModelQualityRecovered": "model-quality-recovered",
    "ModelQualityUnknown": "model-quality-unknown",
    "RolloutStarted": "rollout-started",
    "RolloutAdvanced": "rollout-advanced",
    "RolloutWaiting": "rollout-waiting",
    "RolloutStuck": "rollout-stuck",
    "RolloutCompleted": "rollout-completed",
    "RolloutRolledBack": "rollout-rolled-back",
    "ExpectedEventMissing": "expected-event-missing",
    "SilenceEnding": "silence-ending",
    "SilenceLong": "silence-long",
    "ActionCompleted": "action-completed",
    "ActionFailed": "action-failed",
    "EventRefused": "event-refused",
    "EventsDeadLettered": "events-dead-lettered",
    "Digest": "digest",
    "RuleSilent": "rule-silent",
    "RulesChanged": "rules-changed",
}
_SEVERITIES: Final[dict[str, Severity]] = {"good": "good", "info": "info", "warning": "warning", "bad": "bad"}
_LINKS: Final[dict[str, dict[Language, str]]] = {
    "studio": {"en": "Open in Azure ML studio", "ja": "Azure ML スタジオで開く"},
    "console": {"en": "What happened and why", "ja": "経緯と判定理由を見る"},
    "approve": {"en": "Approve or reject", "ja": "承認または却下する"},
    "acknowledge": {"en": "Acknowledge or mute", "ja": "確認する・ミュートする"},
    "silence": {"en": "The silences in force", "ja": "有効なサイレンスを見る"},
    "rollout": {"en": "The rollout, step by step", "ja": "ロールアウトの経過を見る"},
}
"""Links that this service makes itself come under these words."""

_UNKNOWN: Final[dict[Lookup, dict[Language, tuple[str, str]]]] = {
    "metrics": {"en": ("Metrics", "could not be read"), "ja": ("メトリック", "取得できませんでした")},
    "job": {"en": ("Job details", "could not be read"), "ja": ("ジョブの詳細", "取得できませんでした")},
    "drift": {"en": ("Features", "could not be read"), "ja": ("特徴量", "取得できませんでした")},
}
_HELD_BACK: Final[dict[Language, tuple[str, str]]] = {
    "en": ("Held back", "{n} more of this kind since the last message"),
    "ja": ("抑制", "前回の通知以降、同種 {n} 件を抑制"),
}
_METRICS: Final = 12
_FACTS: Final = 30
_SECRET: Final = re.compile(r"\$\{(?=[A-Z][A-Z0-9_]*\})")
_CROSSED: Final = re.compile(r"\bevent\.drift\.crossed\b")
_LOOKUP: Final = re.compile(r"""\bevent\s*(?:\.\s*|\[\s*['"])(metrics|job)\b""")


def check(text: str, bounds: Bounds = DEFAULTS) -> str | None:
    """What is wrong with a template, with its line; None when nothing is."""
    if not _is_template(text):
        return None
    from shared.messages import sandbox

    return sandbox.check(text, bounds)


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def _checked(text: str, info: ValidationInfo) -> str:
    problem = check(text, info.context or DEFAULTS)
    if problem:
        raise ValueError(f"not a template: {problem}")
    return text


type Source = Annotated[str, AfterValidator(_checked)]
"""A text that may hold a template."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Both(_Strict):
    """A text by language. Where one language is left out, the other stands for it."""

    en: Source = ""
    ja: Source = ""

    def of(self, language: Language) -> str:
        return (self.ja or self.en) if language == "ja" else (self.en or self.ja)


def _by_language(value: object) -> object:
    return {"en": value} if isinstance(value, str | int | float) else value


type Words = Annotated[Both, BeforeValidator(_by_language, json_schema_input_type=str | Both)]


class FactLine(_Strict):
    """A line "name: value". It is left out where its value renders to nothing, or `when` to nothing or false."""

    name: Words
    value: Words
    when: Source = ""


class LinkLine(_Strict):
    """A button. It is left out where its URL renders to nothing."""

    text: Words
    url: Source


class Template(_Strict):
    """A message template, Jinja2 in its texts: `event`, `rule`, `links`, `now`, `language`, `collected` (where the message is
    about several events), and the filters that docs/actions.md lists.
    """

    severity: Source = Field(default="info", description="good, info, warning or bad; may be a template.")
    title: Words
    text: Words = Both()
    short: Words = Field(default=Both(), description="For SMS; left out, the title.")
    facts: tuple[FactLine, ...] = Field(default=(), max_length=_FACTS)
    metrics: bool = Field(default=False, description="Whether to show the run's metrics.")
    readings: bool = Field(default=False, description="Whether to show what the gates of a rollout say.")
    outcome: bool = Field(default=False, description="Whether to show the metrics of what was started and has ended.")
    code: Source = Field(default="", description="Verbatim text, such as the error of a failed run.")
    links: tuple[LinkLine, ...] = Field(default=(), max_length=6)

    @model_validator(mode="after")
    def _titled(self) -> "Template":
        if not self.title.of("en").strip():
            raise ValueError("title is empty")
        return self

    def sources(self) -> list[str]:
        words = [
            self.title,
            self.text,
            self.short,
            *(words for fact in self.facts for words in (fact.name, fact.value)),
        ]
        words += [link.text for link in self.links]
        plain = [self.severity, self.code, *(fact.when for fact in self.facts), *(link.url for link in self.links)]
        return [*plain, *(text for both in words for text in (both.en, both.ja))]


def parse_template(mapping: Mapping[str, object]) -> Template:
    """A template as a file holds it. Raises pydantic's ValidationError, with the place of each mistake."""
    return Template.model_validate(mapping)


@cache
def builtin_names() -> tuple[str, ...]:
    names = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


@cache
def builtin(name: str) -> Template:
    """Raises PermanentError, with the names there are, when there is none of this name."""
    if name not in builtin_names():
        raise PermanentError(f"there is no template {name!r}; built in are {', '.join(builtin_names())}")
    from ruamel.yaml import YAML

    text = files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return parse_template(YAML(typ="safe", pure=True).load(text))


def default_for(event: Event) -> str:
    """The built-in template for an event that a rule names none for."""
    if event.type == "RunStatusChanged" and event.run and event.run.status == "Failed":
        return "run-failed"
    return _DEFAULTS.get(event.type, "event")


@cache
def of_several(template: Template) -> bool:
    """Whether it can tell of several events at once."""
    return any("collected" in source for source in template.sources())


@cache
def needs(template: Template) -> frozenset[Lookup]:
    """The lookups that would make the message better."""
    found: set[Lookup] = {"metrics"} if template.metrics else set()
    for source in template.sources():
        if _is_template(source):
            found.update("job" if name == "job" else "metrics" for name in _LOOKUP.findall(source))
            found.update({"drift"} if _CROSSED.search(source) else ())
    return frozenset(found)


def render(
    template: Template | None,
    event: Event,
    facts: Facts,
    *,
    language: Language,
    links: Sequence[Link] = (),
    rule: str = "",
    now: datetime | None = None,
    time_zone: str = "UTC",
    collected: Together | None = None,
    held_back: int = 0,
    bounds: Bounds = DEFAULTS,
) -> Note:
    """The message. Never raises for a template that fails: what it can't say is left out, and a line says so. `collected`:
    the events that it is about, where they are several; `held_back`: of its kind, since the last one.
    """
    template = template or builtin(default_for(event))
    ours = [Link(_LINKS[link.text][language] if link.text in _LINKS else link.text, link.url) for link in links]
    writer = _Writer(
        {
            "event": view(event, facts),
            "rule": rule,
            "key": "",
            "links": [{"text": link.text, "url": link.url} for link in ours],
            "now": now.isoformat() if now else None,
            "language": language,
            "time_zone": time_zone,
            "collected": plain(collected),
        },
        bounds,
    )
    title = writer.line("title", template.title.of(language)) or f"{event.type} {event.subject}".strip()
    told = [_fact(writer, line, language) for line in template.facts]
    told += _readings(event, language) if template.readings else []
    told += [_unknown(name, facts, language) for name in sorted(needs(template))]
    told += [_held_back(held_back, language)] if held_back else []
    severity = _SEVERITIES.get(writer.line("severity", template.severity), "info")
    text = writer.text("text", template.text.of(language))
    short = writer.line("short", template.short.of(language)) or title
    code = writer.text("code", template.code)
    own = [
        Link(writer.line("links", line.text.of(language)), writer.line("links", line.url)) for line in template.links
    ]
    return Note(
        title=formats.short(title, 300),
        text=text,
        short=formats.short(short, 500),
        severity=severity,
        language=language,
        facts=tuple(fact for fact in [*told, *writer.problems()] if fact and fact.value)[:_FACTS],
        table=_table(facts.metrics) if template.metrics else _table(_reached(event)) if template.outcome else (),
        code=code,
        links=_once([*own, *ours]),
    )


def titled(event: Event, facts: Facts, language: Language) -> str:
    """The event in a few words, as its own message begins."""
    return render(None, event, facts, language=language).title


def _once(links: Sequence[Link]) -> tuple[Link, ...]:
    """Each address once, under the words that come first."""
    found: dict[str, Link] = {}
    for link in links:
        if link.url:
            found.setdefault(link.url, link)
    return tuple(found.values())


def _fact(writer: "_Writer", line: FactLine, language: Language) -> Fact | None:
    if line.when and writer.line("when", line.when).casefold() in {"", "false", "0"}:
        return None
    name = writer.line("facts", line.name.of(language))
    return Fact(name, formats.short(writer.text(name, line.value.of(language)), 1000))


def _readings(event: Event, language: Language) -> list[Fact | None]:
    """What each gate says, a line each. The sentence begins with the name of its gate."""
    rows = event.data.get("readings")
    told: list[Fact | None] = []
    for row in rows if isinstance(rows, list | tuple) else ():
        if isinstance(row, Mapping):
            said = str((row.get("said_ja") if language == "ja" else None) or row.get("said") or "")
            name, _, rest = said.partition(": ")
            told.append(Fact(name, formats.short(rest, 300)) if rest else Fact(str(row.get("gate", "")), said[:300]))
    return told


def _held_back(n: int, language: Language) -> Fact:
    name, words = _HELD_BACK[language]
    return Fact(name, words.format(n=n))


def _unknown(lookup: Lookup, facts: Facts, language: Language) -> Fact | None:
    """Nobody knows: that is told too."""
    reason = facts.unknown.get(lookup)
    if reason is None:
        return None
    name, words = _UNKNOWN[lookup][language]
    return Fact(name, f"{words} ({formats.short(reason, 200)})")


def _reached(event: Event) -> dict[str, float]:
    """The metrics of what was followed to its end."""
    values = event.data.get("values")
    metrics = values.get("metrics") if isinstance(values, Mapping) else None
    rows = metrics.items() if isinstance(metrics, Mapping) else ()
    return {str(name): value for name, value in rows if isinstance(value, int | float)}


def _table(metrics: Mapping[str, float] | None) -> tuple[Fact, ...]:
    return tuple(Fact(name, formats.number(value)) for name, value in list((metrics or {}).items())[:_METRICS])


class _Writer:
    """Renders the texts of one message, and remembers which it could not."""

    def __init__(self, context: Mapping[str, object], bounds: Bounds) -> None:
        self._context = context
        self._bounds = bounds
        self._failed: dict[str, str] = {}

    def text(self, what: str, source: str) -> str:
        if not _is_template(source):
            return source.strip()
        from shared.messages import sandbox

        try:
            return sandbox.text(source, self._context, self._bounds).strip()
        except ValueError as error:
            self._failed[what] = formats.short(error, 200)
            return ""

    def line(self, what: str, source: str) -> str:
        return " ".join(self.text(what, source).split())

    def problems(self) -> list[Fact]:
        return [Fact("Template", f"{what}: {reason}") for what, reason in self._failed.items()]


def fill(value: object, event: Event, facts: Facts, extra: Mapping[str, object], bounds: Bounds = DEFAULTS) -> object:
    """The value, with every template in it rendered. A text that is one `{{ expression }}` keeps a number or a boolean.

    What is missing renders to nothing. An expression that fails raises PermanentError: an action must not be done with
    half of its parameters. No event can bring in a secret: of `${NAME}`, only what the rule itself says stays one.
    """
    context: dict[str, object] = {}  # made when the first template is met

    def filled(part: object) -> object:
        if isinstance(part, Mapping):
            return {name: filled(inner) for name, inner in part.items()}
        if isinstance(part, list | tuple):
            return [filled(inner) for inner in part]
        if not isinstance(part, str) or not _is_template(part):
            return part
        from shared.messages import sandbox

        context.update({} if context else {"language": "en", "event": view(event, facts), **extra})
        try:
            found = sandbox.value(part, context, bounds)
        except ValueError as error:
            raise PermanentError(f"the template {formats.short(part, 120)!r} can't be rendered: {error}") from error
        return _without_secrets(found, part) if isinstance(found, str) else found

    return filled(value)


def _without_secrets(text: str, source: str) -> str:
    """`${NAME}` that came with a value is broken up, so that no action takes it for a setting."""
    return _SECRET.sub(
        lambda found: "${" if text[found.start() : text.index("}", found.end()) + 1] in source else "$ {", text
    )
