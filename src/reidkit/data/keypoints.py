"""Keypoints of people as COCO has them, and the fourteen maps that a network sees of them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit import strict_json
from reidkit.errors import DataError
from reidkit.recipe.mask_channels import JOINTS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""The keypoints of a person in their order in COCO, where a file does not name others."""

FACE = COCO[:5]
WIDE = 1 / 32
"""The standard deviation of the spot of a joint, in heights of the image."""


def read_keypoints(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read a COCO file of keypoints.

    Of several people in one image the one with most visible keypoints is taken, the first of equals. A joint whose
    visibility is 0 is not there. The head is the mean of what is seen of the face, the neck that of both shoulders.

    Returns:
        The joints of each image by its name without ending, as it stands in the file: float64 [14, 3], x and y as
        shares of width and height, and 1 where the joint is known. An image without a person has none of them.

    Raises:
        DataError: it is no such file; the sentence says what is wrong with it.
    """
    try:
        found = strict_json.read(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", argument="masks") from None
    except strict_json.JsonError as error:
        raise DataError(
            f"{path} is no JSON file of keypoints ({error}): give COCO's format", argument="masks"
        ) from None
    try:
        return _joints_of_images(found)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        why = error if isinstance(error, ValueError) else f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DataError(
            f"{path} is no file of keypoints as COCO has them ({why}): it holds images with id, file_name, width and "
            "height, and annotations with image_id and keypoints [x, y, v, ...]",
            argument="masks",
        ) from None


def _joints_of_images(found: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Return the joints of each image, by its name without an ending; of several people those of the one most seen.

    Raises:
        ValueError, KeyError, TypeError: it is no file of keypoints.
    """
    names = next((tuple(each["keypoints"]) for each in found.get("categories", ()) if each.get("keypoints")), COCO)
    images = {each["id"]: each for each in found["images"]}
    best: dict[object, NDArray[np.float64]] = {}
    for note in found["annotations"]:
        values = np.asarray(note["keypoints"], dtype=np.float64)
        if values.shape != (3 * len(names),):
            raise ValueError(f"an annotation has {values.size} numbers, where {3 * len(names)} are three a keypoint")
        points, at = values.reshape(-1, 3), note["image_id"]
        if at not in best or (points[:, 2] > 0).sum() > (best[at][:, 2] > 0).sum():
            best[at] = points
    joints = {}
    for number, image in images.items():
        size = float(image["width"]), float(image["height"])
        if min(size) < 1:
            raise ValueError(f"the image {image['file_name']} has no size")
        points = best.get(number, np.zeros((len(names), 3)))
        joints[_stem(str(image["file_name"]))] = _joints(dict(zip(names, points, strict=True)), size)
    return joints


def _stem(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")).with_suffix("")) if name else name


def _joints(points: dict[str, NDArray[np.float64]], size: tuple[float, float]) -> NDArray[np.float64]:
    """The fourteen joints of a person, by the keypoints that are named."""
    nowhere = np.zeros(3)

    def mean(*names: str, all_of: bool = False) -> NDArray[np.float64]:
        seen = [points[name] for name in names if name in points and points[name][2] > 0]
        if not seen or (all_of and len(seen) < len(names)):
            return nowhere
        found: NDArray[np.float64] = np.stack(seen).mean(axis=0)
        return found

    own = {"head": mean("head", *FACE), "neck": mean("neck")}
    if not own["neck"][2]:
        own["neck"] = mean("left_shoulder", "right_shoulder", all_of=True)
    joints = np.stack([own[name] if name in own else mean(name) for name in JOINTS])
    joints[:, :2] /= size
    joints[:, 2] = joints[:, 2] > 0
    return joints


def draw_joints(joints: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw each joint [14, 3] (see `read_keypoints`) as a round spot: uint8 [H, W, 14], 255 at its middle.

    The spot is exp(-d^2 / 2 s^2) at the distance d from the joint, with s = `WIDE` x H in pixels of an image whose
    sides have the same scale.
    """
    height, width = size
    wide = WIDE * height
    x, y, known = joints.T
    down = np.exp(-((np.arange(height)[:, None] + 0.5 - y * height) ** 2) / (2 * wide**2))
    across = np.exp(-((np.arange(width)[:, None] + 0.5 - x * width) ** 2) / (2 * wide**2))
    spots: NDArray[np.uint8] = np.rint(255 * known * down[:, None] * across[None]).astype(np.uint8)
    return spots
