"""The files of an exported network, put where they belong once they are made and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.atomic import write_bytes_atomic
from reidkit.data.check import RECORD
from reidkit.types import beside

if TYPE_CHECKING:
    from pathlib import Path


def put_in_place(made: Path, path: Path, source: Path | None) -> list[Path]:
    """Write a made file as `path`, each of its files whole or not at all; return them.

    Its weights (.bin) and the record of the images that the model `source` was trained on come first, so that it is
    never there without them.

    Raises:
        DataError: a file cannot be written.
    """
    pairs = [(made, path)]
    if made.suffix.lower() == ".xml":
        pairs.insert(0, (made.with_suffix(".bin"), path.with_suffix(".bin")))
    record = None if source is None else beside(source, RECORD)
    if record is not None and record.is_file():
        pairs.insert(0, (record, beside(path, RECORD)))
    for content, place in pairs:
        write_bytes_atomic(place, content.read_bytes())
    return [place for _, place in pairs]
