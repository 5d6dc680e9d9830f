"""Videos of plain figures that walk, a detector that finds them by their colours, and the truth about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.video.boxes import Detections
from tests.video.drawn import write_video

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH, HEIGHT, FRAMES = 160, 120, 40
COLOURS = ((230, 40, 40), (40, 230, 40), (40, 40, 230))
"""Of figure 0, 1 and 2, on grey."""


def box(figure: int, frame: int) -> tuple[float, float, float, float]:
    """Where a figure of 20 x 48 pixels stands in a frame from 0: two walk, one stands."""
    left = (10 + 2 * frame, 130 - 2 * frame, 70)[figure]
    top = (8, 62, 8)[figure]
    return left, top, left + 20, top + 48


def present(figure: int, frame: int) -> bool:
    """The third comes late."""
    return figure < 2 or frame >= 30


def draw(frame: int) -> NDArray[np.uint8]:
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for figure, colour in enumerate(COLOURS[:2]):
        left, top, right, bottom = map(int, box(figure, frame))
        image[top:bottom, left:right] = colour
        image[top : top + 8, left + 5 : right - 5] = 250  # a head
    return image


def video(folder: Path, name: str = "hall.mp4", count: int = FRAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_video(folder / name, count, draw=draw)


class ByColour:
    """A detector that finds the figures that are drawn; `seen` counts its frames, and it stops at frame `stop`."""

    batch = 3
    description = "by colour"

    def __init__(self, stop: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.seen, self._stop, self._error = 0, stop, error

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        found = []
        for image in images:
            self.seen += 1
            if self.seen == self._stop:
                raise self._error
            boxes = []
            for channel in (0, 1):
                others = image[..., [each for each in range(3) if each != channel]].max(axis=2)
                rows, columns = np.nonzero((image[..., channel] > 180) & (others < 110))
                if len(rows):
                    boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            array = np.array(boxes, np.float32).reshape(-1, 4)
            found.append(Detections(array, np.full(len(array), 0.9, np.float32)))
        return found


def truth(path: Path, *, ids: bool = True, figures: tuple[int, ...] = (0, 1)) -> Path:
    """Write the boxes as MOT has them."""
    lines: list[Any] = []
    for frame in range(FRAMES):
        for figure in figures:
            left, top, right, bottom = box(figure, frame)
            track = figure + 1 if ids else -1
            lines.append(f"{frame + 1},{track},{left + 1},{top + 1},{right - left},{bottom - top},1,-1,-1,-1")
    path.write_text("\n".join(lines))
    return path
