"""The scoring addresses: who may ask, which deployment answers, and what it says."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Final, cast

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import faulty
from simulator.online import Deployment, Endpoint, OnlineEndpoints, mode
from simulator.state import Simulated

AUDIENCE: Final = "https://ml.azure.com"
PIN: Final = "azureml-model-deployment"

_LONGEST: Final = 5.0
"""Seconds of the wall clock that an answer takes at most: it is the wall clock by which callers measure latency."""
_OK: Final = 200


def routes(sim: Simulated, endpoints: OnlineEndpoints) -> list[BaseRoute]:
    async def score(request: Request) -> Response:
        sim.clock.settle()
        endpoint = _endpoint(endpoints, request)
        if endpoint is None:
            return PlainTextResponse("There is no such endpoint.", 404)
        refusal = _refusal(endpoint, request.headers.get("authorization", ""))
        if refusal:
            return JSONResponse({"statusCode": 401, "message": refusal}, 401)
        pinned = request.headers.get(PIN)
        deployment = _chosen(sim, endpoint, pinned)
        if deployment is None:
            said = "Specified deployment could not be found." if pinned else "No valid deployments to route to."
            return PlainTextResponse(f"{said} Please check that the endpoint has deployments with traffic.", 404)
        return await _answer(sim, endpoint, deployment, await request.body())

    def error(status: int) -> object:
        return {"statusCode": status, "message": "The request could not be served."}

    return [Route("/score/{workspace}/{endpoint}", faulty(sim, "scoring", error, score), methods=["POST"])]


def _endpoint(endpoints: OnlineEndpoints, request: Request) -> Endpoint | None:
    workspace, name = request.path_params["workspace"], request.path_params["endpoint"]
    return next(
        (each for each in endpoints.all() if each.name == name and each.here.experiment_id("") == workspace), None
    )


def _refusal(endpoint: Endpoint, authorization: str) -> str | None:
    """Why the bearer may not score here."""
    bearer = authorization.removeprefix("Bearer ").strip()
    if not authorization.startswith("Bearer ") or not bearer:
        return "Authorization header is missing: Bearer and a key or a token."
    if mode(endpoint) != "aadtoken":
        return None if bearer in {endpoint.key(1), endpoint.key(2)} else "key_auth_access_denied"
    try:
        claims = jwt.decode(bearer, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return "aad_auth_access_denied: not a token of Microsoft Entra ID"
    if str(claims.get("aud", "")).rstrip("/") != AUDIENCE:
        return f"aad_auth_access_denied: the audience is {claims.get('aud')!r}, expected {AUDIENCE!r}"
    return None if claims.get("exp", 0) > time.time() else "aad_auth_access_denied: the token has expired"


def _chosen(sim: Simulated, endpoint: Endpoint, pinned: str | None) -> Deployment | None:
    """The one that is asked for, else one by weight. A pinned request is not mirrored; of the others, copies are counted
    with the load.
    """
    if pinned:
        return endpoint.deployments.get(pinned)
    names = [name for name in endpoint.traffic if name in endpoint.deployments]
    if not names:
        return None
    [name] = sim.chance.choices(names, [endpoint.traffic[name] for name in names])
    return endpoint.deployments[name]


async def _answer(sim: Simulated, endpoint: Endpoint, deployment: Deployment, body: bytes) -> Response:
    manners = endpoint.manners(deployment)
    status, model_status, ms = manners.draw(sim.chance, endpoint.incident)
    scores = _scores(body, wrong=manners.wrong)
    if not deployment.up:
        status, model_status, ms = 503, 0, 1.0
    elif scores is None:
        status, model_status = 424, 400
    elif model_status < 500:  # noqa: PLR2004 (the caller's errors among the drawn ones are not this caller's)
        status, model_status = _OK, _OK
    await asyncio.sleep(min(ms / 1000, _LONGEST))
    endpoint.requests.add(sim.clock.now().timestamp(), deployment.name, (status, model_status, ms))
    headers = {PIN: deployment.name}
    if status == _OK:
        return JSONResponse(scores, headers=headers)
    if status == 424:  # noqa: PLR2004 (what a model says that is not 200 comes as 424)
        headers |= {
            "ms-azureml-model-error-statuscode": str(model_status),
            "ms-azureml-model-error-reason": "model_error",
        }
    return JSONResponse(
        {"error": _ERRORS.get(status, "An unexpected error occurred in the scoring script.")}, status, headers
    )


_ERRORS: Final[Mapping[int, str]] = {503: "upstream connect error or disconnect/reset before headers."}


def _scores(body: bytes, *, wrong: bool) -> list[float] | None:
    """One for each row: the sum of its numbers, modulo 1. None for what is no request to this model."""
    try:
        given = json.loads(body)
        columns, rows = given["input_data"]["columns"], given["input_data"]["data"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(columns, list) or not isinstance(rows, list):
        return None
    if any(not isinstance(row, list) or len(row) != len(columns) for row in rows):
        return None
    return [_score(cast("list[object]", row), 0.25 if wrong else 0.0) for row in rows]


def _score(row: list[object], off: float) -> float:
    numbers = [each for each in row if isinstance(each, int | float) and not isinstance(each, bool)]
    return round((sum(numbers) + off) % 1, 4)
