"""Heads that draw, or that have something aside, in micro-batches: features and gradients of parts made apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from reidkit.distributed import ALONE
from reidkit.losses.objective import build_objective
from reidkit.model.chance import Place, placed, reseed
from reidkit.model.contracts import Features
from reidkit.model.network import build_network
from reidkit.recipe import override
from reidkit.train.parallel import MicroBatches
from tests.train.tiny import PEOPLE, RECIPE

if TYPE_CHECKING:
    from reidkit.losses.objective import Objective
    from reidkit.model.network import Network
    from reidkit.recipe import Recipe

IMAGES, PARTS = 8, 2
LABELS = torch.arange(IMAGES) // 2


def begin(recipe: Recipe) -> tuple[Network, Objective]:
    torch.manual_seed(0)
    network = build_network(recipe.network).double().train()
    spans, ranked, aside = network.spans, network.ranked, network.aside
    reseed(network, 0, 7)
    return network, build_objective(recipe, spans, PEOPLE, ranked=ranked, aside=aside).double()


def backward(features: Features, objective: Objective) -> None:
    terms = objective(features.f_t, features.f_i, LABELS, features.aside)
    torch.stack(list(terms.values())).sum().backward()


@pytest.mark.parametrize("head", ["bdb", "aligned", "scpnet", "pcb"])
def test_the_gradient_is_that_of_parts_made_apart(head: str) -> None:
    """The second pass of a part draws what the first one drew, and every image its own dropout."""
    settings = [f"network.head={head}", f"batch.micro_batches={PARTS}", "network.dropout=0.5"]
    recipe = override(RECIPE, [*settings, *([] if head == "scpnet" else ["network.embedding=8"])])
    images = torch.randn(IMAGES, 3, 64, 32, dtype=torch.float64)
    (network, objective), (twin, twins) = begin(recipe), begin(recipe)
    found = MicroBatches(network, recipe.batch, ALONE)(images)
    backward(found, objective)

    apart = []
    for number, part in enumerate(images.chunk(PARTS)):
        with placed(twin, Place(number * len(part), IMAGES, number)):
            apart.append(twin(part))
    wanted = Features(*(None if side[0] is None else torch.cat(side) for side in zip(*apart, strict=True)))  # type: ignore[arg-type]
    backward(wanted, twins)
    assert torch.equal(found.f_i, wanted.f_i)
    assert (found.f_i == 0).any(), "dropout"
    for (name, ours), theirs in zip(network.named_parameters(), twin.parameters(), strict=True):
        if ours.requires_grad:
            assert ours.grad is not None, name
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)
