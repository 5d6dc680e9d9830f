"""What all figures share: the palette of pages and pictures, the look of axes, and files as PNG, SVG or PDF."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import threading
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any, cast

from reidkit.atomic import write_bytes_atomic
from reidkit.errors import UsageError
from reidkit.process_settings import without_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

LIGHT = {
    "page": "#f6f6f3", "card": "#ffffff", "ink": "#1c2126", "soft": "#5c6670", "rule": "#dedfda", "accent": "#0b5d7a",
    "c0": "#0b6e8f", "c1": "#b4540a", "c2": "#6b4fa3", "true": "#17794a", "false": "#c0322b", "badge": "#ffffff",
    "note": "#fbf3dc", "note-edge": "#c9971b",
}  # fmt: skip
"""The palette: figures for documents use these colours, and pages know each as the CSS variable of its name."""
DARK = {
    "page": "#14181c", "card": "#1d2329", "ink": "#e7eaec", "soft": "#a0abb4", "rule": "#343c44", "accent": "#6cc5e3",
    "c0": "#58bfe0", "c1": "#f0a15c", "c2": "#b9a2ee", "true": "#45c486", "false": "#ff7d72", "badge": "#14181c",
    "note": "#2b2718", "note-edge": "#d9ad45",
}  # fmt: skip
"""The same names on a dark screen."""

PAPER, INK, SOFT, RULE = LIGHT["card"], LIGHT["ink"], LIGHT["soft"], LIGHT["rule"]
SERIES = (LIGHT["c0"], LIGHT["c1"], LIGHT["c2"])
"""Colours of the lines of a chart."""
WARM = LIGHT["c1"]
TRUE, FALSE = LIGHT["true"], LIGHT["false"]
"""Colours of true and of false matches; a mark beside them says the same."""
GROUPS = (
    "#0b6e8f", "#e69f00", "#920000", "#009e73", "#b66dff", "#490092", "#1c2126", "#56b4e9",
    "#b4540a", "#a0a8b0", "#882255", "#1f3f77",
)  # fmt: skip
"""Colours for twelve groups, distinct for the colour-blind as well; the thirteenth group has the first one again."""
MARKERS = ("o", "^", "s", "D", "v", "P")
FORMATS = ("png", "svg", "pdf")
DPI = 160
TITLE, WORDS, SMALL = 14, 12, 10.5
"""Sizes of letters in points. A figure shrunk to a third of its pixels still has letters of 8 pixels."""
MARGIN, NARROW = 0.12, 8.0
"""Inches that stay empty around a figure; one narrower than `NARROW` keeps less, in proportion to its width."""


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, `width` x `height` inches at 160 dots per inch, without pyplot and its global state."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    inside = _within(width, height, _margin(width))
    return Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(rect=inside), facecolor=PAPER)


def add_heading(figure: Figure, words: str, size: float = TITLE) -> None:
    """Write a title above all panels, inside the margin (`Figure.suptitle` would touch the edge)."""
    width, height = figure.get_size_inches()
    edge = _margin(width)
    look: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": size, "fontweight": "bold", "parse_math": False}
    figure.text(edge / width, 1 - edge / height, one_line(words, 110), color=INK, **look)
    _layout(figure).set(rect=_within(width, height, edge + 1.5 * size / 72))


def _layout(figure: Figure) -> ConstrainedLayoutEngine:
    return cast("ConstrainedLayoutEngine", figure.get_layout_engine())


def _margin(width: float) -> float:
    return MARGIN * min(1.0, width / NARROW)


def _within(width: float, height: float, top: float) -> tuple[float, float, float, float]:
    """The part of a figure inside its margins as matplotlib wants it: left, bottom, width, height as fractions."""
    edge = _margin(width)
    return edge / width, edge / height, 1 - 2 * edge / width, 1 - (edge + top) / height


def figure_format(path: Path) -> str:
    """Return the format that the name of a figure's file asks for: png, svg or pdf.

    Raises:
        UsageError: the name ends in none of them.
    """
    found = path.suffix.lower().removeprefix(".")
    if found not in FORMATS:
        raise UsageError(f"{path} does not say its format: name it .png, .svg or .pdf")
    return found


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically in the format that the name ends in; equal figures give equal files.

    Raises:
        UsageError: the name ends in another format.
        DataError: the file cannot be written.
    """
    write_bytes_atomic(path, _encode(figure, figure_format(path)))


def figure_uri(figure: Figure) -> str:
    """Return a figure as a `data:` address, for a page without other files."""
    return "data:image/svg+xml;base64," + base64.b64encode(_encode(figure, "svg")).decode()


def inline_svg(figure: Figure, label: str) -> str:
    """Return a figure as an `<svg>` element in the page's own colours and font, read aloud as `label`.

    Colours of the palette become CSS variables, so that the figure follows light, dark and print. Clip paths are left
    out, as their ids would have to be unique in the page: whatever is drawn has to lie inside its axes.
    """
    width, height = (72 * inches for inches in figure.get_size_inches())
    text = _encode(figure, "svg", salt=label).decode()
    text = text[text.index('<g id="figure_1">') :].removesuffix("</svg>\n")
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    text = _COORDINATES.sub(lambda match: f'{match[1]}="{_shorten(match[2])}"', text)
    for name, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{name})")
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{text}</svg>'


