"""The steps of the centres, under both readings of the centre loss.

Official code: the loss enters as beta * mean |f - c_y|^2; before the centres' own SGD (lr 0.5, never decayed) steps,
their gradient is multiplied by 1/beta. With n images of a person in a batch of B,

    c <- c - lr * 1/beta * d(beta mean |f - c_y|^2)/dc = c + lr * 2 n / B * (mean f - c)

which is 0.0625 * (mean f - c) at 16 x 4. Paper: equation 5 with the update of the loss's own paper (Wen et al. 2016,
equation 4),

    c <- c - lr * sum over the n images of (c - f) / (1 + n)

which is 0.4 * (mean f - c) at 16 x 4.
"""

import numpy as np
import pytest
import torch

from reidkit.losses.center import CenterLoss
from reidkit.losses.objective import build_objective
from reidkit.recipe import override
from reidkit.recipes.luo2019.interpretations import interpret
from tests.parity import READ
from tests.train.tiny import RECIPE, Run

LR, BETA = 0.5, 5e-4
READING = {"default": "code", "official-code": "code", "paper-text": "paper"}


def stepped(centres, feat, label, reading):
    """The centres after one step, person by person."""
    moved = centres.copy()
    for person in np.unique(label):
        here = feat[label == person]
        if reading == "code":
            gradient = BETA * 2 / len(feat) * (centres[person] - here).sum(0)
            moved[person] = centres[person] - LR * gradient / BETA
        else:
            moved[person] = centres[person] - LR * (centres[person] - here).sum(0) / (1 + len(here))
    return moved


def code_by_differences(centres, feat, label, step=1e-5):
    """The same from the loss alone: no gradient was written down."""

    def loss(at):
        return BETA * np.mean(((feat - at[label]) ** 2).sum(1))

    gradient = np.zeros_like(centres)
    for place in np.ndindex(centres.shape):
        bump = np.zeros_like(centres)
        bump[place] = step
        gradient[place] = (loss(centres + bump) - loss(centres - bump)) / (2 * step)
    return centres - LR * gradient / BETA


def some(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def loss_at(centres, reading):
    recipe = READ[reading].center
    loss = CenterLoss(centres.shape[1], len(centres), lr=recipe.lr, form=recipe.form).double()
    assert loss.centers.shape == centres.shape
    loss.centers = torch.tensor(centres)
    return loss


def test_the_step_is_the_one_that_the_loss_gives():
    """The reference itself: its closed form against two-sided differences of the mean."""
    centres, feat, label = some(0, 6, 3), some(1, 9, 3), np.array([0, 0, 0, 1, 5, 5, 5, 5, 2])
    np.testing.assert_allclose(
        stepped(centres, feat, label, "code"), code_by_differences(centres, feat, label), rtol=1e-7
    )


@pytest.mark.parametrize(("reading", "share"), [("default", 0.0625), ("official-code", 0.0625), ("paper-text", 0.4)])
def test_the_net_step_at_16x4(reading, share):
    centres, feat = some(0, 20, 8), some(1, 64, 8)
    loss = loss_at(centres, reading)
    loss(torch.tensor(feat), torch.arange(64) // 4)
    loss.step()
    means = feat.reshape(16, 4, 8).mean(1)
    np.testing.assert_allclose(loss.centers[:16].numpy(), centres[:16] + share * (means - centres[:16]), rtol=1e-9)
    assert (loss.centers[16:].numpy() == centres[16:]).all(), "people who are not seen stay"


@pytest.mark.parametrize("reading", READING)
def test_twenty_steps_of_uneven_batches(reading):
    """Any count for each person, some seen often, some never."""
    rng = np.random.default_rng(2)
    centres = some(0, 30, 8)
    loss = loss_at(centres, reading)
    for size in rng.integers(3, 40, 20).tolist():
        feat, label = rng.normal(size=(size, 8)), rng.integers(0, 15, size) * 2
        loss(torch.tensor(feat), torch.tensor(label))
        loss.step()
        centres = stepped(centres, feat, label, READING[reading])
        np.testing.assert_allclose(loss.centers.numpy(), centres, rtol=1e-9, atol=1e-12)


def test_the_first_centres_are_standard_normal():
    torch.manual_seed(0)
    centres = build_objective(READ["official-code"], {"": slice(0, 512)}, 751).center.centers.double()
    assert centres.mean().item() == pytest.approx(0, abs=0.01)
    assert centres.std().item() == pytest.approx(1, abs=0.01)
    assert (centres.abs() < 1).double().mean().item() == pytest.approx(0.6827, abs=0.005)


@pytest.mark.parametrize("reading", READING)
def test_the_centres_of_a_run_take_these_steps_and_no_others(reading, tmp_path, monkeypatch):
    """Real epochs, in which Adam's rate changes: the features that the loss saw, replayed from the first centres."""
    seen, first = [], []
    forward = CenterLoss.forward

    def watched(self, feat_bd, label_b):
        if not seen:
            first.append(self.centers.double().numpy().copy())
        seen.append((feat_bd.detach().double().numpy(), label_b.numpy()))
        return forward(self, feat_bd, label_b)

    monkeypatch.setattr(CenterLoss, "forward", watched)
    run = Run(tmp_path, RECIPE if reading == "default" else interpret(override(RECIPE, ["optim.epochs=2"]), reading))
    run.go()
    assert len(seen) >= 4
    centres = first[0]
    for feat, label in seen:
        centres = stepped(centres, feat, label, READING[reading])
    state = torch.load(tmp_path / "state.pt", weights_only=True)["objective"]["center.centers"]
    np.testing.assert_allclose(state.numpy(), centres, atol=1e-5)
    assert np.abs(centres - first[0]).max() > 0.05
