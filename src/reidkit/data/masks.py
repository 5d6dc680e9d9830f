"""Masks and keypoint maps from outside: one file an image, found by its name, beside the images in every batch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
import torch

from reidkit.arguments import check_choice
from reidkit.data.keypoints import draw_joints, read_keypoints
from reidkit.data.mask_files import (
    ANYWHERE,
    ENDINGS,
    read_grey,
    read_labels,
    read_maps,
    refuse_other_shape,
    resized,
)
from reidkit.data.sources import pool
from reidkit.errors import DataError, UsageError
from reidkit.recipe.mask_channels import JOINTS, MIRRORED, mask_channels
from reidkit.terminal import first_few
from reidkit.types import Missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.data.transforms import AugmentParams
    from reidkit.recipe import Images, Network
    from reidkit.recipe.network_section import MaskKind
    from reidkit.types import ImageFile, Sample

    Pixels = NDArray[np.uint8]

HELD = 1 << 29
"""Bytes of masks that are kept in memory; of more, each is read again for every batch."""

_KINDS = ("grey", "labels", "keypoints")


class Masks(Sequence["Pixels"]):
    """The masks of N images, in their order, at one size.

    `masks[i]` is uint8 [H, W, M]: M is 1 for `grey` (0 to 255) and `labels` (their numbers), and 14 for `keypoints`
    (0 to 255, in the order of `JOINTS`). `with_masks` makes of it what a network sees.

    Attributes:
        kind: `grey`, `labels` or `keypoints`.
        channels: K, the maps that a network sees.
        missing: How many images have no mask of their own.
        digest: Sixteen digits that change where the files of the masks, or their sizes, do.
    """

    def __init__(self, files: Sequence[_File | None], size: tuple[int, int], kind: MaskKind, channels: int) -> None:
        self.kind, self.channels, self.size = kind, channels, size
        self.missing = sum(file is None for file in files)
        self.digest = _digest(files)
        self._files = tuple(files)
        self._held: Pixels | None = None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, at: int | slice) -> Pixels:  # type: ignore[override]
        if isinstance(at, slice):
            return self.rows(np.arange(len(self))[at])
        return cast("Pixels", self.rows(np.array([range(len(self))[at]]))[0])

    @property
    def stored(self) -> int:
        """M, the channels of a mask in memory."""
        return len(JOINTS) if self.kind == "keypoints" else 1

    def rows(self, indices: NDArray[np.int64]) -> Pixels:
        """Return the masks of these images: uint8 [B, H, W, M].

        Raises:
            DataError: a mask that could be read at the start cannot be read any more.
        """
        if self._held is not None:
            return self._held[indices]
        out = np.empty((len(indices), *self.size, self.stored), np.uint8)
        for row, at in enumerate(indices.tolist()):
            out[row] = self._read(at)
        return out

    def check(self, samples: Sequence[Sample], progress: Callable[[str, int, int], None] | None) -> None:
        """Read every mask once, and keep them where there is room.

        Raises:
            DataError: some cannot be read, or have another shape than their image; the first ones are named.
        """
        count = len(self)
        room = count * self.size[0] * self.size[1] * self.stored <= HELD
        held = np.empty((count if room else 1, *self.size, self.stored), np.uint8)
        wrong: list[str] = []
        with pool() as threads:
            read = partial(self._complaint, samples=samples, held=held)
            for done, why in enumerate(threads.map(read, range(count)), 1):
                if why:
                    wrong.append(why)
                if progress and (done % 256 == 0 or done == count):
                    progress("reading masks", done, count)
        if wrong:
            words = first_few(wrong, between="; ")
            raise DataError(f"{len(wrong)} of {count} masks cannot be used ({words}): repair them", argument="masks")
        self._held = held if room else None

    def _complaint(self, at: int, samples: Sequence[Sample], held: Pixels) -> str:
        try:
            mask = self._read(at, samples[at].path)
        except DataError as error:
            return str(error)
        if len(held) == len(self):
            held[at] = mask
        return ""

    def _read(self, at: int, image: ImageFile | None = None) -> Pixels:
        """Return the mask of an image [H, W, M]; with the image's file the shapes of both are compared."""
        file = self._files[at]
        if file is None:
            return np.full((*self.size, self.stored), ANYWHERE, np.uint8)
        return file.read(self, image)

    def augment_into(self, indices: NDArray[np.int64], params: AugmentParams, pad: int, out: Pixels) -> None:
        """Put masks into `out` uint8 [B, H, W, M], mirrored, cropped and erased as their images are.

        What comes from outside an image, and what is erased, is 0. Of a mirrored image left and right joints change
        places.
        """
        height, width = self.size
        out[:] = 0
        boxes = params.boxes.tolist()
        for b, mask in enumerate(self.rows(indices)):
            if params.flip[b]:
                mask = mask[:, ::-1][..., MIRRORED] if self.kind == "keypoints" else mask[:, ::-1]  # noqa: PLW2901
            down, right = int(params.top[b]) - pad, int(params.left[b]) - pad
            # Place (y, x) of the crop is place (y + down, x + right) of the mask, where there is one.
            rows = slice(max(0, -down), min(height, height - down))
            columns = slice(max(0, -right), min(width, width - right))
            if rows.start < rows.stop and columns.start < columns.stop:
                out[b, rows, columns] = mask[
                    rows.start + down : rows.stop + down, columns.start + right : columns.stop + right
                ]
            top, left, high, wide = boxes[b]
            out[b, top : top + high, left : left + wide] = 0


