"""switchyard.yaml as types: who is told, what can be started, where. Each entry stands or falls alone."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared import messages
from shared.actions import Language, SecretName
from shared.actions.email import Address
from shared.actions.retrain import Input, Place
from shared.actions.sms import Number
from shared.rollout import hours
from shared.rules.report import Report, has_template
from shared.rules.tree import Node, nearest
from shared.rules.written import Text, Zone, listed

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


class Receiver(_Strict):
    """Who is told, and how. A notification goes to every channel given here."""

    language: Language | None = Field(default=None, description="Of its messages; left out, that of `defaults`.")
    teams: _Urls = Field(default=(), description="Webhook URLs of Teams Workflows, as ${NAME}.")
    email: _Addresses = Field(default=(), description="Mail addresses.")
    sms: _Numbers = Field(default=(), description="Phone numbers with their country: +818012345678.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not (self.teams or self.email or self.sms):
            raise ValueError("a receiver that nothing reaches: expected at least one of teams, email, sms")
        return self


def _length(value: object) -> object:
    length = hours.seconds(value) if isinstance(value, str) else None
    if not length:
        raise ValueError(f"{value!r} is no length of time: expected one such as '6h', '90m' or '1d12h'")
    return length


type Length = Annotated[
    float,
    BeforeValidator(_length, json_schema_input_type=Annotated[str, Field(pattern=r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$")]),
]


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
    cooldown: Length | None = Field(default=None, description="How long after a start none is started again.")
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


class Defaults(_Strict):
    language: Language = Field(default="en", description="Of messages, where a receiver has none.")
    time_zone: Zone = Field(default="UTC", description="Of times in messages.")
    tell: str | None = Field(
        default=None, description="The receiver that is told of failed actions and of events that could not be read."
    )


class Limits(_Strict):
    attempts: int = Field(default=8, ge=1, le=20, description="Tries of one action before it counts as failed.")
    depth: int = Field(
        default=3, ge=1, le=20, description="Our own actions in a chain of causes, before it counts as a loop."
    )


class Config(_Strict):
    """config/switchyard.yaml: the receivers, pipelines and workspaces that rules name."""

    workspaces: dict[str, Place] = Field(default={}, description="Workspaces by a short name.")
    defaults: Defaults = Defaults()
    receivers: dict[str, Receiver] = {}
    pipelines: dict[str, Pipeline] = {}
    limits: Limits = Limits()


LATER: Final = {"calendars", "schedules", "silences", "budgets"}


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
    if defaults.tell is not None and defaults.tell not in receivers:
        known = sections["receivers"].items if "receivers" in sections else {}
        if defaults.tell not in known:
            at = sections["defaults"].items["tell"].at
            report.say(at, f"unknown receiver {defaults.tell!r}{nearest(defaults.tell, known)}")
        defaults = defaults.model_copy(update={"tell": None})
    limits = _section(Limits, sections.get("limits"), "limits", report) or Limits()
    return Config(workspaces=workspaces, defaults=defaults, receivers=receivers, pipelines=pipelines, limits=limits)


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


def check_templates(node: Node, report: Report) -> None:
    """The syntax of every template in a tree of values."""
    if isinstance(node.value, str) and has_template(node.value):
        error = messages.check(node.value)
        if error:
            report.say(node.at, f"not a template: {error}")
    for inner in [*node.items.values(), *node.list]:
        check_templates(inner, report)
