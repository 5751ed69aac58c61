"""Tokens for GitHub, against the simulated one."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.cloud.github import GitHubTokens
from shared.cloud.http import AioHttp
from shared.cloud.reach import of
from shared.errors import PermanentError, TemporaryError
from shared.settings import Secrets, Settings
from simulator.app import Box
from simulator.state import Fault

KEY = (
    rsa.generate_private_key(65537, 2048)
    .private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    .decode()
)
HERE = of(Settings(private_hosts=("localhost",)), rules=True)
APP = {"GITHUB_APP_ID": "12345", "GITHUB_APP_KEY": KEY}


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=1, seed=1) as box:
        yield box


@pytest.fixture
async def http(box: Box, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AioHttp]:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    door = AioHttp(HERE)
    yield door
    await door.close()
    box.sim.faults.clear()


class Watch:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)  # noqa: TID251 (tokens end by the wall clock of the far side)

    def __call__(self) -> datetime:
        return self.now


def tokens(box: Box, http: AioHttp, secrets: dict[str, str], watch: Watch) -> GitHubTokens:
    return GitHubTokens(http, Secrets(secrets).own, box.environment["GITHUB_API_URL"], watch)


@pytest.mark.parametrize("key", [KEY, KEY.replace("\n", "\\n")])
async def test_an_apps_token_may_dispatch(box: Box, http: AioHttp, key: str) -> None:
    github = tokens(box, http, APP | {"GITHUB_APP_KEY": key}, Watch())
    token = await github.token("contoso/fraud")
    assert token.startswith("ghs_")
    reply = await http.send(
        "POST",
        f"{github.api}/repos/contoso/fraud/dispatches",
        headers={"Authorization": f"Bearer {token}"},
        body=json.dumps({"event_type": "retrained"}).encode(),
    )
    assert reply.status == 204


async def test_a_token_is_kept_for_its_repository_until_shortly_before_its_end(box: Box, http: AioHttp) -> None:
    watch = Watch()
    github = tokens(box, http, APP, watch)
    first = await github.token("contoso/fraud")
    assert await github.token("contoso/churn") != first
    watch.now += timedelta(minutes=54)
    assert await github.token("contoso/fraud") == first
    watch.now += timedelta(minutes=2)
    assert await github.token("contoso/fraud") != first


async def test_without_an_app_the_configured_token_is_the_token(box: Box, http: AioHttp) -> None:
    assert await tokens(box, http, {"GITHUB_TOKEN": "ghp_x"}, Watch()).token("contoso/fraud") == "ghp_x"


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ({}, "GITHUB_APP_ID and GITHUB_APP_KEY of a GitHub App, or GITHUB_TOKEN"),
        ({"GITHUB_APP_ID": "1"}, "the setting GITHUB_APP_KEY is not there"),
        ({"GITHUB_APP_ID": "1", "GITHUB_APP_KEY": "hush"}, "GITHUB_APP_KEY is not a private key of a GitHub App"),
    ],
)
async def test_what_is_missing_is_named(box: Box, http: AioHttp, secrets: dict[str, str], said: str) -> None:
    with pytest.raises(PermanentError, match=said) as caught:
        await tokens(box, http, secrets, Watch()).token("contoso/fraud")
    assert "hush" not in str(caught.value)


async def test_a_busy_github_is_asked_again_when_it_says(box: Box, http: AioHttp) -> None:
    box.sim.faults.append(Fault("github", 429, retry_after=60))
    with pytest.raises(TemporaryError, match=r"a?the GitHub App for contoso/fraud.*HTTP 429") as caught:
        await tokens(box, http, APP, Watch()).token("contoso/fraud")
    assert caught.value.retry_after == 60


async def test_a_repository_where_the_app_is_not_installed_is_named(box: Box, http: AioHttp, tmp_path: Path) -> None:
    box.sim.faults.append(Fault("github", 404))
    with pytest.raises(PermanentError, match=r"the GitHub App for contoso/other.*HTTP 404"):
        await tokens(box, http, APP, Watch()).token("contoso/other")
