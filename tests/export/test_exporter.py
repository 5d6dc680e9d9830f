"""Whole exports of a tiny network: the file gives what torch gives, or is not there."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from reidkit.cli.main import app
from reidkit.comparison import calibrate, compare
from reidkit.data.decode import resize
from reidkit.data.formats.detect import load_dataset
from reidkit.data.overlap import RECORD, compare_with_model
from reidkit.encoder import InferenceOptions, Model, load_model, require_torch
from reidkit.encoder.exported import ExportedEncoder
from reidkit.encoder.openvino_runtime import import_openvino
from reidkit.errors import DataError, UsageError, WeightsError
from reidkit.evaluation import evaluate
from reidkit.export import Exported, ExportOptions, ParityError, export_model, exporter, parity
from reidkit.export.graph import ExportedNetwork
from reidkit.export.int8 import floats
from reidkit.export.onnx_file import halve_weights, to_onnx
from reidkit.export.openvino_file import save_openvino
from reidkit.export.parity import measure_parity, require_same_pixels
from reidkit.gallery import open_gallery
from reidkit.model.contracts import Features
from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.recipe import override
from tests.encoder.files import mean_colour
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from tests.commands import Nursery

CPU = InferenceOptions(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, noise: Path) -> Model:
    """In a run's folder, calibrated, with a record of what it was trained on; its norms and neck have moved."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = build_network(RECIPE.network)
    network.train()
    with torch.no_grad():
        network(torch.randn(16, 3, 32, 32) + 1)
    save_model(folder / "model.safetensors", network.eval(), RECIPE)
    (folder / RECORD).write_text(json.dumps({"digests": [], "ids": 0}))
    calibrate(load_model(folder), noise, far=0.3)
    return require_torch(load_model(folder))


@pytest.fixture(scope="module")
def plain(model: Model, noise: Path) -> Exported:
    return export_model(model, calibration=noise, licence="ours")


def test_the_file_lies_beside_the_model_and_gives_what_torch_gives(model: Model, plain: Exported, noise: Path) -> None:
    assert model.path is not None
    assert plain.path == model.path / "model.onnx"
    assert plain.parity.mean < 1e-6
    found = load_model(plain.path)
    ours, theirs = evaluate(model, noise, options=CPU), evaluate(found, noise, options=CPU)
    scale = np.abs(ours.query.vectors).max()
    np.testing.assert_allclose(theirs.gallery.vectors, ours.gallery.vectors, atol=1e-4 * scale)
    assert theirs.scores.map == pytest.approx(ours.scores.map, abs=1e-4)


def test_an_exact_file_is_the_model_it_was_made_of(model: Model, plain: Exported, noise: Path) -> None:
    """So a gallery and a calibration of the one are those of the other."""
    found = load_model(plain.path)
    assert found.fingerprint == model.fingerprint
    assert found.input == model.input
    assert found.calibration == model.calibration
    first, second = load_dataset(noise).query.paths[:2]
    assert compare(found, first, second).same is not None
    assert compare(found, first, second).probability == pytest.approx(compare(model, first, second).probability)
    people = open_gallery("memory", model)
    people.add([first, second])
    assert people.search(first, top=1)[0].key == first
    assert compare_with_model(plain.path, load_dataset(noise))["trained_on"] is not None


def test_a_file_that_was_changed_is_another_one(plain: Exported, tmp_path: Path) -> None:
    changed = onnx.load(plain.path)
    tensor = next(one for one in changed.graph.initializer if len(one.dims) == 4)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))
    onnx.save_model(changed, tmp_path / "changed.onnx")
    assert load_model(tmp_path / "changed.onnx").fingerprint != plain.fingerprint


def test_the_file_says_what_it_is_and_nothing_of_this_machine(model: Model, plain: Exported) -> None:
    content = plain.path.read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"stack_trace" not in content
    found = load_model(plain.path)
    assert isinstance(found, ExportedEncoder)
    known = found.metadata
    assert json.loads(known["reidkit.recipe"])["name"] == RECIPE.name
    assert known["reidkit.fingerprint"] == model.fingerprint
    assert known["reidkit.licence"] == "ours"
    assert model.calibration is not None
    assert float(known["reidkit.threshold"]) == model.calibration.threshold()
    kinds = {node.op_type for node in onnx.load(plain.path).graph.node}
    assert not kinds & {"BatchNormalization", "Shape", "Expand", "LpNormalization"}


