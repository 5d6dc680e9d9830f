"""Label smoothing and the first weights by hand; tests/parity has loss and gradients by the formulas."""

import math

import pytest
import torch

from reidkit.errors import UsageError
from reidkit.losses.identity import FocalLoss, IdentityLoss, margin_logits


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


HALF = torch.tensor([[0.5, 0.0]], dtype=torch.float64)


def test_cosface_by_hand():
    """s 2, m 1/2, cosines 1/2 and 0: both logits 0."""
    logits = margin_logits(HALF, torch.tensor([0]), "cosface", scale=2.0, margin=0.5)
    assert logits.tolist() == [[0.0, 0.0]]


def test_arcface_by_hand():
    """cos(60 + 30 degrees) = 0 beside 1/2; and 170 degrees, beyond 180 - 28.6: cos 170 - m sin m = -1.223754."""
    cos = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    logits = margin_logits(cos, torch.tensor([0]), "arcface", scale=1.0, margin=math.radians(30))
    assert logits[0].tolist() == pytest.approx([0.0, 0.5])
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0])).item()
    assert loss == pytest.approx(math.log1p(math.exp(0.5)))
    assert loss == pytest.approx(0.974077, abs=1e-6)
    far = torch.tensor([[math.cos(math.radians(170))]], dtype=torch.float64)
    found = margin_logits(far, torch.tensor([0]), "arcface", scale=1.0, margin=math.radians(28.6)).item()
    assert found == pytest.approx(-1.223754, abs=1e-6)


def test_circle_by_hand():
    """m 1/4: 3/4 (1/2 - 3/4) for the true id, 1/2 * 0 and 0 for the others; all 0 where everything is as it should."""
    cos = torch.tensor([[0.5, 0.25, -0.5]], dtype=torch.float64)
    logits = margin_logits(cos, torch.tensor([0]), "circle", scale=1.0, margin=0.25)
    assert logits[0].tolist() == [-0.1875, 0.0, 0.0]
    assert torch.nn.functional.cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(1.227434, abs=1e-6)
    there = margin_logits(torch.tensor([[0.75, 0.25, 0.25]]), torch.tensor([0]), "circle", scale=9.0, margin=0.25)
    assert there.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("kind", ["cosface", "arcface"])
def test_without_a_margin_it_is_the_softmax_of_cosines(kind):
    torch.manual_seed(0)
    loss = IdentityLoss(4, 5, smoothing=0.1, logits=kind, scale=7.0, margin=0.0).double()
    feat, label = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0])
    unit = torch.nn.functional.normalize
    cosines = unit(feat, dim=1) @ unit(loss.classifier.weight, dim=1).T
    expected = torch.nn.functional.cross_entropy(7 * cosines, label, label_smoothing=0.1)
    assert loss(feat, label).item() == pytest.approx(expected.item(), abs=1e-6)
    assert loss.classifier.bias is None


@pytest.mark.parametrize("kind", ["linear", "cosface", "arcface"])
def test_gradients(kind):
    torch.manual_seed(0)
    loss = IdentityLoss(3, 4, logits=kind, scale=4.0, margin=0.3).double()
    feat = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 1, 2, 3, 0])

    def of(feat, weight):
        return torch.func.functional_call(loss, {"classifier.weight": weight}, (feat, label))

    assert torch.autograd.gradcheck(of, (feat, weight))


@pytest.mark.parametrize("kind", ["cosface", "arcface", "circle"])
def test_gradients_are_finite_at_the_ends(kind):
    """At cosines of 1 and -1, where the arc cosine has no slope."""
    cos = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    margin_logits(cos, torch.tensor([0, 0]), kind, scale=30.0, margin=0.5).sum().backward()
    assert torch.isfinite(cos.grad).all()


def test_focal_by_hand():
    """p = 1/2, gamma 2: (1/2)^2 ln 2 = 0.173287; gamma 0 is the cross entropy."""
    loss = FocalLoss(1, 2)
    loss.classifier.weight.data.zero_()
    loss.classifier.bias.data.zero_()
    assert loss(torch.ones(3, 1), torch.tensor([0, 1, 0])).item() == pytest.approx(0.173287, abs=1e-6)
    torch.manual_seed(0)
    plain, feat, label = FocalLoss(3, 4, gamma=0.0), torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
    expected = torch.nn.functional.cross_entropy(plain.classifier(feat), label)
    assert plain(feat, label).item() == pytest.approx(expected.item(), abs=1e-6)


def test_gradients_of_the_focal_loss():
    torch.manual_seed(0)
    loss, label = FocalLoss(3, 4).double(), torch.tensor([0, 1, 2, 3, 0])
    feat = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: loss(f, label), (feat,))


def test_an_unknown_kind_of_logits_is_refused():
    with pytest.raises(UsageError, match="logits must be linear, cosface, arcface or circle, not cos"):
        IdentityLoss(2, 3, logits="cos")


def test_an_image_with_another_style_is_smoothed_by_itself():
    """Two ids, logits (ln 3, 0): -ln 3/4 for the plain one; with eps 0.1 over both q = (0.95, 0.05) for the other."""
    loss = IdentityLoss(2, 2)
    torch.nn.init.eye_(loss.classifier.weight)
    feats, labels = torch.tensor([[math.log(3), 0.0]] * 2), torch.tensor([0, 0])
    plain, more = -math.log(0.75), -0.95 * math.log(0.75) - 0.05 * math.log(0.25)
    loss.styled_b = torch.tensor([False, True])
    assert loss(feats, labels).item() == pytest.approx((plain + more) / 2)
    loss.styled_b = None
    assert loss(feats, labels).item() == pytest.approx(plain)


def test_where_all_are_smoothed_as_much_a_style_changes_nothing():
    loss, feats, labels = IdentityLoss(4, 3, smoothing=0.1), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    before = loss(feats, labels)
    loss.styled_b = torch.ones(5, dtype=torch.bool)
    assert torch.equal(loss(feats, labels), before)
