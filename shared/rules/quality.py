"""config/quality/<name>.yaml: the file as types, held against everything it names, as the Watch that windows are judged by."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from shared.quality.rows import text_of
from shared.quality.watch import (
    CLASSES,
    LOWER_IS_BETTER,
    NUMBERS,
    Ask,
    Asset,
    Blob,
    Bound,
    Collector,
    Logs,
    Metric,
    Predictions,
    Source,
    Truth,
    Watch,
)
from shared.record import WorkspaceRef
from shared.rollout.hours import written
from shared.rules.report import Report
from shared.rules.steps import Known
from shared.rules.tree import Node, nearest
from shared.rules.written import Seconds, Text, Texts, Zone, between

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_ASSET: Final = re.compile(r"azureml:(?P<name>[A-Za-z0-9][\w.-]*)(?::(?P<version>[\w.-]+)|(?P<label>@\w+))")
_WORKSPACE: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|/subscriptions/.+/providers/.+")
_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER: Final = re.compile(r"[a-z0-9](-?[a-z0-9]){2,62}")
_STEP: Final = re.compile(r"\{([^{}]*)\}")
_STEPS: Final = ("yyyy", "MM", "dd", "HH")
_DAY: Final = 86_400
_ALL: Final = (*CLASSES, *NUMBERS)

_SOURCES: Final = ("logs", "blob", "data", "collector")


def _one_source(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": [source]} for source in _SOURCES]


type _Whole = Annotated[int, Strict()]
type _Class = Annotated[str, BeforeValidator(text_of, json_schema_input_type=str | int | float | bool)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Logs(_Strict):
    """Rows of a query in Log Analytics, also of Application Insights."""

    workspace: Text = Field(description="The id of the Log Analytics workspace, or the ARM id of a resource with logs.")
    query: Text = Field(description="In KQL; it is asked for the time of the window, by TimeGenerated.")


class _Blob(_Strict):
    """JSON lines, JSON arrays or CSV files."""

    account: Text = Field(description="The storage account.")
    container: Text
    path: Text = Field(description="A file, or what names begin with; may hold {yyyy}, {MM}, {dd} and {HH}, in UTC.")


class _Collector(_Strict):
    """What the model data collector keeps of the endpoint's deployments."""

    collection: Text = Field(default="model_outputs", description="Whose rows have a column with the key.")
    datastore: Text = "workspaceblobstore"


class _From(_Strict):
    model_config = ConfigDict(json_schema_extra=_one_source)

    logs: _Logs | None = None
    blob: _Blob | None = None
    data: Text | None = Field(default=None, description="A Data asset: azureml:NAME:VERSION, or azureml:NAME@latest.")
    collector: _Collector | None = None
    key: Text = Field(description="The column by which a prediction and its truth find each other.")


class _Predictions(_From):
    """Where the predictions are, and in which columns."""

    at: Text = Field(description="When it was predicted.")
    score: Text | None = Field(default=None, description="The probability of the positive class.")
    label: Text | None = Field(default=None, description="The class; left out, `score` and `threshold` tell it.")
    value: Text | None = Field(default=None, description="The number that was predicted.")
    version: Text | None = Field(
        default=None, description="Of the model: of a window, the version with the most predictions is judged."
    )


class _Truth(_From):
    """Where the truth is, and in which columns."""

    value: Text = Field(description="What came true.")
    at: Text | None = Field(
        default=None, description="When it became known; left out, it is taken to be when it was first seen."
    )


class _Limits(_Strict):
    """How good is good enough."""

    at_least: float | None = None
    at_most: float | None = None
    drop: float | None = Field(default=None, gt=0, description="Worse than in the training run by at most so much.")


class _Metric(_Limits):
    """One metric."""

    cohorts: _Limits = Field(default=_Limits(), description="What each cohort has to keep.")
    logged_as: Text | None = Field(default=None, description="Its name in the training run, where it has another.")


def _metrics(schema: dict[str, Any]) -> None:
    schema["propertyNames"] = {"enum": list(_ALL)}
    schema["minProperties"] = 1


