"""Exported files as encoders: pixels on their way into the file, batches, names, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from reidkit.comparison import calibrate, compare
from reidkit.encoder import InferenceOptions, InputSpec, load_model
from reidkit.encoder.exported import ExportedEncoder
from reidkit.errors import DataError, MissingFileError, ReidkitError, UsageError, WeightsError
from reidkit.metrics.calibration_file import calibration_path
from tests.encoder.files import mean_colour, save, to_openvino

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RED = np.full((1, 4, 2, 3), (255, 51, 0), np.uint8)
"""A red image: 1, 0.2 and 0 of each channel."""


@pytest.mark.parametrize(
    ("spec", "feature"),
    [
        ("raw", (255, 51, 0)),
        ("openvino-retail", (0, 51, 255)),
        ("ultralytics", (1, 0.2, 0)),
        ("half", (1, -0.6, -1)),
        ("torchreid", ((1 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, -0.406 / 0.225)),
        ("bgr", (-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225)),
        ("deepstream", ((255 - 123.675) / 57.63, (51 - 116.28) / 57.63, -103.53 / 57.63)),
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_pixels_by_hand(spec: str, feature: tuple[float, ...], channels_last: bool, tmp_path: Path) -> None:
    """The network gives the mean of each channel as it gets it, so that the feature is what was made of a pixel."""
    model = load_model(mean_colour(tmp_path / "m.onnx", channels_last=channels_last), input_spec=spec)
    np.testing.assert_allclose(model.encode(RED)[0], feature, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("spec", "feature"), [("raw", (255, 51, 0)), ("openvino-retail", (0, 51, 255))])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_that_takes_bytes_gets_them(
    spec: str, feature: tuple[float, ...], channels_last: bool, tmp_path: Path
) -> None:
    path = mean_colour(tmp_path / "m.onnx", kind=TensorProto.UINT8, channels_last=channels_last)
    np.testing.assert_allclose(load_model(path, input_spec=spec).encode(RED)[0], feature)


def test_half_precision_comes_close(tmp_path: Path) -> None:
    model = load_model(mean_colour(tmp_path / "m.onnx", kind=TensorProto.FLOAT16), input_spec="ultralytics")
    np.testing.assert_allclose(model.encode(RED)[0], (1, 0.2, 0), atol=1e-3)


def test_openvino_computes_as_onnx_does(tmp_path: Path) -> None:
    onnx_file = mean_colour(tmp_path / "m.onnx", batch=1)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 2, 3)).astype(np.uint8)
    ours = load_model(onnx_file, input_spec="torchreid")
    theirs = load_model(to_openvino(onnx_file), input_spec="torchreid")
    np.testing.assert_allclose(theirs.encode(images), ours.encode(images), rtol=1e-4, atol=1e-5)
    rough = theirs.embed(list(images), precision="bf16")
    np.testing.assert_allclose(rough, ours.encode(images), atol=0.02)
    assert ours.fingerprint != theirs.fingerprint


def test_a_file_says_what_it_takes_or_is_known(tmp_path: Path) -> None:
    """Metadata come before the name; what is given comes before both."""
    spec = InputSpec(height=4, width=2, colour="bgr")
    told = {"reidkit.input": json.dumps(spec.to_json())}
    cases: dict[str, tuple[dict[str, Any], str | None, str, InputSpec | None]] = {
        "osnet_x1.onnx": ({}, None, "torchreid", InputSpec(height=4, width=2)),
        "told_osnet.onnx": ({"metadata": told}, None, "metadata", spec),
        "given_osnet.onnx": ({"metadata": told}, "raw", "given", None),
        "retail.onnx": ({"names": ("data", "reid_embedding")}, None, "openvino-retail", None),
        "tao.onnx": ({"names": ("input", "fc_pred")}, None, "deepstream", None),
    }
    for name, (how, given, origin, wanted) in cases.items():
        model = load_model(mean_colour(tmp_path / name, **how), input_spec=given)
        assert isinstance(model, ExportedEncoder)
        assert model.origin == origin
        assert wanted is None or model.input == wanted
    with pytest.raises(UsageError, match=r"nothing in .*net.onnx says how its images are made.*--input-spec auto"):
        load_model(mean_colour(tmp_path / "net.onnx"))
    with pytest.raises(UsageError, match="tries the known ones on a data set"):
        load_model(tmp_path / "net.onnx", input_spec="auto")
    with pytest.raises(UsageError, match="a height of 4 and the input spec says 9: leave the size out"):
        load_model(tmp_path / "net.onnx", input_spec="torchreid,size=9x2")
    with pytest.raises(UsageError, match="say which by size"):
        load_model(mean_colour(tmp_path / "any_osnet.onnx", size=("h", "w")))
    assert load_model(tmp_path / "any_osnet.onnx", input_spec="torchreid,size=4x2").encode(RED).shape == (1, 3)


def test_fingerprints_are_of_bytes_and_spec(tmp_path: Path) -> None:
    path = mean_colour(tmp_path / "m.onnx")
    copied = tmp_path / "copy.onnx"
    copied.write_bytes(path.read_bytes())
    first = load_model(path, input_spec="raw").fingerprint
    assert load_model(copied, input_spec="raw").fingerprint == first
    assert load_model(path, input_spec="torchreid").fingerprint != first
    assert load_model(mean_colour(tmp_path / "n.onnx", batch=1), input_spec="raw").fingerprint != first


def test_the_output_that_is_the_feature(tmp_path: Path) -> None:
    """Two outputs [N, 3], the pixels' mean and ten times that, and one that is no feature."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    ten = helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0])
    nodes = [
        helper.make_node("Identity", ["images"], ["map"]),
        helper.make_node("ReduceMean", ["map", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], ["more"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 4, 2])
    outputs = [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["n", 3, 4, 2])]
    outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("mean", "more")]
    path = save(tmp_path / "m.onnx", nodes, [image], outputs, [axes, ten])
    assert load_model(path, input_spec="raw").encode(RED)[0].tolist() == [255, 51, 0]
    assert load_model(path, input_spec="raw,output=more").encode(RED)[0].tolist() == [2550, 510, 0]
    with pytest.raises(UsageError, match="has no output 'none': it has 'map', 'mean', 'more'"):
        load_model(path, input_spec="raw,output=none")
    flat = save(tmp_path / "f.onnx", nodes[:1], [image], outputs[:1])
    with pytest.raises(WeightsError, match="has no output of one vector for each image, but 'map'"):
        load_model(flat, input_spec="raw")


