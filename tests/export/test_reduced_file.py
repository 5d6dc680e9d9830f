from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import pytest
from onnx import TensorProto, helper

from reidkit.data.overlap import RECORD
from reidkit.encoder import load_model
from reidkit.encoder.openvino_runtime import WEIGHTS
from reidkit.errors import UsageError, WeightsError
from reidkit.export.openvino_file import write_openvino
from reidkit.export.reduced_file import reduced_path, write_reduced
from reidkit.metrics.reduction import Axes
from reidkit.model_files import beside
from tests.encoder.files import mean_colour, save, to_openvino

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AXES = Axes(np.array([[0, 0, 2], [1, -1, 0]], np.float32), np.array([0.5, 0], np.float32), 1.0)
"""Twice the third number and a half; the first less the second."""


def plain(path: Path) -> Path:
    return mean_colour(path)


def one_at_a_time(path: Path) -> Path:
    return mean_colour(path, batch=1)


def colours_last(path: Path) -> Path:
    return mean_colour(path, channels_last=True, kind=TensorProto.UINT8)


def maps(path: Path) -> Path:
    """The mean colours in float16, as maps of one pixel; a second output is made of them, one inside of a step."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    branch = [
        helper.make_graph(
            [helper.make_node("Neg", ["embedding"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT16, None)],
        )
        for name in ("one", "two")
    ]
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["wide"], keepdims=1),
        helper.make_node("Cast", ["wide"], ["embedding"], to=TensorProto.FLOAT16),
        helper.make_node("If", ["yes"], ["negative"], then_branch=branch[0], else_branch=branch[1]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["batch", 3, 1, 1])
        for name in ("embedding", "negative")
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 4, 2])]
    return save(path, nodes, inputs, outputs, [axes, yes])


def of_openvino(path: Path) -> Path:
    return to_openvino(mean_colour(path))


def image(colour: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((1, 4, 2, 3), colour, np.uint8)


@pytest.mark.parametrize("network", [plain, one_at_a_time, colours_last, maps, of_openvino])
def test_the_axes_stand_behind_the_feature(network: Callable[[Path], Path], tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    out = path.with_stem("short")
    model: Any = load_model(path, input_spec="raw")
    short: Any = write_reduced(model, AXES, reduced_path(model, out, 2))
    pixels = np.concatenate([image((3, 0, 4)), image((5, 12, 0)), image((0, 0, 0))])
    # of length one: (0.6, 0, 0.8), (5 / 13, 12 / 13, 0), and nothing
    np.testing.assert_allclose(short.encode(pixels), [[2.1, 0.6], [0.5, -7 / 13], [0.5, 0]], atol=2e-3)
    assert (short.dim, short.output, short.input) == (2, model.output, model.input)
    assert short.fingerprint not in ("", model.fingerprint)
    np.testing.assert_array_equal(load_model(out).encode(pixels), short.encode(pixels))  # it says how images are made
    assert model.dim == 3


def test_other_outputs_stay(tmp_path: Path) -> None:
    model: Any = load_model(maps(tmp_path / "net.onnx"), input_spec="raw")
    write_reduced(model, AXES, tmp_path / "short.onnx")
    other = load_model(tmp_path / "short.onnx", input_spec="raw,output=negative")
    np.testing.assert_allclose(other.encode(image((3, 0, 4))), [[-3, 0, -4]], atol=1e-2)


@pytest.mark.parametrize("ending", [".onnx", ".xml"])
def test_what_was_true_of_the_features_before_is_left_out(ending: str, tmp_path: Path) -> None:
    told = dict.fromkeys(("fingerprint", "digest", "threshold", "calibration"), "x") | {"recipe": "kept"}
    path = mean_colour(tmp_path / "net.onnx", metadata={f"reidkit.{name}": text for name, text in told.items()})
    if ending == ".xml":
        known = {f"reidkit.{name}": text for name, text in told.items()}
        write_openvino(openvino.convert_model(path), path.with_suffix(".xml"), known, half=False)
    model: Any = load_model(path.with_suffix(ending), input_spec="raw")
    beside(model.path, RECORD).write_text('{"digests": []}')
    short: Any = write_reduced(model, AXES, tmp_path / f"short{ending}")
    own = {"reidkit.recipe": "kept", "reidkit.reduced": "2", "reidkit.input": json.dumps(model.input.to_json())}
    assert {key: text for key, text in short.metadata.items() if key != WEIGHTS} == own
    assert short.calibration is None
    assert beside(short.path, RECORD).read_text() == '{"digests": []}'


@pytest.mark.parametrize("ending", [".onnx", ".xml"])
def test_features_of_length_one_stay_so(ending: str, tmp_path: Path) -> None:
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("LpNormalization", ["mean"], ["embedding"], axis=1, p=2),
    ]
    shapes: dict[str, list[str | int | None]] = {"images": ["batch", 3, 4, 2], "embedding": ["batch", 3]}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in shapes.items()
    )
    path = save(tmp_path / "net.onnx", nodes, inputs, outputs, [axes])
    if ending == ".xml":
        to_openvino(path)
    model: Any = load_model(path.with_suffix(ending), input_spec="raw")
    short = write_reduced(model, AXES, tmp_path / f"short{ending}")
    length = float(np.hypot(2.1, 0.6))
    np.testing.assert_allclose(short.encode(image((3, 0, 4))), [[2.1 / length, 0.6 / length]], atol=1e-4)


@pytest.mark.parametrize("ending", [".onnx", ".xml"])
def test_the_same_call_again_changes_nothing_and_another_is_refused(ending: str, tmp_path: Path) -> None:
    path = mean_colour(tmp_path / "net.onnx")
    to_openvino(path)
    model: Any = load_model(path.with_suffix(ending), input_spec="raw")
    out = tmp_path / f"short{ending}"
    write_reduced(model, AXES, reduced_path(model, out, 2))
    before = out.read_bytes()
    short: Any = write_reduced(model, AXES, reduced_path(model, out, 2))
    with pytest.raises(UsageError, match="is there already, and is something else: choose another name"):
        write_reduced(model, Axes(-AXES.weight, AXES.bias, 1.0), out)
    assert out.read_bytes() == before
    for there in (out, path.with_suffix(ending)):
        with pytest.raises(UsageError, match="is there already, and is something else: choose another name"):
            reduced_path(model, there, 1)
    with pytest.raises(UsageError, match="reduced already, to 2: reduce the file that it was made of"):
        reduced_path(short, tmp_path / "other.onnx", 1)
    with pytest.raises(UsageError, match=f"does not end in {ending}"):
        reduced_path(model, tmp_path / "short", 2)


def test_an_output_that_no_step_makes_is_refused(tmp_path: Path) -> None:
    shape: list[str | int | None] = ["batch", 3, 1, 1]
    values = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    nodes = [helper.make_node("Neg", ["images"], ["negative"])]
    model: Any = load_model(save(tmp_path / "net.onnx", nodes, values, values), input_spec="raw,size=1x1")
    with pytest.raises(WeightsError, match="no step of its graph makes 'images'"):
        write_reduced(model, AXES, tmp_path / "short.onnx")
    assert not (tmp_path / "short.onnx").exists()
