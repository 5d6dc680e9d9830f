"""Images and batches as a straightforward program makes them: what reidkit's own are measured against."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from reidkit.data.sampler import pk_batches
from reidkit.data.transforms import MEAN, STD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from reidkit.recipe import Recipe
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
        high, broad = size.height // 3, size.width // 3
        y, x = rng.randint(0, size.height - high), rng.randint(0, size.width - broad)
        tensor[:, y : y + high, x : x + broad] = 0.45
    return tensor


def plain_batches(
    samples: Sequence[Sample], labels: np.ndarray[Any, Any], recipe: Recipe
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of such images, one after the other."""
    rng = random.Random(0)
    for batch in pk_batches(labels, recipe.batch, 0, 1):
        yield (
            torch.stack([plain_image(samples[int(index)], recipe, rng) for index in batch]),
            torch.from_numpy(labels[batch]),
        )
