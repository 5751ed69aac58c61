"""`switchyard events`: what a running service has on record."""

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from shared.cli.given import LOCAL, FailedError
from shared.cli.remote import ask, lines, print_json, print_lines, print_table, second
from shared.rollout.hours import seconds, written

_MARKS: Final = {True: "✓", False: "✕"}


def run(arguments: Namespace) -> int:
    verbs = {"list": _list, "show": _show, "replay": _replay, "acknowledge": _acknowledge, "export": _export}
    return verbs[arguments.verb](arguments)


def _list(arguments: Namespace) -> int:
    asked = {name: getattr(arguments, name) for name in ("limit", "type", "status", "since")}
    found = ask(
        "GET", arguments.url, "/api/events", {name: value for name, value in asked.items() if value is not None}
    )
    if arguments.json:
        print_json(found)
    elif not found["events"]:
        print("no events")
    else:
        rows = [_row(event) for event in found["events"]]
        print_table([("RECEIVED", "RECORD", "STATUS", "TYPE", "SUBJECT", "MATCHED", "ACTIONS"), *rows])
    return 0


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    event = record["event"] or {"type": "-", "subject": record["refusal"]}
    counts = Counter((one["action"], one["status"]) for one in record["actions"])
    done = ", ".join(f"{action} {status}{f' x{n}' if n > 1 else ''}" for (action, status), n in counts.items())
    matched = str(len(record["matched"]))
    return (second(record["received"]), record["id"], record["status"], event["type"], event["subject"], matched, done)


def _show(arguments: Namespace) -> int:
    record = ask("GET", arguments.url, f"/api/events/{quote(arguments.id, safe='')}")
    if arguments.json:
        print_json(record)
    else:
        print_lines(_story(record))
    return 0


def _story(record: Mapping[str, Any]) -> list[str]:
    event, decision = record["event"], record["decision"]
    said = [f"{event['type']}  {event.get('subject', '')}" if event else "an event that could not be read"]
    said += [f"  {name:10}{value}" for name, value in _fields(record).items() if value]
    if decision:
        said += [
            f"  {'rules':10}{len(record['matched'])} of {decision['considered']} matched (configuration {decision['config']})"
        ]
    actions = {one["key"]: one for one in record["actions"]}
    for verdict in decision["verdicts"] if decision else ():
        by = f" by {verdict['by']}" if verdict["by"] else ""
        said += ["", f"{verdict['rule']} ({verdict['file']}): {verdict['outcome']}{by}"]
        said += [f"  {_line(checked)}" for checked in verdict["checked"]]
        for key in verdict["intents"]:
            said += _deed(actions.pop(key)) if key in actions else []
    if actions:
        said += ["", "from an earlier decision"]
        said += [line for one in actions.values() for line in _deed(one)]
    return said


def _fields(record: Mapping[str, Any]) -> dict[str, object]:
    event, facts = record["event"] or {}, record["facts"] or {}
    return {
        "record": record["id"],
        "event": event.get("id"),
        "status": record["status"],
        "because": record["refusal"],
        "happened": event.get("time") and second(event["time"]),
        "received": second(record["received"]),
        "workspace": event.get("workspace"),
        "delivered": f"{record['deliveries']} times, taken in once" if record["deliveries"] > 1 else None,
        "given up": _dead(record.get("dead_letter")),
        "replayed": record["replays"],
        "seen": _seen(record.get("acknowledged")),
        "metrics": ", ".join(f"{name} {value}" for name, value in (facts.get("metrics") or {}).items()),
        "error": (facts.get("job") or {}).get("error"),
        "drift": _crossed(event.get("drift") or facts.get("drift") or {}),
        "unknown": "; ".join(f"{name}: {reason}" for name, reason in (facts.get("unknown") or {}).items()),
    }


def _crossed(drift: Mapping[str, Any]) -> str | None:
    """The features beyond their thresholds."""
    told = (
        f"{one['feature']} {one.get('value', '?')} (threshold {one.get('threshold', '?')})"
        for one in drift.get("crossed") or ()
    )
    return ", ".join(told) or None


def _dead(letter: Mapping[str, Any] | None) -> str | None:
    if letter is None:
        return None
    back = f"; brought back at {second(letter['back'])}" if letter["back"] else ""
    return f"by Event Grid after {letter['attempts']} attempts: {letter['reason']}, {letter['outcome']}{back}"


