"""JSON Schemas of the configuration, for editors: `python -m shared.cli.schema [FOLDER]` writes them.

They help while typing; `load_texts` is stricter and knows the names, so it has the last word.
"""

import json
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from shared import messages
from shared.actions import Channel, discover
from shared.actions._place import placed
from shared.bounds import DEFAULTS
from shared.events import TYPES
from shared.record import LOOKUPS, PARTS
from shared.rules.config import GUARDS, Config, Pipeline
from shared.rules.paths import FIXED, OPEN, Kind
from shared.rules.policies import ELSEWHERE, PolicyFile
from shared.rules.quality import WatchFile
from shared.rules.steps import MODEL
from shared.rules.worth import UNKNOWN, WAYS

type Json = dict[str, object]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE: Final[Json] = {"type": "string", "pattern": r"\{\{|\{%", "description": "A template."}
_OPERATORS: Final = "A value, an operator (= != > >= < <= ~, starts, ends), a range (0.1..0.3), present or absent; a list holds if one of it does."
_KINDS: Final[Mapping[Kind, Json]] = {
    "text": {"type": ["string", "number", "boolean"]},
    "any": {"type": ["string", "number", "boolean"]},
    "number": {
        "anyOf": [
            {"type": "number"},
            {"type": "string", "pattern": r"^(present|absent|(!=|>=|<=|=|>|<)\s*[-+.\d].*|[-+.\d].*\.\..+)$"},
        ]
    },
    "truth": {"anyOf": [{"type": "boolean"}, {"enum": ["present", "absent", "!= true", "!= false"]}]},
}


def of_config() -> Json:
    """switchyard.yaml."""
    return Config.model_json_schema() | {"$schema": _DIALECT, "title": "Switchyard: config/switchyard.yaml"}


def of_template() -> Json:
    """A file under templates/."""
    return messages.Template.model_json_schema() | {"$schema": _DIALECT, "title": "Switchyard: config/templates/*.yaml"}


def of_rollout() -> Json:
    """A file under rollouts/."""
    schema = PolicyFile.model_json_schema()
    properties, definitions = schema["properties"], schema["$defs"]
    for one in (schema, *definitions.values()):
        for field in one.get("properties", {}).values():
            if "$ref" in field:
                field.pop("default", None)  # in seconds or minutes: not as it is written
    definitions |= _blocks()
    fields = {name: field for name, field in _fields().items() if not name.startswith(ELSEWHERE)}
    fields["model"] = {"$ref": "#/$defs/text test", "description": "Short for model.name."}
    properties["candidate"] = _block(fields) | {"description": properties["candidate"]["description"]}
    required = ["name", "endpoint", "candidate"]
    return schema | {"$schema": _DIALECT, "title": "Switchyard: config/rollouts/*.yaml", "required": required}


def of_quality() -> Json:
    """A file under quality/."""
    schema = WatchFile.model_json_schema()
    for field in schema["properties"].values():
        if field.get("default") is not None and "$ref" in json.dumps(field):
            field.pop("default")  # in seconds: not as it is written
    return schema | {"$schema": _DIALECT, "title": "Switchyard: config/quality/*.yaml"}


