"""Losses of pairs: cases worked by hand, and each by its equation, one anchor after the other."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from reidkit.losses import centroid_triplet, centroid_triplet_as_published, circle_loss, supervised_contrastive

LINE, AABB = torch.tensor([[0.0], [2.0], [10.0], [14.0]], dtype=torch.float64), torch.tensor([0, 0, 1, 1])
LOSSES = (circle_loss, supervised_contrastive, centroid_triplet, centroid_triplet_as_published)


def at(*cosines):
    """Unit vectors in the plane, the first of which has these cosines to the others."""
    angles = [0.0, *(math.acos(each) for each in cosines)]
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)


def test_circle_by_hand():
    """m 1/4, g 1, a positive and a negative at 1/2: 3/4 (1/2 - 3/4) twice, softplus(3/8); seen from one anchor."""
    feat = at(0.5, 0.5)
    feat[2, 1] *= -1  # the negative on the other side: at cosine -1/2 to the positive, where its factor is 0
    first = math.log1p(math.exp(0.375))
    assert first == pytest.approx(0.898123, abs=1e-6)
    second = math.log1p(math.exp(0.1875))  # the positive's own: the same pull, and a push of exp(0)
    assert circle_loss(feat, torch.tensor([0, 0, 1]), 0.25, 1.0).item() == pytest.approx((first + second) / 2)


def test_circle_of_two_positives_by_hand():
    """Positives at 0.5 and 0.75, a negative at 0.25: lse_p 0.791285, nothing for the negative; softplus of it."""
    feat = torch.zeros(4, 4, dtype=torch.float64)
    feat[0, 0] = 1
    for row, cosine in ((1, 0.5), (2, 0.75), (3, 0.25)):
        feat[row, 0], feat[row, row] = cosine, math.sqrt(1 - cosine**2)
    label = torch.tensor([0, 0, 0, 1])
    assert circle_by_definition(feat, label, 0.25, 1.0)[0] == pytest.approx(1.165096, abs=1e-6)
    expected = circle_by_definition(feat, label, 0.25, 1.0)
    assert circle_loss(feat, label, 0.25, 1.0).item() == pytest.approx(sum(expected) / len(expected))


def circle_by_definition(feat, label, margin, scale):
    unit = torch.nn.functional.normalize(feat, dim=1)
    found = []
    for a in range(len(unit)):
        cosines = [float(unit[a] @ other) for other in unit]
        pos = [s for i, s in enumerate(cosines) if i != a and label[i] == label[a]]
        neg = [s for i, s in enumerate(cosines) if label[i] != label[a]]
        if pos and neg:
            p = sum(math.exp(-scale * max(0, 1 + margin - s) * (s - 1 + margin)) for s in pos)
            n = sum(math.exp(scale * max(0, s + margin) * (s - margin)) for s in neg)
            found.append(math.log1p(p * n))
    return found


def contrastive_by_definition(feat, label, scale):
    unit = torch.nn.functional.normalize(feat, dim=1)
    found = []
    for a in range(len(unit)):
        others = {i: math.exp(scale * float(unit[a] @ unit[i])) for i in range(len(unit)) if i != a}
        pos = [i for i in others if label[i] == label[a]]
        if pos:
            found.append(-sum(math.log(others[i] / sum(others.values())) for i in pos) / len(pos))
    return found


def centroid_by_definition(feat, label, margin, published):
    """Place after place: queries and centroids of the ids that have an image there and another one."""
    ids = {int(pid): [feat[i] for i in range(len(feat)) if label[i] == pid] for pid in label}
    found = []
    for place in range(max(map(len, ids.values()))):
        here = {pid: images for pid, images in ids.items() if len(images) > max(1, place)}
        query = {pid: images[place] for pid, images in here.items()}
        center = {pid: torch.stack(images[:place] + images[place + 1 :]).mean(0) for pid, images in here.items()}
        points = [*query.items(), *(center.items() if published else ())]
        for pid, point in points:
            if published:
                near = [other for other_pid, other in points if other_pid == pid]
                far = [other for other_pid, other in points if other_pid != pid]
            else:
                near, far = [center[pid]], [other for other_pid, other in center.items() if other_pid != pid]
            d_p = max(float((point - other).norm()) for other in near)
            d_n = min((float((point - other).norm()) for other in far), default=math.inf)
            found.append(max(0.0, d_p - d_n + margin))
    return found


def test_centroids_by_hand():
    """A at 0 and 2, B at 10 and 14, margin 9: 0, 5, 3, 0 to the centroids; 1, 5, 3, 1 over all points of a place."""
    assert centroid_triplet(LINE, AABB, 9.0).item() == pytest.approx(2.0)
    assert centroid_triplet_as_published(LINE, AABB, 9.0).item() == pytest.approx(2.5)


def test_contrastive_by_hand():
    """Two equal features and one across: ln(1 + 1/e) for each of the two; the third has no positive."""
    feat = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    loss = supervised_contrastive(feat, torch.tensor([0, 0, 1]), scale=1.0)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)))
    assert loss.item() == pytest.approx(0.313262, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_by_the_definitions(seed):
    """Ids with one to five images, in any order."""
    torch.manual_seed(seed)
    label = torch.randint(0, 4, (11,))
    feat = torch.randn(11, 3, dtype=torch.float64)
    for loss, expected in (
        (circle_loss(feat, label, 0.25, 8.0), circle_by_definition(feat, label, 0.25, 8.0)),
        (supervised_contrastive(feat, label, 5.0), contrastive_by_definition(feat, label, 5.0)),
        (centroid_triplet(feat, label, 0.5), centroid_by_definition(feat, label, 0.5, published=False)),
        (centroid_triplet_as_published(feat, label, 0.5), centroid_by_definition(feat, label, 0.5, published=True)),
    ):
        assert loss.item() == pytest.approx(sum(expected) / len(expected))


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_gradients(loss):
    torch.manual_seed(1)
    feat = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda f: loss(f, torch.tensor([0, 0, 0, 1, 1, 1])), (feat,))


def test_the_gradient_of_circle_takes_the_factors_as_given():
    """The same loss with the factors a put in as numbers."""
    torch.manual_seed(2)
    feat = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 0, 1, 1])
    circle_loss(feat, label, 0.25, 2.0).backward()
    other = feat.detach().clone().requires_grad_()
    unit = torch.nn.functional.normalize(other, dim=1)
    total = 0.0
    for a, (p, *negatives) in enumerate(((1, 2, 3), (0, 2, 3), (3, 0, 1), (2, 0, 1))):
        s_p, s_n = unit[a] @ unit[p], torch.stack([unit[a] @ unit[n] for n in negatives])
        a_p, a_n = (1.25 - s_p).clamp_min(0).item(), (s_n + 0.25).clamp_min(0).tolist()
        push = torch.logsumexp(2 * torch.tensor(a_n, dtype=torch.float64) * (s_n - 0.25), 0)
        total = total + torch.nn.functional.softplus(push - 2 * a_p * (s_p - 0.75)) / 4
    total.backward()
    torch.testing.assert_close(feat.grad, other.grad)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_image_of_each_id_costs_nothing_and_is_finite(loss):
    feat = torch.randn(4, 3, requires_grad=True)
    value = loss(feat, torch.arange(4))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(feat.grad, torch.zeros_like(feat))


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_features_have_a_finite_gradient(loss):
    feat = torch.ones(4, 3, requires_grad=True)
    loss(feat, AABB).backward()
    assert torch.isfinite(feat.grad).all()


def test_circle_stays_finite_where_logits_are_hundreds():
    feat = torch.randn(8, 4)
    assert math.isfinite(circle_loss(feat, torch.arange(8) // 2, 0.25, 512.0).item())
