"""What a network draws is a function of (seed, step): the same in parts, in processes, and in a run gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from reidkit.distributed import ALONE, Group
from reidkit.model.blocks import MixStyle
from reidkit.model.chance import Chance, DropPath, Place, chances, placed, reseed
from reidkit.model.contracts import Features
from reidkit.recipe import Batch
from reidkit.train.parallel import MicroBatches
from tests.together import together

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


class DropRow(Chance):
    """One row of the whole batch, drawn once for it, is zeroed."""

    def forward(self, map_bchw: Tensor) -> Tensor:
        row = int(torch.randint(map_bchw.shape[2], (), generator=self.generator()))
        kept = torch.arange(map_bchw.shape[2]) != row
        return map_bchw * kept[:, None]


class Drawing(nn.Module):
    """Two modules that draw, around a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.conv, self.path = DropRow(), nn.Conv2d(3, 5, 3), DropPath(0.5)

    def forward(self, images: Tensor) -> Features:
        f = self.path(self.conv(self.rows(images)).mean((2, 3)))
        return Features(f, f)


def drawing() -> Drawing:
    torch.manual_seed(0)
    return Drawing().double().train()


def step(group: Group, parts: int = 1) -> dict[str, Any]:
    """Features and gradient of a batch of 8 images at step 3, in so many parts."""
    network = drawing()
    forward = MicroBatches(network, Batch(ids=4, images=2, micro_batches=parts), group)  # type: ignore[arg-type]
    reseed(network, 7, 3)
    images = torch.arange(8 * 3 * 6 * 4, dtype=torch.float64).view(8, 3, 6, 4).sin()
    features = forward(images[group.slice_of(8)])
    features.f_t.square().sum().backward()
    grad = network.conv.weight.grad
    assert grad is not None
    group.add_in_place([grad])
    return {"f_t": features.f_t.detach(), "grad": grad}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return step(ALONE)


def test_some_images_lose_the_branch_and_others_do_not(alone: dict[str, Any]) -> None:
    lost = (alone["f_t"] == 0).all(1).sum().item()
    assert 0 < lost < 8


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_draw_what_the_whole_draws(parts: int, alone: dict[str, Any]) -> None:
    """In both passes: otherwise the gradient would be that of other draws."""
    found = step(ALONE, parts)
    for name, value in alone.items():
        torch.testing.assert_close(found[name], value)


def in_two_and_four(group: Group) -> dict[str, Any]:
    return {str(parts): step(group, parts) for parts in (1, 4)} | {"styled": styled(group)}


class Styled(nn.Module):
    """A convolution whose styles are mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix = nn.Conv2d(3, 5, 3), MixStyle(1.0)

    def forward(self, images: Tensor) -> Features:
        f = self.mix(self.conv(images)).square().mean((2, 3))
        return Features(f, f)


def styled(group: Group) -> list[Tensor]:
    """Features of a batch of 8 images in one part, and in 4."""
    found = []
    for parts in (1, 4):
        torch.manual_seed(0)
        network = Styled().double().train()
        forward = MicroBatches(network, Batch(ids=4, images=2, micro_batches=parts), group)  # type: ignore[arg-type]
        reseed(network, 7, 3)
        images = torch.arange(8 * 3 * 6 * 4, dtype=torch.float64).view(8, 3, 6, 4).sin()
        found.append(forward(images[group.slice_of(8)]).f_t.detach())
    return found


def test_processes_draw_what_one_draws(nursery: Nursery, alone: dict[str, Any], tmp_path: Path) -> None:
    for found in together(nursery, f"{__name__}:in_two_and_four", 2, tmp_path):
        for parts in ("1", "4"):
            for name, value in alone.items():
                torch.testing.assert_close(found[parts][name], value)
        torch.testing.assert_close(found["styled"], styled(ALONE))
        assert not torch.allclose(*found["styled"]), "partners are those of the own part"


def test_the_draw_is_that_of_the_seed_and_the_step() -> None:
    path, x = DropPath(0.5).train(), torch.ones(64, 3)

    def at(seed: int, number: int) -> Tensor:
        reseed(path, seed, number)
        kept: Tensor = path(x)
        return kept

    assert torch.equal(at(0, 1), at(0, 1))
    assert not torch.equal(at(0, 1), at(0, 2))
    assert not torch.equal(at(0, 1), at(1, 1))


def test_two_modules_of_a_network_draw_differently() -> None:
    network = nn.Sequential(DropPath(0.5), nn.Identity(), DropPath(0.5)).train()
    reseed(network, 0, 0)
    first, second = chances(network)
    assert not torch.equal(first(torch.ones(64, 1)), second(torch.ones(64, 1)))


def test_without_a_loop_it_follows_torch() -> None:
    path, x = DropPath(0.5).train(), torch.ones(64, 1)
    torch.manual_seed(5)
    first = path(x)
    assert not torch.equal(path(x), first)
    torch.manual_seed(5)
    assert torch.equal(path(x), first)


def test_a_kept_branch_by_hand() -> None:
    """p = 0.75: what stays is four times as large; in evaluation, and with p = 0, nothing happens."""
    path, x = DropPath(0.75).train(), torch.full((256, 2), 3.0)
    assert set(path(x).unique().tolist()) == {0.0, 12.0}
    assert path.eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_what_is_drawn_for_a_part_alone_differs_from_part_to_part() -> None:
    module = DropPath(0.5)
    reseed(module, 0, 0)
    drawn = []
    for part in (0, 0, 1):
        with placed(module, Place(0, 8, part)):
            drawn.append(torch.rand(4, generator=module.generator_of_part()))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
