"""An ONNX file as an encoder, run by ONNX Runtime."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.encoder.exported import (
    ExportedEncoder,
    Graph,
    check_input,
    digest_of_files,
    require_file,
)
from reidkit.encoder.onnx_check import NEEDS, read_onnx
from reidkit.errors import WeightsError, first_line
from reidkit.extras import import_extra
from reidkit.workers import threads_here

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.encoder.exported import Shape
    from reidkit.encoder.inference import InferenceOptions
    from reidkit.encoder.input_spec import InputSpec

log = logging.getLogger(__name__)

TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "uint8": np.uint8}
"""NumPy's types by the names that ONNX Runtime has for them, as in `tensor(float)`."""


class OnnxEncoder(ExportedEncoder):
    """A network in an ONNX file, run by ONNX Runtime on the processor, or on a GPU where onnxruntime-gpu is installed.

    Args:
        path: The file. Nothing beside it is opened.
        input_spec: How its images are made: an `InputSpec`, or its text. None: as its metadata or its name say.

    Raises:
        WeightsError: no ONNX file, one that needs other files or foreign operators, or no network of images.
        UsageError: nothing says how its images are made; onnxruntime is not installed.
    """

    def __init__(self, path: Path, input_spec: InputSpec | str | None = None) -> None:
        require_file(path)
        super().__init__(path, OnnxRuntime(path), digest_of_files([path]), input_spec)


class OnnxRuntime:
    """A session of ONNX Runtime, with as many threads as the process uses otherwise."""

    def __init__(self, path: Path) -> None:
        self._path = path
        model = read_onnx(path)
        self._content = model.SerializeToString()  # so that no path leads from it to another file
        self._digest = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
        self._sessions = {"cpu": open_session(self._content, path, ["CPUExecutionProvider"])}
        session = self._sessions["cpu"]
        inputs = [(one.name, _shape(one.shape), _type(one.type)) for one in session.get_inputs()]
        check_input(path, inputs)
        name, shape, dtype = inputs[0]
        outputs = {one.name: _shape(one.shape) for one in session.get_outputs()}
        metadata = {str(key): str(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
        self.graph = Graph(name, shape, np.dtype(dtype), outputs, metadata)

    def run(self, images: NDArray[Any], output: str, options: InferenceOptions | None) -> NDArray[Any]:
        """Return an output for a batch.

        Raises:
            WeightsError: ONNX Runtime cannot run the file.
        """
        session = self._session(options)
        try:
            found = session.run([output], {self.graph.input_name: images})[0]
        except Exception as error:  # its errors have no common class but Exception
            raise WeightsError(f"{self._path} cannot be run: {first_line(error)}") from None
        return np.asarray(found)

    def graph_digest(self) -> str:
        """Return the SHA-256 of the graph, which the file's metadata are no part of."""
        return self._digest

    def _session(self, options: InferenceOptions | None) -> Any:
        """Return the session for a device; the processor's where ONNX Runtime has none for it."""
        import onnxruntime

        device = options.device.type if options else "cpu"
        if device not in self._sessions:
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                log.warning("onnxruntime has no GPU here and runs on the processor: pip install onnxruntime-gpu")
                self._sessions[device] = self._sessions["cpu"]
            else:
                self._sessions[device] = open_session(self._content, self._path, ["CUDAExecutionProvider"])
        return self._sessions[device]


def open_session(content: bytes, path: Path, providers: list[str]) -> Any:
    """Return a session of ONNX Runtime for the bytes of a file that `read_onnx` has let pass.

    Raises:
        UsageError: onnxruntime is not installed.
        WeightsError: it cannot run the file.
    """
    onnxruntime = import_extra("onnxruntime", NEEDS)
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads, how.inter_op_num_threads = threads_here(), 1
    how.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the cores to others
    how.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, how, providers=providers)
    except Exception as error:  # its errors have no common class but Exception
        raise WeightsError(f"{path} cannot be run by ONNX Runtime: {first_line(error)}") from None


def _shape(shape: list[int | str | None]) -> Shape:
    """Return a shape with None for sides of any length, which ONNX Runtime names or leaves out."""
    return tuple(side if isinstance(side, int) else None for side in shape)


def _type(name: str) -> np.dtype[Any] | None:
    kind = TYPES.get(name.removeprefix("tensor(").removesuffix(")"))
    return None if kind is None else np.dtype(kind)
