"""switchyard.yaml as types: who is told, what can be started, where. Each entry stands or falls alone."""

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared import messages
from shared.actions import Language, SecretName
from shared.actions._place import Place
from shared.actions.email import Address
from shared.actions.retrain import Input
from shared.actions.sms import Number
from shared.calendars import Calendar, Schedule
from shared.record import KEEP
from shared.rollout.hours import written
from shared.rules.calendars import CalendarEntry, ScheduleEntry, calendars, schedules, sound_calendars, sound_schedules
from shared.rules.report import Report, has_template
from shared.rules.tree import Node, nearest
from shared.rules.written import Minutes, Seconds, Text, Zone, between, listed

FILE: Final = "switchyard.yaml"
_SOURCE: Final = re.compile(r"azureml:[A-Za-z0-9][\w.-]*(:[\w.-]+|@\w+)")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _source(text: str) -> str:
    if text.startswith("azureml:") and not _SOURCE.fullmatch(text):
        raise ValueError(f"{text!r} is no component: expected azureml:NAME:VERSION")
    if not text.startswith("azureml:") and not re.fullmatch(r"pipelines/.+\.ya?ml", text):
        raise ValueError(f"{text!r}: expected azureml:NAME:VERSION, or a file such as pipelines/train.yml")
    return text


type _Urls = Annotated[
    tuple[SecretName, ...], BeforeValidator(listed, json_schema_input_type=SecretName | list[SecretName])
]
type _Addresses = Annotated[
    tuple[Address, ...], BeforeValidator(listed, json_schema_input_type=Address | list[Address])
]
type _Numbers = Annotated[tuple[Number, ...], BeforeValidator(listed, json_schema_input_type=Number | list[Number])]


type ChannelName = Literal["sms", "email", "teams"]

_LONGEST: Final = 7 * 86_400.0


class Channels(_Strict):
    """Ways to reach somebody."""

    teams: _Urls = Field(default=(), description="Webhook URLs of Teams Workflows, as ${NAME}.")
    email: _Addresses = Field(default=(), description="Mail addresses.")
    sms: _Numbers = Field(default=(), description="Phone numbers with their country: +818012345678.")
    on_call: Text | None = Field(default=None, description="One of `schedules`: whoever is on call then.")
    by: ChannelName = Field(default="sms", description="How the one on call is told.")

    @model_validator(mode="after")
    def _by_whom(self) -> Self:
        if "by" in self.model_fields_set and self.on_call is None:
            raise ValueError("'by' is how the one on call is told: it goes with 'on_call'")
        return self

    def channels(self) -> frozenset[ChannelName]:
        """Those with an address here."""
        given: dict[ChannelName, tuple[str, ...]] = {"teams": self.teams, "email": self.email, "sms": self.sms}
        return frozenset(name for name, addresses in given.items() if addresses)


class Later(Channels):
    """A step that is taken unless somebody has acknowledged the event by then: by channels given here, whoever is on call, or
    (`notify`) all channels of another receiver, without the later steps of that.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["on_call"]},
                {"required": ["notify"]},
                {"anyOf": [{"required": [one]} for one in ("teams", "email", "sms")]},
            ],
            "dependentRequired": {"by": ["on_call"]},
        }
    )

    after: Annotated[Seconds, between(1, _LONGEST)] = Field(description="Behind the event: 10m, 1h30m.")
    notify: Text | None = Field(default=None, description="Another receiver.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = [bool(self.channels()), self.on_call is not None, self.notify is not None]
        if ways.count(True) != 1:
            found = "several" if any(ways) else "none"
            raise ValueError(
                f"a later step has one way, found {found}: on_call, notify, or channels (teams, email, sms)"
            )
        return self


class Receiver(Channels):
    """Who is told, and how. A notification goes to every channel given here."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [one]} for one in ("teams", "email", "sms", "on_call")],
            "dependentRequired": {"by": ["on_call"]},
        }
    )

    language: Language | None = Field(default=None, description="Of its messages; left out, that of `defaults`.")
    escalate: tuple[Later, ...] = Field(
        default=(), description="What follows, unless somebody acknowledges it: the earliest first."
    )

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not self.channels() and self.on_call is None:
            raise ValueError("a receiver that nothing reaches: expected at least one of teams, email, sms, on_call")
        return self


