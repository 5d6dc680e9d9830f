"""`reidkit calibrate` as users call it."""

import json
from shutil import copy

import pytest
import torch

from reidkit import recipe
from reidkit.encoder import load_model
from reidkit.metrics.calibration_file import load_calibration
from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from tests.noise import draw_noise


def make_model(path, seed):
    torch.manual_seed(seed)
    network = recipe.Network(backbone="resnet18", width=0.125, neck="bnneck")
    made = recipe.Recipe(name="tiny", network=network, images=recipe.Images(height=32, width=32, pad=0))
    return save_model(path, build_network(network), made)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    make_model(path, 0)
    return path


def test_what_is_printed_is_what_is_stored(nursery, model, noise):
    found = nursery.run("calibrate", model, "--data", noise, "--far", "0.1", "--no-cache", "--json").json()
    path = model.parent / "calibration.json"
    assert found["file"] == str(path)
    assert set(found["seconds"]) == {"embed", "calibrate"}
    # 4 queries by one camera; of each person 2 images by the other.
    assert (found["queries"], found["gallery"], found["people"]) == (4, 16, 4)
    assert (found["genuine"], found["impostors"]) == (8, 24)
    assert found["chosen"]["false_accepts"] <= 2
    stored = load_calibration(model.parent, load_model(model).fingerprint)
    assert stored.data == "market1501"
    assert {key: value for key, value in found.items() if key not in {"file", "seconds", "trained_on"}} == json.loads(
        path.read_text()
    )


def test_the_table_and_the_warnings_are_for_people(nursery, model, noise, tmp_path):
    out = tmp_path / "other.json"
    options = ["--method", "logistic", "--feature", "before", "--metric", "euclidean", "--cameras", "any", "--flip"]
    done = nursery.run("calibrate", model, "--data", noise, "--out", out, *options)
    assert "8 genuine and" not in done.out
    assert "16 genuine and 48 impostor pairs" in done.out
    for words in (
        "threshold ",
        "FAR",
        "EER",
        "d'",
        "open set:",
        "logistic at the prior 0.5",
        "0 camera pairs",
        str(out),
    ):
        assert words in done.out
    assert "warning: at a FAR of 0.001 only 0.048 of the 48 impostor pairs" in done.err
    stored = json.loads(out.read_text())
    assert (stored["feature"], stored["flip"], stored["settings"]["metric"]) == ("before", True, "euclidean")


def test_another_models_calibration_is_written_over_with_a_word(nursery, noise, model, tmp_path):
    copied = tmp_path / "model.safetensors"
    copy(model, copied)
    first = nursery.run("calibrate", copied, "--data", noise)
    assert "replaced" not in first.err
    assert "replaced" not in nursery.run("calibrate", tmp_path, "--data", noise).err
    fingerprint = make_model(copied, 1)
    assert f"and not of {fingerprint}" in nursery.run("calibrate", tmp_path, "--data", noise).err
    assert load_calibration(tmp_path, fingerprint)


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (["--far", "0"], 2, "a false accept rate of 0 cannot be asked for"),
        (["--prior", "1"], 2, "a prior of 1 leaves nothing to be decided"),
        (["--out", "/nowhere/calibration.json"], 1, "/nowhere/calibration.json cannot be written: name another file"),
        (["--method", "spline"], 2, "isotonic"),
    ],
)
def test_wrong_options_end_in_a_line(nursery, model, noise, options, status, sentence):
    done = nursery.run("calibrate", model, "--data", noise, *options)
    assert sentence in done.line()
    assert (done.status, done.out) == (status, "")


def test_one_person_ends_in_a_line(nursery, model, tmp_path):
    data = draw_noise(tmp_path / "market", evaluated=[11])
    done = nursery.run("calibrate", model, "--data", data, "--out", tmp_path / "c.json")
    assert "all images show one id" in done.line()
    assert not (tmp_path / "c.json").exists()