class WatchFile(_Strict):
    """How good the predictions of a model are, once the truth is known. docs/quality.md explains every key."""

    name: Text = Field(
        description="That of the file, without .yaml.", json_schema_extra={"pattern": f"^{_NAME.pattern}$"}
    )
    model: Text = Field(description="The registered model.")
    endpoint: Text | None = Field(default=None, description="Where it serves: tells the version in production.")
    workspace: Text = Field(description="One of `workspaces` in switchyard.yaml.")
    predictions: _Predictions
    truth: _Truth
    metrics: dict[str, _Metric] = Field(json_schema_extra=_metrics)
    positive: _Class = Field(default="1", description="The class that `score` is the probability of.")
    threshold: float = Field(default=0.5, ge=0, le=1, description="The score from which a prediction is positive.")
    cohorts: Texts = Field(default=(), description="Columns of the predictions: each of their values is a cohort.")
    window: Annotated[Seconds, between(3600, 92 * _DAY)] = Field(default=86_400.0, description="1h, 1d, 7d.")
    time_zone: Zone | None = Field(default=None, description="Of the windows; left out, that of `defaults`.")
    lateness: Annotated[Seconds, between(0, 366 * _DAY)] = Field(
        default=0.0, description="How long after its end a window is due: when most of the truth is known."
    )
    reopen: Annotated[Seconds, between(0, 92 * _DAY)] = Field(
        default=0.0, description="How long from then on truth that comes late may change what was found."
    )
    minimum: _Whole = Field(default=200, ge=20, description="Predictions with a truth; with fewer nothing is said.")
    alpha: float = Field(default=0.05, gt=0, le=0.5, description="The probability of a false alarm in 30 days.")
    patience: Annotated[Seconds, between(3600, 92 * _DAY)] | None = Field(
        default=None, description="How long the quality may be unknown before somebody is told; left out, two windows."
    )


def read_watch(node: Node | None, report: Report, known: Known) -> Watch | None:
    """The watch; None when the report says what is wrong with it."""
    if node is None or not report.mapping(node, "what is known of a model's predictions"):
        return None
    report.secrets(node)
    file = report.model(WatchFile, node.plain(), node, lenient=frozenset())
    if file is None:
        return None
    watch = _Reader(file, node, report, known).watch()
    return None if report.problems else watch


