"""Resizing: by hand, by the definition in floating point, and beside Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from reidkit.data import decode as module
from reidkit.data.decode import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.data.decode import Filter

SIDE = st.integers(1, 60)


def ours(image: NDArray[np.uint8], height: int, width: int, by: Filter = "bilinear") -> NDArray[np.uint8]:
    out = np.full((height, width, 3), 99, dtype=np.uint8)
    resize(image, out, by)
    return out


def pillow(image: NDArray[np.uint8], height: int, width: int, by: Filter = "bilinear") -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling[by.upper()]))


def grey(*values: int) -> NDArray[np.uint8]:
    return np.repeat(np.array([values], dtype=np.uint8)[..., None], 3, axis=2)


def some(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_growing_by_hand() -> None:
    """Two pixels become four, whose centres lie at 0.25, 0.75, 1.25 and 1.75: weights 1 | 3/4 1/4 | 1/4 3/4 | 1."""
    assert ours(grey(0, 100), 1, 4)[0, :, 0].tolist() == [0, 25, 75, 100]
    assert ours(grey(0, 100).swapaxes(0, 1), 4, 1)[:, 0, 1].tolist() == [0, 25, 75, 100]


def test_shrinking_by_hand() -> None:
    """Four become two: the first triangle reaches from -1 to 3, weights 3/4 3/4 1/4 over their sum 7/4."""
    assert ours(grey(0, 70, 210, 255), 1, 2)[0, :, 2].tolist() == [60, round((70 + 3 * 210 + 3 * 255) / 7)]


def triangle(image: NDArray[Any], size: int) -> NDArray[np.float64]:
    """The mean of the source lines under each triangle."""
    scale = len(image) / size
    centres = (np.arange(size) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(len(image)) + 0.5 - centres[:, None]) / max(scale, 1.0))
    out: NDArray[np.float64] = np.tensordot(weights / weights.sum(1, keepdims=True), image.astype(float), 1)
    return out


@settings(max_examples=100, deadline=None)
@given(shape=st.tuples(SIDE, SIDE), target=st.tuples(SIDE, SIDE), seed=st.integers(0, 10**6))
@example(shape=(128, 64), target=(256, 128), seed=0)
@example(shape=(500, 300), target=(8, 3), seed=0)
def test_by_definition_and_beside_pillow(shape: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    image = some(*shape, seed)
    found = ours(image, *target)
    narrow = np.floor(triangle(image.swapaxes(0, 1), target[1]).swapaxes(0, 1) + 0.5)
    tie = 1.0 if target[1] != shape[1] else 0.0  # a half between the two passes may be rounded either way
    assert np.abs(found - triangle(narrow, target[0])).max() < 0.501 + tie
    assert np.abs(found.astype(int) - pillow(image, *target)).max() <= 1
    assert np.array_equal(ours(image, shape[0], target[1]), pillow(image, shape[0], target[1]))
    assert np.array_equal(ours(image, target[0], shape[1]), pillow(image, target[0], shape[1]))


@pytest.mark.parametrize("value", [0, 1, 254, 255])
def test_a_plain_image_stays_as_it_is(value: int) -> None:
    """Also where hundreds of rounded weights add up: no byte may run over."""
    image = np.full((700, 900, 3), value, dtype=np.uint8)
    assert (ours(image, 2, 1) == value).all()
    assert (ours(image[:3, :5], 37, 41) == value).all()


def test_any_layout_in_memory() -> None:
    image = some(20, 30, 1)
    fixed = image[::-1, ::2]
    fixed.flags.writeable = False
    assert np.array_equal(ours(fixed, 9, 11), ours(fixed.copy(), 9, 11))


def test_bicubic_by_hand() -> None:
    """Each output lies a quarter from a pixel: weights -9, 111, 29 and -3 of 128, or the same backwards.

    Before a step from 0 to 128 that gives -3 and -9, which are no bytes, then 29 - 3; behind it 128 + 9 and 128 + 3.
    """
    found = ours(grey(0, 0, 0, 0, 128, 128, 128, 128), 1, 16, "bicubic")[0, :, 0].tolist()
    assert found == [0] * 7 + [26, 102, 137, 131] + [128] * 5


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(SIDE, SIDE), target=st.tuples(SIDE, SIDE), seed=st.integers(0, 10**6))
@example(shape=(128, 64), target=(256, 128), seed=0)
@example(shape=(500, 300), target=(8, 3), seed=0)
def test_bicubic_beside_pillow(shape: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    image = some(*shape, seed)
    wide, high = ours(image, shape[0], target[1], "bicubic"), ours(image, target[0], shape[1], "bicubic")
    assert np.array_equal(wide, pillow(image, shape[0], target[1], "bicubic"))
    assert np.array_equal(high, pillow(image, target[0], shape[1], "bicubic"))
    assert np.array_equal(ours(image, *target, "bicubic"), ours(wide, target[0], target[1], "bicubic"))


def test_weights_of_long_sides_are_not_kept() -> None:
    """They grow with the side, and whoever makes the images chooses it; the result is the same."""
    module._cached_weights.cache_clear()
    for width in range(5000, 5010):
        assert np.abs(ours(some(2, width, 0), 2, 8).astype(int) - pillow(some(2, width, 0), 2, 8)).max() <= 1
    assert module._cached_weights.cache_info().currsize == 1  # those of the rows, 2 to 2
    ours(some(2, 4096, 0), 2, 8)
    assert module._cached_weights.cache_info().currsize == 2
