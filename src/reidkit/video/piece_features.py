"""Features of pieces: the mean of the unit features of their crops; and their rows in a gallery."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from reidkit.gallery.filters import Filter
from reidkit.gallery.thumbnail import small_jpeg
from reidkit.video.piece import crop_name, gallery_row, pieces_of_video

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.encoder import ImageEncoder
    from reidkit.gallery import Gallery
    from reidkit.video.piece import Piece
    from reidkit.video.piece_maker import Made
    from reidkit.video.record import Record

TOGETHER = 32
"""Crops that are waited for before they are embedded together."""

PAGE = 500


class PieceEmbedder:
    """Embeds the crops of pieces, those of several pieces together.

    Args:
        model: What embeds them; None: pieces stay without features.
        flip: Take the mean of the features of each crop and of its mirror image.
        together: Crops that are waited for before they are embedded.
    """

    def __init__(self, model: ImageEncoder | None, *, flip: bool = False, together: int = TOGETHER) -> None:
        self._model, self._flip, self._together = model and model.made_ready(), flip, together
        self._waiting: list[Made] = []

    def add(self, made: Sequence[Made]) -> list[Made]:
        """Take pieces; those that are ready, which may be earlier ones, with their features."""
        self._waiting += made
        enough = self._model is None or sum(len(each.crops) for each in self._waiting) >= self._together
        return self.finish() if enough else []

    def finish(self) -> list[Made]:
        """Return all that were waited for."""
        waiting, self._waiting = self._waiting, []
        crops = [crop for each in waiting for crop in each.crops]
        if self._model is None or not crops:
            return waiting
        features = self._model.embed(crops, flip=self._flip)
        ends = np.cumsum([len(each.crops) for each in waiting])
        return [
            each._replace(piece=replace(each.piece, feature=mean_feature(features[end - len(each.crops) : end])))
            for each, end in zip(waiting, ends.tolist(), strict=True)
        ]


def mean_feature(features: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the mean of features [N, D], each made of length 1, itself of length 1; None where there is none."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    good = lengths[:, 0] > 0
    mean = (features[good] / lengths[good]).sum(axis=0) if good.any() else np.zeros(features.shape[1])
    length = float(np.linalg.norm(mean))
    return (mean / length).astype(np.float32) if length > 0 else None


class GalleryPieces:
    """The pieces of one video in a gallery, a row each; adding the same ones again changes nothing.

    Args:
        gallery: Where they go.
        source: The digest of the video, which tells it from others of its name.
        pictures: Store a small picture of the best crop with each row.
    """

    def __init__(self, gallery: Gallery, source: str, *, pictures: bool) -> None:
        self._gallery, self._source, self._pictures = gallery, source, pictures
        self._keys: list[str] = []

    def add(self, made: Sequence[Made]) -> None:
        """Add pieces; those without a feature are passed over."""
        good = [each for each in made if each.piece.feature is not None]
        features = [each.piece.feature for each in made if each.piece.feature is not None]
        if not good:
            return
        rows = [gallery_row(each.piece, source=self._source, with_image=self._pictures) for each in good]
        self._gallery.add_vectors(
            np.stack(features),
            rows,
            model=self._gallery.model,
            thumbnails=[_thumbnail(each.crops[0]) if self._pictures and each.crops else None for each in good],
            on_conflict="replace",
        )
        self._keys += [row.key for row in rows]

    def finish(self) -> None:
        """Remove what an earlier run with other settings has left of this video."""
        there = Filter(attributes={"source": self._source})
        if self._gallery.count(there) > len(self._keys):
            self._gallery.remove_matching(replace(there, not_keys=tuple(self._keys)))


def add_from_folder(gallery: Gallery, place: Path, record: Record) -> None:
    """Add the pieces of a finished video from its folder to a gallery."""
    from reidkit.data.decode import decode
    from reidkit.video.piece_maker import Made

    keep = record.settings.keep == "crops"
    sink = GalleryPieces(gallery, record.source.digest, pictures=keep)
    for some in _some(pieces_of_video(place, record)):
        made = []
        for piece in some:
            path = place / crop_name(piece.track, int(piece.frames[piece.best[0]])) if piece.best else None
            made.append(Made(piece, [decode(path)] if keep and path and path.is_file() else []))
        sink.add(made)
    sink.finish()


def is_of_another_video(gallery: Gallery, name: str, digest: str) -> bool:
    """Return whether a gallery holds pieces of another video that is called the same."""
    found = gallery.rows(Filter(attributes={"video": name}), limit=1).rows
    return bool(found) and found[0].attributes.get("source", digest) != digest


def _some(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    waiting: list[Piece] = []
    for piece in pieces:
        waiting.append(piece)
        if len(waiting) >= PAGE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    return small_jpeg(Image.fromarray(pixels))
