"""What happens to a training batch: flip, pad with black, crop, normalise, erase, as the official code does.

The random parameters are sampled first (`Augmentation.sample`), then all images are changed at once: on the host
(`crop_flip`, `normalise`, `erase`), or on the device where all images of the set lie (`transforms_on_device`).
Both ways give the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from reidkit.arguments import check_choice, check_number, check_whole
from reidkit.data.autoaugment import apply_policies, sample_policies
from reidkit.errors import UsageError
from reidkit.imagenet import MEAN, STD
from reidkit.jit import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.data.sources import Rows
    from reidkit.recipe import Erasing, Images

CODE_FILL = MEAN
"""What the official code fills a rectangle with: meant as the mean pixel, but written where that would be 0."""

TRIES = 100

_SCALE = (1 / (255 * np.array(STD))).astype(np.float32)
_SHIFT = (-np.array(MEAN) / np.array(STD)).astype(np.float32)

Fill = Literal["code", "imagenet-mean", "image-mean", "random"]


# Parameters.


@dataclass(frozen=True, eq=False)
class AugmentParams:
    """The random parameters of the augmentation of B images.

    `flip` bool [B]; `top` and `left` int64 [B], the corner of the crop in the padded image; `boxes` int64 [B, 4], the
    erased rectangle as (top, left, height, width), of no size where nothing is erased; `noise` int64 [B] seeds its
    filling.
    """

    flip: NDArray[np.bool_]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    boxes: NDArray[np.int64]
    noise: NDArray[np.int64]

    def of(self, some: slice) -> AugmentParams:
        """Return the parameters of some of the images."""
        return AugmentParams(self.flip[some], self.top[some], self.left[some], self.boxes[some], self.noise[some])


@dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """Random erasing (paper, section 3.2): with a `probability`, fill a random rectangle of an image.

    `area` is the range of S_e/S, `aspect` that of H_e/W_e. `aspect_draw`: `uniform`, as in the official code, or
    `log`: its logarithm is uniform, as torchvision has it. `fill`: `code` the constant (0.485, 0.456, 0.406) written
    after normalising, as the official code does; `imagenet-mean` the mean pixel of ImageNet; `image-mean` the mean
    pixel of the image; `random` noise N(0, 1).

    Raises:
        UsageError: a value makes no rectangle.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    aspect_draw: Literal["uniform", "log"] = "uniform"
    fill: Fill = "code"

    def __post_init__(self) -> None:
        if not 0 <= check_number(self.probability, "probability") <= 1:
            raise UsageError(f"an erasing probability of {self.probability} is none: give one from 0 to 1")
        for name, most in (("area", 1), ("aspect", math.inf)):
            ends = getattr(self, name)
            if not isinstance(ends, Sequence) or len(ends) != 2 or not 0 < ends[0] <= ends[1] < most:
                below = "both, rising between 0 and 1" if name == "area" else "both, rising"
                raise UsageError(f"the {name} of an erased rectangle cannot be {ends}: give {below}", argument=name)
        check_choice(self.aspect_draw, Literal["uniform", "log"], "aspect_draw")
        check_choice(self.fill, Fill, "fill")

    def __call__(self, images_bchw: Tensor, rng: np.random.Generator) -> Tensor:
        """Erase in normalised images float32 [B, 3, H, W] on the host, in place, and return them.

        Raises:
            UsageError: they are something else, or `rng` is no generator of NumPy.
        """
        if not isinstance(images_bchw, torch.Tensor) or not images_bchw.is_floating_point():
            raise UsageError(
                f"images are {_kind(images_bchw)}: pass normalised ones, a tensor float32 [B, 3, H, W]",
                argument="images_bchw",
            )
        if images_bchw.ndim != 4 or images_bchw.shape[1] != 3:
            raise UsageError(f"images are {list(images_bchw.shape)}: pass [B, 3, H, W]", argument="images_bchw")
        _check_generator(rng)
        boxes = self.sample(rng, len(images_bchw), (images_bchw.shape[2], images_bchw.shape[3]))
        erase(images_bchw, boxes, self.fill, rng.integers(2**63, size=len(boxes)))
        return images_bchw

    def sample(self, rng: np.random.Generator, count: int, size: tuple[int, int]) -> NDArray[np.int64]:
        """Sample a rectangle (top, left, height, width) for each of `count` images of `size` (H, W): int64 [count, 4].

        An image that is not erased has one of no size. S_e is uniform, H_e = sqrt(S_e r_e), W_e = sqrt(S_e / r_e).
        A rectangle that is not smaller than the image both ways is sampled again, up to 100 times as the official code
        does.
        """
        erased = np.flatnonzero(rng.random(count) < self.probability)
        boxes = np.zeros((count, 4), dtype=np.int64)
        boxes[erased] = self._sample_boxes(rng, len(erased), size)
        return boxes

    def _sample_boxes(self, rng: np.random.Generator, count: int, size: tuple[int, int]) -> NDArray[np.int64]:
        height, width = size
        boxes = np.zeros((count, 4), dtype=np.int64)
        waiting = np.arange(count)
        for _ in range(TRIES):
            area = rng.uniform(*self.area, size=len(waiting)) * height * width
            aspect = self._sample_aspects(rng, len(waiting))
            high, wide = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
            fits = (high < height) & (wide < width)
            boxes[waiting[fits], 2] = high[fits]
            boxes[waiting[fits], 3] = wide[fits]
            waiting = waiting[~fits]
            if not len(waiting):
                break
        # The corner is uniform over the positions at which the rectangle lies inside the image.
        has_box = boxes[:, 2] > 0
        limits = np.array(size) - boxes[has_box, 2:] + 1
        boxes[has_box, :2] = rng.integers(0, limits)
        return boxes

    def _sample_aspects(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        low, high = self.aspect
        if self.aspect_draw == "uniform":
            return rng.uniform(low, high, size=count)
        return np.exp(rng.uniform(math.log(low), math.log(high), size=count))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The augmentation of a training batch: flip with a probability, pad by black pixels and crop, erase.

    Before that, on the pixels of the host: with the probability `exchange` an image gets the style of another camera
    (see `data.style_exchange`; only in `TrainBatches`, which knows cameras), by `moments` or `fourier`, and with the
    probability `policies` one of AutoAugment's policies.
    """

    flip: float = 0.5
    pad: int = 10
    erasing: RandomErasing = field(default_factory=lambda: RandomErasing(probability=0))
    policies: float = 0.0
    exchange: float = 0.0
    exchange_by: Literal["moments", "fourier"] = "moments"

    def __post_init__(self) -> None:
        for name in ("flip", "policies", "exchange"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}: give a probability from 0 to 1", argument=name)
        check_whole(self.pad, "pad")
        if not isinstance(self.erasing, RandomErasing):
            raise UsageError(f"erasing is {self.erasing!r}: pass RandomErasing(probability=0.5)", argument="erasing")
        check_choice(self.exchange_by, Literal["moments", "fourier"], "exchange_by")

    @property
    def changes_pixels(self) -> bool:
        """Whether anything is done to pixels on the host before flip and crop."""
        return self.policies > 0 or self.exchange > 0

    def __call__(self, images_bhwc: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
        """Augment pixels uint8 [B, H, W, 3] on the host: normalised float32 [B, 3, H, W]; the pixels stay.

        Raises:
            UsageError: they are something else, or `rng` is no generator of NumPy.
        """
        pixels = isinstance(images_bhwc, np.ndarray) and images_bhwc.dtype == np.uint8
        if not pixels or images_bhwc.ndim != 4 or images_bhwc.shape[3] != 3:
            raise UsageError(
                f"images are {_kind(images_bhwc)}: pass pixels from 0 to 255, an array uint8 [B, H, W, 3]",
                argument="images_bhwc",
            )
        _check_generator(rng)
        count, height, width, _ = images_bhwc.shape
        if self.policies:
            images_bhwc = images_bhwc.copy()
            apply_policies(images_bhwc, sample_policies(rng, count, self.policies))
        params = self.sample(rng, count, (height, width))
        out = np.empty_like(images_bhwc)
        _crop_flip(
            _lines(images_bhwc),
            np.arange(count),
            params.flip,
            params.top - self.pad,
            params.left - self.pad,
            _lines(out),
        )
        images = normalise(torch.from_numpy(out))
        erase(images, params.boxes, self.erasing.fill, params.noise)
        return images

    def sample(self, rng: np.random.Generator, count: int, size: tuple[int, int]) -> AugmentParams:
        """Sample the parameters for `count` images of `size` (H, W)."""
        flip = rng.random(count) < self.flip
        top, left = rng.integers(0, 2 * self.pad + 1, size=(2, count))
        boxes = self.erasing.sample(rng, count, size)
        return AugmentParams(flip, top, left, boxes, rng.integers(2**63, size=count))


def _kind(images: Any) -> str:
    """Return what images are, in words."""
    if not hasattr(images, "dtype"):
        return f"a {type(images).__name__}"
    return f"a {type(images).__name__} {str(images.dtype).removeprefix('torch.')} {list(images.shape)}"


def _check_generator(rng: object) -> None:
    if not isinstance(rng, np.random.Generator):
        raise UsageError(f"rng is of type {type(rng).__name__}: pass np.random.default_rng(seed)", argument="rng")


def build_augmentation(images: Images, erasing: Erasing) -> Augmentation:
    """Return the augmentation of a recipe."""
    return Augmentation(
        flip=images.flip,
        pad=images.pad,
        erasing=RandomErasing(**asdict(erasing)),
        policies=images.augment,
        exchange=images.exchange,
        exchange_by=images.exchange_by,
    )


# On the host.


def crop_flip(
    source: Rows, indices: NDArray[np.int64], params: AugmentParams, pad: int, out: NDArray[np.uint8]
) -> None:
    """Put these images, flipped, padded by `pad` black pixels and cropped, into `out` uint8 [B, H, W, 3]."""
    pixels, rows = source.rows(indices)
    _crop_flip(_lines(pixels), rows, params.flip, params.top - pad, params.left - pad, _lines(out))


def copy(source: Rows, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """Put these images, as they are, into `out` uint8 [B, H, W, 3]."""
    pixels, rows = source.rows(indices)
    np.take(pixels, rows, axis=0, out=out, mode="clip")  # in range: the default would copy once more to check that


def normalise(images_bhwc: Tensor) -> Tensor:
    """Pixels uint8 [B, H, W, 3] to float32 [B, 3, H, W], (x / 255 - MEAN) / STD, channels last in memory.

    On a CPU one pass writes each number once; torch's own operations, used elsewhere, would pass over them three times.
    Both round alike.
    """
    if images_bhwc.device.type != "cpu":
        return normalise_by_torch(images_bhwc)
    pixels = images_bhwc.contiguous().numpy()
    # NumPy asks for huge pages where torch does not: first touching small ones takes longer than the sums.
    out = np.empty(pixels.shape, dtype=np.float32)
    width = pixels.shape[2]
    _normalise(_lines(pixels), np.tile(_SCALE, width), np.tile(_SHIFT, width), _lines(out))
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def normalise_by_torch(images_bhwc: Tensor) -> Tensor:
    """Return the same by torch's operations, on any device."""
    images_bchw = images_bhwc.permute(0, 3, 1, 2).to(torch.float32)
    return images_bchw.mul_(pixel_like(_SCALE.tolist(), images_bchw)).add_(pixel_like(_SHIFT.tolist(), images_bchw))


def pixel_like(values: Sequence[float], images_bchw: Tensor) -> Tensor:
    """One pixel [1, 3, 1, 1] beside the images; made there, for a copy from the host would wait for the device."""
    pixel = images_bchw.new_empty(1, 3, 1, 1)
    for channel, value in enumerate(values):
        pixel[:, channel].fill_(value)
    return pixel


def erase(images_bchw: Tensor, boxes: NDArray[np.int64], fill: Fill, noise: NDArray[np.int64]) -> None:
    """Fill a rectangle (top, left, height, width) of each normalised image in the host's memory, in place.

    Args:
        images_bchw: float32 [B, 3, H, W], as `normalise` gives them.
        boxes: int64 [B, 4]; one without height or width erases nothing.
        fill: See `recipe.Erasing`.
        noise: The seeds of `random`, int64 [B].
    """
    generator = torch.Generator()
    code = torch.tensor(CODE_FILL).view(3, 1, 1)
    for image, (top, left, height, width), seed in zip(images_bchw, boxes.tolist(), noise.tolist(), strict=True):
        if not height * width:
            continue
        box = image[:, top : top + height, left : left + width]
        if fill == "random":
            box.copy_(torch.randn(box.shape, generator=generator.manual_seed(seed)))
        elif fill == "image-mean":
            box.copy_(image.mean(dim=(1, 2), keepdim=True).expand_as(box))
        else:
            box.copy_(code.expand_as(box)) if fill == "code" else box.zero_()


def _lines(images: NDArray[Any]) -> NDArray[Any]:
    """Return the images [N, H, W, 3] as [N, H, 3 W]."""
    count, height, width, _ = images.shape
    return images.reshape(count, height, width * 3)


@njit()
def _crop_flip(
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    flip: NDArray[np.bool_],
    down: NDArray[np.int64],
    right: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Move each image up by `down` and to the left by `right` after mirroring it; what comes from outside is black."""
    count, height, width3 = out.shape
    for b in range(count):
        first, last = max(0, -3 * right[b]), min(width3, width3 - 3 * right[b])
        for y in range(height):
            line, source_y = out[b, y], y + down[b]
            if source_y < 0 or source_y >= height or first >= last:
                line[:] = 0
                continue
            line[:first] = 0
            line[last:] = 0
            source = pixels[rows[b], source_y]
            if flip[b]:
                _mirror(source[width3 - last - 3 * right[b] : width3 - first - 3 * right[b]], line[first:last])
            else:
                _copy(source[first + 3 * right[b] : last + 3 * right[b]], line[first:last])


@njit()
def _copy(source: NDArray[np.uint8], line: NDArray[np.uint8]) -> None:
    for i in range(len(line)):
        line[i] = source[i]


@njit()
def _mirror(source: NDArray[np.uint8], line: NDArray[np.uint8]) -> None:
    count = len(line) // 3
    for x in range(count):
        mirrored = 3 * (count - 1 - x)
        line[3 * x] = source[mirrored]
        line[3 * x + 1] = source[mirrored + 1]
        line[3 * x + 2] = source[mirrored + 2]


@njit()
def _normalise(
    lines: NDArray[np.uint8], scale: NDArray[np.float32], shift: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    for b in range(lines.shape[0]):
        for y in range(lines.shape[1]):
            for i in range(lines.shape[2]):
                out[b, y, i] = np.float32(lines[b, y, i]) * scale[i] + shift[i]
