"""HA-CNN's head by hand."""

from __future__ import annotations

import pytest
import torch

from reidkit import recipe
from reidkit.errors import UsageError
from reidkit.model.heads.windows import Places
from reidkit.model.network import build_network


def test_places_side_by_side_by_hand() -> None:
    """Two channels, three places: the last two are those of place 2, then those of place 3."""
    row = torch.tensor([[1.0, 2, 3], [10, 20, 30]]).view(1, 2, 1, 3)
    assert Places(1, 3)(row).flatten().tolist() == [2, 20, 3, 30]
    assert Places(0, 1)(row).shape == (1, 2, 1, 1)


def test_two_features_of_512_and_in_search_each_of_length_1() -> None:
    """The published feature of 1,024 numbers; each half has an ID loss and a triplet loss."""
    network = build_network(
        recipe.Network(backbone="hacnn", width=0.25, head="windows", neck="bn-relu", unit=True)
    ).eval()
    assert dict(network.spans) == {"": slice(0, 1024), "whole": slice(0, 512), "regions": slice(512, 1024)}
    assert network.ranked == ("whole", "regions")
    halves = network(torch.randn(2, 3, 160, 64)).f_i.view(2, 2, 512)
    torch.testing.assert_close(halves.norm(dim=2), torch.ones(2, 2))


def test_it_belongs_to_its_backbone() -> None:
    with pytest.raises(UsageError, match="must be hacnn for the head windows"):
        recipe.Network(head="windows")
