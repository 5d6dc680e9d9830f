"""A file of a report is written whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.whole import said, whole

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and rename it into place, so that a reader never sees half a file.

    Raises:
        DataError: the folder cannot be made or written to.
    """
    with said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write(content)
