"""Detectors' files: boxes worked out by hand in every format, what the files are given, and what is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reidkit.errors import MissingFileError, UsageError, WeightsError
from reidkit.video.detectors.file_detector import FileDetector
from reidkit.video.detectors.formats import FORMATS
from tests.video.detectors.files import CELLS, SIZE, cells, constant_detector

if TYPE_CHECKING:
    from pathlib import Path

FRAME = np.zeros((64, 128, 3), np.uint8)
"""Twice as wide as high: letterboxes halve it, to 32 rows of the input's 64."""

BOX = (20.0, 10.0, 60.0, 50.0)
"""The person in it. At half the size its centre is 20, 15 and its sides are 20; in the middle, 16 rows further down."""

GRID_RAW = (20 / 8 - 2, 15 / 8 - 1, math.log(20 / 8), math.log(20 / 8))
"""The same for the cell of row 1 and column 2 in the grid of stride 8, which is number 10."""

PARTS = (40 / 128, 30 / 64, 40 / 128, 40 / 64)
"""Centre and sides as parts of the frame."""

OTHER = 6.0
"""A logit."""


def filled(shape: tuple[int, ...], value: float, **places: Any) -> Any:
    found = np.full(shape, value, np.float32)
    for index, content in places.values():
        found[index] = content
    return found


def logits(classes: int, person: int) -> Any:
    """Two boxes: a person of logit 2, and a bus."""
    found = np.full((1, 2, classes), -9.0, np.float32)
    found[0, 0, person], found[0, 1, 5] = 2.0, OTHER
    return found


TWO = [[PARTS, PARTS]]
SIGMOID = 1 / (1 + math.exp(-2))
# Raw cells of stride 8 elsewhere, far to the right: positions of decoded boxes reach the size of the input.
FAR = (60.0, 20.0, 4.0, 4.0)

CASES: dict[str, tuple[dict[str, Any], float]] = {
    "yolox": ({"output": cells(8, {10: (*GRID_RAW, 0.9, 0.5, 1, 0)})}, 0.45),
    "yolox-decoded": ({"output": cells(8, {10: (20, 15, 20, 20, 0.9, 0.5, 1, 0), 11: FAR})}, 0.45),
    "yolov5": (
        {"output0": np.concatenate([cells(8, {3: (20, 31, 20, 20, 0.9, 0.5, 1, 0)}), cells(8, {}), cells(8, {})], 1)},
        0.45,
    ),
    "yolov8": ({"output0": cells(7, {10: (20, 31, 20, 20, 0.7, 0.9, 0)}).transpose(0, 2, 1)}, 0.7),
    "yolo-end-to-end": ({"output0": [[[10.0, 21, 30, 41, 0.7, 0], [10, 21, 30, 41, 0.9, 5], [0, 0, 0, 0, 0, 0]]]}, 0.7),
    "detr": ({"labels": [[0, 5]], "boxes": [[BOX, BOX]], "scores": [[0.7, 0.9]]}, 0.7),
    "rf-detr": ({"dets": TWO, "labels": logits(91, 1)}, SIGMOID),
    "hf-rt-detr": ({"logits": logits(80, 0), "pred_boxes": TWO}, SIGMOID),
    "hf-deformable-detr": ({"logits": logits(91, 1), "pred_boxes": TWO}, SIGMOID),
    "hf-detr": (
        {"logits": logits(92, 1), "pred_boxes": TWO},
        math.exp(2) / (math.exp(2) + 91 * math.exp(-9)),
    ),
    "ssd": (
        {
            "detection_out": [
                [[[0, 1, 0.7, 20 / 128, 10 / 64, 60 / 128, 50 / 64], [0, 2, 0.9, 0, 0, 1, 1], [-1, 1, 0.9, 0, 0, 1, 1]]]
            ]
        },
        0.7,
    ),
}
INPUTS = {"detr": ("images", "orig_target_sizes")}


@pytest.mark.parametrize("name", FORMATS)
def test_one_person_by_hand_in_every_format(name: str, tmp_path: Path) -> None:
    outputs, score = CASES[name]
    path = constant_detector(tmp_path / "d.onnx", outputs, inputs=INPUTS.get(name, ("images",)))
    detector = FileDetector(path)
    assert (detector.format, detector.size) == (name, (SIZE, SIZE))
    (found,) = detector.detect([FRAME])
    assert (str(found.boxes.dtype), str(found.scores.dtype)) == ("float32", "float32")
    np.testing.assert_allclose(found.boxes, [BOX], atol=1e-3)
    np.testing.assert_allclose(found.scores, [score], atol=1e-5)
    # The same where the format is named.
    (named,) = FileDetector(path, format=name).detect([FRAME])
    np.testing.assert_array_equal(named.boxes, found.boxes)