def of_rules() -> Json:
    """A file under rules/."""
    definitions = _blocks()
    steps = [_notify(), _retrain(definitions), _promote()]
    for name, action in sorted(discover().items()):
        if name not in {"retrain", "promote"} and not action.internal:
            inner = _inner(type(action.example), definitions)
            steps.append(_step(name, inner, action.summary, _FOLLOWED if action.look else None))
    rule = {
        "type": "object",
        "required": ["name", "do"],
        "additionalProperties": False,
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[a-z0-9][a-z0-9-]{0,59}$",
                "description": "Unique over all files; part of the key of everything that the rule does.",
            },
            "event": _one_or_more({"$ref": "#/$defs/event"}),
            "match": {"$ref": "#/$defs/block", "description": "All lines hold. Left out: every event of the type."},
            "when": {
                "type": "string",
                "maxLength": DEFAULTS.expression_characters,
                "description": "An expression in CEL over `event`, for what the lines of `match` can't say.",
            },
            "do": {"type": "array", "minItems": 1, "items": {"oneOf": steps}, "description": "One action a step."},
            "stop": {"type": "boolean", "default": False, "description": "Later rules do not see the event."},
            "enabled": {"type": "boolean", "default": True},
            "keep": {
                "$ref": "#/$defs/length",
                "description": "How long the record of what it matches is kept: 400d. Of several rules, the longest.",
            },
            **_timed(),
            "children": {
                "enum": ["together", "each"],
                "description": "Of one run: in one message (together), or each.",
            },
            "expect": {
                "anyOf": [
                    _one_or_more({"$ref": "#/$defs/event"}),
                    {
                        "type": "object",
                        "required": ["event"],
                        "additionalProperties": False,
                        "properties": {
                            "event": _one_or_more({"$ref": "#/$defs/event"}),
                            "match": {"$ref": "#/$defs/block"},
                        },
                    },
                ],
                "description": "A rule about what did not happen: the event that should have come.",
            },
            "after": {**_one_or_more({"$ref": "#/$defs/event"}), "description": "What it should have come after."},
            "within": {"$ref": "#/$defs/length", "description": "How soon."},
            "by": {**_FIELDS, "description": "Fields with the same values in both."},
        },
        "oneOf": [{"required": ["event"]}, {"required": ["expect", "after", "within"]}],
    }
    definitions["length"] = {"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$"}
    definitions["event"] = {
        "anyOf": [{"enum": list(TYPES)}, {"type": "string", "pattern": r"^[\w-]+(\.[\w-]+)+$"}],
        "description": "A short name, or the full type of any other event.",
    }
    definitions["rule"] = rule
    return {
        "$schema": _DIALECT,
        "title": "Switchyard: config/rules/*.yaml",
        "description": "Every rule that matches fires, in the order of files and of their lists; only `stop` ends that.",
        "type": "object",
        "required": ["rules"],
        "additionalProperties": False,
        "properties": {"rules": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/rule"}}},
        "$defs": definitions,
    }


def of_test() -> Json:
    """A file under tests/."""
    length: Json = {"$ref": "#/$defs/length"}
    fields: Json = {
        **{name: {"description": "Of the event."} for name in FIXED if name not in {"time", "type"}},
        "unknown": {**_one_or_more({"enum": list(LOOKUPS)}), "description": "Lookups that give no answer."},
    }
    opened: Json = {rf"^{name}\..+": {"description": f"{name}.NAME, with {what}"} for name, what in OPEN.items()}
    lines: Json = {"anyOf": [{"const": "nothing"}, {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}}]}
    expects: Json = {
        "expect": {
            **lines,
            "description": "All that happens then; left out: nothing. What only waits need not stand here.",
        },
        "expect_at_least": {**lines, "description": "Some of what happens then."},
    }
    event: Json = {"event": {"$ref": "#/$defs/event"}, **fields}
    send: Json = {"send": {"type": "string", "description": "A file with events, seen from here."}, **fields}
    silence: Json = {"silence": {"$ref": "#/$defs/silence"}}
    passes: list[tuple[str, Json]] = [
        ("after", {"after": {**length, "description": "So much later."}}),
        ("at", {"at": {"type": "string", "description": "When the clock shows it: '18:01', or a day with it."}}),
        ("acknowledge", {"acknowledge": {"$ref": "#/$defs/acknowledge"}}),
        ("silence", silence),
    ]
    ago: Json = {"ago": {**length, "description": "So long before the test begins."}}
    started: Json = {"retrain": {"type": "string"}, "running": {"type": "boolean"}, **ago}
    given = [
        _closed(["event", "ago"], event | ago, opened),
        _closed(["send", "ago"], send | ago, opened),
        _closed(["retrain", "ago"], started),
        _closed(["silence"], silence | ago),
        _closed(["quality"], _standing() | ago),
    ]
    steps = [_closed(["event"], event | expects, opened), _closed(["send"], send | expects, opened)]
    steps += [_closed([name], inner | expects) for name, inner in passes]
    now: Json = {"type": "string", "description": "When it begins: 2026-11-24T17:55, by the clock of `zone`."}
    test = _closed(
        ["name", "steps"],
        {
            "name": {"type": "string", "description": "What it shows."},
            "now": now,
            "given": {"type": "array", "minItems": 1, "items": {"anyOf": given}, "description": "What was the case."},
            "steps": {"type": "array", "minItems": 1, "items": {"anyOf": steps}},
        },
    )
    text: Json = {"type": "string"}
    definitions: Json = {
        "length": {"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$"},
        "event": {"anyOf": [{"enum": list(TYPES)}, {"type": "string", "pattern": r"^[\w-]+(\.[\w-]+)+$"}]},
        "acknowledge": _closed(["by"], {"by": text, "of": text, "mute": {"type": "boolean"}}),
        "silence": _closed(
            ["match", "for"], {"match": {"type": "object"}, "for": length, "owner": text, "reason": text}
        ),
        "line": _line(),
        "test": test,
    }
    top = _closed(
        ["tests"],
        {
            "now": now,
            "zone": {"type": "string", "description": "Of the clock; left out, that of `defaults` in switchyard.yaml."},
            "defaults": {**_closed([], fields, opened), "description": "Fields that every event of a few lines has."},
            "tests": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/test"}},
        },
    )
    return {"$schema": _DIALECT, "title": "Switchyard: config/tests/*.yaml", **top, "$defs": definitions}


