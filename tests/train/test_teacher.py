from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from reidkit.data.formats.detect import load_dataset
from reidkit.data.images import open_images
from reidkit.data.loaders import eval_batches
from reidkit.data.sampler import HardIdSampler, build_sampler
from reidkit.encoder import InputSpec, Model, load_model, require_torch
from reidkit.errors import ReidkitError, RunError, UsageError, WeightsError
from reidkit.imagenet import MEAN, STD
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.objective import Objective
from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.recipe import override
from reidkit.train import log
from reidkit.train import teacher as teacher_module
from reidkit.train.inputs import TrainOptions
from reidkit.train.log import TIMINGS, Callback
from reidkit.train.run import Run, train
from reidkit.train.run_folder import holds_run
from reidkit.train.teacher import (
    CLASSIFIER,
    Classifier,
    SimilarityLesson,
    Teacher,
    load_classifier,
    normalised_for,
    save_classifier,
)
from tests.train.tiny import RECIPE, same_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.recipe import Recipe
    from reidkit.train.checkpoint import Progress

ONE = override(RECIPE, ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0"])
WIDER = override(ONE, ["network.width=0.25", "images.height=64"])
CPU = TrainOptions(device="cpu", precision="fp32", save_every=1)


class Foreign:
    """An encoder of somebody else: the mean colour of each quarter, of images of another size."""

    input = InputSpec(height=40, width=24)
    dim, fingerprint = 12, "0123456789abcdef"

    def __init__(self) -> None:
        self.seen: list[NDArray[np.uint8]] = []

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen.append(images)
        means = images.reshape(len(images), 4, -1, 3).mean(axis=2, dtype=np.float32)
        return np.ascontiguousarray(means.reshape(len(images), 12))


class StopAtStep2(Callback):
    def on_position(self, progress: Progress, _: int) -> None:
        if progress.step == 2:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def teacher(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("teacher") / "run"
    run = train(WIDER, noise, out=out, options=replace(CPU, save_classifier=True), seed=1)
    return replace(run, model=require_torch(load_model(out), "a test"))


@pytest.fixture(scope="module")
def distilled(noise: Path, teacher: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("student") / "run"
    return train(with_logits(ONE), noise, out=out, teacher=teacher.model, options=CPU)


def with_logits(recipe: Recipe) -> Recipe:
    return override(recipe, ["distil.logits=0.5", "distil.divergence=js"])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows = log.read(folder / "log.jsonl")
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


def test_both_terms_are_logged_and_the_teacher_recorded(distilled: Run, teacher: Run, noise: Path) -> None:
    row = rows_of(distilled.folder)[0]
    assert row["similarity"] > 0
    assert row["logits"] > 0
    terms = ("identity", "triplet", "center", "similarity", "logits")
    assert row["loss"] == pytest.approx(sum(row[term] for term in terms))
    assert json.loads((distilled.folder / "run.json").read_text())["teacher"] == teacher.model.fingerprint
    assert distilled.model.dim != teacher.model.dim
    assert load_model(distilled.folder).embed(load_dataset(noise).query).vectors.shape == (4, distilled.model.dim)


def test_without_a_teacher_nothing_changes(noise: Path, tmp_path: Path, distilled: Run) -> None:
    alone = train(ONE, noise, out=tmp_path / "a", options=CPU)
    with_section = train(with_logits(ONE), noise, out=tmp_path / "b", options=CPU)
    assert same_weights(alone.model.network, with_section.model.network)
    assert not same_weights(alone.model.network, distilled.model.network)


def test_a_stopped_run_goes_on_bit_for_bit(distilled: Run, teacher: Run, noise: Path, tmp_path: Path) -> None:
    recipe, out = with_logits(ONE), tmp_path / "run"
    with pytest.raises(RunError, match="resume"):
        train(recipe, noise, out=out, teacher=teacher.model, options=CPU, callbacks=[StopAtStep2()])
    with pytest.raises(UsageError, match="teacher: none, not"):
        train(recipe, noise, out=out, options=CPU, resume=True)
    with pytest.raises(UsageError, match="teacher: 0123456789abcdef, not"):
        train(override(recipe, ["distil.logits=0"]), noise, out=out, teacher=Foreign(), options=CPU, resume=True)
    train(recipe, noise, out=out, teacher=teacher.model, options=CPU, resume=True)
    assert (out / "model.safetensors").read_bytes() == (distilled.folder / "model.safetensors").read_bytes()
    assert rows_of(out) == rows_of(distilled.folder)


def test_a_classifier_of_the_same_ids_that_is_not_learned_from_is_told_of(
    teacher: Run, noise: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "reidkit")
    words = "classifier lies beside it and knows these ids: distil.logits=10 learns from it too"
    train(ONE, noise, out=tmp_path / "a", teacher=teacher.model, options=CPU)
    assert words in caplog.text
    caplog.clear()
    train(override(ONE, ["distil.logits=10"]), noise, out=tmp_path / "b", teacher=teacher.model, options=CPU)
    train(ONE, noise, out=tmp_path / "c", teacher=Foreign(), options=CPU)
    train(ONE, load_dataset(noise).train[:24], out=tmp_path / "d", teacher=teacher.model, options=CPU)  # of fewer ids
    assert words not in caplog.text


def test_any_encoder_can_teach(noise: Path, tmp_path: Path) -> None:
    foreign = Foreign()
    run = train(ONE, noise, out=tmp_path / "run", teacher=foreign, options=CPU)
    assert rows_of(run.folder)[0]["similarity"] > 0
    assert {images.shape for images in foreign.seen} == {(8, 40, 24, 3)}


def test_plain_views_are_seen_once_and_handed_out_in_the_order_of_the_batches(noise: Path, tmp_path: Path) -> None:
    foreign, handed = Foreign(), []
    told: list[tuple[str, int, int]] = []

    class Watch(SimilarityLesson):
        def __call__(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
            handed.append(self.target.numpy())
            return super().__call__(feat_bd, label_b)

    class Tell(Callback):
        def on_progress(self, what: str, done: int, total: int) -> None:
            told.append((what, done, total))

    recipe = override(ONE, ["distil.views=plain"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(teacher_module, "SimilarityLesson", Watch)
        train(recipe, noise, out=tmp_path / "run", teacher=foreign, options=CPU, callbacks=[Tell()])
    samples = load_dataset(noise).train
    assert sum(len(images) for images in foreign.seen) == len(samples)
    assert ("teacher's features", 32, 32) in told
    # The features are those of the images as they are, and the batches those of the sampler.
    source = open_images(samples, ONE.images.size)
    known = np.concatenate(
        [Teacher(foreign, torch.device("cpu"))(images) for images in eval_batches(source, 8, torch.device("cpu"))]
    )
    _, labels = np.unique(samples.pids, return_inverse=True)
    order = build_sampler(source, labels, ONE.batch, 0).epoch(1)
    np.testing.assert_array_equal(handed, known[order])


def test_plain_views_go_on_bit_for_bit(teacher: Run, noise: Path, tmp_path: Path) -> None:
    recipe = override(with_logits(ONE), ["distil.views=plain"])
    whole = train(recipe, noise, out=tmp_path / "whole", teacher=teacher.model, options=CPU)
    with pytest.raises(RunError, match="resume"):
        train(recipe, noise, out=tmp_path / "run", teacher=teacher.model, options=CPU, callbacks=[StopAtStep2()])
    again = train(recipe, noise, out=tmp_path / "run", teacher=teacher.model, options=CPU, resume=True)
    assert same_weights(whole.model.network, again.model.network)
    assert rows_of(again.folder) == rows_of(whole.folder)


def test_hard_ids_and_styled_images_are_told_of_with_a_teacher_as_without(noise: Path, tmp_path: Path) -> None:
    marked: list[Tensor | None] = []
    renewed: list[int] = []

    class Stop(Callback):
        def on_position(self, progress: Progress, _: int) -> None:
            if progress.epoch == 2 and progress.batch == 1:
                signal.raise_signal(signal.SIGTERM)

    def mark(objective: Objective, styled_b: Tensor | None) -> None:
        marked.append(styled_b)

    def renew(sampler: HardIdSampler, feat_nd: NDArray[np.float32]) -> None:
        renewed.append(len(feat_nd))
        as_ever(sampler, feat_nd)

    as_ever = HardIdSampler.renew_pools
    recipe = override(ONE, ["optim.epochs=2", "batch.hard_pool=2", "images.exchange=0.5"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(HardIdSampler, "renew_pools", renew)
        patched.setattr(Objective, "mark_styled", mark)
        whole = train(recipe, noise, out=tmp_path / "whole", teacher=Foreign(), options=CPU)
    assert renewed == [32]
    assert any(styled_b is not None and styled_b.any() for styled_b in marked)
    with pytest.raises(RunError, match="resume"):
        train(recipe, noise, out=tmp_path / "run", teacher=Foreign(), options=CPU, callbacks=[StopAtStep2()])
    again = train(recipe, noise, out=tmp_path / "run", teacher=Foreign(), options=CPU, resume=True)
    assert rows_of(again.folder) == rows_of(whole.folder)


def test_a_foreign_teacher_sees_the_pixels_of_the_students_images() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 40, 24, 3), dtype=np.uint8)
    unit = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    images = (unit - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    foreign = Foreign()
    found = Teacher(foreign, torch.device("cpu"))(images)
    assert np.array_equal(foreign.seen[0], pixels)
    np.testing.assert_allclose(found, foreign.encode(pixels))


def test_a_teacher_of_reidkit_sees_them_as_they_are(teacher: Run) -> None:
    model = teacher.model
    pixels = np.random.default_rng(0).integers(0, 256, (3, model.input.height, model.input.width, 3), dtype=np.uint8)
    unit = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    images = (unit - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    found = Teacher(model, torch.device("cpu"))(images)
    expected = model.embed(list(pixels), device="cpu", precision="fp32")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert not found.requires_grad


def test_other_colours_and_scales_by_hand() -> None:
    """A teacher that takes BGR from 0 to 255, less 100: red (1, 0, 0) is (-100, -100, 155) to it."""
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    images = (red - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    spec = InputSpec(height=1, width=1, mean=(100, 100, 100), std=(1, 1, 1), colour="bgr", scale=1.0)
    np.testing.assert_allclose(normalised_for(spec, images).flatten(), [-100, -100, 155], atol=1e-3)


def test_the_classifier_comes_back(teacher: Run, noise: Path) -> None:
    pids = np.unique(load_dataset(noise).train.pids)
    found = load_classifier(teacher.model, pids)
    assert found.weight.shape == (8, teacher.model.dim)
    assert found.pids.tolist() == pids.tolist()
    state = torch.load(teacher.folder / "state.pt", weights_only=True)
    assert torch.equal(found.weight, state["objective"]["identity.classifier.weight"])


def test_logits_of_a_classifier_of_cosines_by_hand() -> None:
    """Features (3, 4) and (0, 2) beside the classes (1, 0) and (0, 5): cosines 0.6, 0.8 and 0, 1, times 10."""
    classifier = Classifier(torch.tensor([[1.0, 0.0], [0.0, 5.0]]), None, torch.tensor([7, 9]), scale=10.0)
    logits = classifier.logits(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    torch.testing.assert_close(logits, torch.tensor([[6.0, 8.0], [0.0, 10.0]]))


def test_learns_from_the_classifier_of_a_margin_loss(noise: Path, tmp_path: Path) -> None:
    """Its scale lies in the file, and both sides' logits are cosines."""
    recipe = override(WIDER, ["identity.logits=arcface"])
    margin = train(recipe, noise, out=tmp_path / "margin", options=replace(CPU, save_classifier=True))
    model = require_torch(load_model(margin.folder), "a test")
    found = load_classifier(model, np.unique(load_dataset(noise).train.pids))
    assert found.scale == recipe.identity.scale > 0
    student = train(with_logits(ONE), noise, out=tmp_path / "student", teacher=model, options=CPU)
    assert 0 < rows_of(student.folder)[0]["logits"] < 100


def test_equal_classifiers_are_equal_files(teacher: Run) -> None:
    """The library writes metadata in an order that differs from process to process."""
    content = (teacher.folder / CLASSIFIER).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == ["format", "model", "scale"]


def test_refuses_a_classifier_that_is_of_no_use(teacher: Run, noise: Path, tmp_path: Path) -> None:
    pids = np.unique(load_dataset(noise).train.pids)
    with pytest.raises(UsageError, match="8 ids, which are not the 7"):
        load_classifier(teacher.model, pids[1:])
    with pytest.raises(UsageError, match="needs a teacher in a run folder"):
        load_classifier(Foreign(), pids)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(teacher.folder / "model.safetensors", copy)
    model = require_torch(load_model(copy), "a test")
    with pytest.raises(WeightsError, match=r"is not there, and distil.logits needs"):
        load_classifier(model, pids)
    other = IdentityLoss(5, 8)
    for fingerprint, words in (("0" * 16, "another model"), (model.fingerprint, "damaged")):
        save_classifier(copy, other, pids, fingerprint)
        with pytest.raises(WeightsError, match=words):
            load_classifier(model, pids)
    save_model(copy / CLASSIFIER, model.network, model.recipe)
    with pytest.raises(WeightsError, match="no classifier"):
        load_classifier(model, pids)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["distil.similarity=0"], "both 0"),
        (["distil.logits=1", "identity.weight=0"], "needs one classifier"),
        (["distil.logits=1", "identity.sampled=4"], "needs one classifier"),
        (["distil.logits=1", "network.head=pcb", "network.embedding=8"], "needs one classifier"),
    ],
)
def test_refuses_settings_and_leaves_no_run(
    teacher: Run, noise: Path, tmp_path: Path, settings: list[str], words: str
) -> None:
    with pytest.raises(ReidkitError, match=words):
        train(override(ONE, settings), noise, out=tmp_path / "run", teacher=teacher.model, options=CPU)
    assert not holds_run(tmp_path / "run")


def test_refuses_a_teacher_that_takes_masks(noise: Path, tmp_path: Path) -> None:
    masked = override(ONE, ["network.masks=grey"])
    with pytest.raises(UsageError) as caught:
        train(ONE, noise, out=tmp_path / "run", teacher=Model(build_network(masked.network), masked), options=CPU)
    assert str(caught.value) == "the teacher takes masks, which teachers are not given: take another"
    assert caught.value.argument == "teacher"
    assert not holds_run(tmp_path / "run")


def test_no_classifier_to_save_is_said_before_the_training(noise: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="save_classifier needs one classifier"):
        train(
            override(ONE, ["identity.weight=0"]), noise, out=tmp_path / "r", options=replace(CPU, save_classifier=True)
        )
