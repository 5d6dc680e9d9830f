"""Images and batches as a straightforward program makes them: what reidkit's own are measured against."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from reidkit.data.sampler import PKSampler
from reidkit.imagenet import MEAN, STD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from reidkit.recipe import Erasing, Recipe
    from reidkit.types import Sample


def plain_image(sample: Sample, recipe: Recipe, rng: random.Random) -> Tensor:
    """One augmented image float32 [3, H, W] as a straightforward program makes it: by Pillow, and in floats."""
    size, erasing = recipe.images, recipe.erasing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with Image.open(str(sample.path)) as file:
        image = file.convert("RGB").resize((size.width, size.height), Image.Resampling.BILINEAR)
    if rng.random() < size.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    wide = Image.new("RGB", (size.width + 2 * size.pad, size.height + 2 * size.pad))
    wide.paste(image, (size.pad, size.pad))
    left, top = rng.randint(0, 2 * size.pad), rng.randint(0, 2 * size.pad)
    cropped = np.asarray(wide.crop((left, top, left + size.width, top + size.height)))
    tensor: Tensor = (torch.from_numpy(cropped.copy()).permute(2, 0, 1).contiguous().float() / 255 - mean) / std
    if rng.random() < erasing.probability:
        erase(tensor, erasing, rng)
    return tensor


def erase(image: Tensor, erasing: Erasing, rng: random.Random) -> None:
    """Write the authors' constant into a rectangle of a normalised image [3, H, W]; another fill is not to be had."""
    if (erasing.fill, erasing.aspect_draw) != ("code", "uniform"):
        raise SystemExit(
            "the plain loop erases as the authors' code does: erasing.fill=code, erasing.aspect_draw=uniform"
        )
    _, height, width = image.shape
    for _ in range(100):
        area, aspect = rng.uniform(*erasing.area) * height * width, rng.uniform(*erasing.aspect)
        high, broad = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if high < height and broad < width:
            top, left = rng.randint(0, height - high), rng.randint(0, width - broad)
            image[:, top : top + high, left : left + broad] = torch.tensor(MEAN).view(3, 1, 1)
            return


def plain_batches(
    samples: Sequence[Sample], labels: np.ndarray[Any, Any], recipe: Recipe, seed: int = 0, epoch: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of such images, one after the other."""
    rng = random.Random(1000 * seed + epoch - 1)
    sampler = PKSampler(labels, recipe.batch.ids, recipe.batch.images, visits=recipe.batch.visits, seed=seed)
    for batch in sampler.epoch(epoch):
        yield (
            torch.stack([plain_image(samples[int(index)], recipe, rng) for index in batch]),
            torch.from_numpy(labels[batch]),
        )
