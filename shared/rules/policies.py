"""config/rollouts/<name>.yaml: the file as types, held against everything it names, as the Policy that a rollout runs on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from shared.record import WorkspaceRef
from shared.rollout.hours import written
from shared.rollout.policy import (
    Approval,
    BinaryGate,
    CeilingGate,
    Closed,
    Compare,
    Gate,
    Kind,
    Labels,
    Load,
    MeanGate,
    Policy,
    Recipe,
    Sample,
    Smoke,
    Stage,
    Window,
)
from shared.rules.block import read_block
from shared.rules.config import check_templates
from shared.rules.match import Condition
from shared.rules.report import Report, has_template
from shared.rules.steps import Known
from shared.rules.tree import Node, Place, nearest
from shared.rules.written import Day, Minutes, Seconds, Text, Texts, Weekdays, Zone, between, listed

type Found = tuple[Policy, tuple[Condition, ...]]
"""A policy, and what a model has to be to be promoted with it."""

SAMPLES: Final = 200_000
"""Bytes of all requests and expected answers of one policy: a running rollout carries them along."""

_MOST_LOAD: Final = {"rps": 50, "at_once": 100}
"""What a smoke test may bring at most."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_ENDPOINT: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")
ELSEWHERE: Final = ("run.", "endpoint.", "drift.", "blob.")
"""Fields that the event of a registered model never has."""

_SHORT: Final = {"model": "model.name"}
_MIRRORED: Final = 50
"""Per cent of the traffic that Azure ML copies at most."""

_LAG: Final = 180.0
"""Seconds until the counts of a minute are complete: a shorter stage would pass or fail before its first reading."""


# The file


def _share(value: object) -> object:
    if isinstance(value, str) and (found := _SHARE.fullmatch(value)):
        return float(found[1]) / 100
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no percentage: expected one such as 20%")  # noqa: TRY004 (pydantic asks for it)
    if 0 < value < 1:
        raise ValueError(f"{value} may mean {value:.0%} or {value} %: write it with its sign")
    return value / 100


def _reference(value: object) -> object:
    if value != "champion" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{value!r} is nothing to compare with: expected champion, or a number")
    return value


def _asset(text: str) -> str:
    if not text.startswith("azureml:"):
        raise ValueError(f"{text!r} is no registered asset: expected azureml:NAME:VERSION")
    return text


type _Whole = Annotated[int, Strict()]
type _Truth = Annotated[bool, Strict()]
type _Share = Annotated[
    float, BeforeValidator(_share, json_schema_input_type=Annotated[str, Field(pattern=r"^[\d.]+\s*%$")] | float)
]
type _Asset = Annotated[str, AfterValidator(_asset), Field(json_schema_extra={"pattern": "^azureml:"})]
type _Reference = Annotated[
    Literal["champion"] | float,
    BeforeValidator(_reference, json_schema_input_type=Literal["champion"] | float),
]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _together(**needs: list[str]) -> ConfigDict:
    """For editors: what a key needs beside it."""
    return ConfigDict(json_schema_extra=lambda schema: schema.update(dependentRequired=needs))


class _Approval(_Strict):
    """A person is asked, by a signed link, the console or `switchyard rollouts approve`."""

    by: Text = Field(description="One of `receivers` in switchyard.yaml.")
    within: Annotated[Seconds, between(60, 30 * 86_400)] = 86_400.0
    otherwise: Literal["rollback", "promote", "hold"] = Field(
        default="rollback", alias="else", description="When nobody answers in time."
    )


class _Compare(_Strict):
    """A logged metric of the candidate against that of the model in production, or against a number."""

    model_config = _together(cohort_at_least=["cohorts"])

    metric: Text
    against: _Reference = "champion"
    at_least: float = Field(
        default=0.0, description="What the candidate is better by at least; below 0: worse by at most."
    )
    lower_is_better: _Truth = False
    cohorts: _Truth = Field(default=False, description="So for each metric logged as METRIC/COHORT too.")
    cohort_at_least: float | None = Field(default=None, description="Of each cohort; left out, `at_least`.")


