"""What figures for talks and papers share: a sheet to draw on, its colours, and writing it as PNG, SVG or PDF."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING

from reidkit.report.files import write_whole
from reidkit.types import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK, SOFT, RULE = "#ffffff", "#1c2126", "#5c6670", "#dedfda"
ACCENT, WARM = "#0b6e8f", "#b4540a"
FORMATS = ("png", "svg", "pdf")
GROUPS = (
    "#0b6e8f", "#d9822b", "#6b4fa3", "#2a8f57", "#c0322b", "#8c6d31", "#e377a8", "#5c6670",
    "#17becf", "#9aa500", "#1f3f77", "#b07aa1",
)  # fmt: skip
"""Colours that twelve groups can be told apart by; a thirteenth begins again, with another marker."""
MARKERS = ("o", "^", "s", "D", "v", "P")


def sheet(width: float, height: float) -> Figure:
    """An empty sheet of this size in inches, 160 dots each. It belongs to nobody but the caller: pyplot is not used."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor=PAPER)


def tighten(figure: Figure) -> None:
    """Put the pictures of a sheet close together."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02))


def suffix(path: Path) -> str:
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
    write_whole(path, _drawn(figure, suffix(path)))


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


def plain(axes: Axes, *, x: str = "", y: str = "", title: str = "", grid: str = "both") -> None:
    """The look of all axes: words as they stand, quiet lines, no frame."""
    axes.set_xlabel(x, color=SOFT, parse_math=False)
    axes.set_ylabel(y, color=SOFT, parse_math=False)
    axes.set_title(shown(title), loc="left", color=INK, fontsize=12, fontweight="bold", parse_math=False)
    if grid:
        axes.grid(visible=True, axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(which="both", colors=SOFT, length=0)


def shown(text: str, most: int = 60) -> str:
    """A name as it can be drawn and written: one line, not endless, no half characters, nothing unprintable."""
    safe = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode("utf-8"))
    return safe if len(safe) <= most else safe[: most - 1] + "…"


def colour(number: int) -> str:
    """The colour of a group."""
    return GROUPS[number % len(GROUPS)]


def marker(number: int) -> str:
    """Its marker, which changes where colours begin again."""
    return MARKERS[number // len(GROUPS) % len(MARKERS)]


def nothing_but(axes: Sequence[Axes]) -> None:
    """Take ticks and frames away."""
    for each in axes:
        each.set_xticks([])
        each.set_yticks([])
        each.spines[:].set_visible(False)
