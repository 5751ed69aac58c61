"""A picture for a page: no script, no font and no colour comes from outside, and it is read by day and by night."""

from html import escape
from typing import Final

from shared.actions import Language
from shared.pictures import Chart, alt
from shared.pictures.layout import Dot, Path, Shape, lay_out

_STYLE: Final = """
text{font:12px -apple-system,"Segoe UI",Roboto,"Noto Sans","Hiragino Sans","Yu Gothic UI","Noto Sans CJK JP",sans-serif;fill:#1d2321}
.title{font-weight:600;fill:#1d2321}text.quiet{fill:#5d6763}text.over{fill:#9c2626;font-weight:600}
text.limit{fill:#9c2626}text.reference{fill:#14665b}
.paper{fill:#fff}path{fill:none}path.grid{stroke:#e4e2da}path.band{fill:#1d5a8a;opacity:.16}
path.line{stroke:#1d5a8a;stroke-width:2;stroke-linejoin:round}path.join{stroke:#a9b1ad;stroke-width:2}
path.limit{stroke:#9c2626;stroke-width:1.5;stroke-dasharray:6 4}path.reference{stroke:#14665b;stroke-width:1.5;stroke-dasharray:2 3}
.dot{fill:#1d5a8a}.hit{fill:#9c2626}.ring{fill:#fff;stroke:#5d6763;stroke-width:2}
@media(prefers-color-scheme:dark){
text,.title{fill:#e6e9e6}text.quiet{fill:#9aa6a1}text.over,text.limit{fill:#f5a8a0}text.reference{fill:#7fcdbf}
.paper{fill:#1a1f1d}path.grid{stroke:#2c3431}path.band{fill:#9ccbf3}path.line{stroke:#9ccbf3}path.join{stroke:#5d6763}
path.limit{stroke:#f5a8a0}path.reference{stroke:#7fcdbf}.dot{fill:#9ccbf3}.hit{fill:#f5a8a0}.ring{fill:#1a1f1d;stroke:#9aa6a1}}
"""


def draw(chart: Chart, language: Language, width: int) -> str:
    drawn = lay_out(chart, language, width)
    size = f'width="{drawn.width:g}" height="{drawn.height:g}"'
    told = escape(alt(chart, language))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawn.width:g} {drawn.height:g}" {size} role="img"'
        f' aria-label="{told}" lang="{language}"><title>{told}</title><style>{_STYLE}</style>'
        f'<rect class="paper" {size}/>{"".join(map(_shape, drawn.shapes))}</svg>'
    )


def _shape(shape: Shape) -> str:
    match shape:
        case Path(points=points, role=role, closed=closed):
            line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            return f'<path class="{role}" d="M{line}{"z" if closed else ""}"/>'
        case Dot(x=x, y=y, r=r, role=role):
            return f'<circle class="{role}" cx="{x:.1f}" cy="{y:.1f}" r="{r:g}"/>'
        case _:
            place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}"'
            return f'<text class="{shape.role}" {place}>{escape(shape.words)}</text>'