class _Load(_Strict):
    """A little load before any traffic, on the new deployment alone. It shows that the deployment stands, and is no load test."""

    rps: _Whole = Field(ge=1, description="Requests that begin each second; 50 at most.")
    seconds: Annotated[Seconds, between(5, 120)] = Field(alias="for", description="For how long: 5s to 2m.")
    at_once: _Whole = Field(default=50, ge=1, description="Requests under way at most; 100 at most.")
    p95_ms: float | None = Field(default=None, gt=0)
    p99_ms: float | None = Field(default=None, gt=0)
    max_error_rate: _Share = Field(
        default=0.01, description="Of the requests, also of those that found too many under way."
    )


class _Smoke(_Strict):
    """Known requests before any traffic."""

    requests: Text | None = Field(default=None, description="JSON files under samples/: samples/fraud/*.json.")
    expect: Text | None = Field(default=None, description="A JSON file: by the name of a request's file, its answer.")
    tolerance: float = Field(default=1e-6, ge=0, description="How far a number may be from the expected one.")
    p95_ms: float | None = Field(default=None, gt=0)
    max_errors: _Whole = Field(default=0, ge=0)
    repeat: _Whole = Field(default=1, ge=1, le=1000, description="How often each request is sent.")
    data: Text | None = Field(default=None, description="Of a batch endpoint: the data asset of a test invocation.")
    load: _Load | None = None


class _Deployment(_Strict):
    """The new deployment. An MLflow model needs neither environment nor code."""

    model_config = _together(
        environment=["code", "scoring_script"],
        code=["environment", "scoring_script"],
        scoring_script=["environment", "code"],
    )

    instance_type: Text | None = None
    instance_count: _Whole = Field(default=1, ge=1, le=100)
    environment: _Asset | None = None
    code: _Asset | None = None
    scoring_script: Text | None = None
    compute: Text | None = Field(default=None, description="Of a batch deployment: the cluster.")
    request_timeout: Annotated[Seconds, between(1, 180)] | None = None
    max_concurrent_requests: _Whole | None = Field(default=None, ge=1)
    variables: dict[str, str] = {}
    collect: tuple[Literal["model_inputs", "model_outputs", "request", "response"], ...] = Field(
        default=(), description="What the model data collector keeps."
    )
    app_insights: _Truth = False
    within: Annotated[Seconds, between(60, 86_400)] = Field(
        default=3600.0, description="How long its creation may take."
    )


