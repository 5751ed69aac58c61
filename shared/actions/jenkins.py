"""Build a Jenkins job with parameters. It waits in the queue as an item and becomes a build; the item is forgotten five minutes later,
and the build remembers its number.
"""

import json
import re
from base64 import b64encode
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from shared.actions import Action, Context, Params, SecretName
from shared.actions._address import SECRET, Address, Values, opened, plain, resolved, shown
from shared.actions._text import TWICE, clip, line, name_of
from shared.errors import MissingError
from shared.post import deliver, table
from shared.record import Progress, Result, State
from shared.world import Reply, World

_ITEM: Final = re.compile(r"/queue/item/(\d{1,18})/?$")
_NEWEST: Final = 100
"""Builds that are looked through."""

_GIVEN: Final = "actions[parameters[name,value]]"
_STATES: Final[Mapping[str, State]] = {"SUCCESS": "succeeded", "ABORTED": "canceled", "NOT_BUILT": "canceled"}
"""UNSTABLE is a build whose tests failed: not as asked."""


class Jenkins(Params):
    url: Address = Field(description="Where Jenkins is: an https URL, or ${NAME} of a setting that holds one.")
    job: str = Field(
        pattern=r"^[^/\x00-\x1f?#]+(/[^/\x00-\x1f?#]+)*$", description="With its folders: team/fraud/train."
    )
    user: str = Field(min_length=1, description="Who builds; may be ${NAME}.")
    token: SecretName = Field(description="The setting that holds an API token of the user, not the password.")
    parameters: Values = Field(
        default={}, description="Those that the job declares. A value that is ${NAME} is taken from that setting."
    )
    correlation_parameter: str | None = Field(
        default=None,
        description="The job's parameter that takes our key: a build is found again by it after a lost answer, and two "
        "requests that are otherwise alike are not made one.",
    )
    cause_parameter: str | None = Field(
        default=None, description="The job's parameter that takes what led here, as JSON: give it on as tags."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.parameters or self.correlation_parameter or self.cause_parameter):
            raise ValueError("give at least one parameter: Jenkins builds a job without any by another request")
        return self


async def run(params: Jenkins, context: Context) -> Result:
    key, world = name_of(context.key), context.world
    handle: dict[str, object] = {
        "url": params.url,
        "path": params.job,
        "user": params.user,
        "token": params.token,
        "key": key if params.correlation_parameter else "",
        "about": f"Jenkins job {params.job}",
    }
    if context.again and params.correlation_parameter and (found := await _earlier(handle, world)):
        said = f"{params.job} in Jenkins was queued by an earlier try"
        return Result(said, None, {"job": params.job}, maybe_twice=False, follow=handle | found)
    written = {name: plain(value) for name, value in params.parameters.items()}
    given = {name: resolved(text, world.secret) for name, text in written.items()}
    secrets = [given[name] for name, text in written.items() if SECRET.fullmatch(text)]
    given |= {params.correlation_parameter: key} if params.correlation_parameter else {}
    given |= {params.cause_parameter: json.dumps(dict(context.cause))} if params.cause_parameter else {}
    reply = await _ask(handle, world, "POST", f"{_path(params.job)}/buildWithParameters", form=given, secrets=secrets)
    twice = f"; {TWICE}" if context.again else ""
    item = _ITEM.search(reply.headers.get("location", ""))
    if item is None:  # an old Jenkins: the build is found by the key only
        follow = handle if params.correlation_parameter else None
        return Result(f"queued {params.job} in Jenkins{twice}", None, {"job": params.job}, follow=follow)
    number = int(item[1])
    said = f"queued {params.job} in Jenkins as item {number}{twice}"
    return Result(said, None, {"job": params.job, "item": number}, follow=handle | {"item": number})


async def _earlier(handle: Mapping[str, object], world: World) -> dict[str, object] | None:
    """By which what an earlier try queued is followed: the build, or the item that still waits."""
    build = await _build_of(handle, world)
    if build is not None:
        return {"build": build["number"]}
    tree = urlencode({"tree": f"items[id,{_GIVEN}]"})
    items = table(await _ask(handle, world, "GET", f"queue/api/json?{tree}")).get("items")
    found = next((one for one in _tables(items) if handle["key"] in _values(one)), None)
    return None if found is None else {"item": found["id"]}


