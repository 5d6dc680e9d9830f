from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InputSpec, Model, load_model, require_torch
from reidkit.errors import DataError, RunError, UsageError
from reidkit.losses.cluster_memory import ClusterMemory
from reidkit.metrics.clustering import jaccard_clusters
from reidkit.model.network import build_network
from reidkit.model.weights import fingerprint
from reidkit.recipe import digest, override
from reidkit.train import cluster_contrast, log
from reidkit.train.cluster_contrast import ClusterSampler, adapt, adaptation_recipe
from reidkit.train.inputs import TrainOptions
from reidkit.train.log import TIMINGS, Callback
from reidkit.train.run import Run, train
from reidkit.train.run_folder import holds_run
from reidkit.types import Dataset, Sample, SampleTable, as_samples
from tests.train.tiny import RECIPE, CrashError, same_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reidkit.train.checkpoint import Progress

TINY = {
    "adapt.eps": 0.55,
    "adapt.k1": 4,
    "adapt.k2": 2,
    "adapt.min_images": 2,
    "adapt.steps": 3,
    "batch.ids": 4,
    "batch.images": 2,
    "optim.epochs": 2,
    "optim.drops": [],
}
"""Settings under which the 32 training images of `tests.noise` make up a few clusters."""
CPU = TrainOptions(device="cpu", precision="fp32", save_every=1)


