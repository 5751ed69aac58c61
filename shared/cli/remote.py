"""A running service, asked by HTTP, and how its answers are printed."""

import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import requests

from shared.cli.given import FailedError
from shared.errors import printable

SCOPE: Final = "SWITCHYARD_SCOPE"
"""The setting with the scope of the app that signs people in; without it no token is sent."""


def ask(
    method: str,
    url: str,
    path: str,
    query: Mapping[str, object] | None = None,
    said: Mapping[str, object] | None = None,
    *,
    patience: float = 30,
) -> Any:
    """The JSON that the service answers with. Raises FailedError, with its own words, where it says no. `patience`: seconds that the
    answer may take.
    """
    answer = _answer(method, url, path, query, said, patience=patience)
    try:
        return answer.json()
    except requests.JSONDecodeError as error:
        url = _keyed(url)[0]
        raise FailedError(f"{url} answers HTTP {answer.status_code} and no JSON: is this a Switchyard host?") from error


def lines(url: str, path: str, query: Mapping[str, object]) -> Iterator[str]:
    """The lines of a long answer, as they come. Raises FailedError as `ask` does."""
    with _answer("GET", url, path, query, stream=True) as answer:
        try:
            for raw in answer.iter_lines(delimiter=b"\n", chunk_size=1 << 16):
                if raw:
                    yield raw.decode()
        except requests.RequestException as error:
            raise FailedError(f"{_keyed(url)[0]} broke off its answer: {error}") from error


def _answer(
    method: str,
    url: str,
    path: str,
    query: Mapping[str, object] | None = None,
    said: Mapping[str, object] | None = None,
    *,
    stream: bool = False,
    patience: float = 30,
) -> requests.Response:
    url, headers = _keyed(url)
    headers |= _signed(url)
    try:
        # A redirect is an answer: to a page for signing in, for example, and no token goes along with it.
        asked: dict[str, Any] = {
            "params": query,
            "json": said,
            "headers": headers,
            "stream": stream,
            "allow_redirects": False,
        }
        answer = requests.request(method, f"{url}{path}", timeout=patience, **asked)
    except requests.ConnectionError as error:
        raise FailedError(f"no service answers at {url}: start one with `switchyard serve`") from error
    except requests.RequestException as error:
        raise FailedError(f"{url} could not be asked: {error}") from error
    if (answer.is_redirect or answer.status_code in {401, 403}) and not headers:
        raise FailedError(
            f"HTTP {answer.status_code}: {url} asks for a key: add ?code=KEY to the address. Where people sign in by Entra ID, "
            f"sign in (`az login`) and set {SCOPE} to the app's scope, api://CLIENT_ID/.default"
        )
    if answer.is_redirect:
        raise FailedError(
            f"HTTP {answer.status_code}: {url} sends elsewhere: is it the service's own address, with https?"
        )
    if answer.ok:
        return answer
    try:
        body = answer.json()
    except requests.JSONDecodeError as error:
        raise FailedError(f"{url} answers HTTP {answer.status_code} and no JSON: is this a Switchyard host?") from error
    detail = body.get("detail") if isinstance(body, dict) else None
    raise FailedError(printable(str(detail or f"{url} answers HTTP {answer.status_code}")))


def _keyed(url: str) -> tuple[str, dict[str, str]]:
    """The address without its function key, and the header that carries it: no error says it."""
    parts = urlsplit(url)
    key = dict(parse_qsl(parts.query)).get("code")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", {"x-functions-key": key} if key else {}


def _signed(url: str) -> dict[str, str]:
    """A token of whoever is signed in on this machine, for an app that Entra ID stands in front of: where its scope is set."""
    scope = os.environ.get(SCOPE)
    if not scope:
        return {}
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in {"localhost", "127.0.0.1"}:
        raise FailedError(f"{url} is not https: anybody on the way could take the token of {SCOPE}")
    from azure.core.exceptions import ClientAuthenticationError

    from shared.cloud.credentials import credential
    from shared.settings import Settings

    try:
        token = credential(Settings.of(os.environ), os.environ).get_token(scope).token
    except ClientAuthenticationError as error:
        said = printable(" ".join(str(error).split()))[:300]
        raise FailedError(f"there is no token for {scope}: sign in with `az login`. {said}") from error
    return {"Authorization": f"Bearer {token}"}


def second(moment: str) -> str:
    """Without the fraction that machines need."""
    return moment[:19] + "Z"


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_lines(lines: Sequence[str]) -> None:
    print("\n".join(printable(line) for line in lines))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(_width(cell) for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip())


def _width(text: str) -> int:
    """Columns in a terminal: Japanese takes two for each character."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
