"""Call any HTTPS endpoint with any JSON, signed if asked: Airflow, Kubeflow, a service of one's own.

Every call carries `X-Switchyard-Key` and `Idempotency-Key`, the same for every try, so that a receiver can drop what it
has seen. With `sign`, it carries `X-Switchyard-Signature: t=<unix seconds>,v1=<hex>`. A receiver checks it so:

1. take `t` and `v1` out of the header, and refuse a `t` that is more than five minutes from its own clock;
2. compute HMAC-SHA256 with the shared secret over the bytes `<t>.<body as it came>`, in lower-case hex;
3. compare it with `v1` in constant time, and only then parse the body.
"""

import hashlib
import hmac
import re
from functools import cache
from ipaddress import ip_address
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, Field

from shared.actions import Action, Context, Params, SecretName
from shared.actions._text import TWICE, name_of
from shared.errors import PermanentError
from shared.post import deliver
from shared.record import Result, view
from shared.world import Secret

_SECRET: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS: Final = frozenset({"x-switchyard-key", "x-switchyard-signature", "idempotency-key", "host", "content-length"})


def _address(url: str) -> str:
    if not _SECRET.fullmatch(url):
        _check_url(url)
    return url


def _check_url(url: str) -> None:
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


def _checked(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if not _HEADER.fullmatch(name) or name.casefold() in _OURS:
            raise ValueError(f"{name!r} can't be set as a header")
    return headers


def _header(name: str, value: str) -> str:
    """The value, if a header can carry it: ours, or with a setting filled in."""
    if not value.isprintable() or not value.isascii():
        raise PermanentError(f"the value of header {name!r} has characters that a header can't carry")
    return value


class Webhook(Params):
    url: Annotated[str, AfterValidator(_address)] = Field(description="An https URL, or ${NAME} of a setting.")
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: Annotated[dict[str, str], AfterValidator(_checked)] = Field(
        default={}, description="Values may hold ${NAME} of a setting."
    )
    body: object = Field(default=None, description="Any JSON; left out, the event as rules see it.")
    sign: SecretName | None = Field(default=None, description="The setting that holds the secret to sign with.")


async def run(params: Webhook, context: Context) -> Result:
    world, key = context.world, name_of(context.key)
    url = _resolved(params.url, world.secret)
    try:
        _check_url(url)
    except ValueError as error:
        raise PermanentError(f"webhook: the URL in {params.url} {error}") from error
    content = params.body
    if content is None:
        content = {"key": key, "cause": dict(context.cause), "event": view(context.event, context.facts)}
    body = msgspec.json.encode(content)
    headers = {
        "Content-Type": "application/json",
        **{name: _header(name, _resolved(value, world.secret)) for name, value in params.headers.items()},
        "X-Switchyard-Key": key,
        "Idempotency-Key": key,
    }
    if params.sign:
        seconds = int(world.clock().timestamp())
        headers["X-Switchyard-Signature"] = signature(_resolved(params.sign, world.secret), seconds, body)
    where = params.url if params.url.startswith("${") else urlsplit(url).hostname
    reply = await deliver(
        world.http, params.method, url, what=f"the webhook {where}", now=world.clock(), headers=headers, body=body
    )
    twice = f"; {TWICE}" if context.again else ""
    return Result(f"{where} answered HTTP {reply.status}{twice}", values={"status": reply.status})


def signature(secret: str, seconds: int, body: bytes) -> str:
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def _resolved(text: str, secret: Secret) -> str:
    return _SECRET.sub(lambda found: secret(found[1]), text)


ACTION = Action(
    example=Webhook(
        url="${AIRFLOW_DAG_RUNS}",
        headers={"Authorization": "Bearer ${AIRFLOW_TOKEN}"},
        body={"dag_run_id": "{{ key }}", "conf": {"path": "{{ event.blob.url }}"}},
        sign="${WEBHOOK_SECRET}",
    ),
    run=run,
    idempotent=False,
    summary="Calls any HTTPS endpoint with any JSON, signed if asked.",
)
