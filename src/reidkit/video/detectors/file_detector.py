"""A detector's file: told by its outputs, fed with frames, its boxes put back into the frames."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from reidkit.errors import UsageError, WeightsError
from reidkit.terminal import first_few
from reidkit.video.boxes import Detections, suppress, within
from reidkit.video.detectors.formats import FORMATS, SIZES, Inside
from reidkit.video.detectors.runtimes import open_runtime

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from reidkit.encoder.exported import Shape
    from reidkit.video.detectors.formats import Outputs

GREY = 114
"""What letterboxes are filled with."""

SIDE = 640
"""Height and width of an input that may have any, where the file does not name one."""

TOGETHER = 4
"""Frames that are run at a time where the file takes any number."""

LONGEST_SIDE = 4096
PEOPLE = frozenset({"person", "people", "pedestrian", "human"})
"""What classes of people are called."""


class Detector(Protocol):
    """What finds people in frames.

    Attributes:
        batch: How many frames are best given at a time.
        description: Its name with all that its boxes depend on, to tell other settings from these.
    """

    batch: int
    description: str

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return the people in each of some frames, RGB uint8 [H, W, 3], any size each, as boxes within it."""


def check_detector(given: Any) -> None:
    """Refuse what is no `Detector`, before a video is opened.

    Raises:
        UsageError: it lacks something, is a class, or its batch or its description is of another type.
    """
    name = f"the detector, a {type(given).__name__},"
    wrong = ""
    if lacking := [each for each in ("batch", "description", "detect") if not hasattr(given, each)]:
        wrong = f"{name} has no {' and no '.join(lacking)}: give it what Detector names"
    elif isinstance(given, type):
        wrong = f"the detector is the class {given.__name__}: pass an object of it"
    elif not callable(given.detect):
        wrong = f"{name} has a detect that is no method: give it what Detector names"
    elif isinstance(given.batch, bool) or not isinstance(given.batch, int | np.integer):
        wrong = f"{name} has the batch {given.batch!r}: give it a whole number of frames"
    elif not isinstance(given.description, str):
        wrong = f"{name} has the description {given.description!r}: give it a text"
    if wrong:
        raise UsageError(wrong, argument="detector")


class Placement(NamedTuple):
    """Where a frame lies in the input: input = frame * scale + offset, each of x and y."""

    scale: tuple[float, float]
    offset: tuple[float, float]
    width: int
    height: int


