"""Augmentation: pixels by hand and by brute force; tests/parity has the statistics of erasing under each reading."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.data import transforms, transforms_on_device
from reidkit.data.sources import MappedImages
from reidkit.data.transforms import (
    CODE_FILL,
    Augmentation,
    AugmentParams,
    RandomErasing,
    copy,
    crop_flip,
    erase,
    normalise,
)
from reidkit.errors import UsageError
from reidkit.imagenet import MEAN, STD
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from reidkit.data.transforms import Fill

ALWAYS = Augmentation(erasing=RandomErasing(probability=1.0))


def source(pixels: NDArray[np.uint8]) -> MappedImages:
    """Images in memory, read-only as a mapped file is."""
    pixels = pixels.copy()
    pixels.flags.writeable = False
    return MappedImages(pixels, [Sample(Path("none"), 0, 0)] * len(pixels), np.arange(len(pixels)))


def some(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def params_of(flip: list[bool], top: list[int], left: list[int]) -> AugmentParams:
    boxes = np.zeros((len(flip), 4), dtype=np.int64)
    return AugmentParams(
        np.array(flip), np.array(top), np.array(left), boxes, noise=np.zeros(len(flip), dtype=np.int64)
    )


def test_flip_and_crop_by_hand() -> None:
    """Pad 1 around 2 x 3: the corner (0, 0) shows a black row above and a black column to the left."""
    image = np.array([[[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[11, 12, 13], [14, 15, 16], [17, 18, 19]]], dtype=np.uint8)
    out = np.full((3, 2, 3, 3), 99, dtype=np.uint8)
    which = np.zeros(3, dtype=np.int64)
    crop_flip(source(image[None]), which, params_of([False, True, True], [1, 1, 0], [1, 1, 0]), 1, out)
    assert np.array_equal(out[0], image)
    assert out[1].tolist() == [[[7, 8, 9], [4, 5, 6], [1, 2, 3]], [[17, 18, 19], [14, 15, 16], [11, 12, 13]]]
    assert out[2].tolist() == [[[0, 0, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [7, 8, 9], [4, 5, 6]]]


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    pad=st.integers(0, 12),
    seed=st.integers(0, 10**6),
)
def test_flip_and_crop_by_brute_force(shape: tuple[int, int], pad: int, seed: int) -> None:
    """Also where the padding is larger than the image, so that a crop may show nothing of it."""
    rng, (height, width) = np.random.default_rng(seed), shape
    images, indices = some(4, height, width, seed), rng.integers(0, 4, 6)
    params = Augmentation(pad=pad).sample(rng, 6, (height, width))
    out = np.full((6, height, width, 3), 99, dtype=np.uint8)
    crop_flip(source(images), indices, params, pad, out)
    for b, index in enumerate(indices):
        image = images[index][:, ::-1] if params.flip[b] else images[index]
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        top, left = params.top[b], params.left[b]
        assert np.array_equal(out[b], padded[top : top + height, left : left + width])


def test_copy() -> None:
    images = some(3, 5, 4)
    out = np.empty((2, 5, 4, 3), dtype=np.uint8)
    copy(source(images), np.array([2, 0]), out)
    assert np.array_equal(out, images[[2, 0]])


def test_normalise_by_hand() -> None:
    """(255/255 - 0.485) / 0.229 = 2.2489, (0 - 0.456) / 0.224 = -2.0357, (51/255 - 0.406) / 0.225 = -0.9156."""
    out = normalise(torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8))
    assert out.shape == (1, 3, 1, 1)
    assert out.flatten().tolist() == pytest.approx([2.248908, -2.035714, -0.915556], abs=1e-6)


def test_normalise_by_definition_and_the_same_on_every_device() -> None:
    pixels = torch.from_numpy(some(3, 16, 8))
    out = normalise(pixels)
    expected = (pixels.permute(0, 3, 1, 2).double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(
        3, 1, 1
    )
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(out.double(), expected, atol=2e-6, rtol=0)
    elsewhere = transforms.normalise_by_torch(pixels)
    assert elsewhere.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, elsewhere)


def test_a_normalised_batch_has_memory_of_its_own() -> None:
    pixels = torch.zeros((2, 4, 4, 3), dtype=torch.uint8)
    first = normalise(pixels)
    kept = first.clone()
    normalise(pixels.fill_(255))
    assert torch.equal(first, kept)


def batch(seed: int = 0, count: int = 5, height: int = 20, width: int = 12) -> torch.Tensor:
    return normalise(torch.from_numpy(some(count, height, width, seed)))


BOXES = np.array([[2, 3, 4, 5], [0, 0, 0, 0], [19, 11, 1, 1], [0, 0, 19, 11], [5, 0, 3, 12]])


def erase_boxes_inside(images: torch.Tensor, boxes: NDArray[np.int64], fill: Fill, noise: NDArray[np.int64]) -> None:
    """As the batches of a GPU are erased."""
    transforms_on_device.erase_inside(images, torch.from_numpy(boxes.T.copy()), fill, int(noise[0]))


@pytest.mark.parametrize("way", [erase, erase_boxes_inside])
@pytest.mark.parametrize("fill", ["code", "imagenet-mean", "image-mean", "random"])
def test_erased_inside_and_only_there(way: Callable[..., None], fill: Fill) -> None:
    images = batch()
    before = images.clone()
    way(images, BOXES, fill, np.arange(5))
    means = (before.double().mean((2, 3))).float()
    for b, (top, left, height, width) in enumerate(BOXES.tolist()):
        inside = torch.zeros(20, 12, dtype=torch.bool)
        inside[top : top + height, left : left + width] = True
        assert torch.equal(images[b][:, ~inside], before[b][:, ~inside])
        rectangle = images[b][:, inside]
        if fill == "random":
            assert not (rectangle == before[b][:, inside]).any()
        else:
            pixel = {"code": torch.tensor(CODE_FILL), "imagenet-mean": torch.zeros(3), "image-mean": means[b]}[fill]
            assert torch.allclose(rectangle, pixel[:, None].expand_as(rectangle), atol=1e-5, rtol=0)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("way", [erase, erase_boxes_inside])
def test_noise_is_normal_and_seeded(way: Callable[..., None]) -> None:
    boxes = np.tile([[0, 0, 60, 40]], (4, 1))
    runs = []
    for seed in (7, 7, 2**63 - 9):
        images = torch.zeros(4, 3, 61, 41).contiguous(memory_format=torch.channels_last)
        way(images, boxes, "random", seed + np.arange(4))
        runs.append(images)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    noise = runs[0][:, :, :60, :40]
    assert float(noise.mean()) == pytest.approx(0, abs=4 / math.sqrt(noise.numel()))
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    assert float((noise.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.01)
    assert len(noise.unique()) > 0.9 * noise.numel(), "images and channels do not share their noise"


def test_draws_of_flip_and_crop() -> None:
    """10,000 samples: each of the 21 places of a crop equally likely both ways, apart from each other."""
    params = Augmentation(pad=10, flip=0.3).sample(np.random.default_rng(0), 10_000, (256, 128))
    assert params.flip.mean() == pytest.approx(0.3, abs=0.02)
    for place in (params.top, params.left):
        counts = np.bincount(place, minlength=21)
        assert len(counts) == 21
        assert ((counts - 10_000 / 21) ** 2 / (10_000 / 21)).sum() < 45.3  # chi-square, 20 degrees, 0.1 %
    assert abs(np.corrcoef(params.top, params.left)[0, 1]) < 0.04
    assert not params.boxes.any()


def test_what_never_fits() -> None:
    tall = Augmentation(erasing=RandomErasing(probability=1.0, area=(0.9, 0.9), aspect=(50, 50)))
    assert not tall.sample(np.random.default_rng(5), 100, (256, 128)).boxes.any()
    dust = Augmentation(erasing=RandomErasing(probability=1.0, area=(1e-9, 1e-9)))
    assert not dust.sample(np.random.default_rng(6), 100, (32, 32)).boxes[:, 2:].prod(1).any()


def test_a_function_of_the_generator() -> None:
    first, again, other = (ALWAYS.sample(np.random.default_rng(seed), 16, (256, 128)) for seed in (1, 1, 2))
    assert np.array_equal(first.boxes, again.boxes)
    assert np.array_equal(first.noise, again.noise)
    assert not np.array_equal(first.boxes, other.boxes)


def test_a_slice_is_erased_as_in_the_whole_batch() -> None:
    """Each image has a seed of its own, so that noise does not hang on what else is in the batch."""
    params = ALWAYS.sample(np.random.default_rng(1), 5, (20, 12))
    whole, some = batch(), batch()[2:4]
    erase(whole, params.boxes, "random", params.noise)
    some_params = params.of(slice(2, 4))
    erase(some, some_params.boxes, "random", some_params.noise)
    assert torch.equal(whole[2:4], some)


def test_pieces_stand_alone() -> None:
    """What a researcher calls is what training does: flip, crop, normalise, erase, with the same parameters."""
    pixels, how = some(4, 20, 12), Augmentation(pad=2, erasing=RandomErasing(probability=1, fill="imagenet-mean"))
    ours = how(pixels, np.random.default_rng(3))
    params, out = how.sample(np.random.default_rng(3), 4, (20, 12)), np.empty_like(pixels)
    crop_flip(source(pixels), np.arange(4), params, 2, out)
    expected = normalise(torch.from_numpy(out))
    erase(expected, params.boxes, "imagenet-mean", params.noise)
    assert torch.equal(ours, expected)
    assert (ours == 0).all(1).any((1, 2)).all(), "each image has a rectangle of the mean pixel, which is 0"

    images = batch()
    before = images.clone()
    assert RandomErasing(probability=0)(images, np.random.default_rng(0)) is images
    assert torch.equal(images, before)
    assert not torch.equal(RandomErasing(probability=1)(images, np.random.default_rng(0)), before)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"probability": 1.5}, "probability of 1.5 is none: give one from 0 to 1"),
        ({"probability": "0.5"}, "probability must be a number, not the text .0.5."),
        ({"area": (0.4, float("inf"))}, "the area of an erased rectangle cannot be .0.4, inf."),
        ({"area": (2, 40)}, "the area of an erased rectangle cannot be .2, 40.: give both, rising between 0 and 1"),
        ({"area": 0.2}, "the area of an erased rectangle cannot be 0.2"),
        ({"area": (0.4, 0.02)}, "the area of an erased rectangle cannot be .0.4, 0.02.: give both, rising"),
        ({"aspect": (0, 2)}, "the aspect of an erased rectangle cannot be .0, 2.: give both, rising"),
        ({"fill": "mean"}, "fill must be code, imagenet-mean, image-mean or random, not mean"),
        ({"aspect_draw": "normal"}, "aspect_draw must be uniform or log, not normal"),
    ],
)
def test_what_makes_no_rectangle(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        RandomErasing(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"flip": 2}, {"policies": -1}, {"pad": -1}, {"pad": 2.5}, {"erasing": 0.5}, {"exchange_by": "hue"}]
)
def test_what_makes_no_augmentation(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as told:
        Augmentation(**wrong)
    assert told.value.argument == next(iter(wrong))


def test_images_of_another_kind() -> None:
    """Pixels from 0 to 1 became nearly black images, and bytes were erased by values that they round to 0."""
    rng, pixels = np.random.default_rng(0), some(4, 20, 12)
    for wrong in (pixels / 255, pixels[0], pixels[..., :1], torch.from_numpy(pixels), list(pixels)):
        with pytest.raises(UsageError, match=r"an array uint8 \[B, H, W, 3\]"):
            Augmentation()(wrong, rng)  # type: ignore[arg-type]
    erasing, images = RandomErasing(probability=1), batch()
    for other in (images.byte(), images.numpy(), [*images]):
        with pytest.raises(UsageError, match=r"a tensor float32 \[B, 3, H, W\]"):
            erasing(other, rng)  # type: ignore[arg-type]
    for shape in (images[0], images[:, :1]):
        with pytest.raises(UsageError, match=r"pass \[B, 3, H, W\]"):
            erasing(shape, rng)
    for seed in (0, None, torch.Generator()):
        with pytest.raises(UsageError, match=r"pass np\.random\.default_rng\(seed\)"):
            erasing(images, seed)  # type: ignore[arg-type]
