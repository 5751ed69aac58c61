"""switchyard.yaml as types: who is told, what can be started, where. Each entry stands or falls alone."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from shared import messages
from shared.actions import Language, SecretName
from shared.actions.email import Address
from shared.actions.retrain import Input, Place
from shared.actions.sms import Number
from shared.rules.report import Report, has_template
from shared.rules.tree import Node, nearest

FILE: Final = "switchyard.yaml"
_SOURCE: Final = re.compile(r"azureml:[A-Za-z0-9][\w.-]*(:[\w.-]+|@\w+)")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def listed(value: object) -> object:
    """One stands for a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}: expected a name such as 'Asia/Tokyo' or 'UTC'") from error
    return name


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
type Zone = Annotated[str, AfterValidator(_zone)]
type _Text = Annotated[str, StringConstraints(min_length=1)]


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


class Pipeline(_Strict):
    """A training pipeline that a rule can start with `retrain`. Texts may be templates."""

    source: Annotated[str, AfterValidator(_source)] = Field(
        description="A registered component, azureml:NAME:VERSION, or a file under pipelines/."
    )
    experiment: _Text
    workspace: str | None = Field(default=None, description="One of `workspaces`; left out, the event's own.")
    inputs: dict[str, Input] = {}
    tags: dict[str, Input] = {}
    compute: str | None = None
    display_name: str | None = None


class Defaults(_Strict):
    language: Language = Field(default="en", description="Of messages, where a receiver has none.")
    time_zone: Zone = Field(default="UTC", description="Of times in messages.")
    tell: str | None = Field(
        default=None, description="The receiver that is told of failed actions and of events that could not be read."
    )


class Limits(_Strict):
    attempts: int = Field(default=8, ge=1, le=20, description="Tries of one action before it counts as failed.")
    archive_days: int = Field(default=90, ge=1, le=3660, description="Days for which the archive keeps an event.")


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
