"""The head of the plain baseline."""

import pytest
import torch
from torch import nn

from reidkit.model import BNNeck, L2Neck, Single


def test_worked_example():
    """One channel with the map 1, 2, 3, 6: the mean is 3, the embedding makes (3, -2 * 3 + 1) of it."""
    embedding = nn.Linear(1, 2)
    with torch.no_grad():
        embedding.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        embedding.bias.copy_(torch.tensor([0.0, 1.0]))
    head = Single(1, embedding=embedding)
    f_t, f_i, _ = head(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    assert f_t.tolist() == [[3.0, -5.0]]
    assert f_i is f_t, "without a neck there is one feature"
    assert (head.channels, head.spans) == (2, {"": slice(0, 2)})


@pytest.mark.parametrize("neck", [BNNeck(3), L2Neck()])
def test_the_neck_makes_f_i_of_f_t(neck):
    head = Single(3, neck=neck).eval()
    f_t, f_i, _ = head(torch.randn(4, 3, 5, 2))
    torch.testing.assert_close(f_i, neck(f_t))
    assert (head.channels, f_t.shape) == (3, (4, 3))


def test_a_pooling_of_ones_own():
    class Largest(nn.Module):
        def forward(self, map_bchw):
            return map_bchw.amax(dim=(2, 3))

    map_bchw = torch.randn(4, 3, 5, 2)
    assert torch.equal(Single(3, pooling=Largest())(map_bchw).f_t, map_bchw.flatten(2).max(2).values)
