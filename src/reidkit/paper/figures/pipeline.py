"""Figures 2 and 5: the pipelines of two recipes and their necks, drawn from what `walk` finds.

A box that the second recipe has otherwise than the first, or that the first lacks, is drawn in another colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reidkit.paper.figures.walk import walk
from reidkit.recipes.bag_of_tricks import STANDARD, STRONG
from reidkit.report.canvas import ACCENT, INK, SOFT, WARM, nothing_but, sheet, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reidkit.paper.figures.walk import Loss, Stage, Walk
    from reidkit.recipe import Recipe

HEIGHT, GAP, LINE = 1.12, 0.22, 0.2
FILLS = {"plain": "#f2f4f5", "backbone": "#e3eff4", "feature": "#ffffff", "loss": "#f7ede4", "use": "#e6f3ec"}


@dataclass(frozen=True)
class Box:
    """A box of the drawing: `key` is what it is compared by, `look` names its colour."""

    key: str
    title: str
    lines: tuple[str, ...] = ()
    look: str = "plain"

    @property
    def width(self) -> float:
        """Inches, by the longest line."""
        return 0.24 + max(0.103 * len(self.title), 0.079 * max(map(len, self.lines), default=0))


@dataclass(frozen=True)
class Diagram:
    """The boxes of a pipeline in a row, `chain` up to the last feature and `after` it.

    `above` and `below` hang on a box of the chain, by its key.
    """

    chain: tuple[Box, ...]
    above: dict[str, tuple[Box, ...]]
    after: tuple[Box, ...]
    below: dict[str, Box]

    def boxes(self) -> tuple[Box, ...]:
        """All of them."""
        return (
            *self.chain,
            *(box for boxes in self.above.values() for box in boxes),
            *self.after,
            *self.below.values(),
        )


def figure2(first: Recipe = STANDARD, second: Recipe = STRONG) -> Figure:
    """Both pipelines, from the batch to the losses."""
    return _draw([(recipe, diagram(walk(recipe))) for recipe in (first, second)])


def figure5(first: Recipe = STANDARD, second: Recipe = STRONG) -> Figure:
    """Both necks: what stands between the pooled feature and the losses."""
    return _draw([(recipe, neck_diagram(walk(recipe))) for recipe in (first, second)])


def diagram(found: Walk) -> Diagram:
    """The whole pipeline."""
    neck = neck_diagram(found)
    rate, *start = _input(found)
    below = {start[0].key: rate, **neck.below}
    return Diagram((*start, *_backbone(found), *neck.chain), neck.above, neck.after, below)


def neck_diagram(found: Walk) -> Diagram:
    """From the pooled feature on. What a loss hangs on is what its gradient reached."""
    dimensions = f"{found.feature[1]} numbers"
    behind = [Box(stage.path, *_words(stage)) for stage in found.behind]
    metric = Box("metric", "f" if found.one_feature else "fₜ", (dimensions,), "feature")
    chain, last = [*behind, metric], metric
    if not found.one_feature:
        last = Box("search", "fᵢ", (dimensions,), "feature")
        chain += [*(Box(stage.path, *_words(stage)) for stage in found.neck), last]
    above = tuple(_loss(loss) for loss in found.losses if "search" not in loss.features)
    after = tuple(box for loss in found.losses if "search" in loss.features for box in (*_parts(loss), _loss(loss)))
    use = Box("use", "retrieval", ("cosine distance",), "use")
    return Diagram(tuple(chain), {"metric": above} if above else {}, after, {last.key: use})


def _input(found: Walk) -> list[Box]:
    recipe = found.recipe
    images, erasing, optim = recipe.images, recipe.erasing, recipe.optim
    changes = [f"flip {images.flip:g}", f"pad {images.pad}, crop"]
    changes += [f"erase {erasing.probability:g}"] if erasing.probability else []
    warm = f"{optim.warmup_epochs} epochs" if optim.warmup_epochs else f"{optim.warmup_steps} steps"
    rate = [f"warm-up {warm}"] if optim.warmup_epochs or optim.warmup_steps else []
    drops = ", ".join(map(str, optim.drops))
    return [
        Box("rate", "Adam", (*rate, f"lr {optim.lr:g}", f"drops at {drops}")),
        Box("batch", "batch", (f"P {recipe.batch.ids} x K {recipe.batch.images}", _size(found.images))),
        Box("augment", "augmentation", tuple(changes)),
    ]


def _backbone(found: Walk) -> list[Box]:
    """The stem in one box, every stage after it in one of its own."""
    stem = [stage for stage in found.backbone if not stage.path.removeprefix("backbone.").startswith("layer")]
    stages = [stage for stage in found.backbone if stage not in stem]
    short = {"Conv2d": "conv", "MaxPool2d": "pool", "BatchNorm2d": "BN"}
    lines = [f"{short.get(stage.kind, stage.kind)} {stage.detail}".strip() for stage in stem]
    merged = [", ".join(line for line in lines if line in ("BN", "ReLU"))]
    lines = [line for line in lines if line not in ("BN", "ReLU")]
    boxes = [Box("stem", "stem", (lines[0], *merged, *lines[1:], _size(stem[-1].shape)), "backbone")] if stem else []
    for stage in stages:
        title = stage.path.removeprefix("backbone.")
        boxes.append(Box(stage.path, title, (stage.kind, stage.detail, _size(stage.shape)), "backbone"))
    return boxes


def _words(stage: Stage) -> tuple[str, tuple[str, ...]]:
    """The title and the lines of a box."""
    kind = {"global average pooling": "pooling", "BatchNorm1d": "BN", "Linear": "FC"}.get(stage.kind, stage.kind)
    lines = {"pooling": ("global average",), "BN": (stage.detail,), "FC": tuple(stage.detail.split(", "))}
    return kind, lines.get(kind, (stage.detail,) if stage.detail else ())


def _parts(loss: Loss) -> list[Box]:
    return [Box(f"{loss.name}.{part.path}", *_words(part)) for part in loss.parts]


def _loss(loss: Loss) -> Box:
    names = {"identity": "ID loss", "triplet": "triplet loss", "center": "centre loss"}
    settings = loss.settings
    lines = [f"{key} {settings[key]:g}" for key in ("margin", "smoothing") if settings.get(key)]
    if settings.get("weight", 1.0) != 1.0:
        lines.append(f"weight {settings['weight']:g}")
    return Box(loss.name, names.get(loss.name, f"{loss.name} loss"), tuple(lines), "loss")


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape[1:]))


def _draw(drawn: Sequence[tuple[Recipe, Diagram]]) -> Figure:
    known = set(drawn[0][1].boxes())
    width = max(sum(box.width + GAP for box in (*diagram.chain, *diagram.after)) for _, diagram in drawn) + 0.5
    under = max(0.4 + LINE * len(box.lines) for _, diagram in drawn for box in diagram.below.values()) + 0.5
    tall = under + 1.75 * HEIGHT + 0.45 + 0.5
    made = sheet(width, tall * len(drawn))
    grid = made.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for letter, (recipe, diagram), axes in zip("abcdef", drawn, grid, strict=False):
        axes.set(xlim=(0, width), ylim=(0, tall), aspect="equal")
        title = f"({letter}) {shown(recipe.name)}"
        axes.text(0.2, tall - 0.3, title, color=INK, fontsize=13, fontweight="bold", va="center", parse_math=False)
        _Sheet(axes, known).draw(diagram, under + HEIGHT / 2)
        if diagram is not drawn[0][1]:
            words: dict[str, Any] = {"color": WARM, "fontsize": 11, "ha": "right", "va": "center"}
            axes.text(width - 0.2, tall - 0.3, "thick edges: what differs from (a)", **words)
    nothing_but([*grid])
    return made


class _Sheet:
    """Boxes and arrows on axes whose units are inches."""

    def __init__(self, axes: Axes, known: set[Box]) -> None:
        self.axes, self.known = axes, known

    def draw(self, diagram: Diagram, y: float) -> None:
        """The chain at the height `y`; losses on a feature in its middle above it, its use below it."""
        left, ends = 0.25, {}
        row = (*diagram.chain, *diagram.after)
        for number, box in enumerate(row):
            self._box(box, left, y)
            ends[box.key] = left + box.width / 2
            if number + 1 < len(row):
                self._arrow((left + box.width, y), (left + box.width + GAP, y))
            left += box.width + GAP
        for key, boxes in diagram.above.items():
            start = ends[key]
            for number, box in enumerate(boxes):
                place = start + sum(each.width + 0.2 for each in boxes[:number]) - boxes[0].width / 2
                self._box(box, place, y + HEIGHT / 2 + 0.45 + HEIGHT / 2 * 0.75, 0.75 * HEIGHT)
                self._arrow((start, y + HEIGHT / 2), (place + box.width / 2, y + HEIGHT / 2 + 0.45))
        for key, box in diagram.below.items():
            height = 0.4 + LINE * len(box.lines)
            left = max(0.25, ends[key] - box.width / 2)
            self._box(box, left, y - HEIGHT / 2 - 0.35 - height / 2, height)
            if box.look == "use":
                self._arrow((ends[key], y - HEIGHT / 2), (ends[key], y - HEIGHT / 2 - 0.35))

    def _box(self, box: Box, left: float, y: float, height: float = HEIGHT) -> None:
        from matplotlib.patches import FancyBboxPatch

        edge = SOFT if box in self.known else WARM
        thick = 1.0 if box in self.known else 2.2
        corner = (left, y - height / 2)
        style = f"round,pad=0,rounding_size={0.25 if box.look == 'feature' else 0.07}"
        patch = FancyBboxPatch(corner, box.width, height, style, facecolor=FILLS[box.look], edgecolor=edge, lw=thick)
        self.axes.add_patch(patch)
        top = y + LINE * len(box.lines) / 2
        middle = left + box.width / 2
        ink = ACCENT if box.look == "feature" else INK
        words: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
        self.axes.text(middle, top, box.title, color=ink, fontsize=11.5, fontweight="bold", **words)
        for number, line in enumerate(box.lines, start=1):
            self.axes.text(middle, top - LINE * number, line, color=SOFT, fontsize=9, **words)

    def _arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        look = {"arrowstyle": "-|>", "color": SOFT, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", end, start, arrowprops=look, annotation_clip=False)
