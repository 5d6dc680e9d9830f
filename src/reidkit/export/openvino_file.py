"""An ONNX model as an OpenVINO model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidkit.encoder.exported import digest_of_files
from reidkit.encoder.openvino_runtime import WEIGHTS, import_openvino
from reidkit.errors import WeightsError, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def save_openvino(model: Any, path: Path, metadata: Mapping[str, str], *, half: bool) -> None:
    """Write an ONNX `ModelProto` as `path` (.xml) and the .bin beside it; `half`: weights as float16.

    OpenVINO chooses the precision that it computes in by the processor, unless INFERENCE_PRECISION_HINT is set when the
    file is loaded; the file cannot set it.

    Raises:
        WeightsError: OpenVINO cannot convert the model.
    """
    openvino = import_openvino()
    source = path.with_suffix(".onnx")
    source.write_bytes(model.SerializeToString())
    try:
        write_openvino(openvino.convert_model(source), path, metadata, half=half)
    except RuntimeError as error:
        raise WeightsError(f"OpenVINO cannot convert the network: {first_line(error)}") from None
    finally:
        source.unlink()


def write_openvino(model: Any, path: Path, metadata: Mapping[str, str], *, half: bool) -> None:
    """Write a model of OpenVINO's as `path` (.xml) and the .bin beside it, with metadata in place of those it had."""
    openvino = import_openvino()
    if model.has_rt_info(["reidkit"]):
        model.set_rt_info({}, ["reidkit"])
    for key, value in metadata.items():
        model.set_rt_info(value, ["reidkit", key.removeprefix("reidkit.")])
    openvino.save_model(model, path, compress_to_fp16=half)
    # Two files cannot be put in place at once: by this a reader sees that they belong together.
    digest = digest_of_files([path.with_suffix(".bin")])
    model.set_rt_info(digest, ["reidkit", WEIGHTS.removeprefix("reidkit.")])
    openvino.save_model(model, path, compress_to_fp16=half)
