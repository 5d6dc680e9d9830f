"""Give an image the style of another camera: CamStyle's idea (Zhong et al., CVPR 2018) without a generative network.

Either the colours get the mean and the deviation that those of the other camera have over the whole training set, or
the lowest frequencies of the image get the amplitudes of an image of that camera, and keep their phases (after Yang and
Soatto's Fourier domain adaptation, CVPR 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.data.autoaugment import apply_policies, sample_policies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource, Rows
    from reidkit.data.transforms import Augmentation

BETA = 0.01
"""The share of the shorter side up to which frequencies are exchanged: the lowest 3x3 of 256x128."""

_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class ExchangeParams:
    """What is drawn for B images: `camera` int64 [B], the row of another one, or -1; `partner` [B], an image of it."""

    camera: NDArray[np.int64]
    partner: NDArray[np.int64]


class ImagesByCamera:
    """The cameras of a training set, by rows 0 to n - 1, and which images are of which.

    Args:
        camids: The camera of each image, int64 [M].
    """

    def __init__(self, camids: NDArray[np.int64]) -> None:
        self.numbers, self.of = np.unique(camids, return_inverse=True)
        self._by_camera = np.argsort(self.of, kind="stable")
        self._counts = np.bincount(self.of, minlength=len(self.numbers))
        self._starts = np.cumsum(self._counts) - self._counts

    def __len__(self) -> int:
        return len(self.numbers)

    def sample(self, rng: np.random.Generator, index: NDArray[np.int64], probability: float) -> ExchangeParams:
        """Draw, for images `index` [B], whether they are exchanged, with which other camera, and with which image.

        Cameras are drawn uniformly, and then one of the images of the camera. With one camera nothing is exchanged.
        """
        count = len(index)
        chosen = rng.random(count) < probability
        steps, places = rng.random((2, count))
        if len(self) < 2:
            return ExchangeParams(np.full(count, -1), np.full(count, -1))
        other = (self.of[index] + 1 + (steps * (len(self) - 1)).astype(np.int64)) % len(self)
        partner = self._by_camera[self._starts[other] + (places * self._counts[other]).astype(np.int64)]
        return ExchangeParams(np.where(chosen, other, -1), np.where(chosen, partner, -1))

    def measure(self, source: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of each camera's pixels, [n, 3] each, over all of its images."""
        sums, squares = np.zeros((2, len(self), 3))
        pixels_of = np.zeros(len(self))
        for first in range(0, len(self.of), _AT_ONCE):
            index = np.arange(first, min(first + _AT_ONCE, len(self.of)))
            pixels, rows = source.rows(index)
            images = pixels[rows].reshape(len(rows), -1, 3).astype(np.float64)
            np.add.at(sums, self.of[index], images.sum(axis=1))
            np.add.at(squares, self.of[index], np.square(images).sum(axis=1))
            np.add.at(pixels_of, self.of[index], images.shape[1])
        means = sums / pixels_of[:, None]
        return means, np.sqrt(np.maximum(squares / pixels_of[:, None] - means**2, 0))


def exchange_moments(
    image: NDArray[np.uint8],
    own: tuple[NDArray[np.float64], NDArray[np.float64]],
    other: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.uint8]:
    """Return (x - mean) / deviation * deviation' + mean' of each colour, cut to 0..255.

    Args:
        image: [H, W, 3].
        own: Mean and deviation of its camera, [3] each.
        other: Those of the other camera.
    """
    scale = other[1] / np.maximum(own[1], 1e-6)
    return _as_pixels((image - own[0]) * scale + other[0])