def test_bytes_of_any_size_come_in_and_unit_features_go_out(
    model: Model, plain: Exported, noise: Path, tmp_path: Path
) -> None:
    made = export_model(
        model, tmp_path / "b.onnx", input="uint8", colour="bgr", normalise=True, fp16=True, calibration=noise
    )
    found = load_model(made.path)
    assert isinstance(found, ExportedEncoder)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    features = found.encode(images)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found.encode_whole(images), features, atol=1e-4)
    large = np.kron(images, np.ones((1, 3, 2, 1), np.uint8))  # each pixel as six: resized back, nearly the same
    along = (found.encode_whole(large) * features).sum(1)
    assert along.min() > 0.99
    assert made.resized is not None
    assert made.bytes < 0.6 * plain.bytes


@pytest.mark.parametrize(("by", "mode"), [("bilinear", "linear"), ("bicubic", "cubic")])
def test_openvino_resizes_without_aliasing(tmp_path: Path, by: Literal["bilinear", "bicubic"], mode: str) -> None:
    """Its own modes leave `antialias` unread: features of large images were others, and nothing said so."""
    size = numpy_helper.from_array(np.array([1, 3, 8, 4]), "size")
    node = helper.make_node("Resize", ["images", "", "", "size"], ["small"], mode=mode, antialias=1, cubic_coeff_a=-0.5)
    sides = (
        helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", "width"]),
        helper.make_tensor_value_info("small", TensorProto.FLOAT, [1, 3, 8, 4]),
    )
    graph = helper.make_graph([node], "resizing", [sides[0]], [sides[1]], [size])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    save_openvino(made, tmp_path / "r.xml", {}, half=False)
    large, wanted = np.random.default_rng(0).integers(60, 196, (61, 23, 3)).astype(np.uint8), np.empty((8, 4, 3), "u1")
    resize(large, wanted, by)
    run = import_openvino().Core().compile_model(tmp_path / "r.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = run(large.transpose(2, 0, 1)[None].astype(np.float32))[0][0].transpose(1, 2, 0)
    assert np.abs(found - wanted).max() < 1.5  # bytes are rounded twice


def test_eight_bits(model: Model, noise: Path, tmp_path: Path) -> None:
    made = export_model(model, tmp_path / "q.onnx", int8=True, calibration=noise)
    assert set(made.tried) == {"MinMax", "Entropy", "Percentile"}
    assert made.tried[made.method].mean == min(parity.mean for parity in made.tried.values())
    assert made.parity.mean == pytest.approx(made.tried[made.method].mean, rel=1e-3)
    found = load_model(made.path)
    assert found.fingerprint != model.fingerprint
    assert found.calibration is None  # thresholds move
    kept = onnx.load(made.path).graph
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in kept.node}
    assert not [node for node in kept.node if kept.output[0].name in node.output and "Quantize" in node.op_type]
    with pytest.raises(UsageError, match="8 bits need images of your cameras"):
        export_model(model, tmp_path / "r.onnx", int8=True)
    few = [load_dataset(noise).query.paths[0]] * 3
    with pytest.raises(DataError, match="are too few to find ranges with"):
        export_model(model, tmp_path / "r.onnx", int8=True, calibration=few)


