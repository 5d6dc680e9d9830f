"""AlignedReID's shortest path and SCPNet's stripes."""

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck

from reidkit.losses import aligned_triplet, batch_hard_triplet, shortest_path, stripe_error


def directions(*angles):
    return torch.tensor([[[math.cos(a), math.sin(a)] for a in angles]], dtype=torch.float64)


def test_rows_at_right_angles_by_hand():
    """Two orthonormal rows against themselves: 0, one cell of tanh(sqrt(2)/2), 0: not nothing."""
    rows = directions(0.0, math.pi / 2)
    assert shortest_path(rows, rows).item() == pytest.approx(0.608859, abs=1e-5)


def test_rows_of_any_length_by_hand():
    """Opposite rows stand at 2, the same ones at 0: (0, 2; 2, 0) has the path 0, 2, 0."""
    rows = torch.tensor([[[3.0, 0.0], [-0.5, 0.0]]], dtype=torch.float64)
    assert shortest_path(rows, rows).item() == pytest.approx(math.tanh(1), abs=1e-5)


def over_all_paths(first, second):
    """The cheapest of all monotone paths, as lists of steps."""
    unit = torch.nn.functional.normalize
    cost = torch.tanh(torch.cdist(unit(first, dim=1), unit(second, dim=1)) / 2)
    rows, columns = cost.shape
    best = math.inf
    for downs in itertools.combinations(range(rows + columns - 2), rows - 1):
        i = j = 0
        total = float(cost[0, 0])
        for step in range(rows + columns - 2):
            i, j = (i + 1, j) if step in downs else (i, j + 1)
            total += float(cost[i, j])
        best = min(best, total)
    return best


@pytest.mark.parametrize(("rows", "columns"), [*itertools.product(range(1, 5), range(1, 5))])
def test_the_path_is_the_shortest_of_all(rows, columns):
    torch.manual_seed(10 * rows + columns)
    first, second = torch.randn(3, rows, 4, dtype=torch.float64), torch.randn(3, columns, 4, dtype=torch.float64)
    found = shortest_path(first, second)
    assert found.tolist() == pytest.approx([over_all_paths(*pair) for pair in zip(first, second, strict=True)])
    assert torch.allclose(found, shortest_path(second.flip(1), first.flip(1))), "from the other end, and the other way"


def test_local_distances_are_of_the_pairs_that_the_global_feature_chose():
    """On a line a at 0, 1, 5 and b at 4, 6; the pair farthest and nearest there decide, whatever the rows are."""
    f_t = torch.tensor([[0.0], [1.0], [5.0], [4.0], [6.0]], dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 1, 1])
    torch.manual_seed(0)
    aside = torch.randn(5, 3 * 2, dtype=torch.float64)
    rows = aside.view(5, 3, 2)
    pairs = [(0, 2, 3), (1, 2, 3), (2, 0, 3), (3, 4, 2), (4, 3, 2)]  # anchor, positive, negative
    costs = []
    for a, p, n in pairs:
        l_p, l_n = (shortest_path(rows[a : a + 1], rows[i : i + 1]).item() for i in (p, n))
        costs.append(max(0.0, l_p - l_n + 0.3))
    assert aligned_triplet(f_t, aside, label, 3, 0.3).item() == pytest.approx(sum(costs) / 5)


def test_no_gradient_reaches_the_global_feature():
    f_t, aside = torch.randn(6, 4, requires_grad=True), torch.randn(6, 6, requires_grad=True)
    aligned_triplet(f_t, aside, torch.arange(6) // 2, 3).backward()
    assert f_t.grad is None
    assert torch.isfinite(aside.grad).all()
    assert aside.grad.abs().max() > 0


def test_gradients():
    torch.manual_seed(0)
    label, f_t = torch.tensor([0, 0, 1, 1]), torch.randn(4, 2, dtype=torch.float64)
    aside = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a: aligned_triplet(f_t, a, label, 3, 1.0), (aside,))
    both = tuple(torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert gradcheck(lambda a, b: stripe_error(a, b, 2), both)


def test_equal_rows_have_a_finite_gradient_and_one_id_costs_nothing():
    aside = torch.ones(4, 6, requires_grad=True)
    aligned_triplet(torch.ones(4, 2), aside, torch.tensor([0, 0, 1, 1]), 3).backward()
    assert torch.isfinite(aside.grad).all()
    assert aligned_triplet(torch.randn(3, 2), torch.randn(3, 6), torch.zeros(3, dtype=torch.long), 3).item() == 0.0
    assert batch_hard_triplet(torch.randn(3, 2), torch.zeros(3, dtype=torch.long)).item() == 0.0


def test_stripes_by_hand():
    """Groups (2, 5) and stripes (2, 6): errors 0 and 1, whose sum is 1."""
    assert stripe_error(torch.tensor([[2.0, 5.0]]), torch.tensor([[2.0, 6.0]]), 2).item() == 1.0
