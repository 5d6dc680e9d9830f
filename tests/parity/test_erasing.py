"""Random erasing in 10,000 draws at 256 x 128, under each reading.

An image is erased with probability 0.5. Then, up to 100 times, until h < H and w < W:

    S_e / S uniform in (0.02, 0.4)            fast-reid: (0.02, 0.33)
    r_e     uniform in (0.3, 1/0.3)           paper: (0.3, 3.33); fast-reid: log r_e uniform in (log 0.3, log 3.3)
    h, w    = round(sqrt(S_e r_e)), round(sqrt(S_e / r_e))
    top, left uniform in 0..H-h and 0..W-w

which is one draw from those (S_e, r_e) that fit. The rectangle becomes one pixel:

    official code   0.485, 0.456, 0.406 where pixels are normalised already: 255 (v std + mean) = (152, 142, 127)
    fast-reid       ImageNet's mean: 255 mean = (124, 116, 104)
    paper           the mean pixel of the image; or random values, here N(0, 1) where pixels are normalised
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from reidkit.data.loaders import build_batches
from reidkit.data.sources import MappedImages
from reidkit.data.transforms import build_augmentation
from reidkit.recipe import Images, override
from reidkit.types import Sample
from tests.parity import READ, STRONG

COUNT = 10_000
HEIGHT, WIDTH = 256, 128
AREA = {"default": (0.02, 0.4), "paper-text": (0.02, 0.4), "official-code": (0.02, 0.4), "fast-reid": (0.02, 0.33)}
ASPECT = {
    "default": (0.3, 1 / 0.3),
    "paper-text": (0.3, 3.33),
    "official-code": (0.3, 1 / 0.3),
    "fast-reid": (0.3, 3.3),
}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
ONE_IN_1000 = 1.95
"""What Kolmogorov's and Smirnov's statistic, times the root of the count, exceeds once in a thousand cases."""


def draw(rng, images, erasing):
    """The draws for `COUNT` images."""
    return build_augmentation(images, erasing).sample(rng, COUNT, images.size)


def boxes_by_hand(reading, rng, count):
    """Rectangles (top, left, height, width): many are drawn at once, and those that do not fit are thrown away."""
    share, low, ratio = rng.random(2 * count), ASPECT[reading][0], ASPECT[reading][1] / ASPECT[reading][0]
    area = (AREA[reading][0] + (AREA[reading][1] - AREA[reading][0]) * rng.random(2 * count)) * HEIGHT * WIDTH
    aspect = low * ratio**share if reading == "fast-reid" else low + share * low * (ratio - 1)
    high, wide = np.round((area * aspect) ** 0.5), np.round((area / aspect) ** 0.5)
    fits = (high < HEIGHT) & (wide < WIDTH)
    high, wide = high[fits][:count], wide[fits][:count]
    assert len(high) == count
    top = np.floor(rng.random(count) * (HEIGHT - high + 1))
    left = np.floor(rng.random(count) * (WIDTH - wide + 1))
    return np.stack([top, left, high, wide])


def measures(boxes_4b):
    top, left, height, width = boxes_4b.astype(float)
    return {
        "area": height * width / (HEIGHT * WIDTH),
        "aspect": height / width,
        "height": height,
        "width": width,
        "top": top,
        "left": left,
        "bottom": top + height,
        "right": left + width,
        "where down": top / (HEIGHT - height),
        "where across": left / (WIDTH - width),
    }


def apart(ours, theirs):
    """Smirnov's statistic of two samples, scaled as `ONE_IN_1000` is."""
    both = np.concatenate([ours, theirs])
    below = [np.searchsorted(np.sort(each), both, side="right") / len(each) for each in (ours, theirs)]
    return np.abs(below[0] - below[1]).max() * math.sqrt(len(ours) * len(theirs) / len(both))