_INLINE = (
    (re.compile(r"<defs>\s*<clipPath.*?</defs>", re.DOTALL), ""),
    (re.compile(r' clip-path="[^"]*"'), ""),
    (re.compile(r'<g id="[^"]*"'), "<g"),
    (re.compile(r"; font-family: [^;\"]*"), ""),
    (re.compile(r' transform="rotate\(-0 [^"]*"'), ""),
    (re.compile(r">\s+<"), "><"),
)
_COORDINATES = re.compile(r'\b(d|x|y)="([^"]*)"')


def _shorten(numbers: str) -> str:
    """Round coordinates to a tenth of a pixel."""
    return re.sub(r"-?\d+\.\d+", lambda match: f"{round(float(match[0]), 1):g}", " ".join(numbers.split()))


_ONE_AT_A_TIME = threading.Lock()


def _encode(figure: Figure, kind: str, salt: str = "reidkit") -> bytes:
    """Return the bytes of a figure. Ids in an SVG depend on its shapes and on `salt` alone."""
    import matplotlib as mpl

    no_date: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    buffer = io.BytesIO()
    # Text stays text, which can be searched and edited. Settings are the whole process's: one thread after the other.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": salt, "pdf.fonttype": 42}
    # A script that the font lacks is drawn as boxes.
    with _ONE_AT_A_TIME, mpl.rc_context(settings), without_warnings("Glyph .* missing from"):
        figure.savefig(buffer, format=kind, metadata=no_date)
    return _number_ids(buffer.getvalue(), salt) if kind == "svg" else buffer.getvalue()


def style_axes(axes: Axes, *, x: str = "", y: str = "", title: str = "", finding: str = "", grid: str = "both") -> None:
    """Give axes the common look: labels `x` and `y`, `title`, and under it what the plot shows (`finding`).

    No frame, quiet grid lines along `grid` ("x", "y", "both" or "" for none); no text is read as a formula.
    """
    axes.set_xlabel(x, color=SOFT, fontsize=WORDS, parse_math=False)
    axes.set_ylabel(y, color=SOFT, fontsize=WORDS, parse_math=False)
    above = 6 + 1.5 * WORDS * bool(finding)
    look: dict[str, Any] = {"color": INK, "fontsize": TITLE, "fontweight": "bold", "parse_math": False}
    axes.set_title(one_line(title), loc="left", pad=above, **look)
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    axes.annotate(one_line(finding, 120), (0, 1), (0, 6), color=SOFT, fontsize=WORDS, parse_math=False, **place)
    if grid:
        axes.grid(visible=True, axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(which="both", colors=SOFT, length=0, labelsize=SMALL)


def one_line(text: str, most: int = 60) -> str:
    """Make foreign text fit to be drawn: one line of at most `most` characters, all printable and encodable."""
    safe = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode("utf-8"))
    return safe if len(safe) <= most else safe[: most - 1] + "…"


def group_colour(number: int) -> str:
    """Return the colour of a group."""
    return GROUPS[number % len(GROUPS)]


def group_marker(number: int) -> str:
    """Return the marker of a group: neighbours differ, and colour and marker together distinguish 72 groups."""
    return MARKERS[(number + number // len(GROUPS)) % len(MARKERS)]


def darker(colour: str) -> str:
    """Return a colour of about half the lightness, for text that has to be read on white."""
    return "#" + "".join(f"{int(colour[i : i + 2], 16) * 55 // 100:02x}" for i in (1, 3, 5))


def text_background(opacity: float = 0.8) -> dict[str, Any]:
    """Return the box behind text on points and lines; with an edge, the text of an SVG would become shapes."""
    return {"boxstyle": "round,pad=0.12", "facecolor": PAPER, "edgecolor": "none", "alpha": opacity}


def hide_ticks(axes: Sequence[Axes]) -> None:
    """Take ticks and frames away."""
    for each in axes:
        each.set_xticks([])
        each.set_yticks([])
        each.spines[:].set_visible(False)


@lru_cache(maxsize=1024)
def text_width(words: str, size: float) -> float:
    """Return the width of bold letters of a size in points, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    path = TextPath((0, 0), words, size=size, prop=FontProperties(weight="bold"), usetex=False)
    return float(path.get_extents().width) / 72 if words.strip() else 0.0


def _number_ids(svg: bytes, salt: str) -> bytes:
    """Name the hashed ids of an SVG by their order: their hashes depend on the last bit of each coordinate."""
    prefix = hashlib.sha256(salt.encode()).hexdigest()[:6]
    for number, name in enumerate(dict.fromkeys(re.findall(rb'id="([a-zA-Z][0-9a-f]{10})"', svg))):
        svg = svg.replace(name, f"i{prefix}-{number}".encode())
    return svg
