"""What a gallery does: images of people by their keys, searched for the person of another image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias, Unpack

from reidkit.gallery.filters import EVERYTHING
from reidkit.gallery.query import Hit, Hits, Query, SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from reidkit.encoder import Image
    from reidkit.gallery.filters import Filter
    from reidkit.gallery.person_ids import Settle
    from reidkit.gallery.query import Searching
    from reidkit.gallery.row import Camera, Row, Time, Value
    from reidkit.metrics.calibration_file import Calibration

__all__ = [
    "Added",
    "CameraInfo",
    "Changes",
    "Check",
    "Contents",
    "Gallery",
    "Hit",
    "Hits",
    "Info",
    "OnConflict",
    "Page",
    "Query",
    "SearchOptions",
    "Status",
]

OnConflict: TypeAlias = Literal["raise", "skip", "replace"]
"""What becomes of a row whose key is in the gallery with other contents."""

Status: TypeAlias = Literal["added", "replaced", "unchanged", "conflict"]
"""What became of a row that was to be added."""


@dataclass(frozen=True)
class Added:
    """What became of rows that were to be added: the key and the status of each, in their order."""

    keys: tuple[str, ...] = ()
    status: tuple[Status, ...] = ()

    def count(self, status: Status) -> int:
        """Return how many have this status."""
        return self.status.count(status)


@dataclass(frozen=True)
class Page:
    """Rows of a gallery in the order of their ids; `next` is the cursor of the next page, "" on the last one."""

    rows: tuple[Row, ...]
    next: str = ""


class Contents(NamedTuple):
    """Rows with their features float32 [N, D], and the JPEGs that were added with them (none where not asked for)."""

    rows: list[Row]
    vectors: NDArray[np.float32]
    thumbnails: list[bytes | None]


@dataclass(frozen=True)
class Changes:
    """What has changed in a gallery: rows that were added, ids of rows that are gone, and the position after them.

    A row that was replaced is gone under its old id, and added under a new one.
    """

    added: tuple[Row, ...]
    removed: tuple[int, ...]
    position: str


@dataclass(frozen=True, kw_only=True)
class CameraInfo:
    """A camera of a gallery: its name (None: not known), how many rows it has, and their first and last time."""

    name: str | None
    rows: int
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a gallery is.

    Attributes:
        uri: Where it is.
        kind: `memory`, `local` (a SQLite file) or `milvus`.
        uuid: Given when it was made.
        model: The fingerprint of the model whose features it holds; "" where that is not known.
        dim: The length of a feature.
        flip: Whether features are means over an image and its mirror image.
        rows: How many images.
        cameras: The cameras, by name.
        first: The earliest time; `last` the latest.
        created: When it was made.
        exact: Whether a search misses nothing.
        calibrated: Whether hits carry probabilities; at which `far`, with which `threshold`, for how many `pairs`.
        bytes: The size of its file.
        memory: Bytes of memory that searching takes.
    """

    uri: str
    kind: str
    uuid: str
    model: str
    dim: int
    flip: bool
    rows: int
    cameras: tuple[CameraInfo, ...]
    first: datetime | None
    last: datetime | None
    created: datetime
    exact: bool = True
    calibrated: bool = False
    far: float | None = None
    threshold: float | None = None
    pairs: int = 0
    bytes: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Check:
    """What a check of a gallery has found: rows that were looked at, and a sentence for each problem."""

    rows: int
    problems: tuple[str, ...] = ()


