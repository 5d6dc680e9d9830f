"""Galleries: images of people by key, with camera, time and attributes, searched for the person of another image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.arguments import check_path
from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.lazy import import_when_asked

if TYPE_CHECKING:
    from reidkit.encoder import Encoder
    from reidkit.gallery.filters import Filter
    from reidkit.gallery.local import LocalGallery
    from reidkit.gallery.milvus import MilvusGallery
    from reidkit.gallery.protocol import Added, Gallery, Info, Page
    from reidkit.gallery.query import Hit, Hits, Query, SearchOptions
    from reidkit.gallery.row import Row

__all__ = [
    "Added",
    "Filter",
    "Gallery",
    "Hit",
    "Hits",
    "Info",
    "Page",
    "Query",
    "Row",
    "SearchOptions",
    "create_gallery",
    "open_gallery",
]

_NAMES = {
    "reidkit.gallery.filters": ("Filter",),
    "reidkit.gallery.protocol": ("Added", "Gallery", "Info", "Page"),
    "reidkit.gallery.query": ("Hit", "Hits", "Query", "SearchOptions"),
    "reidkit.gallery.row": ("Row",),
}


def open_gallery(uri: str | os.PathLike[str], model: Encoder | None = None) -> Gallery:
    """Open the gallery at `uri`, whose features are those of `model`; where there is none, make one in its folder.

    Args:
        uri: A file, as `people.db`, or a collection of a Milvus server, as `milvus://host:19530/people`; `memory` is an
            empty gallery that ends with the program.
        model: What embeds images. Without one, the gallery must be there, and only features can be added and searched
            for.

    Raises:
        DataError: no gallery, a damaged one, or one of another model.
        GalleryError: a server that does not answer.
        MissingFileError: nor a folder to make one in.
        UsageError: an address of another kind; no model.
    """
    place = _place(uri)
    if model is not None and not hasattr(model, "fingerprint"):
        raise UsageError(f"the model is a {type(model).__name__}: pass what load_model returns", argument="model")
    if place == "memory":
        from reidkit.gallery.memory import MemoryGallery

        if model is None:
            raise UsageError("a gallery in memory is empty, and needs a model to be filled: pass one", argument="model")
        return MemoryGallery(model)
    kind = _kind_of(place)
    if model is not None and not _is_there(place):
        _refuse_missing_folder(place)
        try:
            return kind.create(place, model)
        except DataError:
            if not _is_there(place):  # and not made by another process meanwhile
                raise
    return kind(place, model)


def create_gallery(
    uri: str | os.PathLike[str], model: Encoder | None = None, *, fingerprint: str = "", dim: int = 0
) -> Gallery:
    """Make an empty gallery at `uri`, and open it; folders above it that are missing are made, too.

    Args:
        uri: As for `open_gallery`.
        model: What embeds images. Without one, `fingerprint` and `dim` say which features the gallery is for.
        fingerprint: The fingerprint of the model of these features; "": not known.
        dim: Their length.

    Raises:
        DataError: it is there, or cannot be made.
        UsageError: no length of features, or an address of another kind.
    """
    place = _place(uri)
    if place == "memory":
        return open_gallery(place, model)
    return _kind_of(place).create(place, model, fingerprint=fingerprint, dim=dim)


def _place(uri: str | os.PathLike[str]) -> str:
    """Return an address as text.

    Raises:
        UsageError: it is none.
    """
    check_path(uri, "a file, as people.db, an address, as milvus://host:19530/people, or memory", "uri")
    return os.fspath(uri)


def _kind_of(place: str) -> type[LocalGallery] | type[MilvusGallery]:
    """Return the class of the gallery at an address.

    Raises:
        UsageError: there is none for it.
    """
    if place.startswith("milvus://"):
        from reidkit.gallery.milvus import MilvusGallery

        return MilvusGallery
    if "://" in place:
        from reidkit.gallery.milvus_address import shown

        raise UsageError(
            f"there are no galleries at {shown(place)}: name a file, as people.db, a collection, as "
            "milvus://host:19530/people, or memory",
            argument="uri",
        )
    from reidkit.gallery.local import LocalGallery

    return LocalGallery


def _refuse_missing_folder(place: str) -> None:
    """Refuse to make a gallery in a folder that is not there: its name is more likely to be mistyped.

    Raises:
        MissingFileError: it is not.
    """
    if not place.startswith("milvus://") and not Path(place).parent.exists():
        raise MissingFileError(
            f"{place} is not there, nor is its folder: correct the name, or make both by `reidkit gallery create` "
            "or reidkit.gallery.create_gallery",
            argument="uri",
        )


def _is_there(place: str) -> bool:
    if not place.startswith("milvus://"):
        return os.path.lexists(place)
    from reidkit.gallery.milvus import is_there

    return is_there(place)


__getattr__ = import_when_asked(__name__, _NAMES)
