"""Checks of an ONNX file before a runtime opens it: no other files, no foreign operators, no endless memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.errors import WeightsError, first_line
from reidkit.extras import import_extra

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Where operators come from that ONNX Runtime has itself."""

NEEDS = "an ONNX file needs onnx and onnxruntime"

LARGEST_FILE = 2**31 - 1
"""Bytes: what the format can hold in one file."""

LARGEST = 1 << 28
"""Numbers that one step may make of one image: 1 GiB of float32, a hundred times what a ResNet-50 does."""

INSIDE = 4096
"""Numbers of a constant that the check of sizes has to see: shapes are shorter."""


def read_onnx(path: Path) -> Any:
    """Read an ONNX file as a `ModelProto` whose other files, if it names any, stay closed.

    Raises:
        WeightsError: it is none, or holds what is not read (`refuse_unsafe`).
        UsageError: onnx is not installed.
    """
    onnx = import_extra("onnx", NEEDS, by="onnxruntime")
    from google.protobuf.message import DecodeError  # which onnx brings along

    if path.stat().st_size > LARGEST_FILE:
        raise WeightsError(f"{path} is larger than the 2 GB that an ONNX file can have: it is something else")
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (DecodeError, ValueError, OSError, RuntimeError) as error:
        raise WeightsError(f"{path} is no ONNX file, or is cut short ({first_line(error)}): copy it again") from None
    if not model.graph.node or not model.opset_import:
        raise WeightsError(f"{path} is no ONNX file: it holds no network; export it again")
    refuse_unsafe(model, path)
    return model


def refuse_unsafe(model: Any, path: Path) -> None:
    """Refuse weights in other files, operators that are none of ONNX's, and steps that take all memory.

    Raises:
        WeightsError: the first of them that is found.
    """
    own = {function.domain for function in model.functions}
    for tensor in _tensors(model):
        if tensor.external_data or tensor.data_location:
            raise WeightsError(
                f"{path} keeps weights in another file, which is not opened: save it as one file "
                "(onnx.save_model(onnx.load(FILE), OUT))"
            )
    for node in _nodes(model):
        if node.domain not in DOMAINS | own:
            raise WeightsError(
                f"{path} needs the operator {node.domain!a}.{node.op_type!a}, which is none of ONNX: export it with "
                "standard operators"
            )
    if largest := _largest(model):
        raise WeightsError(f"{path} makes {largest:,} numbers at once of one image: it is no network for ReID")


def _largest(model: Any) -> int:
    """Return the numbers of the largest step, if it has more than `LARGEST`; 0 else, or where sizes are not known."""
    import onnx

    small = onnx.ModelProto()
    small.CopyFrom(model)
    for tensor in _tensors(small):  # shapes are what is looked for, and weights only take time
        if np.prod(tensor.dims, dtype=float) > INSIDE:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    try:
        known = onnx.shape_inference.infer_shapes(small, data_prop=True)
    except Exception:  # a file whose shapes contradict each other is refused by the runtime, by its own sentence
        return 0
    sizes = [_numbers(info) for info in (*known.graph.value_info, *known.graph.output)]
    sizes += [int(np.prod(tensor.dims, dtype=float)) for tensor in _tensors(model)]
    return max((size for size in sizes if size > LARGEST), default=0)


def _numbers(info: Any) -> int:
    """Return how many numbers a value has, a side of any length counted as 1."""
    sides = [side.dim_value for side in info.type.tensor_type.shape.dim if side.HasField("dim_value")]
    return int(np.prod([max(side, 1) for side in sides], dtype=float))


def graphs_in(*graphs: Any) -> Iterator[Any]:
    """Give graphs, or functions, and those inside of their steps."""
    waiting = list(graphs)
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += list(attribute.graphs)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in graphs_in(model.graph, *model.functions):
        yield from graph.node


def _tensors(model: Any) -> Iterator[Any]:
    for graph in graphs_in(model.graph, *model.functions):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else []
                yield from attribute.tensors