def test_openvino_by_the_command(model: Model, noise: Path, tmp_path: Path) -> None:
    words = ["--format", "openvino", "--preset", "openvino", "--out", str(tmp_path / "o.xml"), "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        app(["export", str(model.path), *words, "--calibration", str(noise)], standalone_mode=False)
    made = json.loads(out.getvalue())
    assert made["files"] == [str(tmp_path / name) for name in (f"o.xml.{RECORD}", "o.bin", "o.xml")]
    assert made["parity"]["mean"] < 1e-6
    found = load_model(made["file"])
    assert isinstance(found, ExportedEncoder)
    assert found.origin == "metadata"
    assert (found.input.colour, found.input.scale) == ("bgr", 1)
    wanted = evaluate(model, noise, options=CPU).scores.map
    assert evaluate(found, noise, options=CPU).scores.map == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(UsageError, match=r"does not end in \.onnx"):
        export_model(model, tmp_path / "o.xml", calibration=noise)
    # Two files are not put in place at once: a kill between them leaves the .bin of one export with another's .xml.
    weights = bytearray((tmp_path / "o.bin").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "o.bin").write_bytes(weights)
    with pytest.raises(WeightsError, match=r"o\.bin holds other weights than .*o\.xml was written with"):
        load_model(tmp_path / "o.xml")


@pytest.mark.parametrize("opset", [14, 19])
def test_older_operators(model: Model, noise: Path, tmp_path: Path, opset: int) -> None:
    made = export_model(model, tmp_path / "n.onnx", opset=opset, calibration=noise)
    assert {entry.version for entry in onnx.load(made.path).opset_import if not entry.domain} == {opset}
    assert made.parity.mean < 1e-6


def test_operators_that_are_too_old(model: Model, noise: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="operators of version 13: give opset 14 or later"):
        export_model(model, tmp_path / "n.onnx", opset=13, calibration=noise)
    assert not [*tmp_path.iterdir()]


def test_deepstream_takes_pixels_as_they_are(model: Model, noise: Path, tmp_path: Path) -> None:
    made = export_model(model, tmp_path / "n.onnx", preset="deepstream", calibration=noise)
    assert {entry.version for entry in onnx.load(made.path).opset_import} == {17}
    ours, theirs = (evaluate(each, noise, options=CPU).scores.map for each in (model, load_model(made.path)))
    assert theirs == pytest.approx(ours, abs=1e-4)


def test_a_file_over_the_bound_is_not_put_in_place(
    model: Model, plain: Exported, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"the file before")
    monkeypatch.setattr(exporter, "to_onnx", lambda *_: onnx.load(plain.path))  # traced once is enough
    monkeypatch.setitem(parity.BOUNDS, "fp32", replace(parity.BOUNDS["fp32"], largest=-1.0))
    with pytest.raises(ParityError, match=r"at .*\.jpg, over 1e-05 and -1; try another opset"):
        export_model(model, tmp_path / "m.onnx", calibration=noise)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the file before"]


def resizing(graph: onnx.ModelProto, changed: dict[str, Any]) -> onnx.ModelProto:
    """The graph, whose step that resizes has other attributes."""
    (step,) = (node for node in graph.graph.node if node.op_type == "Resize")
    kept = [one for one in step.attribute if one.name not in changed]
    del step.attribute[:]
    step.attribute.extend([*kept, *(helper.make_attribute(*each) for each in changed.items())])
    return graph


@pytest.mark.parametrize("changed", [{"mode": "cubic"}, {"coordinate_transformation_mode": "align_corners"}])
def test_a_graph_that_resizes_otherwise_is_refused(
    model: Model, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str]
) -> None:
    """Images of the network's own size, which these are, pass through any filter: others have to be tried."""
    monkeypatch.setattr(exporter, "to_onnx", lambda *given: resizing(to_onnx(*given), changed))
    with pytest.raises(
        ParityError, match=r"another filter than .* apart, over 1\.5; leave the resizing to the program"
    ):
        export_model(model, tmp_path / "m.onnx", input="uint8", calibration=noise)
    # The features tell, too, as they have to of a runtime that resizes otherwise than ONNX Runtime.
    monkeypatch.setattr(exporter, "require_same_pixels", lambda *_: None)
    with pytest.raises(ParityError, match=r"\.jpg at \d+x\d+, over 0\.0005 and .*leave the resizing to the program"):
        export_model(model, tmp_path / "m.onnx", input="uint8", calibration=noise)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("options", [{"input": "uint8"}, {"resize": True}])
def test_pixels_tell_a_wrong_coefficient_of_the_cubic_filter(model: Model, options: Any) -> None:
    """The features of a tiny network do not: 1 - cos stays under the bound."""
    spec, front = replace(model.input, resize="bicubic"), ExportOptions(**options).front
    made = to_onnx(ExportedNetwork(model.network, spec, front), (spec.height, spec.width), front)
    require_same_pixels(made, front, spec)
    for changed in ({"cubic_coeff_a": -0.6}, {"mode": "linear"}, {"exclude_outside": 0}):
        other = onnx.ModelProto()
        other.CopyFrom(made)
        with pytest.raises(ParityError, match="by another filter than the network was trained with"):
            require_same_pixels(resizing(other, changed), front, spec)


