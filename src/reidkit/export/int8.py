"""Static quantisation to 8 bits by ONNX Runtime: three calibrations are tried, the nearest to float32 is kept."""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.errors import DataError, WeightsError
from reidkit.export.onnx_file import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from reidkit.export.parity import Parity

log = logging.getLogger(__name__)

CALIBRATIONS: dict[str, dict[str, Any]] = {
    "MinMax": {},
    "Entropy": {},
    "Percentile": {"CalibPercentile": 99.99},
}
"""ONNX Runtime's methods to find the range of each activation, in the order in which they are tried."""

AT_ONCE = 8
"""Images of a batch of the calibration. Every activation of a batch is in memory: 100 MB an image for a ResNet-50."""

MOST = 128
"""Images that ranges are found with: more change no feature by more than noise."""

LEAST = 16
HEAVY = ("Conv", "MatMul", "Gemm")


class Quantised(NamedTuple):
    """A quantised model, the calibration that made it, and how near each calibration comes to float32."""

    model: Any
    method: str
    tried: dict[str, Parity]


def quantise(
    model: Any,
    images: NDArray[Any],
    measure: Callable[[Any], Parity],
    methods: Sequence[str] = tuple(CALIBRATIONS),
) -> Quantised:
    """Quantise an ONNX model: activations to unsigned, weights to signed 8 bits for each channel, as QDQ.

    The input's normalisation and all that stands behind the last convolution stay in float32: the last product would
    otherwise give the feature itself 8 bits with one scale.

    Args:
        model: The `ModelProto` in float32; it stays as it is.
        images: N images as the file takes them.
        measure: Returns how near a quantised model comes to float32, on other images.
        methods: Names of `CALIBRATIONS`.

    Raises:
        DataError: there are too few images.
        WeightsError: ONNX Runtime cannot quantise the model.
    """
    if len(images) < LEAST:
        raise DataError(
            f"these images are too few to find ranges with: give {LEAST + LEAST} or more, better 200",
            argument="calibration",
        )
    tried, best, chosen = {}, None, ""
    with tempfile.TemporaryDirectory(prefix="reidkit-int8-") as name:
        folder = Path(name)
        prepared = _prepare(model, folder)
        for method in methods:
            made = _quantise(prepared, folder, images, method)
            tried[method] = measure(made)
            log.info("int8, %s: mean 1 - cos %.5f, largest %.5f", method, tried[method].mean, tried[method].largest)
            if best is None or tried[method].mean < tried[chosen].mean:
                best, chosen = made, method
    return Quantised(best, chosen, tried)


def _prepare(model: Any, folder: Path) -> Path:
    """Write the model with its shapes inferred and its graph simplified, as the quantiser wants it."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx.save_model(model, folder / "float.onnx")
    try:
        with quiet():
            quant_pre_process(folder / "float.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
    except Exception as error:  # onnxruntime's errors have no common class
        raise WeightsError(f"ONNX Runtime cannot prepare the network for 8 bits: {error}") from None
    return folder / "prepared.onnx"


def _quantise(prepared: Path, folder: Path, images: NDArray[Any], method: str) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(prepared)
    out = folder / f"{method}.onnx"
    try:
        with quiet():
            quantize_static(
                prepared,
                out,
                _reader(model.graph.input[0].name, images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=floats(model),
                calibrate_method=getattr(CalibrationMethod, method),
                extra_options={"CalibStridedMinMax": 1, **CALIBRATIONS[method]},
            )
    except Exception as error:  # onnxruntime's errors have no common class
        raise WeightsError(f"ONNX Runtime cannot quantise the network by {method}: {error}") from None
    return onnx.load(out)


def floats(model: Any) -> list[str]:
    """Return the names of the nodes that stay in float32: before the first and behind the last heavy operation."""
    nodes = list(model.graph.node)
    users: dict[str, list[int]] = defaultdict(list)
    makers = {}
    for at, node in enumerate(nodes):
        for name in node.input:
            users[name].append(at)
        for name in node.output:
            makers[name] = at
    kind = "Conv" if sum(node.op_type == "Conv" for node in nodes) > 2 else HEAVY
    heavy = {at for at, node in enumerate(nodes) if node.op_type in kind}
    before = _reached(heavy, lambda at: [makers[name] for name in nodes[at].input if name in makers])
    behind = _reached(heavy, lambda at: [user for name in nodes[at].output for user in users[name]])
    inside = before & behind | heavy
    return [node.name for at, node in enumerate(nodes) if at not in inside]


def _reached(start: set[int], following: Callable[[int], list[int]]) -> set[int]:
    found: set[int] = set()
    waiting = [step for at in start for step in following(at)]
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.add(at)
            waiting += following(at)
    return found


def _reader(name: str, images: NDArray[Any]) -> Any:
    """Return what gives a calibration its images, a batch at a time, and from any batch on."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._next, self._stop = 0, len(self)

        def __len__(self) -> int:
            return len(images) // AT_ONCE

        def set_range(self, start_index: int, end_index: int) -> None:
            self._next, self._stop = start_index, end_index

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            if self._next >= self._stop:
                return None
            first = self._next * AT_ONCE
            self._next += 1
            return {name: np.ascontiguousarray(images[first : first + AT_ONCE])}

    return Reader()
