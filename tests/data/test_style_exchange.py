"""Colours and amplitudes of another camera, by hand and from the definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reidkit.data.sources import MappedImages
from reidkit.data.style_exchange import ImagesByCamera, exchange_amplitudes, exchange_moments, with_amplitudes
from reidkit.types import Sample


def pixels(*values: int) -> np.ndarray:
    return np.repeat(np.array([values], dtype=np.uint8)[..., None], 3, axis=2)


def moments(mean: float, deviation: float) -> tuple[np.ndarray, np.ndarray]:
    return np.full(3, mean), np.full(3, deviation)


def test_moments_by_hand() -> None:
    """1 and 3, of a camera of mean 2 and deviation 1, to one of mean 20 and deviation 10: 10 and 30."""
    found = exchange_moments(pixels(1, 3), moments(2, 1), moments(20, 10))
    assert found[0, :, 1].tolist() == [10, 30]


def test_what_lies_outside_is_cut() -> None:
    assert exchange_moments(pixels(0, 200), moments(100, 10), moments(100, 50))[0, :, 0].tolist() == [0, 255]


def test_a_camera_of_one_colour_divides_by_no_zero() -> None:
    assert exchange_moments(pixels(7, 7), moments(7, 0), moments(50, 3))[0, :, 0].tolist() == [50, 50]


def test_amplitudes_by_hand() -> None:
    """(1, 3) and (10, 30) have the transforms (4, -2) and (40, -20): with the first amplitude exchanged (19, 21)."""
    assert exchange_amplitudes(pixels(1, 3), pixels(10, 30))[0, :, 2].tolist() == [19, 21]


def test_amplitudes_of_the_lowest_frequencies_are_those_of_the_partner() -> None:
    """At 256x128 the nine lowest, with the phases of the image; every other number of the transform stays."""
    rng = np.random.default_rng(0)
    image, partner = (rng.integers(0, 256, (256, 128, 3)).astype(np.uint8) for _ in range(2))
    found, own, other = (np.fft.fft2(each, axes=(0, 1)) for each in (with_amplitudes(image, partner), image, partner))
    wanted = own.copy()
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            wanted[y, x] = np.abs(other[y, x]) * np.exp(1j * np.angle(own[y, x]))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert not np.allclose(wanted[0, 1], own[0, 1])


def source() -> tuple[MappedImages, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (70, 6, 4, 3), dtype=np.uint8)
    camids = np.arange(70) % 3 * 7
    samples = [Sample(Path("none"), 0, int(camid)) for camid in camids]
    return MappedImages(images, samples, np.arange(70)), images


def test_moments_of_a_camera_are_those_of_all_its_pixels() -> None:
    given, images = source()
    cameras = ImagesByCamera(given.samples.camids)
    means, deviations = cameras.measure(given)
    for row, camid in enumerate(cameras.numbers):
        own = images[given.samples.camids == camid].astype(np.float64)
        assert means[row] == pytest.approx(own.mean(axis=(0, 1, 2)))
        assert deviations[row] == pytest.approx(own.std(axis=(0, 1, 2)))


def test_another_camera_is_drawn_and_one_of_its_images() -> None:
    given, _ = source()
    cameras = ImagesByCamera(given.samples.camids)
    index = np.tile(np.arange(70), 200)
    drawn = cameras.sample(np.random.default_rng(0), index, 0.5)
    chosen = drawn.camera >= 0
    assert chosen.mean() == pytest.approx(0.5, abs=0.02)
    assert (drawn.camera[chosen] != cameras.of[index[chosen]]).all()
    assert (cameras.of[drawn.partner[chosen]] == drawn.camera[chosen]).all()
    assert len(np.unique(drawn.partner[chosen])) == 70
    first = cameras.of[index] == 0
    assert np.bincount(drawn.camera[chosen & first])[1:] / (chosen & first).sum() == pytest.approx([0.5, 0.5], abs=0.03)


def test_with_one_camera_nothing_is_drawn() -> None:
    drawn = ImagesByCamera(np.zeros(5, dtype=np.int64)).sample(np.random.default_rng(0), np.arange(5), 1.0)
    assert (drawn.camera == -1).all()
    assert (drawn.partner == -1).all()