class _File(Protocol):
    """Where the mask of one image comes from."""

    @property
    def key(self) -> str:
        """What changes where the file does."""

    def read(self, masks: Masks, image: ImageFile | None) -> Pixels:
        """Return it at the size of `masks`."""


@dataclass(frozen=True)
class _MaskFile:
    path: Path

    @property
    def key(self) -> str:
        return f"{self.path.name} {self.path.stat().st_size}"

    def read(self, masks: Masks, image: ImageFile | None) -> Pixels:
        if masks.kind == "keypoints":
            found = read_maps(self.path)
        elif masks.kind == "labels":
            found = read_labels(self.path, masks.channels)[..., None]
        else:
            found = read_grey(self.path)[..., None]
        if image is not None:
            refuse_other_shape(self.path, found.shape[:2], image)
        return resized(found, masks.size, nearest=masks.kind == "labels")


@dataclass(frozen=True, eq=False)
class _Joints:
    joints: NDArray[np.float64]

    @property
    def key(self) -> str:
        return self.joints.tobytes().hex()

    def read(self, masks: Masks, image: ImageFile | None) -> Pixels:
        del image
        return draw_joints(self.joints, masks.size)


def open_masks(  # noqa: PLR0913 (options by name only)
    path: str | os.PathLike[str],
    samples: Sequence[Sample],
    size: tuple[int, int],
    *,
    kind: MaskKind = "grey",
    channels: int = 1,
    missing: Missing = "refuse",
    progress: Callable[[str, int, int], None] | None = None,
) -> Masks:
    """Open the masks of images: a folder with one file each, or keypoints in a COCO file.

    A mask belongs to the image whose path, without ending, ends in the mask's path below the folder: that of
    `query/a.jpg` is `query/a.png` or, if no two images would share it, `a.png`. In a folder with a sub-folder (or a
    `.json`) named `grey`, `labels` or `keypoints` that one is taken; a folder with the name of another kind is refused.

    Args:
        path: The folder, or a `.json` for keypoints.
        samples: The images, N of them.
        size: Height and width in pixels, to which masks are brought: by the mean of the pixels below, and label images
            by the nearest one.
        kind: `grey`: how much of the person is at each place, 0 to 255 (or 0 and 1). `labels`: 0 for the background
            and numbers from 1 to `channels`, or 255 for all of them. `keypoints`: COCO's file, or `.npy` files with
            maps [14, h, w], uint8 or numbers from 0 to 1.
        channels: The largest label; 1 for grey ones, 14 for keypoints.
        missing: Whether images without a mask are refused, or have `ones`.
        progress: Called as `progress(what, done, total)`.

    Raises:
        DataError: masks are missing or cannot be read, are in colour, or have another shape than their image.
        UsageError: no such kind, or a folder of another one.
    """
    check_choice(kind, Literal["grey", "labels", "keypoints"], "kind")
    check_choice(missing, Missing, "missing_masks")
    files = find_masks(path, samples, kind, missing)
    found = Masks(files, size, kind, channels)
    found.check(samples, progress)
    return found


def find_masks(
    path: str | os.PathLike[str], samples: Sequence[Sample], kind: MaskKind, missing: Missing = "refuse"
) -> list[_File | None]:
    """Return the file of each image's mask, or None where it has none; no mask is opened.

    Raises:
        DataError: the folder is not there; masks are missing; a name stands for two masks, or a mask for two images.
    """
    root = _place(Path(path), kind)
    known: dict[str, _File]
    if root.suffix.lower() == ".json":
        if kind != "keypoints":
            raise UsageError(
                f"{root} is a file of keypoints: give a folder with one {kind} mask for each image", argument="masks"
            )
        known = {name: _Joints(joints) for name, joints in read_keypoints(root).items()}
    else:
        known = _listed(root)
    files = _matched(known, samples)
    without = [str(sample.path) for sample, file in zip(samples, files, strict=True) if file is None]
    if without and (missing == "refuse" or len(without) == len(files)):
        remedy = (
            "add them, or pass missing_masks='ones' to take all ones for them"
            if len(without) < len(files)
            else "masks have the names of their images, and lie in folders as those do"
        )
        words = first_few(without, between="; ")
        raise DataError(
            f"{len(without)} of {len(files)} images have no mask in {root} ({words}): {remedy}",
            argument="masks" if len(without) == len(files) else "missing_masks",
        )
    return files


