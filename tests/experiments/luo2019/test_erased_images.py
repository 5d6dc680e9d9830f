"""Figure 4: what is drawn is what training's own erasing does to the pixels."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from reidkit.errors import DataError, UsageError
from reidkit.experiments.luo2019 import figures
from reidkit.recipe import Images
from reidkit.recipes.luo2019.ladder import ERASING

SMALL = replace(ERASING, images=Images(height=64, width=32, pad=2))


def noise(count=6):
    return np.random.default_rng(0).integers(0, 256, (count, 64, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(("fill", "pixel"), [("code", (152, 142, 127)), ("imagenet-mean", (124, 116, 104))])
def test_the_pixel_of_a_fill_by_hand(fill, pixel):
    """255 * (0.485 + 0.229 * 0.485) = 152 where the constant is written after normalising; 255 * 0.485 = 124 else."""
    images = noise()
    found = figures.erased(images, fill, 0, SMALL)
    changed = (found != images).any(axis=3)
    assert changed.any(axis=(1, 2)).all()
    assert {tuple(each) for each in found[changed].tolist()} == {pixel}


def test_the_mean_of_the_image_and_the_same_rectangles():
    images = noise()
    boxes = {}
    for fill in figures.fills():
        found = figures.erased(images, fill, 3, SMALL)
        boxes[fill] = (found != images).any(axis=3)
    found = figures.erased(images, "image-mean", 3, SMALL)
    for image, after, box in zip(images, found, boxes["code"], strict=True):
        expected = image.reshape(-1, 3).mean(axis=0)
        rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
        inside = after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        np.testing.assert_allclose(inside, np.broadcast_to(expected, inside.shape), atol=1)
        share = inside.shape[0] * inside.shape[1] / (64 * 32)
        assert 0.015 < share < 0.42
    assert (boxes["random"] & ~boxes["code"]).sum() == 0


def test_a_row_for_the_originals_and_one_for_each_fill():
    figure = figures.figure4(count=3, recipe=SMALL)
    pictures = [image.get_array() for image in figure.axes[0].get_images()]
    assert len(pictures) == 3 * (1 + len(figures.fills()))
    assert all(picture.shape == (64, 32, 3) for picture in pictures)
    np.testing.assert_array_equal(pictures[3:6], figures.erased(np.array(pictures[:3]), figures.fills()[0], 0, SMALL))


def test_own_images_and_what_is_wrong_with_them(tmp_path):
    for pid in (1, 2):
        (tmp_path / "train" / str(pid)).mkdir(parents=True)
        Image.new("RGB", (20, 40), (50 * pid, 0, 0)).save(tmp_path / "train" / str(pid) / "c1.png")
    assert len(figures.figure4(tmp_path, recipe=SMALL).axes[0].get_images()) == 2 * 5
    with pytest.raises((DataError, UsageError), match="nowhere"):
        figures.figure4(tmp_path / "nowhere")
