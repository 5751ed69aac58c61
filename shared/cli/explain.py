"""`switchyard explain`: which rules an event matches, and why the others do not. Asks nothing outside this machine."""

import json
import sys
from argparse import Namespace
from datetime import UTC, datetime

import msgspec

from shared.cli.given import FailedError, bounds, envelopes, read
from shared.errors import PermanentError, printable
from shared.events import Event, parse
from shared.record import Facts
from shared.rules.explain import as_json, as_text, explain
from shared.rules.load import load_texts
from shared.settings import read_folder


def run(arguments: Namespace) -> int:
    if not arguments.config.is_dir():
        raise FailedError(f"there is no configuration folder {arguments.config}: name one with --config")
    loaded = load_texts(read_folder(arguments.config), bounds=bounds())
    levels = loaded.bounds.payload_levels
    events = [_event(arguments.event, envelope, arguments.at, levels) for envelope in envelopes(arguments.event)]
    facts = _facts(str(arguments.facts)) if arguments.facts else Facts()
    if loaded.problems:
        said = f"{', '.join(loaded.rejected_files)} left out for their mistakes: `switchyard check {arguments.config}` names them"
        print(f"switchyard: {said}", file=sys.stderr)
    if arguments.json:
        told = [
            {
                "event": event.id,
                "type": event.type,
                "rules": json.loads(as_json(explain(loaded.rules, event, facts, hours=loaded.config.hours))),
            }
            for event in events
        ]
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return 0
    for n, event in enumerate(events):
        text = as_text(explain(loaded.rules, event, facts, hours=loaded.config.hours))
        head = f"{event.type} {event.subject or event.id}"
        print(("\n" if n else "") + "\n".join(printable(line) for line in [head, "", *text.splitlines()]))
    return 0


def _event(name: str, envelope: dict[str, object], at: str | None, levels: int) -> Event:
    try:
        event = parse(envelope, levels=levels)
    except PermanentError as error:
        raise FailedError(f"{name}: {error}") from error
    return msgspec.structs.replace(event, time=_moment(at)) if at else event


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise FailedError(f"--at {text} is not a time: expected one such as 2026-11-20T08:30:00Z") from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _facts(name: str) -> Facts:
    try:
        return msgspec.convert(read(name), Facts)
    except msgspec.ValidationError as error:
        raise FailedError(
            f'{name}: {error}; expected {{"metrics": {{"auc": 0.93}}, "job": {{"error": "…"}}}}'
        ) from error
