"""Tars as other programs write them, and shards of noise."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from reidkit.types import Sample


def tar(path: Path, files: Iterable[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> Path:
    """A tar of these files, by the standard library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form, errors="surrogateescape") as made:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return path


def pair(key: str, image: bytes, **facts: Any) -> list[tuple[str, bytes]]:
    """The two files of an image in a WebDataset."""
    return [(f"{key}.jpg", image), (f"{key}.json", json.dumps(facts).encode())]


def facts(samples: Sequence[Sample]) -> list[tuple[str, int, int]]:
    """Name, pid and camid of each."""
    return [(sample.path.name, sample.pid, sample.camid) for sample in samples]


def picture(number: int, size: int = 16) -> bytes:
    """A PNG of noise that is another for every number."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise_shards(folder: Path, people: int = 12, images: int = 4, per_shard: int = 8) -> Path:
    """Training shards of PNGs of noise, the images of a person side by side; number n is `picture(n)`."""
    files = [
        item
        for n in range(people * images)
        for item in (
            (f"{n:04d}.png", picture(n)),
            (f"{n:04d}.json", json.dumps({"pid": n // images, "camid": n % 2}).encode()),
        )
    ]
    for number, start in enumerate(range(0, len(files), 2 * per_shard)):
        tar(folder / f"train-{number:03d}.tar", files[start : start + 2 * per_shard])
    return folder
