"""Tokens for GitHub: of an App, one repository each, or the one that is configured."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from shared import post
from shared.errors import PermanentError
from shared.settings import GITHUB_REPOS, in_list
from shared.world import Clock, Http

_EARLY: Final = timedelta(minutes=5)
_HEADERS: Final = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": "switchyard",
}


@dataclass(frozen=True)
class _Token:
    text: str = field(repr=False)
    ends: datetime


class GitHubTokens:
    """The App's id and key are the secrets GITHUB_APP_ID and GITHUB_APP_KEY; without them GITHUB_TOKEN is the token."""

    def __init__(
        self, http: Http, secret: Callable[[str], str], api: str, clock: Clock, repositories: Sequence[str] = ()
    ) -> None:
        """`repositories`: owner/name or owner/*, for which alone there are tokens; empty for all."""
        self.api = api
        self._repositories = repositories
        self._http = http
        self._secret = secret
        self._clock = clock
        self._kept: dict[str, _Token] = {}

    async def token(self, repository: str) -> str:
        if self._repositories and not in_list(repository, self._repositories):
            raise PermanentError(f"{repository} is not on the list of {GITHUB_REPOS}: nothing is started there")
        app = self._optional("GITHUB_APP_ID")
        if app is None:
            token = self._optional("GITHUB_TOKEN")
            if token is None:
                raise PermanentError(
                    "GitHub needs GITHUB_APP_ID and GITHUB_APP_KEY of a GitHub App, or GITHUB_TOKEN: none of them is set"
                )
            return token
        kept = self._kept.get(repository)
        if kept is None or kept.ends - _EARLY <= self._clock():
            kept = self._kept[repository] = await self._issue(app, repository)
        return kept.text

    def _optional(self, name: str) -> str | None:
        try:
            return self._secret(name)
        except PermanentError:
            return None

    async def _issue(self, app: str, repository: str) -> _Token:
        pass_ = self._signed(app)
        found = await self._ask("GET", f"/repos/{repository}/installation", pass_, f"the GitHub App for {repository}")
        only = {"repositories": [repository.rpartition("/")[2]]}
        made = await self._ask(
            "POST", f"/app/installations/{found['id']}/access_tokens", pass_, f"a token for {repository}", only
        )
        return _Token(str(made["token"]), datetime.fromisoformat(str(made["expires_at"])).astimezone(UTC))

    def _signed(self, app: str) -> str:
        import jwt

        # One line with \n in it is what fits into many a settings page.
        key = self._secret("GITHUB_APP_KEY").replace("\\n", "\n")
        now = self._clock()
        claims = {"iss": app, "iat": now - timedelta(minutes=1), "exp": now + timedelta(minutes=9)}
        try:
            return jwt.encode(claims, key, algorithm="RS256")
        except (jwt.PyJWTError, ValueError, TypeError):
            raise PermanentError(
                "GITHUB_APP_KEY is not a private key of a GitHub App (PEM, -----BEGIN RSA PRIVATE KEY-----)"
            ) from None

    async def _ask(
        self, method: str, path: str, pass_: str, what: str, body: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        headers = _HEADERS | {"Authorization": f"Bearer {pass_}"}
        reply = await post.deliver(
            self._http,
            method,
            f"{self.api}{path}",
            what=f"GitHub, asked for {what},",
            now=self._clock(),
            headers=headers,
            json=body,
        )
        answer: dict[str, object] = json.loads(reply.body)
        return answer
