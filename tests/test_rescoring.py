"""Sequences of a model, and re-scoring by them from Python and as a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import Model
from reidkit.errors import UsageError
from reidkit.evaluation import evaluate
from reidkit.imagenet import MEAN, STD
from reidkit.metrics.reranking.sequences import score_rescored
from reidkit.model.network import build_network
from reidkit.model.own_network import own_network
from reidkit.model.weights import save_model
from reidkit.recipe import override
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    network = build_network(RECIPE.network)
    return Model(network.eval(), RECIPE, save_model(path, network, RECIPE), path)


def test_rows_are_means_of_the_map_and_places_are_the_map(model: Model) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    unit = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    images = (unit - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.no_grad():
        map_bchw = model.network.backbone(images).numpy()
    rows, places = model.sequences(list(pixels), **CPU), model.sequences(list(pixels), part="places", **CPU)
    height, width = map_bchw.shape[2:]
    assert rows.shape == (3, height, map_bchw.shape[1])
    assert places.shape == (3, height * width, map_bchw.shape[1])
    wanted = map_bchw.mean(axis=3).transpose(0, 2, 1)
    np.testing.assert_allclose(rows, wanted / np.abs(wanted).max(axis=(1, 2), keepdims=True), atol=2e-3)
    whole = map_bchw.reshape(3, map_bchw.shape[1], -1).transpose(0, 2, 1)
    np.testing.assert_allclose(places, whole / np.abs(whole).max(axis=(1, 2), keepdims=True), atol=2e-3)


@pytest.mark.parametrize("head", ["token", "jigsaw"])
def test_patches_of_a_transformer_stand_in_their_rows(head: Any) -> None:
    """64x32 at stride 16: four rows of two patches, without the class token, whatever the head takes."""
    settings = {"network.backbone": "vit-tiny", "network.head": head, "network.last_stride": 2, "images.height": 64}
    recipe = override(RECIPE, {**settings, "images.width": 32, "network.width": 0.125})
    torch.manual_seed(0)
    made = Model(build_network(recipe.network).eval(), recipe)
    pixels = list(np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), dtype=np.uint8))
    before = made.embed(pixels, **CPU)
    rows, places = made.sequences(pixels, **CPU), made.sequences(pixels, part="places", **CPU)
    assert (rows.shape[1], places.shape[1]) == (4, 8)
    means = places.astype(np.float64).reshape(2, 4, 2, -1).mean(axis=2)
    found, wanted = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (rows.astype(np.float64), means))
    np.testing.assert_allclose(found, wanted, atol=5e-3)
    np.testing.assert_array_equal(made.embed(pixels, **CPU), before, "the model itself stays")


def test_the_rows_of_a_map_of_one_row_are_its_places() -> None:
    """HA-CNN's: the mean of the map, and the four windows from top to bottom."""
    settings = {"network.backbone": "hacnn", "network.head": "windows", "images.height": 160, "images.width": 64}
    recipe = override(RECIPE, settings)
    made = Model(build_network(recipe.network).eval(), recipe)
    pixels = list(np.random.default_rng(0).integers(0, 256, (2, 160, 64, 3), dtype=np.uint8))
    rows = made.sequences(pixels, **CPU)
    assert rows.shape[1] == 5
    np.testing.assert_array_equal(rows, made.sequences(pixels, part="places", **CPU))


def test_evaluate_re_scores_by_rows(model: Model, noise: Path) -> None:
    dataset = load_dataset(noise)
    found = evaluate(model, dataset, rescore="attention", rescore_top=5, **CPU)
    both = model.sequences(dataset.query, **CPU), model.sequences(dataset.gallery, **CPU)
    assert found.reranked is not None
    expected = score_rescored(found.query, found.gallery, both, "attention", top=5)
    assert found.reranked.map == pytest.approx(expected.map, abs=1e-9)
    assert "rerank" in found.seconds


def test_refuses_what_has_no_map(model: Model, noise: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        evaluate(model, noise, rescore="path", rerank="ecn")
    with pytest.raises(UsageError, match="say how by rescore"):
        evaluate(model, noise, rescore_top=5)
    with pytest.raises(UsageError, match="part"):
        model.sequences([], part="heads")  # type: ignore[arg-type]
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4))
    own = Model(own_network(flat, (32, 32)), RECIPE)
    with pytest.raises(UsageError, match="your own network hides"):
        evaluate(own, noise, rescore="path", **CPU)


def test_as_commands(nursery: Nursery, model: Model, noise: Path, tmp_path: Path) -> None:
    found = nursery.run("evaluate", model.path, "--data", noise, "--no-cache", "--rescore", "path", "--json").json()
    assert found["reranked"]["by"] == "path"
    files = [tmp_path / name for name in ("q.npz", "g.npz", "q.npy", "g.npy", "bad.npy")]
    rng = np.random.default_rng(0)
    for file, sequences, count in ((files[0], files[2], 4), (files[1], files[3], 8)):
        pids, camids = np.arange(count) % 4, np.arange(count) // 4 + (count == 4)
        np.savez(file, vectors=rng.normal(size=(count, 3)).astype(np.float32), pids=pids, camids=camids)
        np.save(sequences, rng.normal(size=(count, 2, 5)))
    files[4].write_bytes(b"nothing")
    words = ["score", files[0], files[1], "--rescore", "path", "--query-sequences", files[2], "--gallery-sequences"]
    assert nursery.run(*words, files[3], "--json").json()["reranked"]["queries"] == 4
    assert "bad.npy cannot be read" in nursery.run(*words, files[4]).line()
    assert "--gallery-sequences" in nursery.run(*words[:-1]).line()
    assert "excludes" in nursery.run(*words, files[3], "--rerank").line()