def _line() -> Json:
    """One of `expect`."""
    name: Json = {"type": ["string", "boolean"]}
    verbs = ("notify", *(verb for verb, action in discover().items() if not action.internal))
    suppressed = ["throttle", "calendar", "silence", "acknowledged", "escalation", "cooldown", "concurrency", "worth"]
    properties: Json = {
        "rule": {"type": "string"},
        **dict.fromkeys(verbs, name),
        "to": {"type": "string", "description": "Who is on call."},
        "tell": {"type": "string", "description": "The receiver that hears how what was started has ended."},
        "together": {"type": "integer", "minimum": 1, "description": "Events that one message is about."},
        "times": {"type": "integer", "minimum": 1},
        "suppressed": {"enum": [True, *suppressed]},
        "held": {"enum": [True, "budget", "loop"]},
        "collected": {"const": True},
        "waits": {"anyOf": [{"const": True}, {"$ref": "#/$defs/length"}]},
        "undecided": {"enum": [True, *LOOKUPS]},
        "refused": {"const": True},
    }
    return _closed(["rule"], properties)


def _closed(required: list[str], properties: Json, patterns: Json | None = None) -> Json:
    schema: Json = {"type": "object", "additionalProperties": False, "properties": properties}
    schema |= {"required": required} if required else {}
    return schema | ({"patternProperties": patterns} if patterns else {})


_FIELDS: Final[Json] = {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string"}}


def _timed() -> Json:
    length: Json = {"$ref": "#/$defs/length"}
    kinds = {
        "once_within": "The first of this time; the others are held back, and counted.",
        "once_after": "All of this time in one message, when it is over.",
        "accumulate_within": "All in one message, once there are `threshold` of them within this time.",
        "complete_within": "Once for each delivery of blobs, when all its parts are there within this time.",
        "incomplete_after": "Once, if not all parts of a delivery of blobs are there when this time is over.",
    }
    calendar = _one_or_more({"type": "string"})
    return {
        "throttle": {
            "type": "object",
            "additionalProperties": False,
            "oneOf": [{"required": [kind]} for kind in kinds],
            "dependentRequired": {"accumulate_within": ["threshold"], "threshold": ["accumulate_within"]},
            "properties": {
                **{kind: {**length, "description": said} for kind, said in kinds.items()},
                "by": {**_FIELDS, "description": "Fields: each set of their values has an account of its own."},
                "threshold": {"type": "integer", "minimum": 2, "maximum": 500},
                "parts": {
                    "anyOf": [{"type": "integer", "minimum": 1, "maximum": PARTS}, {"type": "string"}],
                    "description": "How many, or an RE2 expression whose group in the file's name says it.",
                },
                "marker": {
                    "type": "string",
                    "description": "An RE2 expression: a file of such a name is no part; its group may say how many there are.",
                },
            },
        },
        "active": {**calendar, "description": "Calendars: it fires only within one of these."},
        "mute": {**calendar, "description": "Calendars: it does not fire within any of these."},
    }


_FOLLOWED: Final[Json] = {
    "tell": {"type": "string", "description": "The receiver that hears how it has ended: one message, good or bad."},
    "start_within": {
        "$ref": "#/$defs/length",
        "description": "After which it is noticed that it has not begun; left out, 30m.",
    },
}


def _one_or_more(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "array", "minItems": 1, "items": schema}]}


def _test(kind: Kind) -> Json:
    return {"description": _OPERATORS, **_one_or_more(_KINDS[kind])}


def _blocks() -> Json:
    return {"block": _block(_fields()), **{f"{kind} test": _test(kind) for kind in _KINDS}}


def _fields() -> Json:
    return {name: {"$ref": f"#/$defs/{path.kind} test"} for name, path in FIXED.items()}


