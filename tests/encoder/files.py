"""Tiny exported networks whose features can be worked out by hand: the mean colour of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Side = int | str


def mean_colour(
    path: Path,
    *,
    batch: Side = "batch",
    size: tuple[Side, Side] = (4, 2),
    kind: int = TensorProto.FLOAT,
    channels_last: bool = False,
    names: tuple[str, str] = ("images", "embedding"),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write an ONNX file that gives the mean of each channel of its input, [N, 3]."""
    shape = [batch, *size, 3] if channels_last else [batch, 3, *size]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2] if channels_last else [2, 3])
    nodes = [
        helper.make_node("Cast", [names[0]], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], [names[1]], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info(names[0], kind, shape)]
    outputs = [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [batch, 3])]
    return save(path, nodes, inputs, outputs, [axes], metadata)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    tensors: Sequence[Any] = (),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a network as an ONNX file."""
    graph = helper.make_graph(list(nodes), "made by a test", list(inputs), list(outputs), list(tensors))
    domains = sorted({node.domain for node in nodes} - {""})
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save_model(model, path)
    return path


def to_openvino(path: Path) -> Path:
    """Convert an ONNX file to an OpenVINO model beside it; the path of its .xml."""
    import openvino

    out = path.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(path), out, compress_to_fp16=False)
    return out
