"""What Azure documents of the events that rules know: where in the envelope or the payload, and in which spelling, the
value of a field stands. Only what a filter may rely on is here.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from shared.events import AZURE_ML, BREACH

type Shape = Literal["text", "status", "inside", "container", "blob", "folder", "file"]
"""How the field's value stands in that of the key: as it is; as it is in any case (`status`); as some part of it; as a
container's or a blob's name in a subject, or what stands in that before and behind the last slash."""

type Kind = Literal["workspace", "storage account", "other"]


class Place(Struct, frozen=True):
    """Where a field's value stands."""

    key: str
    shape: Shape = "text"


class Payload(Struct, frozen=True):
    """One way for an event of a type to come. `parts`: of run, model, endpoint, drift and blob, those that it has;
    `missing`: fields of these that it never has. `always`: fields with one value whatever the event. `tags`, `properties`: the keys of these tables. `keys`: further ones of
    the payload, each a text. `has`: the key without which it is no event of this type.
    """

    type: str
    raw: str
    kind: Kind = "other"
    parts: frozenset[str] = frozenset()
    fields: Mapping[str, Place] = {}
    missing: frozenset[str] = frozenset()
    tags: str = ""
    properties: str = ""
    keys: tuple[str, ...] = ()
    has: str = ""
    always: Mapping[str, str] = {}

    @property
    def known(self) -> bool:
        """Somebody documented it."""
        return self.kind != "other"


RUN_COMPLETED: Final = f"{AZURE_ML}RunCompleted"
RUN_STATUS_CHANGED: Final = f"{AZURE_ML}RunStatusChanged"
RUN_TAGS: Final = "data.runTags"
RUN_PROPERTIES: Final = "data.runProperties"
STATUS: Final = "data.runStatus"
RUN_TYPE: Final = "data.runType"
RUN_TEMPLATE: Final = f"{RUN_PROPERTIES}.runTemplate"
_BREACH: Final = f"{RUN_TAGS}.{BREACH}"

_RUN: Final = {
    "run.id": Place("data.runId"),
    "run.type": Place(RUN_TYPE),
    "run.experiment": Place("data.experimentName"),
}
_RUN_KEYS: Final = ("experimentId", "experimentName", "runId", "runType")
_CHANGED: Final = {**_RUN, "run.status": Place(STATUS, "status")}


def _run(kind: str, raw: str, fields: Mapping[str, Place], *keys: str, **always: str) -> Payload:
    return Payload(
        kind,
        raw,
        "workspace",
        frozenset({"run"}),
        fields,
        tags=RUN_TAGS,
        properties=RUN_PROPERTIES,
        keys=(*_RUN_KEYS, *keys),
        always={f"run.{name}": value for name, value in always.items()},
    )


PAYLOADS: Final = (
    _run("RunCompleted", RUN_COMPLETED, _RUN, status="Completed"),
    _run("RunStatusChanged", RUN_STATUS_CHANGED, _CHANGED, "runStatus"),
    Payload(
        "DriftDetected",  # of a v2 model monitor, whose tag says it
        RUN_STATUS_CHANGED,
        "workspace",
        frozenset({"run", "drift"}),
        # The monitor's name may stand elsewhere: in a tag of its own, or it is the experiment's.
        {**_CHANGED, "drift.signal": Place(_BREACH, "inside")},
        frozenset(),  # what the tag does not say, a lookup may
        RUN_TAGS,
        RUN_PROPERTIES,
        (*_RUN_KEYS, "runStatus"),
        _BREACH,
    ),
    Payload(
        "DriftDetected",  # of a v1 dataset monitor
        f"{AZURE_ML}DatasetDriftDetected",
        "workspace",
        frozenset({"run", "drift"}),
        {"drift.baseline": Place("data.BaseDatasetId"), "drift.target": Place("data.TargetDatasetId")},
        frozenset({"drift.features", "run.type", "run.status", "run.experiment"}),
        keys=("DataDriftId", "DataDriftName", "RunId", "BaseDatasetId", "TargetDatasetId"),
        always={"drift.signal": "data_drift"},
    ),
    Payload(
        "ModelRegistered",
        f"{AZURE_ML}ModelRegistered",
        "workspace",
        frozenset({"model"}),
        {"model.name": Place("data.ModelName")},  # the version comes as a number or as a text
        tags="data.ModelTags",
        properties="data.ModelProperties",
        keys=("ModelName",),
    ),
    Payload(
        "ModelDeployed",
        f"{AZURE_ML}ModelDeployed",
        "workspace",
        frozenset({"model", "endpoint"}),
        {
            "endpoint.name": Place("data.ServiceName"),
            "endpoint.compute": Place("data.ServiceComputeType"),
            "endpoint.models": Place("data.ModelIds", "inside"),
            "model.name": Place("data.ModelIds", "inside"),
        },
        tags="data.ServiceTags",
        properties="data.ServiceProperties",
        keys=("ServiceName", "ServiceComputeType", "ModelIds"),
    ),
    Payload(
        "BlobCreated",
        "Microsoft.Storage.BlobCreated",
        "storage account",
        frozenset({"blob"}),
        {
            "blob.container": Place("subject", "container"),
            "blob.name": Place("subject", "blob"),
            "blob.url": Place("data.url"),
            "blob.folder": Place("subject", "folder"),
            "blob.file": Place("subject", "file"),
            "blob.folder_url": Place("data.url", "inside"),
        },
        keys=("api", "contentType", "blobType", "url"),
    ),
)

_POLICY: Final = (
    *("complianceState", "complianceReasonCode", "policyAssignmentId", "policyDefinitionId"),
    *("policyDefinitionReferenceId", "subscriptionId"),
)
_HEALTH: Final = tuple(
    f"resourceInfo.properties.{name}" for name in ("targetResourceId", "targetResourceType", "occurredTime")
)
_OTHERS: Final[Mapping[str, tuple[str, ...]]] = {
    **{f"Microsoft.PolicyInsights.PolicyState{what}": _POLICY for what in ("Created", "Changed", "Deleted")},
    "Microsoft.ResourceNotifications.HealthResources.AvailabilityStatusChanged": (
        *_HEALTH,
        "resourceInfo.properties.availabilityState",
        "resourceInfo.properties.previousAvailabilityState",
    ),
    "Microsoft.ResourceNotifications.HealthResources.ResourceAnnotated": (
        *_HEALTH,
        *(f"resourceInfo.properties.{name}" for name in ("annotationName", "context", "category", "impactType")),
    ),
}
"""Events that subscriptions raise about their resources: the keys of their payloads that are documented, each a text."""


def other(kind: str) -> Payload:
    """An event that is known by its full type: of most payloads nothing is documented here."""
    where: Kind = "workspace" if kind.casefold().startswith(AZURE_ML.casefold()) else "other"
    return Payload(kind, kind, where, keys=_OTHERS.get(kind, ()))
