"""Which crops of a piece are its best: by hand, and whatever the order of events, in bounded memory."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from reidkit.errors import UsageError
from reidkit.video.crops import TALLEST, Candidates, CropOptions, as_jpeg, cut_out, sharpness, worths

PATTERN = np.indices((64, 32)).sum(axis=0)[..., None].repeat(3, axis=2).astype(np.uint8) * 2 % 64


def test_the_worth_of_boxes_by_hand() -> None:
    boxes = np.array([[10, 10, 60, 138], [110, 10, 160, 138], [135, 10, 185, 138], [0, 150, 50, 278]], np.float32)
    scores = np.array([1, 1, 0.5, 1], np.float32)
    # Half of 256 pixels; the second and third cover half of each other; the last one touches the left edge.
    expected = [0.5, 0.5 / 4, 0.25 / 4, 0.25]
    np.testing.assert_allclose(worths(boxes, scores, 400, 300), expected, rtol=1e-6)
    assert worths(boxes[:0], scores[:0], 400, 300).shape == (0,)


def held(worth_by_second: dict[float, float], crops: int, pixels: np.ndarray = PATTERN) -> list[float]:
    candidates = Candidates(CropOptions(crops=crops))
    for row, (second, worth) in enumerate(worth_by_second.items()):
        if candidates.wants(second, worth, 64):
            candidates.add(row, second, worth, pixels)
    return [each.second for each in candidates.best()]


def test_the_best_of_each_part_of_the_time_best_first() -> None:
    worth = {0.0: 0.3, 1.0: 0.5, 4.0: 0.9, 5.0: 0.8, 9.0: 0.2, 10.0: 0.4}
    # Parts 0 to 5 and 5 to 10: the best of the first is at 4, that of the second at 5.
    assert held(worth, 2) == [4.0, 5.0]
    # Three parts of 3.33 s.
    assert held(worth, 3) == [4.0, 1.0, 10.0]


def test_places_of_empty_parts_go_to_the_best_of_the_others() -> None:
    assert held({0.0: 0.1, 0.1: 0.3, 0.2: 0.2, 9.0: 0.5}, 3) == [9.0, 0.1, 0.2]


def test_a_long_piece_keeps_few_crops_that_are_spread() -> None:
    draws = np.random.default_rng(1)
    worth = {second / 10: float(draws.uniform(0.2, 1)) for second in range(2000)}
    candidates = Candidates(CropOptions(crops=5))
    for row, (second, each) in enumerate(worth.items()):
        if candidates.wants(second, each, 64):
            candidates.add(row, second, each, PATTERN)
            assert len(candidates._kept) <= 8
    best = candidates.best()
    seconds = sorted(each.second for each in best)
    assert len(seconds) == 5
    assert min(np.diff(seconds)) > 10
    assert seconds[-1] - seconds[0] > 100
    assert min(each.worth for each in best) > np.median(list(worth.values()))


def test_a_blurred_crop_loses_against_a_sharp_one() -> None:
    blurred = np.asarray(Image.fromarray(PATTERN).resize((4, 8)).resize((32, 64)))
    assert sharpness(blurred) < sharpness(PATTERN) / 2
    candidates = Candidates(CropOptions(crops=1))
    for row, (pixels, worth) in enumerate(((PATTERN, 0.5), (blurred, 0.6), (PATTERN, 0.4))):
        candidates.add(row, float(row), worth, pixels)
    assert [each.row for each in candidates.best()] == [0]


def test_small_boxes_have_no_crop() -> None:
    assert not Candidates(CropOptions(min_height=65)).wants(0.0, 1.0, 64)
    assert Candidates(CropOptions()).best() == []


def test_a_crop_is_a_copy_of_its_pixels_and_not_too_large() -> None:
    image = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)
    crop = cut_out(image, np.array([10.4, 5, 19.6, 30], np.float32))
    np.testing.assert_array_equal(crop, image[5:30, 10:20])
    image[:] = 0
    assert crop.any()
    assert cut_out(np.zeros((2000, 900, 3), np.uint8), np.array([0, 0, 900, 1800], np.float32)).shape == (
        TALLEST,
        256,
        3,
    )


def test_a_jpeg_shows_the_same() -> None:
    with Image.open(io.BytesIO(as_jpeg(PATTERN))) as image:
        assert np.abs(np.asarray(image).astype(int) - PATTERN).mean() < 3


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UsageError, match="crops 0 is not from 1"):
        CropOptions(crops=0)
    for wrong in ("5", 2.5):
        with pytest.raises(UsageError, match="crops must be a whole number from 0 on, not "):
            CropOptions(crops=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="min_height 0 is not from 1"):
        CropOptions(min_height=0)
