"""The impact of an edit in words: for a terminal, for a pull request, for programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from shared.rehearsal.impact import Difference, Impact, Row, Total

_SHOWN: Final = 3
"""Examples of each kind for each rule and receiver."""

_MOST: Final = 60
"""Examples in all: a comment on a pull request has a limit, and so have people."""

_ROWS: Final = 100
"""Rows of a table in a comment."""

_DONE: Final = ("added", "removed", "changed")
_MARKS: Final = {"added": "+", "removed": "-", "changed": "~", "held": "·"}
_ASSUMED: Final = (
    "Rehearsed as if nobody had silenced or acknowledged anything, and every run that we start took an hour, unless its end is "
    "among the events."
)
_ALL: Final = "all: "
_HEAD: Final = ("", "was", "would be", "added", "removed", "changed", "held back")


def as_json(impact: Impact) -> str:
    return msgspec.json.format(_encoder.encode(_Told.of(impact)), indent=2).decode()


class _Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row by the names of its values."""

    at: datetime
    outcome: str
    rule: str
    verb: str
    target: str
    guard: str = ""
    to: str = ""
    together: int = 0
    note: str = ""

    @classmethod
    def of(cls, row: Row) -> "_Row":
        return cls(row.at, row.outcome, row.rule, row.verb, row.target, row.guard, row.who, row.together, row.note)


class _Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: str
    record: str
    event: str
    before: _Row | None = None
    after: _Row | None = None
    said: str = ""


class _Told(msgspec.Struct, frozen=True):
    """As programs read it."""

    before: str
    after: str
    events: int
    first: datetime | None
    last: datetime | None
    flags: Sequence[object]
    sums: Sequence[Total]
    totals: Sequence[Total]
    differences: Sequence[_Difference]
    late: int
    open: int
    bad: Sequence[str]

    @classmethod
    def of(cls, one: Impact) -> "_Told":
        found = [_told(each, one.says) for each in one.differences]
        return cls(
            one.before, one.after, one.events, one.first, one.last, one.flags, one.sums, one.totals, found,
            one.late, one.open, one.bad,
        )  # fmt: skip


_encoder: Final = msgspec.json.Encoder()


def _told(one: Difference, says: Mapping[str, Mapping[str, object]]) -> _Difference:
    before, after = (None if row is None else _Row.of(row) for row in (one.before, one.after))
    return _Difference(one.kind, one.row.record, one.row.event, before, after, _otherwise(one, says))


# In words


def as_text(impact: Impact) -> str:
    rows = [_about(impact), *_notes(impact)]
    if not impact.differences and not impact.flags:
        return "\n".join([*rows, "", "Nothing would have been done otherwise."]) + "\n"
    if impact.flags:
        rows += ["", "Look at these first:", *(f"  ! {flag.said}" for flag in impact.flags)]
    if impact.totals:
        rows += ["", *_aligned([_HEAD, *_lines(impact)])]
    for title, examples in _examples(impact):
        rows += ["", title, *(f"  {example}" for example in examples)]
    return "\n".join([*rows, "", _ASSUMED]) + "\n"


def as_markdown(impact: Impact) -> str:
    """For a comment: what is to be looked at first, the totals, and the examples folded away."""
    rows = ["### What this edit of the rules would have changed", "", _escaped(_about(impact)) + "."]
    rows += [f"{_escaped(note)}." for note in _notes(impact)]
    if not impact.differences and not impact.flags:
        return "\n".join([*rows, "", "Nothing would have been done otherwise."]) + "\n"
    if impact.flags:
        rows += ["", "**Look at these first**", "", *(f"- ⚠️ {_escaped(flag.said)}" for flag in impact.flags)]
    if impact.totals:
        lines = list(_lines(impact))
        sums = [line for line in lines if line[0].startswith(_ALL)]
        lines = lines[: len(lines) - len(sums)]
        more = [(f"and {len(lines) - _ROWS:,} more", *("" for _ in _HEAD[1:]))] if len(lines) > _ROWS else []
        rows += ["", f"| {' | '.join(_HEAD)} |", f"|---|{'---:|' * (len(_HEAD) - 1)}"]
        rows += [f"| {' | '.join(map(_escaped, line))} |" for line in [*lines[:_ROWS], *more, *sums]]
    examples = list(_examples(impact))
    if examples:
        rows += ["", "<details><summary>Examples</summary>", "", "```diff"]
        for title, shown in examples:
            rows += [f"# {_fenced(title)}", *(_fenced(example) for example in shown)]
        rows += ["```", "", "</details>"]
    return "\n".join([*rows, "", f"<sub>{_ASSUMED}</sub>"]) + "\n"


def _about(impact: Impact) -> str:
    counted = f"{impact.events:,} {'event' if impact.events == 1 else 'events'}"
    when = f", {_at(impact.first)} to {_at(impact.last)} UTC" if impact.first and impact.last else ""
    return f"{counted}{when}, by version {impact.before} and by version {impact.after}"


