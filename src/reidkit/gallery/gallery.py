"""What a gallery does: images of people by their keys, searched for the person of another image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, overload

from reidkit.errors import UsageError
from reidkit.gallery.filters import Filter
from reidkit.gallery.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from reidkit.encoder import Image
    from reidkit.gallery.rows import Camera, Time, Value
    from reidkit.metrics.calibration_file import Calibration

OnConflict: TypeAlias = Literal["raise", "skip", "replace"]
"""What becomes of a row whose key is in the gallery with other contents."""

Status: TypeAlias = Literal["added", "replaced", "unchanged", "conflict"]
"""What became of a row that was to be added."""

GroupBy: TypeAlias = Literal["person", "track", "camera"]

EVERYTHING = Filter()


@dataclass(frozen=True)
class Hit(Row):
    """A row of a gallery that was found.

    Attributes:
        similarity: The cosine of its feature and that of the query; of several images, the mean of their cosines.
        probability: That both show one person; None where nothing is calibrated.
        same: Whether the similarity reaches `threshold`; None where nothing is calibrated.
        threshold: That of the two cameras, or of all.
        calibration: Whether probability and threshold are of this pair of cameras or of all pairs.
        rank: Its place, from 1 up, over all pages.
        marked: Whether the query names it as a true match (`positive`).
    """

    _: KW_ONLY
    similarity: float = 0.0
    probability: float | None = None
    same: bool | None = None
    threshold: float | None = None
    calibration: Literal["pair", "all"] | None = None
    rank: int = 0
    marked: bool = False


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """The hits of one search, most similar first, and what was searched.

    Attributes:
        hits: The hits.
        searched: Rows in the gallery.
        passed: Rows that passed the filter.
        candidates: Rows whose similarity was computed in double precision.
        exact: Whether nothing can have been missed.
        threshold: The general threshold, and `far` its false accept rate; None where nothing is calibrated.
        next: The cursor of the next page; "" where this is the last one.
    """

    hits: tuple[Hit, ...]
    _: KW_ONLY
    searched: int = 0
    passed: int = 0
    candidates: int = 0
    exact: bool = True
    threshold: float | None = None
    far: float | None = None
    next: str = ""

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, kw_only=True)
class Query:
    """Who is searched for: images, features [N, D] and rows of the gallery, all of them of one person.

    Attributes:
        images: Paths, images of Pillow or RGB pixels uint8 [H, W, 3].
        vectors: Features of the gallery's model [N, D].
        keys: Rows of the gallery, which are not among the hits.
        combine: Several are compared by the mean of their cosines, or by the largest (`best`).
        positive: Rows that were marked as true matches; the query moves towards them.
        negative: Rows that were marked as false matches; it moves away, and they are not among the hits.
        camera: Where the images were taken; of keys it is known.
        model: The fingerprint of the model that made `vectors`, to be compared with the gallery's; "": not known.

    With feedback the query is q + 0.75 mean(positive) - 0.25 mean(negative) over features of length one, scaled to the
    length of q, so that similarities stay comparable (Rocchio 1971).
    """

    images: Sequence[Image] = ()
    vectors: ArrayLike = ()
    keys: Sequence[str] = ()
    combine: Literal["mean", "best"] = "mean"
    positive: Sequence[str] = ()
    negative: Sequence[str] = ()
    camera: Camera = None
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a gallery is searched.

    Attributes:
        top: Hits, or groups of hits, of a page.
        offset: So many are passed over first.
        cursor: `Hits.next` of the page before: unlike an offset it stays true while rows are added and removed.
        filter: What is searched among.
        other_cameras: Leave out the query's own camera.
        radius: The least similarity; "calibrated": the threshold of the calibration, by pair of cameras.
        group_by: Show the best of each person, track or camera; rows without one stand alone.
        group_size: Hits of each group, at most.
        rerank: Put the nearest `candidates` into k-reciprocal order.
        expand: Search again with the query moved towards so many nearest hits (alpha query expansion); 0: do not.
        candidates: How many are re-ranked.

    Raises:
        UsageError: a value that makes no sense.
    """

    top: int = 10
    offset: int = 0
    cursor: str = ""
    filter: Filter = EVERYTHING
    other_cameras: bool = False
    radius: float | Literal["calibrated"] | None = None
    group_by: GroupBy | None = None
    group_size: int = 1
    rerank: bool = False
    expand: int = 0
    candidates: int = 100

    def __post_init__(self) -> None:
        for name, least in (("top", 1), ("offset", 0), ("group_size", 1), ("expand", 0), ("candidates", 2)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise UsageError(
                    f"{name}={getattr(self, name)!r} makes no search: pass {name}={least} or more", argument=name
                )
        if self.group_by not in (None, "person", "track", "camera"):
            raise UsageError(f"no groups by {self.group_by}: choose person, track or camera", argument="group_by")
        if not isinstance(self.radius, float | int | None) and self.radius != "calibrated":
            raise UsageError(
                f"radius={self.radius!r} is no similarity: pass a number or 'calibrated'", argument="radius"
            )
        if self.cursor and self.offset:
            raise UsageError("a cursor says where to go on, and so does an offset: pass one of them", argument="cursor")

    def but(self, **changes: Any) -> SearchOptions:
        """Return these options with some changed; `cameras=[...]` is short for a filter of cameras.

        Raises:
            UsageError: there is no such option, or its value makes no sense.
        """
        cameras = changes.pop("cameras", None)
        unknown = sorted(set(changes) - set(self.__dataclass_fields__))
        if unknown:
            raise UsageError(
                f"a search has no option {unknown[0]}: choose cameras, {', '.join(self.__dataclass_fields__)}",
                argument=unknown[0],
            )
        made = replace(self, **changes)
        return made if cameras is None else replace(made, filter=replace(made.filter, cameras=list(cameras)))


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
    returns; a search sees all changes that were made before it began, whichever process made them. A gallery is closed
    at the end of a `with` block.
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
    ) -> Added:
        """Add features [N, D] with their rows, all of them or, where one is refused, none.

        Of equal keys among `rows` the last one counts where `on_conflict` is `replace`; else they are a conflict unless
        they are equal throughout. `model` is the fingerprint of the model that made the features, compared with that of
        the gallery; "": the caller knows. `thumbnails` are JPEGs to be shown.

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
        self, query: Query | Image | Sequence[Image], options: SearchOptions | None = None, **changes: Any
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
        self, queries: Sequence[Query | Image], options: SearchOptions | None = None, **changes: Any
    ) -> list[Hits]:
        """Search for several people in one pass, which takes less time than one after the other; the hits of each."""

    def search_vectors(
        self, vectors: ArrayLike, options: SearchOptions | None = None, *, model: str = "", **changes: Any
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

    def rows(self, matching: Filter = EVERYTHING, *, limit: int = 1000, cursor: str = "") -> Page:
        """Return the rows that meet a filter, in the order of their ids, `limit` at a time.

        Raises:
            UsageError: a limit below 1, or a cursor that is none.
        """

    def count(self, matching: Filter = EVERYTHING) -> int:
        """Return how many rows meet a filter."""

    def keys(self) -> list[str]:
        """Return the keys of all rows, in the order of their ids."""

    def info(self) -> Info:
        """Return what the gallery is."""

    def check(self) -> Check:
        """Read everything and compare it with what was written."""

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