def _block(fields: Json) -> Json:
    block = {"$ref": "#/$defs/block"}
    kinds: Mapping[str, Kind] = {"metrics": "number"}
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "description": "Lines FIELD: value. All of them hold.",
        "properties": {
            "any": {"type": "array", "minItems": 1, "items": block, "description": "One of the blocks holds."},
            "not": {**block, "description": "The block does not hold."},
            **fields,
        },
        "patternProperties": {
            rf"^{name}\..+": {
                "$ref": f"#/$defs/{kinds.get(name, 'any')} test",
                "description": f"{name}.NAME, with {what}",
            }
            for name, what in OPEN.items()
        },
    }


def _step(verb: str, inner: Json, summary: str, options: Json | None = None) -> Json:
    return {
        "type": "object",
        "description": summary,
        "required": [verb],
        "additionalProperties": False,
        "properties": {verb: inner, **(options or {})},
    }


def _notify() -> Json:
    options: Json = {
        "template": {"type": "string", "examples": list(messages.builtin_names())},
        "language": {"enum": ["en", "ja"]},
    }
    receiver: Json = {"type": "string", "description": "One of `receivers` in switchyard.yaml."}
    return _step("notify", receiver, "Tells a receiver by all of its channels.", options)


def _retrain(definitions: Json) -> Json:
    inner = _inner(Pipeline, definitions)
    assert isinstance(inner["properties"], dict)
    options = {name: schema for name, schema in inner["properties"].items() if name not in {"source", *GUARDS}}
    options |= {**_FOLLOWED, "worth": _worth()}
    pipeline: Json = {"type": "string", "description": "One of `pipelines` in switchyard.yaml."}
    return _step("retrain", pipeline, "Starts a pipeline; what stands beside it goes before its own settings.", options)


def _worth() -> Json:
    above: Json = {"exclusiveMinimum": 0}
    asked = {
        "quality": {"type": "string", "description": "A file of quality/, without .yaml."},
        "drop": {"type": "number", **above, "description": "By how much the metric is worse than in training."},
        "metric": {"type": "string", "description": "One that the file of quality/ measures."},
        "by": {"enum": list(WAYS), "description": "Against the truth (measured), from the scores alone, or either."},
        "new_labels": {"type": "integer", **above, "description": "Truths that came since the last training."},
        "unknown": {"enum": list(UNKNOWN), "description": "What happens where nobody knows."},
    }
    together: Json = {"dependentRequired": {"drop": ["metric"], "metric": ["drop"]}}
    return _closed(["quality"], asked) | together | {"description": "Only where a training is worth it."}


def _standing() -> Json:
    numbers: Json = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "number"}}
    return {
        "quality": {"type": "string", "description": "How the model of this file of quality/ stands."},
        "measured": numbers,
        "estimated": numbers,
        "reference": {**numbers, "description": "What the training run logged."},
        "labels": {"type": "integer", "minimum": 0, "description": "Truths that have come."},
    }


def _promote() -> Json:
    policy: Json = {"type": "string", "description": "A file of rollouts/, without .yaml."}
    model: Json = {"type": ["string", "number"], "description": "Left out, that of the model that was registered."}
    return _step("promote", policy, discover()["promote"].summary, dict.fromkeys(MODEL, model))


_NAMED: Final[Json] = {"type": "string", "description": "One of `workspaces` in switchyard.yaml."}


def _inner(kind: type[BaseModel], definitions: Json) -> Json:
    """The parameters of an action, each of which may be a template instead."""
    schema = kind.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    schema["properties"] = {name: _or_template(field) for name, field in schema["properties"].items()}
    if placed(kind):
        schema["properties"]["workspace"]["anyOf"].insert(0, _NAMED)
    if issubclass(kind, Channel):
        schema["properties"].pop("note", None)
    if not schema.get("required"):
        schema["type"] = ["object", "null"]
    return schema


def _or_template(schema: Json) -> Json:
    said: Json = {name: schema.pop(name) for name in ("title", "description", "default") if name in schema}
    return {**said, "anyOf": [schema, _TEMPLATE]}


def texts() -> dict[str, str]:
    """The files by name, as they are published."""
    schemas = {
        "switchyard.schema.json": of_config(),
        "rules.schema.json": of_rules(),
        "rollout.schema.json": of_rollout(),
        "quality.schema.json": of_quality(),
        "template.schema.json": of_template(),
        "test.schema.json": of_test(),
    }
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}
