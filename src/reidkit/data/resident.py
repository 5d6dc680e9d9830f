"""Images that live on the device: cut out, mirrored, normalised and erased there, a batch at a time, without waiting.

The steps and the random numbers are those of `transforms`. Nothing here reads a number back, so that the host can be
many steps ahead of the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from reidkit.data import transforms

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.data.sources import ImageSource, Rows
    from reidkit.data.transforms import Draws

SHARE = 4
"""The set is kept on the device if it takes less than one part in so many of the memory that is free there."""

ROWS = 9
"""Whole numbers for each image of a batch: see `write_numbers`."""

_GROUP = 1024
"""Images that are copied to the device at a time."""


class Numbers(NamedTuple):
    """What is known of the B images of a batch, int64 on the device, in one piece of memory [9, L].

    `label` [L] are those of the whole batch, of which one of several processes has B images. `image`, its index in the
    set [B]; `flip` 0 or 1 [B]; `down` and `right` [B], by how much the crop lies
    below and to the right of the unpadded image; `boxes` [4, B], the erased rectangle as (top, left, height, width).
    """

    image: Tensor
    label: Tensor
    flip: Tensor
    down: Tensor
    right: Tensor
    boxes: Tensor

    @classmethod
    def of(cls, numbers_9l: Tensor, count: int) -> Numbers:
        """Views of what `write_numbers` wrote of `count` images."""
        image, _, flip, down, right = numbers_9l[:5, :count]
        return cls(image, numbers_9l[1], flip, down, right, numbers_9l[5:, :count])


def write_numbers(
    index: NDArray[np.int64], label: NDArray[np.int64], draws: Draws, pad: int, out: NDArray[np.int64]
) -> None:
    """Put what the images `index` [B] and the labels [L] of a batch need into `out` int64 [9, L], for one copy."""
    out[1] = label
    here = out[:, : len(index)]
    here[0], here[2] = index, draws.flip
    here[3], here[4] = draws.top - pad, draws.left - pad
    here[5:] = draws.boxes.T


def fits(source: ImageSource, device: torch.device) -> bool:
    """Whether the images of `source` are few enough to be kept on the device; a CPU has them in its memory already."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return len(source) * source.size[0] * source.size[1] * 3 * SHARE < free


def load(source: ImageSource, device: torch.device, given: Rows | None = None) -> Tensor:
    """All images of `source` uint8 [M, H, W, 3] on the device, in the order of their indices; `given` may give them.

    Raises:
        DataError: an image that is not mapped cannot be read any more.
    """
    images = torch.empty((len(source), *source.size, 3), dtype=torch.uint8, device=device)
    for first in range(0, len(source), _GROUP):
        indices = np.arange(first, min(first + _GROUP, len(source)))
        pixels, rows = (given or source).rows(indices)
        images[first : first + len(rows)] = torch.from_numpy(np.take(pixels, rows, axis=0))
    return images


def crop_flip(images_mhwc: Tensor, numbers: Numbers) -> Tensor:
    """The images of a batch, mirrored and cropped: uint8 [B, H, W, 3]; what comes from outside an image is black.

    The pixel (y, x) of image b is that of (y + down, x + right) in the mirrored or unmirrored original: one gather for
    the whole batch, by the rows [B, H] and columns [B, W] it comes from.
    """
    height, width = images_mhwc.shape[1:3]
    y_bh = torch.arange(height, device=images_mhwc.device) + numbers.down[:, None]
    x_bw = torch.arange(width, device=images_mhwc.device) + numbers.right[:, None]
    outside = (~_within(y_bh, height))[:, :, None] | (~_within(x_bw, width))[:, None, :]
    x_bw = torch.where(numbers.flip[:, None] != 0, width - 1 - x_bw, x_bw)
    rows, columns = y_bh.clamp(0, height - 1)[:, :, None], x_bw.clamp(0, width - 1)[:, None, :]
    taken: Tensor = images_mhwc[numbers.image[:, None, None], rows, columns]
    return taken.masked_fill_(outside[..., None], 0)


def augment(images_mhwc: Tensor, numbers: Numbers, fill: transforms.Fill | None, noise: int) -> Tensor:
    """A batch float32 [B, 3, H, W], channels last in memory, as `transforms` makes it on the host.

    The numbers are the same bit for bit, with two exceptions: the mean pixel of an image is summed in another order,
    and the noise of `random` comes from the device's own generator. `fill` None: nothing is erased.
    """
    batch = transforms.normalise_by_torch(crop_flip(images_mhwc, numbers))
    if fill is not None:
        transforms.erase_inside(batch, numbers.boxes, fill, noise)
    return batch


def _within(place: Tensor, size: int) -> Tensor:
    return (place >= 0) & (place < size)