class Gallery(Protocol):
    """Images of people by their keys, and the search for those that are most similar to another one.

    It may be used by several threads at once. What has been added is there, and what was removed is gone, when the call
    returns; a search sees all changes that were made before it began, whichever process made them (in Milvus, unless
    its address asks for less). A gallery is closed at the end of a `with` block.
    """

    model: str
    dim: int
    calibration: Calibration | None

    def add(  # noqa: PLR0913 (one for each column)
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
        """Embed and add images, all of them or, where one is refused, none.

        Adding the same images again changes nothing.

        Args:
            images: Paths, images of Pillow or RGB pixels uint8 [H, W, 3].
            keys: What each is called; None: the paths, as text.
            cameras: The camera of each, by name or number; -1 or None: not known.
            pids: The id of each; -1 or None: not known.
            tracks: The track of each.
            times: When each was taken: times, seconds since 1970, or text of ISO 8601.
            attributes: Names and values to filter by, of each.
            on_conflict: Of a key that is in the gallery with another image or other columns, `raise` an error and add
                nothing, `skip` that row, or `replace` what is there.

        Raises:
            DataError: an image cannot be read, or a key is in the gallery with other contents.
            UsageError: images without a path need keys; other numbers of columns than of images; the gallery was opened
                without a model.
        """

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
        """Add features [N, D] with their rows, all of them or, where one is refused, none.

        Of equal keys among `rows` the last one counts where `on_conflict` is `replace`; else they are a conflict unless
        they are equal throughout. `model` is the fingerprint of the model that made the features, compared with that of
        the gallery; "": the caller knows. `thumbnails` are JPEGs to be shown. `settle` is called with the rows and
        `person_names()`, to which the numbers that joining proposes are added, while nobody else writes (in Milvus they
        may), and returns the rows as they are to be added.

        Raises:
            DataError: features of another length or model, with NaN or infinity; a key that is there with other
                contents.
            UsageError: other numbers of rows or thumbnails than of features.
        """

    def remove(self, keys: Iterable[str], *, missing_ok: bool = False) -> int:
        """Remove rows by key, all of them or, where one is not in the gallery, none; how many.

        Raises:
            DataError: a key is not in the gallery, unless `missing_ok`.
        """

    def remove_matching(self, matching: Filter, *, expect: int | None = None, dry_run: bool = False) -> int:
        """Remove the rows that meet a filter; how many. With `dry_run` they are only counted.

        Raises:
            UsageError: an empty filter, which would remove everything.
            DataError: other than `expect` rows meet it: none is removed.
        """

    def search(
        self, query: Query | Image | Sequence[Image], options: SearchOptions | None = None, **changes: Unpack[Searching]
    ) -> Hits:
        """Find the rows that are most similar to a query, most similar first; equal ones in the order of their ids.

        Args:
            query: An image, several of one person, or a `Query`.
            options: How to search.
            **changes: Single fields of `SearchOptions`, and `cameras=[...]`.

        Raises:
            DataError: an image cannot be read, a key is not in the gallery, features are of another length or model, a
                feature is zero.
            UsageError: options that make no sense, or images where the gallery was opened without a model.
        """

    def search_many(
        self, queries: Sequence[Query | Image], options: SearchOptions | None = None, **changes: Unpack[Searching]
    ) -> list[Hits]:
        """Search for several people in one pass, which takes less time than one after the other; the hits of each."""

    def search_vectors(
        self, vectors: ArrayLike, options: SearchOptions | None = None, *, model: str = "", **changes: Unpack[Searching]
    ) -> list[Hits]:
        """Search for the person of each feature [Q, D]; the hits of each."""

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the features float32 [N, D] of images as this gallery compares them."""

    def get(self, key: str) -> Row | None:
        """Return the row of a key; None where there is none."""

    def vectors(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """Return the features float32 [N, D] of rows.

        Raises:
            DataError: a key is not in the gallery.
        """

    def thumbnail(self, key: str) -> bytes | None:
        """Return the JPEG that was added with a row; None where there is none."""

    def thumbnails(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the JPEGs that were added with rows; None for those without one."""

    def rows(self, matching: Filter = EVERYTHING, *, limit: int = 1000, cursor: str = "") -> Page:
        """Return the rows that meet a filter, in the order of their ids, `limit` at a time.

        Raises:
            UsageError: a limit below 1, or a cursor that is none.
        """

    def contents(self, rows: Sequence[Row], *, thumbnails: bool = False) -> Contents:
        """Return those of some rows that are still as they were read, with their features.

        What was removed or replaced since is left out: by its key, the feature of another image would be found.
        """

    def digests(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what names the contents of rows, columns and feature, by key; of those that are there.

        Rows of two galleries with one digest are the same, but for thumbnails.
        """

    def count(self, matching: Filter = EVERYTHING) -> int:
        """Return how many rows meet a filter."""

    def keys(self) -> list[str]:
        """Return the keys of all rows, in the order of their ids."""

    def person_names(self) -> dict[int, str | None]:
        """Return the name of each id: the attribute `person` of its first row; None where that is no text."""

    def info(self) -> Info:
        """Return what the gallery is."""

    def check(self) -> Check:
        """Read everything and compare it with what was written."""

    def compact(self) -> None:
        """Give back to the disk what removed rows have left free."""

    def changes(self, position: str = "") -> Changes:
        """Return what has changed since a position, which an earlier call returned; "": since the beginning.

        Raises:
            DataError: a position from which changes are no longer kept, or of another gallery: begin again with "".
        """

    def close(self) -> None:
        """Let go of files and memory. Closing twice does nothing."""

    def __enter__(self) -> Gallery: ...

    def __exit__(self, *error: object) -> None: ...

    def __len__(self) -> int: ...

    def __contains__(self, key: object) -> bool: ...

    def __iter__(self) -> Iterator[Row]: ...