class _Stage(_Strict):
    """A share for the new deployment, copied (`mirror`) or live (`traffic`)."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["mirror"]}, {"required": ["traffic"]}]})

    mirror: _Whole | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": 50})
    traffic: _Whole | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": 99})
    seconds: Annotated[Seconds, between(60, 30 * 86_400)] = Field(alias="for")
    min_requests: _Whole = Field(default=0, ge=0)
    approve: _Approval | None = None


_GATES: Final[Mapping[str, tuple[str, ...]]] = {
    "bad": ("alpha", "worse_than", "margin", "slo_ms"),
    "mean": ("alpha", "worse_than"),
    "ceiling": ("max", "for", "slo_ms"),
}
"""The kinds of gates, and what stands beside each."""


def _gate_shapes(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [
        {"required": [kind, "max"] if kind == "ceiling" else [kind], "propertyNames": {"enum": [kind, *beside]}}
        for kind, beside in _GATES.items()
    ]


class _Gate(_Strict):
    """One of `bad`, `mean` and `ceiling`."""

    model_config = ConfigDict(json_schema_extra=_gate_shapes)

    bad: Literal["http_5xx", "http_4xx", "latency_over"] | None = None
    mean: Literal["latency_ms"] | None = None
    ceiling: Literal["error_rate", "latency_over"] | None = None
    alpha: float | None = Field(default=None, gt=0, le=0.5)
    worse_than: float | str | None = None
    margin: _Share | None = None
    slo_ms: float | None = Field(default=None, gt=0)
    max: _Share | None = None
    seconds: Annotated[Seconds, between(60, 3600)] | None = Field(default=None, alias="for")


class _Window(_Strict):
    """When traffic may move forward."""

    days: Weekdays = tuple(range(7))
    start: Minutes = Field(default=0, alias="from")
    end: Minutes = Field(default=24 * 60, alias="to")
    time_zone: Zone | None = None


class _Closed(_Strict):
    """Days, both included, on which traffic does not move forward."""

    first: Day = Field(alias="from")
    last: Day = Field(alias="to")
    reason: Text
    owner: str = ""
    time_zone: Zone | None = None


class _Labels(_Strict):
    """Tags for model versions."""

    promoted: dict[str, str] = {"stage": "production"}
    replaced: dict[str, str] = {"stage": "archived"}
    rolled_back: dict[str, str] = {"stage": "rolled-back"}
    rejected: Annotated[dict[str, str], Field(min_length=1)] = {"stage": "rejected"}


class PolicyFile(_Strict):
    """A rollout policy. docs/rollouts.md explains every key."""

    model_config = _together(stages=["gates"], gates=["stages"])

    name: Text = Field(
        default="", description="That of the file, without .yaml.", json_schema_extra={"pattern": f"^{_NAME.pattern}$"}
    )
    endpoint: Text = Field(default="", description="May be a template: {{ event.model.name }}-online.")
    workspace: Text | None = Field(
        default=None, description="One of `workspaces` in switchyard.yaml; left out, where the event came from."
    )
    kind: Kind = "managed"
    candidate: object = Field(default=None, description="Lines as in `match`; `model` is short for model.name.")
    deployment: _Deployment = _Deployment()
    compare: Annotated[
        tuple[_Compare, ...], BeforeValidator(listed, json_schema_input_type=_Compare | list[_Compare])
    ] = ()
    responsible_ai: Literal["required"] | None = None
    smoke: _Smoke | None = None
    approve: _Approval | None = Field(default=None, description="Asked after all checks, before the first traffic.")
    stages: tuple[_Stage, ...] = ()
    gates: tuple[_Gate, ...] = Field(default=(), json_schema_extra={"minItems": 1})
    counts: Literal["logs", "metrics"] = "logs"
    on_breach: Literal["rollback", "hold"] = "rollback"
    undecided: Literal["ask", "rollback"] = Field(
        default="ask", description="After `extend`, when a stage neither passes nor fails."
    )
    extend: Annotated[Seconds, between(0, 7 * 86_400)] = 3600.0
    patience: Annotated[Seconds, between(60, 86_400)] = Field(
        default=900.0, description="How long nobody may know how it is doing, or Azure be busy."
    )
    every: Annotated[Seconds, between(60, 3600)] = Field(default=60.0, description="How often the counts are read.")
    windows: tuple[_Window, ...] = ()
    closed: tuple[_Closed, ...] = ()
    second: Literal["wait", "replace"] = Field(default="wait", description="What a second candidate does.")
    keep_old: Annotated[Seconds, between(0, 30 * 86_400)] = 86_400.0
    labels: _Labels = _Labels()
    notify: Texts = ()


# The checks


def read_policy(node: Node | None, report: Report, known: Known, files: Mapping[str, str]) -> Found | None:
    """The policy, with the conditions of its candidate; None when the report says what is wrong with it."""
    if node is None or not report.mapping(node, "a rollout policy"):
        return None
    report.secrets(node)
    for key in ("name", "endpoint", "candidate"):
        if key not in node.items:
            report.say(node.at, f"{key!r} is missing: a policy has a name, an endpoint and a candidate")
    asked = _candidate(node.items.get("candidate"), report)
    file, wrong = _read(node, report)
    reader = _Reader(file, node, wrong, report, known, files)
    policy = reader.policy()
    return None if report.problems else (policy, asked)


def _read(node: Node, report: Report) -> tuple[PolicyFile, frozenset[str]]:
    """What is valid of the file, and the keys that are not, so that all mistakes are told at once."""
    plain = node.plain()
    assert isinstance(plain, dict)
    before = len(report.problems)
    found = report.model(PolicyFile, plain, node, lenient=frozenset())
    if found is not None:
        return found, frozenset()
    places = {Place(one.line, one.column) for one in report.problems[before:]}
    wrong = frozenset(
        key
        for key in plain
        if key not in PolicyFile.model_fields or node.keys[key] in places or _places(node.items[key]) & places
    )
    return PolicyFile.model_validate({key: value for key, value in plain.items() if key not in wrong}), wrong


def _places(node: Node) -> set[Place]:
    found = {node.at, *node.keys.values()}
    for inner in [*node.items.values(), *node.list]:
        found |= _places(inner)
    return found


def _candidate(node: Node | None, report: Report) -> tuple[Condition, ...]:
    if node is None:
        return ()
    for name, at in node.keys.items():
        if name.startswith(ELSEWHERE):
            report.say(at, f"a registered model has no {name!r}: ask for its model, tags, properties, metrics or job")
    return read_block(node, report, _SHORT)


@dataclass(frozen=True)
class _Reader:
    """One file on its way to a policy. `wrong`: keys that are told to be wrong already."""

    file: PolicyFile
    node: Node
    wrong: frozenset[str]
    report: Report
    known: Known
    files: Mapping[str, str]

    def say(self, message: str, *path: object, key: bool = False) -> None:
        self.report.say(self.node.place(path, key=key), message)

    def policy(self) -> Policy:
        file = self.file
        self._names()
        self._kind()
        self._stages()
        zone = self.known.config.defaults.time_zone
        return Policy(
            name=file.name,
            endpoint=file.endpoint,
            workspace=self._workspace(),
            kind=file.kind,
            deployment=self._deployment(),
            compare=self._compare(),
            responsible_ai=file.responsible_ai == "required",
            smoke=self._smoke(),
            approve=self._approval(file.approve, "approve"),
            stages=tuple(self._stage(n, one) for n, one in enumerate(file.stages)),
            gates=self._gates(),
            counts=file.counts,
            on_breach=file.on_breach,
            undecided=file.undecided,
            extend=file.extend,
            patience=file.patience,
            every=file.every,
            windows=tuple(self._window(n, one, zone) for n, one in enumerate(file.windows)),
            closed=tuple(self._closed(n, one, zone) for n, one in enumerate(file.closed)),
            second=file.second,
            keep_old=file.keep_old,
            labels=self._labels(),
            notify=file.notify,
        )

    def _names(self) -> None:
        file, stem = self.file, PurePosixPath(self.report.file).stem
        if file.name and not _NAME.fullmatch(file.name):
            self.say(f"name {file.name!r}: expected at most 60 of lower-case letters, digits and '-'", "name")
        elif file.name and file.name != stem:
            self.say(f"name {file.name!r} is not that of its file: expected {stem!r}", "name")
        if has_template(file.endpoint):
            check_templates(self.node.items["endpoint"], self.report)
        elif file.endpoint and not _ENDPOINT.fullmatch(file.endpoint):
            said = "expected 3 to 32 letters, digits and '-', a letter first, as Azure ML names endpoints"
            self.say(f"endpoint {file.endpoint!r}: {said}", "endpoint")
        for n, receiver in enumerate(file.notify):
            self._receiver(receiver, "notify", n)
        hears = file.notify or "notify" in self.wrong or "tell" in self.known.declared.get("defaults", {})
        if not hears:
            self.report.say(
                self.node.at,
                "nobody would hear how a rollout ends: name receivers under 'notify', or one in 'defaults.tell' of switchyard.yaml",
            )

    def _receiver(self, name: str, *path: object) -> None:
        if name not in self.known.config.receivers:
            self.say(self.known.missing("receivers", "receiver", name), *path)

    def _workspace(self) -> WorkspaceRef | None:
        name = self.file.workspace
        if name is None:
            return None
        place = self.known.config.workspaces.get(name)
        if place is None:
            self.say(self.known.missing("workspaces", "workspace", name), "workspace")
            return None
        return WorkspaceRef(place.subscription, place.resource_group, place.workspace)

    def _kind(self) -> None:
        """What one kind of endpoint has and another has not."""
        file, deployment = self.file, self.file.deployment
        if file.kind == "batch":
            for key in ("stages", "gates"):
                if key in self.node.items:
                    self.say(f"a batch endpoint has no traffic to share: leave {key!r} out", key, key=True)
            if not deployment.compute and "deployment" not in self.wrong:
                self.say("'compute' is missing: a batch deployment runs on a cluster", "deployment")
            online = ("instance_type", "request_timeout", "max_concurrent_requests", "collect", "app_insights")
            alien = [
                *(("deployment", one) for one in online),
                *(("smoke", one) for one in ("requests", "expect", "load")),
            ]
        else:
            alien = [("deployment", "compute"), ("smoke", "data")]
        for section, key in alien:
            if section in self.node.items and key in self.node.items[section].items:
                other = "an online" if file.kind == "batch" else "a batch"
                self.say(f"{key!r} belongs to {other} endpoint, and this one is {file.kind}", section, key, key=True)

    def _deployment(self) -> Recipe:
        found = self.file.deployment
        together = {"environment": found.environment, "code": found.code, "scoring_script": found.scoring_script}
        missing = [key for key, value in together.items() if value is None]
        if missing and len(missing) < len(together):
            rest = " and ".join(repr(key) for key in missing)
            said = f"{rest} {'is' if len(missing) == 1 else 'are'} missing: environment, code and scoring_script go together; an MLflow model needs none"
            self.say(said, "deployment", next(key for key in together if key not in missing), key=True)
        for key, value in found.variables.items():
            if "${" in value:
                said = (
                    "no ${NAME} here: everybody who may see the deployment may read it; let the code read the Key Vault"
                )
                self.say(said, "deployment", "variables", key)
        timeout = found.request_timeout
        given = found.model_dump(exclude={"request_timeout"})
        return Recipe(**given, request_timeout_ms=None if timeout is None else round(timeout * 1000))

    def _compare(self) -> tuple[Compare, ...]:
        for n, one in enumerate(self.file.compare):
            if one.cohort_at_least is not None and not one.cohorts:
                said = "'cohort_at_least' without 'cohorts: true': no cohort is looked at"
                self.say(said, "compare", n, "cohort_at_least", key=True)
        return tuple(Compare(**one.model_dump()) for one in self.file.compare)

    def _approval(self, one: _Approval | None, *path: object) -> Approval | None:
        if one is None:
            return None
        self._receiver(one.by, *path, "by")
        return Approval(one.by, one.within, one.otherwise)

    # Stages

    def _stages(self) -> None:
        stages, highest = self.file.stages, {"mirror": 0, "traffic": 0}
        if stages and "gates" not in self.node.items and self.file.kind != "batch":
            self.say("stages without 'gates': nothing would be judged, and every model would pass", "stages", key=True)
        if "gates" in self.node.items and "stages" not in self.node.items and self.file.kind != "batch":
            self.say("gates without 'stages': there would be nothing to judge", "gates", key=True)
        for n, stage in enumerate(stages):
            if (stage.mirror is None) == (stage.traffic is None):
                self.say("a stage has a share: one of 'mirror' and 'traffic'", "stages", n)
                continue
            share = "traffic" if stage.mirror is None else "mirror"
            percent = stage.traffic if stage.mirror is None else stage.mirror
            assert percent is not None
            wrong = self._percent(share, percent)
            if not wrong and share == "mirror" and highest["traffic"]:
                wrong = "a mirror stage comes before those with live traffic: a deployment has one or the other"
            elif not wrong and percent <= highest[share]:
                wrong = f"{share} is {percent}, and the stage before had {highest[share]}: shares have to grow"
            if wrong:
                self.say(wrong, "stages", n, share)
            highest[share] = max(highest[share], percent)

    def _percent(self, share: str, percent: int) -> str:
        if share == "mirror":
            if self.file.kind == "kubernetes":
                return "a Kubernetes endpoint can't mirror traffic: begin with a small share of live traffic"
            return (
                ""
                if 1 <= percent <= _MIRRORED
                else f"mirror is {percent}: Azure ML copies 1 to {_MIRRORED} % of the traffic"
            )
        if percent == 100:  # noqa: PLR2004 (per cent)
            return "traffic is 100: that is the promotion, which follows the last stage by itself"
        return "" if 1 <= percent < 100 else f"traffic is {percent}: expected 1 to 99 %"  # noqa: PLR2004 (per cent)

    def _stage(self, n: int, stage: _Stage) -> Stage:
        judged = any(gate.ceiling is None for gate in self.file.gates)
        if judged and stage.seconds < _LAG:
            said = f"{written(stage.seconds)} is too short to judge: counts come 3 minutes late; expected 3m or more"
            self.say(said, "stages", n, "for")
        percent = stage.traffic if stage.mirror is None else stage.mirror
        return Stage(
            percent=percent or 0,
            seconds=stage.seconds,
            mirror=stage.mirror is not None,
            min_requests=stage.min_requests,
            approve=self._approval(stage.approve, "stages", n, "approve"),
        )

    # Gates

    def _gates(self) -> tuple[Gate, ...]:
        if "gates" in self.node.items and "gates" not in self.wrong and not self.file.gates:
            self.say("an empty list: expected gates such as '- {bad: http_5xx}'", "gates")
        found: dict[str, Gate] = {}
        for n, one in enumerate(self.file.gates):
            gate = self._gate(n, one)
            if gate is None:
                continue
            if gate.key in found:
                self.say("this gate stands there twice: its error budget would be spent twice", "gates", n)
            found[gate.key] = gate
        return tuple(found.values())

    def _gate(self, n: int, one: _Gate) -> Gate | None:
        kinds = [kind for kind in _GATES if getattr(one, kind) is not None]
        if len(kinds) != 1:
            self.say("a gate is one of 'bad', 'mean' and 'ceiling'", "gates", n)
            return None
        kind, before = kinds[0], len(self.report.problems)
        entry = self.node.items["gates"].list[n]
        for key in entry.keys:
            if key != kind and key not in _GATES[kind]:
                self.say(f"{key!r} does not belong to {kind!r}{nearest(key, _GATES[kind])}", "gates", n, key, key=True)
        late = "latency_over" in (one.bad, one.ceiling)
        if late and one.slo_ms is None:
            self.say("'slo_ms' is missing: over how many milliseconds is a request too late?", "gates", n)
        if not late and kind != "mean" and one.slo_ms is not None:
            self.say("'slo_ms' belongs to latency_over", "gates", n, "slo_ms", key=True)
        if self.file.counts == "metrics" and (late or kind == "mean"):
            said = "'counts: metrics' tells no latency of single requests: expected 'counts: logs' for this gate"
            self.say(said, "gates", n, kind)
        gate = {"bad": self._bad, "mean": self._mean, "ceiling": self._ceiling}[kind](n, one)
        return gate if len(self.report.problems) == before else None

    def _bad(self, n: int, one: _Gate) -> Gate:
        assert one.bad is not None
        odds = 1.0 if one.worse_than is None else one.worse_than
        if isinstance(odds, str) or not 1 <= odds <= 10:  # noqa: PLR2004 (beyond it a gate is none)
            said = "expected an odds ratio from 1 (no worse at all) to 10, such as 1.2"
            self.say(f"worse_than is {odds}: {said}", "gates", n, "worse_than")
            odds = 1.0
        margin = 0.01 if one.margin is None else one.margin
        if not 0 < margin < 1:
            self.say(f"margin is {margin:.0%}: expected more than 0% and less than 100%", "gates", n, "margin")
        return BinaryGate(one.bad, 0.05 if one.alpha is None else one.alpha, odds, margin, one.slo_ms)

    def _mean(self, n: int, one: _Gate) -> Gate:
        worse = 0.2
        if one.worse_than is not None:
            found = _SHARE.fullmatch(one.worse_than) if isinstance(one.worse_than, str) else None
            worse = float(found[1]) / 100 if found else 0.0
            if not 0 < worse <= 10:  # noqa: PLR2004 (beyond it a gate is none)
                said = "expected an increase of the mean, such as 20%"
                self.say(f"worse_than is {one.worse_than}: {said}", "gates", n, "worse_than")
        return MeanGate("latency_ms", 0.05 if one.alpha is None else one.alpha, worse)

    def _ceiling(self, n: int, one: _Gate) -> Gate:
        assert one.ceiling is not None
        if one.max is None:
            self.say("'max' is missing: expected a percentage such as 20%", "gates", n)
        elif not 0 < one.max < 1:
            self.say(f"max is {one.max:.0%}: expected more than 0% and less than 100%", "gates", n, "max")
        return CeilingGate(one.ceiling, one.max or 0.0, 120.0 if one.seconds is None else one.seconds, one.slo_ms)

    # Times

    def _window(self, n: int, one: _Window, zone: str) -> Window:
        if one.start == one.end:
            self.say("the window never opens: 'from' and 'to' are the same", "windows", n)
        return Window(one.days, one.start, one.end, one.time_zone or zone)

    def _closed(self, n: int, one: _Closed, zone: str) -> Closed:
        if one.first > one.last:
            self.say(f"closed from {one.first} to {one.last}: 'from' comes first", "closed", n)
        return Closed(one.first, one.last, one.reason, one.owner, one.time_zone or zone)

    def _labels(self) -> Labels:
        labels = self.file.labels
        if labels.rejected.items() <= labels.promoted.items():
            said = (
                "a promoted model would count as rejected at once: 'rejected' needs a tag that 'promoted' does not have"
            )
            self.say(said, "labels", "rejected")
        return Labels(**labels.model_dump())

    # The smoke test

    def _smoke(self) -> Smoke | None:
        smoke = self.file.smoke
        if smoke is None:
            return None
        samples: tuple[Sample, ...] = ()
        if self.file.kind == "batch":
            if not smoke.data:
                self.say("'data' is missing: the data asset that a test invocation of a batch endpoint reads", "smoke")
        elif not smoke.requests:
            self.say("'requests' is missing: expected JSON files such as samples/fraud/*.json", "smoke")
        else:
            samples = self._samples(smoke.requests, smoke.expect)
        limits = smoke.model_dump(exclude={"requests", "expect", "data", "load"})
        return Smoke(samples=samples, data=smoke.data or "", load=self._load(smoke.load), **limits)

    def _load(self, load: _Load | None) -> Load | None:
        if load is None:
            return None
        for key, most in _MOST_LOAD.items():
            if (value := getattr(load, key)) > most:
                said = (
                    f"{key} is {value}: expected at most {most}. This shows that the deployment stands and is no load test, for "
                    "which there is Azure Load Testing, on an endpoint of its own"
                )
                self.say(said, "smoke", "load", key)
        if not 0 <= load.max_error_rate < 1:
            self.say(
                f"max_error_rate is {load.max_error_rate:.0%}: expected 0% or more, and less than 100%",
                "smoke",
                "load",
                "max_error_rate",
            )
        for key, least in (("p95_ms", 20), ("p99_ms", 100)):
            n = load.rps * int(load.seconds)
            if getattr(load, key) is not None and n < least:
                said = (
                    f"{key} of {n} requests is that of the slowest one: expected rps times seconds of {least} or more"
                )
                self.say(said, "smoke", "load", key)
        if load.p95_ms is not None and load.p99_ms is not None and load.p99_ms < load.p95_ms:
            self.say(
                f"p99_ms is {load.p99_ms:g}, which is below p95_ms, {load.p95_ms:g}: it can't be reached alone",
                "smoke",
                "load",
                "p99_ms",
            )
        return Load(**load.model_dump() | {"seconds": int(load.seconds)})

    def _samples(self, pattern: str, expect: str | None) -> tuple[Sample, ...]:
        known = [file for file in self.files if file.startswith("samples/")]
        chosen = [file for file in sorted(known) if file != expect and PurePosixPath(file).full_match(pattern)]
        if not chosen:
            folders = {f"{PurePosixPath(file).parent}/*.json" for file in known}
            hint = nearest(pattern, folders) or "; requests are JSON files under samples/ of the configuration folder"
            self.say(f"no file matches {pattern!r}{hint}", "smoke", "requests")
        bodies: dict[str, str] = {}
        for file in chosen:
            name = PurePosixPath(file).name
            if name in bodies:
                self.say(
                    f"two requests have the file name {name!r}: answers are expected by that name", "smoke", "requests"
                )
            text = self._json(file, "requests")
            bodies[name] = text or ""
        answers = self._answers(expect, bodies) if expect is not None else {}
        size = sum(len(text.encode()) for text in [*bodies.values(), *answers.values()])
        if size > SAMPLES:
            said = f"requests and answers are {size // 1000} kB together: expected at most {SAMPLES // 1000} kB"
            self.say(said, "smoke", "requests")
        return tuple(Sample(name, body, answers.get(name)) for name, body in bodies.items())

    def _answers(self, expect: str, bodies: Mapping[str, str]) -> dict[str, str]:
        if expect not in self.files:
            near = nearest(expect, [file for file in self.files if file.startswith("samples/")])
            self.say(f"no such file {expect!r}{near}", "smoke", "expect")
            return {}
        text = self._json(expect, "expect")
        try:
            found = msgspec.json.decode(text or "{}", type=dict[str, msgspec.Raw])
        except msgspec.MsgspecError:
            self.say(f"{expect}: expected a mapping of a request's file name to its answer", "smoke", "expect")
            return {}
        for name in found:
            if bodies and name not in bodies:
                self.say(f"{expect}: no request is called {name!r}{nearest(name, bodies)}", "smoke", "expect")
        return {name: bytes(raw).decode() for name, raw in found.items()}

    def _json(self, file: str, key: str) -> str | None:
        """Its text, without the blanks that mean nothing."""
        text = self.files[file]
        try:
            msgspec.json.decode(text)
            return msgspec.json.format(text, indent=-1)
        except (msgspec.MsgspecError, UnicodeError) as error:
            self.say(f"{file} is not JSON: {error}", "smoke", key)
            return None
