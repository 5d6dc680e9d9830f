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
        converted = openvino.convert_model(source)
        _keep_antialiasing(converted)
        write_openvino(converted, path, metadata, half=half)
    except RuntimeError as error:
        raise WeightsError(f"OpenVINO cannot convert the network: {first_line(error)}") from None
    finally:
        source.unlink()


def _keep_antialiasing(model: Any) -> None:
    """Resize [N, C, H, W] by OpenVINO's modes of Pillow where antialiasing is asked for: others leave it unread."""
    from openvino import opset11

    for op in model.get_ordered_ops():
        if op.get_type_name() == "Interpolate" and op.get_attributes().get("antialias"):
            size = [op.get_output_partial_shape(0)[axis].get_length() for axis in (2, 3)]
            mode = "bicubic_pillow" if op.get_attributes()["mode"] == "cubic" else "bilinear_pillow"
            by_pillow = opset11.interpolate(op.input_value(0), size, mode, "sizes", cube_coeff=-0.5, axes=[2, 3])
            op.output(0).replace(by_pillow.output(0))


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
