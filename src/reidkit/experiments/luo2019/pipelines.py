"""Figures 2 and 5: the pipelines of two recipes and their necks, drawn from what `walk` finds.

Edges and words that the second recipe changes or adds are drawn in another colour.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from reidkit.losses.objective import build_objective
from reidkit.model import Features, build_network
from reidkit.plots.style import INK, SOFT, TITLE, WARM, WORDS, hide_ticks, new_figure, one_line, text_width
from reidkit.recipes.luo2019.ladder import BNNECK, STANDARD, STRIDE, STRONG, search_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reidkit.model.network import Network
    from reidkit.recipe import Recipe


# What a recipe builds is found by running it: it is built as for training, and a batch is sent through.

Shape = tuple[int, ...]

NUM_IDS = 751
"""The ids of Market-1501's training set, by which the classifier is as wide as in the paper."""


@dataclass(frozen=True)
class Stage:
    """A module that was run: its place in the network, its class, the shapes [B, ...] it was given and it gave."""

    path: str
    kind: str
    given: Shape = ()
    shape: Shape = ()
    detail: str = ""


@dataclass(frozen=True)
class Loss:
    """A term of the objective: the feature that it takes, `f_t` or `f_i`, its modules and its settings."""

    name: str
    side: str
    parts: tuple[Stage, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Walk:
    """A recipe taken apart. `neck` is empty where both features are the one feature f."""

    recipe: Recipe
    images: Shape
    backbone: tuple[Stage, ...]
    behind: tuple[Stage, ...]
    neck: tuple[Stage, ...]
    feature: Shape
    losses: tuple[Loss, ...]

    @property
    def one_feature(self) -> bool:
        """Whether the triplet loss and the ID loss share the feature f."""
        return not self.neck


def walk(recipe: Recipe, num_ids: int = NUM_IDS) -> Walk:
    """Build the recipe's network and objective, send a batch through, and write down what happened."""
    shape = (recipe.batch.ids * recipe.batch.images, 3, recipe.images.height, recipe.images.width)
    # On the meta device tensors have shapes and no values: ResNet-152 costs no more than a sketch of it.
    with torch.device("meta"):
        network = build_network(recipe.network).train()
        features, stages = _run(network, torch.empty(shape))
    backbone = tuple(stage for stage in stages if stage.path.startswith("backbone."))
    rest = [stage for stage in stages if not stage.path.startswith("backbone.")]
    neck = () if features.f_t is features.f_i else tuple(s for s in rest if s.path.startswith("neck"))
    behind = [stage for stage in rest if not stage.path.startswith("neck")]
    if not any(len(stage.given) == 4 for stage in behind):
        last = backbone[-1].shape
        behind.insert(0, Stage("pool", "global average pooling", last, last[:2]))
    losses = _losses(recipe, network.channels, num_ids)
    return Walk(recipe, shape, backbone, tuple(behind), neck, tuple(features.f_t.shape), losses)


def _run(network: Network, images: Tensor) -> tuple[Features, list[Stage]]:
    """Return the features, and what each stage gave, in the order in which they ran."""
    seen: list[Stage] = []
    stages = {f"backbone.{name}": module for name, module in network.backbone.named_children()}
    stages |= {name: module for name, module in network.head.named_children() if name != "pooling"}
    for path, module in stages.items():
        if not isinstance(module, nn.Identity):
            module.register_forward_hook(
                lambda module, given, out, path=path: seen.append(_stage(path, module, given[0].shape, out.shape))
            )
    return network(images), seen


def _stage(path: str, module: nn.Module, given: Shape = (), shape: Shape = ()) -> Stage:
    kind, detail = type(module).__name__, _detail(module)
    if isinstance(module, nn.Sequential):
        kind = f"{len(module)} {' / '.join(sorted({type(block).__name__ for block in module}))}"
        # By how much a stage shrinks the map: the strides along one way through it, multiplied.
        straight = [each for block in module for each in block.children() if isinstance(each, nn.Conv2d)]
        detail = f"stride {math.prod(each.stride[0] for each in straight)}"
    return Stage(path, kind, tuple(given), tuple(shape), detail)


def _detail(module: nn.Module) -> str:
    """Return the words of a single module that a drawing has room for."""
    if isinstance(module, nn.Conv2d):
        return f"{module.kernel_size[0]}x{module.kernel_size[1]}, stride {module.stride[0]}"
    if isinstance(module, nn.MaxPool2d):
        return f"{module.kernel_size}x{module.kernel_size}, stride {module.stride}"
    if isinstance(module, nn.Linear):
        return f"{module.in_features} to {module.out_features}, {'bias' if module.bias is not None else 'no bias'}"
    if isinstance(module, nn.BatchNorm1d):
        learned = module.bias is not None and module.bias.requires_grad
        return "learned shift" if learned else "shift held at 0"
    return ""


def _losses(recipe: Recipe, channels: int, num_ids: int) -> tuple[Loss, ...]:
    """Return every term of the objective, and the feature that it takes."""
    with torch.random.fork_rng(devices=[]):
        objective = build_objective(recipe, {"": slice(0, channels)}, num_ids)
    losses = []
    for name, _, loss, side, _ in objective.terms:
        modules = loss.named_children() if isinstance(loss, nn.Module) else ()
        parts = tuple(_stage(part, child) for part, child in modules)
        losses.append(Loss(name, side, parts, asdict(getattr(recipe, name)) if hasattr(recipe, name) else {}))
    return tuple(losses)


# What stands in the boxes of figures 2 and 5: the words for what `walk` finds.

HEAD, LETTERS = 13, 11  # points: letters of a box's title, and of its lines
LINE, EDGE, GAP = 0.215, 0.14, 0.24  # inches: the height of a line, the margin of words, and between two boxes
HEIGHT, ABOVE = 1.15, 0.92  # inches: the least height of a box of the chain, and of one above it


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
        return 2 * EDGE + max(text_width(self.title, HEAD), *(text_width(line, LETTERS) for line in self.lines), 0.0)

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
        """Return all of them."""
        above = (box for boxes in self.above.values() for box in boxes)
        return (*self.chain, *above, *self.after, *self.below.values())


def shared(first: Walk, second: Walk) -> int:
    """Return how many stages at the beginning of the backbone both have, the last one left out."""
    pairs = zip(first.backbone, second.backbone, strict=False)
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return min(alike, len(first.backbone) - 1, len(second.backbone) - 1)


def diagram(found: Walk, alike: int = 0) -> Diagram:
    """Return the whole pipeline; the first `alike` stages of the backbone in one box."""
    neck = neck_diagram(found)
    rate, *start = _input(found)
    below = {start[0].key: rate, **neck.below}
    return Diagram((*start, *_backbone(found, alike), *neck.chain), neck.above, neck.after, below)


def neck_diagram(found: Walk) -> Diagram:
    """From the pooled feature on. What a loss hangs on is what its gradient reached."""
    dimensions = f"{found.feature[1]}-d"
    behind = [Box(stage.path, *_words(stage)) for stage in found.behind]
    before = Box("f_t", "f" if found.one_feature else "fₜ", (dimensions,), "feature")
    chain, last = [*behind, before], before
    if not found.one_feature:
        last = Box("f_i", "fᵢ", (dimensions,), "feature")
        chain += [*(Box(stage.path, *_words(stage)) for stage in found.neck), last]
    above = tuple(_loss(loss) for loss in found.losses if loss.side == "f_t")
    after: list[Box] = []
    for loss in found.losses:
        if loss.side == "f_i":
            after += [*(Box(f"{loss.name}.{part.path}", *_words(part)) for part in loss.parts), _loss(loss)]
    distance = {"euclidean": "Euclidean", "cosine": "cosine"}[search_of(found.recipe).metric]
    use = Box("use", "retrieval", ("inference stage,", f"{distance} distance"), "use")
    return Diagram(tuple(chain), {"f_t": above} if above else {}, tuple(after), {last.key: use})


def _input(found: Walk) -> list[Box]:
    recipe = found.recipe
    images, erasing, optim = recipe.images, recipe.erasing, recipe.optim
    changes = [f"flip {images.flip:g}", f"pad {images.pad}, crop"]
    changes += ["random", f"erasing {erasing.probability:g}"] if erasing.probability else []
    warm = f"{optim.warmup_epochs} epochs" if optim.warmup_epochs else f"{optim.warmup_steps} steps"
    rate = [f"warm-up {warm}"] if optim.warmup_epochs or optim.warmup_steps else []
    falls = f"drops at {', '.join(map(str, optim.drops))}" if optim.schedule == "steps" else "cosine"
    names = {"adam": "Adam", "amsgrad": "AMSGrad", "adamw": "AdamW", "sgd": "SGD"}
    return [
        Box("rate", names[optim.name], (*rate, f"lr {optim.lr:g}", falls)),
        Box("batch", "batch", (f"P {recipe.batch.ids} × K {recipe.batch.images}", _size(found.images))),
        Box("augment", "augment", tuple(changes)),
    ]


def _backbone(found: Walk, alike: int) -> list[Box]:
    """Return the first `alike` stages in one box, or the stem in one; every stage after it in one of its own."""
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
    """Return which feature each loss takes."""
    losses: dict[str, list[str]] = {}
    for loss in found.losses:
        feature = "f" if found.one_feature else {"f_t": "fₜ", "f_i": "fᵢ"}[loss.side]
        losses.setdefault(feature, []).append(_loss(loss).title)
    return ", ".join(f"{' and '.join(titles)} on {feature}" for feature, titles in losses.items())


def _words(stage: Stage) -> tuple[str, tuple[str, ...]]:
    """Return the title and the lines of a box."""
    kind = {"global average pooling": "pooling", "BNNeck": "BN", "Linear": "FC"}.get(stage.kind, stage.kind)
    fc = tuple(stage.detail.replace(" to ", " → ").split(", "))
    lines = {"pooling": ("global", "average"), "BN": (stage.detail,), "FC": fc}
    return kind, lines.get(kind, (stage.detail,) if stage.detail else ())


def _loss(loss: Loss) -> Box:
    names = {"identity": "ID loss", "triplet": "triplet loss", "center": "centre loss"}
    settings = dict(loss.settings)
    if settings.get("logits") == "linear" or settings.get("form") == "soft":
        del settings["margin"]  # these have none
    lines = [f"{key} {settings[key]:g}" for key in ("margin", "smoothing") if settings.get(key)]
    if settings.get("weight", 1.0) != 1.0:
        lines.append(f"weight {settings['weight']:g}")
    return Box(loss.name, names.get(loss.name, f"{loss.name} loss"), tuple(lines), "loss")


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape[1:]))


