"""Event Grid's filters, as its documentation tells them: a second opinion on what our filters let through."""

from collections.abc import Mapping
from typing import Any

FILTERS = VALUES = 25
LONGEST = 512
_MISSING = object()


def within_limits(found: Mapping[str, Any]) -> bool:
    advanced = found.get("advancedFilters", [])
    values = [value for one in advanced for value in one.get("values", [])]
    wordless = {"IsNotNull", "IsNullOrUndefined"}
    return (
        bool(found["includedEventTypes"])
        and len(advanced) <= FILTERS
        and len(values) <= VALUES
        and all(0 < len(value) <= LONGEST for value in values)
        and all((one["operatorType"] in wordless) == ("values" not in one) for one in advanced)
    )


def passes(found: Mapping[str, Any], envelope: Mapping[str, Any], *, minds_case: bool) -> bool:
    """Whether a subscription with this filter gets the event. `minds_case`: of keys, which nobody has documented."""
    cloud = "specversion" in envelope
    kind = envelope["type" if cloud else "eventType"].lower()
    subject = envelope.get("subject", "").lower()
    return (
        kind in [one.lower() for one in found["includedEventTypes"]]
        and subject.startswith(found.get("subjectBeginsWith", "").lower())
        and subject.endswith(found.get("subjectEndsWith", "").lower())
        and all(
            _holds(
                one,
                _value(envelope, one["key"], minds_case=minds_case),
                arrays=found.get("enableAdvancedFilteringOnArrays"),
            )
            for one in found.get("advancedFilters", [])
        )
    )


def _value(envelope: Mapping[str, Any], key: str, *, minds_case: bool) -> object:
    """A key with a dot in its name cannot be addressed; of the envelope, few can."""
    head, *rest = key.split(".")
    if head != "data":
        cloud = "specversion" in envelope
        known = (
            {"id", "source", "type", "specversion"} if cloud else {"id", "topic", "subject", "eventType", "dataVersion"}
        )
        assert head in known, f"{head} is no key of an advanced filter in this schema"
        return envelope.get(head, _MISSING)
    inside: object = envelope.get("data")
    for step in rest:
        if not isinstance(inside, dict):
            return _MISSING
        named = {k if minds_case else k.lower(): v for k, v in inside.items()}
        inside = named.get(step if minds_case else step.lower(), _MISSING)
    return inside


def _holds(one: Mapping[str, Any], value: object, *, arrays: bool | None) -> bool:
    operator, values = one["operatorType"], [text.lower() for text in one.get("values", [])]
    if isinstance(value, list) and arrays and operator.startswith("String"):
        if operator == "StringNotIn":
            return all(_holds(one, item, arrays=False) for item in value)
        return any(_holds(one, item, arrays=False) for item in value)
    text = value.lower() if isinstance(value, str) else None
    match operator:
        case "IsNotNull":
            return value is not _MISSING and value is not None
        case "StringNotIn":  # also where the key is missing
            return text is None or text not in values
        case "StringIn":
            return text is not None and text in values
        case "StringBeginsWith":
            return text is not None and text.startswith(tuple(values))
        case "StringEndsWith":
            return text is not None and text.endswith(tuple(values))
        case "StringContains":
            return text is not None and any(value in text for value in values)
    raise AssertionError(operator)
