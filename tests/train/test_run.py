from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, load_model
from reidkit.errors import DataError, ReidkitError, RunError, UsageError, WeightsError
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.model.weights import save_model
from reidkit.recipe import override
from reidkit.train import log
from reidkit.train.run import TrainOptions, TrainResult, run
from reidkit.train.run_report import write
from tests.noise import TRAIN, draw_noise
from tests.train.tiny import RECIPE

ONE_EPOCH = override(RECIPE, ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0"])


@pytest.fixture(scope="module")
def finished(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainOptions, TrainResult]:
    job = TrainOptions(
        out=tmp_path_factory.mktemp("job") / "a" / "run", data=(noise,), evaluate_every=1, precision="fp32"
    )
    return job, run(ONE_EPOCH, job)


def test_a_run_leaves_what_it_promises(finished: tuple[TrainOptions, TrainResult]) -> None:
    job, outcome = finished
    write(job.out, outcome, "reidkit train")
    names = {path.name for path in job.out.iterdir()} - {".lock"}
    files = {"recipe.json", "run.json", "log.jsonl", "state.pt", "model.safetensors", "report.html"}
    assert names == {*files, "trained_on.json"}
    facts = json.loads((job.out / "run.json").read_text())
    assert {"seed": 0, "people": 8, "weights": "none"}.items() <= facts.items()
    assert outcome.description == "market1501: 32 training images of 8 people from 2 cameras"


def test_the_model_on_disk_is_the_one_that_was_judged(finished: tuple[TrainOptions, TrainResult], noise: Path) -> None:
    job, outcome = finished
    loaded = load_model(job.out)
    assert loaded.fingerprint == outcome.model.fingerprint
    assert loaded.recipe.network.stride_in == "3x3"
    assert outcome.evaluation is not None
    again = evaluate(
        loaded, load_dataset(noise), EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32")
    )
    np.testing.assert_allclose(again.query.vectors, outcome.evaluation.query.vectors, rtol=1e-4, atol=1e-5)
    last = log.read(job.out / "log.jsonl")[-1]
    assert (last["kind"], last["map"]) == ("scores", outcome.evaluation.scores.map)


def test_anyone_may_read_the_model_who_may_read_the_log(finished: tuple[TrainOptions, TrainResult]) -> None:
    job, _ = finished
    modes = {(job.out / name).stat().st_mode for name in ("log.jsonl", "model.safetensors", "state.pt")}
    assert len(modes) == 1


def test_names_and_ids_decide_whether_data_is_the_same(noise: Path, tmp_path: Path, finished: Any) -> None:
    job, _ = finished
    facts = json.loads((job.out / "run.json").read_text())["training_set"]
    moved = shutil.copytree(noise, tmp_path / "moved")
    run(ONE_EPOCH, TrainOptions(out=tmp_path / "same", data=(moved,)))
    assert json.loads((tmp_path / "same" / "run.json").read_text())["training_set"] == facts
    first = min((moved / TRAIN).iterdir())
    first.rename(first.with_name(first.name.replace("000000_00", "000009_00")))
    run(ONE_EPOCH, TrainOptions(out=tmp_path / "other", data=(moved,)))
    assert json.loads((tmp_path / "other" / "run.json").read_text())["training_set"] != facts


@pytest.mark.parametrize("cached", [True, False])
def test_a_run_goes_on_with_its_own_list_of_images(noise: Path, tmp_path: Path, cached: bool) -> None:
    """One image is broken before the run, another one after it has begun; then the first one is mended."""
    own, said = Path(shutil.copytree(noise, tmp_path / "own")), list[str]()
    first, second = sorted((own / TRAIN).glob("*.jpg"))[3:5]
    whole = first.read_bytes()
    first.write_bytes(whole[:100])
    cache = tmp_path / "cache" if cached else None
    job = TrainOptions(
        out=tmp_path / "run", data=(own,), skip_unreadable=True, cache_dir=cache, precision="fp32", resume=True
    )
    run(ONE_EPOCH, job)
    facts = json.loads((job.out / "run.json").read_text())
    assert facts["left_out"] == [3]
    second.write_bytes(whole[:100])
    run(ONE_EPOCH, replace(job, say=said.append))
    assert any(f"stand in for images that cannot be read any more: {second.name}" in line for line in said)
    first.write_bytes(whole)
    run(ONE_EPOCH, job)
    assert json.loads((job.out / "run.json").read_text()) == facts
    with pytest.raises(DataError, match="1 of 32 images cannot be read"):
        run(ONE_EPOCH, replace(job, skip_unreadable=False))
    first.rename(first.with_name("0001_c1s1_999999_00.jpg"))
    with pytest.raises(UsageError, match="its training images were others"):
        run(ONE_EPOCH, job)


def test_start_from_the_weights_of_another_run(
    finished: tuple[TrainOptions, TrainResult], noise: Path, tmp_path: Path
) -> None:
    job, outcome = finished
    said: list[str] = []
    weights = job.out / "model.safetensors"
    slow = override(ONE_EPOCH, ["optim.lr=1e-12"])
    again = run(slow, TrainOptions(out=tmp_path / "run", data=(noise,), weights=weights, say=said.append))
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["weights"] == outcome.model.fingerprint
    ours, theirs = (each.network.backbone.get_parameter("conv1.weight") for each in (again.model, outcome.model))
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert any("weights from model.safetensors" in line for line in said)


def test_several_data_sets_are_trained_on_together(noise: Path, tmp_path: Path) -> None:
    second = draw_noise(tmp_path / "second", people=range(1, 4))
    outcome = run(ONE_EPOCH, TrainOptions(out=tmp_path / "run", data=(noise, second)))
    assert outcome.description == "market1501+market1501: 44 training images of 11 people from 4 cameras"


def test_other_data_to_judge_on(noise: Path, tmp_path: Path) -> None:
    other = draw_noise(tmp_path / "other", evaluated=range(20, 22))
    outcome = run(ONE_EPOCH, TrainOptions(out=tmp_path / "run", data=(noise,), val_data=other))
    assert outcome.evaluation is not None
    assert outcome.evaluation.scores.queries == 2


def people_only(data: Path, folder: Path) -> Path:
    for path in (data / TRAIN).iterdir():
        (folder / "train" / path.name[:4]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "train" / path.name[:4])
    return folder


def test_nothing_to_judge_on_is_said_and_trained(noise: Path, tmp_path: Path) -> None:
    said: list[str] = []
    job = TrainOptions(
        out=tmp_path / "run", data=(people_only(noise, tmp_path / "p"),), evaluate_every=1, say=said.append
    )
    outcome = run(ONE_EPOCH, job)
    assert outcome.evaluation is None
    assert outcome.evaluated is None
    assert said[0].startswith("no scores from this data: folder has no query images")
    assert {row["kind"] for row in log.read(job.out / "log.jsonl")} == {"step", "epoch"}
    write(job.out, outcome, "reidkit train")


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"device": "tpu"}, UsageError, "no device tpu"),
        ({"data": (Path("none"),)}, DataError, "none is not there"),
        ({"val_data": Path("none")}, DataError, "none is not there"),
        ({"weights": Path("none.pth")}, WeightsError, r"none\.pth is not there"),
        ({"format": "x"}, UsageError, "no format x"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    noise: Path, tmp_path: Path, change: dict[str, Any], kind: type[ReidkitError], sentence: str
) -> None:
    job = replace(TrainOptions(out=tmp_path / "run", data=(noise,)), **change)
    with pytest.raises(kind, match=sentence):
        run(ONE_EPOCH, job)
    assert not (tmp_path / "run").exists()


