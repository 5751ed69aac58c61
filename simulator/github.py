"""GitHub: dispatches, the runs they start, and the tokens of a GitHub App."""

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4
from zlib import crc32

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import Handler, faulty, read
from simulator.state import Simulated

_MOST_PROPERTIES: Final = 10
_MOST_INPUTS: Final = 25
_LONGEST_TYPE: Final = 100
_LONGEST_PAYLOAD: Final = 65_535
_QUEUED: Final = timedelta(seconds=10)
_TAKES: Final = timedelta(seconds=90)
_LONGEST_JWT: Final = 660
"""Ten minutes from now, and the minute that GitHub advises to date `iat` back."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_KEYS: Final = ("key", "switchyard_key", "correlation_id", "correlation")


@dataclass(frozen=True)
class _Run:
    id: int
    repository: str
    event: str
    name: str
    branch: str
    title: str
    conclusion: str
    created: datetime
    stuck: bool
    """No runner ever takes it."""


def routes(sim: Simulated) -> list[BaseRoute]:
    github = _GitHub(sim)

    def route(path: str, handler: Handler, method: str = "GET") -> Route:
        return Route(path, faulty(sim, "github", _busy, handler), methods=[method])

    repository = "/repos/{owner}/{repo}"
    return [
        route(f"{repository}/dispatches", github.repository_dispatch, "POST"),
        route(f"{repository}/actions/workflows/{{workflow}}/dispatches", github.workflow_dispatch, "POST"),
        route(f"{repository}/actions/workflows/{{workflow}}/runs", github.runs),
        route(f"{repository}/actions/runs", github.runs),
        route(f"{repository}/actions/runs/{{id:int}}", github.run),
        route(f"{repository}/actions/runs/{{id:int}}/jobs", github.jobs),
        route(f"{repository}/installation", github.installation),
        route("/app/installations/{id:int}/access_tokens", github.access_token, "POST"),
    ]


def _busy(status: int) -> object:
    if status in {403, 429}:
        return _said(
            status, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        )
    return _said(status, "Server Error")


def _said(status: int, text: str) -> dict[str, object]:
    return {"message": text, "documentation_url": "https://docs.github.com/rest", "status": str(status)}


def _error(status: int, text: str) -> Response:
    return JSONResponse(_said(status, text), status)


class _GitHub:
    def __init__(self, sim: Simulated) -> None:
        self._sim = sim
        self._runs: deque[_Run] = deque(maxlen=2000)
        self._tokens: deque[str] = deque(maxlen=2000)
        self._count = 0

    async def repository_dispatch(self, request: Request) -> Response:
        body = await read(request) or {}
        kind, payload = body.get("event_type"), body.get("client_payload")
        refused = self._token(request)
        if refused:
            return refused
        wrong = _wrong_event(kind, payload)
        self._keep(request, f"repository_dispatch {kind}", body, payload, wrong)
        if wrong:
            return _error(422, f"Invalid request.\n\n{wrong}")
        # Here, the `run-name` of a workflow shows the caller's key.
        self._start(request, "repository_dispatch", f"on-{kind}.yml", "main", f"{kind} {_key(payload) or ''}".rstrip())
        return Response(status_code=204)

    async def workflow_dispatch(self, request: Request) -> Response:
        body = await read(request) or {}
        workflow, ref, inputs = request.path_params["workflow"], body.get("ref"), body.get("inputs")
        refused = self._token(request)
        if refused:
            return refused
        known = workflow != "missing.yml" and (workflow.isdigit() or workflow.endswith((".yml", ".yaml")))
        wrong = _wrong_workflow(ref, inputs) if known else f"There is no workflow {workflow}."
        self._keep(request, f"workflow_dispatch {workflow} on {ref}", body, inputs, wrong)
        if not known:
            return _error(404, "Not Found")
        if wrong:
            return _error(422, wrong)
        branch = str(ref).removeprefix("refs/heads/").removeprefix("refs/tags/")
        # What a run is called is the workflow's `run-name`: here, one that shows every input.
        values = inputs.values() if isinstance(inputs, dict) else ()
        run = self._start(request, "workflow_dispatch", workflow, branch, " ".join(map(str, [workflow, *values])))
        if body.get("return_run_details") is not True:
            return Response(status_code=204)
        seen = self._view(run)
        return JSONResponse({"workflow_run_id": run.id, "run_url": seen["url"], "html_url": seen["html_url"]})

    async def runs(self, request: Request) -> Response:
        """Newest first, by the filters `event`, `branch`, `status`, `created` (`>=TIME`) and `per_page`."""
        refused = self._token(request)
        if refused:
            return refused
        asked, workflow = request.query_params, request.path_params.get("workflow")
        since = asked.get("created", "").removeprefix(">=").removeprefix(">")
        found = [
            seen
            for run in reversed(self._runs)
            if run.repository == _repository(request) and workflow in {None, run.name}
            for seen in [self._view(run)]
            if asked.get("event", run.event) == run.event
            and asked.get("branch", run.branch) == run.branch
            and asked.get("status", seen["status"]) in {seen["status"], seen["conclusion"]}
            and str(seen["created_at"]) >= since
        ]
        size = asked.get("per_page", "")
        return JSONResponse({"total_count": len(found), "workflow_runs": found[: int(size) if size.isdigit() else 30]})

    async def run(self, request: Request) -> Response:
        refused = self._token(request)
        if refused:
            return refused
        number, repository = request.path_params["id"], _repository(request)
        found = next((run for run in self._runs if run.id == number and run.repository == repository), None)
        return JSONResponse(self._view(found)) if found else _error(404, "Not Found")

    async def jobs(self, request: Request) -> Response:
        """One job, and the step in which it fails."""
        refused = self._token(request)
        if refused:
            return refused
        number, repository = request.path_params["id"], _repository(request)
        found = next((run for run in self._runs if run.id == number and run.repository == repository), None)
        if found is None:
            return _error(404, "Not Found")
        seen = self._view(found)
        last = {key: seen[key] for key in ("status", "conclusion")}
        first = last | {"conclusion": "success"} if last["conclusion"] else last
        steps = [{"name": "Set up job", "number": 1, **first}, {"name": "Run tests", "number": 2, **last}]
        job = {"id": found.id * 2, "run_id": found.id, "name": "test", "steps": steps, **last}
        return JSONResponse({"total_count": 1, "jobs": [job]})

    async def installation(self, request: Request) -> Response:
        app = _app(request)
        if isinstance(app, Response):
            return app
        owner = request.path_params["owner"]
        return JSONResponse({"id": crc32(owner.lower().encode()), "app_id": app, "account": {"login": owner}})

    async def access_token(self, request: Request) -> Response:
        app = _app(request)
        if isinstance(app, Response):
            return app
        token = f"ghs_{uuid4().hex}"
        self._tokens.append(token)
        expires = _time(self._sim.clock.now() + timedelta(hours=1))
        permissions = {"actions": "write", "contents": "write", "metadata": "read"}
        return JSONResponse({"token": token, "expires_at": expires, "permissions": permissions}, 201)

    def _token(self, request: Request) -> Response | None:
        """The refusal of a request that may not; None: it may. An installation's token must be one that was given out."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in {"bearer", "token"} or not token:
            return _error(401, "Requires authentication")
        if token == "wrong" or (token.startswith("ghs_") and token not in self._tokens):  # noqa: S105 (the name of a bad one)
            return _error(401, "Bad credentials")
        return None

    def _keep(self, request: Request, what: str, body: object, values: object, wrong: str | None) -> None:
        self._sim.inbox.add("github", _repository(request), what, body, key=_key(values), problem=wrong)

    def _start(self, request: Request, event: str, name: str, branch: str, title: str) -> _Run:
        """A run, which the fault `github run` makes a failure, and `github runner` leaves in the queue for ever."""
        self._count += 1
        conclusion = "failure" if self._sim.fault("github run") else "success"
        number = 17_000_000_000 + self._count
        stuck = self._sim.fault("github runner") is not None
        run = _Run(number, _repository(request), event, name, branch, title, conclusion, self._sim.clock.now(), stuck)
        self._runs.append(run)
        return run

    def _view(self, run: _Run) -> dict[str, object]:
        age = self._sim.clock.now() - run.created
        age = min(age, timedelta()) if run.stuck else age
        status = "queued" if age < _QUEUED else "in_progress" if age < _QUEUED + _TAKES else "completed"
        updated = run.created + min(age, _QUEUED + _TAKES)
        return {
            "id": run.id,
            "name": run.name,
            "display_title": run.title,
            "path": f".github/workflows/{run.name}",
            "event": run.event,
            "status": status,
            "conclusion": run.conclusion if status == "completed" else None,
            "head_branch": run.branch,
            "run_attempt": 1,
            "created_at": _time(run.created),
            "run_started_at": _time(run.created),
            "updated_at": _time(updated),
            "url": f"{self._sim.base}/repos/{run.repository}/actions/runs/{run.id}",
            "html_url": f"https://github.com/{run.repository}/actions/runs/{run.id}",
        }


