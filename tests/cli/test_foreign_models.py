"""Commands that take a MODEL take exported files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.commands import SIZE
from tests.encoder.files import mean_colour, to_openvino

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file that nothing is known of, one with a known name, and an OpenVINO model."""
    made = tmp_path_factory.mktemp("foreign")
    mean_colour(made / "net.onnx", size=(16, 8))
    mean_colour(made / "osnet.onnx", size=(16, 8), batch=1)
    to_openvino(mean_colour(made / "vino.onnx", size=(16, 8), names=("data", "reid_embedding")))
    return made


def test_a_known_file_is_evaluated_and_says_how_it_was(nursery: Nursery, folder: Path, noise: Path) -> None:
    found = nursery.run("evaluate", folder / "osnet.onnx", "--data", noise, "--json", "--no-cache")
    assert 0 <= found.json()["map"] <= 1
    assert "images for osnet.onnx: 16x8 RGB 0-1" in found.err
    assert "(torchreid, by the file's name)" in found.err
    assert "what the model was trained on is not written down" in found.err


def test_all_known_specs_are_tried(nursery: Nursery, folder: Path, noise: Path) -> None:
    refused = nursery.run("evaluate", folder / "net.onnx", "--data", noise)
    assert refused.status == 2
    assert refused.line().endswith("(--input-spec)")
    found = nursery.run("evaluate", folder / "net.onnx", "--data", noise, "--input-spec", "auto", "--json")
    assert found.json()["queries"] == 4
    assert "the best is --input-spec " in found.err
    for name in ("torchreid", "fast-reid", "openvino-retail", "deepstream", "half", "ultralytics"):
        assert f"\n{name} " in f"\n{found.err}"


def test_a_page_a_calibration_and_pictures(nursery: Nursery, folder: Path, noise: Path) -> None:
    page = folder / "page.html"
    words = ("--data", noise, "--no-cache")
    assert nursery.run("evaluate", folder / "vino.xml", *words, "--report", page).status == 0
    assert "vino on market1501" in page.read_text()
    calibrated = nursery.run("calibrate", folder / "vino.xml", *words, "--far", "0.5", "--json").json()
    assert calibrated["file"] == str(folder / "vino.xml.calibration.json")
    for command in ("ranks", "embedding"):
        shown = nursery.run("show", command, folder / "vino.xml", "--data", noise, "--out", folder / f"{command}.png")
        assert shown.status == 0, shown.err
    refused = nursery.run("show", "attention", folder / "vino.xml", *words, "--out", folder / "a.png")
    assert "attention needs the network itself" in refused.line()


def test_a_teacher_of_which_nothing_is_known(nursery: Nursery, folder: Path, noise: Path, tmp_path: Path) -> None:
    made = {**SIZE, "optim.epochs": 1, "optim.drops": [], "optim.warmup_epochs": 0, "network.width": 0.25}
    words = ["strong-baseline", "--data", noise, "--out", tmp_path / "run", "--no-cache"]
    words += [word for key, value in made.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    refused = nursery.run("distil", folder / "net.onnx", *words)
    assert refused.line().endswith("(--input-spec)")
    alone = nursery.run("train", *words, "--input-spec", "torchreid")
    assert (alone.status, "is for a teacher" in alone.line()) == (2, True)
    done = nursery.run("distil", folder / "net.onnx", *words, "--input-spec", "torchreid", "--json")
    assert done.json()["queries"] == 4
    assert "images for net.onnx: 16x8 RGB 0-1" in done.err


def test_two_files_are_compared(nursery: Nursery, folder: Path, noise: Path) -> None:
    words = ("--data", noise, "--no-cache", "--input-spec", "raw", "--json")
    found = nursery.run("compare-runs", folder / "net.onnx", folder / "osnet.onnx", *words)
    assert found.status == 0, found.err
    refused = nursery.run("evaluate", folder / "osnet.onnx", "--data", noise, "--feature", "before")
    assert "f_t is inside the network" in refused.line()
