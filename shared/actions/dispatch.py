"""Start a GitHub workflow by workflow_dispatch, or raise a repository_dispatch. GitHub knows no key for either."""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Self
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from shared.actions import Action, Context, Params
from shared.actions._text import TWICE, clip, name_of
from shared.errors import PermanentError, TemporaryError
from shared.post import deliver
from shared.record import Progress, Result, State
from shared.world import Reply, World

_VERSION: Final = "2022-11-28"
_PAYLOAD_KEYS: Final = 10
_LONGEST: Final = 65_535
_OURS: Final = "switchyard"

_QUEUED: Final = frozenset({"queued", "requested", "pending"})
_STANDS: Final = {"in_progress": "is running", "waiting": "waits for a person's approval"}
_CONCLUSIONS: Final[Mapping[str, State]] = {
    "success": "succeeded",
    "neutral": "succeeded",
    "skipped": "succeeded",
    "cancelled": "canceled",
}
"""All others have failed."""

_CLOCKS: Final = timedelta(minutes=5)
"""By which GitHub's clock and ours may differ."""

_APPEARS: Final = timedelta(minutes=5)
"""In which the run of a repository_dispatch is on GitHub's list; one may also start none at all."""


class Dispatch(Params):
    """Either `workflow`, with `ref` and `inputs`, or `event_type`, with `payload`."""

    github: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", description="owner/repository")
    workflow: str | None = Field(default=None, min_length=1, description="Its file name or id.")
    ref: str = Field(default="main", min_length=1)
    inputs: dict[str, str | bool | int | float] = Field(default={}, max_length=25)
    correlation_input: str | None = Field(
        default=None,
        description="The workflow's input that takes our key. Put it in `run-name`, and a run is found again after a "
        "lost answer instead of being started twice.",
    )
    cause_input: str | None = Field(
        default=None,
        description="The workflow's input that takes what led here, as JSON: give it on as tags to what the workflow "
        "starts, and a loop through it is recognised.",
    )
    event_type: str | None = Field(default=None, min_length=1, max_length=100)
    payload: dict[str, object] = Field(default={})

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.workflow is None) == (self.event_type is None):
            raise ValueError("give either `workflow` (a workflow_dispatch) or `event_type` (a repository_dispatch)")
        foreign = ("payload",) if self.workflow else ("inputs", "correlation_input", "cause_input", "ref")
        wrong = sorted(self.model_fields_set.intersection(foreign))
        if wrong:
            raise ValueError(f"{', '.join(wrong)} does not go with `{'workflow' if self.workflow else 'event_type'}`")
        return self


async def run(params: Dispatch, context: Context) -> Result:
    if params.workflow:
        return await _start(params, params.workflow, context)
    key, about = name_of(context.key), f"{params.event_type} in {params.github}"
    follow: dict[str, object] = {"github": params.github, "event": params.event_type, "key": key, "about": about}
    if context.again and (found := await _found(context.world, follow, context.event.time)):
        # It may have started several workflows: that they are many does not mean that it was raised twice.
        return Result(
            f"{about} was raised by an earlier try", _link(found[-1]), {"key": key}, maybe_twice=False, follow=follow
        )
    ours = {_OURS: {**context.cause, "key": key}}
    fits = len(params.payload) < _PAYLOAD_KEYS and _OURS not in params.payload
    payload = ours | (params.payload if fits else {"payload": params.payload})
    _check_size(payload, "client_payload")
    body = {"event_type": params.event_type, "client_payload": payload}
    await _ask(context.world, params.github, "POST", "dispatches", str(params.event_type), body)
    twice = f"; {TWICE}" if context.again else ""
    return Result(f"raised {about}{twice}", values={"key": key}, follow=follow)


async def _start(params: Dispatch, workflow: str, context: Context) -> Result:
    key, world, github = name_of(context.key), context.world, params.github
    follow: dict[str, object] = {"github": github, "workflow": workflow, "about": f"{workflow} in {github}"}
    if params.correlation_input:
        follow["key"] = key
    found = await _found(world, follow | {"key": key}, context.event.time) if context.again else []
    if found:
        often = f" {len(found)} times" if len(found) > 1 else ""
        said = f"{workflow} in {github} was started by an earlier try{often}"
        run = {"run": found[0]["id"]}
        return Result(said, _link(found[0]), dict(run), maybe_twice=bool(often), follow=follow | run)
    inputs = {name: _text(value) for name, value in params.inputs.items()}
    if params.correlation_input:
        inputs[params.correlation_input] = key
    if params.cause_input:
        inputs[params.cause_input] = json.dumps(dict(context.cause))
    _check_size(inputs, "inputs")
    body = {"ref": params.ref, "inputs": inputs, "return_run_details": True}
    answer = _object(await _ask(world, github, "POST", f"{_path(workflow)}/dispatches", workflow, body))
    twice = f"; {TWICE}" if context.again else ""
    # An older GitHub Enterprise Server answers 204 without saying which run it is.
    values = {"run": answer["workflow_run_id"]} if "workflow_run_id" in answer else {}
    said = f"started {workflow} in {github} on {params.ref}{twice}"
    return Result(said, _link(answer), values, follow=follow | values)