def _seen(ack: Mapping[str, Any] | None) -> str | None:
    if ack is None:
        return None
    return f"acknowledged by {ack['by']} at {second(ack['at'])}{f': {ack["reason"]}' if ack['reason'] else ''}"


def _line(checked: Mapping[str, Any]) -> str:
    note = f" ({checked['note']})" if checked["note"] else ""
    if checked["path"] in {"any", "not"}:
        return f"{_MARKS[checked['held']]} {checked['expected']}{note}"
    actual = (
        checked["actual"] if isinstance(checked["actual"], str) else json.dumps(checked["actual"], ensure_ascii=False)
    )
    what = f"is {actual}" if checked["present"] else "is not there"
    return f"{_MARKS[checked['held']]} {checked['path']} {what}; asked for {checked['expected']}{note}"


def _followed(account: Mapping[str, Any] | None) -> list[str]:
    """How what was started stands, or ended."""
    if account is None:
        return []
    took = f" after {written(account['took'])}" if account["took"] else ""
    ended = f" at {second(account['ended'])}{took}" if account["ended"] else ""
    said = [f"    {account['state']}{ended}: {account['said']}"]
    said += [f"    has not begun: noticed at {second(account['late'])}"] if account["late"] and not ended else []
    said += [f"    could not be asked: {account['trouble']}"] if account["trouble"] and not ended else []
    said += [f"    next look at {second(account['due'])}"] if account["due"] and not ended else []
    return said


def _deed(action: Mapping[str, Any]) -> list[str]:
    result, attempts = action["result"] or {"said": "", "link": None}, action["attempts"]
    last = attempts[-1]["note"] if attempts else ""
    what = ": ".join(part for part in (action["status"], result["said"] or last) if part)
    said = [f"  → {action['action']} {what}"]
    said += [f"    {result['link']}"] if result["link"] else []
    said += [f"    {len(attempts)} attempts, the last at {second(attempts[-1]['at'])}"] if len(attempts) > 1 else []
    said += ["    may have been sent twice"] if action["maybe_twice"] else []
    said += _followed(action.get("followed"))
    return said


def _replay(arguments: Namespace) -> int:
    taken = ask("POST", arguments.url, f"/api/events/{quote(arguments.id, safe='')}/replay")
    if arguments.json:
        print_json(taken)
    else:
        elsewhere = "" if arguments.url == LOCAL else f" --url {arguments.url}"
        print(f"the replay is on its way: switchyard events show {taken['id']}{elsewhere}")
    return 0


def _acknowledge(arguments: Namespace) -> int:
    said = {"by": arguments.by, "reason": arguments.reason, "mute": arguments.mute, "via": "command line"}
    told = ask("POST", arguments.url, f"/api/events/{quote(arguments.id, safe='')}/acknowledge", said=said)
    if arguments.json:
        print_json(told)
        return 0
    ack, silence = told["acknowledged"], told["silence"]
    print_lines([f"acknowledged by {ack['by']} at {second(ack['at'])}"])
    if silence:
        print_lines([f"muted until {second(silence['until'])} at the latest: {silence['id']} ({silence['asks']})"])
    elif told["over"]:
        print_lines([f"not muted: it is over already, by the event {told['over']}"])
    return 0


def _export(arguments: Namespace) -> int:
    """Day by day, so that no answer is too long for the service. Without an end, up to its own clock, which may be a
    simulated one and far ahead of ours.
    """
    now = datetime.now(UTC)
    since, until = _when(arguments.since, now), _when(arguments.until, now) if arguments.until else now
    counted = 0
    while since < until:
        end = min(since.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1), until)
        asked = {"since": since.isoformat()}
        if arguments.until or end < until:
            asked["until"] = end.isoformat()
        for text in lines(arguments.url, "/api/archive", asked):
            print(text)
            counted += 1
        since = end
    print(f"{counted} {'event' if counted == 1 else 'events'}", file=sys.stderr)
    return 0


def _when(text: str, now: datetime) -> datetime:
    length = seconds(text)
    if length:
        return now - timedelta(seconds=length)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        said = f"{text!r} is no time: expected one such as 2026-11-20T08:30:00Z, or how long ago, such as 12h or 7d"
        raise FailedError(said) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
