"""Names that are the same for the same key, and fit where they go."""

from hashlib import sha256


def deployment_name(model: str, version: str, key: str) -> str:
    """Of the new deployment: at most 32 letters, digits and dashes, the same for the same key."""
    tail = sha256(key.encode()).hexdigest()[:6]
    slug = "-".join(part for part in (_slug(model)[:16].strip("-"), _slug(version)[:7].strip("-"), tail) if part)
    return slug if slug[0].isalpha() else f"m{slug}"[:32]


def rollout_id(policy: str, model: str, version: str, key: str) -> str:
    """Fit for a URL, a name on the shelf and an orchestration; the same for the same key."""
    tail = sha256(key.encode()).hexdigest()[:8]
    return f"{_slug(policy)[:30]}-{_slug(model)[:24]}-{_slug(version)[:8]}-{tail}"


def _slug(text: str) -> str:
    return "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in text.lower()).strip("-") or "x"
