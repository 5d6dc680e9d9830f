"""What figures for talks and papers share: a sheet to draw on, its colours, and writing it as PNG, SVG or PDF."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING, Any, cast

from reidkit.atomic import write_text_atomic
from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

PAPER, INK, SOFT, RULE = "#ffffff", "#1c2126", "#5c6670", "#dedfda"
ACCENT, WARM = "#0b6e8f", "#b4540a"
FORMATS = ("png", "svg", "pdf")
TITLE, WORDS, SMALL = 14, 12, 10.5
"""Sizes of letters in points. At a third of its size a figure of 160 dots per inch still has letters of 8 pixels."""
MARGIN, NARROW = 0.12, 8.0
"""Inches that stay empty around a sheet, so that no letter touches the edge; a narrow one keeps less by its width."""
GROUPS = (
    "#0b6e8f", "#e69f00", "#920000", "#009e73", "#b66dff", "#490092", "#1c2126", "#56b4e9",
    "#b4540a", "#a0a8b0", "#882255", "#1f3f77",
)  # fmt: skip
"""Colours that twelve groups can be told apart by, by the colour-blind as well; a thirteenth begins again."""
MARKERS = ("o", "^", "s", "D", "v", "P")


def new_figure(width: float, height: float) -> Figure:
    """An empty sheet of this size in inches, 160 dots each. It belongs to nobody but the caller: pyplot is not used."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    inside = _within(width, height, _margin(width))
    return Figure(figsize=(width, height), dpi=160, layout=ConstrainedLayoutEngine(rect=inside), facecolor=PAPER)


def tighten(figure: Figure) -> None:
    """Put the pictures of a sheet close together."""
    _layout(figure).set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)


def add_heading(figure: Figure, words: str, size: float = TITLE) -> None:
    """What stands above all panels of a sheet, at its margin: a title of matplotlib's would touch the edge."""
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
    """The part of a sheet inside its margins, as matplotlib wants it: from where, and how large."""
    edge = _margin(width)
    return edge / width, edge / height, 1 - 2 * edge / width, 1 - (edge + top) / height


def figure_format(path: Path) -> str:
    """The format that the name of a figure's file asks for.

    Raises:
        UsageError: it is none of png, svg and pdf.
    """
    found = path.suffix.lower().removeprefix(".")
    if found not in FORMATS:
        raise UsageError(f"{path} does not say its format: name it .png, .svg or .pdf")
    return found


def write_figure(figure: Figure, path: Path) -> None:
    """Write the figure, whole or not at all, in the format that the name ends in; equal figures give equal files.

    Raises:
        UsageError: the name ends in another format.
        DataError: the file cannot be written.
    """
    write_text_atomic(path, _drawn(figure, figure_format(path)))


def figure_uri(figure: Figure) -> str:
    """The figure as an address that holds it, for a page without other files."""
    return "data:image/svg+xml;base64," + base64.b64encode(_drawn(figure, "svg")).decode()


def _drawn(figure: Figure, kind: str) -> bytes:
    import matplotlib as mpl

    nameless = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    buffer = io.BytesIO()
    # Letters stay letters, which can be searched and edited; identifiers are not drawn at random.
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "reidkit", "pdf.fonttype": 42})
        # A name may be in a script that the font lacks: it is drawn as boxes, which is no failure.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format=kind, metadata=nameless)
    return buffer.getvalue()


def style_axes(axes: Axes, *, x: str = "", y: str = "", title: str = "", finding: str = "", grid: str = "both") -> None:
    """The look of all axes: words as they stand, quiet lines, no frame; under the title what there is to be seen."""
    axes.set_xlabel(x, color=SOFT, fontsize=WORDS, parse_math=False)
    axes.set_ylabel(y, color=SOFT, fontsize=WORDS, parse_math=False)
    above = 6 + 1.5 * WORDS * bool(finding)
    axes.set_title(
        one_line(title), loc="left", color=INK, fontsize=TITLE, fontweight="bold", parse_math=False, pad=above
    )
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    axes.annotate(one_line(finding, 120), (0, 1), (0, 6), color=SOFT, fontsize=WORDS, parse_math=False, **place)
    if grid:
        axes.grid(visible=True, axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(which="both", colors=SOFT, length=0, labelsize=SMALL)


def one_line(text: str, most: int = 60) -> str:
    """A name as it can be drawn and written: one line, not endless, no half characters, nothing unprintable."""
    safe = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode("utf-8"))
    return safe if len(safe) <= most else safe[: most - 1] + "…"


def group_colour(number: int) -> str:
    """The colour of a group."""
    return GROUPS[number % len(GROUPS)]


def darker(colour: str) -> str:
    """The colour as letters have it: half as light, so that they can be read on white."""
    return "#" + "".join(f"{int(colour[i : i + 2], 16) * 55 // 100:02x}" for i in (1, 3, 5))


def group_marker(number: int) -> str:
    """Its marker. Neighbours differ, and colour and marker together tell 72 groups apart."""
    return MARKERS[(number + number // len(GROUPS)) % len(MARKERS)]


def text_background(strength: float = 0.8) -> dict[str, Any]:
    """What stands behind letters on points and lines. A rim would turn the letters of an SVG into shapes."""
    return {"boxstyle": "round,pad=0.12", "facecolor": PAPER, "edgecolor": "none", "alpha": strength}


def hide_ticks(axes: Sequence[Axes]) -> None:
    """Take ticks and frames away."""
    for each in axes:
        each.set_xticks([])
        each.set_yticks([])
        each.spines[:].set_visible(False)
