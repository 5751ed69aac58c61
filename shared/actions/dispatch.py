"""Start a GitHub workflow by workflow_dispatch, or raise a repository_dispatch. GitHub knows no key for either."""

import json
import re
from typing import Final, Self
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from shared.actions import Action, Context, Params
from shared.actions._text import TWICE, name_of
from shared.errors import PermanentError
from shared.post import deliver
from shared.record import Result
from shared.world import Reply

_VERSION: Final = "2022-11-28"
_PAYLOAD_KEYS: Final = 10
_LONGEST: Final = 65_535
_OURS: Final = "switchyard"


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
    key = name_of(context.key)
    ours = {_OURS: {**context.cause, "key": key}}
    fits = len(params.payload) < _PAYLOAD_KEYS and _OURS not in params.payload
    payload = ours | (params.payload if fits else {"payload": params.payload})
    _check_size(payload, "client_payload")
    body = {"event_type": params.event_type, "client_payload": payload}
    await _ask(params, context, "POST", "dispatches", body)
    twice = f"; {TWICE}" if context.again else ""
    return Result(f"raised {params.event_type} in {params.github}{twice}", values={"key": key})


async def _start(params: Dispatch, workflow: str, context: Context) -> Result:
    key, path = name_of(context.key), f"actions/workflows/{quote(workflow, safe='')}"
    if context.again and (found := await _earlier(params, context, path, key)):
        often = f" {len(found)} times" if len(found) > 1 else ""
        said = f"{workflow} in {params.github} was started by an earlier try{often}"
        return Result(said, _link(found[0]), {"run": found[0]["id"]}, maybe_twice=bool(often))
    inputs = {name: _text(value) for name, value in params.inputs.items()}
    if params.correlation_input:
        inputs[params.correlation_input] = key
    if params.cause_input:
        inputs[params.cause_input] = json.dumps(dict(context.cause))
    _check_size(inputs, "inputs")
    body = {"ref": params.ref, "inputs": inputs, "return_run_details": True}
    answer = _object(await _ask(params, context, "POST", f"{path}/dispatches", body))
    twice = f"; {TWICE}" if context.again else ""
    # An older GitHub Enterprise Server answers 204 without saying which run it is.
    values = {"run": answer["workflow_run_id"]} if "workflow_run_id" in answer else {}
    return Result(f"started {workflow} in {params.github} on {params.ref}{twice}", _link(answer), values)


async def _earlier(params: Dispatch, context: Context, path: str, key: str) -> list[dict[str, object]]:
    """The runs that earlier tries started, the newest first: those whose name carries our key."""
    since = context.event.time.strftime("%Y-%m-%dT%H:%M:%SZ")
    query = urlencode({"event": "workflow_dispatch", "created": f">={since}", "per_page": 100})
    runs = _object(await _ask(params, context, "GET", f"{path}/runs?{query}")).get("workflow_runs")
    return [
        one
        for one in (runs if isinstance(runs, list) else [])
        if isinstance(one, dict) and any(key in str(one.get(name) or "") for name in ("display_title", "name"))
    ]


async def _ask(params: Dispatch, context: Context, method: str, path: str, body: object = None) -> Reply:
    world = context.world
    headers = {
        "Authorization": f"Bearer {await world.github.token(params.github)}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": _VERSION,
        "User-Agent": "switchyard",
    }
    url = f"{world.github.api}/repos/{params.github}/{path}"
    what = f"GitHub ({params.github}{f', {params.workflow}' if params.workflow else ''})"
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


def _link(answer: dict[str, object]) -> str | None:
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
)