class Seen:
    """A runtime that keeps what it is given."""

    metadata: dict[str, str] = {}  # noqa: RUF012
    digest = "0"

    def __init__(self, outputs: dict[str, Any], inputs: tuple[str, ...]) -> None:
        sizes = {name: ((1, 2), np.dtype(np.int64)) for name in inputs[1:]}
        self.inputs: dict[str, Any] = {inputs[0]: ((1, 3, SIZE, SIZE), np.dtype(np.float32)), **sizes}
        self._outputs = {name: np.asarray(each) for name, each in outputs.items()}
        self.given: dict[str, Any] = {}

    def run(self, given: dict[str, Any]) -> dict[str, Any]:
        self.given = given
        return self._outputs


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_file_is_given(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = INPUTS.get(name, ("images",))
    runtime = Seen(CASES[name][0], inputs)
    monkeypatch.setattr("reidkit.video.detectors.file_detector.open_runtime", lambda *_: runtime)
    frame = np.empty_like(FRAME)
    frame[:] = (255, 51, 0)
    FileDetector(tmp_path / "d.onnx", format=name).detect([frame])
    pixels = runtime.given["images"]
    assert pixels.shape == (1, 3, SIZE, SIZE)
    colour: Any = np.array([255, 51, 0], np.float32)
    grey: Any = np.full(3, 114, np.float32)
    if FORMATS[name].bgr:  # YOLOX and OpenVINO
        colour = colour[::-1]
    else:
        colour, grey = colour / 255, grey / 255
    if name in ("rf-detr", "hf-detr", "hf-deformable-detr"):
        colour = (colour - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    if FORMATS[name].placing == "stretch":
        expected = {0: colour, 31: colour, 32: colour, 63: colour}
    elif name.startswith("yolox"):
        expected = {0: colour, 31: colour, 32: grey, 63: grey}
    else:
        expected = {0: grey, 15: grey, 16: colour, 47: colour, 48: grey, 63: grey}
    for row, values in expected.items():
        np.testing.assert_allclose(pixels[0, :, row, 32], values, atol=1e-5)
    if name == "detr":
        np.testing.assert_array_equal(runtime.given["orig_target_sizes"], [[128, 64]])


def test_two_boxes_of_one_person_become_one_and_neighbours_stay(tmp_path: Path) -> None:
    outputs = cells(6, {0: (20, 31, 20, 20, 0.7), 1: (21, 31, 20, 20, 0.9), 2: (35, 31, 20, 20, 0.8)})
    path = constant_detector(tmp_path / "d.onnx", {"output0": outputs.transpose(0, 2, 1)})
    (found,) = FileDetector(path).detect([FRAME])
    np.testing.assert_allclose(found.scores, [0.9, 0.8], atol=1e-6)  # 19 of 21 columns are shared, and 6 of 34
    np.testing.assert_allclose(found.boxes, [[22, 10, 62, 50], [50, 10, 90, 50]], atol=1e-3)


def test_boxes_are_cut_at_the_frame_and_nonsense_is_left_out(tmp_path: Path) -> None:
    rows = [
        [-5.0, 0, 30, 200, 0.9, 0],  # above, left and below
        [math.nan, 0, 30, 41, 0.9, 0],
        [30, 20, 10, 40, 0.9, 0],  # ends before it begins
        [500, 20, 600, 40, 0.9, 0],  # outside
        [10, 21, 30, 41, 0.05, 0],  # hardly a person
    ]
    path = constant_detector(tmp_path / "d.onnx", {"output0": [rows]})
    (found,) = FileDetector(path).detect([FRAME])
    np.testing.assert_allclose(found.boxes, [[0, 0, 60, 64]], atol=1e-3)


def test_the_class_of_people_is_the_one_that_the_file_names(tmp_path: Path) -> None:
    outputs = {"output0": cells(8, {10: (20, 31, 20, 20, 0.2, 0.3, 0.7)}).transpose(0, 2, 1)}
    names = {"names": "{0: 'car', 1: 'bus', 2: 'Person'}"}
    path = constant_detector(tmp_path / "d.onnx", outputs, metadata=names)
    (found,) = FileDetector(path).detect([FRAME])
    assert found.scores.tolist() == pytest.approx([0.7])
    (other,) = FileDetector(path, person=1).detect([FRAME])
    assert other.scores.tolist() == pytest.approx([0.3])
    cars = constant_detector(tmp_path / "cars.onnx", outputs, metadata={"names": "{0: 'car', 1: 'bus'}"})
    with pytest.raises(WeightsError, match="finds car, bus, and no class called person"):
        FileDetector(cars)


def test_masks_behind_the_classes_are_no_scores(tmp_path: Path) -> None:
    outputs = cells(4 + 1 + 3, {10: (20, 31, 20, 20, 0.7, 99, 99, 99)}).transpose(0, 2, 1)
    path = constant_detector(tmp_path / "d.onnx", {"output0": outputs}, metadata={"names": "['person']"})
    assert FileDetector(path).detect([FRAME])[0].scores.tolist() == pytest.approx([0.7])


def test_a_fixed_batch_is_filled_up_and_the_rest_cut_off(tmp_path: Path) -> None:
    row = [10.0, 21, 30, 41, 0.7, 0]
    path = constant_detector(tmp_path / "d.onnx", {"output0": [[row], [row]]}, shape=(2, 3, SIZE, SIZE))
    detector = FileDetector(path)
    assert detector.batch == 2
    assert [len(found) for found in detector.detect([FRAME] * 3)] == [1, 1, 1]
    assert detector.detect([]) == []


def test_an_input_of_any_size_takes_the_one_that_the_file_names(tmp_path: Path) -> None:
    row = [10.0, 21, 30, 41, 0.7, 0]
    sides = (1, 3, "height", "width")
    path = constant_detector(tmp_path / "d.onnx", {"output0": [[row]]}, shape=sides, metadata={"imgsz": "[96, 160]"})
    assert FileDetector(path).size == (96, 160)
    assert FileDetector(constant_detector(tmp_path / "e.onnx", {"output0": [[row]]}, shape=sides)).size == (640, 640)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"embedding": np.zeros((1, 512))}, r"no detector that is known: its outputs are 'embedding' \[1, 512\]"),
        ({"dets": np.zeros((1, 5, 5)), "labels": np.zeros((1, 5))}, r"'dets' \[1, 5, 5\].*known formats are yolox"),
        ({"output": np.zeros((1, CELLS + 2, 80))}, "no detector that is known"),
    ],
    ids=["a model of ReID", "mmdet", "cells of no grid"],
)
def test_other_outputs_end_in_a_sentence(outputs: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=said):
        FileDetector(constant_detector(tmp_path / "d.onnx", outputs))