def test_what_is_stored_beside_a_file_bears_its_name(tmp_path: Path, noise: Path) -> None:
    model = load_model(mean_colour(tmp_path / "m.onnx", size=(16, 8)), input_spec="torchreid")
    assert model.calibration is None
    (tmp_path / "calibration.json").write_text("another model's")
    assert compare(model, RED[0], RED[0]).same is None
    made = calibrate(model, noise, far=0.5)
    assert model.path is not None
    assert calibration_path(model.path) == tmp_path / "m.onnx.calibration.json"
    assert model.calibration == made
    assert compare(model, RED[0], RED[0]).same is True
    again = load_model(tmp_path / "m.onnx", input_spec="bgr")
    with pytest.raises(DataError, match=f"is of the model {model.fingerprint} and not of {again.fingerprint}"):
        compare(again, RED[0], RED[0])


def test_precision_is_the_files_own_unless_it_is_asked_for() -> None:
    from dataclasses import replace

    changed: dict[str, Any] = {"precision": "bf16"}
    assert InferenceOptions(device="cpu").own_precision
    assert replace(InferenceOptions(device="cpu"), batch=3).own_precision
    assert not InferenceOptions(device="cpu", precision="bf16").own_precision
    assert not replace(InferenceOptions(device="cpu"), **changed).own_precision


# --- Hostile and unfit files: one sentence each, and nothing is opened, run or filled with zeros.


