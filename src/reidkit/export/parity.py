"""Whether an exported file gives the features of the network it was made of, on images, and resizes as reidkit does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.encoder import read_images
from reidkit.encoder.onnx_runtime import open_session
from reidkit.errors import ReidkitError
from reidkit.export.check_images import noise_in_other_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.encoder import InputSpec
    from reidkit.export.presets import Front


class ParityError(ReidkitError, RuntimeError):
    """An exported file gives other features than the network it was made of."""


@dataclass(frozen=True)
class Parity:
    """1 - cos between the features of a file and of torch: the `mean` over `images`, the `largest`, and its image."""

    images: int
    mean: float
    largest: float
    worst: str

    def as_json(self) -> dict[str, Any]:
        """Return the numbers."""
        return {"images": self.images, "mean": self.mean, "largest": self.largest, "worst": self.worst}


@dataclass(frozen=True)
class Bound:
    """How far a file may be from torch, and what to try where it is farther."""

    mean: float
    largest: float
    remedy: str


BOUNDS = {
    "fp32": Bound(1e-5, 1e-4, "try another opset, or format openvino"),
    "fp16": Bound(1e-5, 1e-4, "leave out fp16"),
    "int8": Bound(0.02, 0.08, "calibrate with more images of your cameras, or leave out int8 (fp16 halves the file)"),
    "resize": Bound(5e-4, 5e-3, "leave the resizing to the program that calls it (resize=False)"),
    "square": Bound(0.02, 0.2, "this network does not bear the squares that ultralytics gives: choose another preset"),
}
"""By what was done to the numbers. Good files at 8 bits have been seen at 0.002 to 0.011 in the mean.

Right resizing was seen at 3e-5 in the mean and 2e-4 at most (a caller rounds to bytes twice, a graph never), without
antialiasing at 1e-2, by the other filter at 1.4e-3.
"""


LEVELS = 1.5
"""How far apart pixels from 0 to 255 may be that a graph and reidkit have resized: reidkit rounds twice, a graph never,
which is 1.1 at most. A cubic filter with -0.75 in place of -0.5 was seen at 4 to 12, by the size of the image."""


def measure_parity(wanted: NDArray[np.float32], found: NDArray[np.float32], names: Sequence[str]) -> Parity:
    """Compare features [N, D] of a file with those of torch; `names` are the images."""
    along = (wanted.astype(np.float64) * found).sum(1)
    lengths = np.linalg.norm(wanted.astype(np.float64), axis=1) * np.linalg.norm(found.astype(np.float64), axis=1)
    apart = 1 - along / np.maximum(lengths, 1e-30)
    apart = np.where(np.isfinite(apart), apart, 2.0)
    worst = int(apart.argmax())
    return Parity(len(apart), max(float(apart.mean()), 0.0), max(float(apart[worst]), 0.0), names[worst])


def require_parity(parity: Parity, kind: str, beside: Parity | None = None) -> None:
    """Refuse a file that is too far from torch; as much as it is off `beside` already is no fault of this kind.

    Raises:
        ParityError: it is over the bound; the worst image and what to try next are named.
    """
    bound = BOUNDS[kind]
    mean, largest = (
        (bound.mean, bound.largest) if beside is None else (bound.mean + beside.mean, bound.largest + beside.largest)
    )
    if parity.mean > mean or parity.largest > largest:
        raise ParityError(
            f"the file's features are not the network's: 1 - cos is {parity.mean:.2g} in the mean and "
            f"{parity.largest:.2g} at {parity.worst}, over {mean:.3g} and {largest:.3g}; {bound.remedy}"
        )


def require_same_pixels(graph: Any, front: Front, spec: InputSpec) -> None:
    """Refuse a graph that resizes by another filter than reidkit, which features alone may not show.

    Args:
        graph: The `ModelProto`; its first step that resizes is that of the images, before anything is done to them.
        front: What it takes.
        spec: What the network takes: size and filter.

    Raises:
        ParityError: pixels of noise differ by more than rounding.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(graph)
    pixels = next(step for step in made.graph.node if step.op_type == "Resize").output[0]
    del made.graph.output[:]
    made.graph.output.append(onnx.helper.make_tensor_value_info(pixels, onnx.TensorProto.FLOAT, None))
    session = open_session(made.SerializeToString(), Path("the graph"), ["CPUExecutionProvider"])
    images = noise_in_other_sizes(spec)
    for image, wanted in zip(images, np.concatenate(list(read_images(images, spec))), strict=True):
        given = image if front.channels_last else image.transpose(2, 0, 1)
        kind = np.uint8 if front.values == "uint8" else np.float32
        (found,) = session.run([pixels], {front.input_name: np.ascontiguousarray(given[None], kind)})
        apart = float(np.abs(found[0].transpose(1, 2, 0) - wanted.astype(np.float32)).max())
        if not apart <= LEVELS:
            raise ParityError(
                f"the file resizes an image of {image.shape[0]}x{image.shape[1]} by another filter than the network "
                f"was trained with: pixels from 0 to 255 are up to {apart:.2g} apart, over {LEVELS:g}; "
                f"{BOUNDS['resize'].remedy}"
            )
