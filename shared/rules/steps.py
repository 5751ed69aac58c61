"""What stands under `do`: each step becomes the actions it asks for, with parameters checked as far as they are known."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from shared.actions import Action, Channel, Params
from shared.actions._place import placed
from shared.quality.watch import Watch
from shared.record import Worth
from shared.rollout.policy import Policy
from shared.rules.config import GUARDS, Channels, Config, Pipeline, Receiver, check_templates
from shared.rules.plan import Step
from shared.rules.report import Report, has_template
from shared.rules.terms import read_length
from shared.rules.tree import Node, nearest
from shared.rules.worth import read_worth

MODEL: Final = {"model": "{{ event.model.name }}", "version": "{{ event.model.version }}"}
"""What `promote` promotes where nothing else is said: the model that was registered."""

_CHANNELS: Final = {"teams": "url", "email": "to", "sms": "to"}
"""The actions that `notify` stands for, and where each takes its address."""

FOLLOWED: Final = ("tell", "start_within")
"""Beside every action that starts something which goes on."""

_BESIDE_RETRAIN: Final = set(Pipeline.model_fields) - {"source", *GUARDS}

_ANY: Final[Mapping[str, Mapping[str, object]]] = {
    "teams": {"url": "${ON_CALL}"},
    "email": {"to": ["nobody@example.com"]},
    "sms": {"to": ["${ON_CALL}"]},
}
"""Until it is known who is on call."""


@dataclass(frozen=True)
class Known:
    """What rules may name. `declared`: by section, where each entry stands, also one with mistakes of its own."""

    config: Config
    actions: Mapping[str, Action[Params]]
    templates: frozenset[str]
    declared: Mapping[str, Mapping[str, str]]
    policies: Mapping[str, Policy] = field(default_factory=dict)
    quality: Mapping[str, Watch] = field(default_factory=dict)

    def kind(self, action: str) -> type[Params]:
        return type(self.actions[action].example)

    def missing(self, section: str, what: str, name: str) -> str:
        """Why there is no such entry."""
        declared = self.declared.get(section, {})
        if name in declared:
            return f"{what} {name!r} has a mistake of its own: {declared[name]}"
        also = self.templates if section == "templates" else frozenset()
        return f"unknown {what} {name!r}{nearest(name, also.union(declared))}"


def read_steps(node: Node, known: Known, report: Report) -> tuple[Step, ...]:
    steps: list[Step] = []
    for entry in report.entries(node, "steps such as '- notify: RECEIVER'"):
        if report.mapping(entry, "a step such as 'notify: RECEIVER'"):
            steps += _step(entry, known, report)
    # What is done at once comes first: its numbers, which are in keys, stay when an escalation is added.
    return tuple(sorted(steps, key=lambda step: step.after > 0))


def _step(node: Node, known: Known, report: Report) -> list[Step]:
    verbs = {"notify", *(name for name, action in known.actions.items() if not action.internal)}
    named = [key for key in node.items if key in verbs]
    if len(named) > 1:
        said = " and ".join(repr(key) for key in named)
        report.say(node.keys[named[1]], f"{len(named)} actions in one step, {said}: write a step ('- ') for each")
        return []
    if not named:
        options = {"template", "language", "worth", *MODEL, *FOLLOWED, *_BESIDE_RETRAIN}
        wrong = next((key for key in node.items if key not in options), next(iter(node.items), ""))
        at = node.keys.get(wrong, node.at)
        report.say(at, f"unknown action {wrong!r}{nearest(wrong, verbs)}" if wrong else "an empty step: name an action")
        return []
    verb = named[0]
    check_templates(node, report)
    tell, within = _followed(verb, node, known, report)
    special = {"notify": _notify, "retrain": _retrain, "promote": _promote}.get(verb)
    steps = special(node, known, report) if special else _plain(verb, node, known, report)
    return [replace(step, tell=tell, start_within=within) for step in steps] if tell or within else steps


def _followed(verb: str, node: Node, known: Known, report: Report) -> tuple[str, float]:
    """Who hears how what the step starts has ended, and in how many seconds it should begin."""
    action = known.actions.get(verb)
    given = [key for key in FOLLOWED if key in node.items]
    if given and (action is None or action.look is None):
        said = "goes with what is started and goes on, such as 'retrain' and 'dispatch', and not with"
        report.say(node.keys[given[0]], f"{given[0]!r} {said} {verb!r}")
        return "", 0.0
    if given and "follow" in known.kind(verb).model_fields and "follow" not in node.items[verb].items:
        report.say(node.keys[given[0]], f"{given[0]!r} needs 'follow' under {verb!r}: nobody else knows how it ends")
    tell = report.text(node.items["tell"], "the name of a receiver") if "tell" in node.items else None
    if tell and tell not in known.config.receivers:
        report.say(node.items["tell"].at, known.missing("receivers", "receiver", tell))
        tell = None
    within = read_length(node.items["start_within"], "start_within", report) if "start_within" in node.items else 0.0
    return tell or "", within


def _options(verb: str, allowed: set[str], node: Node, report: Report) -> None:
    for key, at in node.keys.items():
        if key != verb and key not in allowed and key not in FOLLOWED:
            hint = nearest(key, allowed) if allowed else f": the parameters of {verb!r} stand under it, in its mapping"
            report.say(at, f"unknown key {key!r} beside {verb!r}{hint}")


def _notify(node: Node, known: Known, report: Report) -> list[Step]:
    kinds = {action: known.kind(action) for action in _CHANNELS if action in known.actions}
    fields = {field for kind in kinds.values() for field in kind.model_fields} - {"note", *_CHANNELS.values()}
    _options("notify", fields, node, report)
    name = report.text(node.items["notify"], "the name of a receiver")
    if name is None:
        return []
    receiver = known.config.receivers.get(name)
    if receiver is None:
        report.say(node.items["notify"].at, known.missing("receivers", "receiver", name))
        receiver = Receiver(email=("nobody@example.com",))  # so that the options are looked at all the same
    extra = {key: value.plain() for key, value in node.items.items() if key in fields}
    steps = []
    for way in _ways(name, receiver, known.config):
        if way.action not in kinds:
            continue
        params = {**(way.address or _ANY[way.action]), **way.said, **extra}
        own = {key: value for key, value in params.items() if key in kinds[way.action].model_fields}
        if _valid(way.action, own, node, known, report):
            if way.schedule:
                del own[_CHANNELS[way.action]]
            steps.append(
                Step(way.action, own, tells=True, receiver=way.receiver, after=way.after, schedule=way.schedule)
            )
    return steps


@dataclass(frozen=True)
class _Way:
    """A channel by which `notify` tells somebody. With `schedule`, that gives the address and the language."""

    action: str
    address: Mapping[str, object]
    said: Mapping[str, object]
    receiver: str
    after: float
    schedule: str = ""


def _ways(name: str, receiver: Receiver, config: Config) -> list[_Way]:
    """At once, then the later steps."""
    found = _channels(name, receiver, receiver, 0.0, config)
    for later in receiver.escalate:
        if later.notify is None:
            found += _channels(name, later, receiver, later.after, config)
        else:
            other = config.receivers[later.notify]
            found += _channels(later.notify, other, other, later.after, config)
    return found


def _channels(name: str, given: Channels, told: Receiver, after: float, config: Config) -> list[_Way]:
    said = {"language": told.language or config.defaults.language}
    ways = [_Way(action, address, said, name, after) for action, address in _addresses(given)]
    return ways if given.on_call is None else [*ways, _Way(given.by, {}, {}, name, after, given.on_call)]


def _addresses(given: Channels) -> list[tuple[str, dict[str, object]]]:
    found: list[tuple[str, dict[str, object]]] = [("teams", {"url": url}) for url in given.teams]
    if given.email:
        found.append(("email", {"to": list(given.email)}))
    if given.sms:
        found.append(("sms", {"to": list(given.sms)}))
    return found


def address_of(config: Config, schedule: str, channel: str, now: datetime) -> tuple[str, dict[str, object]] | None:
    """Who is on call then, and the parameters that reach them by this channel, before which go those of the step; None
    when nobody is on call, or nobody who has the channel.
    """
    rota = config.rotas.get(schedule)
    who = rota.on_call(now) if rota else None
    person = config.receivers.get(who) if who else None
    if who is None or person is None:
        return None
    address = dict(_addresses(person)).get(channel)
    return None if address is None else (who, {**address, "language": person.language or config.defaults.language})


def _retrain(node: Node, known: Known, report: Report) -> list[Step]:
    _options("retrain", {*_BESIDE_RETRAIN, "worth"}, node, report)
    name = report.text(node.items["retrain"], "the name of a pipeline")
    pipeline = known.config.pipelines.get(name) if name else None
    if pipeline is None:
        if name:
            report.say(node.items["retrain"].at, known.missing("pipelines", "pipeline", name))
        return []
    params: dict[str, object] = pipeline.model_dump(exclude_none=True, exclude_defaults=True, exclude=set(GUARDS))
    for key, value in node.items.items():
        if key in _BESIDE_RETRAIN:
            below, plain = params.get(key), value.plain()
            params[key] = below | plain if isinstance(below, dict) and isinstance(plain, dict) else plain
    asked = _worth(node.items["worth"], known, report) if "worth" in node.items else None
    if not _located(params, node, known, report) or not _valid("retrain", params, node, known, report):
        return []
    return [Step("retrain", params, pipeline=name or "", worth=asked)]


def _worth(node: Node, known: Known, report: Report) -> Worth | None:
    named = node.items.get("quality")
    name = str(named.plain()) if named is not None else ""
    watch = known.quality.get(name)
    return read_worth(node, report, watch, "" if watch else known.missing("quality", "quality", name))


def _located(params: dict[str, object], node: Node, known: Known, report: Report) -> bool:
    """A workspace by its short name becomes what stands under it in switchyard.yaml. False, with the mistake said, where there
    is none.
    """
    name = params.get("workspace")
    if name is None or isinstance(name, dict):
        return True
    place = known.config.workspaces.get(str(name))
    if place is None:
        report.say(node.place(("workspace",)), known.missing("workspaces", "workspace", str(name)))
        return False
    params["workspace"] = place.model_dump()
    return True


def _promote(node: Node, known: Known, report: Report) -> list[Step]:
    _options("promote", set(MODEL), node, report)
    name = report.text(node.items["promote"], "the name of a rollout policy")
    policy = known.policies.get(name) if name else None
    if name and policy is None:
        report.say(node.items["promote"].at, known.missing("rollouts", "rollout policy", name))
    alone = [key for key in MODEL if key in node.items]
    if len(alone) == 1:
        other = next(key for key in MODEL if key not in alone)
        report.say(node.keys[alone[0]], f"{alone[0]!r} without {other!r}: they go together")
    if policy is None or len(alone) == 1:
        return []
    params: dict[str, object] = {"policy": name, **MODEL, "endpoint": policy.endpoint}
    params |= {key: node.items[key].plain() for key in alone}
    return [Step("promote", params)] if _valid("promote", params, node, known, report) else []


def _plain(verb: str, node: Node, known: Known, report: Report) -> list[Step]:
    """Every other action: what stands under its name are its parameters."""
    _options(verb, set(), node, report)
    inner = node.items[verb]
    if inner.value is None:
        inner = Node({}, inner.at)
    if not report.mapping(inner, f"the parameters of {verb!r}"):
        return []
    params: dict[str, object] = {key: value.plain() for key, value in inner.items.items()}
    if placed(known.kind(verb)) and not _located(params, inner, known, report):
        return []
    tells = issubclass(known.kind(verb), Channel)
    return [Step(verb, dict(params), tells=tells)] if _valid(verb, params, inner, known, report) else []


def _valid(action: str, params: Mapping[str, object], node: Node, known: Known, report: Report) -> bool:
    """The names of all fields, and the values of those that hold no template."""
    before = len(report.problems)
    kind = known.kind(action)
    if issubclass(kind, Channel):
        if "note" in node.items:
            report.say(node.keys["note"], "unknown key 'note'")
        template = params.get("template", "")
        if isinstance(template, str) and template and template not in known.templates:
            report.say(node.place(("template",)), known.missing("templates", "template", template))
    lenient = frozenset(name for name, value in params.items() if has_template(value))
    report.model(kind, dict(params), node, lenient=lenient)
    return len(report.problems) == before
