"""What galleries of all kinds share: embedding, checks of what is given, and searches by way of `query_search.py`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, cast

import numpy as np

from reidkit.arguments import check_choice
from reidkit.errors import DataError, UsageError
from reidkit.gallery.conflicts import Addition
from reidkit.gallery.filters import EVERYTHING, Filter, check_filter
from reidkit.gallery.person_ids import first_names
from reidkit.gallery.protocol import Added, Info
from reidkit.gallery.query import Hits, Query, check_list, options_of
from reidkit.gallery.query_search import find, no_such_key
from reidkit.gallery.row import camera_name, check_rows, keys_of, rows_of
from reidkit.gallery.target import Target, make_target
from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from numpy.typing import ArrayLike, NDArray

    from reidkit.encoder import Encoder, Image
    from reidkit.gallery.person_ids import Settle
    from reidkit.gallery.protocol import CameraInfo, Contents, OnConflict, Page
    from reidkit.gallery.query import Searching, SearchOptions
    from reidkit.gallery.query_search import View
    from reidkit.gallery.row import Camera, Row, Time, Value
    from reidkit.metrics.calibration_file import Calibration

PAGE = 1000
"""Rows of a page, where nobody says how many."""


class BaseGallery(ABC):
    """A gallery over rows that a kind of its own keeps.

    A kind writes (`_write`, `_remove`), counts and lists rows, and gives a `View` of itself for each search.
    """

    kind: ClassVar[str]
    model: str
    dim: int
    flip: bool
    calibration: Calibration | None
    _encoder: Encoder | None

    @abstractmethod
    def _write(self, given: Addition) -> Added:
        """Add rows, all or none."""

    @abstractmethod
    def _remove(self, matching: Filter, expect: int | None) -> int:
        """Remove the rows that meet a filter, all of them or, where they are not `expect`, none.

        Raises:
            DataError: there are not `expect` rows.
        """

    @abstractmethod
    def _view(self) -> AbstractContextManager[View]:
        """Return the gallery as it is now."""

    @abstractmethod
    def count(self, matching: Filter = EVERYTHING) -> int:
        """Return how many rows meet a filter."""

    @abstractmethod
    def rows(self, matching: Filter = EVERYTHING, *, limit: int = PAGE, cursor: str = "") -> Page:
        """Return the rows that meet a filter: see `Gallery.rows`."""

    @abstractmethod
    def contents(self, rows: Sequence[Row], *, thumbnails: bool = False) -> Contents:
        """Return rows with their features: see `Gallery.contents`."""

    @abstractmethod
    def digests(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what names the contents of rows by key: see `Gallery.digests`."""

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the keys of all rows, in the order of their ids."""

    @abstractmethod
    def thumbnail(self, key: str) -> bytes | None:
        """Return the JPEG that was added with a row; None where there is none."""

    def thumbnails(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the JPEGs that were added with rows: see `Gallery.thumbnails`."""
        return [self.thumbnail(key) for key in keys]

    def person_names(self) -> dict[int, str | None]:
        """Return the name of each id: see `Gallery.person_names`."""
        return first_names(self)

    @abstractmethod
    def close(self) -> None:
        """Let go of files and memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def __iter__(self) -> Iterator[Row]:
        cursor: str | None = ""
        while cursor is not None:
            page = self.rows(cursor=cursor)
            yield from page.rows
            cursor = page.next or None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images, model {self.model or 'not known'}, dim={self.dim})"

    def _info(self, uri: str, uuid: str, cameras: tuple[CameraInfo, ...], created: datetime, **more: Any) -> Info:
        """Return what the gallery at `uri` is, `more` of it with the words of `Info`."""
        if known := self.calibration:
            pairs = len(known.camera_pairs)
            more |= {"calibrated": True, "far": known.settings.far, "threshold": known.threshold(), "pairs": pairs}
        return Info(
            uri=uri,
            kind=self.kind,
            uuid=uuid,
            model=self.model,
            dim=self.dim,
            flip=self.flip,
            rows=sum(camera.rows for camera in cameras),
            cameras=cameras,
            first=min((camera.first for camera in cameras if camera.first), default=None),
            last=max((camera.last for camera in cameras if camera.last), default=None),
            created=created,
            **more,
        )

    def get(self, key: str) -> Row | None:
        """Return the row of a key; None where there is none."""
        try:
            found = self.rows(Filter(keys=[key]), limit=1).rows
        except UsageError:  # no row can have such a key
            return None
        return found[0] if found else None

    def add(  # noqa: PLR0913
        self,
        images: Sequence[Image],
        *,
        keys: Sequence[str] | None = None,
        cameras: Sequence[Camera] | None = None,
        pids: Sequence[int | None] | None = None,
        tracks: Sequence[str | None] | None = None,
        times: Sequence[Time | None] | None = None,
        attributes: Sequence[Mapping[str, Value]] | None = None,
        on_conflict: OnConflict = "raise",
    ) -> Added:
        """Embed and add images: see `Gallery.add`."""
        check_list(images, "images")
        given = {
            "keys": keys_of(images) if keys is None else keys,
            "cameras": cameras,
            "pids": pids,
            "tracks": tracks,
            "times": times,
            "attributes": attributes,
            "images": [os.fspath(image) if isinstance(image, str | os.PathLike) else None for image in images],
        }
        rows = rows_of(len(images), **cast("Any", given))
        return self.add_vectors(self.embed(images), rows, on_conflict=on_conflict)

    def add_vectors(
        self,
        vectors: ArrayLike,
        rows: Sequence[Row],
        *,
        model: str = "",
        thumbnails: Sequence[bytes | None] | None = None,
        on_conflict: OnConflict = "raise",
        settle: Settle | None = None,
    ) -> Added:
        """Add features with their rows: see `Gallery.add_vectors`."""
        check_rows(rows)
        features = self._checked(vectors, model, len(rows))
        shown = [None] * len(rows) if thumbnails is None else thumbnails
        for what, found in (("features", features), ("thumbnails", shown)):
            if len(found) != len(rows):
                raise UsageError(f"there are {len(found)} {what} for {len(rows)} rows: pass one for each")
        check_choice(on_conflict, Literal["raise", "skip", "replace"], "on_conflict")
        return self._write(Addition(features, rows, shown, on_conflict, settle)) if len(rows) else Added()

    def remove(self, keys: Iterable[str], *, missing_ok: bool = False) -> int:
        """Remove rows by key: see `Gallery.remove`."""
        if isinstance(keys, str):
            raise UsageError(f"{keys} is one key: pass a list, [{keys!r}]", argument="keys")
        matching = Filter(keys=list(keys))
        gone = tuple(matching.keys or ())
        if not gone:
            return 0
        try:
            return self._remove(matching, None if missing_ok else len(gone))
        except DataError:
            missing = [key for key in gone if key not in self]
            if not missing:
                raise
        raise no_such_key(missing[0])

    def remove_matching(self, matching: Filter, *, expect: int | None = None, dry_run: bool = False) -> int:
        """Remove the rows that meet a filter: see `Gallery.remove_matching`."""
        if not check_filter(matching):
            raise UsageError("an empty filter would remove everything: say which rows are to go", argument="matching")
        if not dry_run:
            return self._remove(matching, expect)
        count = self.count(matching)
        refuse_other_count(count, expect)
        return count

    def search(
        self, query: Query | Image | Sequence[Image], options: SearchOptions | None = None, **changes: Unpack[Searching]
    ) -> Hits:
        """Find the rows that are most similar to a query: see `Gallery.search`."""
        if not isinstance(query, Query) and isinstance(query, Sequence) and not isinstance(query, str):
            query = Query(images=query)
        return self.search_many([query], options, **changes)[0]

    def search_many(
        self, queries: Sequence[Query | Image], options: SearchOptions | None = None, **changes: Unpack[Searching]
    ) -> list[Hits]:
        """Search for several people in one pass: see `Gallery.search_many`."""
        how = options_of(options, changes)
        check_list(queries, "queries")
        asked = [query if isinstance(query, Query) else Query(images=[query]) for query in queries]
        # All images of all queries go through the model together.
        images = [image for query in asked for image in query.images]
        features = self.embed(images) if images else np.zeros((0, self.dim), np.float32)
        ends = np.cumsum([len(query.images) for query in asked])
        with self._view() as view:
            targets = [
                self._target(view, query, features[end - len(query.images) : end])
                for query, end in zip(asked, ends.tolist(), strict=True)
            ]
            return find(view, targets, how, self.calibration)

    def search_vectors(
        self, vectors: ArrayLike, options: SearchOptions | None = None, *, model: str = "", **changes: Unpack[Searching]
    ) -> list[Hits]:
        """Search for the person of each feature: see `Gallery.search_vectors`."""
        how = options_of(options, changes)
        given = self._checked(vectors, model, None)
        with self._view() as view:
            nothing = given[:0]
            targets = [make_target(one[None], nothing, nothing, "mean") for one in given]
            return find(view, targets, how, self.calibration) if targets else []

    def vectors(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """Return the features of rows: see `Gallery.vectors`."""
        with self._view() as view:
            return view.vectors(view.ids(keys))

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the features float32 [N, D] of images as this gallery compares them.

        Raises:
            DataError: an image cannot be read.
            UsageError: the gallery was opened without a model.
        """
        if self._encoder is None:
            raise UsageError(
                f"images need the model {self.model} to be embedded: open the gallery with it", argument="model"
            )
        return embed(self._ready_encoder, images, flip=self.flip)

    @cached_property
    def _ready_encoder(self) -> Encoder:
        """The model as it was at the first image: a gallery is for features of these weights."""
        from reidkit.encoder import ImageEncoder

        encoder = cast("Encoder", self._encoder)
        return encoder.made_ready() if isinstance(encoder, ImageEncoder) else encoder

    def _target(self, view: View, query: Query, features: NDArray[np.float32]) -> Target:
        """Return a query as it is compared."""
        given: list[NDArray[np.float32]] = [
            features,
            self._checked(query.vectors, query.model, None),
            view.vectors(view.ids(query.keys)),
        ]
        camera = camera_name(query.camera)
        if camera is None and query.keys and len(given[2]) == sum(map(len, given)):
            places = {row.camera for row in view.rows(view.ids(query.keys))}
            camera = places.pop() if len(places) == 1 else None
        return make_target(
            np.concatenate(given),
            view.vectors(view.ids(query.positive)),
            view.vectors(view.ids(query.negative)),
            query.combine,
            camera=camera,
            without=(*query.keys, *query.negative),
            marked=tuple(query.positive),
        )

    def _checked(self, vectors: ArrayLike, model: str, count: int | None) -> NDArray[np.float32]:
        """Return features float32 [N, D] of this gallery's model.

        Raises:
            DataError: they are another model's, of another length, or hold a NaN or an infinity.
        """
        refuse_other_model(model, self.model)
        try:
            with np.errstate(over="ignore"):
                found = np.ascontiguousarray(vectors, np.float32)
        except (TypeError, ValueError):
            raise DataError(f"features are no numbers [N, {self.dim}]: pass an array of floats") from None
        if found.size == 0 and found.ndim < 3 and not count:
            return np.zeros((0, self.dim), np.float32)
        if found.ndim != 2 or found.shape[1] != self.dim:
            raise DataError(f"features {list(found.shape)} are not [N, {self.dim}], as those of this gallery are")
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            raise DataError(f"feature {bad[0]} holds a NaN or an infinity: leave the image out or embed it again")
        return found


