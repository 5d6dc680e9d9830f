"""Figures 3 and 4: the learning rate of each warm-up, and images before and after random erasing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, get_args, get_type_hints

import numpy as np
import torch

from reidkit.data import transforms
from reidkit.data.formats.detect import load_dataset
from reidkit.data.images import open_images
from reidkit.data.transforms import Fill, build_augmentation
from reidkit.errors import DataError
from reidkit.imagenet import MEAN, STD
from reidkit.plots.image_grid import Grid, Tile, draw_grid
from reidkit.plots.style import GROUPS, SMALL, SOFT, WORDS, new_figure, style_axes
from reidkit.recipe import Optim
from reidkit.recipes.luo2019.interpretations import interpret
from reidkit.recipes.luo2019.ladder import ERASING, STANDARD, STRONG
from reidkit.synth import Size, synthesize
from reidkit.train.optimizer import build_schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reidkit.recipe import Recipe
    from reidkit.types import Sample

    Dashes = str | tuple[int, tuple[float, ...]]

    Pixels = NDArray[np.uint8]


FILL_WORDS = {
    "code": "code\n0.485, 0.456, 0.406\nwritten after normalising",
    "imagenet-mean": "imagenet-mean\nthe mean pixel of ImageNet",
    "image-mean": "image-mean\nthe mean pixel of the image",
    "random": "random\nnoise N(0, 1)\nafter normalising",
}
TILE = 0.72
"""Width of an image in inches."""


def fills() -> tuple[Fill, ...]:
    """Return every way to fill a rectangle that there is."""
    return get_args(Fill)


def figure4(
    data: Path | None = None,
    *,
    format: str | None = None,  # noqa: A002
    seed: int = 0,
    count: int = 8,
    recipe: Recipe = ERASING,
) -> Figure:
    """Originals in the first row, then one row for each fill with the same rectangles.

    `data` is any data set, `format` its format where its layout does not tell; None draws synthetic people. The images
    are at the recipe's size, and every one is erased.

    Raises:
        DataError: there are no training images, or they cannot be read.
    """
    if data is not None:
        images = _choose(data, format, count, seed, recipe)
    else:
        with TemporaryDirectory() as folder:
            size = Size(height=recipe.images.height, width=recipe.images.width, images_per_camera=2)
            synthesize(Path(folder) / "people", 2 * max(2, count), 2, seed, workers=1, **size)
            images = _choose(Path(folder) / "people", None, count, seed, recipe)
    rows = {"original": images} | {FILL_WORDS.get(fill, fill): erased(images, fill, seed, recipe) for fill in fills()}
    return _draw(rows, "synthetic people" if data is None else "")


def erased(images_bhwc: Pixels, fill: Fill, seed: int, recipe: Recipe) -> Pixels:
    """These images [B, H, W, 3], each with a rectangle filled; the rectangles depend on the seed and not on `fill`."""
    always = replace(recipe.erasing, probability=1.0)
    params = build_augmentation(recipe.images, always).sample(
        np.random.default_rng(seed), len(images_bhwc), images_bhwc.shape[1:3]
    )
    batch = transforms.normalise(torch.from_numpy(images_bhwc))
    transforms.erase(batch, params.boxes, fill, params.noise)
    pixels = batch.permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)
    seen: Pixels = (255 * pixels).round().clamp(0, 255).to(torch.uint8).numpy()
    return seen


def _choose(data: Path, format_: str | None, count: int, seed: int, recipe: Recipe) -> Pixels:
    """Images [B, H, W, 3] of different ids, as far as there are so many."""
    train = load_dataset(data, format_).train
    if not train:
        raise DataError(f"{data} has no training images to erase: give a data set that has")
    order = np.random.default_rng(seed).permutation(len(train)).tolist()
    by_id: dict[int, Sample] = {}
    for index in order:
        by_id.setdefault(train[index].pid, train[index])
    chosen = [*by_id.values()][:count]
    source = open_images(chosen, recipe.images.size, resize=recipe.images.resize)
    out = np.empty((len(chosen), *source.size, 3), np.uint8)
    transforms.copy(source, np.arange(len(chosen)), out)
    return out


def _draw(rows: dict[str, Pixels], note: str) -> Figure:
    _, height, width, _ = next(iter(rows.values())).shape
    names = [f"{name}\n{note}" if note and name == "original" else name for name in rows]
    tiles = [[Tile(image) for image in images] for images in rows.values()]
    title = "Random erasing: one rectangle, as each interpretation fills it"
    return draw_grid(Grid(rows=tiles, size=(TILE, TILE * height / width), title=title, names=names))


# Figure 3: the learning rate of each warm-up.


STEPS = 186
"""Steps of an epoch on Market-1501 (P x K = 16 x 4): what a warm-up counted in steps is drawn with."""

SAMPLES = 31
"""Steps of an epoch that are drawn; a divisor of `STEPS`."""

LOOKS: tuple[tuple[str, Dashes, float], ...] = (
    (SOFT, "-", 7),
    (GROUPS[0], "-", 2.4),
    (GROUPS[1], (0, (5, 2)), 2.4),
    (GROUPS[2], (0, (1.5, 1.5)), 2.4),
    (GROUPS[3], (0, (6, 2, 1, 2)), 2.4),
    (GROUPS[4], (0, (3, 1)), 2.4),
)


class Curve(NamedTuple):
    """A schedule as a line: `epochs`, where epoch 7 reaches from 6.5 to 7.5, and the rate there."""

    optim: Optim
    epochs: list[float]
    rates: list[float]


def curves() -> dict[str, Curve]:
    """Return every form that `optim.warmup` has, fast-reid's schedule, and the one without a warm-up."""
    forms = get_args(get_type_hints(Optim)["warmup"])
    optims = {"no warm-up": STANDARD.optim}
    optims |= {f"warm-up: {name}": replace(STRONG.optim, warmup=name) for name in forms}
    optims["fast-reid"] = interpret(STRONG, "fast-reid").optim
    return {name: _curve(optim) for name, optim in optims.items()}


