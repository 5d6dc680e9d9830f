"""Both forms of the centre loss by hand; tests/parity has gradients and steps by the formulas."""

import pytest
import torch

from reidkit.errors import UsageError
from reidkit.losses.center import CenterLoss


def loss_with(centers, form, lr=0.5):
    loss = CenterLoss(centers.shape[1], len(centers), lr=lr, form=form)
    loss.centers = centers.clone()
    return loss


def test_worked_example():
    """Squared distances 1 and 9: mean 5 by the mean, half the sum 5 by the paper; the same only for two images."""
    feat, label = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0])
    assert loss_with(torch.zeros(1, 1), "mean")(feat, label).item() == 5.0
    assert loss_with(torch.zeros(1, 1), "paper")(feat, label).item() == 5.0
    feat, label = torch.tensor([[1.0], [3.0], [1.0], [3.0]]), torch.tensor([0, 0, 1, 1])
    assert loss_with(torch.zeros(2, 1), "mean")(feat, label).item() == 5.0
    assert loss_with(torch.zeros(2, 1), "paper")(feat, label).item() == 10.0


@pytest.mark.parametrize("form", ["mean", "paper"])
def test_centres_settle_on_the_features(form):
    feat, label = torch.randn(4, 2), torch.zeros(4, dtype=torch.long)
    loss = loss_with(torch.full((1, 2), 10.0), form)
    for _ in range(200):
        loss(feat, label)
        loss.step()
    torch.testing.assert_close(loss.centers[0], feat.mean(0), atol=1e-3, rtol=0)


def test_a_step_is_taken_once():
    loss = loss_with(torch.zeros(1, 1), "mean")
    loss(torch.ones(1, 1), torch.tensor([0]))
    loss.step()
    once = loss.centers.clone()
    loss.step()
    assert torch.equal(loss.centers, once)


def test_centres_belong_to_the_state():
    loss = CenterLoss(3, 4)
    assert set(loss.state_dict()) == {"centers"}
    assert list(loss.parameters()) == []


def test_a_form_that_is_none_is_refused():
    with pytest.raises(UsageError, match="form must be mean or paper, not code"):
        CenterLoss(3, 4, form="code")