def _notes(impact: Impact) -> Iterator[str]:
    if impact.bad:
        yield f"{len(impact.bad):,} {'line' if len(impact.bad) == 1 else 'lines'} could not be read and {'counts' if len(impact.bad) == 1 else 'count'} for nothing"
    if impact.late:
        yield f"{impact.late:,} {'stands' if impact.late == 1 else 'stand'} behind later ones, and came when those did"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _lines(impact: Impact) -> Iterator[tuple[str, ...]]:
    for one in impact.totals:
        yield _cells(f"{one.rule}: {_doing(one.verb, one.target)}", one)
    for one in impact.sums:
        if one.verb:
            yield _cells(f"{_ALL}{one.verb}", one)


def _cells(name: str, one: Total) -> tuple[str, ...]:
    counts = (f"{one.added:+,}" if one.added else "", f"-{one.removed:,}" if one.removed else "")
    changed = f"{one.changed:,}" if one.changed else ""
    held = (
        f"{one.held_before:,} → {one.held_after:,}" if one.held_before != one.held_after else f"{one.held_after or ''}"
    )
    return (name, f"{one.before:,}", f"{one.after:,}", *counts, changed, held)


def _doing(verb: str, target: str) -> str:
    return f"{verb} {target}".strip() or "undecided"


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for first, *others in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"{first:<{widths[0]}}", *cells]).rstrip()


def _examples(impact: Impact) -> Iterator[tuple[str, list[str]]]:
    """The first ones of each kind, for each rule and what it does."""
    groups: dict[tuple[str, str, str], list[Difference]] = {}
    for one in impact.differences:
        groups.setdefault((one.row.rule, one.row.verb, one.row.target), []).append(one)
    left = _MOST
    for (rule, verb, target), found in sorted(groups.items()):
        done = [one for kind in _DONE for one in [each for each in found if each.kind == kind][:_SHOWN]]
        shown = (done or found[:1])[:left]
        left -= len(shown)
        if not shown:
            return
        more = len(found) - len(shown)
        tail = [f"and {more:,} more"] if more else []
        yield f"{rule}: {_doing(verb, target)}", [*(_example(one, impact.says) for one in shown), *tail]


def _example(one: Difference, says: Mapping[str, Mapping[str, object]]) -> str:
    row = one.row
    head = f"{_MARKS[one.kind]} {_at(row.at)}  {row.event} {row.record}"
    return f"{head}: {_otherwise(one, says)}"


def _otherwise(one: Difference, says: Mapping[str, Mapping[str, object]]) -> str:
    before, after = one.before, one.after
    if before is None or after is None:
        return f"{_fate(before)} → {_fate(after)}"
    if one.kind != "changed":
        return f"{_fate(before)} → {_fate(after)}"
    parts = []
    if before.rule != after.rule:
        parts.append(f"by {before.rule} → by {after.rule}")
    if before.at != after.at:
        parts.append(f"at {before.at:%H:%M:%S} → at {after.at:%Y-%m-%d %H:%M:%S}")
    if before.who != after.who:
        word, nobody = ("to", "nobody on call") if before.verb == "notify" else ("tell:", "nobody")
        parts.append(f"{word} {before.who or nobody} → {word} {after.who or nobody}")
    if before.together != after.together:
        parts.append(f"about {before.together or 1} → about {after.together or 1} events")
    if before.says != after.says:
        parts += _parameters(before, after, says)
    return "; ".join(parts)


def _fate(row: Row | None) -> str:
    if row is None:
        return "nothing"
    why = row.guard or row.note
    return f"{row.outcome} ({why})" if why and not row.done else row.outcome


def _parameters(before: Row, after: Row, says: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Which of them differ; channels that came or went by their names."""
    was, now = _by_channel(before), _by_channel(after)
    found = [f"{channel} {'added' if channel in now else 'removed'}" for channel in sorted(was.keys() ^ now.keys())]
    other: dict[str, list[str]] = {}
    for channel in sorted(was.keys() & now.keys()):
        if was[channel] != now[channel]:
            old, new = (_joined(digests, says) for digests in (was[channel], now[channel]))
            names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
            other.setdefault(", ".join(names) or "addresses", []).append(channel)
    return [*found, *(f"other {names} ({', '.join(channels)})" for names, channels in other.items())]


def _by_channel(row: Row) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in row.says:
        channel, _, digest = one.partition(" ")
        found.setdefault(channel, []).append(digest)
    return found


def _joined(digests: Iterable[str], says: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Of several addresses by one channel, the parameters together."""
    found: dict[str, object] = {}
    for digest in digests:
        for name, value in says.get(digest, {}).items():
            found[name] = value if name not in found else (found[name], value)
    return found


def _fenced(text: str) -> str:
    """Within a block of code, which it must not end."""
    return _line(text).replace("```", "'''")


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _escaped(text: str) -> str:
    """What others wrote, in Markdown: shown, not obeyed. `@` would call somebody."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return _line(text).replace("@", "@\u200b")
