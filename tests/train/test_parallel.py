"""A batch in parts, in one process and in two: the result is that of the whole batch.

Everything is in double precision. In single precision two runs that differ in rounding alone are 1e-3 apart after a few
steps, as Adam's first steps turn on the signs of gradients that are next to nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from reidkit.data.loaders import TrainBatches, build_batches
from reidkit.data.sources import MappedImages
from reidkit.distributed import ALONE, Group
from reidkit.errors import UsageError
from reidkit.losses.objective import Objective, build_objective
from reidkit.model.network import Network, build_network
from reidkit.recipe import Batch, override
from reidkit.train.optimizer import build_optimizer
from reidkit.train.parallel import (
    MicroBatches,
    micro_batches_here,
    norms,
    remembering,
    share_gradients,
    share_statistics,
    synchronise,
)
from reidkit.types import Sample
from tests.together import together
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from torch import Tensor

    from reidkit.recipe import Recipe
    from tests.commands import Nursery

STEPS, PEOPLE = 20, 8
CASES = (1, 2, 4)
"""Parts of a batch."""


def recipe_in(parts: int) -> Recipe:
    return override(RECIPE, [f"batch.micro_batches={parts}", "erasing.fill=random"])


def begin(recipe: Recipe) -> tuple[Network, Objective]:
    torch.manual_seed(0)
    network = build_network(recipe.network).double().train()
    return network, build_objective(recipe, network.spans, PEOPLE).double()


def batches(recipe: Recipe, group: Group) -> TrainBatches:
    pixels = np.random.default_rng(1).integers(0, 256, (PEOPLE * 16, 32, 32, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(PEOPLE), 16)
    samples = [Sample(Path("none"), int(pid), 0) for pid in labels]
    source = MappedImages(pixels, samples, np.arange(len(samples)))
    return build_batches(source, labels, recipe, 0, torch.device("cpu"), group)


def train(recipe: Recipe, group: Group) -> dict[str, Any]:
    """The losses of some steps as `fit` makes them, and the network after them."""
    network, objective = begin(recipe)
    optimizer = build_optimizer(network, objective, recipe.optim)
    forward, source = MicroBatches(network, recipe.batch, group), batches(recipe, group)
    losses: list[list[float]] = []
    for epoch in range(1, STEPS):
        for images, labels in source.epoch(epoch):
            features = forward(images.double())
            terms = objective(features.f_t, features.f_i, labels)
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            share_gradients(network, objective, group)
            optimizer.step()
            objective.step(recipe.optim.lr)
            losses.append([term.item() for term in terms.values()])
            if len(losses) == STEPS:
                share_statistics(group, network)
                state = {name: t for name, t in network.state_dict().items() if "num_batches" not in name}
                return {"losses": losses, "centers": objective.center.centers, **state}  # type: ignore[union-attr]
    raise AssertionError("too few batches")


def train_all(group: Group) -> dict[int, dict[str, Any]]:
    return {parts: train(recipe_in(parts), group) for parts in CASES}


@pytest.fixture(scope="module")
def in_two(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> list[dict[int, dict[str, Any]]]:
    return together(nursery, f"{__name__}:train_all", 2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def alone() -> dict[int, dict[str, Any]]:
    return train_all(ALONE)


@pytest.mark.parametrize("parts", CASES)
def test_two_processes_give_what_one_gives(
    parts: int, alone: dict[int, dict[str, Any]], in_two: list[dict[int, dict[str, Any]]]
) -> None:
    """1e-5 is asked for; the losses go up and down by far more meanwhile, so that equal ones say something."""
    one = alone[parts]
    assert len(one["losses"]) == STEPS
    assert max(np.ptp(one["losses"], axis=0)) > 0.1
    for other in in_two:
        assert np.allclose(other[parts]["losses"], one["losses"], rtol=0, atol=1e-8)
        for name, value in one.items():
            if name != "losses":
                assert torch.allclose(other[parts][name], value, rtol=0, atol=1e-7), name


def test_both_processes_have_the_same_bits(in_two: list[dict[int, dict[str, Any]]]) -> None:
    first, second = in_two
    for parts in CASES:
        for name, value in first[parts].items():
            assert torch.equal(torch.as_tensor(second[parts][name]), torch.as_tensor(value)), name


def test_parts_make_a_difference_to_batch_norm_alone(alone: dict[int, dict[str, Any]]) -> None:
    assert abs(alone[1]["losses"][0][0] - alone[2]["losses"][0][0]) > 1e-6


def images_of(recipe: Recipe) -> tuple[Tensor, Tensor]:
    images, labels = next(iter(batches(recipe, ALONE).epoch(1)))
    return images.double(), labels


def gradients(network: Network, objective: Objective) -> list[Tensor]:
    return [p.grad for module in (network, objective) for p in module.parameters() if p.grad is not None]


def backward(forward: Any, network: Network, objective: Objective, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
    features = forward(batch[0])
    torch.stack(list(objective(features.f_t, features.f_i, batch[1]).values())).sum().backward()
    return gradients(network, objective)


@pytest.mark.parametrize("parts", [2, 4])
def test_the_gradient_is_that_of_the_whole_batch(parts: int) -> None:
    """With batch norms that only use what they remember, parts cannot be told from the whole."""
    recipe = recipe_in(parts)
    (network, objective), (twin, twins) = begin(recipe), begin(recipe)
    batch = images_of(recipe)
    found = backward(MicroBatches(network.eval(), recipe.batch, ALONE), network, objective, batch)
    wanted = backward(twin.eval(), twin, twins, batch)
    assert len(found) == len(wanted) > 20
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, wanted, strict=True))


def test_the_gradient_is_that_of_features_made_apart() -> None:
    """With batch norms that see a part: each part by itself, its graph kept, the loss of all of them."""
    recipe = recipe_in(2)
    (network, objective), (twin, twins) = begin(recipe), begin(recipe)
    batch = images_of(recipe)
    found = backward(MicroBatches(network, recipe.batch, ALONE), network, objective, batch)
    features = [twin(part) for part in batch[0].chunk(2)]
    whole = [torch.cat(each) for each in zip(*(both[:2] for both in features), strict=True)]
    torch.stack(list(twins(*whole, batch[1]).values())).sum().backward()
    wanted = gradients(twin, twins)
    assert len(found) == len(wanted) > 20
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, wanted, strict=True))


class Twice(Group):
    """Two processes with the same images."""

    def gather(self, part: Tensor) -> Tensor:
        return torch.cat([part, part])


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_of_two_processes_is_that_of_all_images(affine: bool, momentum: float | None) -> None:
    """With weights and without; with a momentum, and as the mean of all batches."""
    plain = nn.BatchNorm2d(3, momentum=momentum, affine=affine).double()
    network = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum, affine=affine).double())
    synchronise(network, Twice(size=2))
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
        y = torch.randn(4, 3, 2, 2, dtype=torch.float64)
        (grad,) = torch.autograd.grad((network(x) * y).sum(), x)
        (whole,) = torch.autograd.grad((plain(torch.cat([x, x])) * torch.cat([y, y])).sum(), x)
        torch.testing.assert_close(2 * grad, whole)  # of its own images, and of both
    torch.testing.assert_close(network.state_dict(), {f"0.{name}": held for name, held in plain.state_dict().items()})


def test_what_batch_norm_remembers_by_hand() -> None:
    """Momentum 0.1 and parts with means 2 and 4, from 0: 0.9 * 0 + 0.1 * 3 = 0.3; in the second pass nothing."""
    norm = nn.BatchNorm1d(1)
    for i, value in enumerate((2.0, 4.0)):
        with remembering(norm, i, 2):
            norm(torch.full((3, 1), value))
    assert norm.running_mean is not None
    assert norm.running_mean.item() == pytest.approx(0.3)
    assert norm.momentum == 0.1


def test_a_second_pass_is_not_remembered_twice() -> None:
    recipe = recipe_in(2)
    (network, objective), (twin, _) = begin(recipe), begin(recipe)
    batch = images_of(recipe)
    backward(MicroBatches(network, recipe.batch, ALONE), network, objective, batch)
    with torch.no_grad():
        for i, part in enumerate(batch[0].chunk(2)):
            with remembering(twin, i, 2):
                twin(part)
    for ours, theirs in zip(norms(network), norms(twin), strict=True):
        assert torch.allclose(ours.running_mean, theirs.running_mean, rtol=1e-9)  # type: ignore[arg-type]
        assert torch.allclose(ours.running_var, theirs.running_var, rtol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize(("parts", "processes", "here"), [(1, 1, 1), (1, 4, 1), (4, 1, 4), (4, 2, 2), (2, 8, 1)])
def test_who_takes_which_parts(parts: int, processes: int, here: int) -> None:
    assert micro_batches_here(Batch(ids=16, images=4, micro_batches=parts), processes) == here


@pytest.mark.parametrize(("batch", "processes"), [(Batch(ids=18, micro_batches=3), 2), (Batch(ids=5, images=3), 2)])
def test_what_cannot_be_shared_evenly(batch: Batch, processes: int) -> None:
    with pytest.raises(UsageError, match="evenly"):
        micro_batches_here(batch, processes)
