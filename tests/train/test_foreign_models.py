"""Another project's file becomes a model like any other: evaluated, embedded, exported, and the export alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, load_model
from reidkit.errors import UsageError, WeightsError
from reidkit.evaluation import evaluate
from reidkit.export import export_model
from reidkit.model.weights import fingerprint, save_model
from reidkit.train.foreign_models import import_weights
from tests.model.convert.families import CASES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

SMALL = {"images.height": 64, "images.width": 32}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(CASES["fast-reid"]().state, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


def test_a_round_trip(file: Path, noise: Path, tmp_path: Path) -> None:
    found = import_weights(file, settings=SMALL, out=tmp_path / "run")
    model = load_model(tmp_path / "run")
    assert (model.fingerprint, found.family, found.left_out) == (
        found.model.fingerprint, "fast-reid", ("model.heads.weight", "model.pixel_mean", "model.pixel_std")
    )  # fmt: skip
    assert (model.input.height, model.input.width, model.input.resize) == (64, 32, "bicubic")
    data = load_dataset(noise)
    exported = export_model(model, tmp_path / "net.onnx", calibration=noise / "query")
    again = load_model(exported.path)
    options = InferenceOptions(device="cpu", precision="fp32")
    ours, theirs = (each.embed(data.query[:4], device="cpu", precision="fp32").vectors for each in (model, again))
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(ours)
    first, second = (evaluate(each, data, options=options).scores for each in (model, again))
    assert first.map == pytest.approx(second.map, abs=1e-4)


def test_the_command(nursery: Nursery, file: Path, tmp_path: Path) -> None:
    told = nursery.run("import", file, "--set", "images.height=64", "--json", "--out", tmp_path / "run").json()
    assert (told["family"], told["backbone"], told["dim"]) == ("fast-reid", "resnet18", 64)
    assert told["input"]["height"] == 64
    assert told["left_out"] == ["model.heads.weight", "model.pixel_mean", "model.pixel_std"]
    assert json.dumps(told["remarks"]).count("network.last_stride") == 1
    assert load_model(told["out"]).fingerprint == told["model"]

    again = nursery.run("import", file, "--out", tmp_path / "run")
    assert (again.status, "(--out)" in again.line(), "choose another folder" in again.line()) == (2, True, True)
    wrong = nursery.run("import", file, "--from", "fastreid", "--out", tmp_path / "other")
    assert (wrong.status, "did you mean fast-reid? (--from)" in wrong.line()) == (2, True)
    text = nursery.run("import", file, "--from", "fast-reid-sbs", folder=tmp_path)
    assert text.status == 0
    assert "384x128" in text.out
    assert (tmp_path / "theirs-imported" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.onnx", "needs no import"),
        ("net.xml", "needs no import"),
        ("net.etlt", "encrypted"),
        ("net.tlt", "encrypted"),
        ("none.pth", "is not there"),
    ],
)
def test_files_that_are_no_weights(name: str, words: str, tmp_path: Path) -> None:
    if name != "none.pth":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=words):
        import_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "stride"), [("name: x\nstride: 1\n", 1), ("stride: 2\n", 2), ("stride: 9\n", 2), ("", 2)]
)
def test_layumis_options_beside_the_file(text: str, stride: int, tmp_path: Path) -> None:
    torch.save(CASES["layumi"]().state, tmp_path / "net_last.pth")
    (tmp_path / "opts.yaml").write_text(text)
    assert import_weights(tmp_path / "net_last.pth").model.recipe.network.last_stride == stride


def test_a_call_that_was_killed_when_all_was_written_is_repeated_as_if_it_were_the_first(
    file: Path, tmp_path: Path
) -> None:
    first = import_weights(file, settings=SMALL, out=tmp_path / "run")
    again = import_weights(file, settings=SMALL, out=tmp_path / "run")
    assert again.model.fingerprint == first.model.fingerprint
    with pytest.raises(UsageError, match="choose another folder"):
        import_weights(file, out=tmp_path / "run")


def test_weights_that_are_read_in_two_ways_are_two_models(file: Path, tmp_path: Path) -> None:
    """Their features are not to be compared, and a gallery of the one refuses the other."""
    plain = import_weights(file, out=tmp_path / "plain").model
    assert plain.fingerprint == fingerprint(plain.network.state_dict())
    ways: list[tuple[str | None, dict[str, object]]] = [
        (None, {**SMALL}),
        (None, {"network.last_stride": 2}),
        (None, {"images.resize": "bilinear"}),
        ("fast-reid-sbs", {}),
    ]
    for number, (family, settings) in enumerate(ways):
        other = import_weights(file, family=family, settings=settings, out=tmp_path / str(number)).model
        assert other.fingerprint != plain.fingerprint, settings
        assert load_model(tmp_path / str(number)).fingerprint == other.fingerprint
        assert fingerprint(other.network.state_dict()) == plain.fingerprint
    same: list[tuple[str | None, dict[str, object]]] = [
        ("fast-reid", {}),
        (None, {"images.pad": 5}),
        (None, {"network.last_stride": 1}),
    ]
    for family, settings in same:
        assert import_weights(file, family=family, settings=settings).model.fingerprint == plain.fingerprint
    assert load_model(tmp_path / "plain").fingerprint == plain.fingerprint


def test_an_import_of_an_earlier_version_keeps_its_name(file: Path, tmp_path: Path) -> None:
    first = import_weights(file, settings=SMALL, out=tmp_path / "run")
    before = save_model(tmp_path / "run/model.safetensors", first.model.network, first.model.recipe)
    assert before != first.model.fingerprint
    assert import_weights(file, settings=SMALL, out=tmp_path / "run").model.fingerprint == before


def test_a_folder_that_holds_a_run_is_left_alone(file: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(UsageError, match="choose another folder"):
        import_weights(file, out=tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
