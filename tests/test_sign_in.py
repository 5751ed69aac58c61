"""Who may look, who may change something, and whose name stands under it, where people sign in by Entra ID."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from shared import book
from shared.cli import main
from shared.settings import Settings
from shared.web.signed import person
from simulator.app import Box
from tests.served import serving
from tests.test_web import Answer
from tests.test_web_rollouts import ID, KEY, NOW, Desk, asking, link

ENTRA = {"SWITCHYARD_SIGN_IN": "entra", "WEBSITE_AUTH_ENABLED": "True", "SWITCHYARD_SIGNING_KEY": KEY}
KEYED = {"SWITCHYARD_SIGNING_KEY": KEY}
ROLES = ENTRA | {"SWITCHYARD_SIGN_IN": "entra-roles"}
SATO = "sato@contoso.com"
APPROVE = {"by": "Somebody Else", "reason": "looks good"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LOOKS = (
    "/",
    "/rollouts",
    "/freezes",
    "/silences",
    "/api/rollouts",
    "/api/freezes",
    f"/api/rollouts/{ID}",
)


def principal(name: str = SATO, *roles: str, **more: str) -> dict[str, str]:
    """What App Service authentication adds to a request."""
    claims = [{"typ": "preferred_username", "val": name}] if name else []
    claims += [{"typ": "roles", "val": role} for role in roles]
    claims += [{"typ": typ, "val": value} for typ, value in more.items()]
    said = {"auth_typ": "aad", "name_typ": "name", "role_typ": "roles", "claims": claims}
    return {"x-ms-client-principal": base64.b64encode(json.dumps(said).encode()).decode()}


def desk(environ: dict[str, str]) -> Desk:
    return Desk(settings=Settings.of(environ))


async def form(at: Desk, target: str, headers: dict[str, str], **said: str) -> Answer:
    kind = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    return await at.ask("POST", target, urlencode(said).encode(), **{**kind, **headers})


@pytest.mark.parametrize("environ", [ENTRA, ROLES], ids=["entra", "roles"])
async def test_nobody_looks_who_has_not_signed_in(environ):
    at = desk(environ)
    n = await asking(at)
    for page in (*LOOKS, link(n), f"{link(n)}/plot.svg", "/nowhere"):
        for headers in ({}, {"x-ms-client-principal-name": SATO}, {"x-ms-client-principal": "e30"}):
            answer = await at.get(page, **headers)
            assert answer.status == 401, page
            assert "fraud:7" not in answer.text
    assert "/.auth/login/aad?post_login_redirect_uri=/rollouts" in (await at.get("/rollouts")).text
    assert (await at.api("POST", f"/api/rollouts/{ID}/approve", APPROVE)).status == 401
    assert (await at.get("/api/rollouts")).headers["content-type"] == "application/problem+json"
    assert (await at.get("/static/console.css")).status == 200
    assert at.words == []


async def test_how_the_service_is_needs_no_person_and_tells_nothing_of_anybody():
    """The host asks for a function key there."""
    answer = await desk(ROLES).get("/api/health")
    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert (await desk(ROLES).get("/api/healthy")).status == 401


async def test_whoever_is_signed_in_looks_and_the_page_says_who_it_is():
    at = desk(ROLES)
    await asking(at)
    page = await at.get("/rollouts", **principal())
    assert page.status == 200
    assert "Signed in as sato@contoso.com" in page.words
    assert 'href="/.auth/logout"' in page.text
    assert "sato@contoso.com としてサインイン中" in (await at.get("/rollouts?lang=ja", **principal())).words
    assert f'readonly value="{SATO}"' in (await at.get("/freezes", **principal())).text
    assert (await at.get("/freezes", **principal('"><script>'))).text.count("<script>") == 0


@pytest.mark.parametrize("environ", [ENTRA, ROLES], ids=["entra", "roles"])
async def test_the_name_on_record_is_that_of_who_is_signed_in_whatever_the_form_says(environ):
    at = desk(environ)
    n = await asking(at)
    me = principal(SATO, "Switchyard.Operator", "Switchyard.Approver")
    await form(at, link(n), me, answer="approve", **APPROVE)
    await at.api("POST", f"/api/rollouts/{ID}/abort", APPROVE, **me)
    assert [word["by"] for word in at.words] == [SATO, SATO]
    added = await at.api("POST", "/api/freezes", {"endpoint": "*", "owner": "Nobody", "reason": "x", "for": "2d"}, **me)
    assert added.json["owner"] == SATO
    lifted = await at.api("DELETE", f"/api/freezes/{added.json['id']}?by=Nobody", **me)
    assert lifted.json["lifted_by"] == SATO
    asked = {"matchers": {"tags.team": "fraud"}, "owner": "Nobody", "reason": "x", "for": "4h"}
    silence = (await at.api("POST", "/api/silences", asked, **me)).json
    assert silence["owner"] == SATO
    said = (await at.api("POST", f"/api/silences/{silence['id']}/comments", {"by": "N", "text": "t"}, **me)).json
    assert said["comments"][0]["by"] == SATO
    ended = await at.api("DELETE", f"/api/silences/{silence['id']}?by=Nobody", **me)
    assert ended.json["expired_by"] == SATO


@pytest.mark.parametrize("environ", [KEYED, ENTRA, ROLES], ids=["key", "entra", "roles"])
async def test_another_site_answers_nothing_in_the_name_of_who_is_signed_in(environ):
    """Also where it knows the link: a browser sends along who is signed in, whichever page asks."""
    at = desk(environ)
    n = await asking(at)
    me = principal(SATO, "Switchyard.Operator", "Switchyard.Approver")
    for foreign in (
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example.com"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": "https://["},
    ):
        answer = await at.ask(
            "POST", link(n), urlencode({"answer": "approve"} | APPROVE).encode(), **FORM, **foreign, **me
        )
        assert answer.status == 403, foreign
        assert "another site’s page asked for this" in answer.words
    assert at.words == []
    own = {"origin": "http://localhost:7071"}  # a browser that says no more, from our page
    answer = await at.ask("POST", link(n), urlencode({"answer": "approve"} | APPROVE).encode(), **FORM, **own, **me)
    assert (answer.status, len(at.words)) == (303, 1)


async def test_who_is_refused_reads_why_in_their_language():
    me, japanese = principal(SATO, "Switchyard.Operator"), {"accept-language": "ja"}
    at = desk(ROLES)
    n = await asking(at)
    said = {"answer": "approve"} | APPROVE
    english = (await form(at, link(n), me, **said)).words
    assert "This is not allowed" in english
    assert f"{SATO} may look, and not do this: it needs the app role Switchyard.Approver" in english
    words = (await form(at, link(n), me | japanese, **said)).words
    assert f"{SATO} は閲覧のみ可能です。この操作にはアプリ ロール Switchyard.Approver が必要です" in words
    assert "サインインしていません。/.auth/login/aad" in (await at.get("/rollouts", **japanese)).words
    foreign = {"sec-fetch-site": "cross-site"}
    assert "別のサイトのページからの要求です" in (await form(at, link(n), me | japanese | foreign, **said)).words
    unguarded = desk({name: value for name, value in ROLES.items() if name != "WEBSITE_AUTH_ENABLED"})
    assert "App Service 認証が無効です" in (await unguarded.get("/rollouts", **japanese)).words


@pytest.mark.parametrize(
    ("roles", "approve", "abort", "freeze"),
    [
        ((), 403, 403, 403),
        (("Switchyard.Reader",), 403, 403, 403),
        (("Switchyard.Operator",), 403, 202, 201),
        (("Switchyard.Approver",), 202, 202, 403),
        (("Switchyard.Operator", "Switchyard.Approver"), 202, 202, 201),
    ],
)
async def test_a_role_is_needed_for_each_change(roles, approve, abort, freeze):
    frozen = {"endpoint": "*", "reason": "x", "for": "2d"}
    for path, said, expected in (
        (f"/api/rollouts/{ID}/approve", APPROVE, approve),
        (f"/api/rollouts/{ID}/abort", APPROVE, abort),
        ("/api/freezes", frozen, freeze),
    ):
        at = desk(ROLES)
        await asking(at)
        answer = await at.api("POST", path, said, **principal(SATO, *roles))
        assert answer.status == expected
        if expected == 403:
            assert f"{SATO} may look, and not do this: it needs the app role Switchyard." in answer.json["detail"]
            assert at.words == []
            assert await book.freezes(at.shelf, NOW) == []
    at = desk(ROLES)
    n = await asking(at)
    by_page = await form(at, f"/rollouts/{ID}/say", principal(SATO, *roles), verb="approve", ask=str(n), **APPROVE)
    by_link = await form(at, link(n), principal(SATO, *roles), answer="approve", **APPROVE)
    assert (by_page.status == 303) == (approve == 202)
    assert (by_link.status in {303, 409}) == (approve == 202)  # 409: it is answered by now
    assert len(at.words) == (approve == 202)
    assert (
        await at.api("POST", "/api/silences/preview", {"matchers": 7}, **principal(SATO))
    ).status == 400  # looks only


@pytest.mark.parametrize("given_", ["", "key", "Entra-Roles-", "none"])
async def test_with_keys_what_a_header_says_of_a_person_counts_for_nothing(given_):
    """In this mode nothing strips the header on its way in: anybody could send it."""
    at = desk(ENTRA | {"SWITCHYARD_SIGN_IN": given_})
    await asking(at)
    forged = principal("ceo@contoso.com", "Switchyard.Approver")
    await at.api("POST", f"/api/rollouts/{ID}/approve", {"by": "Sato", "reason": "x"}, **forged)
    assert [word["by"] for word in at.words] == ["Sato"]
    assert "ceo@" not in (await at.get("/rollouts", **forged)).text


@pytest.mark.parametrize("environ", [ENTRA, ROLES], ids=["entra", "roles"])
async def test_where_nothing_stands_in_front_nobody_is_let_in(environ):
    at = desk({name: value for name, value in environ.items() if name != "WEBSITE_AUTH_ENABLED"})
    await asking(at)
    forged = principal("ceo@contoso.com", "Switchyard.Operator", "Switchyard.Approver")
    for page in LOOKS:
        answer = await at.get(page, **forged)
        assert answer.status == 503
        assert "App Service authentication is not on" in answer.words
    assert (await at.api("POST", f"/api/rollouts/{ID}/approve", APPROVE, **forged)).status == 503
    assert at.words == []


HOSTS = (
    "//evil.example.com",
    "/\\evil.example.com",
    "/.evil.example.com",
    "/%2f%2fevil.example.com",
    "/https:/evil.example.com",
)


@pytest.mark.parametrize("path", [f"{host}{rest}" for host in HOSTS for rest in ("", "/..", "/rollouts", "/approve/x")])
async def test_no_path_leads_to_another_host(path):
    """Neither a redirect, nor the link to the other language, nor the one to sign in."""
    for environ in ({"SWITCHYARD_SIGNING_KEY": KEY}, ENTRA):
        for method in ("GET", "POST"):
            answer = await desk(environ).ask(method, f"http://localhost{path}", b"", sec_fetch_site="same-origin")
            assert not answer.headers.get("location", "/").startswith(("//", "/\\", "http"))
            links = re.findall(r'(?:href|action)="([^"]*)"', answer.text)
            assert [one for one in links if one.startswith(("//", "/\\", "http"))] == []


async def test_what_is_done_leads_back_to_a_page_of_this_service():
    at = desk(KEYED)
    n = await asking(at)
    for target, said in (
        (link(n), {"answer": "approve"} | APPROVE),
        ("/freezes", {"endpoint": "*", "owner": "o", "reason": "r", "for": "2d"}),
    ):
        answer = await form(at, f"{target}?next=//evil.example.com", {}, **said)
        assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, target)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: json.dumps({"claims": text}).encode()))
def test_no_header_breaks_the_door(raw: bytes):
    for sent in (base64.b64encode(raw).decode(), raw.decode("latin-1")):
        found = person({"x-ms-client-principal": sent}, roles=True)
        assert found is None or found.name


def test_an_app_that_signs_in_has_a_name_too():
    """A pipeline that approves by a token of its own: what is on record is which app it was."""
    headers = principal("", "Switchyard.Operator", azp="04b07795")
    found = person(headers, roles=True)
    assert found is not None
    assert (found.name, found.may("Switchyard.Operator"), found.may("Switchyard.Approver")) == (
        "app 04b07795",
        True,
        False,
    )
    assert person(principal(""), roles=True) is None


@pytest.mark.parametrize(
    ("given_", "level"), [("", "function"), ("entra", "anonymous"), ("entra-roles", "anonymous"), ("x", "function")]
)
def test_the_host_asks_for_a_key_unless_people_sign_in(given_, level):
    """As the worker indexes it: the level of a function is fixed when the app is loaded."""
    code = """