class FileDetector:
    """A detector in an ONNX or OpenVINO file.

    Args:
        path: The .onnx, or the .xml with its .bin.
        format: One of `FORMATS`; None: told by the outputs.
        min_score: Boxes below it are left out.
        person: The class of people; None: as the file names it, or as is usual for the format.
        device: `cpu` or `cuda`.

    Attributes:
        format: The format it has.
        size: Height and width of its input.

    Raises:
        MissingFileError: there is no file.
        WeightsError: it is damaged, or no detector in one of the known formats.
        UsageError: no format of this name, or no class of this number; a package is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002
        min_score: float = 0.1,
        person: int | None = None,
        device: str = "cpu",
    ) -> None:
        if format is not None and format not in FORMATS:
            raise UsageError(f"no detector format {format!r}: choose one of {', '.join(FORMATS)}", argument="format")
        if not 0 <= min_score < 1:
            raise UsageError(f"min_score {min_score} is not from 0 to below 1", argument="min_score")
        self.path, self._min_score = Path(path), min_score
        self._runtime = open_runtime(self.path, device)
        self._name, shape, self._type = _image_input(self.path, self._runtime.inputs)
        self._last = shape[1] != 3 and shape[3] == 3  # channels last
        self.size = _size(shape[1:3] if self._last else shape[2:4], self._runtime.metadata)
        self._fixed = shape[0]
        self.batch = shape[0] or TOGETHER
        outputs = self._try()
        self.format = format or _tell(self.path, outputs, self.size)
        self._format = FORMATS[self.format]
        names = _class_names(self._runtime.metadata)
        people = _people(self.path, names, self._format.person) if person is None else (person,)
        self._inside = Inside(*self.size, people, len(names) or None)
        self._check(outputs)
        self.description = (
            f"{self.path.name} {self._runtime.digest} {self.format} class {'+'.join(map(str, self._inside.people))} "
            f"score {min_score:g}"
        )

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return the people in each of some frames, as boxes within it, by falling score.

        Raises:
            WeightsError: the file cannot be run.
        """
        found = []
        step = self._fixed or max(len(images), 1)
        for first in range(0, len(images), step):
            found += self._detect(images[first : first + step])
        return found

    def _detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        placed = [self._place(image) for image in images]
        missing = (self._fixed or len(placed)) - len(placed)  # a batch of a fixed size is filled up
        pixels = np.stack([pixels for pixels, _ in placed] + [placed[-1][0]] * missing)
        places = [place for _, place in placed]
        outputs = self._runtime.run(self._given(pixels, places + places[-1:] * missing))
        boxes, scores = self._decoded(outputs)
        return [self._put_back(boxes[at], scores[at], place) for at, place in enumerate(places)]

    def _place(self, image: NDArray[np.uint8]) -> tuple[NDArray[Any], Placement]:
        """Return a frame as the input takes it, [3, h, w] or [h, w, 3], and where it lies there."""
        from PIL import Image

        how, (height, width) = self._format, self.size
        rows, columns = image.shape[:2]
        ratio = min(height / rows, width / columns)
        inner = (width, height)
        if how.placing != "stretch":
            inner = (max(1, round(columns * ratio)), max(1, round(rows * ratio)))
        small = np.asarray(Image.fromarray(image).resize(inner, Image.Resampling.BILINEAR))
        left, top = 0, 0
        if how.placing != "stretch":
            if how.placing == "centre":
                left, top = round((width - inner[0]) / 2 - 0.1), round((height - inner[1]) / 2 - 0.1)
            canvas = np.full((height, width, 3), GREY, np.uint8)
            canvas[top : top + inner[1], left : left + inner[0]] = small
            small = canvas
        place = Placement((inner[0] / columns, inner[1] / rows), (left, top), columns, rows)
        return self._normalised(small), place

    def _normalised(self, small: NDArray[np.uint8]) -> NDArray[Any]:
        how = self._format
        turned = small[..., ::-1] if how.bgr else small
        if self._type != np.uint8:
            values = turned.astype(np.float32)
            if how.scale != 1:
                values /= np.float32(how.scale)
            if any(how.mean):
                values -= np.array(how.mean, np.float32)
                values /= np.array(how.std, np.float32)
            return self._laid_out(values.astype(self._type, copy=False))
        return self._laid_out(turned)

    def _laid_out(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self._last else values.transpose(2, 0, 1)

    def _given(self, pixels: NDArray[Any], places: Sequence[Placement]) -> dict[str, NDArray[Any]]:
        """Return all inputs: the frames, their sizes where these are asked for, and masks that hide nothing."""
        given = {self._name: np.ascontiguousarray(pixels)}
        for name, (shape, kind) in self._runtime.inputs.items():
            if name == self._name:
                continue
            if name == SIZES:
                given[name] = np.array([[place.width, place.height] for place in places], kind)
            else:
                sides = [side or length for side, length in zip(shape[1:], self.size, strict=False)]
                given[name] = np.ones((len(pixels), *sides), kind)
        return given

    def _decoded(self, outputs: Outputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            boxes, scores = self._format.decode(outputs, self._inside)
        except UsageError:  # a class that it does not have
            raise
        except (KeyError, IndexError, ValueError):
            raise WeightsError(
                f"{self.path} is no detector of format {self.format}: its outputs are {_shown(outputs)}"
            ) from None
        if boxes.ndim != 3 or boxes.shape[-1] != 4 or boxes.shape[:2] != scores.shape:
            raise WeightsError(f"{self.path} is no detector of format {self.format}: its outputs are {_shown(outputs)}")
        return boxes, scores

    def _put_back(self, boxes: NDArray[np.float32], scores: NDArray[np.float32], place: Placement) -> Detections:
        """Return boxes of one input as boxes of its frame: those of enough score, one for each person."""
        how = self._format
        good: NDArray[np.bool_] = (scores >= max(self._min_score, 1e-6)) & np.isfinite(boxes).all(axis=1)
        boxes, scores = boxes[good], scores[good]
        if how.units == "parts":
            boxes *= np.array([place.width, place.height] * 2, np.float32)
        elif how.units == "input":
            boxes -= np.array(place.offset * 2, np.float32)
            boxes /= np.array(place.scale * 2, np.float32)
        order = np.argsort(-scores, kind="stable") if how.overlap is None else suppress(boxes, scores, how.overlap)
        found = Detections(boxes[order].astype(np.float32), np.minimum(scores[order], 1).astype(np.float32))
        return within(found, place.width, place.height)

    def _try(self) -> dict[str, NDArray[Any]]:
        """Return the outputs for a grey frame.

        Raises:
            WeightsError: the file cannot be run.
        """
        height, width = self.size
        shape = (height, width, 3) if self._last else (3, height, width)
        grey = np.full((self._fixed or 1, *shape), 0.5, np.float32).astype(self._type)
        place = Placement((1.0, 1.0), (0.0, 0.0), width, height)
        return self._runtime.run(self._given(grey, [place] * len(grey)))

    def _check(self, outputs: Outputs) -> None:
        """Refuse a format that does not fit the outputs, before the first frame.

        Raises:
            WeightsError: it does not.
        """
        fits = self._format.fits or self._format.tells
        if not fits(outputs, *self.size):
            raise WeightsError(f"{self.path} is no detector of format {self.format}: its outputs are {_shown(outputs)}")
        self._decoded(outputs)


def _image_input(path: Path, inputs: Mapping[str, tuple[Shape, np.dtype[Any]]]) -> tuple[str, Shape, np.dtype[Any]]:
    """Return name, shape and type of the input that takes frames.

    Raises:
        WeightsError: there is none, or there are inputs of which nobody knows what they take.
    """
    images = [
        (name, shape, kind) for name, (shape, kind) in inputs.items() if len(shape) == 4 and 3 in (shape[1], shape[3])
    ]
    others = [name for name in inputs if name not in (SIZES, "pixel_mask") and name not in [each[0] for each in images]]
    if len(images) != 1 or others:
        raise WeightsError(f"{path} takes {', '.join(map(ascii, inputs))} and not frames alone: give a detector")
    return images[0]


def _size(sides: Shape, metadata: Mapping[str, str]) -> tuple[int, int]:
    """Return height and width of the input: as it has them, as the file names them (`imgsz`), or 640."""
    told = _literal(metadata.get("imgsz", ""))
    named = told if isinstance(told, list) and len(told) == 2 and all(type(each) is int for each in told) else []
    height, width = (min(side or each, LONGEST_SIDE) for side, each in zip(sides, named or (SIDE, SIDE), strict=True))
    return max(height, 32), max(width, 32)


def _class_names(metadata: Mapping[str, str]) -> dict[int, str]:
    """Return what a file calls its classes (`names`); nothing where it does not say."""
    names = _literal(metadata.get("names", ""))
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(type(number) is int for number in names):
        return {}
    return {number: str(name).strip().lower() for number, name in names.items()}


def _people(path: Path, names: Mapping[int, str], usual: int) -> tuple[int, ...]:
    """Return the classes that are people.

    Raises:
        WeightsError: the file names its classes, and none is one of people.
    """
    if not names:
        return (usual,)
    found = tuple(number for number, name in names.items() if name in PEOPLE)
    if not found:
        raise WeightsError(
            f"{path} finds {', '.join(list(names.values())[:6])}, and no class called person: say which one it is",
            argument="person",
        )
    return found


def _literal(text: str) -> Any:
    """Return the value of a Python or JSON literal of a file's metadata; None where it is none."""
    if len(text) > 100_000:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _tell(path: Path, outputs: Outputs, size: tuple[int, int]) -> str:
    """Return the format of a file by the names and shapes of its outputs.

    Raises:
        WeightsError: they are those of no known format.
    """
    for name, how in FORMATS.items():
        if how.tells(outputs, *size):
            return name
    raise WeightsError(
        f"{path} is no detector that is known: its outputs are {_shown(outputs)}; known formats are "
        f"{', '.join(FORMATS)} (a model of ReID goes to --model)"
    )


def _shown(outputs: Outputs) -> str:
    return first_few((f"{name!a} {list(found.shape)}" for name, found in outputs.items()), 6)
