"""The device's path beside the host's: the same parameters, the same batches, bit for bit. Here both run on a CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.data import loaders, transforms, transforms_on_device
from reidkit.data.loaders import build_batches, copy_to_device, fits_on
from reidkit.data.sources import ImagesOnDemand, MappedImages
from reidkit.data.transforms_on_device import DeviceParams
from reidkit.recipe import Batch, Erasing, Recipe
from reidkit.types import Sample
from tests.data.test_loaders import CPU, RECIPE, images

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from reidkit.data.transforms import Fill


def numbers(flip: int, top: int, left: int, pad: int) -> DeviceParams:
    params = transforms.AugmentParams(
        np.array([flip == 1]), np.array([top]), np.array([left]), np.zeros((1, 4), np.int64), np.zeros(1, np.int64)
    )
    out = np.zeros((transforms_on_device.PARAM_ROWS, 1), dtype=np.int64)
    transforms_on_device.write_params(np.array([0]), np.array([5]), params, pad, out)
    return DeviceParams.of(torch.from_numpy(out), 1)


def test_flip_and_crop_by_hand() -> None:
    """Pad 1 around 2 x 3: the corner (0, 0) shows a black row above and a black column to the left."""
    image = torch.tensor([[[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[11, 12, 13], [14, 15, 16], [17, 18, 19]]]).byte()[None]
    assert torch.equal(transforms_on_device.crop_flip_on_device(image, numbers(0, 1, 1, 1)), image)
    assert transforms_on_device.crop_flip_on_device(image, numbers(1, 0, 0, 1)).tolist() == [
        [[[0, 0, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [7, 8, 9], [4, 5, 6]]]
    ]
    assert numbers(1, 0, 0, 1).label.tolist() == [5]


@settings(max_examples=100, deadline=None)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), pad=st.integers(0, 12), seed=st.integers(0, 10**6))
def test_flip_and_crop_as_on_the_host(shape: tuple[int, int], pad: int, seed: int) -> None:
    """Also where the padding is larger than the image, so that a crop may show nothing of it."""
    rng, (height, width) = np.random.default_rng(seed), shape
    source, index = images(4, height, width), rng.integers(0, 4, 6)
    params = transforms.Augmentation(pad=pad).sample(rng, 6, (height, width))
    expected = np.full((6, height, width, 3), 99, dtype=np.uint8)
    transforms.crop_flip(source, index, params, pad, expected)
    packed = np.zeros((transforms_on_device.PARAM_ROWS, 6), dtype=np.int64)
    transforms_on_device.write_params(index, index, params, pad, packed)
    found = transforms_on_device.crop_flip_on_device(
        copy_to_device(CPU, source), DeviceParams.of(torch.from_numpy(packed), 6)
    )
    assert np.array_equal(found.numpy(), expected)


def both(source: MappedImages, recipe: Recipe) -> list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """An epoch from the host and the same one from the device."""
    labels = np.arange(len(source)) % 8 + 50
    host, device = (build_batches(source, labels, recipe, 4, CPU) for _ in range(2))
    assert not host.resident
    device.resident = True
    pairs = list(zip(host.epoch(2), device.epoch(2), strict=True))
    assert len(pairs) == host.count(2) > 2
    return pairs


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("fill", ["code", "imagenet-mean"])
def test_the_same_batches_bit_for_bit(fill: Fill, probability: float) -> None:
    recipe = replace(RECIPE, erasing=Erasing(probability=probability, fill=fill))
    for (x, y), (x_device, y_device) in both(images(), recipe):
        assert torch.equal(x, x_device)
        assert torch.equal(y, y_device)
        assert x_device.dtype == torch.float32
        assert x_device.is_contiguous(memory_format=torch.channels_last)


def test_the_mean_pixel_is_summed_in_another_order() -> None:
    recipe = replace(RECIPE, erasing=Erasing(probability=1.0, fill="image-mean"))
    for (x, _), (x_device, _) in both(images(), recipe):
        assert torch.allclose(x, x_device, atol=1e-6, rtol=0)


def test_noise_is_in_the_same_places() -> None:
    """Its numbers are another generator's."""
    plain = [x for (x, _), _ in both(images(), replace(RECIPE, erasing=Erasing()))]
    recipe = replace(RECIPE, erasing=Erasing(probability=1.0, fill="random"))
    erased = 0
    for before, ((x, _), (x_device, _)) in zip(plain, both(images(), recipe), strict=True):
        # The parameters of a batch begin with flips and crops, which do not hang on the probability of erasing.
        changed = x != before
        assert torch.equal(changed, x_device != before)
        assert not (x == x_device)[changed].any()
        erased += int(changed.sum())
    assert erased > 1000


def test_a_resumed_epoch_is_the_unbroken_one() -> None:
    recipe = replace(RECIPE, batch=Batch(ids=2, images=2))
    batches = build_batches(images(), np.arange(40) % 8, recipe, 1, CPU)
    batches.resident = True
    whole, rest = list(batches.epoch(3)), list(batches.epoch(3, start=4))
    assert len(rest) == len(whole) - 4 > 0
    assert all(torch.equal(x, again) for (x, _), (again, _) in zip(whole[4:], rest, strict=True))


def test_images_are_copied_by_their_indices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces that do not divide the number; broken ones are left out; decoded ones are the same as mapped ones."""
    monkeypatch.setattr(loaders, "_COPIED_AT_ONCE", 3)
    whole, kept = images(11), np.array([0, 2, 3, 5, 6, 7, 10])
    source = MappedImages(whole._pixels, whole.samples, kept)
    assert np.array_equal(copy_to_device(CPU, source).numpy(), whole._pixels[kept])
    from PIL import Image

    for i, pixels in enumerate(whole._pixels):
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
    samples = [Sample(tmp_path / f"{i:02}.png", i, 0) for i in range(11)]
    assert np.array_equal(copy_to_device(CPU, ImagesOnDemand(samples, kept, (24, 16))).numpy(), whole._pixels[kept])


def test_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 images of 24 x 16 are 46,080 bytes, a quarter of 184,320."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (184_320, 10**9))
    gpu = torch.device("cuda")
    assert not fits_on(gpu, images(40))
    assert fits_on(gpu, images(39))
    assert not fits_on(CPU, images(1))
