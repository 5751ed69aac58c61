"""`switchyard rollouts`: how a running service's rollouts stand, and what people say to them."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final
from urllib.parse import quote

from shared.cli.given import LOCAL
from shared.cli.remote import ask, print_json, print_lines, print_table, second

_MARKS: Final = {"holds": "✓", "breach": "✕", "both bad": "!", "unknown": "?", "too few": "…"}
_SAID: Final = {
    "approve": "approved",
    "reject": "rejected",
    "abort": "aborted",
    "override": "asked to go on all the same",
}


def run(arguments: Namespace) -> int:
    verbs = {"list": _list, "show": _show}
    return verbs.get(arguments.verb, _say)(arguments)


def _list(arguments: Namespace) -> int:
    found = ask("GET", arguments.url, "/api/rollouts", {"limit": arguments.limit})
    if arguments.json:
        print_json(found)
    elif not found["rollouts"]:
        print("no rollouts")
    else:
        rows = [_row(head) for head in found["rollouts"]]
        print_table([("BEGAN", "ROLLOUT", "ENDPOINT", "MODEL", "STATUS", "TRAFFIC", "WHY"), *rows])
    return 0


def _row(head: Mapping[str, Any]) -> tuple[str, ...]:
    asked = head["question"]["question"] if head["question"] else ""
    model, percent = f"{head['model']}:{head['version']}", f"{head['percent']}%"
    return (
        second(head["began"]),
        head["id"],
        head["endpoint"],
        model,
        head["status"],
        percent,
        asked or head["why"] or "",
    )


def _show(arguments: Namespace) -> int:
    told = ask("GET", arguments.url, _path(arguments))
    if arguments.json:
        print_json(told)
    else:
        print_lines(list(_story(told)))
    return 0


def _path(arguments: Namespace) -> str:
    return f"/api/rollouts/{quote(arguments.id, safe='')}"


def _story(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{told['model']}:{told['version']} -> {told['endpoint']}  {told['status']}, {told['percent']}% of the traffic"
    yield from _fields(_about(told))
    if told["question"]:
        asked = told["question"]
        yield from ("", f"asked now: {asked['question']}")
        yield from _fields({"of": asked["of"], "until": second(asked["until"])})
    if told["passed"]:
        yield from ("", "what it has passed")
        yield from (f"  ✓ {one}" for one in told["passed"])
    if told["readings"]:
        yield from ("", "what the gates say")
        yield from (f"  {_MARKS[one['state']]} {one['said']}" for one in told["readings"])
    yield from ("", "who said what")
    people = [_word(word) for word in told["people"] if word["verb"] in _SAID]
    yield from people
    if not people:
        yield "  nobody has said anything"
    yield from ("", "where it comes from")
    yield from _fields(_lineage(told))
    yield from ("", "step by step")
    yield from _steps(told["steps"])


def _about(told: Mapping[str, Any]) -> dict[str, object]:
    return {
        "rollout": told["id"],
        "because": told["why"],
        "policy": told["policy"],
        "workspace": told["workspace"],
        "began": second(told["began"]),
        "ended": told["ended"] and second(told["ended"]),
        "replaces": told["replaced"],
        "takes back": told["restores"],
    }


def _lineage(told: Mapping[str, Any]) -> dict[str, object]:
    lineage = told["lineage"]
    origin, event = lineage["origin"] or {}, lineage["event"] or {}
    code = " ".join(part for part in (origin.get("commit"), origin.get("branch")) if part)
    return {
        "run": origin.get("run"),
        "experiment": origin.get("experiment"),
        "data": ", ".join(f"{name} {value}" for name, value in (origin.get("inputs") or {}).items()),
        "code": code,
        "event": event and f"{event['type']} {event['subject']} ({event['record']})",
        "rule": lineage["rule"],
        "config": lineage["config"],
        "deployment": told["deployment"],
        "approved by": ", ".join(lineage["approved_by"]),
    }


def _fields(values: Mapping[str, object]) -> Iterator[str]:
    yield from (f"  {name:13}{value}" for name, value in values.items() if value)


def _word(word: Mapping[str, Any]) -> str:
    via = f" ({word['via']})" if word["via"] else ""
    reason = f": {word['reason']}" if word["reason"] else ""
    return f"  {second(word['at'])} {word['by']} {_SAID[word['verb']]}{reason}{via}"


def _steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Long runs of waiting and measuring take one line."""
    why = None
    for (routine, _), run_ in groupby(steps, key=lambda step: (step["routine"], step["why"])):
        together = list(run_)
        if routine and len(together) > 1:
            until = second(together[-1]["answered"])
            yield f"  {second(together[0]['asked'])} … {len(together)} steps of waiting and looking, until {until}"
        else:
            yield from (_step(step) for step in together)
        if together[0]["why"] and together[0]["why"] != why:
            why = together[0]["why"]
            yield f"  {'':20} {why}"


def _step(step: Mapping[str, Any]) -> str:
    came = f" — {step['answer']['said']}" if step["answer"]["said"] else ""
    return f"  {second(step['asked'])} {step['said']}{came}"


def _say(arguments: Namespace) -> int:
    said = {"by": arguments.by, "reason": arguments.reason, "via": "command line"}
    taken = ask("POST", arguments.url, f"{_path(arguments)}/{arguments.verb}", said=said)
    if arguments.json:
        print_json(taken)
    else:
        elsewhere = "" if arguments.url == LOCAL else f" --url {arguments.url}"
        print_lines([f"on record for {taken['by']}: switchyard rollouts show {taken['id']}{elsewhere}"])
    return 0
