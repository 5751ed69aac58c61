"""A picture for a card or a mail: small, with a background of its own, for it stands in a dark Teams as in a light one.

Its letters are those of the font within Pillow, which knows ASCII alone. What they cannot write is numbered, and the words
below the picture say which number is what: a font with Japanese letters would be 16 MB in everybody's function app.
"""

from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from shared.actions import Language
from shared.pictures import Chart
from shared.pictures.layout import Dot, Path, Role, Text, lay_out

_FINE: Final = 2
"""Pixels of the picture for each of the card: phones have fine screens."""

_SMOOTH: Final = 2
"""Drawn larger by this and made smaller, so that slanted lines have no steps."""

_COLOURS: Final = 16
"""Four bits a pixel."""

_PRINT: Final = 12.5

_LOOKS: Final[dict[Role, str]] = {
    "ink": "#1d2321",
    "title": "#1d2321",
    "quiet": "#5d6763",
    "over": "#9c2626",
    "grid": "#e4e2da",
    "band": "#d9e4ed",
    "line": "#1d5a8a",
    "dot": "#1d5a8a",
    "ring": "#5d6763",
    "hit": "#9c2626",
    "limit": "#9c2626",
    "reference": "#14665b",
    "join": "#a9b1ad",
}
_PAPER: Final = "#ffffff"
_THICK: Final[dict[Role, float]] = {"grid": 1.0, "limit": 1.5, "reference": 1.5}
_DASHES: Final[dict[Role, tuple[float, float]]] = {"limit": (6, 4), "reference": (2, 3)}


def draw(chart: Chart, language: Language, width: int) -> bytes:
    """`width` in pixels of the card; the picture has twice as many."""
    drawn = lay_out(chart, language, width)
    fine = _FINE * _SMOOTH
    size = round(drawn.width * _FINE), round(drawn.height * _FINE)
    image = Image.new("RGB", (size[0] * _SMOOTH, size[1] * _SMOOTH), _PAPER)
    pen = ImageDraw.Draw(image)
    for shape in drawn.shapes:
        match shape:
            case Path():
                _path(pen, shape, fine)
            case Dot():
                _dot(pen, shape, fine)
            case Text():
                pass
    image = image.resize(size, Image.Resampling.BOX)
    pen = ImageDraw.Draw(image)
    for shape in drawn.shapes:
        if isinstance(shape, Text):
            _text(pen, shape)
    out = BytesIO()
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _path(pen: ImageDraw.ImageDraw, shape: Path, fine: int) -> None:
    points = [(x * fine, y * fine) for x, y in shape.points]
    look = _LOOKS[shape.role]
    if shape.closed:
        pen.polygon(points, fill=look)
        return
    thick = round(_THICK.get(shape.role, 2.0) * fine)
    if shape.role not in _DASHES:
        pen.line(points, fill=look, width=thick, joint="curve")
        return
    (x, y), (to_x, to_y) = points
    if x == to_x:  # a stroke is too short for dashes
        pen.line(points, fill=look, width=thick)
        return
    dash, gap = (length * fine for length in _DASHES[shape.role])
    while x < to_x:
        pen.line([(x, y), (min(x + dash, to_x), to_y)], fill=look, width=thick)
        x += dash + gap


def _dot(pen: ImageDraw.ImageDraw, shape: Dot, fine: int) -> None:
    x, y, r = shape.x * fine, shape.y * fine, shape.r * fine
    ring = shape.role == "ring"
    look = _LOOKS[shape.role]
    pen.ellipse(
        (x - r, y - r, x + r, y + r), fill=_PAPER if ring else look, outline=look, width=2 * fine if ring else 1
    )


def _text(pen: ImageDraw.ImageDraw, shape: Text) -> None:
    words = shape.words if shape.words.isascii() else shape.plain
    font = ImageFont.load_default(_PRINT * _FINE)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
    # The one font that is there has no bold: a heading is drawn twice, a little apart.
    stroke = 0.6 if shape.role in {"title", "over"} else 0
    pen.text(
        (shape.x * _FINE, shape.y * _FINE),
        words,
        fill=_LOOKS[shape.role],
        font=font,
        anchor=anchor,
        stroke_width=stroke,
    )
