"""What stands in the boxes of figures 2 and 5: the words for what `walk` finds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from reidkit.recipes.tables import search_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.paper.figures.walk import Loss, Stage, Walk

HEAD, LETTERS = 13, 11
"""Sizes of letters in points: of a box's title, and of its lines."""

LINE, EDGE = 0.215, 0.14
"""The height of a line of words, and what stays empty on each side of the words, in inches."""


@lru_cache(maxsize=1024)
def wide(words: str, size: float) -> float:
    """Inches that these words take in bold letters: what differs is drawn in bold, and fits, too."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    path = TextPath((0, 0), words, size=size, prop=FontProperties(weight="bold"), usetex=False)
    return float(path.get_extents().width) / 72 if words.strip() else 0.0


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
        return 2 * EDGE + max(wide(self.title, HEAD), *(wide(line, LETTERS) for line in self.lines), 0.0)

    @property
    def height(self) -> float:
        """The least of it, in inches, for the title and all lines."""
        return 2 * EDGE + LINE * (1 + len(self.lines))


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


def shared(first: Walk, second: Walk) -> int:
    """How many stages at the beginning of the backbone both have, the last one left out."""
    pairs = zip(first.backbone, second.backbone, strict=False)
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return min(alike, len(first.backbone) - 1, len(second.backbone) - 1)


def diagram(found: Walk, alike: int = 0) -> Diagram:
    """The whole pipeline; the first `alike` stages of the backbone in one box."""
    neck = neck_diagram(found)
    rate, *start = _input(found)
    below = {start[0].key: rate, **neck.below}
    return Diagram((*start, *_backbone(found, alike), *neck.chain), neck.above, neck.after, below)


def neck_diagram(found: Walk) -> Diagram:
    """From the pooled feature on. What a loss hangs on is what its gradient reached."""
    dimensions = f"{found.feature[1]}-d"
    behind = [Box(stage.path, *_words(stage)) for stage in found.behind]
    metric = Box("metric", "f" if found.one_feature else "fₜ", (dimensions,), "feature")
    chain, last = [*behind, metric], metric
    if not found.one_feature:
        last = Box("search", "fᵢ", (dimensions,), "feature")
        chain += [*(Box(stage.path, *_words(stage)) for stage in found.neck), last]
    above = tuple(_loss(loss) for loss in found.losses if "search" not in loss.features)
    after = tuple(box for loss in found.losses if "search" in loss.features for box in (*_parts(loss), _loss(loss)))
    metric_name = {"euclidean": "Euclidean", "cosine": "cosine"}[search_of(found.recipe).metric]
    use = Box("use", "retrieval", ("inference stage,", f"{metric_name} distance"), "use")
    return Diagram(tuple(chain), {"metric": above} if above else {}, after, {last.key: use})


def _input(found: Walk) -> list[Box]:
    recipe = found.recipe
    images, erasing, optim = recipe.images, recipe.erasing, recipe.optim
    changes = [f"flip {images.flip:g}", f"pad {images.pad}, crop"]
    changes += ["random", f"erasing {erasing.probability:g}"] if erasing.probability else []
    warm = f"{optim.warmup_epochs} epochs" if optim.warmup_epochs else f"{optim.warmup_steps} steps"
    rate = [f"warm-up {warm}"] if optim.warmup_epochs or optim.warmup_steps else []
    drops = ", ".join(map(str, optim.drops))
    return [
        Box("rate", "Adam", (*rate, f"lr {optim.lr:g}", f"drops at {drops}")),
        Box("batch", "batch", (f"P {recipe.batch.ids} × K {recipe.batch.images}", _size(found.images))),
        Box("augment", "augment", tuple(changes)),
    ]


def _backbone(found: Walk, alike: int) -> list[Box]:
    """The first `alike` stages in one box, or the stem in one; every stage after it in one of its own."""
    rest = found.backbone[alike:]
    boxes = []
    if alike:
        last = found.backbone[alike - 1]
        lines = (f"up to {last.path.removeprefix('backbone.')}", _size(last.shape))
        boxes.append(Box("backbone", found.recipe.network.backbone, lines, "backbone"))
    stem = [stage for stage in rest if not stage.path.removeprefix("backbone.").startswith("layer")]
    if stem:
        boxes.append(_stem(stem))
    for stage in rest[len(stem) :]:
        title = stage.path.removeprefix("backbone.")
        boxes.append(Box(stage.path, title, (stage.kind, stage.detail, _size(stage.shape)), "backbone"))
    return boxes


def _stem(stem: Sequence[Stage]) -> Box:
    short = {"Conv2d": "conv", "MaxPool2d": "pool", "BatchNorm2d": "BN"}
    lines = [f"{short.get(stage.kind, stage.kind)} {stage.detail}".strip() for stage in stem]
    merged = [", ".join(line for line in lines if line in ("BN", "ReLU"))]
    lines = [line for line in lines if line not in ("BN", "ReLU")]
    return Box("stem", "stem", (lines[0], *merged, *lines[1:], _size(stem[-1].shape)), "backbone")


def neck_title(found: Walk) -> str:
    """Which feature each loss pulls at."""
    pulled: dict[str, list[str]] = {}
    for loss in found.losses:
        feature = "f" if found.one_feature else " and ".join({"metric": "fₜ", "search": "fᵢ"}[x] for x in loss.features)
        pulled.setdefault(feature, []).append(_loss(loss).title)
    return ", ".join(f"{' and '.join(titles)} on {feature}" for feature, titles in pulled.items())


def _words(stage: Stage) -> tuple[str, tuple[str, ...]]:
    """The title and the lines of a box."""
    kind = {"global average pooling": "pooling", "BatchNorm1d": "BN", "Linear": "FC"}.get(stage.kind, stage.kind)
    fc = tuple(stage.detail.replace(" to ", " → ").split(", "))
    lines = {"pooling": ("global", "average"), "BN": (stage.detail,), "FC": fc}
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
    return "×".join(map(str, shape[1:]))
