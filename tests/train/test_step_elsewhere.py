"""A step of every recipe on a device that is not the CPU, as far as a machine with nothing else can try it.

Torch's `meta` device computes nothing. It refuses most calls with tensors of two devices, and has no number to give: a
step that would wait for a GPU fails on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from reidkit.losses.cluster_memory import ClusterMemory
from reidkit.losses.distillation import logit_distillation, similarity_distillation
from reidkit.losses.objective import build_objective
from reidkit.losses.triplet import batch_hard_triplet
from reidkit.model.network import build_network
from reidkit.recipes import by_name

if TYPE_CHECKING:
    from torch import Tensor

    from reidkit.recipe import Recipe

ELSEWHERE = torch.device("meta")

SMALL = [name for name in by_name() if name.startswith("small-") and not name.startswith("small-wide-")]


def step(recipe: Recipe) -> Tensor:
    """The loss of a batch after its way forth and back, of a network that was built on the CPU and moved."""
    network = build_network(recipe.network).train().to(ELSEWHERE)
    sides: Any = {"ranked": network.ranked, "aside": network.aside}
    objective = build_objective(recipe, network.spans, 20, **sides).to(ELSEWHERE)
    count = recipe.batch.ids * recipe.batch.images
    size = recipe.images.height, recipe.images.width
    images = torch.empty(count, 3 + network.mask_channels, *size, device=ELSEWHERE)
    numbers = torch.zeros(count, dtype=torch.int64, device=ELSEWHERE)
    features = network(images, numbers) if network.takes_cameras else network(images)
    terms = objective(features.f_t, features.f_i, numbers, features.aside)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    assert any(parameter.grad is not None for parameter in network.parameters())
    return loss


@pytest.mark.parametrize("name", SMALL)
def test_a_step_stays_on_its_device_and_waits_for_nothing(name: str) -> None:
    assert step(by_name()[name]).device == ELSEWHERE


def test_distillation_waits_for_nothing() -> None:
    student_bd = torch.empty(8, 16, device=ELSEWHERE, requires_grad=True)
    teacher_be = torch.empty(8, 12, device=ELSEWHERE)
    loss = similarity_distillation(student_bd, teacher_be) + logit_distillation(student_bd, student_bd.detach())
    loss.backward()
    assert student_bd.grad is not None


def test_cluster_contrast_waits_for_nothing() -> None:
    """Once the memory is filled, which is done before an epoch."""
    memory = ClusterMemory(16, images=4)
    memory.fill(torch.randn(40, 16), torch.arange(10).repeat(4))
    memory.to(ELSEWHERE)
    memory(torch.empty(8, 16, device=ELSEWHERE), torch.zeros(8, dtype=torch.int64, device=ELSEWHERE))
    memory.step()
    assert memory.centroids.shape == (10, 16)


def test_what_this_can_find() -> None:
    feat_bd = torch.empty(4, 8, device=ELSEWHERE)
    with pytest.raises(RuntimeError, match="device"):
        batch_hard_triplet(feat_bd, torch.zeros(4, dtype=torch.int64)).item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        feat_bd[feat_bd.sum(dim=1) > 0]
    with pytest.raises(RuntimeError):
        bool(feat_bd.any())
