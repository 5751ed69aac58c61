"""The shapes of what is kept and of what travels: JSON schemas, and whether one takes in what another has written."""

import json
from collections.abc import Set as AbstractSet
from importlib import import_module
from typing import Any, Final

import msgspec

KEPT: Final = (
    "shared.wire.Arrived",
    "shared.wire.Unread",
    "shared.wire.Decide",
    "shared.wire.Perform",
    "shared.wire.Follow",
    "shared.wire.Edited",
    "shared.wire.Packed",
    "shared.wire.Advance",
    "shared.record.EventRecord",
    "shared.record.IntentRecord",
    "shared.record.Followed",
    "shared.record.Silence",
    "shared.record.Ack",
    "shared.record.Standing",
    "shared.rollout.record.Rollout",
    "shared.rollout.record.Head",
    "shared.rollout.record.Step",
    "shared.rollout.record.Word",
    "shared.rollout.record.Freeze",
    "shared.world.Origin",
    "shared.answers.Caused",
    "shared.archive.Archived",
    "shared.guards.delivery.Delivery",
    "shared.guards.retraining.Ledger",
    "shared.guards.throttle.Slot",
    "shared.guards.throttle.Sealed",
    "shared.guards.throttle.Family",
    "shared.links.Approval",
    "shared.links.Acknowledgement",
    "shared.measure.Look",
    "shared.measure.Expected",
    "shared.measure.Trouble",
    "shared.notices.HeldBack",
    "shared.rules.silent.Watched",
    "shared.versions.Version",
    "functions.rollouts.Begun",
    "functions.rollouts.Turn",
)
"""On the queues, in the store, on the shelf, in the archive, in a link and in a history of Durable Functions."""


def _anything(_: type) -> dict[str, object]:
    return {"title": "anything"}


def shapes() -> dict[str, Any]:
    """By dotted name, and of what they are made of by `#name`."""
    types = [getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in KEPT]
    found, parts = msgspec.json.schema_components(types, ref_template="#{name}", schema_hook=_anything)
    all_of = dict(zip(KEPT, found, strict=True)) | {f"#{name}": part for name, part in parts.items()}
    plain: dict[str, Any] = json.loads(json.dumps({name: _bare(shape) for name, shape in all_of.items()}))
    return plain


def _bare(shape: Any) -> Any:
    """Without what is for people."""
    if isinstance(shape, list):
        return [_bare(one) for one in shape]
    if not isinstance(shape, dict):
        return shape
    bare = {}
    for key, value in shape.items():
        if key == "properties":
            bare[key] = {name: _bare(one) for name, one in value.items()}
        elif key == "default":
            bare[key] = value
        elif key not in {"description", "discriminator"} and (key != "title" or value == "anything"):
            bare[key] = _bare(value)
    return bare


class Readers:
    """Holds shapes of before against those of now: `wrong` says where a text that was written then is not read as it was meant."""

    def __init__(
        self, old: dict[str, Any], new: dict[str, Any], met: AbstractSet[tuple[str, str]] = frozenset()
    ) -> None:
        self._old, self._new = old, new
        self._met = set(met)

    def wrong(self) -> list[str]:
        gone = [f"{name}: gone" for name in self._old if not name.startswith("#") and name not in self._new]
        kinds = [name for name in self._old if not name.startswith("#") and name in self._new]
        return gone + [said for name in kinds for said in self._differ(self._old[name], self._new[name], name)]

    def _differ(self, old: Any, new: Any, at: str) -> list[str]:
        if "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"])
            if pair in self._met:
                return []
            self._met.add(pair)
        old, new = self._old.get(old.get("$ref"), old), self._new.get(new.get("$ref"), new)
        if new.get("title") == "anything" or old == new == {}:
            return []
        if "anyOf" in old or "anyOf" in new:
            return self._alternatives(old.get("anyOf", [old]), new.get("anyOf", [new]), at)
        if "enum" in new:
            missing = [value for value in old.get("enum", ["any text"]) if value not in new["enum"]]
            return [f"{at}: {value!r} is not read any more" for value in missing]
        return self._parts(old, new, at)

    def _alternatives(self, old: list[Any], new: list[Any], at: str) -> list[str]:
        wrong = []
        for one in old:
            tries = [Readers(self._old, self._new, self._met)._differ(one, other, at) for other in new]
            fitting = [said for other, said in zip(new, tries, strict=True) if self._same_tag(one, other)] or tries
            best = min(fitting, key=len)
            wrong += best if len(fitting) == 1 or not best else [f"{at}: {one} is not read any more"]
        return wrong

    def _same_tag(self, old: Any, new: Any) -> bool:
        def tag(shape: Any, parts: dict[str, Any]) -> object:
            return parts.get(shape.get("$ref"), shape).get("properties", {}).get("type", {}).get("enum")

        return tag(old, self._old) is not None and tag(old, self._old) == tag(new, self._new)

    def _parts(self, old: Any, new: Any, at: str) -> list[str]:
        kinds = {old.get("type"), new.get("type")}
        if len(kinds) > 1 and (old.get("type"), new.get("type")) != ("integer", "number"):
            return [f"{at}: was {old.get('type')}, and is {new.get('type')}"]
        wrong: list[str] = []
        before, now = old.get("properties", {}), new.get("properties", {})
        required = {*new.get("required", ())}
        wrong += [f"{at}.{name}: gone" for name in before if name not in now]
        wrong += [f"{at}.{name}: new, and has no default" for name in now if name not in before and name in required]
        for name in before.keys() & now.keys():
            if name in required and name not in old.get("required", ()):
                wrong.append(f"{at}.{name}: has no default any more")
            elif before[name].get("default") != now[name].get("default"):
                wrong.append(f"{at}.{name}: another default, and what has its default was left out")
            wrong += self._differ(before[name], now[name], f"{at}.{name}")
        for word in ("items", "additionalProperties"):
            if isinstance(old.get(word), dict) and isinstance(new.get(word), dict):
                wrong += self._differ(old[word], new[word], f"{at}[]")
        places = zip(old.get("prefixItems", ()), new.get("prefixItems", ()), strict=False)
        for n, (one, other) in enumerate(places):
            wrong += self._differ(one, other, f"{at}[{n}]")
        if len(old.get("prefixItems", ())) > len(new.get("prefixItems", ())):
            wrong.append(f"{at}: has fewer places")
        if new.get("minItems", 0) > old.get("minItems", 0):
            wrong.append(f"{at}: has a new place without a default")
        return wrong
