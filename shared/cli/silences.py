"""`switchyard silences`: while one is in force, nobody is told of what it fits."""

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from shared.cli.given import FailedError
from shared.cli.remote import ask, print_json, print_lines, print_table, second

_MATCH: Final = re.compile(r"([^=!<>~]+?)\s*(!=|>=|<=|=|>|<|~)\s*(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")


def run(arguments: Namespace) -> int:
    verbs = {"list": _list, "add": _add, "comment": _comment, "expire": _expire}
    return verbs[arguments.verb](arguments)


def _list(arguments: Namespace) -> int:
    found = ask("GET", arguments.url, "/api/silences", {"all": "1"} if arguments.all else None)
    if arguments.json:
        print_json(found)
    elif not found["silences"]:
        print("nothing is silenced")
    else:
        over = "ENDED" if arguments.all else ""
        rows = [_row(one) for one in found["silences"]]
        print_table([("UNTIL", "SILENCE", "HELD BACK", "OWNER", "ASKS FOR", "REASON", over), *rows])
    return 0


def _row(one: Mapping[str, Any]) -> Sequence[str]:
    ended = f"{second(one['expired'])} {_ended_by(one['expired_by'])}" if one["expired"] else ""
    return (second(one["until"]), one["id"], str(one["held_back"]), one["owner"], one["asks"], one["reason"], ended)


def _ended_by(by: str) -> str:
    return by if by.startswith("resolved by ") else f"by {by or '-'}"


def _add(arguments: Namespace) -> int:
    matchers = matched(arguments.match)
    seen = ask("POST", arguments.url, "/api/silences/preview", said={"matchers": matchers})
    if arguments.preview:
        if arguments.json:
            print_json(seen)
        else:
            print_lines([_would(seen), *(f"  {_example(one)}" for one in seen["examples"])])
        return 0
    # A length of time is counted from the service's own clock, which may be a simulated one.
    end = {"until": arguments.until} if arguments.until else {"for": arguments.length}
    said = {"matchers": matchers, "reason": arguments.reason, "owner": arguments.owner, **end}
    new = ask("POST", arguments.url, "/api/silences", said=said)
    if arguments.json:
        print_json(new)
    else:
        print_lines([f"silenced until {second(new['until'])}: {new['id']} ({new['asks']})", _would(seen)])
    return 0


def matched(lines: Sequence[str]) -> dict[str, object]:
    """`FIELD=VALUE` lines as a `match` block; a field that is given several times has one of the values."""
    found: dict[str, object] = {}
    for line in lines:
        parts = _MATCH.fullmatch(line)
        if parts is None:
            raise FailedError(f"--match {line!r}: expected FIELD=VALUE, such as tags.team=fraud or 'rule=~ ^fraud-'")
        name, sign, text = parts[1].strip(), parts[2], parts[3].strip()
        value = _value(text) if sign == "=" else f"{sign} {text}"
        if name in found:
            old = found[name]
            found[name] = [*old, value] if isinstance(old, list) else [old, value]
        else:
            found[name] = value
    return found


def _value(text: str) -> object:
    """As YAML reads it unquoted: a number and a truth are none of text."""
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return {"true": True, "false": False}.get(text, text)


def _would(seen: Mapping[str, Any]) -> str:
    more = "" if seen["complete"] else ", and there were more"
    held, asked = seen["held_back"], seen["notifications"]
    return f"of the last {seen['hours']} hours it would have held back {held} of {asked} messages{more}"


def _example(one: Mapping[str, str]) -> str:
    to = f" -> {one['receiver']}" if one["receiver"] else ""
    return f"{one['type']} {one['rule']}{to} ({one['record']})"


def _comment(arguments: Namespace) -> int:
    said = {"by": arguments.by, "text": arguments.text}
    told = ask("POST", arguments.url, f"/api/silences/{quote(arguments.id, safe='')}/comments", said=said)
    if arguments.json:
        print_json(told)
    else:
        print_lines([f"on record for {told['comments'][-1]['by']}: {told['id']}"])
    return 0


def _expire(arguments: Namespace) -> int:
    ended = ask("DELETE", arguments.url, f"/api/silences/{quote(arguments.id, safe='')}", {"by": arguments.by})
    if arguments.json:
        print_json(ended)
    else:
        print_lines([f"no longer silenced: {ended['asks']} ({ended['held_back']} messages were held back)"])
    return 0
