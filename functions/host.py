"""The service behind the functions: built once a process, at the first use, so that indexing the app costs nothing."""

import os
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from shared.bounds import SETTING, Bounds, read_bounds
from shared.settings import SOURCES, SignIn, listed
from shared.settings import sign_in as _sign_in

if TYPE_CHECKING:
    from shared.service import Service

_given: "list[Service]" = []


def use(service: "Service") -> None:
    """For the embedded host: it builds the service itself."""
    _given[:] = [service]


def now() -> datetime:
    """When something arrives. The door must not build the service, which takes longer than an event: a host with a clock of
    its own has given it already.
    """
    return _given[0].world.clock() if _given else datetime.now(UTC)  # noqa: TID251 (the edge)


def sources() -> tuple[str, ...]:
    """Whom events may come from. As `now`: without building the service."""
    return _given[0].settings.sources if _given else _sources()


def levels() -> int:
    """Of nesting in a payload, as `sources`."""
    return (_given[0].settings.bounds if _given else _bounds()).payload_levels


@cache
def _bounds() -> Bounds:
    return read_bounds(os.environ.get(SETTING, ""))[0]  # noqa: TID251 (as below)


@cache
def _sources() -> tuple[str, ...]:
    return listed(os.environ.get(SOURCES, ""))  # noqa: TID251 (as below)


def sign_in() -> SignIn:
    """How people sign in, as the app is indexed: that comes before any service."""
    return _sign_in(os.environ)  # noqa: TID251 (as below)


def service() -> "Service":
    """The service of this process. On Azure it is built from the settings, with the real World."""
    if not _given:
        from shared.cloud.world import world
        from shared.service import Service
        from shared.settings import Settings

        environ = dict(os.environ)  # noqa: TID251 (this is the edge: settings are read here, once)
        settings = Settings.of(environ)
        _given.append(Service.of(world(settings, environ), settings))
    return _given[0]