class Spend(_Strict):
    """How much, at most. `cost` is in the unit of the pipelines' own `cost`."""

    runs: Annotated[int, Field(ge=0)] | None = None
    cost: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.runs is None and self.cost is None:
            raise ValueError("a budget that limits nothing: expected runs, cost or both")
        return self


class Budget(_Strict):
    """Days and months as in the time zone of `defaults`."""

    day: Spend | None = None
    month: Spend | None = None


class Pipeline(_Strict):
    """A training pipeline that a rule can start with `retrain`. Texts may be templates."""

    source: Annotated[str, AfterValidator(_source)] = Field(
        description="A registered component, azureml:NAME:VERSION, or a file under pipelines/."
    )
    experiment: Text
    workspace: str | None = Field(default=None, description="One of `workspaces`; left out, the event's own.")
    inputs: dict[str, Input] = {}
    tags: dict[str, Input] = {}
    compute: str | None = None
    display_name: str | None = None
    cooldown: Annotated[Seconds, between(60, 31 * 86_400)] | None = Field(
        default=None, description="How long after a start none is started again."
    )
    concurrency: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Runs at the same time.")
    cost: Annotated[float, Field(ge=0)] | None = Field(default=None, description="Of one run, in a unit of your own.")
    budget: Budget | None = Field(default=None, description="What its runs may come to.")

    @model_validator(mode="after")
    def _costed(self) -> Self:
        limits = (self.budget.day, self.budget.month) if self.budget else ()
        if self.cost is None and any(limit and limit.cost is not None for limit in limits):
            raise ValueError("a budget of cost, and nobody says what a run costs: expected 'cost' beside it")
        return self


GUARDS: Final = frozenset({"cooldown", "concurrency", "cost", "budget"})
"""Of a pipeline: what is said about its runs, and not to a run."""


def _unless_off(value: object) -> object:
    return None if value == "off" else value


class Defaults(_Strict):
    language: Language = Field(default="en", description="Of messages, where a receiver has none.")
    time_zone: Zone = Field(default="UTC", description="Of times in messages, calendars and schedules.")
    digest: Annotated[Minutes | None, BeforeValidator(_unless_off)] = Field(
        default=9 * 60, description="When `tell` hears how much was held back, as '09:00'; off for never."
    )
    tell: str | None = Field(
        default=None, description="The receiver that is told of failed actions and of events that could not be read."
    )


class Limits(_Strict):
    attempts: int = Field(default=8, ge=1, le=20, description="Tries of one action before it counts as failed.")
    depth: int = Field(
        default=3, ge=1, le=20, description="Our own actions in a chain of causes, before it counts as a loop."
    )
    follow: Annotated[Seconds, between(3600, 30 * 86_400)] = Field(
        default=3 * 86_400.0,
        description="How long what was started is followed, before nobody can tell how it went: 3d, 12h.",
        json_schema_extra={"default": "3d"},
    )


DAY: Final = 86_400.0
SHORTEST_KEPT: Final = 7 * DAY
"""A message may wait on a storage queue for a week, and from its record it is known that its event was here."""

LONGEST_KEPT: Final = 3660 * DAY

type _Kept = Annotated[Seconds, between(SHORTEST_KEPT, LONGEST_KEPT)]


class Retention(_Strict):
    """How long what came is kept."""

    records: _Kept = Field(
        default=KEEP.total_seconds(),
        description="A record, where no rule that matched says `keep`: 30d.",
        json_schema_extra={"default": "30d"},
    )
    unmatched: _Kept | None = Field(
        default=None, description="The record of an event that no rule matched; left out, as `records`."
    )
    archive: Annotated[Seconds, between(DAY, LONGEST_KEPT)] = Field(
        default=90 * DAY,
        description="An event in the archive: 90d.",
        json_schema_extra={"default": "90d"},
    )


