"""An HTTP answer becomes one of our errors."""

import pytest

from shared.errors import PermanentError, TemporaryError
from shared.post import deliver
from shared.world import Reply
from tests.world import START, FakeHttp

URL = "https://prod-01.logic.test/workflows/0123456789abcdef0123/invoke?sp=%2Frun&sig=s3cr3t-signature"


async def post(http: FakeHttp, **more: object) -> Reply:
    headers = {"Authorization": "Bearer t0p-secret-token"}
    return await deliver(http, "POST", URL, what="the far side", now=START, headers=headers, json={"a": float("nan")})


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_two_hundreds_are_done(status: int):
    http = FakeHttp()
    http.answer(status)
    assert (await post(http)).status == status
    assert http.sent[0].body == b'{"a":null}'


@pytest.mark.parametrize(
    ("status", "sent"),
    [(408, False), (425, False), (429, False), (500, True), (502, True), (503, False), (504, True), (599, False)],
)
async def test_busy_means_later_and_a_broken_answer_may_have_been_an_effect(status: int, *, sent: bool):
    http = FakeHttp()
    http.answer(status)
    with pytest.raises(TemporaryError, match=f"the far side answered HTTP {status}") as caught:
        await post(http)
    assert caught.value.sent is sent
    assert caught.value.retry_after is None


async def test_a_far_side_that_cannot_be_reached_is_named():
    http = FakeHttp()
    http.script.append(TemporaryError("no answer (ServerDisconnectedError)", sent=True))
    with pytest.raises(TemporaryError, match="the far side: no answer") as caught:
        await post(http)
    assert caught.value.sent


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410, 413, 422])
async def test_anything_else_is_for_good(status: int):
    http = FakeHttp()
    http.answer(status)
    with pytest.raises(PermanentError, match=f"HTTP {status}"):
        await post(http)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "90"}, 90),
        ({"retry-after": "Fri, 20 Nov 2026 08:32:00 GMT"}, 120),
        ({"retry-after": "Fri, 20 Nov 2026 08:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "999999999"}, 7 * 86_400),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(START.timestamp()) + 30)}, 30),
        ({"x-ratelimit-remaining": "12", "x-ratelimit-reset": "99"}, None),
        ({}, None),
    ],
)
async def test_the_time_it_asks_for_is_understood(headers: dict[str, str], seconds: float | None):
    http = FakeHttp()
    http.script.append(Reply(429, headers, b""))
    with pytest.raises(TemporaryError) as caught:
        await post(http)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message": "Not Found"}', "Not Found"),
        (b'{"error": {"code": "X", "message": "no such flow"}}', "no such flow"),
        (b"<html><body><h1>Forbidden</h1></body></html>", "Forbidden"),
        (b"[1, 2]", "[1, 2]"),
        (b"\xff\xfe", "\ufffd"),
        (b"x" * 5000, "x" * 300 + "…"),
    ],
)
async def test_its_own_words_are_passed_on_shortened(body: bytes, said: str):
    http = FakeHttp()
    http.answer(400, body)
    with pytest.raises(PermanentError) as caught:
        await post(http)
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    "echo",
    [
        URL,
        URL.split("test")[1],
        "sig=s3cr3t-signature",
        "s3cr3t-signature",
        "Bearer t0p-secret-token",
        "t0p-secret-token",
    ],
)
async def test_what_it_echoes_of_the_address_and_the_headers_is_hidden(echo: str):
    http = FakeHttp()
    http.answer(401, f"denied for {echo}!".encode())
    with pytest.raises(PermanentError, match="denied for") as caught:
        await post(http)
    assert "s3cr3t" not in str(caught.value)
    assert "t0p" not in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)
