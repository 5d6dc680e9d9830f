"""Figures 2 and 5: the pipelines of two recipes and their necks, drawn from what `walk` finds.

What the second recipe has otherwise than the first, or the first lacks, is drawn in another colour: edges and words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidkit.paper.figures.boxes import HEAD, LETTERS, LINE, diagram, neck_diagram, neck_title, shared
from reidkit.paper.figures.walk import walk
from reidkit.recipes.bag_of_tricks import BNNECK, STANDARD, STRIDE, STRONG
from reidkit.report.canvas import INK, SOFT, TITLE, WARM, WORDS, nothing_but, sheet, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reidkit.paper.figures.boxes import Box, Diagram
    from reidkit.recipe import Recipe

HEIGHT, ABOVE, GAP = 1.15, 0.92, 0.24
"""The least height of a box of the chain and of one above it, and what lies between two of them, in inches."""

FILLS = {"plain": "#f2f4f5", "backbone": "#e3eff4", "feature": "#ffffff", "loss": "#f7ede4", "use": "#e6f3ec"}


def figure2(first: Recipe = STANDARD, second: Recipe = STRONG) -> Figure:
    """Both pipelines, from the batch to the losses; what both have of the backbone is one box."""
    walks = [walk(recipe) for recipe in (first, second)]
    alike = shared(*walks)
    return _draw([(shown(found.recipe.name).replace("-", " "), diagram(found, alike)) for found in walks])


def figure5(first: Recipe = STRIDE, second: Recipe = BNNECK) -> Figure:
    """Both necks: what stands between the pooled feature and the losses. The recipes differ in nothing else."""
    return _draw([(neck_title(found), neck_diagram(found)) for found in map(walk, (first, second))])


def _draw(drawn: Sequence[tuple[str, Diagram]]) -> Figure:
    known = {box.key: box for box in drawn[0][1].boxes()}
    width = max(sum(box.width + GAP for box in (*diagram.chain, *diagram.after)) for _, diagram in drawn) + 0.3
    under = max(_low(box) for _, diagram in drawn for box in diagram.below.values()) + 0.55
    high = max((HEIGHT, *(box.height for _, diagram in drawn for box in (*diagram.chain, *diagram.after))))
    over = [box.height for _, diagram in drawn for boxes in diagram.above.values() for box in boxes]
    tall = under + high + max((ABOVE, *over)) + 0.4 + 0.55
    made = sheet(width, tall * len(drawn))
    grid = made.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for letter, (title, drawing), axes in zip("abcdef", drawn, grid, strict=False):
        axes.set(xlim=(0, width), ylim=(0, tall), aspect="equal")
        words: dict[str, Any] = {"fontweight": "bold", "va": "center", "parse_math": False}
        axes.text(0.2, tall - 0.25, f"({letter}) {title}", color=INK, fontsize=TITLE + 1, **words)
        _Sheet(axes, known, high, max((ABOVE, *over))).draw(drawing, under + high / 2)
        if drawing is not drawn[0][1]:
            note = "orange: what differs from (a)"
            axes.text(width - 0.2, tall - 0.25, note, color=WARM, fontsize=WORDS, ha="right", **words)
    nothing_but([*grid])
    return made


def _low(box: Box) -> float:
    """The height of a box that hangs below another."""
    return 0.42 + LINE * len(box.lines)


class _Sheet:
    """Boxes and arrows on axes whose units are inches."""

    def __init__(self, axes: Axes, known: dict[str, Box], height: float, above: float) -> None:
        """Draw on `axes`: what is not in `known` as new; boxes of the chain, and those above it, are that high."""
        self.axes, self.known, self.height, self.above = axes, known, height, above

    def draw(self, diagram: Diagram, y: float) -> None:
        """The chain at the height `y`; losses on a feature in its middle above it, its use below it."""
        left, ends = 0.15, {}
        row = (*diagram.chain, *diagram.after)
        for number, box in enumerate(row):
            self._box(box, left, y, self.height)
            ends[box.key] = left + box.width / 2
            if number + 1 < len(row):
                self._arrow((left + box.width, y), (left + box.width + GAP, y))
            left += box.width + GAP
        for key, boxes in diagram.above.items():
            self._above(boxes, ends[key], y + self.height / 2)
        for key, box in diagram.below.items():
            left = max(0.15, ends[key] - box.width / 2)
            self._box(box, left, y - self.height / 2 - 0.4 - _low(box) / 2, _low(box))
            if box.look == "use":
                self._arrow((ends[key], y - self.height / 2), (ends[key], y - self.height / 2 - 0.4))

    def _above(self, boxes: Sequence[Box], middle: float, top: float) -> None:
        """Losses side by side, the row in the middle over its feature: their arrows rise from its width."""
        gap, height = 0.2, self.above
        left = middle - (sum(box.width for box in boxes) + gap * (len(boxes) - 1)) / 2
        for number, box in enumerate(boxes):
            self._box(box, left, top + 0.4 + height / 2, height)
            foot = middle + (number - (len(boxes) - 1) / 2) * 2 * gap
            self._arrow((foot, top), (min(max(foot, left), left + box.width), top + 0.4))
            left += box.width + gap

    def _box(self, box: Box, left: float, y: float, height: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        old = self.known.get(box.key)
        edge, thick = (SOFT, 1.0) if box == old else (WARM, 2.6)
        corner = (left, y - height / 2)
        style = f"round,pad=0,rounding_size={0.25 if box.look == 'feature' else 0.07}"
        patch = FancyBboxPatch(corner, box.width, height, style, facecolor=FILLS[box.look], edgecolor=edge, lw=thick)
        self.axes.add_patch(patch)
        top = y + LINE * len(box.lines) / 2
        middle = left + box.width / 2
        words: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
        ink = INK if old and old.title == box.title else WARM
        self.axes.text(middle, top, box.title, color=ink, fontsize=HEAD, fontweight="bold", **words)
        for number, line in enumerate(box.lines, start=1):
            new = old is None or line not in old.lines
            look: dict[str, Any] = {"color": WARM, "fontweight": "bold"} if new else {"color": INK}
            self.axes.text(middle, top - LINE * number, line, fontsize=LETTERS, **look, **words)

    def _arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        style = "-|>,head_width=0.25,head_length=0.5"
        look = {"arrowstyle": style, "color": SOFT, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", end, start, arrowprops=look, annotation_clip=False)
