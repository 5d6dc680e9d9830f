"""From the string of an image, as features and reports keep it, back to the image."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from reidkit.data.shards import parquet, webdataset
from reidkit.errors import DataError

if TYPE_CHECKING:
    from reidkit.data.shards.samples import Member, ShardSamples
    from reidkit.types import ImageFile

_MEMBER = re.compile(r"(?P<folder>.*?)(?P<shard>[^/:]*\.(?P<kind>tar|parquet)):(?P<key>.+)", re.DOTALL)
_READERS = {"tar": webdataset.read, "parquet": parquet.read}


def image_file(text: str) -> ImageFile:
    """The image that `text` names: `shard.tar:KEY.jpg`, where there is such a shard with such an image, or a file."""
    path, match = Path(text), _MEMBER.fullmatch(text)
    if not match or path.is_file():
        return path
    try:
        return _members(match["kind"], match["folder"] or ".", match["shard"]).get(match["key"], path)
    except (DataError, OSError):
        return path


@lru_cache(maxsize=16)
def _members(kind: str, folder: str, shard: str) -> dict[str, Member]:
    """The images of one shard by their names. The name of a shard ends at its first .tar: or .parquet: in a string."""
    samples = _all(kind, folder)
    number = next((n for n, one in enumerate(samples.shards) if PurePosixPath(str(one)).name == shard), -1)
    members = samples.members(np.flatnonzero(samples.rows["shard"] == number))
    return {member.key: member for member in members}


@lru_cache(maxsize=2)
def _all(kind: str, folder: str) -> ShardSamples:
    return _READERS[kind](Path(folder))
