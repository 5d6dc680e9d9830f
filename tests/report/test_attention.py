"""Activation and similarity maps by hand, and on tiny networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit import recipe
from reidkit.encoder import Model
from reidkit.errors import DataError
from reidkit.model.network import build_network
from reidkit.report.attention import activation, attend, similarity
from reidkit.types import Sample

SIZE = recipe.Images(height=64, width=32, pad=0)


def tiny(**network):
    torch.manual_seed(1)
    made = recipe.Recipe(network=recipe.Network(backbone="resnet18", width=0.125, **network), images=SIZE)
    built = build_network(made.network)
    if made.network.neck == "bnneck":
        built.head.neck.running_mean.normal_()
        built.head.neck.running_var.uniform_(0.5, 2)
    return Model(built.eval(), made, "")


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(path)
    return [Sample(path, 1, 0) for path in paths]


def test_activation_by_hand():
    """Two channels, 3 and 4 at one place: 5; one place is empty: 0."""
    places = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])
    assert activation(places).tolist() == [[[5.0, 0.0]]]


def test_activation_is_the_norm_of_the_networks_own_last_map(samples):
    model = tiny(neck="bnneck")
    seen = attend(model, samples, torch.device("cpu"))
    assert seen.activation.shape == (3, 2, 1)
    assert seen.places.shape == (3, 64, 2, 1)
    np.testing.assert_allclose(seen.activation, np.linalg.norm(seen.places.numpy(), axis=1), rtol=1e-5)


@pytest.mark.parametrize("network", [{}, {"neck": "bnneck"}, {"neck": "bnneck", "embedding": 4}, {"last_stride": 1}])
def test_the_mean_of_a_similarity_map_is_the_cosine(samples, network):
    model = tiny(**network)
    seen = attend(model, samples, torch.device("cpu"))
    maps = similarity(model.network, seen.search[0], seen.places)
    unit = seen.search / np.linalg.norm(seen.search, axis=1, keepdims=True)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), unit @ unit[0], atol=1e-5)
    assert maps[0].mean() == pytest.approx(1, abs=1e-5)


def test_a_similarity_map_is_the_last_map_weighted_by_the_gradient(samples):
    """Of the dot product of the features, as in Grad-CAM; what does not depend on the image is the same everywhere."""
    model = tiny(neck="bnneck")
    seen = attend(model, samples, torch.device("cpu"))
    places = seen.places[:1].clone().requires_grad_()
    first = model.network.head(places).f_i[0]
    unit = torch.from_numpy(seen.search[1] / np.linalg.norm(seen.search[1]))
    (slope,) = torch.autograd.grad(first @ unit / first.detach().norm(), places)
    count = places.shape[2] * places.shape[3]
    weighted = count * (slope.mean(dim=(2, 3), keepdim=True) * places).sum(dim=1)[0].detach().numpy()
    (found,) = similarity(model.network, seen.search[1], seen.places[:1])
    assert np.ptp(found) > 0.01
    np.testing.assert_allclose(found - found.mean(), weighted - weighted.mean(), atol=1e-4)


def test_the_place_that_looks_like_the_query_stands_out():
    """One place has the query's direction, another its opposite, the rest is nothing."""
    model = tiny()
    query = np.zeros(64, np.float32)
    query[5] = 2
    places = torch.zeros(1, 64, 2, 2)
    places[0, 5, 0, 1], places[0, 5, 1, 0], places[0, 7, 1, 1] = 3.0, -1.0, 1.0
    (found,) = similarity(model.network, query, places)
    length = np.hypot(0.5, 0.25)
    np.testing.assert_allclose(found, [[0, 3 / length], [-1 / length, 0]], rtol=1e-6)


def test_missing_and_broken_images_are_said(tmp_path):
    with pytest.raises(DataError):
        attend(tiny(), [Sample(Path(tmp_path / "gone.jpg"), 1, 0)], torch.device("cpu"))
