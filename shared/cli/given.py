"""What every command shares: how it says that it could not, and how it reads what it is given."""

import json
import os
import sys
from pathlib import Path
from typing import Final

from shared.bounds import SETTING, Bounds, read_bounds
from shared.errors import printable

LOCAL: Final = "http://localhost:7071"
"""Where a service is looked for when no address is given."""


class FailedError(Exception):
    """One sentence for standard error: what went wrong and what to do. The exit status is 1."""


def bounds() -> Bounds:
    """How much a file may say where this runs: as the service where SWITCHYARD_LIMITS is the same. What is wrong with it goes to
    standard error.
    """
    found, wrong = read_bounds(os.environ.get(SETTING, ""))
    for one in wrong:
        print(f"switchyard: {printable(one)}", file=sys.stderr)
    return found


def read(name: str) -> object:
    """The JSON of a file, or of standard input for `-`."""
    try:
        return json.loads(sys.stdin.read() if name == "-" else Path(name).read_text("utf-8-sig"))
    except OSError as error:
        raise FailedError(f"{name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FailedError(f"{name} is not text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise FailedError(f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error


def envelopes(name: str) -> list[dict[str, object]]:
    """The events of a file: one object, or an array of them."""
    content = read(name)
    things = content if isinstance(content, list) else [content]
    found = [{str(key): value for key, value in one.items()} for one in things if isinstance(one, dict)]
    if not found or len(found) < len(things):
        raise FailedError(f"{name} holds no event: expected an object, or an array of objects")
    return found
