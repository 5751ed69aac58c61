"""One session, kept-alive connections, and failures told apart by whether the request may have arrived."""

import socket
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.bounds import DEFAULTS
from shared.cloud.http import AioHttp
from shared.cloud.reach import of
from shared.errors import PermanentError, TemporaryError
from shared.settings import Settings

HERE = of(Settings(private_hosts=("127.0.0.1", "localhost")), rules=True)


@pytest.fixture
async def http() -> AsyncIterator[AioHttp]:
    door = AioHttp(HERE)
    yield door
    await door.close()


@pytest.fixture
async def far() -> AsyncIterator[TestServer]:
    """Answers with what it was asked, and who asked."""

    async def echo(request: web.Request) -> web.Response:
        assert request.transport is not None
        headers = {"X-Peer": str(request.transport.get_extra_info("peername")[1]), "X-Raw": request.raw_path}
        return web.Response(status=202, body=await request.read(), headers=headers)

    async def moved(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async def long(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * (DEFAULTS.answer_bytes + 4096))

    async def gone(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"begun")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def told(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    app = web.Application(client_max_size=1 << 22)
    for path, handler in {"/moved": moved, "/long": long, "/gone": gone, "/half": half, "/told": told}.items():
        app.router.add_route("*", path, handler)
    app.router.add_route("*", "/{rest:.*}", echo)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


def url(far: TestServer, path: str) -> str:
    return f"http://127.0.0.1:{far.port}{path}"


async def test_an_answer_comes_back_with_lower_case_headers(http: AioHttp, far: TestServer) -> None:
    reply = await http.send("POST", url(far, "/x"), headers={"Content-Type": "text/plain"}, body="日本".encode())
    assert (reply.status, reply.body.decode(), reply.headers["x-raw"]) == (202, "日本", "/x")


async def test_connections_are_kept_alive(http: AioHttp, far: TestServer) -> None:
    peers = {(await http.send("POST", url(far, "/x"), body=b"{}")).headers["x-peer"] for _ in range(5)}
    assert len(peers) == 1


async def test_only_the_headers_we_say_are_sent(http: AioHttp, far: TestServer) -> None:
    told = (await http.send("GET", url(far, "/told"), headers={"X-Ours": "1"})).body.decode()
    assert '"X-Ours": "1"' in told
    assert "Accept-Encoding" not in told
    assert "User-Agent" not in told


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (
            "/w/invoke?sp=%2Ftriggers%2Fmanual%2Frun&sig=a%2Bb-c%3D",
            "/w/invoke?sp=%2Ftriggers%2Fmanual%2Frun&sig=a%2Bb-c%3D",
        ),
        ("/a b/日本", "/a%20b/%E6%97%A5%E6%9C%AC"),
    ],
)
async def test_an_address_is_sent_as_written_and_quoted_only_where_it_must(
    http: AioHttp, far: TestServer, path: str, sent: str
) -> None:
    assert (await http.send("POST", url(far, path))).headers["x-raw"] == sent


async def test_a_redirect_is_an_answer(http: AioHttp, far: TestServer) -> None:
    reply = await http.send("GET", url(far, "/moved"))
    assert (reply.status, reply.headers["location"]) == (302, "/elsewhere")


async def test_of_a_long_answer_the_beginning_is_read(http: AioHttp, far: TestServer) -> None:
    assert len((await http.send("GET", url(far, "/long"))).body) == DEFAULTS.answer_bytes


@pytest.mark.parametrize("path", ["/gone?sig=secret", "/half?sig=secret"])
async def test_a_connection_that_breaks_may_have_had_its_effect(http: AioHttp, far: TestServer, path: str) -> None:
    with pytest.raises(TemporaryError, match="no answer") as caught:
        await http.send("POST", url(far, path), body=b"{}")
    assert caught.value.sent
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_where_nobody_listens_nothing_was_sent(http: AioHttp) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TemporaryError, match="no connection") as caught:
        await http.send("POST", f"http://127.0.0.1:{port}/?sig=secret", body=b"{}")
    assert not caught.value.sent
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["", "secret", "/secret", "ftp://secret/x", "http://", "https://:80/secret", "http://[secret"]
)
async def test_what_is_no_address_is_refused_unseen(http: AioHttp, address: str) -> None:
    with pytest.raises(PermanentError, match="not an absolute http or https URL") as caught:
        await http.send("GET", address)
    assert "secret" not in str(caught.value)


async def test_a_header_with_a_line_break_is_refused_unseen(http: AioHttp, far: TestServer) -> None:
    with pytest.raises(PermanentError, match="a header holds what no header can hold") as caught:
        await http.send("GET", url(far, "/x"), headers={"X-Secret": "secret\r\nX: y"})
    assert "secret" not in str(caught.value)


async def test_trust_is_that_of_ssl_cert_file(
    far: TestServer, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    server = TestServer(app, scheme="https", host="localhost")
    await server.start_server(ssl=context)
    strict, trusting = AioHttp(HERE), AioHttp(HERE)
    try:
        with pytest.raises(TemporaryError, match=r"no connection.*Certificate") as caught:
            await strict.send("GET", f"https://localhost:{server.port}/")
        assert not caught.value.sent
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert (await trusting.send("GET", f"https://localhost:{server.port}/")).body == b"hello"
    finally:
        await strict.close()
        await trusting.close()
        await server.close()