@dataclass(frozen=True)
class _Reader:
    """One file on its way to a watch."""

    file: WatchFile
    node: Node
    report: Report
    known: Known

    def say(self, message: str, *path: object, key: bool = False) -> None:
        self.report.say(self.node.place(path, key=key), message)

    def watch(self) -> Watch:
        file = self.file
        self._name()
        asks = tuple(self._ask(name, one) for name, one in file.metrics.items())
        self._columns()
        self._times()
        zone = file.time_zone or self.known.config.defaults.time_zone
        return Watch(
            name=file.name,
            model=file.model,
            where=self._workspace(),
            endpoint=file.endpoint or "",
            predictions=Predictions(
                self._source("predictions", file.predictions),
                **file.predictions.model_dump(exclude=set(_SOURCES)),
            ),
            truth=Truth(self._source("truth", file.truth), **file.truth.model_dump(exclude=set(_SOURCES))),
            asks=tuple(ask for ask in asks if ask is not None),
            positive=file.positive,
            threshold=file.threshold,
            cohorts=file.cohorts,
            window=file.window,
            zone=zone,
            lateness=file.lateness,
            reopen=file.reopen,
            minimum=file.minimum,
            alpha=file.alpha,
            patience=2 * file.window if file.patience is None else file.patience,
        )

    def _name(self) -> None:
        stem = PurePosixPath(self.report.file).stem
        if not _NAME.fullmatch(self.file.name):
            said = "expected at most 60 of lower-case letters, digits and '-'"
            self.say(f"name {self.file.name!r}: {said}", "name")
        elif self.file.name != stem:
            self.say(f"name {self.file.name!r}: expected that of the file, {stem!r}", "name")

    def _workspace(self) -> WorkspaceRef:
        known = self.known.config.workspaces
        place = known.get(self.file.workspace)
        if place is None:
            self.say(f"unknown workspace {self.file.workspace!r}{nearest(self.file.workspace, known)}", "workspace")
            return WorkspaceRef("", "", "")
        return WorkspaceRef(place.subscription, place.resource_group, place.workspace)

    # Where rows are

    def _source(self, section: Literal["predictions", "truth"], of: _From) -> Source:
        given = [name for name in _SOURCES if getattr(of, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            self.say(f"one of {', '.join(_SOURCES)} says where the rows are, found {found}", section, key=True)
        if of.logs is not None:
            if not _WORKSPACE.fullmatch(of.logs.workspace):
                said = "expected the id of a Log Analytics workspace, or the ARM id of a resource"
                self.say(f"{of.logs.workspace!r}: {said}", section, "logs", "workspace")
            return Logs(of.logs.workspace, of.logs.query)
        if of.data is not None:
            return self._asset(section, of.data)
        if of.collector is not None:
            if self.file.endpoint is None:
                self.say("'endpoint' is missing: whose predictions did the collector keep?", section, "collector")
            return Collector(of.collector.collection, of.collector.datastore)
        blob = of.blob or _Blob(account="none", container="none", path="none")
        self._blob(section, blob)
        return Blob(blob.account, blob.container, blob.path)

    def _asset(self, section: str, text: str) -> Asset:
        found = _ASSET.fullmatch(text)
        if found is None:
            self.say(
                f"{text!r} is no Data asset: expected azureml:NAME:VERSION, or azureml:NAME@latest", section, "data"
            )
            return Asset("", "")
        return Asset(found["name"], found["version"] or found["label"])

    def _blob(self, section: str, blob: _Blob) -> None:
        if not _ACCOUNT.fullmatch(blob.account):
            said = "expected its name alone, 3 to 24 of lower-case letters and digits"
            self.say(f"{blob.account!r} is no storage account: {said}", section, "blob", "account")
        if not _CONTAINER.fullmatch(blob.container):
            self.say(f"{blob.container!r} is no name of a container", section, "blob", "container")
        steps = _STEP.findall(blob.path)
        for step in steps:
            if step not in _STEPS:
                self.say(f"unknown {{{step}}}{nearest(step, _STEPS)}", section, "blob", "path")
                return
        if steps != list(_STEPS[: len(steps)]):
            self.say("expected {yyyy}, {MM}, {dd} and {HH} in this order", section, "blob", "path")

    # What is asked

    def _columns(self) -> None:
        asked, found = self.file.predictions, set(self.file.metrics)
        numbers, classes = found & set(NUMBERS), found & set(CLASSES)
        if numbers and classes:
            of_both = f"{min(classes)!r} is of classes and {min(numbers)!r} of numbers: a model predicts one of both"
            self.say(of_both, "metrics", key=True)
        elif numbers:
            if asked.value is None:
                self.say("'value' is missing: the column with the number that was predicted", "predictions", key=True)
            for key in ("score", "label"):
                if getattr(asked, key) is not None:
                    self.say(f"{key!r} belongs to a model of classes", "predictions", key, key=True)
        elif classes:
            if asked.value is not None:
                self.say("'value' belongs to a model that predicts numbers", "predictions", "value", key=True)
            needs = [metric for metric in ("auc", "log_loss") if metric in found]
            if asked.score is None and (needs or asked.label is None):
                why = f"{needs[0]} is told by it" if needs else "or 'label', the class"
                self.say(f"'score' is missing: the column with the probability, {why}", "predictions", key=True)
        if "threshold" in self.node.items and asked.label is not None:
            self.say(
                "'threshold' and 'label': the class is given, and nobody asks for the threshold", "threshold", key=True
            )

    def _ask(self, name: str, one: _Metric) -> Ask | None:
        metric = next((known for known in _ALL if known == name), None)
        if metric is None:
            self.say(f"unknown metric {name!r}{nearest(name, _ALL)}", "metrics", name, key=True)
            return None
        bound = self._bound(metric, one, name)
        cohorts = self._bound(metric, one.cohorts, name, "cohorts")
        if cohorts.there and not self.file.cohorts:
            self.say(
                "limits for cohorts, and no 'cohorts' at the top: which columns?", "metrics", name, "cohorts", key=True
            )
        if bound.drop is not None or cohorts.drop is not None:
            self._drops(name)
        return Ask(metric, bound, cohorts, one.logged_as or "")

    def _bound(self, metric: Metric, one: _Limits, *path: str) -> Bound:
        lower = metric in LOWER_IS_BETTER
        wrong, right = ("at_least", "at_most") if lower else ("at_most", "at_least")
        if getattr(one, wrong) is not None:
            better = "lower" if lower else "higher"
            self.say(f"{metric} is better the {better}: expected {right!r}", "metrics", *path, wrong, key=True)
        limit = one.at_most if lower else one.at_least
        if limit is not None and metric in CLASSES and metric != "log_loss" and not 0 < limit < 1:
            self.say(f"{right} is {limit:g}: expected a share between 0 and 1", "metrics", *path, right)
        return Bound(limit, one.drop)

    def _times(self) -> None:
        file = self.file
        if not any(one.at_least or one.at_most or one.drop for one in self._limits()):
            self.say("no metric has a limit: nothing would be judged", "metrics", key=True)
        if file.window % _DAY and _DAY % file.window:
            said = "expected whole days, or a part of a day such as 1h, 6h or 12h"
            self.say(f"window is {written(file.window)}: {said}", "window")

    def _drops(self, name: str) -> None:
        if self.file.endpoint is None and self.file.predictions.version is None:
            said = "'drop' is held against the training run, and nobody says of which version: expected 'endpoint', or 'version' of predictions"
            self.say(said, "metrics", name, "drop", key=True)

    def _limits(self) -> list[_Limits]:
        return [limits for one in self.file.metrics.values() for limits in (one, one.cohorts)]
