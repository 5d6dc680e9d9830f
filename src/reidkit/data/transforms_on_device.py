"""What `transforms` does to a batch, on a device where all images of the set lie: whole arrays of torch, no loops.

Nothing here reads a number back from the device, so that the host can be many steps ahead of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from reidkit.data.transforms import CODE_FILL, normalise_by_torch, pixel_like

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.data.transforms import AugmentParams, Fill

PARAM_ROWS = 9
"""Integers for each image of a batch: see `write_params`."""


class DeviceParams(NamedTuple):
    """Indices, labels and augmentation parameters of the B images of a batch: int64 [9, L] on the device, one tensor.

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
    def of(cls, params_9l: Tensor, count: int) -> DeviceParams:
        """Views of what `write_params` wrote of `count` images."""
        image, _, flip, down, right = params_9l[:5, :count]
        return cls(image, params_9l[1], flip, down, right, params_9l[5:, :count])


def write_params(
    index: NDArray[np.int64], label: NDArray[np.int64], params: AugmentParams, pad: int, out: NDArray[np.int64]
) -> None:
    """Put what the images `index` [B] and the labels [L] of a batch need into `out` int64 [9, L], for one copy."""
    out[1] = label
    here = out[:, : len(index)]
    here[0], here[2] = index, params.flip
    here[3], here[4] = params.top - pad, params.left - pad
    here[5:] = params.boxes.T


def crop_flip_on_device(images_mhwc: Tensor, params: DeviceParams) -> Tensor:
    """The images of a batch, mirrored and cropped: uint8 [B, H, W, 3]; what comes from outside an image is black.

    The pixel (y, x) of image b is that of (y + down, x + right) in the mirrored or unmirrored original: one gather for
    the whole batch, by the rows [B, H] and columns [B, W] it comes from.
    """
    height, width = images_mhwc.shape[1:3]
    y_bh = torch.arange(height, device=images_mhwc.device) + params.down[:, None]
    x_bw = torch.arange(width, device=images_mhwc.device) + params.right[:, None]
    outside = (~_within(y_bh, height))[:, :, None] | (~_within(x_bw, width))[:, None, :]
    x_bw = torch.where(params.flip[:, None] != 0, width - 1 - x_bw, x_bw)
    rows, columns = y_bh.clamp(0, height - 1)[:, :, None], x_bw.clamp(0, width - 1)[:, None, :]
    taken: Tensor = images_mhwc[params.image[:, None, None], rows, columns]
    return taken.masked_fill_(outside[..., None], 0)


def erase_inside(images_bchw: Tensor, boxes_4b: Tensor, fill: Fill, noise: int) -> None:
    """Do as `erase`, on a device, without a loop and without waiting: every pixel is asked whether it lies inside.

    `boxes_4b` int64 [4, B] are on the device. The noise of `random` comes from the device's own generator: a GPU's
    numbers are not those of a CPU with the same seed, though they are the same in every run on a GPU.
    """
    device = images_bchw.device
    top, left, height, width = boxes_4b.view(4, -1, 1, 1).unbind(0)
    y = torch.arange(images_bchw.shape[2], device=device)[:, None]
    x = torch.arange(images_bchw.shape[3], device=device)
    inside = ((y >= top) & (y < top + height) & (x >= left) & (x < left + width))[:, None]
    if fill == "random":
        generator = torch.Generator(device).manual_seed(noise)
        value = torch.empty_like(images_bchw).normal_(generator=generator)
    elif fill == "image-mean":
        value = images_bchw.mean(dim=(2, 3), keepdim=True)
    else:
        value = pixel_like(CODE_FILL if fill == "code" else (0.0, 0.0, 0.0), images_bchw)
    torch.where(inside, value, images_bchw, out=images_bchw)


def augment_on_device(images_mhwc: Tensor, params: DeviceParams, fill: Fill | None, noise: int) -> Tensor:
    """Return a batch float32 [B, 3, H, W], channels last in memory, as `transforms` makes it on the host.

    The numbers are the same bit for bit, with two exceptions: the mean pixel of an image is summed in another order,
    and the noise of `random` comes from the device's own generator. `fill` None: nothing is erased.
    """
    batch = normalise_by_torch(crop_flip_on_device(images_mhwc, params))
    if fill is not None:
        erase_inside(batch, params.boxes, fill, noise)
    return batch


def _within(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)