def _repository(request: Request) -> str:
    return f"{request.path_params['owner']}/{request.path_params['repo']}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(values: object) -> str | None:
    """The caller's correlation id, where inputs or payload carry one; a payload may nest it one deep."""
    tables = [values, *values.values()] if isinstance(values, Mapping) else []
    found = (table[name] for table in tables if isinstance(table, Mapping) for name in _KEYS if table.get(name))
    return next((str(key) for key in found), None)


def _wrong_event(kind: object, payload: object) -> str | None:
    if not isinstance(kind, str) or not kind:
        return '"event_type" wasn\'t supplied.'
    if len(kind) > _LONGEST_TYPE:
        return f"event_type is too long (maximum is {_LONGEST_TYPE} characters)."
    if not isinstance(payload, dict | None):
        return "For 'properties/client_payload', the value is not an object."
    if len(payload or {}) > _MOST_PROPERTIES:
        return f"No more than {_MOST_PROPERTIES} properties are allowed; {len(payload or {})} were supplied."
    return _too_long("client_payload", payload)


def _wrong_workflow(ref: object, inputs: object) -> str | None:
    if not isinstance(ref, str) or not ref:
        return 'Invalid request.\n\n"ref" wasn\'t supplied.'
    if _COMMIT.fullmatch(ref):
        return f"No ref found for: {ref}"
    if not isinstance(inputs, dict | None):
        return "Invalid request.\n\nFor 'properties/inputs', the value is not an object."
    if len(inputs or {}) > _MOST_INPUTS:
        return f"Invalid request.\n\nNo more than {_MOST_INPUTS} inputs are allowed; {len(inputs or {})} were supplied."
    return _too_long("inputs", inputs)


def _too_long(name: str, value: object) -> str | None:
    length = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return f"{name} is too large: {length:,} of {_LONGEST_PAYLOAD:,} characters." if length > _LONGEST_PAYLOAD else None


def _app(request: Request) -> object:
    """The app that a JSON web token names as its issuer, or the refusal of what is no such token."""
    _, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        head = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
        lasts = int(claims["exp"]) - int(claims["iat"])
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        return _error(401, "A JSON web token could not be decoded")
    if head.get("alg") != "RS256":
        return _error(401, "A JSON web token could not be decoded: sign it with RS256")
    if not claims.get("iss"):
        return _error(401, "'Issuer' claim ('iss') must be the App's ID")
    if lasts > _LONGEST_JWT:
        return _error(401, "'Expiration time' claim ('exp') is too far in the future")
    return claims["iss"]
