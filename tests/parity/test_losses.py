"""The three losses and their gradients in float64, to one part in a million.

With logits z = W f + b over N people, p = softmax(z), eps = 0.1 and B images:

    L_ID   = mean over the batch of -sum_i q_i log p_i            dL/dz = (p - q) / B
             q_y = 1 - (N-1)/N eps, q_i = eps/N                   shared among `all` (equation 3)
             q_y = 1 - eps, q_i = eps/(N-1)                       shared among the `others` (fast-reid)
    L_Tri  = mean over the anchors of [d_p - d_n + 0.3]+          d = |f_a - f_x|, not squared, f not normalised
             p the farthest image of the anchor's person, n the nearest of somebody else
             d(d)/d(f_a) = (f_a - f_x) / d = -d(d)/d(f_x)
    L_C    = mean of |f - c_y|^2, gradient 2/B (f - c_y)          official code
             1/2 sum of |f - c_y|^2, gradient f - c_y             paper, equation 5
    L      = L_ID + L_Tri + 0.0005 L_C                            equation 6; fast-reid without L_C
"""

import numpy as np
import pytest
import torch

from reidkit.losses.center import CenterLoss
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.objective import build_objective
from reidkit.losses.triplet import batch_hard_triplet
from reidkit.recipes import get_recipe
from tests.parity import READ

TO = 1e-6
MARGIN, EPS, BETA = 0.3, 0.1, 5e-4
SPREAD = {"default": "all", "paper-text": "all", "official-code": "all", "fast-reid": "others"}
CENTRE = {"default": "code", "paper-text": "paper", "official-code": "code", "fast-reid": None}
NEAREST = 1e-6
"""What the distance of a feature to itself is held at, here and in the official code."""


def identity_by_hand(feat, weight, bias, label, spread, eps=EPS):
    """The loss, and its gradients for f [B, D], W [N, D] and b [N]."""
    size, people = len(feat), len(weight)
    logits = feat @ weight.T + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    q = np.full((size, people), eps / people if spread == "all" else eps / (people - 1))
    q[np.arange(size), label] = 1 - (people - 1) / people * eps if spread == "all" else 1 - eps
    pull = (p - q) / size
    return -(q * np.log(p)).sum() / size, pull @ weight, pull.T @ feat, pull.sum(0)


def triplet_by_hand(feat, pid, margin=MARGIN):
    """The loss and its gradient, anchor by anchor; images that are equally hard share the pull evenly."""
    size, total, gradient = len(feat), 0.0, np.zeros_like(feat)
    for a in range(size):
        away = feat[a] - feat
        d = np.maximum(np.sqrt((away**2).sum(1)), NEAREST)
        same = pid == pid[a]
        if same.all():
            continue
        d_p, d_n = d[same].max(), d[~same].min()
        if d_p - d_n + margin <= 0:
            continue
        total += (d_p - d_n + margin) / size
        for sign, hardest in ((1, np.flatnonzero(same & (d == d_p))), (-1, np.flatnonzero(~same & (d == d_n)))):
            for x in hardest:
                pull = sign * away[x] / d[x] / len(hardest) / size
                gradient[a] += pull
                gradient[x] -= pull
    return total, gradient


def centre_by_hand(feat, centres, label, reading):
    away = feat - centres[label]
    if reading == "code":
        return (away**2).sum() / len(feat), 2 / len(feat) * away
    return 0.5 * (away**2).sum(), away


def by_differences(loss, at, step=1e-5):
    """The gradient of a function of an array, two-sided."""
    gradient = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (loss(up) - loss(down)) / (2 * step)
    return gradient


