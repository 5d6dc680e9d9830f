"""Label smoothing and the first weights by hand; tests/parity has loss and gradients by the formulas."""

import math

import pytest
import torch

from reidkit.errors import UsageError
from reidkit.losses.identity import IdentityLoss


def test_worked_example():
    """Two ids, eps 0.1, even odds: the loss is log 2 whatever the smoothing. Sure and right: it is not 0."""
    loss = IdentityLoss(1, 2, smoothing=0.1)
    loss.classifier.weight.data = torch.tensor([[0.0], [0.0]])
    assert loss(torch.ones(1, 1), torch.tensor([0])).item() == pytest.approx(math.log(2))
    loss.classifier.weight.data = torch.tensor([[20.0], [0.0]])
    # q = (0.95, 0.05); log p = (-2e-9, -20)
    assert loss(torch.ones(1, 1), torch.tensor([0])).item() == pytest.approx(0.05 * 20, rel=1e-6)


def test_the_first_weights():
    torch.manual_seed(0)
    normal = IdentityLoss(512, 200).classifier
    assert normal.bias is None
    assert normal.weight.std().item() == pytest.approx(0.001, rel=0.02)
    kaiming = IdentityLoss(512, 200, init="kaiming").classifier
    assert kaiming.weight.std().item() == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    plain = IdentityLoss(512, 200, bias=True).classifier
    assert plain.bias is not None
    assert plain.weight.abs().max().item() <= 1 / math.sqrt(512)
    wide = IdentityLoss(512, 200, std=0.01).classifier
    assert wide.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_eps_spread_over_the_others_by_hand():
    """Three ids, eps 0.1: q = (0.9, 0.05, 0.05). Logits (log 2, 0, 0) are p = (1/2, 1/4, 1/4)."""
    loss = IdentityLoss(1, 3, smoothing=0.1, smoothing_over="others")
    loss.classifier.weight.data = torch.tensor([[math.log(2)], [0.0], [0.0]])
    assert loss(torch.ones(1, 1), torch.tensor([0])).item() == pytest.approx(0.9 * math.log(2) + 0.1 * math.log(4))
    over_all = IdentityLoss(1, 3, smoothing=0.1)
    over_all.classifier.weight.data = loss.classifier.weight.data
    q = 1 - 2 / 3 * 0.1
    assert over_all(torch.ones(1, 1), torch.tensor([0])).item() == pytest.approx(
        q * math.log(2) + (1 - q) * math.log(4)
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"smoothing_over": "other"}, "smoothing_over must be all or others, not other; did you mean others?"),
        ({"init": "xavier"}, "init must be normal or kaiming, not xavier"),
    ],
)
def test_a_word_that_is_none_of_the_choices_is_refused(options, words):
    with pytest.raises(UsageError) as caught:
        IdentityLoss(2, 3, **options)
    assert str(caught.value) == words
