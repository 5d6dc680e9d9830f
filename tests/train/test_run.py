from __future__ import annotations

import copy
import importlib
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, load_model, require_torch
from reidkit.errors import DataError, ReidkitError, RunError, UsageError, WeightsError
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.model.weights import save_model
from reidkit.recipe import override
from reidkit.train import log
from reidkit.train.inputs import TrainOptions
from reidkit.train.log import Callback
from reidkit.train.run import Run, train
from reidkit.types import Sample
from tests.noise import TRAIN, draw_noise
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reidkit.train.checkpoint import Progress

ONE_EPOCH = override(RECIPE, ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0"])


@pytest.fixture(scope="module")
def finished(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("job") / "a" / "run"
    return train(ONE_EPOCH, noise, out=out, options=TrainOptions(evaluate_every=1, precision="fp32"))


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The messages of a run."""
    lines: list[str] = []
    with log.log_lines(lines.append):
        yield lines


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return facts


def test_a_run_leaves_what_it_promises(finished: Run) -> None:
    assert finished.write_report("reidkit train") == finished.folder / "report.html"
    names = {path.name for path in finished.folder.iterdir()} - {".lock"}
    files = {"recipe.json", "run.json", "log.jsonl", "state.pt", "model.safetensors", "report.html"}
    assert names == {*files, "trained_on.json"}
    assert {"seed": 0, "people": 8, "weights": "none"}.items() <= facts_of(finished.folder).items()
    assert finished.description == "market1501: 32 training images of 8 ids from 2 cameras"


def test_the_model_on_disk_is_the_one_that_was_evaluated(finished: Run, noise: Path) -> None:
    loaded = load_model(finished.folder)
    assert loaded.fingerprint == finished.model.fingerprint
    assert require_torch(loaded).recipe.network.stride_in == "3x3"
    assert finished.evaluation is not None
    again = evaluate(
        loaded, load_dataset(noise), EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32")
    )
    np.testing.assert_allclose(again.query.vectors, finished.evaluation.query.vectors, rtol=1e-4, atol=1e-5)
    last = log.read(finished.folder / "log.jsonl")[-1]
    assert (last["kind"], last["map"]) == ("scores", finished.evaluation.scores.map)


def test_anyone_may_read_the_model_who_may_read_the_log(finished: Run) -> None:
    modes = {(finished.folder / name).stat().st_mode for name in ("log.jsonl", "model.safetensors", "state.pt")}
    assert len(modes) == 1


def test_names_and_ids_decide_whether_data_is_the_same(noise: Path, tmp_path: Path, finished: Any) -> None:
    digest = facts_of(finished.folder)["training_set"]
    moved = shutil.copytree(noise, tmp_path / "moved")
    train(ONE_EPOCH, moved, out=tmp_path / "same")
    assert facts_of(tmp_path / "same")["training_set"] == digest
    first = min((moved / TRAIN).iterdir())
    first.rename(first.with_name(first.name.replace("000000_00", "000009_00")))
    train(ONE_EPOCH, moved, out=tmp_path / "other")
    assert facts_of(tmp_path / "other")["training_set"] != digest


@pytest.mark.parametrize("cached", [True, False])
def test_a_run_goes_on_with_its_own_list_of_images(noise: Path, tmp_path: Path, cached: bool, said: list[str]) -> None:
    """One image is damaged before the run, another one after it has begun; then the first one is repaired."""
    own, out = Path(shutil.copytree(noise, tmp_path / "own")), tmp_path / "run"
    first, second = sorted((own / TRAIN).glob("*.jpg"))[3:5]
    whole = first.read_bytes()
    first.write_bytes(whole[:100])
    cache = tmp_path / "cache" if cached else None
    options = TrainOptions(skip_unreadable=True, cache_dir=cache, precision="fp32")
    go = partial(train, ONE_EPOCH, own, out=out, resume=True)
    go(options=options)
    facts = facts_of(out)
    assert facts["left_out"] == [3]
    second.write_bytes(whole[:100])
    go(options=options)
    assert any(f"replace images that cannot be read any more: {second.name}" in line for line in said)
    first.write_bytes(whole)
    go(options=options)
    assert facts_of(out) == facts
    with pytest.raises(DataError, match="1 of 32 images cannot be read"):
        go(options=replace(options, skip_unreadable=False))
    first.rename(first.with_name("0001_c1s1_999999_00.jpg"))
    with pytest.raises(UsageError, match="its training images were others"):
        go(options=options)


def test_start_from_the_weights_of_another_run(finished: Run, noise: Path, tmp_path: Path, said: list[str]) -> None:
    weights = finished.folder / "model.safetensors"
    slow = override(ONE_EPOCH, ["optim.lr=1e-12"])
    again = train(slow, noise, out=tmp_path / "run", weights=weights)
    assert facts_of(tmp_path / "run")["weights"] == finished.model.fingerprint
    ours, theirs = (each.network.backbone.get_parameter("conv1.weight") for each in (again.model, finished.model))
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert any("weights from model.safetensors" in line for line in said)


def test_several_data_sets_are_trained_on_together(noise: Path, tmp_path: Path) -> None:
    second = draw_noise(tmp_path / "second", people=range(1, 4))
    run = train(ONE_EPOCH, [noise, second], out=tmp_path / "run")
    assert run.description == "market1501+market1501: 44 training images of 11 ids from 4 cameras"


def test_data_sets_and_samples_are_data_as_folders_are(finished: Run, noise: Path, tmp_path: Path) -> None:
    dataset = load_dataset(noise)
    options = TrainOptions(precision="fp32")
    run = train(ONE_EPOCH, dataset, out=str(tmp_path / "dataset"), options=options)
    assert run.model.fingerprint == finished.model.fingerprint
    run = train(ONE_EPOCH, list(dataset.train), out=tmp_path / "samples", evaluate_on=dataset, options=options)
    assert run.model.fingerprint == finished.model.fingerprint
    assert run.evaluation is not None
    assert finished.evaluation is not None
    assert run.evaluation.scores.as_json() == finished.evaluation.scores.as_json()
    assert run.description == "samples: 32 training images of 8 ids from 2 cameras"


def test_the_package_is_the_function_too(noise: Path, tmp_path: Path) -> None:
    package: Any = importlib.import_module("reidkit.train")
    with pytest.raises(DataError, match="nowhere is not there"):
        package(ONE_EPOCH, tmp_path / "nowhere", out=tmp_path / "run")
    assert {package.__getattr__(name).__name__ for name in package.__all__} == set(package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_callbacks_follow_a_run(noise: Path, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    class Follow(Callback):
        def on_step(self, row: log.Row) -> None:
            calls.append(("step", row["step"], sorted(row.keys() & {"loss", "identity", "triplet"})))

        def on_epoch(self, row: log.Row) -> None:
            calls.append(("epoch", row["epoch"]))

        def on_scores(self, row: log.Row) -> None:
            calls.append(("scores", row["epoch"], "map" in row))

        def on_position(self, progress: Progress, batches: int) -> None:
            calls.append(("position", *progress, batches))

        def on_progress(self, what: str, done: int, total: int) -> None:
            calls.append((what, done, total))

    options = TrainOptions(evaluate_every=1)
    train(
        override(ONE_EPOCH, ["optim.best_every=1"]), noise, out=tmp_path / "run", options=options, callbacks=[Follow()]
    )
    steps = sum(call[0] == "step" for call in calls)
    assert steps > 2
    assert [call for call in calls if call[0] == "position"] == [
        ("position", 1, n, n, steps) for n in range(1, steps + 1)
    ]
    assert [call for call in calls if call[0] in {"epoch", "scores"}] == [
        ("scores", 0, True),
        ("epoch", 1),
        ("scores", 1, True),
    ]
    assert ("step", 1, ["identity", "loss", "triplet"]) in calls
    assert {"query", "gallery"} <= {call[0] for call in calls}


def test_other_data_to_evaluate_on(noise: Path, tmp_path: Path) -> None:
    other = draw_noise(tmp_path / "other", evaluated=range(20, 22))
    run = train(ONE_EPOCH, noise, out=tmp_path / "run", evaluate_on=other)
    assert run.evaluation is not None
    assert run.evaluation.scores.queries == 2


def people_only(data: Path, folder: Path) -> Path:
    for path in (data / TRAIN).iterdir():
        (folder / "train" / path.name[:4]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "train" / path.name[:4])
    return folder


def test_nothing_to_evaluate_on_is_said_and_trained(noise: Path, tmp_path: Path, said: list[str]) -> None:
    data = people_only(noise, tmp_path / "p")
    run = train(ONE_EPOCH, data, out=tmp_path / "run", options=TrainOptions(evaluate_every=1))
    assert run.evaluation is None
    assert run.evaluated is None
    assert said[0].startswith("warning: no scores from this data: the data set folder has no query images")
    assert {row["kind"] for row in log.read(run.folder / "log.jsonl")} == {"step", "epoch"}
    assert not any("no id has a second image" in line for line in said)
    run.write_report("reidkit train")


def test_ids_of_one_image_each_are_said(noise: Path, tmp_path: Path, said: list[str]) -> None:
    """Such as folders of tracks or of days that were taken for ids."""
    alone = [Sample(path, pid, 1) for pid, path in enumerate(sorted((noise / "bounding_box_train").glob("*.jpg"))[:8])]
    train(ONE_EPOCH, alone, out=tmp_path / "run")
    assert any(line.startswith("warning: no id has a second image") for line in said)


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"options": TrainOptions(device="tpu")}, UsageError, "no device tpu"),
        ({"options": TrainOptions(device=None)}, UsageError, "no device None"),  # type: ignore[arg-type]
        ({"out": ""}, UsageError, "an empty text is no path: pass the folder of the run"),
        ({"out": None}, UsageError, "a NoneType is no path: pass the folder of the run"),
        ({"data": Path("none")}, DataError, "none is not there"),
        ({"data": None}, UsageError, "data is a NoneType: pass a folder"),
        ({"data": [("a.jpg", 1, 2)]}, UsageError, r"data is a list of tuple: pass .* or of Sample\(path, pid, camid\)"),
        ({"evaluate_on": Path("none")}, DataError, "none is not there"),
        ({"weights": Path("none.pth")}, WeightsError, r"none\.pth is not there"),
        ({"options": TrainOptions(format="x")}, UsageError, "no format x"),
        ({"seed": -1}, UsageError, r"the seed is -1: pass a whole number from 0 to 2\*\*63 - 1"),
        ({"seed": 1.5}, UsageError, r"the seed is 1\.5: pass a whole number"),
        (
            {"data": [Sample(Path("a.jpg"), pid, 1) for pid in (3, 4, -1)]},
            DataError,
            "1 of the training images are junk, with the pid -1: leave them out",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    noise: Path, tmp_path: Path, change: dict[str, Any], kind: type[ReidkitError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        train(ONE_EPOCH, **({"data": noise, "out": tmp_path / "run"} | change))
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_begun_among_the_files_of_its_data_set(noise: Path, tmp_path: Path) -> None:
    before = sorted(noise.iterdir())
    (tmp_path / "link").symlink_to(noise)
    for out in (noise, tmp_path / "link"):
        with pytest.raises(UsageError, match="is the data set: choose another folder as out"):
            train(ONE_EPOCH, noise, out=out)
    assert sorted(noise.iterdir()) == before


@pytest.mark.parametrize("wrong", [{"save_every": 0}, {"save_every": 1.5}, {"evaluate_every": -1}])
def test_epochs_between_what_there_cannot_be(wrong: dict[str, Any]) -> None:
    """`save_every=0` ended a run by a ZeroDivisionError, after an epoch."""
    with pytest.raises(UsageError, match="must be a whole number from") as told:
        TrainOptions(**wrong)
    assert told.value.argument == next(iter(wrong))


def test_too_many_people_for_a_batch(noise: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 ids and a batch takes 9"):
        train(override(ONE_EPOCH, ["batch.ids=9"]), noise, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_cannot_be_written_leaves_the_old_one(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"m\.safetensors cannot be written \(No such file or directory\)"):
        save_model(tmp_path / "gone" / "m.safetensors", finished.model.network, finished.model.recipe)


def test_a_folder_deleted_during_training(noise: Path, tmp_path: Path) -> None:
    class Vanish(Callback):
        def on_epoch(self, row: log.Row) -> None:  # noqa: ARG002
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(RunError, match=r"cannot be written \(No such file or directory\)"):
        train(RECIPE, noise, out=tmp_path / "run", callbacks=[Vanish()])


@pytest.mark.parametrize("scored", [True, False])
def test_a_model_that_has_diverged_is_not_left_behind(
    noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: bool
) -> None:
    """Finite weights can give features that are not: 1e30 times 1e30 is infinite in float32."""
    from reidkit.train import loop
    from reidkit.train import run as jobs

    def diverge(*words: Any) -> Any:
        kept = fit(*words)
        with torch.no_grad():
            for name in ("conv1.weight", "bn1.weight"):
                kept.network.get_parameter(f"backbone.{name}").fill_(1e30)
        return kept

    if not scored:  # where there is nothing to evaluate on, training images tell
        noise = shutil.copytree(noise, tmp_path / "noise")
        for image in (noise / "query").iterdir():
            image.rename(image.with_name(f"9999{image.name[4:]}"))
    fit = loop.fit
    monkeypatch.setattr(jobs, "fit", diverge)
    with pytest.raises(RunError, match=r"no model is saved: .*NaN or infinity for \d+ of \d+ images.*another folder"):
        train(ONE_EPOCH, noise, out=tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_weights_with_nan_are_named_before_anything_is_written(noise: Path, tmp_path: Path, finished: Any) -> None:
    spoilt = copy.deepcopy(finished.model.network)
    with torch.no_grad():
        spoilt.backbone.conv1.weight[0] = float("nan")
    save_model(tmp_path / "model.safetensors", spoilt, finished.model.recipe)
    with pytest.raises(WeightsError, match=r"NaN or infinity in conv1\.weight: the run that made it has diverged"):
        train(ONE_EPOCH, noise, out=tmp_path / "run", weights=tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_run_can_start_from_the_folder_of_another(
    noise: Path, tmp_path: Path, finished: Run, said: list[str]
) -> None:
    train(ONE_EPOCH, noise, out=tmp_path / "run", weights=finished.folder)
    assert facts_of(tmp_path / "run")["weights"] == finished.model.fingerprint
    assert said[0].startswith("weights found under backbone.; left out of the weights: neck.bias, neck.running_mean")
