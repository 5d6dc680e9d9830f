"""An OpenVINO model (`.xml` with its `.bin`) as an encoder."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.encoder.exported import (
    ExportedEncoder,
    Graph,
    check_input,
    digest_of_files,
    require_file,
)
from reidkit.encoder.onnx_check import LARGEST
from reidkit.errors import WeightsError, first_line
from reidkit.extras import import_extra
from reidkit.workers import threads_here

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.encoder.exported import Shape
    from reidkit.encoder.inference import InferenceOptions
    from reidkit.encoder.input_spec import InputSpec

LARGEST_TEXT = 1 << 26
"""Bytes of an .xml, at most: the weights lie in the .bin, and a ResNet-50 has 300 kB."""


WEIGHTS = "reidkit.weights"
"""The metadata of an .xml that hold the SHA-256 of its .bin, where reidkit has written both."""


class OpenVinoEncoder(ExportedEncoder):
    """A network in an OpenVINO model, which computes in float32 unless another precision is asked for.

    Args:
        path: The .xml; its .bin has to lie beside it.
        input_spec: How its images are made: an `InputSpec`, or its text. None: as its metadata or its names say.

    Raises:
        MissingFileError: the .xml or its .bin is not there.
        WeightsError: no OpenVINO model, or no network of images; the .bin is of another export.
        UsageError: nothing says how its images are made; openvino is not installed.
    """

    def __init__(self, path: Path, input_spec: InputSpec | str | None = None) -> None:
        files = [path, path.with_suffix(".bin")]
        for file in files:
            require_file(file)
        runtime = OpenVinoRuntime(path)
        told = runtime.graph.metadata.get(WEIGHTS)
        if told and told != digest_of_files(files[1:]):
            raise WeightsError(
                f"{files[1]} holds other weights than {path} was written with (a stopped export, or a copy of one "
                "of them): export the model again, or copy both"
            )
        super().__init__(path, runtime, digest_of_files(files), input_spec)


class OpenVinoRuntime:
    """A model that OpenVINO compiles for each precision that is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._core, self._model = read_openvino(path)
        try:
            self.graph = _describe(path, self._model)
        except RuntimeError as error:
            raise WeightsError(f"{path} cannot be run by OpenVINO: {first_line(error)}") from None
        self._compiled: dict[str, Any] = {}
        self._lock = threading.Lock()  # one request at a time: each uses all threads

    def run(self, images: NDArray[Any], output: str, options: InferenceOptions | None) -> NDArray[Any]:
        """Return an output for a batch.

        Raises:
            WeightsError: OpenVINO cannot run the file.
        """
        wanted = "f32"
        if options and not options.own_precision and options.precision == torch.bfloat16:
            wanted = "bf16"
        try:
            with self._lock:
                found = self._for(wanted)(images)
                return np.array(found[output])  # a copy: the next batch is written into the same place
        except Exception as error:  # its errors have no common class but Exception
            raise WeightsError(f"{self._path} cannot be run: {first_line(error)}") from None

    def graph_digest(self) -> str:
        """Return nothing: such a model has a fingerprint of its own."""
        return ""

    def _for(self, precision: str) -> Any:
        """Return the model compiled for a precision, which OpenVINO would otherwise choose by the processor."""
        if precision not in self._compiled:
            how = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads_here()}
            self._compiled[precision] = self._core.compile_model(self._model, "CPU", how)
        return self._compiled[precision]


def import_openvino() -> Any:
    """Return OpenVINO.

    Raises:
        UsageError: it is not installed.
    """
    return import_extra("openvino", "an OpenVINO model needs openvino")


def read_openvino(path: Path) -> tuple[Any, Any]:
    """Return OpenVINO's core and the model, whose batch may have any size if that can be.

    Raises:
        UsageError: openvino is not installed.
        WeightsError: it is no OpenVINO model.
    """
    core = _core()
    if path.stat().st_size > LARGEST_TEXT:
        raise WeightsError(f"{path} is larger than any OpenVINO model's text: it is something else")
    try:
        model = core.read_model(path)
        _refuse_endless(model, path)
        return core, _any_batch(core, model, path)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} is no OpenVINO model, or it or its .bin is cut short ({_reason(error)}): copy both again"
        ) from None


@cache
def _core() -> Any:
    """Return the one core of this process, which is never given up.

    The first network that a core compiles gives the thread a stack for its signals, and the end of the core takes it
    away again. Of two cores, the last to end puts back the stack of the first one, which is gone if that ended before:
    the next signal, as Ctrl-C, then ends the process at once, and nothing is saved.
    """
    return import_openvino().Core()


def _any_batch(core: Any, model: Any, path: Path) -> Any:
    """Return the model for batches of any size; as it was, where its batch is built in."""
    shapes = [shape_of(one) for one in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][0] is None:
        return model
    before = [shape_of(one) for one in model.outputs]
    try:
        model.reshape([-1, *(-1 if side is None else side for side in shapes[0][1:])])
    except RuntimeError:
        return core.read_model(path)
    # A step that folds images together would give one long row: the sides behind the first have to stay.
    if any(shape_of(one)[1:] != shape[1:] or shape_of(one)[0] is not None for one, shape in _pairs(model, before)):
        return core.read_model(path)
    return model


def _pairs(model: Any, before: list[Shape]) -> Any:
    return zip(model.outputs, before, strict=True)


def _refuse_endless(model: Any, path: Path) -> None:
    """Refuse a model with a step that makes far more numbers than a network does.

    Raises:
        WeightsError: there is such a step.
    """
    for step in model.get_ordered_ops():
        for one in step.outputs():
            numbers = int(np.prod([side or 1 for side in shape_of(one)], dtype=float))
            if numbers > LARGEST:
                raise WeightsError(f"{path} makes {numbers:,} numbers at once of one image: it is no network for ReID")


def _describe(path: Path, model: Any) -> Graph:
    inputs = [(one.get_any_name(), shape_of(one), _type(one)) for one in model.inputs]
    check_input(path, inputs)
    name, shape, dtype = inputs[0]
    outputs = {output_name(one, number): shape_of(one) for number, one in enumerate(model.outputs)}
    return Graph(name, shape, np.dtype(dtype), outputs, _metadata(model))


def output_name(output: Any, number: int) -> str:
    """Return the name of an output, or its place among the outputs where it has none."""
    return str(output.get_any_name()) if output.get_names() else f"output {number}"


def _metadata(model: Any) -> dict[str, str]:
    """Return what reidkit has written into a model, as text by key."""
    if not model.has_rt_info(["reidkit"]):
        return {}
    found = model.get_rt_info(["reidkit"])
    values = found.value if hasattr(found, "value") else found
    items = values.items() if isinstance(values, dict) else ()
    return {f"reidkit.{key}": str(getattr(value, "value", value)) for key, value in items}


def shape_of(one: Any) -> Shape:
    """Return the shape of an input or an output: None for a side of any length, () where their number is not known."""
    shape = one.get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(side.get_length() if side.is_static else None for side in shape)


def _type(one: Any) -> np.dtype[Any] | None:
    try:
        kind: np.dtype[Any] = np.dtype(one.get_element_type().to_dtype())
    except (RuntimeError, TypeError, AttributeError):
        return None
    return kind


def _reason(error: RuntimeError) -> str:
    """Return the line of OpenVINO's message that says something: the first are places in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return first_line(RuntimeError((said or lines or ["it cannot be read"])[0]))
