"""Figure 4: images before and after random erasing, by the functions that training calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch

from reidkit.data import transforms
from reidkit.data.formats.detect import load_dataset
from reidkit.data.images import open_images
from reidkit.data.transforms import MEAN, STD, Fill, build_augmentation
from reidkit.errors import DataError
from reidkit.plots.image_grid import Grid, Tile, draw_grid
from reidkit.recipes.luo2019.ladder import ERASING
from reidkit.synth import Size, synthesize

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reidkit.recipe import Recipe
    from reidkit.types import Sample

    Pixels = NDArray[np.uint8]

WORDS = {
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


def figure(data: Path | None = None, *, seed: int = 0, count: int = 8, recipe: Recipe = ERASING) -> Figure:
    """Originals in the first row, then one row for each fill with the same rectangles.

    `data` is any data set; None draws synthetic people. The images are at the recipe's size, and every one is erased.

    Raises:
        DataError: there are no training images, or they cannot be read.
    """
    if data is not None:
        images = _choose(data, count, seed, recipe)
    else:
        with TemporaryDirectory() as folder:
            size = Size(height=recipe.images.height, width=recipe.images.width, images_per_camera=2)
            synthesize(Path(folder) / "people", 2 * max(2, count), 2, seed, workers=1, **size)
            images = _choose(Path(folder) / "people", count, seed, recipe)
    rows = {"original": images} | {WORDS.get(fill, fill): erased(images, fill, seed, recipe) for fill in fills()}
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


def _choose(data: Path, count: int, seed: int, recipe: Recipe) -> Pixels:
    """Images [B, H, W, 3] of different ids, as far as there are so many."""
    train = load_dataset(data).train
    if not train:
        raise DataError(f"{data} has no training images to erase: give a data set that has")
    order = np.random.default_rng(seed).permutation(len(train)).tolist()
    by_id: dict[int, Sample] = {}
    for index in order:
        by_id.setdefault(train[index].pid, train[index])
    chosen = [*by_id.values()][:count]
    source = open_images(chosen, recipe.images.size, resize=recipe.images.resize)
    out = np.empty((len(chosen), *source.size, 3), np.uint8)
    transforms.copy(source, np.arange(len(chosen)), flip=False, out=out)
    return out


def _draw(rows: dict[str, Pixels], note: str) -> Figure:
    _, height, width, _ = next(iter(rows.values())).shape
    names = [f"{name}\n{note}" if note and name == "original" else name for name in rows]
    tiles = [[Tile(image) for image in images] for images in rows.values()]
    title = "Random erasing: one rectangle, as each interpretation fills it"
    return draw_grid(Grid(rows=tiles, size=(TILE, TILE * height / width), title=title, names=names))
