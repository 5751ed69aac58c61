"""What the service can do: one file per action, file name = action name. The folder is the registry."""

import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Annotated, Literal

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, InstanceOf, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from shared.events import Event
from shared.record import Facts, Progress, Result
from shared.rollout.policy import Policy
from shared.world import World

type SecretName = Annotated[str, StringConstraints(pattern=r"^\$\{[A-Z][A-Z0-9_]*\}$")]
"""A secret as configuration holds it: `${NAME}`, never the value."""

type Severity = Literal["good", "info", "warning", "bad"]
type Language = Literal["en", "ja"]


class Link(Struct, frozen=True):
    text: str
    url: str


class Fact(Struct, frozen=True):
    name: str
    value: str


class Picture(Struct, frozen=True):
    """A PNG, with what it shows in words, and how its signs are read."""

    png: bytes
    alt: str
    legend: str = ""


class Note(Struct, frozen=True):
    """A message, rendered, before a channel gives it its shape. `short` fits one SMS; `table` is for metrics."""

    title: str
    text: str
    short: str
    severity: Severity
    language: Language
    facts: tuple[Fact, ...] = ()
    table: tuple[Fact, ...] = ()
    code: str = ""
    """Verbatim text, such as the error of a failed run."""
    links: tuple[Link, ...] = ()
    pictures: tuple[Picture, ...] = ()


class Params(BaseModel):
    """What a rule says to an action. Strings may be templates in the rule; here they are rendered and checked."""

    # A template that is one expression keeps its number; where a string is asked for, its digits are meant.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Channel(Params):
    """Parameters of an action that tells people: `perform` renders `template` in `language` into `note`."""

    template: str = ""
    language: Language = "en"
    note: SkipJsonSchema[InstanceOf[Note] | None] = None


@dataclass(frozen=True)
class Context:
    """What an action may know beside its parameters. `again`: an earlier try may have had its effect already."""

    key: str
    world: World
    cause: Mapping[str, str]
    """Dot-free tags that say why: event, rule, depth. For everything we start."""
    event: Event
    facts: Facts
    again: bool = False
    keys: tuple[str, ...] = ()
    """What an absence rule knows the event by."""
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """Rollout policies in force, by name; `config`: the version of the configuration that they are of."""
    config: str = ""


type Look = Callable[[Mapping[str, object], datetime, World], Awaitable[Progress]]
"""How what was started at this moment stands now: it is found by `Result.follow`. Raises TemporaryError where asking again may
help, and PermanentError where nobody will ever tell. Asks, and changes nothing.
"""


@dataclass(frozen=True)
class Action[P: Params]:
    """`example` is shown in the docs and run by the contract test. `idempotent`: the far side makes twice the same as
    once under our key, so that a repetition needs no warning. `look`: of an action that starts something which goes on.
    """

    example: P
    run: Callable[[P, Context], Awaitable[Result]]
    idempotent: bool
    summary: str
    internal: bool = False
    """Nobody writes it: a rule of another kind is made of it."""
    look: Look | None = None


@cache
def discover() -> Mapping[str, Action[Params]]:
    """Every action of the folder by its name."""
    found: dict[str, Action[Params]] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            found[module.name] = import_module(f"{__name__}.{module.name}").ACTION
    return found