def some(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def tensor(array):
    return torch.tensor(array, requires_grad=True)


def close(ours, expected):
    """Each number to TO of itself, and those that all but vanish to TO of the largest."""
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
    np.testing.assert_allclose(ours, expected, rtol=TO, atol=TO * float(np.abs(expected).max()))


def test_the_closed_forms_are_the_derivatives_of_their_losses():
    feat, label, pid = some(0, 6, 3), np.array([0, 3, 1, 1, 4, 2]), np.array([0, 0, 0, 1, 1, 2])
    weight, bias = some(1, 5, 3), some(2, 5)
    for spread in ("all", "others"):
        _, of_feat, of_weight, of_bias = identity_by_hand(feat, weight, bias, label, spread)
        close(by_differences(lambda f, s=spread: identity_by_hand(f, weight, bias, label, s)[0], feat), of_feat)
        close(by_differences(lambda w, s=spread: identity_by_hand(feat, w, bias, label, s)[0], weight), of_weight)
        close(by_differences(lambda b, s=spread: identity_by_hand(feat, weight, b, label, s)[0], bias), of_bias)
    close(by_differences(lambda f: triplet_by_hand(f, pid)[0], feat), triplet_by_hand(feat, pid)[1])
    for reading in ("code", "paper"):
        _, gradient = centre_by_hand(feat, weight, label, reading)
        close(by_differences(lambda f, r=reading: centre_by_hand(f, weight, label, r)[0], feat), gradient)


@pytest.mark.parametrize("people", [2, 7, 751])
@pytest.mark.parametrize("spread", ["all", "others"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("with_bias", [False, True])
def test_smoothed_cross_entropy(people, spread, eps, with_bias):
    feat, label = some(0, 64, 12), np.random.default_rng(1).integers(0, people, 64)
    loss = IdentityLoss(12, people, smoothing=eps, smoothing_over=spread, std=0.7, bias=with_bias).double()
    weight, bias = loss.classifier.weight, loss.classifier.bias
    value, of_feat, of_weight, of_bias = identity_by_hand(
        feat, weight.detach().numpy(), bias.detach().numpy() if with_bias else 0.0, label, spread, eps
    )
    given = tensor(feat)
    ours = loss(given, torch.tensor(label))
    ours.backward()
    assert ours.item() == pytest.approx(value, rel=TO)
    close(given.grad, of_feat)
    close(weight.grad, of_weight)
    if with_bias:
        close(bias.grad, of_bias)


COUNTS = {"16x4": [4] * 16, "8x3": [3] * 8, "unequal": [1, 2, 3, 5, 8, 1], "two": [1, 1], "alone": [6]}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("spread_out", [0.05, 1.0])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_batch_hard_triplet(counts, spread_out, margin):
    """Near each other every anchor pulls; farther apart some are at rest. Somebody with one image has no positive."""
    pid = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)) * 3, counts))
    feat = spread_out * some(1, len(pid), 5) + spread_out * some(2, 99, 5)[pid]
    value, gradient = triplet_by_hand(feat, pid, margin)
    given = tensor(feat)
    ours = batch_hard_triplet(given, torch.tensor(pid), margin)
    ours.backward()
    assert ours.item() == pytest.approx(value, rel=TO, abs=1e-12)
    close(given.grad, gradient)


def test_images_that_are_equally_hard_share_the_pull():
    """Whole coordinates, so that equal distances are equal to the last bit."""
    feat = np.array([[0, 0], [3, 4], [-3, 4], [5, 0], [0, -5], [0, 6], [6, 0]], dtype=np.float64)
    pid = np.array([0, 0, 0, 1, 1, 2, 2])
    away = np.sqrt(((feat[:, None] - feat) ** 2).sum(2))
    assert (away[0, 1], away[0, 3]) == (away[0, 2], away[0, 4]), "two positives and two negatives of the first"
    value, gradient = triplet_by_hand(feat, pid)
    given = tensor(feat)
    ours = batch_hard_triplet(given, torch.tensor(pid), MARGIN)
    ours.backward()
    assert ours.item() == pytest.approx(value, rel=TO)
    close(given.grad, gradient)


def test_a_pull_of_equal_strength_at_any_distance():
    """Plain and not squared: ten times as far, the gradient is as long. A pair of people, 1 x 1, no positives."""
    pulls = []
    for distance in (0.02, 0.2):
        given = tensor(np.array([[0.0, 0.0], [distance, 0.0]]))
        batch_hard_triplet(given, torch.tensor([0, 1]), MARGIN).backward()
        pulls.append(given.grad.numpy())
    close(pulls[0], [[1.0, 0.0], [-1.0, 0.0]])
    close(pulls[1], pulls[0])


