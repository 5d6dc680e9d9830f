"""The sum of equation 6."""

import dataclasses

import pytest
import torch

from reidkit.losses.objective import Objective
from reidkit.losses.triplet import batch_hard_triplet
from reidkit.recipe import Center, Identity, Network, Recipe, Triplet

LABEL = torch.arange(8) // 2


def test_each_term_takes_its_feature():
    recipe = Recipe(network=Network(neck="bnneck"), center=Center(weight=5e-4), identity=Identity(smoothing=0.1))
    objective = Objective(recipe, 6, 4)
    metric, search = torch.randn(8, 6), torch.randn(8, 6)
    terms = objective(metric, search, LABEL)
    assert list(terms) == ["identity", "triplet", "center"]
    assert terms["identity"].item() == pytest.approx(objective.identity(search, LABEL).item())
    assert terms["triplet"].item() == pytest.approx(batch_hard_triplet(metric, LABEL, 0.3).item())
    squares = (metric - objective.center.centers[LABEL]).square().sum(1)
    assert terms["center"].item() == pytest.approx(5e-4 * squares.mean().item())


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"identity": Identity(weight=0.0)}, ["triplet"]),
        ({"triplet": Triplet(weight=0.0)}, ["identity"]),
        ({}, ["identity", "triplet"]),
    ],
)
def test_a_term_without_weight_is_not_there(change, left):
    objective = Objective(dataclasses.replace(Recipe(), **change), 6, 4)
    assert list(objective(torch.randn(8, 6), torch.randn(8, 6), LABEL)) == left


def test_weights_scale_their_terms():
    features = torch.randn(8, 6), torch.randn(8, 6), LABEL
    plain = Objective(Recipe(), 6, 4)
    heavy = Objective(Recipe(identity=Identity(weight=3.0), triplet=Triplet(weight=2.0)), 6, 4)
    heavy.load_state_dict(plain.state_dict())
    one, more = plain(*features), heavy(*features)
    assert more["identity"].item() == pytest.approx(3 * one["identity"].item())
    assert more["triplet"].item() == pytest.approx(2 * one["triplet"].item())


def test_classifier_has_a_bias_only_without_a_neck():
    assert Objective(Recipe(), 6, 4).identity.classifier.bias is not None
    assert Objective(Recipe(network=Network(neck="bnneck")), 6, 4).identity.classifier.bias is None


def test_step_moves_the_centres():
    objective = Objective(Recipe(center=Center(weight=5e-4)), 6, 4)
    before = objective.center.centers.clone()
    objective(torch.randn(8, 6), torch.randn(8, 6), LABEL)
    objective.step(3.5e-4)
    assert not torch.equal(objective.center.centers, before)