@pytest.fixture(scope="module")
def model(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    recipe = override(RECIPE, ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0"])
    return train(recipe, noise, out=tmp_path_factory.mktemp("source") / "run", options=CPU).model


@pytest.fixture(scope="module")
def finished(model: Model, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("adapted") / "run"
    return adapt(model, noise, out=out, settings=TINY, options=replace(CPU, evaluate_every=1))


def rows_of(folder: Path, kind: str = "") -> list[dict[str, Any]]:
    rows = log.read(folder / "log.jsonl")
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows if kind in ("", row["kind"])]


def file_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_run_like_any_other(finished: Run, model: Model, noise: Path) -> None:
    loaded = require_torch(load_model(finished.folder))
    assert loaded.fingerprint == finished.model.fingerprint != model.fingerprint
    assert loaded.recipe.name == f"{model.recipe.name}-adapted"
    assert loaded.recipe.adapt.eps == 0.55
    assert finished.before is not None
    assert finished.evaluation is not None
    assert json.loads((finished.folder / "run.json").read_text())["adapted_from"] == model.fingerprint
    assert finished.write_report("reidkit adapt").is_file()
    assert loaded.embed(load_dataset(noise).query).vectors.shape == (4, loaded.dim)


def test_the_log_counts_clusters_and_outliers(finished: Run, model: Model, noise: Path) -> None:
    rows = rows_of(finished.folder, "clusters")
    assert [(row["epoch"], row["step"], row["images"]) for row in rows] == [(1, 0, 32), (2, 3, 32)]
    assert all(row["clusters"] >= 2 and 0 <= row["outliers"] < 32 for row in rows)
    vectors = model.embed(load_dataset(noise).train, device="cpu", precision="fp32").vectors
    first = jaccard_clusters(vectors, eps=0.55, k1=4, k2=2, min_images=2)
    assert (rows[0]["clusters"], rows[0]["outliers"]) == (first.max() + 1, np.count_nonzero(first < 0))
    steps = rows_of(finished.folder, "step")
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert all(row["loss"] == row["contrast"] > 0 for row in steps)


def test_the_last_epoch_is_saved_whatever_its_scores(finished: Run, model: Model, noise: Path, tmp_path: Path) -> None:
    unseen = Dataset("unseen", load_dataset(noise).train)
    run = adapt(model, unseen, out=tmp_path / "run", settings=TINY, options=CPU)
    assert run.evaluation is None
    assert run.before is None
    assert file_of(run.folder) == file_of(finished.folder)
    with pytest.raises(UsageError, match=r"last epoch"):
        adapt(model, noise, out=tmp_path / "b", settings={**TINY, "optim.best_every": 1})


def test_ids_of_the_images_are_never_read(finished: Run, model: Model, noise: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dataset = load_dataset(noise)
    pids = rng.permutation(dataset.train.pids)
    shuffled = SampleTable(Sample(s.path, int(pid), s.camid) for s, pid in zip(dataset.train, pids, strict=True))
    run = adapt(model, Dataset("shuffled", shuffled), out=tmp_path / "run", settings=TINY, options=CPU)
    assert file_of(run.folder) == file_of(finished.folder)
    ours, theirs = (json.loads((folder / "run.json").read_text()) for folder in (run.folder, finished.folder))
    assert ours == theirs


class At(Callback):
    """Does something right after a step."""

    def __init__(self, step: int, what: Callable[[], None]) -> None:
        self.step, self.what = step, what

    def on_position(self, progress: Progress, _: int) -> None:
        if progress.step == self.step:
            self.what()


def asked_to_stop_at(step: int) -> Callback:
    return At(step, lambda: signal.raise_signal(signal.SIGTERM))


def crash() -> None:
    raise CrashError


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_stopped_run_goes_on_bit_for_bit(finished: Run, model: Model, noise: Path, tmp_path: Path, step: int) -> None:
    out, unseen = tmp_path / "run", Dataset("unseen", load_dataset(noise).train)
    with pytest.raises(RunError, match=r"resume"):
        adapt(model, unseen, out=out, settings=TINY, options=CPU, callbacks=[asked_to_stop_at(step)])
    run = adapt(model, unseen, out=out, settings=TINY, options=CPU, resume=True)
    assert file_of(out) == file_of(finished.folder)
    without_scores = [row for row in rows_of(finished.folder) if row["kind"] != "scores"]
    assert rows_of(out) == without_scores
    assert same_weights(run.model.network, finished.model.network)


class AtEmbedding(Callback):
    """Asks for a stop when the first images are embedded for an epoch, and counts what is embedded after that."""

    def __init__(self, epoch: int) -> None:
        self.what, self.after = f"embedding for epoch {epoch}", 0

    def on_progress(self, what: str, done: int, total: int) -> None:  # noqa: ARG002
        if what == self.what:
            self.after += self.after > 0
            handler = signal.getsignal(signal.SIGTERM)
            if not self.after and callable(handler):
                handler(signal.SIGTERM, None)
                self.after = 1


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_stop_does_not_wait_for_all_images_to_be_embedded(
    finished: Run, model: Model, noise: Path, tmp_path: Path, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reidkit.encoder.torch_model.choose_batch", lambda _: 8)  # of 32 images
    out, unseen, asks = tmp_path / "run", Dataset("unseen", load_dataset(noise).train), AtEmbedding(epoch)
    with pytest.raises(RunError, match=f"saved at step {3 * (epoch - 1)} of epoch 1; go on with"):
        adapt(model, unseen, out=out, settings=TINY, options=CPU, callbacks=[asks])
    assert asks.after == 1
    adapt(model, unseen, out=out, settings=TINY, options=CPU, resume=True)
    assert file_of(out) == file_of(finished.folder)
    assert rows_of(out) == [row for row in rows_of(finished.folder) if row["kind"] != "scores"]


def test_a_killed_run_goes_on_from_its_checkpoint(finished: Run, model: Model, noise: Path, tmp_path: Path) -> None:
    out, unseen = tmp_path / "run", Dataset("unseen", load_dataset(noise).train)

    with pytest.raises(CrashError):
        adapt(model, unseen, out=out, settings=TINY, options=CPU, callbacks=[At(5, crash)])
    adapt(model, unseen, out=out, settings=TINY, options=CPU, resume=True)
    assert file_of(out) == file_of(finished.folder)


def test_images_without_ids_share_none_with_query_and_gallery(
    model: Model, noise: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them have the pid 0, as the distractors of Market-1501 have, and no others to choose hard ids from."""
    dataset = load_dataset(noise)
    first = dataset.gallery[0]
    distracted = replace(dataset, gallery=as_samples([*dataset.gallery, Sample(first.path, 0, first.camid)]))
    settings = {**TINY, "optim.epochs": 1, "adapt.steps": 1}
    with caplog.at_level("WARNING", "reidkit.train"):
        run = adapt(model, distracted, out=tmp_path / "run", settings=settings, options=CPU)
    assert not [warning for warning in run.warnings if "share" in warning]
    assert "hard_pool" not in caplog.text


def test_the_model_that_is_adapted_stays_as_it_is(finished: Run, model: Model) -> None:
    assert fingerprint(model.network.state_dict()) == model.fingerprint
    assert finished.model.fingerprint != model.fingerprint


def test_a_folder_of_images_will_do(model: Model, noise: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    for number, path in enumerate(sorted((noise / "bounding_box_train").iterdir())[:12]):
        shutil.copy(path, folder / f"image {number}.jpg")
    one = {**TINY, "optim.epochs": 1, "adapt.steps": 1}
    run = adapt(model, folder, out=tmp_path / "run", settings=one, options=CPU)
    assert run.description == "crops: 12 images without labels"
    assert run.evaluation is None


def test_refuses_what_makes_no_clusters(model: Model, noise: Path, tmp_path: Path) -> None:
    dataset = load_dataset(noise)
    with pytest.raises(DataError, match=r"3 images are too few .* at least 4"):
        adapt(model, list(dataset.train[:3]), out=tmp_path / "a", settings=TINY, options=CPU)
    with pytest.raises(RunError, match=r"no clusters and 32 outliers: raise adapt.eps, which is 0.3"):
        adapt(
            model, noise, out=tmp_path / "b", settings={**TINY, "adapt.eps": 0.3, "adapt.min_images": 16}, options=CPU
        )
    assert not holds_run(tmp_path / "b")
    again = {**TINY, "optim.epochs": 1}
    assert adapt(model, noise, out=tmp_path / "b", settings=again, options=CPU).folder == tmp_path / "b"
    copies = [dataset.train[0]] * 8
    with pytest.raises(RunError, match=r"make up 1 cluster and 0 outliers: lower adapt.eps"):
        adapt(model, copies, out=tmp_path / "c", settings=TINY, options=CPU)
    with pytest.raises(DataError, match=r"no training images"):
        adapt(model, Dataset("test", (), dataset.query, dataset.gallery), out=tmp_path / "d", options=CPU)


def test_refuses_what_cannot_learn(noise: Path, tmp_path: Path) -> None:
    path: Any = "runs/a"
    with pytest.raises(UsageError, match="the model is a str: pass what load_model returns"):
        adapt(path, noise, out=tmp_path / "run")
    exported: Any = SimpleNamespace(input=InputSpec(height=4, width=2), dim=3, fingerprint="a", encode=None)
    with pytest.raises(UsageError, match="a SimpleNamespace, which cannot learn: give the run folder"):
        adapt(exported, noise, out=tmp_path / "run")


def test_a_state_of_other_images_is_refused(model: Model, noise: Path, tmp_path: Path) -> None:
    out, unseen = tmp_path / "run", Dataset("unseen", load_dataset(noise).train)
    with pytest.raises(RunError):
        adapt(model, unseen, out=out, settings=TINY, options=CPU, callbacks=[asked_to_stop_at(1)])
    state = torch.load(out / "state.pt", weights_only=True)
    state["objective"]["contrast.clusters"] = state["objective"]["contrast.clusters"][:5]
    torch.save(state, out / "state.pt")
    with pytest.raises(RunError, match=r"damaged"):
        adapt(model, unseen, out=out, settings=TINY, options=CPU, resume=True)


def test_the_recipe_keeps_images_and_network_and_no_digest_changes(model: Model) -> None:
    recipe = adaptation_recipe(model.recipe, ["adapt.eps=0.5"])
    assert (recipe.network, recipe.images) == (model.recipe.network, model.recipe.images)
    assert (recipe.batch.ids, recipe.batch.images, recipe.optim.epochs) == (16, 16, 50)
    usual = replace(RECIPE, adapt=replace(RECIPE.adapt, eps=0.6))
    assert digest(usual) == digest(RECIPE) != digest(replace(RECIPE, adapt=replace(RECIPE.adapt, eps=0.5)))


def test_the_sampler_draws_no_outlier_and_any_number_of_steps() -> None:
    sampler = ClusterSampler(ids=3, images=2, steps=7, seed=1)
    sampler.clusters = np.array([0, -1, 1, 0, 1, -1, 2, 2, 2, 3])
    order = sampler.epoch(1)
    assert order.shape == (7, 6)
    assert not np.isin(order, [1, 5]).any()
    clusters = sampler.clusters[order].reshape(7, 3, 2)
    assert (clusters[:, :, 0] == clusters[:, :, 1]).all()
    assert all(len(set(row)) == 3 for row in clusters[:, :, 0].tolist())
    assert np.array_equal(order, sampler.epoch(1))
    assert not np.array_equal(order, sampler.epoch(2))
    few = ClusterSampler(ids=8, images=2, steps=2, seed=1)
    few.clusters = np.array([0, 0, 1, -1])
    assert few.epoch(1).shape == (2, 4)


def test_the_images_of_a_cluster_come_from_many_cameras() -> None:
    """Two clusters of six images, four by one camera and one each by two others: all three are in every draw."""
    camids = np.array([0, 0, 0, 0, 1, 2] * 2)
    sampler = ClusterSampler(ids=2, images=3, steps=4, seed=0, camids=camids)
    sampler.clusters = np.repeat([0, 1], 6)
    drawn = camids[sampler.epoch(1)].reshape(4, 2, 3)
    firsts = drawn[::2]  # a pass has two batches; the second has what the first one left
    assert (np.sort(firsts, axis=2) == [0, 1, 2]).all()


@pytest.mark.parametrize(
    ("parts", "clusters", "wanted"),
    [((1, 1), 3, 3), ((1, 1), 9, 8), ((2, 1), 3, 2), ((4, 2), 7, 4), ((1, 2), 3, 2), ((4, 1), 3, 0)],
)
def test_few_clusters_are_dealt_out_evenly(parts: tuple[int, int], clusters: int, wanted: int) -> None:
    """To micro-batches whole; to processes by their images, of which a cluster gives three."""
    assert ClusterSampler(ids=8, images=3, steps=1, seed=0, parts=parts).per_batch(clusters) == wanted


def test_refuses_fewer_clusters_than_parts_of_a_batch(model: Model, noise: Path, tmp_path: Path) -> None:
    out, many = tmp_path / "run", {**TINY, "batch.ids": 16, "batch.micro_batches": 16, "optim.epochs": 1}
    with pytest.raises(RunError, match=r"too few for the parts of a batch: set batch\.micro_batches to 1"):
        adapt(model, noise, out=out, settings=many, options=CPU)
    assert not holds_run(out)


def test_clusters_that_run_together_later_leave_what_was_learned(
    model: Model, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on keeps its settings, so that another one needs another folder."""
    found = iter([np.arange(32) % 4, np.zeros(32, np.int64)])
    monkeypatch.setattr(cluster_contrast, "jaccard_clusters", lambda *_, **__: next(found))
    with pytest.raises(RunError) as caught:
        adapt(model, noise, out=tmp_path / "run", settings=TINY, options=CPU)
    assert str(caught.value) == (
        "before epoch 2 the 32 images make up 1 cluster and 0 outliers: lower adapt.eps, which is 0.55, in another "
        "folder, or begin with a better model"
    )
    assert (tmp_path / "run" / "state.pt").is_file()


@pytest.mark.parametrize("parts", [1, 2])
def test_parts_of_a_batch_move_the_centroids_once(
    model: Model, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """By the eight images of the whole batch: the second pass of a part does not reach the memory."""
    moved: list[int] = []
    step = ClusterMemory.step

    def counted(memory: ClusterMemory, lr: float | None = None) -> None:
        assert memory._last is not None
        moved.append(len(memory._last[1]))
        step(memory, lr)

    monkeypatch.setattr(ClusterMemory, "step", counted)
    settings = {**TINY, "batch.micro_batches": parts, "optim.epochs": 1, "adapt.steps": 2}
    adapt(model, Dataset("unseen", load_dataset(noise).train), out=tmp_path / "run", settings=settings, options=CPU)
    assert moved == [8, 8]


@pytest.mark.parametrize("setting", ["network.width=0.25", "network.backbone=resnet34", "triplet.weight=2"])
def test_what_an_adaptation_takes_as_it_is_cannot_be_set(model: Model, setting: str) -> None:
    """The weights of the model, saved by a recipe with another network, could not be loaded."""
    with pytest.raises(UsageError, match=f"{setting.partition('=')[0]} changes nothing of an adaptation: the "):
        adaptation_recipe(model.recipe, [setting])
    same = model.recipe.network.backbone
    assert adaptation_recipe(model.recipe, {"network.backbone": same}).network == model.recipe.network


def test_refuses_a_pool_and_a_model_that_takes_masks(model: Model, noise: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set batch\.hard_pool to 0"):
        adaptation_recipe(model.recipe, ["batch.hard_pool=5"])
    assert adaptation_recipe(override(model.recipe, ["batch.hard_pool=5"])).batch.hard_pool == 0
    masked = override(RECIPE, ["network.masks=grey"])
    with pytest.raises(UsageError, match=r"takes a mask beside each image"):
        adapt(Model(build_network(masked.network), masked), noise, out=tmp_path / "run")
    assert not holds_run(tmp_path / "run")
