from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import UsageError
from reidkit.losses.cluster_memory import ClusterMemory


def filled(centroids: list[list[float]], **numbers: Any) -> ClusterMemory:
    rows = torch.tensor(centroids)
    memory = ClusterMemory(rows.shape[1], **numbers)
    memory.fill(rows, torch.arange(len(rows)))
    return memory


def test_loss_by_hand() -> None:
    """f = (0.6, 0.8) against both axes, t = 1: -0.6 + log(e^0.6 + e^0.8)."""
    memory = filled([[1, 0], [0, 1]], temperature=1.0)
    found = memory(torch.tensor([[3.0, 4.0]]), torch.tensor([0]))
    assert found.item() == pytest.approx(-0.6 + math.log(math.exp(0.6) + math.exp(0.8)), abs=1e-6)
    assert found.item() == pytest.approx(0.798139, abs=1e-6)


def test_update_by_hand() -> None:
    """0.1 (1, 0) + 0.9 (0, 1) = (0.1, 0.9), of length sqrt(0.82)."""
    memory = filled([[1, 0], [0, 1]], momentum=0.1)
    memory(torch.tensor([[0.0, 5.0]]), torch.tensor([0]))
    memory.step()
    np.testing.assert_allclose(memory.centroids, [[0.110432, 0.993884], [0.0, 1.0]], atol=1e-6)
    memory.step()  # once for each forward
    np.testing.assert_allclose(memory.centroids[0], [0.110432, 0.993884], atol=1e-6)


def test_centroids_are_mean_directions_without_outliers() -> None:
    memory = ClusterMemory(2)
    memory.fill(torch.tensor([[2.0, 0], [0, 9.0], [-5.0, 1.0], [0, 3.0]]), torch.tensor([1, 1, -1, 0]))
    np.testing.assert_allclose(memory.centroids, [[0, 1], [0.5**0.5, 0.5**0.5]], atol=1e-6)
    assert memory.clusters.tolist() == [1, 1, -1, 0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(0, 1), st.floats(0.05, 2))
@settings(max_examples=50, deadline=None)
def test_definition(seed: int, count: int, momentum: float, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    centroids, features = rng.normal(size=(4, 3)), rng.normal(size=(count, 3))
    labels = rng.integers(4, size=count)
    memory = filled(centroids.astype(np.float32).tolist(), momentum=momentum, temperature=temperature)
    found = memory(torch.tensor(features, dtype=torch.float32), torch.tensor(labels))
    rows = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    losses = []
    for f, y in zip(units, labels, strict=True):
        powers = [math.exp(f @ m / temperature) for m in rows]
        losses.append(-math.log(powers[y] / sum(powers)))
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-4, abs=1e-5)
    memory.step()
    for f, y in zip(units, labels, strict=True):  # image by image, in the order of the batch
        moved = momentum * rows[y] + (1 - momentum) * f
        length = np.linalg.norm(moved)
        if length < 1e-3:
            return  # rounding decides the direction
        rows[y] = moved / length
    np.testing.assert_allclose(memory.centroids, rows, atol=2e-4)


def test_told_how_many_images_of_a_cluster_there_are_it_moves_alike() -> None:
    """Bit for bit, in whatever order the images stand."""
    torch.manual_seed(0)
    centroids, features = torch.randn(9, 16).tolist(), torch.randn(20, 16)
    labels = torch.tensor([3, 0, 8, 5, 7]).repeat(4)[torch.randperm(20)]
    told, asked = filled(centroids, images=4), filled(centroids)
    for memory in (told, asked):
        memory(features, labels)
        memory.step()
    assert torch.equal(told.centroids, asked.centroids)


def test_gradient() -> None:
    memory = ClusterMemory(3, temperature=0.5).double()
    memory.centroids = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64), dim=1)
    features = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: memory(x, torch.tensor([0, 1, 1, 3, 2])), features)


def test_a_saved_memory_of_another_size_comes_back() -> None:
    saved, other = filled([[1, 0], [0, 1], [1, 1]]), filled([[1, 0]])
    other.load_state_dict(saved.state_dict())
    assert torch.equal(other.centroids, saved.centroids)
    assert other.clusters.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "change", [{"centroids": torch.zeros(2, 5)}, {"clusters": torch.tensor([7])}, {"clusters": torch.tensor([0.5])}]
)
def test_refuses_a_state_that_is_none(change: dict[str, Any]) -> None:
    memory = filled([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"memory|centroid"):
        memory.load_state_dict({**memory.state_dict(), **change})


@pytest.mark.parametrize("numbers", [{"temperature": 0.0}, {"momentum": 1.5}, {"momentum": -0.1}])
def test_refuses_numbers(numbers: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ClusterMemory(2, **numbers)
