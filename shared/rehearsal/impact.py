"""What an edit of the rules would have changed over recorded events: two rehearsals, and what differs between them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

from shared.archive import read_line
from shared.errors import PermanentError
from shared.record import Facts
from shared.rehearsal.engine import INTERNAL, Outcome, Rehearsal, is_done, written
from shared.rules.load import Loaded

type Kind = Literal["added", "removed", "changed", "held"]
"""`changed`: done in both, otherwise; `held`: done in neither, and on record otherwise."""

STARTS: Final = (
    "promote",
    "retrain",
    "resubmit",
    "dispatch",
    "azure_pipelines",
    "jenkins",
    "batch",
    "data_factory",
    "synapse",
    "webhook",
)
_LATE: Final = timedelta(minutes=1)
_TIMES: Final = 3
_MORE: Final = 5
"""A receiver that gets three times as much, and five more at the least, is named first."""


class Row(Struct, frozen=True, array_like=True):
    """One effect: for a notification, all channels of the receiver together. `says`: stands for the parameters, addresses
    included.
    """

    at: datetime
    record: str
    event: str
    rule: str
    verb: str
    target: str
    outcome: str
    guard: str
    who: str
    together: int
    says: tuple[str, ...]
    note: str = ""

    @property
    def done(self) -> bool:
        return is_done(self.outcome)

    @property
    def mark(self) -> tuple[object, ...]:
        """What makes it the same as another. In a note stand times of other events."""
        return (
            self.record, self.rule, self.verb, self.target, self.outcome, self.guard, self.who, self.at, self.together, self.says,
        )  # fmt: skip

    @property
    def order(self) -> tuple[object, ...]:
        return (not self.done, *map(str, self.mark[4:]))


class Part(Struct, frozen=True):
    """What one configuration does about some lines. `rows`: encoded; `bad`: which of the lines cannot be read, and why."""

    rows: bytes
    bad: tuple[tuple[int, str], ...] = ()


type Effect = tuple[str, str, str, str]
"""Rule, verb, target and outcome."""


class Side(Struct, frozen=True):
    """The account of one configuration over all events."""

    version: str
    events: int
    first: datetime | None
    last: datetime | None
    late: int
    open: int
    counts: dict[Effect, int]
    says: dict[str, dict[str, object]]


class Replay:
    """One configuration over lines of recorded events."""

    def __init__(self, loaded: Loaded) -> None:
        self._rehearsal: Final = Rehearsal(loaded)
        self._loaded: Final = loaded
        self._counts: Final[Counter[Effect]] = Counter()
        self._seen: Final[set[str]] = set()
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._late = 0

    def take(self, lines: Sequence[bytes]) -> Part:
        rows: list[Row] = []
        bad = []
        for n, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                one = read_line(line, self._loaded.bounds.payload_levels)
            except (PermanentError, UnicodeError) as error:
                bad.append((n, str(error)))
                continue
            if one.id in self._seen:
                continue
            self._seen.add(one.id)
            at = one.received
            self._first = at if self._first is None else min(self._first, at)
            if self._last is not None and at < self._last - _LATE:
                self._late += 1
            self._last = at if self._last is None else max(self._last, at)
            told = self._rehearsal.event(one.event, one.facts or _NOTHING, at)
            if told:
                rows += rows_of(told)
        return self._part(rows, tuple(bad))

    def close(self) -> tuple[Part, Side]:
        """What was still to come, and the account of all."""
        part = self._part(rows_of(self._rehearsal.close()), ())
        side = Side(
            self._loaded.version,
            len(self._seen),
            self._first,
            self._last,
            self._late,
            self._rehearsal.open,
            dict(sorted(self._counts.items())),
            self._rehearsal.says,
        )
        return part, side

    def _part(self, rows: list[Row], bad: tuple[tuple[int, str], ...]) -> Part:
        for row in rows:
            self._counts[row.rule, row.verb, row.target, row.outcome] += 1
        return Part(_encoder.encode(rows), bad)


_NOTHING: Final = Facts()
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Row])


def rows_of(outcomes: Iterable[Outcome]) -> list[Row]:
    """Without what is only on its way, and what nobody sees."""
    found: dict[tuple[object, ...], list[Outcome]] = {}
    for one in outcomes:
        if one.outcome != "waits" and one.action not in INTERNAL:
            target = one.receiver or one.target
            key = (one.at, one.record, one.rule, one.receiver or one.action, target, one.outcome, one.guard, one.who)
            found.setdefault(key, []).append(one)
    return [_row(channels) for channels in found.values()]


def _row(channels: list[Outcome]) -> Row:
    one = channels[0]
    return Row(
        one.at,
        one.record,
        one.event,
        written(one.rule),
        "notify" if one.receiver else one.action,
        one.receiver or one.target,
        one.outcome,
        one.guard,
        one.who,
        one.together,
        tuple(sorted([f"{each.action} {each.says}" for each in channels])),
        one.note,
    )


class Difference(Struct, frozen=True, omit_defaults=True):
    """One effect that is another one: what it was, what it would be."""

    kind: Kind
    before: Row | None = None
    after: Row | None = None

    @property
    def row(self) -> Row:
        """The one that tells most: what would be, if that is done, else what was."""
        one = self.after if self.after is not None and (self.after.done or self.before is None) else self.before
        assert one is not None
        return one


class Comparison:
    """Two accounts of the same events, held against each other piece by piece. What is the same in both is let go at once."""

    def __init__(self) -> None:
        self._before: list[Row] = []
        self._after: list[Row] = []

    def add(self, before: Part, after: Part) -> None:
        """Two parts about the same lines."""
        if before.rows != after.rows:
            was, now = unlike(_decoder.decode(before.rows), _decoder.decode(after.rows))
            self._before += was
            self._after += now

    def differences(self) -> tuple[Difference, ...]:
        return tuple(differences(self._before, self._after))


def unlike(before: Iterable[Row], after: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """What has no like on the other side."""
    before, after = list(before), list(after)
    was, now = Counter(row.mark for row in before), Counter(row.mark for row in after)
    return list(_left(before, now)), list(_left(after, was))


def _left(rows: Iterable[Row], others: Counter[tuple[object, ...]]) -> Iterator[Row]:
    for row in rows:
        if others[row.mark] > 0:
            others[row.mark] -= 1
        else:
            yield row


def differences(before: Iterable[Row], after: Iterable[Row]) -> list[Difference]:
    """Of the same event: the same rule's effect, done otherwise; the same effect by another rule; the rest is new or gone."""
    was, now = unlike(before, after)
    found: list[Difference] = []
    for key in (_by_rule, _by_effect):
        pairs, was, now = _paired(was, now, key)
        found += [_difference(one, other) for one, other in pairs]
    found += [_difference(row, None) for row in was]
    found += [_difference(None, row) for row in now]
    return sorted(found, key=_place)