def network(**sides: Any) -> bytes:
    """The bytes of an ONNX file whose nodes, input and output are the test's."""
    image, out = sides.get("shape", ["n", 3, 4, 2]), sides.get("out", ["n", 3])
    graph = helper.make_graph(
        sides.get("nodes", [helper.make_node("Identity", ["images"], ["f"])]),
        "hostile",
        [helper.make_tensor_value_info("images", sides.get("kind", TensorProto.FLOAT), image)],
        [helper.make_tensor_value_info("f", TensorProto.FLOAT, out)],
        sides.get("tensors", []),
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("evil", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def outside() -> TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [3], np.zeros(3, np.float32).tobytes(), raw=True)
    onnx.external_data_helper.set_external_data(tensor, location="../../secret.bin")
    tensor.ClearField("raw_data")
    return tensor


def filled(numbers: int) -> list[Any]:
    """A step that makes so many zeros."""
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [numbers, 1024])
    return [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["top"], keepdims=0),
        helper.make_node("Add", ["images", "top"], ["f"]),
    ]


def inner(node: Any) -> list[Any]:
    """A step that hides another one in a branch."""
    branch = helper.make_graph([node], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    true = helper.make_tensor("t", TensorProto.BOOL, [], [True])
    return [
        helper.make_node("Constant", [], ["true"], value=true),
        helper.make_node("If", ["true"], ["f"], then_branch=branch, else_branch=branch),
    ]


ONNX_FILES = {
    "text": (b"hello", "is no ONNX file"),
    "zip": (b"PK\x03\x04" + bytes(100), "is no ONNX file"),
    "zeros": (bytes(1000), "is no ONNX file"),
    "empty": (b"", "is empty"),
    "cut short": (network()[:-20], "is no ONNX file|is cut short"),
    "other file": (network(tensors=[outside()]), "keeps weights in another file, which is not opened"),
    "hidden other file": (
        network(nodes=inner(helper.make_node("Constant", [], ["y"], value=outside()))),
        "keeps weights in another file",
    ),
    "operator": (
        network(nodes=[helper.make_node("Run", ["images"], ["f"], domain="evil")]),
        "needs the operator 'evil'.'Run', which is none of ONNX",
    ),
    "hidden operator": (
        network(nodes=inner(helper.make_node("Run", ["images"], ["y"], domain="evil"))),
        "needs the operator 'evil'.'Run'",
    ),
    "unknown operator": (network(nodes=[helper.make_node("Sing", ["images"], ["f"])]), "cannot be run by ONNX Runtime"),
    "bomb": (network(nodes=filled(1 << 40)), "numbers at once of one image"),
    "no images": (network(shape=["n", 5]), r"takes \[\?, 5\] and not images"),
    "grey": (network(shape=["n", 1, 4, 2]), r"takes \[\?, 1, 4, 2\] and not images"),
    "text input": (network(kind=TensorProto.STRING), "cannot be run|takes no numbers"),
    "a map": (network(out=["n", 3, 4, 2]), "has no output of one vector"),
    "a lie": (network(), r"gives \[1, 3, 4, 2\] for 1 images"),
}


@pytest.mark.parametrize("name", ONNX_FILES)
def test_an_odd_onnx_file_ends_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, why = ONNX_FILES[name]
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = tmp_path / "a" / "b" / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ReidkitError, match=why) as caught:
        load_model(path, input_spec="raw").encode(RED)
    assert "\n" not in str(caught.value)