async def look(handle: Mapping[str, object], began: datetime, world: World) -> Progress:
    """How the run stands. Where GitHub did not say which run it is, the one whose name carries our key."""
    github = str(handle["github"])
    if "run" in handle:
        run = _object(await _ask(world, github, "GET", f"actions/runs/{handle['run']}", "the run"))
        return await _progress(world, handle, run)
    event = handle.get("event")
    found = await _found(world, handle, began - _CLOCKS) if "key" in handle else []
    if found:
        return await _progress(world, handle, found[0])
    if "key" in handle and (event is None or world.clock() < began + _APPEARS):
        said = f"no run of {handle['about']} carries {handle['key']} in its name yet"
        return Progress("queued", f"{said}: that is for its `run-name` to show")
    where = "client_payload.switchyard.key" if event else "the `correlation_input`"
    said = "the run cannot be told from others, so nobody knows how it went"
    return Progress("unknown", f"{said}: let its `run-name` show {where}", quiet=True)


async def _progress(world: World, handle: Mapping[str, object], run: Mapping[str, object]) -> Progress:
    status, conclusion, about = str(run.get("status")), run.get("conclusion"), str(handle["about"])
    number = run.get("id") or handle.get("run")
    follow = {**handle, "run": number}
    values: dict[str, object] = {"run": number, "status": status}
    if status != "completed" or not isinstance(conclusion, str):
        state: State = "queued" if status in _QUEUED else "running"
        said = f"{about} {_STANDS.get(status, f'is {status}')}"
        return Progress(state, said, _link(run), values, follow=follow)
    values["conclusion"] = conclusion
    state = _CONCLUSIONS.get(conclusion, "failed")
    said = f"{about} ended as {conclusion.replace('_', ' ')}"
    if state == "failed" and (at := await _broke(world, str(handle["github"]), number)):
        said, values["failed"] = f"{said} in {at}", at
    return Progress(state, said, _link(run), values, follow=follow, ended=_moment(run.get("updated_at")))


async def _broke(world: World, github: str, run: object) -> str:
    """The first job that failed, and the step of it where GitHub says so; nothing where it does not."""
    try:
        answer = _object(await _ask(world, github, "GET", f"actions/runs/{run}/jobs?per_page=100", "the run's jobs"))
    except (TemporaryError, PermanentError):
        return ""  # the end is known, and this only adorns it
    job = _first_failed(answer.get("jobs"))
    step = _first_failed(job.get("steps")) if job else None
    names = [f"{what} {one['name']!r}" for what, one in (("job", job), ("step", step)) if one and "name" in one]
    return clip(", ".join(names), 200)


def _first_failed(rows: object) -> dict[str, object] | None:
    found = (one for one in rows if isinstance(one, dict)) if isinstance(rows, list) else iter(())
    return next((one for one in found if one.get("conclusion") in {"failure", "timed_out"}), None)


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


async def _found(world: World, handle: Mapping[str, object], since: datetime) -> list[dict[str, object]]:
    """The runs that were started since then and whose name carries our key, the newest first."""
    workflow, key, github = handle.get("workflow"), str(handle["key"]), str(handle["github"])
    event = "workflow_dispatch" if workflow else "repository_dispatch"
    query = urlencode({"event": event, "created": f">={since:%Y-%m-%dT%H:%M:%SZ}", "per_page": 100})
    path = f"{_path(str(workflow))}/runs" if workflow else "actions/runs"
    runs = _object(await _ask(world, github, "GET", f"{path}?{query}", str(workflow or ""))).get("workflow_runs")
    return [
        one
        for one in (runs if isinstance(runs, list) else [])
        if isinstance(one, dict) and any(key in str(one.get(name) or "") for name in ("display_title", "name"))
    ]


def _path(workflow: str) -> str:
    return f"actions/workflows/{quote(workflow, safe='')}"


async def _ask(  # noqa: PLR0917 (as deliver)
    world: World, github: str, method: str, path: str, about: str = "", body: object = None
) -> Reply:
    headers = {
        "Authorization": f"Bearer {await world.github.token(github)}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": _VERSION,
        "User-Agent": "switchyard",
    }
    url = f"{world.github.api}/repos/{github}/{path}"
    what = f"GitHub ({github}{f', {about}' if about else ''})"
    return await deliver(
        world.http, method, url, what=what, now=world.clock(), headers=headers, json=body, busy=_rate_limited
    )


def _rate_limited(reply: Reply) -> bool:
    if reply.status != 403:  # noqa: PLR2004 (GitHub's answer to both "may not" and "not so fast")
        return False
    spent = "retry-after" in reply.headers or reply.headers.get("x-ratelimit-remaining") == "0"
    return spent or re.search(rb"secondary rate limit|abuse detection", reply.body, re.IGNORECASE) is not None


def _check_size(value: object, name: str) -> None:
    length = len(json.dumps(value, ensure_ascii=False))
    if length > _LONGEST:
        raise PermanentError(f"{name} has {length:,} characters, GitHub takes {_LONGEST:,}: send less, or a link to it")


def _text(value: str | bool | float) -> str:  # noqa: FBT001 (an input's value, not a switch)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _object(reply: Reply) -> dict[str, object]:
    try:
        answer = json.loads(reply.body or b"{}")
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _link(answer: Mapping[str, object]) -> str | None:
    link = answer.get("html_url")
    return link if isinstance(link, str) else None


ACTION = Action(
    example=Dispatch(
        github="contoso/fraud",
        workflow="deploy.yml",
        ref="main",
        inputs={"model": "{{ event.model.name }}", "version": "{{ event.model.version }}"},
        correlation_input="correlation",
    ),
    run=run,
    idempotent=False,
    summary="Starts a GitHub workflow (workflow_dispatch), or raises a repository_dispatch.",
    look=look,
)