def exchange_amplitudes(image: NDArray[np.uint8], partner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `image` [H, W, 3] with the amplitudes that `partner` has at its lowest frequencies, cut to 0..255."""
    return _as_pixels(with_amplitudes(image, partner))


def with_amplitudes(image: NDArray[Any], partner: NDArray[Any]) -> NDArray[np.float64]:
    """Return `image` [H, W, 3] with the amplitudes that `partner` has at the (2h+1) x (2h+1) lowest frequencies.

    h = floor(BETA min(H, W)); at 0 that is the mean alone. Phases stay. As the transform is linear, only these few
    numbers of it are computed, and what they change is added.
    """
    height, width = image.shape[:2]
    reach = int(BETA * min(height, width))
    down_kh, across_jw = (_waves(size, reach) for size in (height, width))
    own_ckj, other_ckj = (down_kh @ each.transpose(2, 0, 1) @ across_jw.T for each in (image, partner))
    change_ckj = np.abs(other_ckj) * np.exp(1j * np.angle(own_ckj)) - own_ckj
    change_chw = (down_kh.conj().T @ change_ckj @ across_jw.conj()).real / (height * width)
    changed: NDArray[np.float64] = image + change_chw.transpose(1, 2, 0)
    return changed


def _waves(size: int, reach: int) -> NDArray[np.complex128]:
    """exp(-2 pi i k x / size) of the frequencies k from -reach to reach, at the places x: [2 reach + 1, size]."""
    frequencies = np.arange(-reach, reach + 1)[:, None]
    waves: NDArray[np.complex128] = np.exp(-2j * np.pi * frequencies * np.arange(size) / size)
    return waves


def _as_pixels(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


class StyledRows:
    """Pixels on the host after the exchange of styles and AutoAugment, before flip and crop.

    Args:
        given: Where the pixels come from.
        source: What the images are.
        augmentation: How often what is done.
    """

    def __init__(self, given: Rows, source: ImageSource, augmentation: Augmentation) -> None:
        self._given, self._augmentation = given, augmentation
        self._cameras = ImagesByCamera(source.samples.camids) if augmentation.exchange else None
        self._moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._pixels = np.zeros((0, *source.size, 3), dtype=np.uint8)

    def of(self, rng: np.random.Generator, order_b: NDArray[np.int64], mine: slice) -> StyledRows:
        """Prepare those of the images that are `mine` of a batch `order_b` [B], by draws for all of it."""
        pixels, rows = self._given.rows(order_b[mine])
        self._pixels = np.take(pixels, rows, axis=0)
        if self._cameras is not None:
            params = self._cameras.sample(rng, order_b, self._augmentation.exchange)
            self._exchange(order_b[mine], params.camera[mine], params.partner[mine])
        if self._augmentation.policies:
            apply_policies(self._pixels, sample_policies(rng, len(order_b), self._augmentation.policies).of(mine))
        return self

    def exchanged(self, rng: np.random.Generator, order_b: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return which images of a batch get another camera's style, by the same draws; None if none ever does."""
        if self._cameras is None:
            return None
        styled_b: NDArray[np.bool_] = self._cameras.sample(rng, order_b, self._augmentation.exchange).camera >= 0
        return styled_b

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the images that were prepared last, which have these indices."""
        return self._pixels, np.arange(len(indices))

    def _exchange(self, index: NDArray[np.int64], camera: NDArray[np.int64], partner: NDArray[np.int64]) -> None:
        """Give images with a `camera` (-1: none) its style, by the moments of its colours or a partner's amplitudes."""
        chosen = np.flatnonzero(camera >= 0)
        if self._cameras is None or not len(chosen):
            return
        if self._augmentation.exchange_by == "fourier":
            pixels, rows = self._given.rows(partner[chosen])
            for b, row in zip(chosen.tolist(), rows.tolist(), strict=True):
                self._pixels[b] = exchange_amplitudes(self._pixels[b], pixels[row])
            return
        if self._moments is None:
            self._moments = self._cameras.measure(self._given)
        means, deviations = self._moments
        own = self._cameras.of[index]
        for b in chosen.tolist():
            before, after = ((means[row], deviations[row]) for row in (own[b], camera[b]))
            self._pixels[b] = exchange_moments(self._pixels[b], before, after)