def test_a_batch_that_is_folded_together_is_refused(tmp_path: Path) -> None:
    """One row for all images is no feature of each."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, -1])
    node = helper.make_node("Reshape", ["images", "shape"], ["f"])
    path = tmp_path / "m.onnx"
    path.write_bytes(network(nodes=[node], tensors=[shape], out=["n", "d"]))
    model = load_model(path, input_spec="raw")
    assert model.encode(RED).shape == (1, 24)
    with pytest.raises(WeightsError, match=r"gives \[1, 72\] for 3 images and not one vector for each"):
        model.encode(np.repeat(RED, 3, axis=0))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "folder.xml").mkdir()
    (tmp_path / "gone.onnx").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round.onnx").symlink_to(tmp_path / "round.onnx")
    for name in ("pipe.onnx", "folder.onnx", "folder.xml"):
        with pytest.raises(WeightsError, match="is no file, but a folder, a pipe or a device"):
            load_model(tmp_path / name, input_spec="raw")
    for name in ("gone.onnx", "round.onnx"):
        with pytest.raises(WeightsError, match="is a link that leads nowhere"):
            load_model(tmp_path / name, input_spec="raw")
    with pytest.raises(MissingFileError, match="is not there"):
        load_model(tmp_path / "never.onnx")


def openvino_files(folder: Path) -> dict[str, tuple[bytes, bytes | None, str]]:
    """Odd models: the .xml, the .bin, and what is said."""
    path = to_openvino(mean_colour(folder / "good.onnx"))
    xml, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    bomb = b'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><net>&b;</net>'
    return {
        "no weights": (xml, None, "cannot be read"),
        "empty weights": (xml, b"", "is empty"),
        "weights cut short": (
            xml,
            weights[:3],
            r"no OpenVINO model, or it or its \.bin is cut short \(Incorrect weights .*\): copy both again",
        ),
        "cut short": (xml[: len(xml) // 2], weights, "is no OpenVINO model"),
        "text": (b"hello", weights, "is no OpenVINO model"),
        "entities": (bomb, weights, "is no OpenVINO model"),
        "operator": (xml.replace(b'type="ReduceMean"', b'type="Evil"'), weights, "is no OpenVINO model"),
        "offset": (xml.replace(b'offset="0"', b'offset="99999999"'), weights, "is no OpenVINO model"),
        "html": (b"<html><body>not found</body></html>", weights, "is no OpenVINO model"),
    }


def test_an_odd_openvino_model_ends_in_one_sentence(tmp_path: Path) -> None:
    for name, (xml, weights, why) in openvino_files(tmp_path).items():
        path = tmp_path / f"{name.replace(' ', '_')}.xml"
        path.write_bytes(xml)
        if weights is not None:
            path.with_suffix(".bin").write_bytes(weights)
        with pytest.raises(ReidkitError, match=why) as caught:
            load_model(path, input_spec="raw")
        assert "\n" not in str(caught.value), name


def test_own_networks_and_specs_are_not_for_each_other(tmp_path: Path) -> None:
    path = mean_colour(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="brings its network along"):
        load_model(path, network=lambda: None, input_spec="raw")  # type: ignore[arg-type]
    (tmp_path / "m.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="leave out input_spec, which is for foreign"):
        load_model(tmp_path / "m.safetensors", input_spec="raw")


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    nodes = [
        helper.make_node("Log", ["images"], ["x"]),
        helper.make_node("ReduceMean", ["x", "axes"], ["f"], keepdims=0),
    ]
    path = tmp_path / "m.onnx"
    path.write_bytes(network(nodes=nodes, tensors=[axes]))
    model = load_model(path, input_spec="raw")
    with pytest.raises(ReidkitError, match="NaN or infinity for 1 of 1 images"):
        model.encode(RED)


def test_two_runs_at_once_give_what_one_gives(tmp_path: Path) -> None:
    """A server encodes from several threads."""
    from concurrent.futures import ThreadPoolExecutor

    path = mean_colour(tmp_path / "m.onnx", batch=2)
    images: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (64, 4, 2, 3)).astype(np.uint8)
    for model in (load_model(path, input_spec="raw"), load_model(to_openvino(path), input_spec="raw")):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda at, m=model: m.encode(images[at : at + 5]), range(0, 60, 5)))
        np.testing.assert_allclose(np.concatenate(found), images[:60].mean(axis=(1, 2)), rtol=1e-4)


TWO_MODELS = """
import signal, sys
import numpy as np
from pathlib import Path
from reidkit.encoder.openvino_runtime import OpenVinoEncoder

models = [OpenVinoEncoder(Path(sys.argv[1]), "openvino-retail") for _ in range(2)]
for model in models:
    model.encode(np.zeros((1, 4, 2, 3), np.uint8))
del model
while models:
    models.pop(0)
signal.signal(signal.SIGINT, lambda *_: print("heard"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_is_heard_after_two_openvino_models(tmp_path: Path) -> None:
    """The end of a second core put a stack for signals back that was gone, and Ctrl-C ended the process unsaved."""
    path = to_openvino(mean_colour(tmp_path / "vino.onnx"))
    ended = subprocess.run([sys.executable, "-c", TWO_MODELS, path], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "heard\n"), ended.stderr