type _Key = tuple[object, ...]


def _by_rule(row: Row) -> _Key:
    return (row.record, row.rule, row.verb, row.target)


def _by_effect(row: Row) -> _Key:
    """Whichever rule asks for it. Of what is not done, the rule is all there is to say."""
    return (row.record, row.verb, row.target, row.done) if row.done else (row.record, row.rule, row.verb, row.target)


def _paired(
    was: Iterable[Row], now: Iterable[Row], key: Callable[[Row], _Key]
) -> tuple[list[tuple[Row, Row]], list[Row], list[Row]]:
    sides: dict[_Key, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for n, rows in enumerate((was, now)):
        for row in rows:
            sides[key(row)][n].append(row)
    pairs, old, new = [], [], []
    for first, second in sides.values():
        first.sort(key=lambda row: (row.order, row.rule))
        second.sort(key=lambda row: (row.order, row.rule))
        length = min(len(first), len(second))
        pairs += list(zip(first[:length], second[:length], strict=True))
        old += first[length:]
        new += second[length:]
    return pairs, old, new


def _difference(before: Row | None, after: Row | None) -> Difference:
    was, now = before is not None and before.done, after is not None and after.done
    kind: Kind = "changed" if was and now else "removed" if was else "added" if now else "held"
    return Difference(kind, before, after)


def _place(one: Difference) -> tuple[object, ...]:
    times = [row.at for row in (one.before, one.after) if row is not None]
    row = one.row
    return (min(times), row.record, row.rule, row.verb, row.target, row.outcome, row.says, row.at)


class Total(Struct, frozen=True, omit_defaults=True):
    """Of one rule and whom or what it is about. `held_before`, `held_after`: what was not to be done, was collected, or undecided."""

    rule: str
    verb: str
    target: str
    before: int = 0
    after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    held_before: int = 0
    held_after: int = 0


class Flag(Struct, frozen=True, omit_defaults=True):
    """To be looked at first."""

    kind: Literal["lost", "silent", "multiplied", "starts", "starts no more", "undecided", "refused file"]
    about: str
    said: str


class Impact(Struct, frozen=True, omit_defaults=True):
    """`totals`: of what differs; `sums`: of all, by verb."""

    before: str
    after: str
    events: int
    first: datetime | None
    last: datetime | None
    flags: tuple[Flag, ...] = ()
    totals: tuple[Total, ...] = ()
    sums: tuple[Total, ...] = ()
    differences: tuple[Difference, ...] = ()
    late: int = 0
    open: int = 0
    bad: tuple[str, ...] = ()
    says: dict[str, dict[str, object]] = field(default_factory=dict)
    """Parameters, by what stands for them in rows."""


def impact(
    sides: tuple[Side, Side],
    found: Sequence[Difference],
    loaded: tuple[Loaded, Loaded],
    bad: Sequence[str] = (),
) -> Impact:
    before, after = sides
    totals = _totals(before.counts, after.counts, found)
    touched = {name for one in found for row in (one.before, one.after) if row for name in _digests(row)}
    return Impact(
        before.version,
        after.version,
        before.events,
        before.first,
        before.last,
        tuple(_flags(totals, found, loaded)),
        tuple(one for one in totals if _differs(one)),
        tuple(_sums(totals)),
        tuple(found),
        before.late,
        before.open,
        tuple(bad),
        {name: says for name, says in sorted((before.says | after.says).items()) if name in touched},
    )


def _digests(row: Row) -> list[str]:
    return [one.rpartition(" ")[2] for one in row.says]


def _differs(one: Total) -> bool:
    return bool(one.added or one.removed or one.changed or one.before != one.after or one.held_before != one.held_after)


def _totals(before: Mapping[Effect, int], after: Mapping[Effect, int], found: Iterable[Difference]) -> list[Total]:
    names = ("before", "after", "added", "removed", "changed", "held_before", "held_after")
    table: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(names, 0))
    for side, counts in (("before", before), ("after", after)):
        for (rule, verb, target, outcome), n in counts.items():
            table[rule, verb, target][side if is_done(outcome) else f"held_{side}"] += n
    for one in found:
        if one.kind != "held":
            row = one.row
            table[row.rule, row.verb, row.target][one.kind] += 1
    return [Total(*key, *counts.values()) for key, counts in sorted(table.items())]