FILLS = {"plain": "#f2f4f5", "backbone": "#e3eff4", "feature": "#ffffff", "loss": "#f7ede4", "use": "#e6f3ec"}


def figure2(first: Recipe = STANDARD, second: Recipe = STRONG) -> Figure:
    """Both pipelines, from the batch to the losses; what both have of the backbone is one box."""
    walks = [walk(recipe) for recipe in (first, second)]
    alike = shared(*walks)
    return _draw([(one_line(found.recipe.name).replace("-", " "), diagram(found, alike)) for found in walks])


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
    made = new_figure(width, tall * len(drawn))
    grid = made.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for letter, (title, drawing), axes in zip("abcdef", drawn, grid, strict=False):
        axes.set(xlim=(0, width), ylim=(0, tall), aspect="equal")
        words: dict[str, Any] = {"fontweight": "bold", "va": "center", "parse_math": False}
        axes.text(0.2, tall - 0.25, f"({letter}) {title}", color=INK, fontsize=TITLE + 1, **words)
        _Sheet(axes, known, high, max((ABOVE, *over))).draw(drawing, under + high / 2)
        if drawing is not drawn[0][1]:
            note = "orange: what differs from (a)"
            axes.text(width - 0.2, tall - 0.25, note, color=WARM, fontsize=WORDS, ha="right", **words)
    hide_ticks([*grid])
    return made


def _low(box: Box) -> float:
    """Return the height of a box that hangs below another."""
    return 0.42 + LINE * len(box.lines)


@dataclass(frozen=True)
class _Sheet:
    """Axes whose units are inches, to draw boxes and arrows on.

    What is not among the `known` boxes is drawn as new; `height` and `above` are those of boxes in and above the chain.
    """

    axes: Axes
    known: dict[str, Box]
    height: float
    above: float

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
