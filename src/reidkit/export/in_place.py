"""The files of an exported network, put where they belong once they are made and checked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from reidkit.atomic import atomic_write, os_errors_as
from reidkit.data.overlap import RECORD
from reidkit.model_files import beside

if TYPE_CHECKING:
    from pathlib import Path


def put_in_place(made: Path, path: Path, source: Path | None) -> list[Path]:
    """Write a made file as `path`, all of its files or, where the disk is full, none; return them.

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
    # A full disk must not leave one file's old contents beside another's new ones: all are written before the first
    # gets its name. They get their names in the order of `pairs`, as the last one opened is the first one closed.
    with contextlib.ExitStack() as files:
        for content, place in reversed(pairs):
            data = content.read_bytes()
            files.enter_context(os_errors_as(place))
            place.parent.mkdir(parents=True, exist_ok=True)
            file = files.enter_context(atomic_write(place))
            file.write(data)
            file.flush()
    return [place for _, place in pairs]
