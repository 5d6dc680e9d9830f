"""The comparison with the reference: by hand, on a narrow network, and with a reference that is wrong on purpose."""

import json
import math
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from benchmarks.reference import Reference, Setting

from benchmarks import official, parity, reference

WIDTH = 0.125


def test_losses_by_hand():
    """Two ids: logits of 0 are 1/2 each, so the ID loss is log 2, whatever is smoothed.

    On a line stand 0 and 1 of one id, 3 and 7 of another: the anchors' hardest are 1 and 3, 1 and 2, 4 and 2, 4 and 6;
    with a margin of 0.3 they lose 0, 0, 2.3 and 0. From the centres 0 and 5 the squares are 0, 1, 4 and 4.
    """
    labels = torch.tensor([0, 0, 1, 1])
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
    assert float(reference.smoothed_cross_entropy(torch.zeros(4, 2), labels, 0.1)) == pytest.approx(math.log(2))
    assert float(reference.hardest_triplets(line, labels, 0.3)) == pytest.approx(2.3 / 4)
    assert float(reference.center_distance(line, labels, torch.tensor([[0.0], [5.0]]))) == pytest.approx(9 / 4)


def test_smoothing_by_hand():
    """Of four ids, eps 0.4: the true one keeps 1 - 3/4 * 0.4 = 0.7 and the others 0.1; log p = -1, -2, -3, -4 + c."""
    logits = torch.tensor([[-1.0, -2.0, -3.0, -4.0]], dtype=torch.float64)
    c = torch.logsumexp(logits, dim=1)
    expected = 0.7 * 1 + 0.1 * (2 + 3 + 4) + float(c)
    assert float(reference.smoothed_cross_entropy(logits, torch.tensor([0]), 0.4)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1, 3.5e-6), (2, 3.815e-5), (5, 1.421e-4), (11, 3.5e-4), (40, 3.5e-4), (41, 3.5e-5), (71, 3.5e-6)],
)
def test_rates_as_the_authors_print_them(epoch, rate):
    assert reference.learning_rate(Setting(), epoch) == pytest.approx(rate)


def test_scores_by_hand():
    """Query of id 1, camera 1. Sorted: id 1 camera 1 (removed), junk (removed), id 2, id 1, id 1 and id 3 at one place.

    The matches are second and fourth: AP (1/2 + 2/4) / 2 = 1/2; by trapezoids 1/2 (0 + 1/2)/2 + 1/2 (1/3 + 2/4)/2 =
    1/3; the hardest match is fourth, INP 2/4. The other query has no match.
    """
    distances = np.array([[0.0, 0.1, 0.2, 0.3, 0.4, 0.4]] * 2)
    gallery = (np.array([1, -1, 2, 1, 1, 3]), np.array([1, 2, 2, 2, 3, 3]))
    found = reference.market_scores(distances, (np.array([1, 9]), np.array([1, 1])), gallery)
    assert (found["rank1"], found["rank5"], found["queries"]) == (0, 1, 1)
    assert found["map"] == pytest.approx(1 / 2)
    assert found["map_trapezoid"] == pytest.approx(1 / 3)
    assert found["minp"] == pytest.approx(1 / 2)


def test_batches_by_hand():
    """Ids with 5, 2 and 1 images give two, one and one chunks of two: for two ids at a time one or two batches."""
    pids = [0, 0, 0, 0, 0, 1, 1, 2]
    for seed in range(20):
        batches = reference.epoch_of_batches(pids, 2, 2, random.Random(seed))
        assert len(batches) in {1, 2}
        assert all(len({pids[index] for index in batch}) == 2 for batch in batches)


def value(figures, key):
    return figures[key].value


def train(steps, setting=None):
    return parity.training({"reference": partial(Reference, setting=setting or Setting())}, steps, WIDTH)


def test_three_steps_are_the_reference_s():
    figures = train(3)
    assert value(figures, "reference_weights_of_movement") < 1e-7
    assert value(figures, "reference_features") < 1e-6
    assert value(figures, "reference_largest_movement") > 1e-6
    for term in ("identity", "triplet", "center", "lr"):
        assert len(value(figures, f"reference_{term}_by_step")) == 3
        assert value(figures, f"reference_{term}") < 1e-9
    assert value(figures, "last_triplet") > 0.01


@pytest.mark.parametrize(
    ("name", "wrong", "key", "least"),
    [
        ("smoothing", 0.11, "reference_weights_of_movement", 1e-4),
        ("margin", 0.31, "reference_triplet", 5e-3),
        ("center_weight", 6e-4, "reference_center", 1e-3),
        ("center_lr", 0.51, "reference_centers", 1e-4),
        ("weight_decay", 6e-4, "reference_weights_of_movement", 1e-4),
        ("warmup_epochs", 9, "reference_lr", 1e-6),
        ("betas", (0.91, 0.999), "reference_weights_of_movement", 1e-4),
        ("eps", 1e-7, "reference_weights_of_movement", 1e-5),
    ],
)
def test_a_wrong_reference_is_seen(name, wrong, key, least):
    assert value(train(2 if name != "warmup_epochs" else 3, replace(Setting(), **{name: wrong})), key) > least


def test_scores_are_the_reference_s_ties_and_all(monkeypatch):
    cases = {
        "copies": (*parity.tied_features(0, 30, 200), "cosine"),
        "integers": (*parity.integer_features(0, 30, 200), "euclidean"),
    }
    figures = parity.scores(cases, None)
    for name in cases:
        assert value(figures, f"{name}_scores") < 1e-6
        assert value(figures, f"{name}_cmc") == 0
        assert value(figures, f"{name}_queries") == 0
        assert value(figures, f"{name}_tied") > 0.05
    monkeypatch.setattr(np, "lexsort", lambda keys: np.argsort(keys[1] - 1e-9 * keys[0], kind="stable"))
    assert value(parity.scores(cases, None), "integers_scores") > 1e-3  # matches first where there is a tie


def test_re_ranking_is_the_reference_s(monkeypatch):
    features = parity.made_up(20, 200, 16)
    assert value(parity.reranking(*features, None), "double") < 5e-6
    right = reference.k_reciprocal
    monkeypatch.setattr(reference, "k_reciprocal", lambda q, g, *rest: right(q, g[::-1], *rest))
    assert value(parity.reranking(*features, None), "double") > 1e-2


def test_the_sampler_is_the_reference_s():
    figures = parity.sampler(parity.market_listing(), 2, None)
    for name in ("reidkit", "reference"):
        assert value(figures, f"{name}_faults") == 0
        fewest, mean, most = value(figures, f"{name}_batches")
        assert 180 <= fewest <= mean <= most <= 185
    assert value(figures, "reidkit_reference_visits") < 0.2
    assert value(parity.sampler(np.repeat(np.arange(16), 4), 1, None), "reidkit_batches") == [1, 1, 1]


def test_the_command_prints_one_object(capsys):
    parity.main(["--only", "sampler", "--json"])
    assert json.loads(capsys.readouterr().out)["sampler"]["reidkit_faults"] == 0
    parity.main(["--only", "sampler"])
    assert "batches that are not 16 ids of 4 images" in capsys.readouterr().out


def test_a_folder_that_is_no_checkout(tmp_path):
    with pytest.raises(SystemExit, match=r"has no modeling/baseline\.py"):
        official.Checkout(tmp_path)
