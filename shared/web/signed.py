"""Who is signed in. App Service authentication stands in front of the app, lets people in, and says in a header of every request
whom it let in; from outside nobody can send that header through it. Where it does not stand there, the header proves nothing.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.web.desk import Desk
from shared.web.words import Words

type Role = Literal["Switchyard.Operator", "Switchyard.Approver"]

OPERATOR: Final[Role] = "Switchyard.Operator"
APPROVER: Final[Role] = "Switchyard.Approver"

SIGN_OUT: Final = "/.auth/logout"
_SIGN_IN: Final = "/.auth/login/aad?post_login_redirect_uri="
_STATE: Final = "switchyard.person"
_LARGEST: Final = 65_536
_LONGEST: Final = 100
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ROLES: Final = frozenset({"roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"})
_NAMES: Final = (
    *("preferred_username", "upn", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"),
    *("email", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"),
)
_APPS: Final = ("azp", "appid")
"""Of a token that no person asked for: the app that did."""

_TO_ANYBODY: Final = re.compile(r"/static/[^/]*|/api/health")
"""What needs no person: how pages look; and how the service is, for which the host asks for a key in any case."""

_LOOKS_ONLY: Final = frozenset({"/api/silences/preview"})
_DECIDES: Final = re.compile(r"/approve/.*|/api/rollouts/[^/]*/[^/]*|/rollouts/[^/]*/say")
"""What is said to a rollout: `allow` knows by the word which role it needs."""


class _Claim(msgspec.Struct):
    typ: str = ""
    val: str = ""


class _Principal(msgspec.Struct):
    claims: list[_Claim] = []
    role_typ: str | None = None


class Refused(HTTPException):
    """Not this one, or not from there: as a page says it, in its reader's language. The API says it in English."""

    def __init__(self, status: int, key: str, **values: str) -> None:
        super().__init__(status, Words("en")(key, **values))
        self.key = key
        self.values = values


@dataclass(frozen=True)
class Person:
    """`name`: as the directory knows them. `roles`: of this app; None where roles are not asked for."""

    name: str
    roles: frozenset[str] | None = None

    def may(self, *roles: Role) -> bool:
        return self.roles is None or not self.roles.isdisjoint(roles)


def person(headers: Mapping[str, str], *, roles: bool) -> Person | None:
    """Whom App Service authentication let in; None where it says nobody, or nothing that can be read."""
    sent = headers.get("x-ms-client-principal", "")
    if not sent or len(sent) > _LARGEST:
        return None
    try:
        found = msgspec.json.decode(base64.b64decode(sent, validate=True), type=_Principal)
    except (binascii.Error, ValueError, RecursionError):
        return None
    claims: dict[str, list[str]] = {}
    for one in found.claims:
        claims.setdefault(one.typ, []).append(one.val)
    named = next((claims[typ][0] for typ in _NAMES if claims.get(typ)), headers.get("x-ms-client-principal-name", ""))
    name = " ".join(named.split())[:_LONGEST]
    if not name:
        app = next((claims[typ][0] for typ in _APPS if claims.get(typ)), "")
        name = f"app {app}"[:_LONGEST] if app else ""
    if not name:
        return None
    has = {value for typ in _ROLES | {found.role_typ or "roles"} for value in claims.get(typ, ())}
    return Person(name, frozenset(has) if roles else None)


def who(request: Request) -> Person | None:
    """Who makes this request, where people sign in."""
    found: Person | None = request.scope.get(_STATE)
    return found


def told(request: Request, said: Mapping[str, object]) -> Mapping[str, object]:
    """What the body says; the name is that of whoever is signed in, whatever the form says."""
    me = who(request)
    return said if me is None else {**said, "by": me.name, "owner": me.name}


def allow(request: Request, *roles: Role) -> None:
    """HTTPException where whoever is signed in has none of these roles."""
    me = who(request)
    if me is not None and not me.may(*roles):
        raise _lacks(me, roles)


def _lacks(me: Person, roles: tuple[Role, ...]) -> Refused:
    return Refused(403, "refused.role", name=me.name, roles=" / ".join(roles))


class SignedIn:
    """Lets in who is signed in, where the setting SWITCHYARD_SIGN_IN asks for it, and writes down who it is.

    Without that setting the keys of the Functions host decide, and what the headers say of a person is not looked at.
    """

    def __init__(
        self, inner: ASGIApp, desk: Callable[[], Desk], refuse: Callable[[Request, HTTPException], Any]
    ) -> None:
        self._inner = inner
        self._desk = desk
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _TO_ANYBODY.fullmatch(scope["path"]):
            request = Request(scope)
            try:
                scope = {**scope, _STATE: self._admitted(request)}
            except HTTPException as error:
                await self._refuse(request, error)(scope, receive, send)
                return
        await self._inner(scope, receive, send)

    def _admitted(self, request: Request) -> Person | None:
        settings = self._desk().settings
        if settings.sign_in == "key":
            return None
        if not settings.authenticated:
            raise Refused(503, "refused.unguarded", mode=settings.sign_in)
        found = person(request.headers, roles=settings.sign_in == "entra-roles")
        path = request.url.path
        if found is None:
            raise Refused(401, "refused.nobody", here=f"{_SIGN_IN}{quote(path, safe='/')}")
        if request.method not in _READING and path not in _LOOKS_ONLY:
            needed = (OPERATOR, APPROVER) if _DECIDES.fullmatch(path) else (OPERATOR,)
            if not found.may(*needed):
                raise _lacks(found, needed)
        return found
