"""What is true of synthetic images: the masks of the people in them, and their keypoints, as files beside the set."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from reidkit.synth.draw import draw_image, draw_on
from reidkit.synth.figure import Canvas

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.synth.draw import Shot
    from reidkit.synth.figure import Points, Rgb

Note: TypeAlias = "tuple[str, dict[str, tuple[float, float, bool]]]"
"""The name of an image, and the joints of the person in it (see `Masked`)."""

MASKS, GREY, LABELS, KEYPOINTS = "masks", "grey", "labels", "keypoints.json"

NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""The keypoints of COCO; the nose stands in the middle of the head, and eyes and ears are nowhere."""

_MASK = re.compile(r"(?:-1|\d{4,7})_c\d+s1_\d{6}_01\.png")


class LabelledCanvas(Canvas):
    """A canvas that also keeps which region of the person lies at each pixel, and where the person's joints are.

    Whatever else is drawn is in no region.
    """

    def __init__(self, image: Image.Image, shade: float) -> None:
        super().__init__(image, shade)
        self.labels = Image.new("L", image.size, 0)
        self.joints: dict[str, tuple[float, float]] = {}
        self._labels = ImageDraw.Draw(self.labels)

    def fill(self, outline: Points, rgb: Rgb, light: float = 1.0) -> None:
        """Fill a polygon [N, 2]."""
        super().fill(outline, rgb, light)
        self._labels.polygon(outline.ravel().tolist(), fill=self.region * self.alone)

    def oval(self, x: float, y: float, half: tuple[float, float], rgb: Rgb, light: float = 1.0) -> None:
        """Fill an ellipse with the half axes `half`."""
        super().oval(x, y, half, rgb, light)
        self._labels.ellipse((x - half[0], y - half[1], x + half[0], y + half[1]), fill=self.region * self.alone)

    def joint(self, name: str, x: float, y: float) -> None:
        """Keep where a joint of the person is."""
        if self.alone:
            self.joints[name] = (x, y)


class Drawing(Protocol):
    """What the pixels of a set depend on beside the shots: the `Plan` of a set."""

    @property
    def seed(self) -> int:
        """Begins every draw."""
        ...

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    @property
    def width(self) -> int:
        """In pixels."""
        ...


class Masked(NamedTuple):
    """An image with what is true of it.

    `labels` uint8 [H, W]: `HEAD`, `UPPER`, `LOWER` or `SHOES` of the person of the shot, 0 elsewhere, also where
    something is in front. `joints`: pixels x and y by the names that COCO has, and whether nothing is in front.
    """

    image: bytes
    labels: NDArray[np.uint8]
    joints: dict[str, tuple[float, float, bool]]


def draw_masked(seed: int, shot: Shot, height: int, width: int) -> Masked:
    """Return the JPEG file of a shot, the bytes of `draw_image`, with the regions and joints of the person."""
    image, canvas = draw_on(seed, shot, height, width, LabelledCanvas)
    size = canvas.labels.size
    labels = np.asarray(canvas.labels.resize((width, height), Image.Resampling.NEAREST))
    joints = {}
    for name, (x, y) in canvas.joints.items():
        x, y = x * width / size[0], y * height / size[1]  # noqa: PLW2901
        if 0 <= x < width and 0 <= y < height:
            joints[name] = (x, y, bool(labels[int(y), int(x)]))
    return Masked(image, labels, joints)


def draw_files(folder: Path, plan: Drawing, masks: bool, shots: Sequence[Shot]) -> list[Note]:
    """Write images, and their masks where these are asked for; return the joints of each."""
    if not masks:
        for shot in shots:
            (folder / shot.name).write_bytes(draw_image(plan.seed, shot, plan.height, plan.width))
        return [(shot.name, {}) for shot in shots]
    notes: list[Note] = []
    for shot in shots:
        drawn = draw_masked(plan.seed, shot, plan.height, plan.width)
        (folder / shot.name).write_bytes(drawn.image)
        person = np.where(drawn.labels > 0, 255, 0).astype(np.uint8)
        for kind, pixels in ((LABELS, drawn.labels), (GREY, person)):
            path = (folder / MASKS / kind / shot.name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        notes.append((shot.name, drawn.joints))
    return notes


def write_keypoints(folder: Path, plan: Drawing, notes: Sequence[Note]) -> None:
    """Write the joints of all images as COCO has them: v is 2 for what is seen, 1 for what something hides, else 0."""
    images, annotations = [], []
    for number, (name, joints) in enumerate(notes, 1):
        images.append({"id": number, "file_name": name, "width": plan.width, "height": plan.height})
        points: list[float] = []
        for joint in NAMES:
            x, y, seen = joints.get(joint, (0.0, 0.0, False))
            points += [round(x, 2), round(y, 2), (1 + seen) if joint in joints else 0]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": points, "num_keypoints": len(joints)}
        )
    categories = [{"id": 1, "name": "person", "keypoints": list(NAMES)}]
    found = {"images": images, "annotations": annotations, "categories": categories}
    (folder / MASKS / KEYPOINTS).write_text(json.dumps(found), encoding="utf-8")


def are_ours(masks: Path, folders: Sequence[str]) -> bool:
    """Return whether a folder holds nothing but masks of a synthetic set, even unfinished ones, or is not there."""
    if masks.is_symlink() or not masks.is_dir():
        return not (masks.is_symlink() or masks.exists())
    places: set[tuple[str, ...]] = {(KEYPOINTS,)} | {(kind,) for kind in (GREY, LABELS)}
    places |= {(kind, name) for kind in (GREY, LABELS) for name in folders}
    for path in masks.rglob("*"):
        parts = path.relative_to(masks).parts
        mask = len(parts) == 3 and parts[:2] in places and _MASK.fullmatch(parts[2]) is not None
        if path.is_symlink() or not (mask or parts in places):
            return False
    return True
