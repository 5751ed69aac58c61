"""The picture of a rollout: the share of the traffic over time, and the evidence of each statistical gate.

The evidence is found again from the counts on record by the judge that decided, minute by minute. No script, no font and
no colour comes from outside, so that a page may show it as an image by day and by night.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import accumulate, pairwise
from math import ceil, floor, log10
from typing import Final
from unicodedata import east_asian_width

from shared.messages import formats
from shared.rollout.policy import BinaryGate, CeilingGate, MeanGate
from shared.rollout.record import Done, Measured, Mirror, Move, Rollout, Step
from shared.web.words import Words

WIDE: Final = 720
NARROW: Final = 350
"""Pixels: of a desk, and of a phone, where small print would be too small."""

_LEFT: Final = 46
_RIGHT: Final = 14
_TRAFFIC: Final = 96
_EVIDENCE: Final = 104
_HEADING: Final = 46
_AXIS: Final = 42
_LEAST: Final = 1e-3
"""Evidence below this is drawn there: how good "good" is matters little."""

_TICKS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)
_PER_TICK: Final = 58
_LETTER: Final = 7.5
_WIDE: Final = 12.0
_CLOSE: Final = 40
"""Pixels: of a letter, of a Japanese one; and how far a label may stand over the end of what it names."""

_PRINT: Final = 16
"""Pixels: the height of a line of print."""

_DECADES: Final = 4
"""More of them than this, and every other one gets its line."""

_HOUR: Final = 3600
_MINUTE: Final = timedelta(minutes=1)
_QUIET: Final = 720.0
"""Seconds. A longer time in which nothing was moved or measured is drawn as long as this."""

_STYLE: Final = """
text{font:12px -apple-system,"Segoe UI",Roboto,"Noto Sans","Hiragino Sans","Yu Gothic UI","Noto Sans CJK JP",sans-serif;fill:#1d2321}
.title{font-weight:600}.quiet{fill:#5d6763}.over{fill:#9c2626;font-weight:600}
.paper{fill:#fff}.grid{stroke:#e4e2da}.gap{fill:#f2f0e9}
.share{fill:none;stroke:#14665b;stroke-width:2}.area{fill:#14665b;opacity:.12}.mirror{stroke-dasharray:5 4}
.evidence{fill:none;stroke:#1d5a8a;stroke-width:2;stroke-linejoin:round}.dot{fill:#1d5a8a}
.threshold{stroke:#9c2626;stroke-dasharray:6 4}.hit{fill:#9c2626}
@media(prefers-color-scheme:dark){
text{fill:#e6e9e6}.quiet{fill:#9aa6a1}.over{fill:#f5a8a0}.paper{fill:#1a1f1d}.grid{stroke:#2c3431}.gap{fill:#232a27}
.share{stroke:#7fcdbf}.area{fill:#7fcdbf}.evidence{stroke:#9ccbf3}.dot{fill:#9ccbf3}.threshold{stroke:#f5a8a0}.hit{fill:#f5a8a0}}
"""


@dataclass(frozen=True)
class Share:
    """From `at` on, this much goes to the new deployment: live, or (`mirror`) as a copy."""

    at: datetime
    percent: int
    mirror: bool


@dataclass(frozen=True)
class Evidence:
    """Of one statistical gate: what it had by the end of each minute."""

    gate: BinaryGate | MeanGate
    threshold: float
    points: Sequence[tuple[datetime, float]]


def shares(steps: Sequence[Step], deployment: str) -> list[Share]:
    """Every change of the traffic that was accepted."""
    found = []
    for step in steps:
        command = step.command
        if isinstance(command, Move) and isinstance(step.answer, Done):
            copied = isinstance(command, Mirror)
            percent = (command.mirror if copied else command.traffic).get(deployment, 0)
            found.append(Share(step.answer.at, percent, copied and percent > 0))
    return found


def evidence(about: Rollout, steps: Sequence[Step]) -> list[Evidence]:
    """Judges again what was measured, a minute at a time."""
    from shared.rollout.judge import Judge

    judge = Judge(about.policy.gates)
    points: dict[str, list[tuple[datetime, float]]] = {}
    thresholds: dict[str, float] = {}
    for step in steps:
        for pair in step.answer.pairs if isinstance(step.answer, Measured) else ():
            judge.add((pair,))
            for one in judge.readings():
                if one.e is not None and one.threshold is not None:
                    points.setdefault(one.gate, []).append((pair.at + _MINUTE, one.e))
                    thresholds[one.gate] = one.threshold
    return [
        Evidence(gate, thresholds[gate.key], points[gate.key])
        for gate in about.policy.gates
        if not isinstance(gate, CeilingGate) and gate.key in points
    ]


def _name(gate: BinaryGate | MeanGate, say: Words) -> str:
    if isinstance(gate, MeanGate):
        return say(f"gate.{gate.mean}")
    return say(f"gate.{gate.bad}", limit=formats.number(gate.slo_ms))


def draw(about: Rollout, steps: Sequence[Step], say: Words, width: int) -> str | None:
    """SVG; None while there is nothing to show."""
    moved, judged = shares(steps, about.deployment), evidence(about, steps)
    moments = [share.at for share in moved] + [at for one in judged for at, _ in one.points]
    if len(set(moments)) < 2:  # noqa: PLR2004 (a line has two ends)
        return None
    axis = _Axis(sorted(set(moments)), width, say)
    parts, top = [], 0
    panels = [_traffic(moved, axis, say), *(_evidence(one, axis, say) for one in judged)]
    for height, content in panels:
        parts.append(f'<g transform="translate(0 {top})">{content}</g>')
        top += height
    parts.append(f'<g transform="translate(0 {top})">{axis.drawn()}</g>')
    alt = escape(say("plot.alt"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + _AXIS}" width="{width}" height="{top + _AXIS}"'
        f' role="img" aria-label="{alt}" lang="{say.language}"><title>{alt}</title><style>{_STYLE}</style>'
        f'<rect class="paper" width="{width}" height="{top + _AXIS}"/>{"".join(parts)}</svg>'
    )


class _Axis:
    """Time from left to right. Where nothing happened for long, time is pressed together."""

    def __init__(self, moments: Sequence[datetime], width: int, say: Words) -> None:
        self.left, self.right, self._say = float(_LEFT), float(width - _RIGHT), say
        self._lengths = [min((later - earlier).total_seconds(), _QUIET) for earlier, later in pairwise(moments)]
        scale = (self.right - self.left) / sum(self._lengths)
        places = accumulate((length * scale for length in self._lengths), initial=self.left)
        self._knots = list(zip(moments, places, strict=True))
        self._gaps = [(a, b) for a, b in pairwise(self._knots) if (b[0] - a[0]).total_seconds() > _QUIET]

    def x(self, moment: datetime) -> float:
        for (earlier, start), (later, end) in pairwise(self._knots):
            if moment <= later:
                return start + (end - start) * ((moment - earlier) / (later - earlier))
        return self.right

    def gaps(self, top: float, bottom: float) -> str:
        return "".join(
            f'<rect class="gap" x="{a:.1f}" y="{top}" width="{b - a:.1f}" height="{bottom - top}"/>'
            for (_, a), (_, b) in self._gaps
        )

    def drawn(self) -> str:
        day = f"{self._knots[0][0].astimezone(UTC):%Y-%m-%d} UTC"
        parts = [_text(self.x(moment), 18, f"{moment:%H:%M}", "quiet", "middle") for moment in self._ticks()]
        parts.append(_text(self.left, 34, day, "quiet"))
        for (earlier, a), (later, b) in self._gaps:
            seconds = (later - earlier).total_seconds()
            told = formats.duration(seconds if seconds < _HOUR else round(seconds / _HOUR) * _HOUR, self._say.language)
            parts.append(_text((a + b) / 2, 34, told, "quiet", "middle"))
        return "".join(parts)

    def _ticks(self) -> list[datetime]:
        """Round times that have room, none of them in a gap."""
        most = (self.right - self.left) / _PER_TICK
        minutes = next((one for one in _TICKS if sum(self._lengths) / 60 / one <= most), _TICKS[-1])
        found: list[datetime] = []
        for (earlier, _), (later, _) in pairwise(self._knots):
            if (later - earlier).total_seconds() > _QUIET:
                continue
            for n in range(ceil(earlier.timestamp() / 60 / minutes), floor(later.timestamp() / 60 / minutes) + 1):
                moment = datetime.fromtimestamp(n * minutes * 60, UTC)
                if not found or self.x(moment) - self.x(found[-1]) >= _PER_TICK * 0.7:
                    found.append(moment)
        return found


def _traffic(moved: Sequence[Share], axis: _Axis, say: Words) -> tuple[int, str]:
    top, bottom = _HEADING, _HEADING + _TRAFFIC

    def y(percent: float) -> float:
        return bottom - (bottom - top) * percent / 100

    parts = [axis.gaps(top, bottom), _text(axis.left, 28, say("plot.traffic"), "title")]
    for percent in (0, 50, 100):
        parts += _mark(axis, y(percent), f"{percent}%")
    free = 0.0  # where the last label ends
    ends = [axis.x(share.at) for share in moved[1:]] + [axis.right]
    before = 0
    for share, end in zip(moved, ends, strict=True):
        start, level = axis.x(share.at), y(share.percent)
        path = f"M{start:.1f} {y(before):.1f}V{level:.1f}H{end:.1f}"
        parts.append(f'<path class="share{" mirror" if share.mirror else ""}" d="{path}"/>')
        if not share.mirror:
            area = f"M{start:.1f} {bottom}V{level:.1f}H{end:.1f}V{bottom}z"
            parts.append(f'<path class="area" d="{area}"/>')
        if share.percent not in {before, 0}:
            told = say("plot.mirror", percent=share.percent) if share.mirror else f"{share.percent}%"
            wide = sum(_WIDE if east_asian_width(letter) in "WF" else _LETTER for letter in told)
            near = start + wide > axis.right  # then its label stands to the left
            place = start - 5 - wide if near else max(start + 5, free)
            if place >= free and (near or place + wide < end + _CLOSE):
                below = share.percent > 80  # noqa: PLR2004 (no room above the line)
                parts.append(_text(place, level + (15 if below else -6), told))
                free = place + wide
        before = share.percent
    return bottom, "".join(parts)


def _evidence(one: Evidence, axis: _Axis, say: Words) -> tuple[int, str]:
    top, bottom = _HEADING, _HEADING + _EVIDENCE
    values = [max(value, _LEAST) for _, value in one.points]
    lowest = floor(log10(min(*values, 0.1)))
    highest = max(log10(max(*values, one.threshold)), log10(one.threshold) + 0.4)

    def y(value: float) -> float:
        share = (log10(max(value, _LEAST)) - lowest) / (highest - lowest)
        return bottom - (bottom - top) * share

    now, over = one.points[-1][1], max(values) >= one.threshold
    parts = [
        axis.gaps(top, bottom),
        _text(axis.left, 28, _name(one.gate, say), "title"),
        _text(axis.right, 28, say("plot.now", e=_shown(now)), "over" if over else "", "end"),
    ]
    limit = y(one.threshold)
    for power in range(lowest, floor(highest) + 1, 1 if highest - lowest < _DECADES else 2):
        level = y(10.0**power)
        if abs(level - limit) > _PRINT:  # the threshold has its own label there
            parts += _mark(axis, level, f"{10.0**power:g}")
    parts.append(_line(axis, limit, "threshold"))
    parts.append(
        _text(axis.left + 4, limit - 5, say("plot.threshold", threshold=formats.number(one.threshold)), "quiet")
    )
    path = "".join(f"{'L' if n else 'M'}{axis.x(at):.1f} {y(value):.1f}" for n, (at, value) in enumerate(one.points))
    parts.append(f'<path class="evidence" d="{path}"/>')
    at, value = one.points[-1]
    parts.append(f'<circle class="{"hit" if over else "dot"}" cx="{axis.x(at):.1f}" cy="{y(value):.1f}" r="4"/>')
    return bottom, "".join(parts)


def _shown(e: float) -> str:
    return f"= {formats.number(float(f'{e:.3g}'))}" if e >= _LEAST else f"< {_LEAST:g}"


def _mark(axis: _Axis, level: float, words: str) -> tuple[str, str]:
    return _line(axis, level, "grid"), _text(axis.left - 6, level + 4, words, "quiet", "end")


def _line(axis: _Axis, level: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{axis.left}" x2="{axis.right}" y1="{level:.1f}" y2="{level:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text{look} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