def test_a_format_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = constant_detector(tmp_path / "d.onnx", {"embedding": np.zeros((1, 512))})
    for name in FORMATS:
        with pytest.raises(WeightsError, match=f"no detector of format {name}"):
            FileDetector(path, format=name)
    cells_of_yolox = constant_detector(tmp_path / "x.onnx", CASES["yolox"][0])
    assert FileDetector(cells_of_yolox, format="yolox-decoded").format == "yolox-decoded"
    for name in set(FORMATS) - {"yolox", "yolox-decoded"}:
        with pytest.raises(WeightsError, match=f"no detector of format {name}"):
            FileDetector(cells_of_yolox, format=name)
    with pytest.raises(UsageError, match="choose one of yolox"):
        FileDetector(path, format="yolov4")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        FileDetector(tmp_path / "gone.onnx")
    other = tmp_path / "weights.pt"
    other.write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"neither an \.onnx"):
        FileDetector(other)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"nothing of the kind" * 9)
    with pytest.raises(WeightsError, match="no ONNX file"):
        FileDetector(damaged)
    two = constant_detector(tmp_path / "two.onnx", {"out": np.zeros((1, 4))}, inputs=("images", "prompts"))
    with pytest.raises(WeightsError, match="takes 'images', 'prompts' and not frames alone"):
        FileDetector(two)


def test_an_openvino_model_by_hand(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    onnx_file = constant_detector(tmp_path / "d.onnx", CASES["ssd"][0], inputs=("data",))
    openvino.save_model(openvino.convert_model(onnx_file), tmp_path / "d.xml", compress_to_fp16=False)
    detector = FileDetector(tmp_path / "d.xml")
    assert detector.format == "ssd"
    (found,) = detector.detect([FRAME])
    np.testing.assert_allclose(found.boxes, [BOX], atol=1e-3)


@pytest.mark.parametrize("name", ["yolox", "yolov8"])
def test_a_class_that_the_detector_does_not_have_is_refused(name: str, tmp_path: Path) -> None:
    """It found nobody, without a word."""
    outputs = cells(8, {}) if name == "yolox" else cells(7, {}).transpose(0, 2, 1)
    path = constant_detector(tmp_path / "d.onnx", {"output": outputs})
    assert FileDetector(path, format=name, person=2).format == name
    with pytest.raises(UsageError, match="the detector has 3 classes, counted from 0, and 3 is none"):
        FileDetector(path, format=name, person=3)
