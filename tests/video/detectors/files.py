"""Files of detectors whose outputs are known: graphs that give the same whatever they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIZE = 64
CELLS = 84  # 8 x 8 + 4 x 4 + 2 x 2


def constant_detector(
    path: Path,
    outputs: Mapping[str, Any],
    *,
    inputs: tuple[str, ...] = ("images",),
    shape: tuple[int | str, ...] = (1, 3, SIZE, SIZE),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write an ONNX file that gives `outputs`; inputs beside the first one are int64 [N, 2]."""
    taken = [helper.make_tensor_value_info(inputs[0], TensorProto.FLOAT, shape)]
    taken += [helper.make_tensor_value_info(name, TensorProto.INT64, (1, 2)) for name in inputs[1:]]
    nodes, given, values = [], [], []
    for name, output in outputs.items():
        array = np.asarray(output)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int64)
        values.append(numpy_helper.from_array(array, f"{name}_value"))
        nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
        given.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
    graph = helper.make_graph(nodes, "detector", taken, given, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path


def cells(columns: int, rows: Mapping[int, Any]) -> np.ndarray[Any, Any]:
    """Return [1, A, columns] that is zero but for some rows."""
    found = np.zeros((1, CELLS, columns), np.float32)
    for row, values in rows.items():
        found[0, row, : len(values)] = values
    return found
