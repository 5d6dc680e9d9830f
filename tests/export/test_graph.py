"""What stands before and behind the network in an exported graph, in torch alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import torch
from torch import nn

from reidkit.data.decode import resize
from reidkit.encoder import InputSpec
from reidkit.export.graph import Affine, ExportedNetwork, UnitLength
from reidkit.export.presets import FRONTS, Front, spec_of
from reidkit.model.contracts import Features
from reidkit.model.network import Network, build_network
from reidkit.recipe import override
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from torch import Tensor

SPEC = InputSpec(height=32, width=32)


@pytest.fixture(scope="module")
def network() -> Network:
    """With norms and a neck that have moved."""
    torch.manual_seed(0)
    made = build_network(RECIPE.network)
    made.train()
    with torch.no_grad():
        made(torch.randn(16, 3, 32, 32) + 1)
    return made.eval()


def test_a_batch_norm_by_hand() -> None:
    """Mean 2, variance 4 - eps, gamma 3, beta 1: (4 - 2) / 2 * 3 + 1 = 4."""
    norm = nn.BatchNorm1d(1).eval()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean[:], norm.running_var[:] = 2, 4 - norm.eps
    norm.weight.data[:], norm.bias.data[:] = 3, 1
    torch.testing.assert_close(Affine(norm)(torch.tensor([[4.0]])), torch.tensor([[4.0]]))
    assert Affine(nn.BatchNorm1d(2, affine=False))(torch.ones(1, 2)).shape == (1, 2)


def test_a_length_by_hand() -> None:
    found = UnitLength(10)(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[6.0, 8.0], [0.0, 0.0]]))


def pixels_for(front: Front, pixels: Tensor) -> Tensor:
    """RGB bytes [B, 3, H, W] as another program would hand them in."""
    images = pixels.flip(1) if front.bgr else pixels
    images = images.permute(0, 2, 3, 1) if front.channels_last else images
    if front.values == "uint8":
        return images
    spec = InputSpec(height=32, width=32)
    if front.values == "normalised":
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        if front.bgr:
            mean, std = mean.flip(1), std.flip(1)
        return (images.float() / 255 - mean) / std
    return images.float() / (255 if front.values == "0-1" else 1)


@pytest.mark.parametrize(
    "front",
    [
        *(front for name, front in FRONTS.items() if name != "ultralytics"),
        Front(values="uint8", channels_last=True, resize=True, bgr=True),
        Front(values="0-1", bgr=True, resize=True),
        Front(values="normalised", bgr=True),
    ],
    ids=str,
)
def test_every_front_gives_the_feature_of_the_network(front: Front, network: Network) -> None:
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (SPEC.mean, SPEC.std))
    with torch.inference_mode():
        wanted = network((pixels.float() / 255 - mean) / std).f_i
        found = ExportedNetwork(network, SPEC, front)(pixels_for(front, pixels))
    if front.unit:
        wanted = nn.functional.normalize(wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


class Pixels(nn.Module):
    """Its images, flat, as features."""

    def forward(self, images: Tensor) -> Features:
        """Images [B, 3, H, W] to [B, 3 H W]."""
        return Features(images.flatten(1), images.flatten(1))


@pytest.mark.parametrize("by", ["bilinear", "bicubic"])
@pytest.mark.parametrize("front", [Front(values="uint8", channels_last=True), Front(values="0-1", bgr=True)], ids=str)
def test_resizing_in_the_graph_is_by_the_filter_that_the_network_was_trained_with(
    front: Front, by: Literal["bilinear", "bicubic"]
) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(60, 196, (1, 3, 61, 23)).astype(np.uint8))
    spec = InputSpec(height=16, width=12, resize=by)
    wanted = np.empty((16, 12, 3), np.uint8)
    resize(pixels[0].permute(1, 2, 0).numpy(), wanted, by)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    found = ExportedNetwork(Pixels(), spec, replace(front, resize=True))(pixels_for(front, pixels)).view(3, 16, 12)
    apart = (found * std + mean) * 255 - torch.from_numpy(wanted).permute(2, 0, 1)
    assert float(apart.abs().max()) < 1.5  # bytes are rounded twice, after the columns and after the rows


def test_resizing_in_the_graph_does_not_leave_the_range_of_bytes() -> None:
    """Keys' cubic overshoots at the edge between black and white."""
    spec = InputSpec(height=16, width=8, mean=(0.2, 0.3, 0.4), resize="bicubic")
    image = torch.cat([torch.zeros(1, 16, 8, 3), torch.full((1, 16, 8, 3), 255.0)], dim=2).to(torch.uint8)
    found = ExportedNetwork(Pixels(), spec, Front(values="uint8", channels_last=True, resize=True))(image)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    found = found.view(3, 16, 8) * std + mean
    torch.testing.assert_close((found.min(), found.max()), (torch.tensor(0.0), torch.tensor(1.0)))


def test_a_square_is_squeezed() -> None:
    """A network that gives the first pixel of each row, halfway between columns 0 and 1 of 0, 1, 2, 3.

    Half a step off, Keys' cubic with a = -0.75 has the weights -3/32, 19/32, 19/32, -3/32; left of the border is 0.
    """

    class FirstColumn(nn.Module):
        def forward(self, images: Tensor) -> Features:
            return Features(images[:, 0, :, 0], images[:, 0, :, 0])

    front = Front(values="0-1", square=4)
    spec = InputSpec(height=4, width=2, mean=(0, 0, 0), std=(1, 1, 1))
    image = torch.arange(4.0).expand(1, 3, 4, 4)
    found = ExportedNetwork(FirstColumn(), spec, front)(image)
    torch.testing.assert_close(found, torch.full((1, 4), 19 / 32 - 2 * 3 / 32))


def test_squeezing_undoes_most_of_the_widening_to_a_square() -> None:
    torch.manual_seed(0)
    spec = InputSpec(height=16, width=8, mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.rand(4, 3, 16, 8)
    square = nn.functional.interpolate(images, (32, 32), mode="bilinear")
    found = ExportedNetwork(Pixels(), spec, Front(values="0-1", square=32))(square)
    bilinear = nn.functional.interpolate(square, (16, 8), mode="bilinear").flatten(1)
    wanted = images.flatten(1)
    assert float((found - wanted).abs().mean()) < 0.7 * float((bilinear - wanted).abs().mean())


def test_the_neck_of_one_length_is_plain_operations(network: Network) -> None:
    made = build_network(override(RECIPE, ["network.neck=l2"]).network).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        found = ExportedNetwork(made, SPEC, Front())(images)
        torch.testing.assert_close(found, made(images).f_i, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", FRONTS)
def test_the_spec_says_what_the_graph_takes(name: str) -> None:
    front = FRONTS[name]  # type: ignore[index]
    spec = spec_of(front, SPEC)
    assert (spec.colour == "bgr") is front.bgr
    assert (spec.height, spec.width) == ((front.square,) * 2 if front.square else (32, 32))
    assert (spec.scale == 1) is (front.values in {"0-255", "uint8"})
    assert (spec.mean == SPEC.mean) is (front.values == "normalised")


def test_the_spec_of_bgr_that_is_normalised_outside_has_mean_and_deviation_in_that_order() -> None:
    spec = spec_of(Front(bgr=True), InputSpec(height=4, width=2, mean=(1, 2, 3), std=(4, 5, 6)))
    assert (spec.colour, spec.mean, spec.std) == ("bgr", (3, 2, 1), (6, 5, 4))