def _sums(totals: Iterable[Total]) -> Iterator[Total]:
    by_verb: dict[str, list[Total]] = defaultdict(list)
    for one in totals:
        by_verb[one.verb].append(one)
    for verb, several in sorted(by_verb.items()):
        numbers = [sum(getattr(one, name) for one in several) for name in Total.__struct_fields__[3:]]
        yield Total("", verb, "", *numbers)


def _flags(totals: Sequence[Total], found: Sequence[Difference], loaded: tuple[Loaded, Loaded]) -> Iterator[Flag]:
    for problem in loaded[1].problems:
        yield Flag("refused file", problem.file, str(problem))
    yield from _started(found)
    yield from _received(totals, loaded)
    for one in totals:
        if not one.verb and one.held_after > one.held_before:
            said = f"rule {one.rule} cannot be decided about {one.held_after} of these events: what it has to look up was not recorded"
            yield Flag("undecided", one.rule, said)


def _started(found: Iterable[Difference]) -> Iterator[Flag]:
    """What is started, and was not, and the other way round."""
    counted: Counter[tuple[str, str, str, Kind]] = Counter()
    for one in found:
        row = one.row
        if row.verb in STARTS and one.kind in {"added", "removed"}:
            counted[row.verb, row.target, row.rule, one.kind] += 1
    for (verb, target, rule, kind), n in sorted(counted.items(), key=lambda one: (STARTS.index(one[0][0]), one[0])):
        what = f"{verb} {target}: {n} that"
        if kind == "added":
            yield Flag("starts", target, f"{what} did not happen before, by {rule}")
        else:
            yield Flag("starts no more", target, f"{what} would not have happened, by {rule}")


def _received(totals: Iterable[Total], loaded: tuple[Loaded, Loaded]) -> Iterator[Flag]:
    told = [{step.receiver for rule in one.rules.rules for step in rule.steps if step.receiver} for one in loaded]
    got: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in totals:
        if one.verb == "notify":
            got[one.target][0] += one.before
            got[one.target][1] += one.after
    lost = told[0] - told[1]
    for name in sorted(lost):
        n = got[name][0]
        yield Flag(
            "lost",
            name,
            f"receiver {name}: no rule tells it anything any more; it got {_messages(n)} about these events",
        )
    for name, (before, after) in sorted(got.items()):
        if before >= _MORE and not after and name not in lost:
            yield Flag("silent", name, f"receiver {name}: nothing instead of {_messages(before)}")
        if after >= _TIMES * before and after - before >= _MORE:
            times = f"{after / before:.1f} times as many" if before else "it got none"
            yield Flag("multiplied", name, f"receiver {name}: {_messages(after)} instead of {before}, {times}")


def _messages(n: int) -> str:
    return f"{n} {'message' if n == 1 else 'messages'}"
