from __future__ import annotations

import json
from dataclasses import replace
from shutil import copytree
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from reidkit.data.formats.detect import load_dataset
from reidkit.data.overlap import RECORD
from reidkit.encoder import InferenceOptions, InputSpec, Model, load_model, require_torch
from reidkit.errors import DataError, UsageError
from reidkit.evaluation import evaluate
from reidkit.export import export_model
from reidkit.metrics.reduction import principal_axes
from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.network import build_network
from reidkit.model.weights import fingerprint, save_model
from reidkit.recipe import digest, override
from reidkit.train import feature_reduction
from reidkit.train.feature_reduction import Reduction, reduce
from reidkit.types import Dataset, SampleTable
from tests.encoder.files import mean_colour
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

CPU = InferenceOptions(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "run"
    path.mkdir()
    network = build_network(RECIPE.network)
    name = save_model(path / "model.safetensors", network, RECIPE)
    (path / "trained_on.json").write_text(json.dumps({"digests": ["0" * 16]}))
    return Model(network.eval(), RECIPE, name, path)


@pytest.fixture(scope="module")
def reduced(model: Model, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Reduction:
    return reduce(model, noise, dim=8, out=tmp_path_factory.mktemp("reduced") / "run", options=CPU)


def features(model: Any, noise: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    found: np.ndarray[Any, np.dtype[np.float32]] = model.embed(
        load_dataset(noise).gallery, device="cpu", precision="fp32"
    ).vectors
    return found


def test_features_are_those_of_the_axes(reduced: Reduction, model: Model, noise: Path) -> None:
    train = model.embed(load_dataset(noise).train, device="cpu", precision="fp32").vectors
    axes = principal_axes(train, 8)
    expected = axes.reduce(features(model, noise))
    np.testing.assert_allclose(features(reduced.model, noise), expected, atol=1e-5)
    assert (reduced.images, reduced.model.dim) == (32, 8)
    assert reduced.variance == pytest.approx(axes.variance)


def test_it_survives_saving_evaluating_and_fusing(reduced: Reduction, model: Model, noise: Path) -> None:
    folder = reduced.model.path
    assert folder is not None
    loaded = load_model(folder)
    assert loaded.fingerprint == reduced.model.fingerprint != model.fingerprint
    np.testing.assert_allclose(features(loaded, noise), features(reduced.model, noise), atol=1e-6)
    assert reduced.after is not None
    assert reduced.before is not None
    assert evaluate(loaded, noise, options=CPU).scores.map == pytest.approx(reduced.after.map, abs=1e-6)
    assert evaluate(model, noise, options=CPU).scores.map == reduced.before.map
    images = torch.randn(2, 3, *RECIPE.images.size)
    with torch.no_grad():
        f_t, f_i = require_torch(reduced.model).network(images)[:2]
        fused = fuse_batch_norms(require_torch(reduced.model).network)(images)[1]
    assert f_t is f_i
    torch.testing.assert_close(fused, f_i, atol=1e-4, rtol=1e-3)
    assert (folder / "trained_on.json").read_text() == json.dumps({"digests": ["0" * 16]})


def test_names_of_the_weights_stay_and_the_model_is_left_as_it_was(reduced: Reduction, model: Model) -> None:
    ours, theirs = require_torch(reduced.model).network.state_dict(), model.network.state_dict()
    assert set(ours) == set(theirs) | {"reduction.weight", "reduction.bias"}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert fingerprint(theirs) == model.fingerprint
    assert digest(model.recipe) == digest(replace(RECIPE, network=replace(RECIPE.network, reduced=0)))


def test_ids_are_never_read(reduced: Reduction, model: Model, noise: Path) -> None:
    dataset = load_dataset(noise)
    images = [replace(sample, pid=99) for sample in dataset.train]
    again = reduce(model, Dataset("other ids", images), dim=8, options=CPU)
    assert again.model.fingerprint == reduced.model.fingerprint
    assert again.after is None


def test_refuses(reduced: Reduction, model: Model, noise: Path, tmp_path: Path) -> None:
    for wrong, words in (({"dim": 0}, "dim=0"), ({"dim": 65}, "choose 1 to 64"), ({"power": 1.0, "dim": 4}, "power=1")):
        with pytest.raises(UsageError, match=words):
            reduce(model, noise, options=CPU, **wrong)
    with pytest.raises(DataError, match="the features of all 9 images are equal, and have no axes: give others"):
        principal_axes(np.tile(np.arange(1, 6, dtype=np.float32), (9, 1)), 2)
    with pytest.raises(DataError, match="32 images cannot say where 40 axes lie"):
        reduce(model, noise, dim=40, options=CPU)
    with pytest.raises(UsageError, match="reduced already, to 8"):
        reduce(reduced.model, noise, dim=4, options=CPU)
    with pytest.raises(UsageError, match="holds a run already: choose another folder"):
        reduce(model, noise, dim=4, out=model.path, options=CPU)
    with pytest.raises(UsageError, match="the model is a str: pass what load_model returns"):
        reduce("runs/strong", noise, dim=1, options=CPU)  # type: ignore[arg-type]
    masked = override(RECIPE, ["network.masks=grey"])
    with pytest.raises(UsageError, match=r"takes a mask beside each image, .*principal_axes"):
        reduce(Model(build_network(masked.network), masked), noise, dim=4, out=tmp_path / "masked")
    own: Any = Encoder()
    with pytest.raises(UsageError, match=r"encoder of your own takes no further layer: .*principal_axes"):
        reduce(own, noise, dim=1, options=CPU)
    file = load_model(mean_colour(tmp_path / "net.onnx"), input_spec="raw")
    with pytest.raises(UsageError, match="say where it goes"):
        reduce(file, noise, dim=2, options=CPU)


class Encoder:
    """An encoder of one's own."""

    input, dim, fingerprint, encode = InputSpec(height=64, width=32), 3, "own", None


@pytest.mark.parametrize("ending", [".onnx", ".xml"])
def test_an_exported_file_is_reduced_like_the_model_it_was_made_of(
    ending: str, reduced: Reduction, model: Model, noise: Path, tmp_path: Path, nursery: Nursery
) -> None:
    path = tmp_path / f"net{ending}"
    export_model(model, path, format="openvino" if ending == ".xml" else "onnx")
    words = ["reduce", path, "--data", noise, "--dim", "8", "--no-cache"]
    found = nursery.run(*words, "--json").json()
    assert found["out"] == str(tmp_path / f"net-8{ending}")
    assert reduced.after is not None
    assert found["after"]["map"] == pytest.approx(reduced.after.map, abs=1e-3)
    short = load_model(tmp_path / f"net-8{ending}")
    assert (short.fingerprint, short.dim) == (found["model"], 8)
    ours, theirs = features(short, noise), features(reduced.model, noise)
    np.testing.assert_allclose(np.abs(np.sum(ours * theirs, axis=1)), np.linalg.norm(theirs, axis=1) ** 2, rtol=1e-2)
    assert nursery.run(*words).status == 0  # the same again
    assert nursery.run(*words, "--power", "0.5").status == 2


def test_a_call_that_was_killed_ends_as_an_undisturbed_one_when_repeated(
    model: Model, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the evaluation of the model that it had just written."""
    out = tmp_path / "small"
    with monkeypatch.context() as patched:
        patched.setattr(
            feature_reduction, "evaluate", lambda tried, *more: evaluate(tried, *more) if tried is model else _killed()
        )
        with pytest.raises(KeyboardInterrupt):
            reduce(model, noise, dim=8, out=out, options=CPU)
    before = (out / "model.safetensors").read_bytes()
    again = reduce(model, noise, dim=8, out=out, options=CPU)
    assert again.after is not None
    assert (out / "model.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match="holds a run already: choose another folder"):
        reduce(model, noise, dim=4, out=out, options=CPU)
    with pytest.raises(UsageError, match="holds a run already: choose another folder"):
        reduce(model, noise, dim=8, power=0.5, out=out, options=CPU)


def test_the_model_is_never_there_without_what_it_was_trained_on(
    model: Model, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_reduction, "save_model", _killed)
    with pytest.raises(KeyboardInterrupt):
        reduce(model, noise, dim=8, out=tmp_path / "small", options=CPU)
    assert (tmp_path / "small" / RECORD).is_file()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_as_a_command(nursery: Nursery, model: Model, noise: Path, tmp_path: Path) -> None:
    words = ["reduce", model.path, "--data", noise, "--dim", "8", "--out", tmp_path / "small", "--no-cache"]
    found = nursery.run(*words, "--power", "0.25", "--json").json()
    assert (found["dim"], found["images"], found["before"]["queries"]) == (8, 32, 4)
    table = nursery.run(*words[:-3], "--no-cache", "--out", tmp_path / "other")
    assert "before" in table.out
    assert "64 to 8 numbers by 32 images" in table.out
    assert nursery.run(*words).status == 2


def test_unknown_cameras_stop_it_before_anything_is_written(model: Model, noise: Path, tmp_path: Path) -> None:
    found = load_dataset(noise)
    train, query, gallery = (
        SampleTable(replace(sample, camid=-1) for sample in part) for part in (found.train, found.query, found.gallery)
    )
    dark = replace(found, train=train, query=query, gallery=gallery)
    with pytest.raises(DataError, match="pass cameras='any'"):
        reduce(model, dark, dim=8, out=tmp_path / "run", options=CPU)
    assert not (tmp_path / "run").exists()
    assert reduce(model, dark, dim=8, out=tmp_path / "run", options=CPU, cameras="any").after


def test_recipes_say_no_to_a_negative_length() -> None:
    with pytest.raises(UsageError, match="reduced"):
        override(RECIPE, ["network.reduced=-1"])


def test_the_format_that_a_refusal_names_can_be_given(
    model: Model, noise: Path, tmp_path: Path, nursery: Nursery
) -> None:
    """Training images beside queries without a gallery are taken only if the format says so."""
    for folder in ("bounding_box_train", "query"):
        copytree(noise / folder, tmp_path / "half" / folder)
    (tmp_path / "half" / "bounding_box_test").mkdir()
    words = ["reduce", model.path, "--data", tmp_path / "half", "--dim", "8", "--out", tmp_path / "small", "--no-cache"]
    assert (
        nursery.run(*words).line().endswith("format='market1501-train' to train on bounding_box_train alone (--format)")
    )
    assert nursery.run(*words, "--format", "market1501-train", "--json").json()["images"] == 32
