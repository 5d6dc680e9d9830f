"""A gallery in memory, searched exactly: what every other gallery is compared with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from reidkit.encoder import Model, read_images
from reidkit.errors import DataError, UsageError
from reidkit.gallery.gallery import Hit
from reidkit.metrics.ranking import Ranking, rank
from reidkit.types import NO_CAMERA, Embeddings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from reidkit.encoder import Encoder, Image
    from reidkit.metrics.calibration_file import Calibration


class MemoryGallery:
    """Features float32 [N, D] in memory; every search compares with all of them, in the order of double precision."""

    def __init__(self, model: Encoder) -> None:
        self._model = model
        self._calibration = _calibration_of(model)
        self._rows: dict[str, int] = {}  # the row of each key, rising
        self._vectors = np.zeros((0, model.dim), np.float32)
        self._cameras = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __repr__(self) -> str:
        return f"MemoryGallery({len(self)} images, {self._model!r})"

    def keys(self) -> list[str]:
        """Return the keys of all images, in the order in which they were added."""
        return list(self._rows)

    def add(
        self, images: Sequence[Image], *, keys: Sequence[str] | None = None, cameras: Sequence[int] | None = None
    ) -> list[str]:
        """Add images: see `Gallery.add`."""
        names = _keys_of(images) if keys is None else list(keys)
        where = [NO_CAMERA] * len(images) if cameras is None else list(cameras)
        for what, given in (("keys", names), ("cameras", where)):
            if len(given) != len(images):
                raise UsageError(f"there are {len(given)} {what} for {len(images)} images: pass one for each")
        twice = next((name for at, name in enumerate(names) if name in self or name in names[:at]), None)
        if twice is not None:
            raise DataError(f"{twice} is in the gallery already: remove it first, or pass another key", argument="keys")
        vectors = self._embed(images)
        self._rows |= {name: len(self._vectors) + at for at, name in enumerate(names)}
        self._vectors = np.concatenate([self._vectors, vectors])
        self._cameras = np.concatenate([self._cameras, np.array(where, np.int64)])
        return names

    def remove(self, keys: Iterable[str]) -> None:
        """Remove images: see `Gallery.remove`."""
        gone = list(keys)
        for key in gone:
            if key not in self:
                raise DataError(f"{key} is not in the gallery: its keys are those that add() returned")
        kept = {key: row for key, row in self._rows.items() if key not in set(gone)}
        rows = np.fromiter(kept.values(), np.int64, len(kept))
        self._vectors, self._cameras = self._vectors[rows], self._cameras[rows]
        self._rows = {key: row for row, key in enumerate(kept)}

    def search(self, image: Image, *, top: int = 10, cameras: Iterable[int] | None = None) -> list[Hit]:
        """Find the images that are most similar to `image`: see `Gallery.search`."""
        return self.search_vectors(self._embed([image]), top=top, cameras=cameras)[0]

    def search_vectors(
        self, vectors: ArrayLike, *, top: int = 10, cameras: Iterable[int] | None = None
    ) -> list[list[Hit]]:
        """Find the images that are most similar to features [Q, D]: see `Gallery.search_vectors`."""
        wanted = np.asarray(vectors, np.float32)
        if wanted.ndim != 2 or wanted.shape[1] != self._model.dim:
            raise DataError(f"features {list(wanted.shape)} are not [Q, {self._model.dim}], as those of this model are")
        if top < 1:
            raise UsageError(f"the first {top} hits are none: pass top=1 or more", argument="top")
        chosen = np.arange(len(self)) if cameras is None else np.flatnonzero(np.isin(self._cameras, list(cameras)))
        if not len(chosen):
            return [[] for _ in wanted]
        # Nobody's id is known here: to the ranking all queries show one person and all images another, so that it
        # leaves nothing out, and ties are in the order of the rows.
        query = Embeddings(wanted, np.zeros(len(wanted), np.int64), np.full(len(wanted), NO_CAMERA))
        images = Embeddings(self._vectors[chosen], np.ones(len(chosen), np.int64), np.full(len(chosen), NO_CAMERA))
        names = self.keys()
        found = rank(query, images, range(len(wanted)), top, cameras="any")
        return [self._hits(ranking, chosen, names) for ranking in found]

    def _hits(self, ranking: Ranking, chosen: NDArray[np.int64], names: list[str]) -> list[Hit]:
        similarities = 1 - ranking.distances  # the cosine distance is 1 - cos
        known = self._calibration
        chances = known.same_person(similarities).tolist() if known else [None] * len(similarities)
        rows = chosen[ranking.indices].tolist()
        places = [None if self._cameras[row] == NO_CAMERA else int(self._cameras[row]) for row in rows]
        return [
            Hit(names[row], similarity, chance, place)
            for row, similarity, chance, place in zip(rows, similarities.tolist(), chances, places, strict=True)
        ]

    def _embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Features float32 [N, D], made as those of the calibration, where there is one."""
        known = self._calibration
        if isinstance(self._model, Model):
            return self._model.embed(images, feature=known.feature if known else "f_i", flip=bool(known and known.flip))
        parts = [self._model.encode(pixels) for pixels in read_images(images, self._model.input)]
        return np.concatenate(parts) if parts else np.zeros((0, self._model.dim), np.float32)


def _calibration_of(model: Encoder) -> Calibration | None:
    """Return the calibration beside a model, if its similarities are cosines."""
    known = model.calibration if isinstance(model, Model) else None
    return known if known and known.settings.metric == "cosine" else None


def _keys_of(images: Sequence[Image]) -> list[str]:
    """Return the paths of images, as text.

    Raises:
        UsageError: one has none.
    """
    keys = []
    for index, image in enumerate(images):
        if not isinstance(image, str | os.PathLike):
            raise UsageError(f"image {index} has no path to be its key: pass keys", argument="keys")
        keys.append(os.fspath(image))
    return keys
