"""The triplet loss whose negatives become harder from epoch to epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.losses import CurriculumTriplet, batch_hard_triplet, build_objective, quantile_triplet
from reidkit.recipes import get_recipe

LINE = torch.tensor([[0.0], [1.0], [3.0], [4.0], [8.0]])
IDS = torch.tensor([0, 0, 1, 1, 1])


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 3.0), (0.5, 4.0), (0.25, 3.5), (1.0, 8.0)])
def test_a_quantile_by_hand(share, wanted):
    """The anchor at 0 has others at 3, 4 and 8: the nearest, the middle, half way to it, the farthest."""
    both = torch.cat((LINE, LINE + 1000))  # a second group, so that ids 2 and 3 are far from all
    alone = quantile_triplet(LINE, IDS, share, margin=100.0)
    positive = [1, 1, 5, 4, 5]
    negatives = [[3, 4, 8], [2, 3, 7], [2, 3], [3, 4], [7, 8]]
    hand = np.mean([p - np.quantile(n, share) + 100 for p, n in zip(positive, negatives, strict=True)])
    assert alone.item() == pytest.approx(hand, rel=1e-6)
    assert np.quantile(negatives[0], share) == wanted
    assert torch.isfinite(quantile_triplet(both, torch.cat((IDS, IDS + 2)), share))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_it_is_numpy_s_quantile_of_every_anchor(seed, share):
    rng = np.random.default_rng(seed)
    features, ids = rng.standard_normal((9, 3)), rng.integers(0, 3, 9)
    found = quantile_triplet(torch.from_numpy(features), torch.from_numpy(ids), share, margin=50.0).item()
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    terms = [
        row[ids == ids[a]].max() - np.quantile(row[ids != ids[a]], share) + 50
        for a, row in enumerate(distances)
        if (ids != ids[a]).any()
    ]
    assert found == pytest.approx(np.mean(terms) if terms else 0.0, rel=1e-5)


def test_the_hardest_is_the_loss_of_the_baseline():
    features, ids = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), torch.arange(12) // 3
    torch.testing.assert_close(quantile_triplet(features, ids, 0.0), batch_hard_triplet(features, ids))


def test_gradients_are_those_of_differences():
    features = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    ids = torch.arange(6) // 2
    assert torch.autograd.gradcheck(lambda x: quantile_triplet(x, ids, 0.3, margin=9.0), features)


def test_it_moves_from_the_easiest_to_the_hardest_over_its_epochs():
    loss = CurriculumTriplet(4, margin=100.0)
    shares = []
    for epoch in range(1, 8):
        loss.start_epoch(epoch, fresh=True)
        shares.append(loss.share)
    assert shares == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0]
    assert torch.equal(loss(LINE, IDS), batch_hard_triplet(LINE, IDS, 100.0))


def test_without_another_id_there_is_nothing_to_learn():
    features = torch.randn(4, 2, requires_grad=True)
    loss = quantile_triplet(features, torch.zeros(4), 0.5)
    assert loss == 0
    loss.backward()


def test_the_recipe_has_it_over_half_of_its_epochs():
    recipe = get_recipe("mancs-curriculum")
    objective = build_objective(recipe, {"": slice(0, 8)}, num_ids=4)
    (loss,) = [term.loss for term in objective.terms if term.name == "triplet"]
    assert isinstance(loss, CurriculumTriplet)
    assert loss.epochs == recipe.optim.epochs / 2
