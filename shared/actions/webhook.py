"""Call any HTTPS endpoint with any JSON, signed if asked: Airflow, Kubeflow, a service of one's own.

Every call carries `X-Switchyard-Key` and `Idempotency-Key`, the same for every try, so that a receiver can drop what it
has seen. With `sign`, it carries `X-Switchyard-Signature: t=<unix seconds>,v1=<hex>`. A receiver checks it so:

1. take `t` and `v1` out of the header, and refuse a `t` that is more than five minutes from its own clock;
2. compute HMAC-SHA256 with the shared secret over the bytes `<t>.<body as it came>`, in lower-case hex;
3. compare it with `v1` in constant time, and only then parse the body.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import msgspec
from pydantic import Field

from shared.actions import Action, Context, Params, SecretName
from shared.actions._address import Address, Headers, filled, opened, resolved, shown
from shared.actions._text import TWICE, clip, line, name_of
from shared.errors import PermanentError
from shared.post import deliver, table
from shared.record import Progress, Result, State, view
from shared.world import World

_PLACE: Final = r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$"

type _Place = Annotated[str, Field(pattern=_PLACE)]
"""Of a value in a JSON answer: names with dots between them."""


class Follow(Params):
    """Where the far side says how what it started stands. It is asked with the same headers."""

    url: Address = Field(description="An https URL, or ${NAME} and a path. {id} stands for what `id` found.")
    id: _Place | None = Field(default=None, description="Where the answer to the call says what it started.")
    state: _Place = Field(default="state", description="Where the answer says how it stands.")
    queued: tuple[str, ...] = Field(default=(), description="Words for: not begun yet.")
    good: tuple[str, ...] = Field(min_length=1, description="Words for: it has ended well. In any case of letters.")
    bad: tuple[str, ...] = Field(min_length=1, description="Words for: it has ended badly. Any other: it is at it.")


class Webhook(Params):
    url: Address = Field(description="An https URL, or ${NAME} of a setting, with a path behind it or without.")
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: Headers = Field(default={}, description="Values may hold ${NAME} of a setting.")
    body: object = Field(default=None, description="Any JSON; left out, the event as rules see it.")
    sign: SecretName | None = Field(default=None, description="The setting that holds the secret to sign with.")
    already: tuple[Annotated[int, Field(ge=400, le=499)], ...] = Field(
        default=(),
        description="Statuses by which the far side says that an earlier try under our key has done it: 409.",
    )
    follow: Follow | None = Field(default=None, description="How to hear what came of what it started.")


async def run(params: Webhook, context: Context) -> Result:
    world, key = context.world, name_of(context.key)
    url = opened(params.url, world.secret, "webhook")
    content = params.body
    if content is None:
        content = {"key": key, "cause": dict(context.cause), "event": view(context.event, context.facts)}
    body = msgspec.json.encode(content)
    headers = {
        "Content-Type": "application/json",
        **filled(params.headers, world.secret),
        "X-Switchyard-Key": key,
        "Idempotency-Key": key,
    }
    if params.sign:
        seconds = int(world.clock().timestamp())
        headers["X-Switchyard-Signature"] = signature(resolved(params.sign, world.secret), seconds, body)
    where = shown(params.url)
    reply = await deliver(
        world.http,
        params.method,
        url,
        what=f"the webhook {where}",
        now=world.clock(),
        headers=headers,
        body=body,
        also=params.already,
    )
    values: dict[str, object] = {"status": reply.status}
    if reply.status in params.already:
        said = f"{where} answered HTTP {reply.status}: it was done by an earlier try"
    else:
        twice = f"; {TWICE}" if context.again and not params.already else ""
        said = f"{where} answered HTTP {reply.status}{twice}"
    # Where a far side knows our key, once is certain.
    doubt = False if params.already else None
    if params.follow is None:
        return Result(said, values=values, maybe_twice=doubt)
    started = _at(table(reply), params.follow.id) if params.follow.id else None
    if params.follow.id and started is None:
        return Result(f"{said}; it can't be followed: the answer has no {params.follow.id}", None, values, doubt)
    if started is not None:
        values["id"] = started
    return Result(said, None, values, doubt, _handle(params, params.follow, started, where))


def _handle(params: Webhook, follow: Follow, started: object, where: str) -> dict[str, object]:
    """Secrets by their names."""
    address = follow.url.replace("{id}", quote(str(started), safe="")) if started is not None else follow.url
    words = {"queued": list(follow.queued), "good": list(follow.good), "bad": list(follow.bad)}
    return {"url": address, "headers": params.headers, "state": follow.state, **words, "about": f"webhook {where}"}


async def look(handle: Mapping[str, object], started: datetime, world: World) -> Progress:
    """What the far side says of it."""
    del started
    given: Any = handle
    where = shown(given["url"])
    reply = await deliver(
        world.http,
        "GET",
        opened(given["url"], world.secret, "webhook"),
        what=f"the webhook {where}, asked how it stands,",
        now=world.clock(),
        headers={"Accept": "application/json", **filled(given["headers"], world.secret)},
    )
    found = _at(table(reply), given["state"])
    if not isinstance(found, str):
        raise PermanentError(f"the webhook {where}, asked how it stands, says nothing under {given['state']}")
    return Progress(_state(found, given), f"{where} says {clip(line(found), 60)}", None, {"state": clip(found, 60)})


def _state(word: str, words: Mapping[str, list[str]]) -> State:
    known: tuple[tuple[str, State], ...] = (("good", "succeeded"), ("bad", "failed"), ("queued", "queued"))
    for name, state in known:
        if word.casefold() in {one.casefold() for one in words[name]}:
            return state
    return "running"


def _at(answer: object, place: str) -> object:
    """What stands there; None where nothing does."""
    for name in place.split("."):
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer if isinstance(answer, str | int) else None


def signature(secret: str, seconds: int, body: bytes) -> str:
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


ACTION = Action(
    example=Webhook(
        url="${SCORING_SERVICE}",
        headers={"Authorization": "Bearer ${SCORING_TOKEN}"},
        body={"request": "{{ key }}", "path": "{{ event.blob.url }}"},
        sign="${WEBHOOK_SECRET}",
    ),
    run=run,
    idempotent=False,
    summary="Calls any HTTPS endpoint with any JSON, signed if asked, and follows what it starts.",
    look=look,
)
