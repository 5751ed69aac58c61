"""`switchyard freezes`: while one is in force, no rollout of its endpoints moves forward."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from shared.cli.remote import ask, print_json, print_lines, print_table, second


def run(arguments: Namespace) -> int:
    verbs = {"list": _list, "add": _add, "lift": _lift}
    return verbs[arguments.verb](arguments)


def _list(arguments: Namespace) -> int:
    found = ask("GET", arguments.url, "/api/freezes", {"all": "1"} if arguments.all else None)
    if arguments.json:
        print_json(found)
    elif not found["freezes"]:
        print("nothing is frozen")
    else:
        rows = [
            (second(one["until"]), one["id"], one["endpoint"], one["owner"], one["reason"], _lifted(one))
            for one in found["freezes"]
        ]
        print_table([("UNTIL", "FREEZE", "ENDPOINT", "OWNER", "REASON", "LIFTED" if arguments.all else ""), *rows])
    return 0


def _add(arguments: Namespace) -> int:
    # A length of time is counted from the service's own clock, which may be a simulated one.
    end = {"until": arguments.until} if arguments.until else {"for": arguments.length}
    said = {"endpoint": arguments.endpoint, "reason": arguments.reason, "owner": arguments.owner, **end}
    new = ask("POST", arguments.url, "/api/freezes", said=said)
    if arguments.json:
        print_json(new)
    else:
        print_lines([f"{_what(new['endpoint'])} until {second(new['until'])}: {new['id']}"])
    return 0


def _lift(arguments: Namespace) -> int:
    lifted = ask("DELETE", arguments.url, f"/api/freezes/{quote(arguments.id, safe='')}", {"by": arguments.by})
    if arguments.json:
        print_json(lifted)
    else:
        print_lines([f"no longer {_what(lifted['endpoint'])}: {lifted['reason']}"])
    return 0


def _lifted(one: Mapping[str, Any]) -> str:
    return f"{second(one['lifted'])} by {one['lifted_by'] or '-'}" if one["lifted"] else ""


def _what(endpoint: str) -> str:
    return "frozen: all endpoints" if endpoint == "*" else f"frozen: {endpoint}"