def _place(path: Path, kind: str) -> Path:
    """Return the folder of masks of a kind, or the file of keypoints, that `path` is or holds."""
    if not path.exists():
        raise DataError(f"{path} is not there: give a folder with a mask for each image", argument="masks")
    if path.is_dir():
        inside = next((path / name for name in (kind, f"{kind}.json") if (path / name).exists()), None)
        other = path.resolve().name
        if inside is None and other in _KINDS and other != kind:
            raise UsageError(
                f"{path} is by its name a folder of {other}, and the network takes {kind}: give the folder of those, "
                "or the one that holds both",
                argument="masks",
            )
        return inside or path
    if path.suffix.lower() != ".json":
        raise DataError(f"{path} is no folder: give a folder with a mask for each image", argument="masks")
    return path


def _listed(root: Path) -> dict[str, _File]:
    """Return the files of masks by their paths below `root`, without ending."""
    found: dict[str, Path] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if path.suffix.lower() not in ENDINGS or name.startswith("."):
                continue
            key = path.relative_to(root).with_suffix("").as_posix()
            if key in found:
                raise DataError(
                    f"{root} holds two masks called {key} ({found[key].name} and {name}): keep one of them",
                    argument="masks",
                )
            found[key] = path
    if not found:
        raise DataError(f"{root} holds no masks: give a folder of .png files, or of .npy maps", argument="masks")
    return {key: _MaskFile(path) for key, path in found.items()}


def _matched(known: dict[str, _File], samples: Sequence[Sample]) -> list[_File | None]:
    """Return for each image what has the longest end of its path for a name."""
    owner: dict[str, str] = {}
    files: list[_File | None] = []
    for sample in samples:
        own = str(sample.path)
        key = next((key for key in _ends(sample.path) if key in known), None)
        if key is not None and owner.setdefault(key, own) != own:
            raise DataError(
                f"{owner[key]} and {own} would share the mask {key}: put masks into folders as the images lie",
                argument="masks",
            )
        files.append(None if key is None else known[key])
    return files


def _ends(path: ImageFile) -> list[str]:
    """Return the ends of an image's path, the longest first, each without the file's ending and with it."""
    text = path.as_posix() if isinstance(path, Path) else str(path).rpartition(":")[2]
    parts = PurePosixPath(text).parts
    stem = PurePosixPath(text).with_suffix("").parts
    return ["/".join(some[at:]) for at in range(len(parts)) for some in (stem, parts)]


def _digest(files: Sequence[_File | None]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{'' if file is None else file.key}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]


# In a batch.


def with_masks(images_bchw: Tensor, stored_bhwm: Tensor, masks: Masks) -> Tensor:
    """Put the maps of masks behind the colours of normalised images: float32 [B, 3 + K, H, W], channels last.

    Grey and keypoint maps become 0 to 1. Of a label image map k is 1 where it has the number k (or 255), else 0.
    """
    stored = stored_bhwm.permute(0, 3, 1, 2)
    if masks.kind == "labels":
        number_k = torch.arange(1, masks.channels + 1, device=stored.device).view(1, -1, 1, 1)
        maps = ((stored == number_k) | (stored == ANYWHERE)).to(images_bchw.dtype)
    else:
        maps = stored.to(images_bchw.dtype) / 255
    return torch.cat((images_bchw, maps), dim=1).contiguous(memory_format=torch.channels_last)


def masks_of(
    path: str | os.PathLike[str] | None,
    samples: Sequence[Sample],
    images: Images,
    network: Network,
    *,
    missing: Missing = "refuse",
    progress: Callable[[str, int, int], None] | None = None,
) -> Masks | None:
    """Open the masks that the network of a recipe takes, or return None for one that takes none.

    Raises:
        UsageError: the network takes masks and there is no path, or it takes none and there is one.
        DataError: as `open_masks`.
    """
    if network.masks == "none":
        if path is not None:
            raise UsageError("the network takes no masks (network.masks=none): leave them out", argument="masks")
        return None
    if path is None:
        what = {"grey": "a grey mask", "labels": "a label image"}.get(network.masks, "keypoints")
        raise UsageError(
            f"the network takes {what} beside each image (network.masks={network.masks}): give the folder of them as "
            "masks, to train, evaluate, embed or calibrate; all else takes features, or a network without masks",
            argument="masks",
        )
    kind, channels = network.masks, mask_channels(network)
    return open_masks(path, samples, images.size, kind=kind, channels=channels, missing=missing, progress=progress)
