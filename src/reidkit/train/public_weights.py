"""Published ImageNet weights: downloaded once, checked against their hash, and kept."""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple

from reidkit.arguments import check_path
from reidkit.atomic import atomic_write, os_errors_as
from reidkit.data.cache import default_cache_dir
from reidkit.encoder.exported import digest_of_files
from reidkit.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

IMAGENET = "imagenet"
"""The word that stands for the path of a backbone's public ImageNet weights."""

TORCHVISION = "https://download.pytorch.org/models"
IBN_NET = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0"

PATIENCE = 30.0
"""Seconds without a byte after which a server is given up."""

LARGEST = 1 << 30
"""Bytes of a file, at most: none of these has as many."""

PIECE = 1 << 20


class PublicWeights(NamedTuple):
    """A file of weights: where it lies. Its name ends in the first eight digits of its SHA-256, as torch's do."""

    place: str
    name: str

    @property
    def url(self) -> str:
        """Its public address."""
        return f"{self.place}/{self.name}"

    @property
    def digest(self) -> str:
        """The first eight digits of its SHA-256."""
        return self.name.removesuffix(".pth").rpartition("-")[2]


PUBLIC: dict[str, PublicWeights] = {
    "resnet18": PublicWeights(TORCHVISION, "resnet18-f37072fd.pth"),
    "resnet34": PublicWeights(TORCHVISION, "resnet34-b627a593.pth"),
    "resnet50": PublicWeights(TORCHVISION, "resnet50-0676ba61.pth"),
    "resnet101": PublicWeights(TORCHVISION, "resnet101-63fe2227.pth"),
    "resnet152": PublicWeights(TORCHVISION, "resnet152-394f9c45.pth"),
    "resnet18-ibn-a": PublicWeights(IBN_NET, "resnet18_ibn_a-2f571257.pth"),
    "resnet34-ibn-a": PublicWeights(IBN_NET, "resnet34_ibn_a-94bc1577.pth"),
    "resnet50-ibn-a": PublicWeights(IBN_NET, "resnet50_ibn_a-d9d0bb7b.pth"),
    "resnet101-ibn-a": PublicWeights(IBN_NET, "resnet101_ibn_a-59ea0ac6.pth"),
    "resnet18-ibn-b": PublicWeights(IBN_NET, "resnet18_ibn_b-bc2f3c11.pth"),
    "resnet34-ibn-b": PublicWeights(IBN_NET, "resnet34_ibn_b-04134c37.pth"),
    "resnet50-ibn-b": PublicWeights(IBN_NET, "resnet50_ibn_b-9ca61e85.pth"),
    "resnet101-ibn-b": PublicWeights(IBN_NET, "resnet101_ibn_b-c55f6dba.pth"),
}
"""ImageNet weights by backbone: torchvision's first version, as the paper began with, and the authors' of IBN-Net."""


def find_weights(weights: str | os.PathLike[str] | None, backbone: str, width: float = 1.0) -> Path | None:
    """Return the file that a backbone starts from; `imagenet` is its public file, fetched where it is not there yet.

    Raises:
        UsageError: there is no public file for the backbone.
        WeightsError: it cannot be fetched, or is another file than its hash says.
    """
    if weights is None:
        return None
    path = check_path(weights, "a file of weights, or 'imagenet'", "weights")
    if os.fspath(weights) != IMAGENET or path.exists():
        return path
    if backbone not in PUBLIC or width != 1:
        raise UsageError(
            f"no public ImageNet weights are known for {backbone}{'' if width == 1 else ' of another width'}: give a "
            f"file, or choose one of {', '.join(PUBLIC)} at its full width",
            argument="weights",
        )
    return fetch(PUBLIC[backbone])


def fetch(
    wanted: PublicWeights, folder: Path | None = None, progress: Callable[[str, int, int], None] | None = None
) -> Path:
    """Return a public file of weights, which is fetched once and kept in `folder` (None: the cache's `weights`).

    Nothing is taken that has another SHA-256. `progress` is called with the bytes that are there.

    Raises:
        WeightsError: there is no network, the server refuses, or the file has another hash.
    """
    path = (folder or default_cache_dir() / "weights") / wanted.name
    if path.is_file() and digest_of_files([path]).startswith(wanted.digest):
        return path
    log.info("fetching %s", wanted.url)
    by_hand = (
        f"fetch {wanted.url} on a machine that can, see that its SHA-256 begins with {wanted.digest}, and give the path"
    )
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _download(wanted, path, progress)
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            raise WeightsError(f"{wanted.url} cannot be fetched ({reason}): {by_hand}", argument="weights") from None
        except _OtherFileError as error:
            raise WeightsError(f"{wanted.url} gives another file ({error}): {by_hand}", argument="weights") from None
    return path


class _OtherFileError(Exception):
    """What was fetched is not what was asked for."""


def _download(wanted: PublicWeights, path: Path, progress: Callable[[str, int, int], None] | None = None) -> None:
    """Fetch a file, whole or not at all."""
    request = urllib.request.Request(wanted.url, headers={"User-Agent": "reidkit"})  # noqa: S310 (addresses are ours)
    total = hashlib.sha256()
    done = 0
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer, atomic_write(path) as file:  # noqa: S310
        size = int(answer.headers.get("Content-Length") or 0)
        while piece := answer.read(PIECE):
            done += len(piece)
            if done > LARGEST:
                raise _OtherFileError(f"more than {LARGEST:,} bytes")
            total.update(piece)
            file.write(piece)
            if progress:
                progress("weights", done, size)
        if size and done != size:
            raise _OtherFileError(f"{done:,} of {size:,} bytes came")
        if not total.hexdigest().startswith(wanted.digest):
            raise _OtherFileError(f"its SHA-256 begins with {total.hexdigest()[:8]}")
