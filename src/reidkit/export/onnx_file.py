"""A network as one ONNX file: traced by torch, with metadata, half-size weights on request, and without our paths."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.errors import UsageError, WeightsError, first_line
from reidkit.extras import import_extra, require_extras
from reidkit.model.chance import first_weights
from reidkit.model.fuse import TRACING
from reidkit.process_settings import TRAINING, is_entered_elsewhere, without_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from reidkit.export.presets import Front

LARGEST_BATCH = 4096
HALVED = 1024
"""Numbers of a tensor from which it is stored as float16: smaller ones save nothing."""

EMPTY_AXES = 18
"""The version from which means, maxima and the like have the attribute noop_with_empty_axes; sums have it before."""

NOISY = ("torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir")
_QUIET = threading.RLock()


def require_onnx(*, openvino: bool = False) -> None:
    """Refuse an export before minutes are spent on it.

    Args:
        openvino: Whether the file is to be one of OpenVINO, which is made of one of ONNX.

    Raises:
        UsageError: onnx, onnxscript, onnxruntime or, where it is asked for, openvino is not installed; another thread
            trains.
    """
    _refuse_training()
    modules = ("onnx", "onnxruntime", "onnxscript")
    require_extras("an export", (*modules, "openvino") if openvino else modules)
    for module in modules:  # that each can be imported, too
        import_extra(module, "an export needs onnx, onnxscript and onnxruntime", by="onnxscript")


def _refuse_training() -> None:
    """Refuse to trace beside a run: torch meanwhile computes otherwise in all threads, and its optimisers may fail.

    Raises:
        UsageError: another thread trains.
    """
    if is_entered_elsewhere(TRAINING):
        raise UsageError(
            "a training runs in another thread, which torch's exporter would disturb: export when it has ended, or in "
            "another process"
        )


def to_onnx(network: nn.Module, size: tuple[int, int], front: Front, opset: int | None = None) -> Any:
    """Trace an `ExportedNetwork` and return it as a `ModelProto`, with a batch of any size.

    Args:
        network: The module: images as `front` says, to features [B, D].
        size: Height and width of the images; those of any size have it as an example.
        front: What the file takes.
        opset: The version of ONNX's operators; None: that of torch's exporter.

    Raises:
        UsageError: another thread trains.
        WeightsError: torch cannot express the network in ONNX.
    """
    dtype = torch.uint8 if front.values == "uint8" else torch.float32
    shape = (2, *size, 3) if front.channels_last else (2, 3, *size)
    axes = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
    if front.resize:
        first = 1 if front.channels_last else 2
        axes |= {first + at: torch.export.Dim(name, min=1, max=8192) for at, name in enumerate(("height", "width"))}
    try:
        with first_weights(), TRACING, quiet():  # torch sets its random state, too
            _refuse_training()
            program = torch.onnx.export(
                network.eval(),
                (torch.zeros(shape, dtype=dtype),),
                dynamo=True,
                dynamic_shapes=(axes,),
                input_names=[front.input_name],
                output_names=[front.output_name],
                verbose=False,
            )
    except UsageError:
        raise
    except Exception as error:  # whatever a network's code raises when it is traced
        cause: BaseException = error
        while cause.__cause__:  # torch tells how it goes about it, and why it failed below
            cause = cause.__cause__
        raise WeightsError(
            f"torch cannot express this network in ONNX ({type(cause).__name__}: {first_line(cause)})"
        ) from None
    if program is None:
        raise WeightsError("torch cannot express this network in ONNX")
    model = program.model_proto
    if opset is not None:
        model = _in_version(model, opset)
    _forget_source(model)
    return model


def _in_version(model: Any, opset: int) -> Any:
    """Return a model in the operators of a version.

    torch can be asked for one itself, but hides the numbers from ONNX's converter, which older versions need to see.
    """
    from onnx import version_converter

    if {entry.domain: entry.version for entry in model.opset_import}.get("") == opset:
        return model
    try:
        with quiet():
            converted = version_converter.convert_version(model, opset)
    except Exception:  # its errors have no common class but Exception
        raise WeightsError(
            f"the network cannot be expressed in the operators of version {opset}: give opset 14 or later, or leave it "
            "out"
        ) from None
    if opset < EMPTY_AXES:  # the converter leaves an attribute in place that these versions do not know
        for node in converted.graph.node:
            if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
                kept = [one for one in node.attribute if one.name != "noop_with_empty_axes"]
                del node.attribute[:]
                node.attribute.extend(kept)
    return converted


def halve_weights(model: Any) -> None:
    """Store large float32 weights as float16, in place: half the file, computed in float32 as before.

    Each gets a `Cast` behind it, which runtimes work out once, when they load the file.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=float) < HALVED:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    for at, node in enumerate(casts):
        model.graph.node.insert(at, node)


def set_metadata(model: Any, metadata: Mapping[str, str]) -> None:
    """Write metadata into a model, in place of what it had."""
    from onnx import helper

    del model.metadata_props[:]
    helper.set_model_props(model, dict(sorted(metadata.items())))
    model.producer_name, model.producer_version = "reidkit", ""


def graph_digest(model: Any) -> str:
    """Return the SHA-256 of a model's graph, which its metadata are no part of."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what torch's exporter and ONNX Runtime's calibrators print, log and warn of to themselves.

    All of it is the whole process's, so that one thread after the other changes it and puts it back.
    """
    with (
        _QUIET,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        without_warnings(),
    ):
        levels = {name: logging.getLogger(name).level for name in NOISY}
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _forget_source(model: Any) -> None:
    """Leave out where on this machine the code of each step lies, which torch writes beside it."""
    model.doc_string = model.graph.doc_string = ""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