def apart_from_uniform(shares):
    """Kolmogorov's statistic of one sample that should be uniform between 0 and 1."""
    ranked, steps = np.sort(shares), np.arange(len(shares) + 1) / len(shares)
    return max((steps[1:] - ranked).max(), (ranked - steps[:-1]).max()) * math.sqrt(len(shares))


@pytest.mark.parametrize("reading", READ)
def test_half_of_the_images_are_erased(reading):
    """Four deviations of a share of 10,000 are 0.02."""
    boxes = draw(np.random.default_rng(4), READ[reading].images, READ[reading].erasing).boxes
    erased = (boxes[:, 2:] > 0).all(1)
    assert erased.mean() == pytest.approx(0.5, abs=0.02)
    assert not boxes[~erased].any()


def always(reading, **changes):
    changes = {"probability": 1} | changes
    return override(READ[reading], [f"erasing.{name}={value}" for name, value in changes.items()]).erasing


@pytest.mark.parametrize("reading", READ)
def test_the_draws_before_any_is_thrown_away(reading):
    """Below S_e/S = 0.29 all fit into a square, and in a large one rounding is small: uniform, and not correlated."""
    side = 4000
    images = Images(height=side, width=side)
    boxes = draw(np.random.default_rng(1), images, always(reading, area=[0.02, 0.29])).boxes
    top, left, height, width = boxes.T.astype(float)
    low, high = ASPECT[reading]
    aspect = height / width
    if reading == "fast-reid":
        aspect, low, high = np.log(aspect), math.log(low), math.log(high)
    shares = [
        (height * width / side**2 - 0.02) / 0.27,
        (aspect - low) / (high - low),
        top / (side - height),
        left / (side - width),
    ]
    assert [apart_from_uniform(share) < ONE_IN_1000 for share in shares] == [True] * 4
    assert np.abs(np.corrcoef(shares) - np.eye(4)).max() < 0.04


@pytest.mark.parametrize("reading", READ)
def test_area_aspect_and_place_after_it(reading):
    """At 256 x 128 wide rectangles do not fit, which bends all distributions: against 100,000 of the definition."""
    ours = draw(np.random.default_rng(2), READ[reading].images, always(reading)).boxes.T
    theirs = boxes_by_hand(reading, np.random.default_rng(3), 100_000)
    top, left, height, width = ours
    assert (height > 0).all()
    assert (height < HEIGHT).all()
    assert (width < WIDTH).all()
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= HEIGHT).all()
    assert (left + width <= WIDTH).all()
    expected = measures(theirs)
    distances = {name: apart(values, expected[name]) for name, values in measures(ours).items()}
    assert {name: far for name, far in distances.items() if far >= ONE_IN_1000} == {}
    tenths = np.linspace(0.1, 0.9, 9)
    found, wanted = (np.quantile(measures(boxes)["area"], tenths) for boxes in (ours, theirs))
    np.testing.assert_allclose(found, wanted, atol=0.008)


@pytest.mark.parametrize("reading", READ)
def test_the_definition_has_the_area_that_an_integral_gives(reading):
    """The reference itself: mean area of the (S_e, r_e) that fit, by the midpoints of a grid of 1,000 x 1,000."""
    middle = (np.arange(1000) + 0.5) / 1000
    low, high = ASPECT[reading]
    area = AREA[reading][0] + (AREA[reading][1] - AREA[reading][0]) * middle[:, None]
    aspect = (
        np.exp(math.log(low) + math.log(high / low) * middle) if reading == "fast-reid" else low + (high - low) * middle
    )
    # Rounded to less than the side: the exact length is below the side by half a pixel.
    fits = (np.sqrt(area * aspect * HEIGHT * WIDTH) < HEIGHT - 0.5) & (
        np.sqrt(area / aspect * HEIGHT * WIDTH) < WIDTH - 0.5
    )
    mean = (area * fits).sum() / fits.sum()
    boxes = boxes_by_hand(reading, np.random.default_rng(5), 200_000)
    assert measures(boxes)["area"].mean() == pytest.approx(mean, abs=0.001)


