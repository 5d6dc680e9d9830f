"""A recipe with masks from its first step to scores, features and a resume."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.embedding import embed_images
from reidkit.encoder import load_model
from reidkit.errors import DataError, UsageError
from reidkit.evaluation import evaluate
from reidkit.export import export_model
from reidkit.metrics.features import read_features
from reidkit.recipes import get_recipe
from reidkit.synth import synthesize
from reidkit.train.inputs import TrainOptions
from reidkit.train.log import Callback
from reidkit.train.run import train

TINY = {
    "network.width": 0.125,
    "images.height": 64,
    "images.width": 32,
    "images.pad": 2,
    "batch.ids": 4,
    "batch.images": 2,
    "batch.visits": "once",
    "optim.epochs": 2,
    "optim.drops": [],
    "optim.warmup_epochs": 0,
}
METHODS = ("maskreid", "spreid", "pse", "glad", "pie")


def tiny(name, **changes):
    return get_recipe(f"small-{name}", {**TINY, **changes})


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    out = tmp_path_factory.mktemp("masked") / "people"
    synthesize(out, ids=8, cameras=2, images_per_camera=2, height=64, width=32, workers=1, masks=True)
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory, people):
    runs = tmp_path_factory.mktemp("runs")
    return {name: train(tiny(name), people, out=runs / name, masks=people / "masks") for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_it_is_trained_evaluated_and_embeds(trained, people, tmp_path, name):
    run = trained[name]
    model = load_model(run.folder)
    scores = evaluate(model, people, masks=people / "masks", flip=True, device="cpu").scores
    assert 0 < scores.map <= 1
    dataset = load_dataset(people)
    vectors = model.embed(dataset.query, masks=people / "masks", precision="fp32").vectors
    paths = [sample.path for sample in dataset.query]
    np.testing.assert_allclose(model.embed(paths, masks=people / "masks", precision="fp32"), vectors, atol=1e-5)
    embed_images(model, dataset.query, tmp_path / "f.npz", masks=people / "masks", precision="fp32")
    np.testing.assert_allclose(read_features(tmp_path / "f.npz").vectors, vectors, atol=1e-5)
    assert not np.allclose(
        vectors, model.embed(dataset.query, masks=_ones(people, tmp_path), missing_masks="ones").vectors
    )


def _ones(people, tmp_path):
    """One mask of one query: the others have none."""
    name = min(path.stem for path in (people / "query").iterdir())
    for kind in ("grey", "labels"):
        (tmp_path / "few" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(people / "masks" / kind / "query" / f"{name}.png", tmp_path / "few" / kind)
    (tmp_path / "few/keypoints").mkdir(parents=True, exist_ok=True)
    np.save(tmp_path / "few/keypoints" / f"{name}.npy", np.zeros((14, 64, 32), np.uint8))
    return tmp_path / "few"


class StopAt(Callback):
    """End a run without a word at a step."""

    def __init__(self, step):
        self.step = step

    def on_position(self, progress, batches):  # noqa: ARG002
        if progress.step == self.step:
            raise KeyboardInterrupt


def test_a_resumed_run_has_the_weights_of_the_unbroken_one(trained, people, tmp_path):
    options = TrainOptions(save_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(
            tiny("maskreid"), people, out=tmp_path / "run", masks=people / "masks", options=options,
            callbacks=(StopAt(2),),
        )  # fmt: skip
    resumed = train(tiny("maskreid"), people, out=tmp_path / "run", masks=people / "masks", resume=True)
    assert resumed.model.fingerprint == trained["maskreid"].model.fingerprint


def test_its_page_is_written(trained):
    assert trained["maskreid"].write_report("reidkit train").is_file()


def test_other_masks_are_another_run(trained, people, tmp_path):
    shutil.copytree(trained["maskreid"].folder, tmp_path / "run")
    shutil.copytree(people / "masks/grey", tmp_path / "grey")
    first = next((tmp_path / "grey/bounding_box_train").iterdir())
    first.write_bytes(first.read_bytes() + b"more")
    with pytest.raises(UsageError, match="was begun otherwise"):
        train(tiny("maskreid"), people, out=tmp_path / "run", masks=tmp_path / "grey", resume=True)


def test_masks_that_are_wanted_missing_or_too_many(trained, people, tmp_path, caplog):
    with pytest.raises(UsageError, match="takes a grey mask beside each image"):
        train(tiny("maskreid"), people, out=tmp_path / "a")
    with pytest.raises(UsageError, match="takes no masks"):
        train(get_recipe("small-bnneck", TINY), people, out=tmp_path / "b", masks=people / "masks")
    few = _ones(people, tmp_path)
    shutil.copytree(people / "masks/grey/bounding_box_train", few / "grey", dirs_exist_ok=True)
    left = min((few / "grey").iterdir())
    left.unlink()
    with pytest.raises(DataError, match=r"1 of 16 images have no mask"):
        train(tiny("maskreid"), people, out=tmp_path / "c", masks=few)
    model = load_model(trained["maskreid"].folder)
    with pytest.raises(UsageError, match="takes a grey mask beside each image"):
        evaluate(model, people)
    with pytest.raises(UsageError, match="takes a grey mask beside each image"):
        model.embed([np.zeros((64, 32, 3), np.uint8)])
    with pytest.raises(UsageError, match="found by the name of its file: give paths"):
        model.embed([np.zeros((64, 32, 3), np.uint8)], masks=people / "masks")
    with caplog.at_level(logging.WARNING, "reidkit.encoder"):
        model.embed(load_dataset(people).query, masks=_ones(people, tmp_path / "d"), missing_masks="ones")
    assert "of 8 images have no mask: all ones are taken for it" in caplog.text


def test_what_has_no_masks_refuses_the_model(trained, people, tmp_path):
    model = load_model(trained["spreid"].folder)
    with pytest.raises(UsageError, match="an exported file takes images alone"):
        export_model(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="leave out rescore"):
        evaluate(model, people, masks=people / "masks", rescore="path")


def test_autoaugment_and_masks_exclude_each_other():
    with pytest.raises(UsageError, match=r"images\.augment must be 0 with network.masks"):
        tiny("maskreid", **{"images.augment": 0.5})
