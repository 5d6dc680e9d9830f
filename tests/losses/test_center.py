"""Both readings of the centre loss: values, gradients and steps."""

import pytest
import torch

from reidkit.losses.center import CenterLoss
from reidkit.recipe import Center


def loss_with(centers, reading, lr=0.5):
    loss = CenterLoss(centers.shape[1], len(centers), Center(weight=1.0, lr=lr, reading=reading))
    loss.centers = centers.clone()
    return loss


def test_worked_example():
    """Squared distances 1 and 9: mean 5 by the code, half the sum 5 by the paper; the same only for two images."""
    feat, label = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0])
    assert loss_with(torch.zeros(1, 1), "code")(feat, label).item() == 5.0
    assert loss_with(torch.zeros(1, 1), "paper")(feat, label).item() == 5.0
    feat, label = torch.tensor([[1.0], [3.0], [1.0], [3.0]]), torch.tensor([0, 0, 1, 1])
    assert loss_with(torch.zeros(2, 1), "code")(feat, label).item() == 5.0
    assert loss_with(torch.zeros(2, 1), "paper")(feat, label).item() == 10.0


def test_pull_of_the_readings_at_the_papers_batch():
    """At B = 64 the code pulls with 2/64, the paper with 1: a factor of 32."""
    feat = torch.randn(64, 8)
    label = torch.arange(64) // 4
    pulls = []
    for reading in ("code", "paper"):
        x = feat.clone().requires_grad_()
        loss_with(torch.zeros(16, 8), reading)(x, label).backward()
        pulls.append(x.grad)
    torch.testing.assert_close(pulls[1], 32 * pulls[0])


def test_step_of_the_code_at_16x4():
    """0.0625 of the way from the centre to the mean of its four images; people not seen stay."""
    centers = torch.randn(20, 8)
    feat, label = torch.randn(64, 8), torch.arange(64) // 4
    loss = loss_with(centers, "code")
    loss(feat, label)
    loss.step()
    means = feat.view(16, 4, 8).mean(1)
    torch.testing.assert_close(loss.centers[:16], centers[:16] + 0.0625 * (means - centers[:16]))
    assert torch.equal(loss.centers[16:], centers[16:])


def test_step_of_the_code_is_descent_on_its_loss():
    centers = torch.randn(5, 3)
    feat, label = torch.randn(7, 3), torch.tensor([0, 0, 0, 2, 2, 4, 1])
    c = centers.clone().requires_grad_()
    (feat - c[label]).square().sum(1).mean().backward()
    loss = loss_with(centers, "code", lr=0.3)
    loss(feat, label)
    loss.step()
    torch.testing.assert_close(loss.centers, centers - 0.3 * c.grad)


def test_step_of_the_paper_by_the_definition():
    centers = torch.randn(3, 2)
    feat, label = torch.randn(5, 2), torch.tensor([0, 0, 0, 2, 2])
    loss = loss_with(centers, "paper", lr=0.5)
    loss(feat, label)
    loss.step()
    for person, n in ((0, 3), (2, 2)):
        change = sum(centers[person] - f for f in feat[label == person]) / (1 + n)
        torch.testing.assert_close(loss.centers[person], centers[person] - 0.5 * change)
    assert torch.equal(loss.centers[1], centers[1])


@pytest.mark.parametrize("reading", ["code", "paper"])
def test_centres_settle_on_the_features(reading):
    feat, label = torch.randn(4, 2), torch.zeros(4, dtype=torch.long)
    loss = loss_with(torch.full((1, 2), 10.0), reading)
    for _ in range(200):
        loss(feat, label)
        loss.step()
    torch.testing.assert_close(loss.centers[0], feat.mean(0), atol=1e-3, rtol=0)


def test_a_step_is_taken_once():
    loss = loss_with(torch.zeros(1, 1), "code")
    loss(torch.ones(1, 1), torch.tensor([0]))
    loss.step()
    once = loss.centers.clone()
    loss.step()
    assert torch.equal(loss.centers, once)


def test_centres_belong_to_the_state():
    loss = CenterLoss(3, 4, Center(weight=1.0))
    assert set(loss.state_dict()) == {"centers"}
    assert list(loss.parameters()) == []