@pytest.mark.parametrize("reading", READ)
def test_centre_loss(reading):
    recipe, expected = READ[reading].center, CENTRE[reading]
    assert recipe.weight == (BETA if expected else 0.0)
    feat, centres, label = some(0, 64, 12), some(1, 20, 12), np.arange(64) // 4
    loss = CenterLoss(12, 20, lr=recipe.lr, form=recipe.form).double()
    loss.centers = torch.tensor(centres)
    value, gradient = centre_by_hand(feat, centres, label, expected or "code")
    given = tensor(feat)
    ours = loss(given, torch.tensor(label))
    ours.backward()
    assert ours.item() == pytest.approx(value, rel=TO)
    close(given.grad, gradient)


def test_the_pulls_of_both_readings_differ_by_half_the_batch():
    """1/32 at B = 64."""
    feat, centres, label = some(0, 64, 12), some(1, 16, 12), np.arange(64) // 4
    pulls = {}
    for reading in ("paper-text", "official-code"):
        loss, given = CenterLoss(12, 16, form=READ[reading].center.form).double(), tensor(feat)
        loss.centers = torch.tensor(centres)
        loss(given, torch.tensor(label)).backward()
        pulls[reading] = given.grad.numpy()
    close(32 * pulls["official-code"], pulls["paper-text"])


@pytest.mark.parametrize("reading", READ)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_sum_of_equation_6(reading, dtype):
    """All terms at Market-1501's 751 people and a batch of 16 x 4; f_t gets what triplet and centre loss pull.

    In float32, as it is trained, values to 1e-6 and gradients to 1e-5 of the largest.
    """
    recipe, channels, people = READ[reading], 64, 751
    torch.manual_seed(0)
    objective = build_objective(recipe, {"": slice(0, channels)}, people).to(dtype)
    metric, search = some(0, 64, channels), some(1, 64, channels)
    label = np.random.default_rng(2).permutation(people)[np.arange(64) // 4]
    weight = objective.identity.classifier.weight.detach().double().numpy()
    value_id, of_search, of_weight, _ = identity_by_hand(search, weight, 0.0, label, SPREAD[reading])
    value_tri, of_metric = triplet_by_hand(metric, label)
    values = {"identity": value_id, "triplet": value_tri}
    if CENTRE[reading]:
        centres = objective.center.centers.double().numpy()
        value_c, pull = centre_by_hand(metric, centres, label, CENTRE[reading])
        values["center"] = BETA * value_c
        of_metric = of_metric + BETA * pull

    f_t, f_i = (torch.tensor(feat, dtype=dtype, requires_grad=True) for feat in (metric, search))
    terms = objective(f_t, f_i, torch.tensor(label))
    torch.stack(list(terms.values())).sum().backward()
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(values, rel=TO)
    found = (f_t.grad, f_i.grad, objective.identity.classifier.weight.grad)
    for ours, expected in zip(found, (of_metric, of_search, of_weight), strict=True):
        if dtype == torch.float64:
            close(ours, expected)
        else:
            np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_plain_baseline_is_plain_cross_entropy_with_a_bias():
    """Without its tricks: eps 0, a bias, no centre loss."""
    objective = build_objective(get_recipe("standard-baseline"), {"": slice(0, 12)}, 9).double()
    classifier = objective.identity.classifier
    feat, label = some(0, 8, 12), np.arange(8) // 2
    value, *_ = identity_by_hand(
        feat, classifier.weight.detach().numpy(), classifier.bias.detach().numpy(), label, "all", eps=0.0
    )
    terms = objective(torch.tensor(feat), torch.tensor(feat), torch.tensor(label))
    assert list(terms) == ["identity", "triplet"]
    assert terms["identity"].item() == pytest.approx(value, rel=TO)