def batches(recipe, epochs, resident):
    """The images of some epochs as training gets them, before they were erased and after: float64 pixels [B, 3, H, W].

    What is drawn for an image does not depend on whether it is erased.
    """
    rng = np.random.default_rng(0)
    height, width = recipe.images.height, recipe.images.width
    # Darker and lighter images, none of which has a pixel of the fills.
    pixels = rng.integers(0, 90, (64, height, width, 3), dtype=np.uint8) + rng.integers(0, 10, (64, 1, 1, 3), np.uint8)
    labels = np.arange(64) // 4
    source = MappedImages(pixels, [Sample(Path("none"), int(pid), 0) for pid in labels], np.arange(64))
    seen = []
    for each in (override(recipe, ["erasing.probability=0"]), recipe):
        loader = build_batches(source, labels, each, 0, torch.device("cpu"))
        loader.resident = resident
        images = [images.double().numpy().copy() for t in range(1, epochs + 1) for images, _ in loader.epoch(t)]
        seen.append(np.concatenate(images) * STD[:, None, None] + MEAN[:, None, None])
    return 255 * seen[0], 255 * seen[1]


SMALL = ["images.height=64", "images.width=32", "images.pad=4"]
CODE_PIXEL, MEAN_PIXEL = 255 * (MEAN * STD + MEAN), 255 * MEAN
FILL = {"default": CODE_PIXEL, "official-code": CODE_PIXEL, "fast-reid": MEAN_PIXEL, "paper-text": None}


def erased_rectangles(before, after):
    """For each image that was erased: its number, and what lies inside now [3, h, w]; outside nothing changed."""
    changed = (before != after).any(axis=1)
    for b in np.flatnonzero(changed.any(axis=(1, 2))):
        rows, columns = np.flatnonzero(changed[b].any(1)), np.flatnonzero(changed[b].any(0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert changed[b][box].mean() > 0.98, "a whole rectangle, apart from pixels that chance has left as they were"
        yield b, after[b][:, box[0], box[1]]


@pytest.mark.parametrize("resident", [False, True], ids=["host", "resident"])
@pytest.mark.parametrize("reading", READ)
def test_what_training_fills_with(reading, resident):
    before, after = batches(override(READ[reading], SMALL), 12, resident)
    erased = 0
    for b, inside in erased_rectangles(before, after):
        pixel = before[b].mean(axis=(1, 2)) if FILL[reading] is None else FILL[reading]
        np.testing.assert_allclose(inside, np.broadcast_to(pixel[:, None, None], inside.shape), atol=2e-3)
        assert 0.01 < inside[0].size / (64 * 32) < 0.42
        erased += 1
    assert erased / len(before) == pytest.approx(0.5, abs=0.08)  # 4.4 deviations of 768


def test_the_pixels_by_hand():
    """255 (0.485 * 0.229 + 0.485) = 152, and 255 * 0.485 = 124."""
    assert CODE_PIXEL.round().tolist() == [152, 142, 127]
    assert MEAN_PIXEL.round().tolist() == [124, 116, 104]


@pytest.mark.parametrize("resident", [False, True], ids=["host", "resident"])
def test_random_values(resident):
    """Each erased number for itself, N(0, 1) where pixels are normalised: ImageNet's mean and deviation as pixels."""
    before, after = batches(override(STRONG, [*SMALL, "erasing.fill=random"]), 12, resident)
    inside = [values.reshape(3, -1) for _, values in erased_rectangles(before, after)]
    noise = (np.concatenate(inside, axis=1) / 255 - MEAN[:, None]) / STD[:, None]
    assert np.abs(noise.mean(axis=1)).max() < 4 / math.sqrt(noise.shape[1])
    assert np.abs(noise.std(axis=1) - 1).max() < 4 / math.sqrt(2 * noise.shape[1])
    assert (np.abs(noise) < 1).mean() == pytest.approx(0.6827, abs=0.005)
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.02
    assert len({float(values[0, 0]) for values in inside}) == len(inside), "no two images share their noise"
