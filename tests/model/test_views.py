"""Views of a map by hand."""

import pytest
import torch
from torch import nn

from reidkit import recipe
from reidkit.errors import UsageError
from reidkit.model import ResNet, build_network
from reidkit.model.chance import Place, placed, reseed
from reidkit.model.heads.svdnet import OrthogonalEmbedding
from reidkit.model.views import DropRows, Rows, SoftParts, take_tail


def rows(*values):
    return torch.tensor(values)[None, None, :, None]


@pytest.mark.parametrize(
    ("height", "count", "means"), [(6, 3, [0.5, 2.5, 4.5]), (8, 3, [1.0, 3.5, 6.0]), (16, 6, [1, 3.5, 6, 9, 11.5, 14])]
)
def test_stripes_by_hand(height, count, means):
    """Rows 0, 1, 2, ...: of 8 rows three stripes have 0-2, 2-5 and 5-7; of 16 six overlap, too."""
    map_bchw = rows(*(float(i) for i in range(height)))
    found = [Rows(i, i + 1, count)(map_bchw).mean().item() for i in range(count)]
    assert found == means
    pooled = nn.functional.adaptive_avg_pool2d(map_bchw, (count, 1)).flatten()
    assert pooled.tolist() == found
    assert torch.equal(Rows(0, count, count)(map_bchw), map_bchw)


def test_dropped_rows_by_hand():
    """A 3x2 map ((1, 9), (5, 2), (7, 3)): the maximum is 9, without row 0 it is 7."""
    map_bchw = torch.tensor([[1.0, 9.0], [5.0, 2.0], [7.0, 3.0]])[None, None]
    view, found = DropRows(0.33).train(), set()
    for step in range(30):
        reseed(view, 0, step)
        dropped = view(map_bchw)
        zeros = (dropped == 0).all(3).flatten().tolist()
        assert sum(zeros) == 1
        found.add((zeros.index(True), dropped.max().item()))
    assert found == {(0, 7.0), (1, 9.0), (2, 9.0)}
    assert torch.equal(view.eval()(map_bchw), map_bchw)


@pytest.mark.parametrize(("height", "dropped"), [(24, 8), (16, 5), (8, 3)])
def test_a_third_of_the_rows(height, dropped):
    view, map_bchw = DropRows(0.33), torch.ones(4, 2, height, 3)
    tops = set()
    for step in range(200):
        reseed(view, 3, step)
        gone = (view(map_bchw) == 0).all(3).all(1)
        assert (gone == gone[0]).all(), "one block for the whole batch"
        assert int(gone[0].sum()) == dropped
        tops.add(int(gone[0].int().argmax()))
    assert tops == set(range(height - dropped + 1))


def test_a_map_of_one_row_stays():
    one = torch.ones(2, 3, 1, 4)
    assert torch.equal(DropRows(0.33).train()(one), one)


def test_the_block_is_the_same_in_every_part_and_pass():
    view, map_bchw = DropRows(), torch.ones(2, 1, 24, 1)
    reseed(view, 0, 5)
    found = []
    for part in (0, 1, 0, 1):
        with placed(view, Place(2 * part, 4, part)):
            found.append(view(map_bchw))
    assert all(torch.equal(one, found[0]) for one in found)


def test_soft_parts_by_hand():
    """Places 2 and 4 with part weights (3/4, 1/4) and (1/4, 3/4): 2 * mean(p x) is 2.5 and 3.5."""
    view = SoftParts(1, 2).double()
    map_bchw = rows(2.0, 4.0).double()
    nn.init.zeros_(view.assign.weight)
    nn.init.zeros_(view.assign.bias)
    assert view(map_bchw).flatten().tolist() == [3.0, 3.0]
    # Less their mean the places are -1 and 1, so that a slope of -ln(3)/2 gives odds of 3 to 1.
    view.assign.weight.data[0] = -torch.log(torch.tensor(3.0)) / 2
    view.assign.weight.data[1] = torch.log(torch.tensor(3.0)) / 2
    nn.init.zeros_(view.assign.bias)
    odds = torch.tensor([[-1.0, 1.0]]).double().T @ view.assign.weight.data.flatten()[None]
    assert odds.softmax(1)[0].tolist() == pytest.approx([0.75, 0.25], abs=1e-6)
    assert view(map_bchw).flatten().tolist() == pytest.approx([2.5, 3.5], abs=1e-6)


def test_soft_parts_of_many_channels_see_groups_of_eight():
    view = SoftParts(64, 3)
    assert view.assign.in_channels == 8
    assert view(torch.randn(2, 64, 4, 2)).shape == (2, 64, 3, 1)


def test_a_tail_and_what_is_left_are_the_network():
    torch.manual_seed(0)
    backbone = ResNet("resnet50", width=0.125, last_stride=1).eval()
    images = torch.randn(2, 3, 64, 32)
    whole, channels, names = backbone(images), backbone.channels, set(backbone.state_dict())
    tail = take_tail(backbone, "layer3", 1)
    assert backbone(images).shape[1] == backbone.channels == channels // 2
    assert torch.equal(tail.eval()(backbone(images)), whole)
    assert tail.channels == channels
    assert set(backbone.state_dict()) | set(tail.state_dict()) == names
    assert "layer3.1.conv1.weight" in tail.state_dict()


