"""Galleries: images of known people that are searched for the person of another image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reidkit.errors import UsageError
from reidkit.gallery.gallery import Gallery, Hit

if TYPE_CHECKING:
    from reidkit.encoder import Encoder

__all__ = ["Gallery", "Hit", "open_gallery"]


def open_gallery(uri: str | os.PathLike[str], model: Encoder) -> Gallery:
    """Open the gallery at `uri`, whose features are those of `model`.

    `memory` is an empty one, which ends with the program. There is no other kind yet.

    Raises:
        UsageError: any other address.
    """
    from reidkit.gallery.memory import MemoryGallery

    if os.fspath(uri) == "memory":
        return MemoryGallery(model)
    raise UsageError(
        f"galleries in files and clusters are not there yet, {os.fspath(uri)} neither: open 'memory', which ends with "
        "the program"
    )