def refuse_other_model(model: str, of_gallery: str) -> None:
    """Refuse features of another model than the gallery's, where both are known.

    Raises:
        DataError: they are.
    """
    if model and of_gallery and model != of_gallery:
        raise DataError(
            f"these features are of the model {model}, and the gallery's of {of_gallery}: features of two models "
            "cannot be compared; embed the images with the gallery's",
            argument="model",
        )


def embed(encoder: Encoder, images: Sequence[Image], *, flip: bool) -> NDArray[np.float32]:
    """Return the features float32 [N, D] of images; with `flip` the means with those of their mirror images.

    Raises:
        DataError: an image cannot be read.
    """
    from reidkit.encoder import read_images

    with closing(cast("Any", read_images(images, encoder.input))) as batches:
        parts = [encode(encoder, pixels, flip=flip) for pixels in batches]
    return np.concatenate(parts) if parts else np.zeros((0, encoder.dim), np.float32)


def encode(encoder: Encoder, pixels: NDArray[np.uint8], *, flip: bool) -> NDArray[np.float32]:
    """Return the features float32 [B, D] of pixels [B, H, W, 3]; with `flip` the means with those of mirror images."""
    features = encoder.encode(pixels)
    if not flip:
        return features
    return ((features + encoder.encode(np.ascontiguousarray(pixels[:, :, ::-1]))) / 2).astype(np.float32)


def calibration_of(encoder: Encoder | None) -> Calibration | None:
    """Return the calibration beside a model, if its similarities are the cosines of features that it encodes.

    Those of the feature before the neck are not.
    """
    known: Calibration | None = getattr(encoder, "calibration", None)
    usable = known and known.settings.metric == "cosine" and known.feature in ("f_i", "after")
    return known if usable else None


def refuse_other_count(count: int, expect: int | None) -> None:
    """Refuse to remove other than so many rows.

    Raises:
        DataError: there are more or fewer.
    """
    if expect is not None and count != expect:
        raise DataError(
            f"the filter fits {counted(count, 'row')}, and not {expect}: none is removed", argument="expect"
        )