import json
import function_app
found = {one.get_function_name(): one.get_trigger().get_dict_repr().get("authLevel") for one in function_app.app.get_functions()}
print(json.dumps({name: getattr(level, "name", level) for name, level in found.items() if level is not None}))
"""
    environ = {"PATH": os.environ["PATH"], "SWITCHYARD_SIGN_IN": given_}  # noqa: TID251 (a child process needs a PATH)
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, env=environ
    )
    found = {name: str(value).lower() for name, value in json.loads(done.stdout).items()}
    assert found.pop("health") == "function"  # in either way: who watches over the service can't sign in
    assert found == {"approve": "anonymous", "acknowledge": "anonymous", "static": "anonymous", "web": level}


# The command line


def test_the_command_line_signs_in_where_the_scope_is_set(monkeypatch, capsys):
    from shared.web import app as web_app

    seen: list[str] = []
    at = desk(ENTRA)

    def fronted(inner: Any) -> Any:
        async def front(scope: Any, receive: Any, send: Any) -> None:
            sent = Request(scope).headers.get("authorization", "")
            seen.append(sent)
            headers = [pair for pair in scope["headers"] if pair[0] != b"x-ms-client-principal"]
            if sent.startswith("Bearer ey"):
                headers += [(name.encode(), value.encode()) for name, value in principal("", azp="pipeline").items()]
            await inner({**scope, "headers": headers}, receive, send)

        return front

    import tests.served

    monkeypatch.setattr(tests.served, "app", lambda given_desk: fronted(web_app(given_desk)))
    with Box(rate=1, seed=1) as box, serving(at) as served:
        assert served.run("rollouts", "list") == 1
        assert "set SWITCHYARD_SCOPE to the app's scope" in capsys.readouterr().err
        for name, value in box.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SWITCHYARD_SCOPE", "api://switchyard/.default")
        assert served.run("freezes", "add", "--for", "2d", "--reason", "quarter end") == 0
        assert seen[-1].startswith("Bearer ey")
        assert served.run("freezes", "list") == 0
        assert "app pipeline" in capsys.readouterr().out
    monkeypatch.setenv("SWITCHYARD_SCOPE", "api://switchyard/.default")
    assert main(["rollouts", "list", "--url", "http://switchyard.example.com"]) == 1
    assert "is not https: anybody on the way could take the token" in capsys.readouterr().err