def test_too_many_people_for_a_batch(noise: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 ids and a batch takes 9"):
        run(override(ONE_EPOCH, ["batch.ids=9"]), TrainOptions(out=tmp_path / "run", data=(noise,)))
    assert not (tmp_path / "run").exists()


def test_a_model_that_cannot_be_written_leaves_the_old_one(
    finished: tuple[TrainOptions, TrainResult], tmp_path: Path
) -> None:
    _, outcome = finished
    with pytest.raises(WeightsError, match=r"m\.safetensors cannot be written \(No such file or directory\)"):
        save_model(tmp_path / "gone" / "m.safetensors", outcome.model.network, outcome.model.recipe)


def test_a_folder_deleted_during_training(noise: Path, tmp_path: Path) -> None:
    def vanish(row: log.Row) -> None:
        if row["kind"] == "epoch":
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(RunError, match=r"cannot be written \(No such file or directory\)"):
        run(RECIPE, TrainOptions(out=tmp_path / "run", data=(noise,), watchers=(vanish,)))


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
                kept.network.backbone.get_parameter(name).fill_(1e30)
        return kept

    if not scored:  # where there is nothing to evaluate on, training images tell
        noise = shutil.copytree(noise, tmp_path / "noise")
        for image in (noise / "query").iterdir():
            image.rename(image.with_name(f"9999{image.name[4:]}"))
    fit = loop.fit
    monkeypatch.setattr(jobs, "fit", diverge)
    with pytest.raises(RunError, match=r"no model is saved: .*NaN or infinity for \d+ of \d+ images.*another folder"):
        run(ONE_EPOCH, TrainOptions(out=tmp_path / "run", data=(noise,)))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_weights_with_nan_are_named_before_anything_is_written(noise: Path, tmp_path: Path, finished: Any) -> None:
    _, outcome = finished
    spoilt = copy.deepcopy(outcome.model.network)
    with torch.no_grad():
        spoilt.backbone.conv1.weight[0] = float("nan")
    save_model(tmp_path / "model.safetensors", spoilt, outcome.model.recipe)
    job = TrainOptions(out=tmp_path / "run", data=(noise,), weights=tmp_path)
    with pytest.raises(WeightsError, match=r"NaN or infinity in conv1\.weight: the run that made it has diverged"):
        run(ONE_EPOCH, job)
    assert not (tmp_path / "run").exists()


def test_a_run_can_start_from_the_folder_of_another(noise: Path, tmp_path: Path, finished: Any) -> None:
    earlier, outcome = finished
    said: list[str] = []
    run(ONE_EPOCH, TrainOptions(out=tmp_path / "run", data=(noise,), weights=earlier.out, say=said.append))
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["weights"] == outcome.model.fingerprint
    assert said[0].startswith("weights found under backbone.; left out of the weights: neck.bias, neck.running_mean")
