"""What runs a detector's file: several inputs and several outputs by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from reidkit.encoder.exported import digest_of_files, require_file
from reidkit.encoder.onnx_check import NEEDS, read_onnx
from reidkit.encoder.onnx_runtime import TYPES, open_session
from reidkit.encoder.openvino_runtime import output_name, read_openvino, shape_of
from reidkit.errors import UsageError, WeightsError, first_line
from reidkit.extras import import_extra
from reidkit.workers import threads_here

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.encoder.exported import Shape

    Arrays = Mapping[str, NDArray[Any]]


class Runtime(Protocol):
    """A file that is opened.

    Attributes:
        inputs: Shape and type by name; sides of any length are None.
        metadata: What the file says of itself.
        digest: Sixteen digits over its bytes.
    """

    inputs: dict[str, tuple[Shape, np.dtype[Any]]]
    metadata: dict[str, str]
    digest: str

    def run(self, given: Arrays) -> dict[str, NDArray[Any]]:
        """Return all outputs, by name and in their order."""


def open_runtime(path: Path, device: str = "cpu") -> Runtime:
    """Open a detector's file; nothing beside it is opened, but the .bin of an .xml.

    Raises:
        MissingFileError: it is not there.
        WeightsError: it is no ONNX or OpenVINO file, is damaged, or cannot be run.
        UsageError: a file of another kind; onnxruntime or openvino is not installed.
    """
    require_file(path)
    ending = path.suffix.lower()
    if ending == ".onnx":
        return OnnxDetector(path, device)
    if ending == ".xml":
        return OpenVinoDetector(path)
    raise UsageError(f"{path} is neither an .onnx nor an OpenVINO .xml: export the detector so", argument="detector")


class OnnxDetector:
    """A session of ONNX Runtime."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        onnxruntime = import_extra("onnxruntime", NEEDS)
        self._path, self.digest = path, digest_of_files([path])[:16]
        gpu = device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        providers = ["CUDAExecutionProvider"] if gpu else ["CPUExecutionProvider"]
        self._session = open_session(read_onnx(path).SerializeToString(), path, providers)
        self.inputs = {
            each.name: (
                tuple(side if isinstance(side, int) else None for side in each.shape),
                _type(each.type),
            )
            for each in self._session.get_inputs()
        }
        self._outputs = [each.name for each in self._session.get_outputs()]
        found = self._session.get_modelmeta().custom_metadata_map
        self.metadata = {str(key): str(value) for key, value in found.items()}

    def run(self, given: Arrays) -> dict[str, NDArray[Any]]:
        """Return all outputs.

        Raises:
            WeightsError: ONNX Runtime cannot run the file on this.
        """
        try:
            made = self._session.run(self._outputs, dict(given))
        except Exception as error:  # its errors have no common class but Exception
            raise WeightsError(f"{self._path} cannot be run: {first_line(error)}") from None
        return {name: np.asarray(each) for name, each in zip(self._outputs, made, strict=True)}


class OpenVinoDetector:
    """A model that OpenVINO computes in float32."""

    def __init__(self, path: Path) -> None:
        weights = path.with_suffix(".bin")
        require_file(weights)
        self._path, self.digest = path, digest_of_files([path, weights])[:16]
        core, model = read_openvino(path)
        self.inputs: dict[str, tuple[Shape, np.dtype[Any]]] = {}
        self.metadata: dict[str, str] = {}
        for each in model.inputs:
            self.inputs[each.get_any_name()] = (shape_of(each), np.dtype(each.get_element_type().to_dtype()))
        self._names = [output_name(each, number) for number, each in enumerate(model.outputs)]
        how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads_here()}
        try:
            self._compiled = core.compile_model(model, "CPU", how)
        except RuntimeError as error:
            raise WeightsError(f"{path} cannot be run by OpenVINO: {first_line(error)}") from None

    def run(self, given: Arrays) -> dict[str, NDArray[Any]]:
        """Return all outputs.

        Raises:
            WeightsError: OpenVINO cannot run the file on this.
        """
        try:
            made = self._compiled(dict(given))
            return {name: np.array(made[at]) for at, name in enumerate(self._names)}
        except Exception as error:  # its errors have no common class but Exception
            raise WeightsError(f"{self._path} cannot be run: {first_line(error)}") from None


def _type(name: str) -> np.dtype[Any]:
    """Return NumPy's type of a type of ONNX Runtime, as `tensor(int64)`."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return np.dtype(inner) if inner in ("int64", "int32", "bool") else np.dtype(TYPES.get(inner, np.float32))