class Config(_Strict):
    """config/switchyard.yaml: the receivers, pipelines and workspaces that rules name."""

    workspaces: dict[str, Place] = Field(default={}, description="Workspaces by a short name.")
    defaults: Defaults = Defaults()
    receivers: dict[str, Receiver] = {}
    pipelines: dict[str, Pipeline] = {}
    calendars: dict[str, CalendarEntry] = Field(default={}, description="Times, for `active` and `mute` of rules.")
    schedules: dict[str, ScheduleEntry] = Field(default={}, description="Who is on call.")
    limits: Limits = Limits()
    retention: Retention = Retention()

    @property
    def archived(self) -> timedelta:
        """How long the archive keeps an event."""
        return timedelta(seconds=self.retention.archive)

    @cached_property
    def hours(self) -> Mapping[str, Calendar]:
        """The calendars, to be asked."""
        return calendars(self.calendars, self.defaults.time_zone)

    @cached_property
    def rotas(self) -> Mapping[str, Schedule]:
        """The schedules, to be asked."""
        return schedules(self.schedules, self.hours, self.defaults.time_zone)


LATER: Final = {"silences", "budgets"}


def read_config(node: Node | None, report: Report, files: Mapping[str, str]) -> Config:
    """What is valid of switchyard.yaml; an entry with a mistake is left out, its mistakes said."""
    if node is None or not report.mapping(node, "sections such as receivers and pipelines"):
        return Config()
    report.secrets(node)
    for name, at in node.keys.items():
        if name in LATER:
            report.say(at, f"this version does not support {name!r} yet: leave it out")
        elif name not in Config.model_fields:
            report.say(at, f"unknown key {name!r}{nearest(name, Config.model_fields)}")
    sections = node.items
    workspaces = _entries(Place, sections.get("workspaces"), "workspaces", report)
    receivers = _entries(Receiver, sections.get("receivers"), "receivers", report)
    pipelines = _pipelines(sections.get("pipelines"), workspaces, report, files)
    defaults = _section(Defaults, sections.get("defaults"), "defaults", report) or Defaults()
    found = _entries(CalendarEntry, sections.get("calendars"), "calendars", report)
    hours = sound_calendars(found, sections.get("calendars"), defaults.time_zone, report)
    rotas = sound_schedules(
        _entries(ScheduleEntry, sections.get("schedules"), "schedules", report),
        sections.get("schedules"),
        {name: sections[name].items if name in sections else {} for name in ("receivers", "calendars")},
        {"receivers": receivers, "calendars": hours},
        report,
    )
    limits = _section(Limits, sections.get("limits"), "limits", report) or Limits()
    retention = _section(Retention, sections.get("retention"), "retention", report) or Retention()
    config = Config(
        workspaces=workspaces,
        defaults=defaults,
        receivers=receivers,
        pipelines=pipelines,
        calendars=hours,
        schedules=rotas,
        limits=limits,
        retention=retention,
    )
    receivers = sound_receivers(config, sections, report)
    if defaults.tell is not None and defaults.tell not in receivers:
        known = sections["receivers"].items if "receivers" in sections else {}
        if defaults.tell not in known:
            at = sections["defaults"].items["tell"].at
            report.say(at, f"unknown receiver {defaults.tell!r}{nearest(defaults.tell, known)}")
        defaults = defaults.model_copy(update={"tell": None})
    return config.model_copy(update={"receivers": receivers, "defaults": defaults})


def _section[M: BaseModel](kind: type[M], node: Node | None, name: str, report: Report) -> M | None:
    if node is None or not report.mapping(node, name):
        return None
    return report.model(kind, node.plain(), node, lenient=frozenset())


def _entries[M: BaseModel](kind: type[M], node: Node | None, name: str, report: Report) -> dict[str, M]:
    if node is None or not report.mapping(node, name):
        return {}
    found = {}
    for key, entry in node.items.items():
        if not report.mapping(entry, f"what {key!r} is"):
            continue
        value = report.model(kind, entry.plain(), entry, lenient=frozenset())
        if value is not None:
            found[key] = value
    return found