def test_a_copy_without_stride():
    backbone = ResNet("resnet18", width=0.125, last_stride=2)
    tail = take_tail(backbone, "layer3", 1)
    map_bchw = backbone(torch.randn(2, 3, 64, 32))
    assert tail(map_bchw).shape[2:] == (2, 1)
    assert tail.copy(stride=False)(map_bchw).shape[2:] == (4, 2)
    assert tail(map_bchw).shape[2:] == (2, 1)


def test_what_has_no_stages_is_refused():
    plain = nn.Conv2d(3, 4, 1)
    plain.channels = 4
    with pytest.raises(UsageError, match="a Conv2d has no stages"):
        take_tail(plain, "layer3")


# SVDNet's embedding.


def columns(*vectors):
    layer = OrthogonalEmbedding(2, 2, 4)
    layer.weight.data = torch.tensor(vectors)
    return layer


@torch.no_grad()
def orthogonality(weight_dc):
    """S(W) = sum g_ii / sum |g_ij| of G = W^T W (equation 8): 1 where all columns are orthogonal."""
    gram_dd = weight_dc @ weight_dc.T
    return float(gram_dd.diagonal().sum() / gram_dd.abs().sum())


def test_orthogonal_columns_by_hand():
    """Columns (3, 4) and (0, 5): S(W) = 50/90; of U S it is 1, with columns of length sqrt(45) and sqrt(5)."""
    layer = columns([3.0, 4.0], [0.0, 5.0])
    assert orthogonality(layer.weight) == pytest.approx(50 / 90)
    difference = torch.tensor([[0.0, -1.0]])
    before = layer(difference).norm().item()
    layer.replace()
    assert layer(difference).norm().item() == pytest.approx(before)
    assert before == pytest.approx(41**0.5)
    assert orthogonality(layer.weight) == pytest.approx(1, abs=1e-5)
    assert sorted(layer.weight.norm(dim=1).tolist()) == pytest.approx([5**0.5, 45**0.5])


def test_a_column_keeps_its_place_and_sign():
    torch.manual_seed(0)
    layer = OrthogonalEmbedding(8, 5, 4)
    layer.weight.data = torch.eye(5, 8) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[:, None] + 0.01 * torch.randn(5, 8)
    before = layer.weight.clone()
    layer.replace()
    assert (nn.functional.cosine_similarity(before, layer.weight) > 0.99).all()


@pytest.mark.parametrize(("channels", "dim"), [(8, 5), (64, 64), (300, 40)])
def test_orthogonal_columns_stay_to_the_bit(channels, dim):
    """A run that stops between a replacement and its first step does it again when it goes on."""
    torch.manual_seed(0)
    layer = OrthogonalEmbedding(channels, dim, 4)
    first = layer.weight.clone()
    layer.replace()
    once = layer.weight.clone()
    assert not torch.equal(once, first)
    layer.replace()
    assert torch.equal(layer.weight, once)
    layer.weight.data[0, 0] += 1e-3 * layer.weight.abs().max().item()
    moved = layer.weight.clone()
    layer.replace()
    assert not torch.equal(layer.weight, moved), "a step of training is undone"


def test_a_weight_that_is_not_finite_stays():
    """The loss of the next step ends the run in a sentence; a decomposition would end it in a traceback."""
    layer = columns([3.0, float("nan")], [0.0, 5.0])
    layer.replace()
    assert layer.weight[0, 0] == 3.0


def test_when_it_is_replaced_and_when_it_is_held():
    layer, replaced, held = columns([3.0, 4.0], [0.0, 5.0]), [], []
    layer.replace = lambda: replaced.append(epoch)
    for epoch in range(1, 13):
        layer.start_epoch(epoch)
        held.append(layer.held)
    assert replaced == [5, 9]
    assert held == [False] * 4 + [True, True, False, False] * 2
    layer.start_epoch(5, fresh=False)
    assert (replaced, layer.held) == ([5, 9], True), "gone on with in the middle of the epoch"
    assert not layer(torch.ones(1, 2)).requires_grad


def test_more_numbers_than_channels_are_refused():
    with pytest.raises(UsageError, match=r"1024 weight vectors of 64 numbers .* set network.embedding to at most 64"):
        build_network(recipe.Network(backbone="resnet18", width=0.125, head="svdnet"))


@pytest.mark.parametrize("stripes", [(1, 1, 6), (2, 1, 6), (-1, 1, 6), (0, 7, 6), (0, 1, 0)])
def test_stripes_that_are_none(stripes):
    """The mean of no row was NaN."""
    with pytest.raises(UsageError, match="the first of them is Rows"):
        Rows(*stripes)


def test_a_share_of_rows_that_is_none():
    for share in (-0.1, 2):
        with pytest.raises(UsageError, match="from 0 to 1"):
            DropRows(share)
