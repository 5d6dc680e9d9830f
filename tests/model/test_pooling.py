"""Poolings by hand."""

from typing import Any

import pytest
import torch
from torch import nn

from reidkit.model.pooling import GeMPooling, MaxPooling, MeanMaxPooling, make_pooling

TWO = torch.tensor([1.0, 2.0])[None, None, :, None]


@pytest.mark.parametrize(
    ("name", "value"), [("mean", 1.5), ("max", 2.0), ("mean+max", 3.5), ("gem", 4.5 ** (1 / 3)), ("gem-3", 1.650964)]
)
def test_worked_example(name, value):
    """A map of 1 and 2: cubes 1 and 8 have the mean 4.5, whose root is 1.650964."""
    assert make_pooling(name)(TWO).tolist() == [[pytest.approx(value, abs=1e-6)]]


def test_pyramids_stripes_by_hand():
    """Stripes 1, 3, 5: mean + max of the runs of one, two and three of them."""
    rows = torch.tensor([1.0, 3.0, 5.0])[None, None, :, None]
    pool = MeanMaxPooling()
    runs = [pool(rows[:, :, first : first + length]).item() for length in (1, 2, 3) for first in range(4 - length)]
    assert runs == [2.0, 6.0, 10.0, 5.0, 9.0, 8.0]


def test_nothing_is_held_at_the_least():
    assert GeMPooling()(torch.zeros(1, 1, 2, 2)).item() == pytest.approx(1e-6, rel=1e-3)


def test_gem_is_between_the_mean_and_the_maximum_and_learns_its_exponent():
    map_bchw = torch.rand(3, 4, 5, 2)
    found, pool = {}, GeMPooling()
    for p in (1.0, 3.0, 60.0):
        nn.init.constant_(pool.p, p)
        found[p] = pool(map_bchw)
    torch.testing.assert_close(found[1.0], map_bchw.mean((2, 3)))
    torch.testing.assert_close(found[60.0], MaxPooling()(map_bchw), rtol=0.06, atol=0)
    assert (found[1.0] < found[3.0]).all()
    assert (found[3.0] < found[60.0]).all()
    pool(map_bchw).sum().backward()
    assert pool.p.grad.item() != 0
    assert not make_pooling("gem-3").p.requires_grad


def test_gem_computes_in_float32_whatever_surrounds_it():
    """The cube of 0.01 is nothing in float16, whose least number is 6e-8; in bfloat16 it has two digits."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = GeMPooling()(torch.full((1, 1, 2, 2), 0.01, dtype=torch.float16))
    assert pooled.dtype == torch.float32
    assert pooled.item() == pytest.approx(0.01, rel=1e-3)


def test_gradients_of_gem():
    pool = GeMPooling().double()
    map_bchw = torch.rand(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pool, (map_bchw,))


def test_the_power_may_be_a_whole_number():
    """A parameter of whole numbers cannot be learned: torch refused it."""
    power: Any = 3
    pooling, map_bchw = GeMPooling(power), torch.rand(2, 4, 3, 2)
    assert pooling.p.dtype == torch.float32
    assert torch.equal(pooling(map_bchw), GeMPooling()(map_bchw))