def figure3() -> Figure:
    """Return all epochs with a logarithmic rate on the left, the warm-up with a linear one on the right."""
    drawn = curves()
    made = new_figure(12.0, 5.2)
    whole, start = made.subplots(1, 2, width_ratios=[3, 2])
    warmup = STRONG.optim.warmup_epochs
    _draw_curves(whole, drawn, max(curve.optim.epochs for curve in drawn.values()))
    whole.set_yscale("log")
    steady = drawn["no warm-up"].rates
    style_axes(whole, x="epoch", y="learning rate", title="The whole run", finding=_drops(drawn))
    whole.set_yticks(sorted(set(steady)), [f"{rate:.1e}".replace("e-0", "e-") for rate in sorted(set(steady))])
    whole.minorticks_off()
    whole.legend(frameon=False, labelcolor=SOFT, fontsize=WORDS, loc="upper right")
    _draw_curves(start, drawn, warmup + 5)
    start.set_ylim(bottom=0)
    start.yaxis.set_major_formatter(lambda rate, _: f"{1e4 * rate:.1f}")
    rise = drawn[f"warm-up: {STRONG.optim.warmup}"].rates
    first, last = (f"{rate:.1e}".replace("e-0", "e-") for rate in (rise[0], max(rise)))
    start.axvline(warmup + 0.5, color=SOFT, linewidth=0.8, linestyle=(0, (2, 3)))
    words = {"textcoords": "offset points", "color": SOFT, "fontsize": SMALL}
    start.annotate(f"end of epoch {warmup}", (warmup + 0.5, 0), (5, 6), **words)
    finding = f"{STRONG.optim.warmup}: from {first} to {last} in {warmup} epochs"
    style_axes(start, x="epoch", y="learning rate / 0.0001", title="The warm-up, linear scale", finding=finding)
    return made


def _drops(drawn: dict[str, Curve]) -> str:
    """After which epochs the rate falls, for each schedule that has its own."""
    names: dict[tuple[int, ...], str] = {}
    for name, curve in drawn.items():
        names.setdefault(curve.optim.drops, "all" if not names else name)
    first, *others = ((name, " and ".join(map(str, drops))) for drops, name in names.items())
    text = f"a {1 / STRONG.optim.gamma:g}th after epochs {first[1]}"
    return "; ".join((text, *(f"{name} {epochs}" for name, epochs in others)))


def _curve(optim: Optim) -> Curve:
    places = [(epoch, STEPS // SAMPLES * i) for epoch in range(1, optim.epochs + 1) for i in range(SAMPLES)]
    epochs = [epoch - 0.5 + step / STEPS for epoch, step in places]
    return Curve(
        optim, epochs, [build_schedule(optim).rate(epoch, (epoch - 1) * STEPS + step) for epoch, step in places]
    )


def _draw_curves(axes: Axes, drawn: dict[str, Curve], epochs: int) -> None:
    """One line each; the first is wide and pale, so that lines which lie on each other can all be seen."""
    for number, (name, curve) in enumerate(drawn.items()):
        colour, dashes, width = LOOKS[number % len(LOOKS)]
        shown = epochs * SAMPLES
        x, y, alpha = curve.epochs[:shown], curve.rates[:shown], 0.3 if number == 0 else 1
        axes.plot(x, y, label=name, color=colour, linestyle=dashes, linewidth=width, alpha=alpha)
    axes.margins(x=0.02)