def test_squares_over_the_bound_get_a_remedy_that_is_one(
    model: Model, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No option takes the squares of ultralytics away: `resize=False` is what they have already."""
    monkeypatch.setitem(parity.BOUNDS, "square", replace(parity.BOUNDS["square"], largest=-1.0))
    with pytest.raises(ParityError, match="squares that ultralytics gives: choose another preset"):
        export_model(model, tmp_path / "m.onnx", preset="ultralytics", calibration=noise)


def test_commands_that_are_refused(model: Model, plain: Exported, nursery: Nursery) -> None:
    refused = nursery.run("export", plain.path)
    assert "an export needs the network itself, which an exported file does not give" in refused.line()
    foreign = plain.path.with_name("foreign.onnx")
    mean_colour(foreign)
    assert "an export needs the network itself" in nursery.run("export", foreign).line()
    refused = nursery.run("export", model.path, "--int8", "--fp16")
    assert (refused.status, refused.line()) == (
        2,
        "weights are stored in 16 bits or in 8: choose fp16 or int8 (--fp16)",
    )


def test_packages_that_are_not_there_are_named_at_once(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of ONNX were named first, and OpenVINO when they were there."""
    for module in ("onnxscript", "openvino"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r": pip install onnx onnxruntime onnxscript openvino$"):
        export_model(model, tmp_path / "m.xml", format="openvino")


def test_a_warning_names_the_option_that_it_is_about(model: Model, nursery: Nursery, tmp_path: Path) -> None:
    done = nursery.run("export", model.path, "--out", tmp_path / "m.onnx")
    assert "synthetic images, which says less than images of your own cameras: give some (--calibration)\n" in done.err
    foreign = nursery.run("import", tmp_path / "m.onnx", "--out", tmp_path / "run").line()
    assert "the input spec (--input-spec, in Python input_spec; " in foreign


def test_an_option_that_there_is_not(model: Model) -> None:
    with pytest.raises(UsageError, match=r"there is no argument int9; did you mean int8\?"):
        export_model(model, int9=True)  # type: ignore[call-arg]


def test_parity_by_hand() -> None:
    """(1, 0) against itself, against (1, 1) and against NaN: 0, 1 - 1/sqrt 2, and as far as can be."""
    wanted = np.array([[1, 0], [1, 0]], np.float32)
    found = measure_parity(wanted, np.array([[2, 0], [1, 1]], np.float32), ["a", "b"])
    assert found.worst == "b"
    assert found.largest == pytest.approx(1 - 0.5**0.5)
    assert found.mean == pytest.approx((1 - 0.5**0.5) / 2)
    assert measure_parity(wanted, np.array([[np.nan, 0], [1, 1]], np.float32), ["a", "b"]).worst == "a"


def graph(*nodes: tuple[str, str, str]) -> onnx.ModelProto:
    """Steps (operator, what goes in, what comes out), each called as its output."""
    made = [helper.make_node(kind, given.split(), [out], name=out) for kind, given, out in nodes]
    return helper.make_model(helper.make_graph(made, "g", [], []))


def test_what_stays_in_float_by_hand() -> None:
    """Before the first and behind the last convolution; a sum between two of them is inside."""
    made = graph(
        ("Mul", "images", "scaled"),
        ("Conv", "scaled w", "a"),
        ("Relu", "a", "b"),
        ("Conv", "b w", "c"),
        ("Add", "b c", "d"),
        ("Conv", "d w", "e"),
        ("Relu", "e", "f"),
        ("ReduceMean", "f", "g"),
        ("Mul", "g", "h"),
    )
    assert floats(made) == ["scaled", "f", "g", "h"]
    assert floats(graph(("Mul", "x", "a"), ("MatMul", "a w", "b"), ("Add", "b", "c"), ("Gemm", "c w", "d"))) == ["a"]


def test_half_size_weights_by_hand() -> None:
    """Of 2,048 numbers as float16 and a step back; few numbers and large ones stay as they are."""
    tensors = [
        numpy_helper.from_array(np.linspace(-1, 1, 2048, dtype=np.float32), "many"),
        numpy_helper.from_array(np.ones(3, np.float32), "few"),
        numpy_helper.from_array(np.full(2048, 1e6, np.float32), "large"),
    ]
    made = helper.make_model(helper.make_graph([], "g", [], [], tensors))
    halve_weights(made)
    kinds = {one.name: one.data_type for one in made.graph.initializer}
    assert kinds == {"many_half": TensorProto.FLOAT16, "few": TensorProto.FLOAT, "large": TensorProto.FLOAT}
    assert [(node.op_type, *node.input, *node.output) for node in made.graph.node] == [("Cast", "many_half", "many")]


def test_a_network_that_takes_cameras_is_exported_with_a_warning(
    noise: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Which no check of images can see: the file has the mean of all cameras, and torch each image's own."""
    words = {"network.backbone": "vit-tiny", "network.head": "token", "network.width": 0.125, "network.cameras": 3}
    recipe = override(RECIPE, words)
    torch.manual_seed(0)
    own = Model(build_network(recipe.network).eval(), recipe, "0" * 16)
    export_model(own, tmp_path / "m.onnx", calibration=noise)
    assert "is told no cameras and takes the mean of all" in caplog.text
    file, query = load_model(tmp_path / "m.onnx"), load_dataset(noise).query
    untold = measure_parity(
        file.embed(query).vectors, own.embed(query.paths, device="cpu", precision="fp32"), query.paths
    )
    assert untold.largest < 1e-5


def test_a_network_that_cannot_be_traced_ends_in_a_sentence(model: Model, noise: Path, tmp_path: Path) -> None:
    class Fickle(torch.nn.Module):
        channels, takes_cameras, mask_channels = 3, False, 0

        def forward(self, images: torch.Tensor) -> Features:
            value = images.mean((2, 3))
            return Features(value, value) if float(images.sum()) > 0 else Features(value, -value)

    other = Model(Fickle(), model.recipe, "0" * 16)
    with pytest.raises(WeightsError, match="torch cannot express this network in ONNX"):
        export_model(other, tmp_path / "m.onnx", calibration=noise)
    with pytest.raises(UsageError, match="in no file, so that nothing says where it goes"):
        export_model(other, calibration=noise)
