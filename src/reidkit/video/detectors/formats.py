"""The conventions of detectors' files: how the input is made of a frame, and how boxes are read from the outputs.

| format | input | output | person |
|---|---|---|---|
| yolox | BGR 0..255, letterbox at the top left, 114 | [N, A, 5 + C]: offsets, log sizes, object, classes | 0 |
| yolox-decoded | the same | the same, boxes in pixels: cx, cy, w, h | 0 |
| yolov5 | RGB 0..1, letterbox in the middle, 114 | [N, 3 A, 5 + C]: cx, cy, w, h in pixels, object, classes | 0 |
| yolov8 (and 9, 11, 12) | as yolov5 | [N, 4 + C, A]: cx, cy, w, h in pixels, classes | 0 |
| yolo-end-to-end (10, 26, NMS inside) | as yolov5 | [N, K, 6]: x1, y1, x2, y2 in pixels, score, class | 0 |
| detr (RT-DETR, D-FINE, DEIM) | RGB 0..1, stretched; its size | labels, boxes in pixels of the frame, scores | 0 |
| rf-detr | RGB ImageNet, stretched | dets [N, K, 4] cx, cy, w, h 0..1; labels [N, K, C]: logits | 1 |
| hf-detr (DETR, YOLOS) | RGB ImageNet, stretched | pred_boxes as dets; logits [N, K, C + 1]: softmax | 1 |
| hf-deformable-detr | the same | logits [N, K, C]: sigmoid | 1 |
| hf-rt-detr | RGB 0..1, stretched | the same | 0 |
| ssd (OpenVINO) | BGR 0..255, stretched | [1, 1, K, 7]: image, class, score, x1, y1, x2, y2 0..1 | 1 |

A is the number of cells of the grids with strides 8, 16, 32 (and 64), C that of the classes, K that of the boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from reidkit import imagenet
from reidkit.errors import UsageError
from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Outputs = Mapping[str, NDArray[Any]]

STRIDES = ((8, 16, 32), (8, 16, 32, 64))
SIZES = "orig_target_sizes"


class Inside(NamedTuple):
    """What a decoder has to know: height and width of the input, the classes that are people, how many classes."""

    height: int
    width: int
    people: tuple[int, ...]
    classes: int | None = None


Decoder: TypeAlias = "Callable[[Outputs, Inside], tuple[Floats, Floats]]"
"""Outputs to boxes [N, K, 4], x1 y1 x2 y2, and the scores of people [N, K]."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One convention.

    Attributes:
        tells: Whether outputs, for a blank input of this height and width, are in it.
        decode: Reads boxes and scores.
        fits: Whether outputs can be in it, where somebody says that they are; None: as `tells`.
        placing: How a frame is put into the input.
        bgr: Whether colours are in this order.
        scale: What pixels 0..255 are divided by.
        mean: Subtracted after that; `std` divides then.
        units: What boxes are in: pixels of the input, parts of it (0..1), or pixels of the frame.
        person: The class of people where the file does not name its classes.
        overlap: Above this overlap, the box of the lower score is left out; None: the file does that.
    """

    tells: Callable[[Outputs, int, int], bool]
    decode: Decoder
    placing: Literal["top-left", "centre", "stretch"]
    bgr: bool = False
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    units: Literal["input", "parts", "frame"] = "input"
    person: int = 0
    overlap: float | None = None
    fits: Callable[[Outputs, int, int], bool] | None = None


def grid(height: int, width: int, strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return the column and row of each cell [A, 2], and its stride [A, 1], of all grids one after the other."""
    cells, sides = [], []
    for stride in strides:
        rows, columns = np.mgrid[: height // stride, : width // stride].astype(np.float32)
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        sides.append(np.full((rows.size, 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(sides)


def cells(height: int, width: int) -> tuple[int, ...]:
    """Return how many cells there are, for each choice of strides."""
    return tuple(sum((height // each) * (width // each) for each in strides) for strides in STRIDES)


def _only(outputs: Outputs) -> NDArray[Any]:
    """Return the first output, which holds the boxes where a file has several (masks, points)."""
    return next(iter(outputs.values()))


def _rows_of_cells(outputs: Outputs, height: int, width: int, *, anchors: int = 1) -> bool:
    """Whether the first output is [N, anchors A, 5 + C]."""
    found = _only(outputs)
    counts = [anchors * count for count in cells(height, width)]
    return found.ndim == 3 and found.shape[1] in counts and found.shape[2] >= 6


def _is_yolox(outputs: Outputs, height: int, width: int) -> bool:
    return _rows_of_cells(outputs, height, width) and not _has_pixels(outputs)


def _is_yolox_decoded(outputs: Outputs, height: int, width: int) -> bool:
    return _rows_of_cells(outputs, height, width) and _has_pixels(outputs)


def _has_pixels(outputs: Outputs) -> bool:
    """Whether boxes of cells are in pixels: positions then reach the size of the input, as offsets do not."""
    return bool(np.nanmax(_only(outputs)[..., :2], initial=0.0) > 20)


def _is_yolov8(outputs: Outputs, height: int, width: int) -> bool:
    found = _only(outputs)
    return found.ndim == 3 and found.shape[2] in cells(height, width) and found.shape[1] >= 5


def _has_ends(outputs: Outputs, *_: int) -> bool:
    found = _only(outputs)
    return len(outputs) == 1 and found.ndim == 3 and found.shape[2] == 6


def _has(*names: str) -> Callable[[Outputs, int, int], bool]:
    return lambda outputs, *_: set(names) <= outputs.keys()


def _is_rf_detr(outputs: Outputs, *_: int) -> bool:
    # mmdet calls its outputs the same, with the score as a fifth column of dets and whole numbers as labels.
    known = {"dets", "labels"} <= outputs.keys()
    return known and outputs["dets"].shape[-1] == 4 and outputs["labels"].ndim == 3


def _hf(*classes: int) -> Callable[[Outputs, int, int], bool]:
    def tells(outputs: Outputs, *_: int) -> bool:
        known = {"logits", "pred_boxes"} <= outputs.keys()
        return known and (not classes or outputs["logits"].shape[-1] in classes)

    return tells


def _is_ssd(outputs: Outputs, *_: int) -> bool:
    found = _only(outputs)
    return found.ndim == 4 and found.shape[:2] == (1, 1) and found.shape[3] == 7


def corners(centred: Floats) -> Floats:
    """Return x1, y1, x2, y2 of boxes as cx, cy, w, h."""
    half = centred[..., 2:4] / 2
    return np.concatenate([centred[..., :2] - half, centred[..., :2] + half], axis=-1)


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return (0.5 * (1 + np.tanh(0.5 * values.astype(np.float64)))).astype(np.float32)


def _people(scores: Floats, inside: Inside) -> Floats:
    """Return the highest score among the classes that are people: [..., C] to [...].

    Raises:
        UsageError: there is no such class.
    """
    columns = [each for each in inside.people if each < scores.shape[-1]]
    if not columns:
        classes, person = counted(scores.shape[-1], "class", "classes"), inside.people[0]
        raise UsageError(
            f"the detector has {classes}, counted from 0, and {person} is none: say which is that of people",
            argument="person",
        )
    found: Floats = scores[..., columns].max(axis=-1)
    return found


def _decode_yolox(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    found = _only(outputs).astype(np.float32)
    strides = STRIDES[cells(inside.height, inside.width).index(found.shape[1])]
    place, stride = grid(inside.height, inside.width, strides)
    centre = (found[..., :2] + place) * stride
    size = np.exp(np.minimum(found[..., 2:4], 20)) * stride
    boxes = corners(np.concatenate([centre, size], axis=-1))
    return boxes, found[..., 4] * _people(found[..., 5:], inside)


def _decode_rows(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    found = _only(outputs).astype(np.float32)
    return corners(found[..., :4]), found[..., 4] * _people(found[..., 5:], inside)


def _decode_yolov8(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    found = _only(outputs).astype(np.float32).transpose(0, 2, 1)
    last = None if inside.classes is None else 4 + inside.classes  # behind the classes there may be masks or points
    return corners(found[..., :4]), _people(found[..., 4:last], inside)


def _decode_ends(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    found = _only(outputs).astype(np.float32)
    return found[..., :4], np.where(np.isin(found[..., 5].round(), inside.people), found[..., 4], 0)


def _decode_detr(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    scores, labels = outputs["scores"].astype(np.float32), outputs["labels"]
    return outputs["boxes"].astype(np.float32), np.where(np.isin(labels, inside.people), scores, 0)


def _decode_rf_detr(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    return corners(outputs["dets"].astype(np.float32)), _people(sigmoid(outputs["labels"]), inside)


def _decode_softmax(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    logits = outputs["logits"].astype(np.float32)
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    # The last class is that there is nothing.
    return corners(outputs["pred_boxes"].astype(np.float32)), _people(
        (raised / raised.sum(axis=-1, keepdims=True))[..., :-1], inside
    )


def _decode_sigmoid(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    return corners(outputs["pred_boxes"].astype(np.float32)), _people(sigmoid(outputs["logits"]), inside)


def _decode_ssd(outputs: Outputs, inside: Inside) -> tuple[Floats, Floats]:
    found = _only(outputs).astype(np.float32)[0]
    # A row whose image is -1 stands behind the last box.
    good = (found[..., 0] >= 0) & np.isin(found[..., 1].round(), inside.people)
    return found[..., 3:7], np.where(good, found[..., 2], 0)


FORMATS: dict[str, Format] = {
    "yolox": Format(
        tells=_is_yolox,
        fits=_rows_of_cells,
        decode=_decode_yolox,
        placing="top-left",
        bgr=True,
        scale=1.0,
        overlap=0.45,
    ),
    "yolox-decoded": Format(
        tells=_is_yolox_decoded,
        fits=_rows_of_cells,
        decode=_decode_rows,
        placing="top-left",
        bgr=True,
        scale=1.0,
        overlap=0.45,
    ),
    "yolov5": Format(
        tells=lambda outputs, height, width: _rows_of_cells(outputs, height, width, anchors=3),
        decode=_decode_rows,
        placing="centre",
        overlap=0.45,
    ),
    "yolov8": Format(tells=_is_yolov8, decode=_decode_yolov8, placing="centre", overlap=0.45),
    "yolo-end-to-end": Format(tells=_has_ends, decode=_decode_ends, placing="centre"),
    "detr": Format(tells=_has("labels", "boxes", "scores"), decode=_decode_detr, placing="stretch", units="frame"),
    "rf-detr": Format(
        tells=_is_rf_detr,
        decode=_decode_rf_detr,
        placing="stretch",
        mean=imagenet.MEAN,
        std=imagenet.STD,
        units="parts",
        person=1,
    ),
    "hf-rt-detr": Format(tells=_hf(80), fits=_hf(), decode=_decode_sigmoid, placing="stretch", units="parts"),
    "hf-deformable-detr": Format(
        tells=_hf(91),
        fits=_hf(),
        decode=_decode_sigmoid,
        placing="stretch",
        mean=imagenet.MEAN,
        std=imagenet.STD,
        units="parts",
        person=1,
    ),
    "hf-detr": Format(
        tells=_hf(),
        decode=_decode_softmax,
        placing="stretch",
        mean=imagenet.MEAN,
        std=imagenet.STD,
        units="parts",
        person=1,
    ),
    "ssd": Format(tells=_is_ssd, decode=_decode_ssd, placing="stretch", bgr=True, scale=1.0, units="parts", person=1),
}
"""The formats by name, in the order in which they are tried."""
