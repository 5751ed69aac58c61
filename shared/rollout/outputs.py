"""Where a model's answer is not the one that was expected."""

import json


def differs(expected: str, body: bytes, tolerance: float) -> str | None:
    """Where the answer is not the expected JSON, numbers within the tolerance; None when it is."""
    try:
        found = json.loads(body)
    except ValueError:
        return "the answer is not JSON"
    if isinstance(found, str):  # models that answer with JSON in a string
        try:
            found = json.loads(found)
        except ValueError:
            return _difference(json.loads(expected), found, tolerance, "")
    return _difference(json.loads(expected), found, tolerance, "")


def _difference(expected: object, found: object, tolerance: float, path: str) -> str | None:
    at = f" at {path}" if path else ""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key not in found:
                return f"{key!r} is missing{at}"
            inner = _difference(value, found[key], tolerance, f"{path}.{key}".lstrip("."))
            if inner:
                return inner
        return None
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"expected {len(expected)} values{at}, found {len(found)}"
        pairs = enumerate(zip(expected, found, strict=True))
        return next((said for n, (a, b) in pairs if (said := _difference(a, b, tolerance, f"{path}[{n}]"))), None)
    same_kind = isinstance(expected, bool) == isinstance(found, bool)
    if same_kind and isinstance(expected, int | float) and isinstance(found, int | float):
        return None if abs(expected - found) <= tolerance else f"expected {expected}{at}, found {found}"
    return None if same_kind and expected == found else f"expected {_short(expected)}{at}, found {_short(found)}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"  # noqa: PLR2004 (a line of a card)
