"""Similarity maps by hand, and on tiny networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit import recipe
from reidkit.encoder import Model
from reidkit.errors import DataError
from reidkit.model.network import build_network
from reidkit.report.attention import attend, similarity
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


@pytest.mark.parametrize("network", [{}, {"neck": "bnneck"}, {"neck": "bnneck", "embedding": 4}, {"last_stride": 1}])
def test_the_mean_of_a_similarity_map_is_the_cosine(samples, network):
    model = tiny(**network)
    seen = attend(model, samples, torch.device("cpu"))
    maps = similarity(model.network, seen.f_i[0], seen.maps)
    unit = seen.f_i / np.linalg.norm(seen.f_i, axis=1, keepdims=True)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), unit @ unit[0], atol=1e-5)
    assert maps[0].mean() == pytest.approx(1, abs=1e-5)


def test_a_similarity_map_is_the_last_map_weighted_by_the_gradient(samples):
    """Of the dot product of the features, as in Grad-CAM; what does not depend on the image is the same everywhere."""
    model = tiny(neck="bnneck")
    seen = attend(model, samples, torch.device("cpu"))
    places = seen.maps[:1].clone().requires_grad_()
    first = model.network.head(places).f_i[0]
    unit = torch.from_numpy(seen.f_i[1] / np.linalg.norm(seen.f_i[1]))
    (slope,) = torch.autograd.grad(first @ unit / first.detach().norm(), places)
    count = places.shape[2] * places.shape[3]
    weighted = count * (slope.mean(dim=(2, 3), keepdim=True) * places).sum(dim=1)[0].detach().numpy()
    (found,) = similarity(model.network, seen.f_i[1], seen.maps[:1])
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


def test_unreadable_images_are_an_error(tmp_path):
    with pytest.raises(DataError):
        attend(tiny(), [Sample(Path(tmp_path / "gone.jpg"), 1, 0)], torch.device("cpu"))


def test_a_network_without_feature_maps_is_an_error(samples):
    """A user's own network maps images to features in any way it likes."""

    class Flat(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1)

    with pytest.raises(DataError, match="need a network of a backbone and a head"):
        attend(Model(Flat(), tiny().recipe, ""), samples, torch.device("cpu"))