def _pipelines(
    node: Node | None, workspaces: Mapping[str, Place], report: Report, files: Mapping[str, str]
) -> dict[str, Pipeline]:
    found = _entries(Pipeline, node, "pipelines", report)
    for name, pipeline in list(found.items()):
        assert node is not None
        entry, before = node.items[name], len(report.problems)
        if pipeline.workspace is not None and pipeline.workspace not in workspaces:
            at = entry.items["workspace"].at
            report.say(at, f"unknown workspace {pipeline.workspace!r}{nearest(pipeline.workspace, workspaces)}")
        if not pipeline.source.startswith("azureml:") and pipeline.source not in files:
            known = [file for file in files if file.startswith("pipelines/")]
            report.say(entry.items["source"].at, f"no such file {pipeline.source!r}{nearest(pipeline.source, known)}")
        check_templates(entry, report)
        if len(report.problems) > before:
            del found[name]
    return found


def sound_receivers(config: Config, sections: Mapping[str, Node], report: Report) -> dict[str, Receiver]:
    """Those whose later steps reach somebody, and who name nobody with a mistake."""
    said = _Escalations(config, sections, report)
    left = {name: receiver for name, receiver in config.receivers.items() if said.sound(name, receiver)}
    while bad := [name for name, receiver in left.items() if not left.keys() >= _named(receiver, config)]:
        for name in bad:
            del left[name]
    return left


def _named(receiver: Receiver, config: Config) -> set[str]:
    """The other receivers that it may reach."""
    named = {later.notify for later in receiver.escalate if later.notify is not None}
    rotas = [config.rotas[one.on_call] for one in (receiver, *receiver.escalate) if one.on_call is not None]
    return named.union(*(rota.anybody() for rota in rotas))


class _Escalations:
    """What receivers say of each other and of schedules."""

    def __init__(self, config: Config, sections: Mapping[str, Node], report: Report) -> None:
        self._config = config
        self._sections = sections
        self._report = report

    def sound(self, name: str, receiver: Receiver) -> bool:
        node = self._sections["receivers"].items[name]
        good = self._on_call(receiver, node)
        before = 0.0
        for n, later in enumerate(receiver.escalate):
            at = node.items["escalate"].list[n]
            if later.after < before:
                self._report.say(
                    at.items["after"].at, f"after {written(later.after)} stands behind a later one: the earliest first"
                )
                good = False
            before = max(before, later.after)
            good = self._on_call(later, at) and self._notify(later, at) and good
        return good

    def _on_call(self, one: Channels, node: Node) -> bool:
        """Everybody who may be on call has the channel."""
        if one.on_call is None:
            return True
        schedule = self._config.rotas.get(one.on_call)
        if schedule is None:
            return self._unknown("schedule", one.on_call, node.items["on_call"])
        at = node.items.get("by", node.items["on_call"]).at
        for who in schedule.anybody():
            person = self._config.receivers[who]
            if one.by not in person.channels():
                self._report.say(at, f"{who!r}, who may be on call in {one.on_call!r}, has no {one.by}")
                return False
            if one.by == "teams" and len(person.teams) > 1:
                said = f"{who!r}, who may be on call in {one.on_call!r}, has {len(person.teams)} addresses in teams, expected one"
                self._report.say(at, said)
                return False
        return True

    def _notify(self, later: Later, node: Node) -> bool:
        if later.notify is None or later.notify in self._config.receivers:
            return True
        return self._unknown("receiver", later.notify, node.items["notify"])

    def _unknown(self, what: str, name: str, node: Node) -> bool:
        """False. One with a mistake of its own has been told of already."""
        section = self._sections.get(f"{what}s")
        known = section.items if section else {}
        if name not in known:
            self._report.say(node.at, f"unknown {what} {name!r}{nearest(name, known)}")
        return False


def check_templates(node: Node, report: Report) -> None:
    """The syntax of every template in a tree of values."""
    if isinstance(node.value, str) and has_template(node.value):
        error = messages.check(node.value, report.bounds)
        if error:
            report.say(node.at, f"not a template: {error}")
    for inner in [*node.items.values(), *node.list]:
        check_templates(inner, report)
