"""Rows as the sources give them, joined: of each key the last prediction and the last truth."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from shared.quality.watch import Predictions, Watch
from shared.quality.windows import Window

type Row = Mapping[str, object]

_COLLECTED: Final = {"specversion", "data"}
"""What a line of the model data collector has, and rows of nobody else."""

_BESIDE: Final = {"time": "time", "modelversion": "modelversion", "correlationid": "correlationid"}
"""Of such a line, what each of its rows gets beside its own columns."""

_SAMPLE: Final = 3


@dataclass(frozen=True)
class Pair:
    """One prediction, with its truth where it is known. `score`: of the positive class; `said` and `truth`: a class or a number as
    text; `known`: when the truth became known, where that is said.
    """

    key: str
    at: datetime
    score: float | None
    said: str
    truth: str | None
    known: datetime | None
    version: str
    cohorts: tuple[str, ...]


@dataclass(frozen=True)
class Joined:
    """`unread`: what could not be read, counted by what is wrong with it; `digest`: names the labels. `version`: of the model that
    most predictions are of, where they say it; those of `others` are left out.
    """

    pairs: Sequence[Pair]
    unread: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    version: str = ""
    others: int = 0
    predictions: int = 0
    """Rows of this window that came."""

    @property
    def labelled(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.truth is not None]


def lines(name: str, raw: bytes) -> Iterator[Row]:
    """The rows of a file: JSON lines, of the model data collector too, a JSON array, or CSV with a head. ValueError, naming the
    line, for anything else.
    """
    text = raw.decode("utf-8-sig")
    if name.casefold().endswith(".csv"):
        yield from csv.DictReader(io.StringIO(text))
        return
    if text.lstrip().startswith("["):
        yield from _rows(json.loads(text), name)
        return
    for n, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{name}, line {n} is not JSON: {error}") from error
            yield from _rows([found], f"{name}, line {n}")


def _rows(found: Sequence[object], place: str) -> Iterator[Row]:
    for one in found:
        if not isinstance(one, dict):
            raise ValueError(f"{place}: expected a JSON object, found {type(one).__name__}")  # noqa: TRY004 (of the text)
        if not one.keys() >= _COLLECTED or not isinstance(one["data"], list):
            yield one
            continue
        beside = {name: one[name] for name in _BESIDE if name in one}
        # The collector puts requests that come close together into one line.
        yield from (beside | row for row in one["data"] if isinstance(row, dict))


def text_of(value: object) -> str:
    """A key or a class as text: 7, 7.0 and "7" are the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def number(value: object) -> float:
    """ValueError for what is none, and for what is not finite."""
    found = float(text_of(value))
    if not math.isfinite(found):
        raise ValueError(f"{found} is no number")
    return found


def moment(value: object) -> datetime:
    """ValueError for what is no time. Without a zone it is UTC; a number is seconds since 1970."""
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = datetime.fromtimestamp(value, UTC)
    else:
        found = datetime.fromisoformat(text_of(value))
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def joined(watch: Watch, window: Window, predictions: Iterable[Row], truth: Iterable[Row]) -> Joined:
    unread: Counter[str] = Counter()
    labels = _labels(watch, truth, unread)
    last: dict[str, Pair] = {}
    count = 0
    for row in predictions:
        count += 1
        try:
            pair = _pair(watch, row)
        except (ValueError, OverflowError, OSError) as error:
            unread[f"predictions: {error}"] += 1
            continue
        if not window.start <= pair.at < window.end:
            count -= 1
        elif pair.key not in last or last[pair.key].at <= pair.at:
            last[pair.key] = pair
    versions = Counter(pair.version for pair in last.values() if pair.version)
    version = max(sorted(versions), key=lambda name: versions[name]) if versions else ""
    ours = [pair for pair in last.values() if pair.version in {"", version}]
    pairs = [_with(pair, labels.get(pair.key)) for pair in sorted(ours, key=lambda one: (one.at, one.key))]
    known = sorted((pair.key, pair.truth) for pair in pairs if pair.truth is not None)
    digest = sha256(json.dumps(known).encode()).hexdigest()[:16]
    return Joined(pairs, dict(unread.most_common(_SAMPLE)), digest, version, len(last) - len(ours), count)


def _with(pair: Pair, label: tuple[str, datetime | None] | None) -> Pair:
    if label is None:
        return pair
    return Pair(pair.key, pair.at, pair.score, pair.said, *label, pair.version, pair.cohorts)


def _labels(watch: Watch, rows: Iterable[Row], unread: Counter[str]) -> dict[str, tuple[str, datetime | None]]:
    """The last truth of each key: by its time where it has one, else as they come. One without a value is none."""
    asked, found = watch.truth, dict[str, tuple[str, datetime | None]]()
    for row in rows:
        try:
            key, value = _cell(row, asked.key), text_of(row.get(asked.value))
            known = moment(_there(row, asked.at)) if asked.at else None
            if watch.predictions.value and value:
                value = repr(number(value))
        except (ValueError, OverflowError, OSError) as error:
            unread[f"truth: {error}"] += 1
            continue
        old = found.get(key)
        if value and (old is None or known is None or old[1] is None or old[1] <= known):
            found[key] = value, known
    return found


def _pair(watch: Watch, row: Row) -> Pair:
    asked = watch.predictions
    score = number(_there(row, asked.score)) if asked.score else None
    if score is not None and not 0 <= score <= 1:
        raise ValueError(f"{asked.score} is {score:g}, expected a probability from 0 to 1")
    return Pair(
        key=_cell(row, asked.key),
        at=moment(_there(row, asked.at)),
        score=score,
        said=_said(watch, asked, row, score),
        truth=None,
        known=None,
        version=text_of(row.get(asked.version)) if asked.version else "",
        cohorts=tuple(text_of(row.get(name)) for name in watch.cohorts),
    )


def _said(watch: Watch, asked: Predictions, row: Row, score: float | None) -> str:
    if asked.value:
        return repr(number(_there(row, asked.value)))
    if asked.label:
        return _cell(row, asked.label)
    return watch.positive if score is not None and score >= watch.threshold else ""


def _there(row: Row, name: str) -> object:
    value = row.get(name)
    if value is None or value == "":
        raise ValueError(f"{name} is missing")
    return value


def _cell(row: Row, name: str) -> str:
    return text_of(_there(row, name))
