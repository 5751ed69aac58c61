"""`switchyard quality`: how good the watched models are, by a running service, which holds their predictions against the truth."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from shared.cli.remote import ask, print_json, print_lines, print_table, second

_PATIENCE: Final = 240
"""Seconds for one window: a query may take three minutes, and the Functions host waits no longer than this."""


def run(arguments: Namespace) -> int:
    return {"list": _list, "run": _run, "backfill": _backfill}[arguments.verb](arguments)


def _list(arguments: Namespace) -> int:
    found = ask("GET", arguments.url, "/api/quality")
    if arguments.json:
        print_json(found)
    elif not found["quality"]:
        print("no model is watched: a file in quality/ of the configuration does that")
    else:
        for n, one in enumerate(found["quality"]):
            print_lines([*([""] if n else []), *_standing(one)])
            _findings(one["findings"], one["estimated"])
    return 0


def _run(arguments: Namespace) -> int:
    names = [arguments.name] if arguments.name else [one["name"] for one in _watched(arguments)]
    answers = [_due(arguments, name) for name in names]
    if arguments.json:
        print_json({"quality": answers})
        return 0
    for n, answer in enumerate(answers):
        one = answer["standing"]
        looked = answer["looked"]
        said = f"{len(looked)} windows looked at" if len(looked) != 1 else "1 window looked at"
        print_lines([*([""] if n else []), f"{one['name']}: {said}" if looked else f"{one['name']}: nothing is due"])
        _looks(looked)
        print_lines(_standing(one))
        _findings(one["findings"], one["estimated"])
    return 0


def _due(arguments: Namespace, name: str) -> Any:
    said = {"at": arguments.at} if arguments.at else {}
    return ask("POST", arguments.url, f"/api/quality/{quote(name, safe='')}/run", said=said, patience=_PATIENCE)


def _watched(arguments: Namespace) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = ask("GET", arguments.url, "/api/quality")["quality"]
    return found


def _windows(arguments: Namespace, name: str, span: Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
    path = f"/api/quality/{quote(name, safe='')}/windows"
    found: Sequence[Mapping[str, Any]] = ask("GET", arguments.url, path, span)["windows"]
    return found


def _look(arguments: Namespace, name: str, window: str, *, tell: bool) -> Any:
    path = f"/api/quality/{quote(name, safe='')}/windows/{window}"
    return ask("POST", arguments.url, path, said={"tell": tell}, patience=_PATIENCE)


def _backfill(arguments: Namespace) -> int:
    span = {"since": arguments.since} | ({"until": arguments.until} if arguments.until else {})
    windows = _windows(arguments, arguments.name, span)
    looks = []
    for n, window in enumerate(windows, 1):
        _progress(f"{n} of {len(windows)}: {second(window['start'])}")
        looks.append(_look(arguments, arguments.name, window["id"], tell=arguments.tell))
    _progress("")
    if arguments.json:
        print_json({"looked": looks})
    elif not looks:
        print("no window of that time is due")
    else:
        _looks(looks)
    return 0


def _progress(said: str) -> None:
    """On a terminal, one line that is written over."""
    if sys.stderr.isatty():
        print(f"\r\033[K{said}", end="", file=sys.stderr, flush=True)


def _standing(one: Mapping[str, Any]) -> list[str]:
    version = f":{one['version']}" if one["version"] else ""
    where = f" on {one['endpoint']}" if one["endpoint"] else ""
    window = f", window {second(one['window']['start'])}" if one["window"] else ""
    lines = [f"{one['name']}: {one['model']}{version}{where} is {one['verdict'] or 'not measured yet'}{window}"]
    if one["trouble"]:
        lines.append(f"  not measured since {second(one['trouble']['since'])}: {one['trouble']['why']}")
    elif one["why"]:
        lines.append(f"  {one['why']}")
    return lines


def _looks(looks: Sequence[Mapping[str, Any]]) -> None:
    if not looks:
        return
    metrics = list(
        dict.fromkeys(found["metric"] for look in looks for found in look["findings"] if not found["cohort"])
    )
    rows = []
    for look in looks:
        of = {found["metric"]: found for found in look["findings"] if not found["cohort"]}
        cells = [_interval(of[metric]) if metric in of else "-" for metric in metrics]
        rows.append(
            (second(look["start"]), look["verdict"], f"{look['labelled']}/{look['predictions']}", *cells, look["why"])
        )
    print_table([("WINDOW", "VERDICT", "KNOWN", *(metric.upper() for metric in metrics), ""), *rows])


def _findings(findings: Sequence[Mapping[str, Any]], estimated: Mapping[str, Any]) -> None:
    if not findings:
        return
    rows = [
        (
            one["metric"],
            one["cohort"] or "all",
            _interval(one),
            _number(one["limit"]),
            _number(one["reference"]),
            _number(estimated[one["metric"]]["value"]) if one["metric"] in estimated and not one["cohort"] else "-",
            str(one["n"]),
            "beyond" if one["breached"] else "",
        )
        for one in findings
    ]
    print_table([("METRIC", "OF", "MEASURED", "LIMIT", "TRAINING", "EXPECTED", "N", ""), *rows])


def _interval(one: Mapping[str, Any]) -> str:
    return f"{_number(one['value'])} ({_number(one['low'])} to {_number(one['high'])})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
