"""Networks that are told the camera, from the training images to features, and through distillation and adaptation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import load_model
from reidkit.errors import UsageError
from reidkit.recipe import override
from reidkit.train import TrainOptions, train
from reidkit.train.cluster_contrast import adapt
from reidkit.types import NO_CAMERA, SampleTable
from tests.train.test_cluster_contrast import TINY
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.train import Run

CPU = TrainOptions(device="cpu", precision="fp32", save_every=1)
VIT = ["network.backbone=vit-tiny", "network.width=0.125", "network.patch_stride=12", "network.last_stride=1"]
WITH_CAMERAS = override(
    RECIPE, ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0", *VIT, "network.cameras=8"]
)


@pytest.fixture(scope="module")
def run(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(WITH_CAMERAS, noise, out=tmp_path_factory.mktemp("cameras") / "run", options=CPU)


def camera_ids(model: Any) -> list[float]:
    """The camera that each row of the network's table is of; -1: none."""
    found: list[float] = model.network.backbone.cameras.camera_ids.tolist()
    return found


def test_each_camera_of_the_training_has_a_row(run: Run, noise: Path) -> None:
    known = np.unique(load_dataset(noise).train.camids)
    rows = camera_ids(run.model)
    assert len(known) > 1
    assert rows[: len(known)] == known.tolist()
    assert set(rows[len(known) :]) == {-1}
    saved = camera_ids(load_model(run.folder))
    assert saved == rows


def test_samples_are_embedded_by_their_cameras_and_others_by_none(run: Run, noise: Path) -> None:
    query = load_dataset(noise).query
    model = load_model(run.folder)
    told = model.embed(query).vectors
    untold = model.embed([str(sample.path) for sample in query])
    unknown = model.embed([replace(sample, camid=NO_CAMERA) for sample in query]).vectors
    foreign = model.embed([replace(sample, camid=77) for sample in query]).vectors
    assert np.abs(told - untold).max() > 1e-4
    np.testing.assert_allclose(unknown, untold, atol=1e-6)
    np.testing.assert_allclose(foreign, untold, atol=1e-6)


def test_too_many_cameras_are_named(noise: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"come from \d+ cameras, and the network has room for 1: set network.cameras"):
        train(override(WITH_CAMERAS, ["network.cameras=1"]), noise, out=tmp_path / "run", options=CPU)


def test_a_network_with_cameras_learns_from_a_teacher_and_without_labels(run: Run, noise: Path, tmp_path: Path) -> None:
    student = train(WITH_CAMERAS, noise, out=tmp_path / "student", teacher=run.model, options=CPU, seed=1)
    assert student.model.embed(load_dataset(noise).query).vectors.shape == (4, student.model.dim)
    settings = {**TINY, "optim.epochs": 1, "optim.drops": []}
    adapted = adapt(run.model, noise, out=tmp_path / "adapted", settings=settings, options=CPU)
    rows = camera_ids(adapted.model)
    assert rows == camera_ids(run.model)


@pytest.mark.parametrize("setting", ["batch.cameras=spread", "images.exchange=0.5", ""])
def test_a_run_goes_on_with_its_own_cameras(setting: str, noise: Path, tmp_path: Path) -> None:
    """The digest of a training set does not have them: batches and styles became others in silence."""
    recipe = override(RECIPE, ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0", *filter(None, [setting])])
    dataset = load_dataset(noise)
    train(recipe, dataset, out=tmp_path / "run", options=CPU)
    moved = replace(dataset, train=SampleTable([replace(sample, camid=sample.camid + 1) for sample in dataset.train]))
    if setting:
        with pytest.raises(UsageError, match="its training images came from other cameras"):
            train(recipe, moved, out=tmp_path / "run", options=CPU, resume=True)
    else:
        train(recipe, moved, out=tmp_path / "run", options=CPU, resume=True)
    train(recipe, dataset, out=tmp_path / "run", options=CPU, resume=True)