async def _build_of(handle: Mapping[str, object], world: World) -> dict[str, Any] | None:
    """The build that came of the item, or was given our key."""
    fields = f"number,url,queueId,building,result,duration,{_GIVEN}"
    tree = urlencode({"tree": f"builds[{fields}]{{0,{_NEWEST}}}"})
    builds = table(await _ask(handle, world, "GET", f"{_path(str(handle['path']))}/api/json?{tree}")).get("builds")
    item, key = handle.get("item"), handle.get("key")
    for one in _tables(builds):
        if (item is not None and one.get("queueId") == item) or (key and key in _values(one)):
            return one
    return None


async def look(handle: Mapping[str, object], started: datetime, world: World) -> Progress:
    """From the item to its build, and then by that."""
    del started
    number = handle.get("build")
    if number is not None:
        fields = urlencode({"tree": "number,url,building,result,duration"})
        path = f"{_path(str(handle['path']))}/{number}/api/json?{fields}"
        return _standing(handle, table(await _ask(handle, world, "GET", path)))
    item = handle.get("item")
    if item is not None:
        try:
            waits = table(await _ask(handle, world, "GET", f"queue/item/{item}/api/json"))
        except MissingError:
            waits = {}  # forgotten: its build remembers it
        if waits.get("cancelled") is True:
            return Progress("canceled", f"{handle['about']} was taken from the queue", None, {"item": item})
        build = waits.get("executable")
        if isinstance(build, dict):
            return _standing(handle, build)
        if waits:
            why = clip(line(str(waits.get("why") or "no reason given")), 120)
            return Progress("queued", f"{handle['about']} waits in the queue: {why}", None, {"item": item})
    found = await _build_of(handle, world)
    if found is None:
        raise MissingError(
            f"{handle['about']}: no item of the queue, and none of the last {_NEWEST} builds, is this one"
        )
    return _standing(handle, found)


def _standing(handle: Mapping[str, object], build: Mapping[str, Any]) -> Progress:
    number, result = build.get("number"), build.get("result")
    state: State = "running"
    if isinstance(result, str) and not build.get("building"):
        state = _STATES.get(result, "failed")
    words = result if state != "running" else "building"
    values: dict[str, object] = {"job": handle["path"], "build": number}
    values |= {"result": result} if isinstance(result, str) else {}
    values |= {"duration": build["duration"] / 1000} if state != "running" and "duration" in build else {}
    url = build.get("url")
    link = url if isinstance(url, str) and url.startswith(("https://", "http://")) else None
    better = {name: value for name, value in handle.items() if name != "item"} | {"build": number}
    return Progress(state, f"build {number} of {handle['about']}: {words}", link, values, better)


async def _ask(
    handle: Mapping[str, object],
    world: World,
    method: str,
    path: str,
    *,
    form: Mapping[str, str] | None = None,
    secrets: Collection[str] = (),
) -> Reply:
    """MissingError where there is no such thing."""
    base = opened(str(handle["url"]), world.secret, "Jenkins").rstrip("/")
    user, token = (resolved(str(handle[name]), world.secret) for name in ("user", "token"))
    headers = {"Authorization": f"Basic {b64encode(f'{user}:{token}'.encode()).decode()}", "Accept": "application/json"}
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    what = f"Jenkins ({shown(str(handle['url']))}, {handle['path']})"
    reply = await deliver(
        world.http,
        method,
        f"{base}/{path}",
        what=what,
        now=world.clock(),
        headers=headers,
        body=None if form is None else urlencode(form).encode(),
        also={404} if form is None else (),
        secrets=[token, *secrets],
    )
    if reply.status == 404:  # noqa: PLR2004 (HTTP)
        raise MissingError(f"{what} answered HTTP 404: it is not there, or {user!r} may not see it")
    return reply


def _path(job: str) -> str:
    return "/".join(f"job/{quote(part, safe='')}" for part in job.split("/"))


def _values(one: Mapping[str, Any]) -> list[object]:
    """Of the parameters of a build or an item."""
    return [given.get("value") for action in _tables(one.get("actions")) for given in _tables(action.get("parameters"))]


def _tables(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


ACTION = Action(
    example=Jenkins(
        url="${JENKINS_URL}",
        job="team/fraud/train",
        user="switchyard",
        token="${JENKINS_TOKEN}",  # noqa: S106 (a setting's name)
        parameters={"MODEL": "{{ event.model.name }}"},
        correlation_parameter="SWITCHYARD_KEY",
        cause_parameter="CAUSE",
    ),
    run=run,
    idempotent=False,
    summary="Builds a Jenkins job with parameters, and follows it from the queue to its end.",
    look=look,
)
