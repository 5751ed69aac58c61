"""Where an action works: the workspace that a rule names, or that of the event."""

from typing import get_args

from pydantic import BaseModel, Field

from shared.actions import Params
from shared.actions._text import place_of
from shared.events import Event
from shared.record import WorkspaceRef


class Place(Params):
    """Where a workspace is. In a rule, its name in switchyard.yaml stands for all three."""

    subscription: str = Field(min_length=1)
    resource_group: str = Field(min_length=1)
    workspace: str = Field(min_length=1)


def where(place: Place | None, event: Event) -> WorkspaceRef:
    if place is None:
        return place_of(event)
    return WorkspaceRef(place.subscription, place.resource_group, place.workspace)


def placed(kind: type[BaseModel]) -> bool:
    """Whether the action takes a `workspace` that may be named by its short name."""
    field = kind.model_fields.get("workspace")
    return field is not None and Place in (field.annotation, *get_args(field.annotation))
