"""The plot of bench.judge: how many of the runs are rolled back by which minute. Plain SVG, on its own light ground."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

type Minutes = NDArray[np.int64]

WIDTH, HEIGHT = 280, 190
LEFTS, TOPS = (62, 535), (128, 402)
COLOURS = ("#0b57d0", "#b3261e", "#c2570c", "#7b3fa0", "#4d5661", "#0a7a5c", "#8a6d00")
SHORT = ("Switchyard", "Flagger", "Argo", "CloudWatch", "Mann-Whitney", "z each minute", "z once")
SAID = (
    "Share of rollouts that are rolled back, by minute: Switchyard finds a canary with twice the errors within the hour and "
    "hardly ever rolls a healthy one back; judges with a threshold do both"
)
DASHES = ("", "7 4", "2 3", "9 3 2 3", "1 5")
STYLE = """text{font-family:system-ui,"Segoe UI","Noto Sans",sans-serif;fill:#1c2430;font-size:12px}
.t{font-size:15px;font-weight:600}.s{fill:#51606f}.r{text-anchor:end}.m{text-anchor:middle}
.grid{stroke:#e3e7ec;stroke-width:1}.axis{stroke:#8a95a1;stroke-width:1}.alpha{stroke:#1c2430;stroke-width:1;stroke-dasharray:2 3}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.ours{stroke-width:3.4}"""


@dataclass(frozen=True)
class Line:
    label: str
    found: Minutes
    colour: str
    dash: str = ""
    ours: bool = False

    @property
    def shares(self) -> list[float]:
        return [float(np.mean((self.found > 0) & (self.found <= minute))) for minute in range(61)]


def draw(cells: Mapping[tuple[str, str], Mapping[str, Minutes]], traffic: Sequence[str], judges: Sequence[str]) -> str:
    usual = traffic[0]
    colours = dict(zip(judges, COLOURS, strict=True))

    def everyone(case: str) -> list[Line]:
        return [
            Line(short, cells[usual, case][name], colours[name], ours=name == judges[0])
            for name, short in reversed(list(zip(judges, SHORT, strict=True)))
        ]

    def us(pairs: Sequence[tuple[str, str, str]]) -> list[Line]:
        return [
            Line(label, cells[place, case][judges[0]], COLOURS[0], dash, ours=True)
            for (label, place, case), dash in zip(pairs, DASHES, strict=False)
        ]

    panels: list[tuple[str, str, list[Line]]] = [
        (
            "The canary has twice the errors",
            "600 requests a minute, 1 % errors; higher and earlier is better",
            everyone("2x"),
        ),
        (
            "A healthy canary, one incident in both arms",
            "the same traffic; lower is better: every rollback is false",
            everyone("shared incident"),
        ),
        (
            "Switchyard: how much worse the canary is",
            "600 requests a minute, 1 % errors",
            us([("5x", usual, "5x"), ("2x", usual, "2x"), ("1.5x", usual, "1.5x"), ("healthy", usual, "healthy")]),
        ),
        (
            "Switchyard: twice the errors, by traffic",
            "requests a minute, usual error rate",
            us(
                [
                    ("6,000 · 1 %:", traffic[1], "2x"),
                    ("600 · 1 %:", traffic[0], "2x"),
                    ("600 · 0.2 %:", traffic[2], "2x"),
                    ("30 · 1 %:", traffic[3], "2x"),
                ]
            ),
        ),
    ]
    places = [(left, top) for top in TOPS for left in LEFTS]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 640" role="img" aria-label="{SAID}">',
            f"<style>{STYLE}</style>",
            '<rect width="960" height="640" rx="8" fill="#fff"/>',
            '<text x="20" y="30" class="t">Rolled back by this minute: share of the runs, over 60 minutes (dotted: alpha, 5 %)</text>',
            *legend(judges, colours),
            *(part for (x, y), panel in zip(places, panels, strict=True) for part in panel_at(x, y, *panel)),
            "</svg>\n",
        ]
    )


def legend(judges: Sequence[str], colours: Mapping[str, str]) -> list[str]:
    parts, x, y = [], 20, 54
    for name in judges:
        if x + 36 + 6.3 * len(name) > 950:
            x, y = 20, y + 20
        width = 3.4 if name == judges[0] else 1.8
        parts.append(f'<path d="M{x} {y - 4} h22" stroke="{colours[name]}" stroke-width="{width}"/>')
        parts.append(f'<text x="{x + 28}" y="{y}">{escape(name)}</text>')
        x += 52 + round(6.3 * len(name))
    return parts


def panel_at(left: int, top: int, title: str, said: str, lines: Sequence[Line]) -> list[str]:
    parts = [
        f'<text x="{left - 42}" y="{top - 26}" class="t">{escape(title)}</text>',
        f'<text x="{left - 42}" y="{top - 9}" class="s">{escape(said)}</text>',
    ]
    for share in (0, 25, 50, 75, 100):
        y = top + HEIGHT * (1 - share / 100)
        parts.append(f'<path class="{"grid" if share else "axis"}" d="M{left} {y:.1f} h{WIDTH}"/>')
        parts.append(f'<text class="s r" x="{left - 6}" y="{y + 4:.1f}">{share} %</text>')
    for minute in range(0, 61, 15):
        x = left + WIDTH * minute / 60
        parts.append(f'<text class="s m" x="{x:.1f}" y="{top + HEIGHT + 17}">{minute}</text>')
    y = top + HEIGHT * 0.95
    parts.append(f'<path class="alpha" d="M{left} {y:.1f} h{WIDTH}"/>')
    for line in lines:
        points = " ".join(
            f"{left + WIDTH * n / 60:.1f},{top + HEIGHT * (1 - share):.1f}" for n, share in enumerate(line.shares)
        )
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        kind = "line ours" if line.ours else "line"
        parts.append(f'<polyline class="{kind}" stroke="{line.colour}"{dash} points="{points}"/>')
    return parts + labels(left + WIDTH + 7, top, lines)


def labels(x: int, top: int, lines: Sequence[Line]) -> list[str]:
    """At the ends of the lines, pushed apart where they would lie on each other."""
    ends = sorted(((line.shares[-1], line) for line in lines), key=lambda one: -one[0])
    floor, placed = top - 6.0, []
    for share, _ in ends:
        floor = max(floor + 14, top + HEIGHT * (1 - share) + 4)
        placed.append(floor)
    over = max(0.0, placed[-1] - (top + HEIGHT + 4))
    for n in range(len(placed) - 1, -1, -1):  # those at the bottom move up again, and push the ones above
        limit = placed[-1] - over if n == len(placed) - 1 else placed[n + 1] - 14
        placed[n] = min(placed[n], limit)
    return [
        f'<text x="{x}" y="{y:.1f}" style="fill:{line.colour}{";font-weight:600" if line.ours else ""}">{escape(line.label)} {share:.0%}</text>'
        for y, (share, line) in zip(placed, ends, strict=True)
    ]
