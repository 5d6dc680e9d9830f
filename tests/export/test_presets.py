from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from reidkit.encoder import InputSpec
from reidkit.errors import UsageError
from reidkit.export import ExportOptions
from reidkit.export.presets import FRONTS, check_name, default_name, side_files

if TYPE_CHECKING:
    from pathlib import Path

SPEC = InputSpec(height=256, width=128)


def test_boxmot_is_told_by_the_name(tmp_path: Path) -> None:
    """It looks for a network's name in the file's, and takes some words for other networks."""
    assert default_name("boxmot", "strong", "resnet50", ".onnx") == "resnet50_strong.onnx"
    assert default_name("boxmot", "mine", "osnet-x0_25", ".onnx") == "osnet_x0_25_mine.onnx"
    assert default_name("boxmot", "mine", "osnet-ain-x1_0", ".onnx") == "osnet_ain_x1_0_mine.onnx"
    assert default_name("boxmot", "mine", "seresnet50", ".onnx") == "resnet50_mine.onnx"
    for word in ("resnet50_veri.onnx", "resnet50_VehicleID.onnx", "clip_resnet50.onnx"):
        with pytest.raises(UsageError, match=r"takes a file with .* for another network"):
            check_name("boxmot", tmp_path / word)
    with pytest.raises(UsageError, match=r"call it resnet50_model\.onnx"):
        check_name("boxmot", tmp_path / "model.onnx")
    check_name("plain", tmp_path / "veri.onnx")


def test_no_preset_replaces_the_file_of_another() -> None:
    """DeepStream's settings lie beside the file, and are those of no other one."""
    names = [default_name(preset, "model", "resnet50", "-int8.onnx") for preset in FRONTS]
    assert names[:3] == ["model-int8.onnx", "resnet50_model-int8.onnx", "model-opencv-int8.onnx"]
    assert len(set(names)) == len(names)


def test_boxmot_finds_the_size_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "resnet50_a.onnx"
    path.write_bytes(b"weights")
    ((side, text),) = side_files("boxmot", path, SPEC, 8, FRONTS["boxmot"]).items()
    facts = json.loads(text)
    assert side.name == "resnet50_a.onnx.metadata.json"
    assert facts["img_size"] == [256, 128]
    assert facts["source_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert facts["model_name"] == "resnet50"


def test_deepstream_has_nothing_left_to_normalise(tmp_path: Path) -> None:
    files = side_files("deepstream", tmp_path / "a.onnx", SPEC, 2048, FRONTS["deepstream"])
    tracker, element = files.values()
    lines = [line.split("#")[0].strip() for line in tracker.splitlines()]
    for line in (
        "reidFeatureSize: 2048",
        "inferDims: [3, 256, 128]",
        "offsets: [0.0, 0.0, 0.0]",
        "netScaleFactor: 1.0",
        "addFeatureNormalization: 0",
        "keepAspc: 0",
        'onnxFile: "a.onnx"',
    ):
        assert line in lines
    assert "infer-dims=3;256;128" in element.splitlines()
    assert "net-scale-factor=1.0" in element.splitlines()


def test_deepstream_is_told_what_the_options_change(tmp_path: Path) -> None:
    front = ExportOptions(preset="deepstream", colour="bgr", normalise=False).front
    tracker, element = side_files("deepstream", tmp_path / "a.onnx", SPEC, 2048, front).values()
    lines = [line.split("#")[0].strip() for line in tracker.splitlines()]
    assert {"colorFormat: 1", "addFeatureNormalization: 1"} <= set(lines)
    assert "model-color-format=1" in element.splitlines()


def test_triton_is_told_names_types_and_sides(tmp_path: Path) -> None:
    path = tmp_path / "reid" / "1" / "model.onnx"
    ((side, text),) = side_files("triton", path, SPEC, 512, FRONTS["triton"]).items()
    assert side == tmp_path / "reid" / "config.pbtxt"
    assert 'name: "reid"' in text
    assert 'input [ { name: "images" data_type: TYPE_UINT8 dims: [256, 128, 3] } ]' in text
    assert 'output [ { name: "embedding" data_type: TYPE_FP32 dims: [512] } ]' in text
    floats = ExportOptions(preset="triton", input="float32").front
    assert "TYPE_FP32 dims: [3, 256, 128]" in next(iter(side_files("triton", path, SPEC, 512, floats).values()))


def test_options_change_the_preset() -> None:
    front = ExportOptions(input="uint8").front
    assert (front.values, front.channels_last, front.resize) == ("uint8", True, True)
    assert not ExportOptions(input="uint8", resize=False).front.resize
    assert ExportOptions(preset="deepstream", normalise=False, colour="bgr").front == FRONTS["deepstream"].__class__(
        values="0-255", unit=False, bgr=True, opset=17
    )
    assert ExportOptions(int8=True).precision == "int8"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"preset": "vlc"}, "there is no preset vlc: choose of plain, boxmot"),
        ({"format": "tflite"}, "there is no format tflite: choose of onnx, openvino"),
        ({"input": "int4"}, "there is no input int4: choose of float32, uint8"),
        ({"colour": "cmyk"}, "there is no colour cmyk"),
        ({"opset": "17"}, "opset must be a whole number from 1 on, not the text '17'"),
        ({"int8": True, "fp16": True}, "choose fp16 or int8"),
        ({"opset": 17, "resize": True}, "operators below version 18 cannot resize"),
        ({"preset": "deepstream", "resize": True}, "operators below version 18 cannot resize"),
        ({"preset": "deepstream", "input": "uint8"}, "deepstream gives floats: leave out input"),
        ({"preset": "boxmot", "input": "uint8"}, "boxmot gives floats: leave out input"),
        ({"preset": "boxmot", "colour": "bgr"}, "boxmot gives RGB: leave out colour"),
        ({"preset": "deepstream", "format": "openvino"}, "deepstream is for an ONNX file: leave out format"),
        ({"preset": "triton", "format": "openvino"}, "triton is for an ONNX file: leave out format"),
        ({"preset": "ultralytics", "colour": "bgr"}, "ultralytics gives RGB: leave out colour"),
    ],
)
def test_what_cannot_be(options: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ExportOptions(**options)  # type: ignore[arg-type]
