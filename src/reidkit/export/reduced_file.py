"""An exported file whose features are turned onto fewer axes: a linear layer appended to its graph."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.encoder import load_model
from reidkit.encoder.exported import ExportedEncoder
from reidkit.encoder.onnx_check import graphs_in, read_onnx
from reidkit.encoder.openvino_runtime import output_name, read_openvino
from reidkit.errors import UsageError, WeightsError
from reidkit.export.in_place import put_in_place
from reidkit.export.onnx_file import set_metadata
from reidkit.export.openvino_file import write_openvino

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.encoder import ImageEncoder
    from reidkit.metrics.reduction import Axes

REDUCED = "reidkit.reduced"
"""The metadata that hold the length to which a file's features were reduced."""

OF_OTHER_FEATURES = ("reidkit.calibration", "reidkit.threshold", "reidkit.fingerprint", "reidkit.digest")
"""Metadata that are true of the features as they were, and of no others."""

TINY = 1e-12
"""The length below which a feature is not scaled to length one, as in torch."""


def reduced_path(model: ExportedEncoder, out: Path, dim: int) -> Path:
    """Return `out`, if a reduced file may be written there.

    Raises:
        UsageError: the model is reduced already; `out` has another ending than it, or is another file.
    """
    if told := model.metadata.get(REDUCED):
        raise UsageError(
            f"the model is reduced already, to {told}: reduce the file that it was made of", argument="model"
        )
    ending = model.path.suffix.lower()
    if out.suffix.lower() != ending:
        raise UsageError(f"{out} does not end in {ending}, as the model does: name it so", argument="out")
    if out.exists() and _length(out) != str(dim):
        raise _in_the_way(out)
    return out


def _length(path: Path) -> str:
    """Return the length to which the features of a file are reduced; "" where they are not."""
    try:
        there = load_model(path)
    except (UsageError, WeightsError):
        return ""
    return there.metadata.get(REDUCED, "") if isinstance(there, ExportedEncoder) else ""


def _in_the_way(out: Path) -> UsageError:
    return UsageError(f"{out} is there already, and is something else: choose another name as out", argument="out")


def write_reduced(model: ExportedEncoder, axes: Axes, out: Path) -> ImageEncoder:
    """Write the file of a model with these axes behind its feature, once it gives what they give; return it.

    The output keeps its name, and its other outputs stay. A feature that had length one has it again.

    Args:
        model: The exported file; it stays as it is.
        axes: The axes, for features of its length.
        out: What `reduced_path` has returned.

    Raises:
        WeightsError: no layer can be put behind the output.
        UsageError: `out` holds other axes of this model.
        DataError: the file cannot be written.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (2, model.input.height, model.input.width, 3), np.uint8)
    before = model.encode(pixels)
    unit = bool(np.allclose(np.linalg.norm(before, axis=1), 1, atol=1e-3))
    wanted = axes.reduce(before)
    if unit:
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory(prefix="reidkit-reduce-") as folder:
        made = Path(folder) / out.name
        write = _write_openvino if out.suffix.lower() == ".xml" else _write_onnx
        write(model, axes, made, unit=unit)
        if not _gives(made, pixels, wanted):
            raise WeightsError(f"{model.path} takes no further layer: behind one, it gives other features")
        if not out.exists():
            put_in_place(made, out, model.path)
        elif not _gives(out, pixels, wanted):  # an equal call, repeated, changes nothing
            raise _in_the_way(out)
    return load_model(out)


def _gives(path: Path, pixels: NDArray[np.uint8], wanted: NDArray[np.float32]) -> bool:
    """Whether a file gives these features, but for rounding."""
    found = load_model(path).encode(pixels)
    return bool(np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max())


def _metadata(model: ExportedEncoder, dim: int) -> dict[str, str]:
    kept = {key: value for key, value in model.metadata.items() if key not in OF_OTHER_FEATURES}
    return kept | {"reidkit.input": json.dumps(model.input.to_json()), REDUCED: str(dim)}


def _write_onnx(model: ExportedEncoder, axes: Axes, path: Path, *, unit: bool) -> None:
    """Append flattening, scaling to length one and the axes to the step that makes the feature."""
    from onnx import TensorProto, helper, numpy_helper

    dim = len(axes.bias)
    proto = read_onnx(model.path)
    graph, name = proto.graph, model.output
    inner = _free_name(graph, f"{name}_unreduced")
    made_here = {output for node in graph.node for output in node.output}
    if name not in made_here:
        raise WeightsError(f"{model.path} takes no further layer: no step of its graph makes {name!a}")
    for node in _nodes(graph):
        for names in (node.input, node.output):
            for at, each in enumerate(names):
                if each == name:
                    names[at] = inner
    flat, floats, units, turned, weight, bias = (
        f"{inner}_{what}" for what in ("flat", "float", "unit", "turned", "weight", "bias")
    )
    graph.node.extend(
        [
            helper.make_node("Flatten", [inner], [flat], axis=1),
            helper.make_node("Cast", [flat], [floats], to=TensorProto.FLOAT),
            helper.make_node("LpNormalization", [floats], [units], axis=1, p=2),
            helper.make_node("Gemm", [units, weight, bias], [turned if unit else name], transB=1),
            *([helper.make_node("LpNormalization", [turned], [name], axis=1, p=2)] if unit else []),
        ]
    )
    graph.initializer.extend([numpy_helper.from_array(axes.weight, weight), numpy_helper.from_array(axes.bias, bias)])
    for at, output in enumerate(graph.output):
        if output.name == name:
            sides = output.type.tensor_type.shape.dim
            batch = (sides[0].dim_param or sides[0].dim_value or "batch") if sides else "batch"
            graph.output[at].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, dim]))
    set_metadata(proto, _metadata(model, dim))
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _free_name(graph: Any, wanted: str) -> str:
    """Return a name such that no name in a graph begins with it."""
    taken = {each for node in _nodes(graph) for each in (*node.input, *node.output)}
    while any(each.startswith(wanted) for each in taken):
        wanted += "_"
    return wanted


def _nodes(graph: Any) -> list[Any]:
    return [node for each in graphs_in(graph) for node in each.node]


def _write_openvino(model: ExportedEncoder, axes: Axes, path: Path, *, unit: bool) -> None:
    """Append the same steps to an OpenVINO model."""
    from openvino import opset8 as steps

    _, network = read_openvino(model.path)
    at = [output_name(one, number) for number, one in enumerate(network.outputs)].index(model.output)
    result = network.get_results()[at]
    source = result.input_value(0)
    names = source.get_names()
    source.set_names(set())
    last = steps.reshape(source, np.array([0, -1], np.int64), special_zero=True)
    last = steps.convert(last, "f32")
    last = steps.normalize_l2(last, np.array([1], np.int64), TINY**2, "max")
    last = steps.add(steps.matmul(last, axes.weight, False, True), axes.bias[None])
    if unit:
        last = steps.normalize_l2(last, np.array([1], np.int64), TINY**2, "max")
    last.output(0).set_names(names)
    result.input(0).replace_source_output(last.output(0))
    network.validate_nodes_and_infer_types()
    write_openvino(network, path, _metadata(model, len(axes.bias)), half=False)
