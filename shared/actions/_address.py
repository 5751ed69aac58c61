"""Addresses, and values that settings fill: checked when a rule is loaded, and again when the setting is known."""

import re
from collections.abc import Sequence
from functools import cache
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

from shared.errors import PermanentError
from shared.world import Secret

SECRET: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_BEHIND: Final = re.compile(r"\$\{[A-Z][A-Z0-9_]*\}(/[^\s?#]*)?(\?[^\s#]*)?")
_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS: Final = frozenset({"x-switchyard-key", "x-switchyard-signature", "idempotency-key", "host", "content-length"})


def _address(url: str) -> str:
    bare = _TEMPLATE.sub("x", url)
    if not _BEHIND.fullmatch(bare):
        _check(bare)
    return url


Address = Annotated[str, AfterValidator(_address)]
"""An https URL, or `${NAME}` of a setting that holds one, with a path behind it or without."""


def _check(url: str) -> None:
    """Raises ValueError that does not say the URL: it may be a secret's value."""
    try:
        split = urlsplit(url)
        host = split.hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise ValueError("expected an https URL, or ${NAME} of a setting that holds one")
    if split.username or split.password:
        raise ValueError("has a user or a password in it: keep the whole URL in a setting, and say ${NAME} here")
    if split.scheme != "https" and not (split.scheme == "http" and _is_loopback(host)):
        raise ValueError("is not https: what it carries could be read and changed on the way")


@cache
def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def opened(url: str, secret: Secret, what: str) -> str:
    """The address itself. `what` is in front of the reason where a setting holds none."""
    found = resolved(url, secret)
    try:
        _check(found)
    except ValueError as error:
        raise PermanentError(f"{what}: the URL in {url} {error}") from error
    return found


def shown(url: str) -> str:
    """What may be said of an address: its setting, or its host."""
    return url.partition("}")[0] + "}" if url.startswith("${") else urlsplit(url).hostname or ""


def resolved(text: str, secret: Secret) -> str:
    return SECRET.sub(lambda found: secret(found[1]), text)


def known(to: Sequence[str], shape: re.Pattern[str], what: str, secret: Secret) -> dict[str, str]:
    """Recipients as they are written, with whom each is: a setting that holds something else is told to nobody. `what` it should
    hold.
    """
    found: dict[str, str] = {}
    for one in to:
        found[one] = resolved(one, secret) if SECRET.fullmatch(one) else one
        if found[one] != one and not shape.fullmatch(found[one]):
            raise PermanentError(f"the setting in {one} holds no {what}")
    return found


def _checked(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if not _HEADER.fullmatch(name) or name.casefold() in _OURS:
            raise ValueError(f"{name!r} can't be set as a header")
    return headers


Headers = Annotated[dict[str, str], AfterValidator(_checked)]
"""Values may hold `${NAME}` of a setting."""


def filled(headers: dict[str, str], secret: Secret) -> dict[str, str]:
    """With the settings, if a header can carry them."""
    return {name: _value(name, resolved(value, secret)) for name, value in headers.items()}


def _value(name: str, value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise PermanentError(f"the value of header {name!r} has characters that a header can't carry")
    return value


def _whole(values: dict[str, str | bool | int | float]) -> dict[str, str | bool | int | float]:
    for name, value in values.items():
        if isinstance(value, str) and SECRET.search(value) and not SECRET.fullmatch(value):
            raise ValueError(f"{name!r} holds a secret and more: write ${{NAME}} and nothing else")
    return values


Values = Annotated[dict[str, str | bool | int | float], AfterValidator(_whole)]
"""By name. A value that is `${NAME}` is taken from that setting, and is a secret."""


def plain(value: str | bool | float) -> str:  # noqa: FBT001 (a value, not a switch)
    """As CI systems write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
