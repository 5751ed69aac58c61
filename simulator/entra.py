"""Microsoft Entra: enough of the token service for azure-identity to sign in with a client secret."""

import time
from typing import Final
from urllib.parse import parse_qsl

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.faults import faulty
from simulator.state import Simulated

TENANT: Final = "72f988bf-0000-4000-8000-2d7cd011db47"
CLIENT: Final = "04b07795-0000-4000-8000-02f9e1bf7b46"
CLIENT_SECRET: Final = "simulated-secret"  # noqa: S105 (it opens the simulation, which lives on this machine)
_KEY: Final = "a key of the simulation: nobody checks the signature"
_DEFAULT: Final = "/.default"
_LIFE: Final = 3600


def routes(sim: Simulated) -> list[BaseRoute]:
    async def metadata(request: Request) -> Response:
        authority = f"{sim.base}/{request.path_params['tenant']}"
        return JSONResponse(
            {
                "token_endpoint": f"{authority}/oauth2/v2.0/token",
                "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{authority}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{authority}/discovery/v2.0/keys",
                "issuer": f"{authority}/v2.0",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "response_types_supported": ["code"],
                "subject_types_supported": ["pairwise"],
            }
        )

    async def token(request: Request) -> Response:
        asked = dict(parse_qsl((await request.body()).decode(errors="replace")))
        problem = _problem(asked)
        if problem:
            return problem
        tenant, audience = request.path_params["tenant"], asked["scope"].split()[0].removesuffix(_DEFAULT)
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{tenant}/",  # as of a token for a service of Azure, whoever issued it
            "tid": tenant,
            "appid": asked["client_id"],
            "oid": asked["client_id"],
            "iat": now,
            "nbf": now,
            "exp": now + _LIFE,
        }
        access = jwt.encode(claims, _KEY)
        return JSONResponse(
            {"token_type": "Bearer", "expires_in": _LIFE, "ext_expires_in": _LIFE, "access_token": access}
        )

    return [
        Route("/{tenant}/v2.0/.well-known/openid-configuration", metadata),
        Route("/{tenant}/oauth2/v2.0/token", faulty(sim, "entra", _busy, token), methods=["POST"]),
    ]


def _problem(asked: dict[str, str]) -> Response | None:
    if asked.get("grant_type") != "client_credentials":
        return _refusal(400, "unsupported_grant_type", "AADSTS70003: the simulation grants client_credentials only.")
    if not asked.get("scope", "").split()[:1] or not asked["scope"].split()[0].endswith(_DEFAULT):
        return _refusal(400, "invalid_scope", f"AADSTS1002012: scope must end in {_DEFAULT} for client credentials.")
    if asked.get("client_id") != CLIENT:
        return _refusal(
            400, "unauthorized_client", f"AADSTS700016: application {asked.get('client_id')} was not found."
        )
    if asked.get("client_secret") != CLIENT_SECRET:
        return _refusal(401, "invalid_client", "AADSTS7000215: invalid client secret provided.")
    return None


def _refusal(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)


def _busy(status: int) -> object:
    return {"error": "temporarily_unavailable", "error_description": f"AADSTS90033: answered {status} on request."}
