"""Who is searched for and how, and what is found."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, overload

from reidkit.errors import UsageError
from reidkit.gallery.filters import EVERYTHING, Filter
from reidkit.gallery.row import Row
from reidkit.types import Dataset, Sample

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import ArrayLike

    from reidkit.encoder import Image
    from reidkit.gallery.row import Camera

GroupBy: TypeAlias = Literal["person", "track", "camera"]


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

    Raises:
        UsageError: one image or key where a list is needed.
    """

    images: Sequence[Image] = ()
    vectors: ArrayLike = ()
    keys: Sequence[str] = ()
    combine: Literal["mean", "best"] = "mean"
    positive: Sequence[str] = ()
    negative: Sequence[str] = ()
    camera: Camera = None
    model: str = ""

    def __post_init__(self) -> None:
        for name in ("images", "keys", "positive", "negative"):
            if isinstance(getattr(self, name), str | os.PathLike):
                raise UsageError(f"{name}={getattr(self, name)!r} is one: pass a list, [...]", argument=name)


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a gallery is searched.

    Attributes:
        top: Hits, or groups of hits, of a page.
        offset: So many hits, or groups, are passed over first.
        cursor: `Hits.next` of the page before, for the same query and options: unlike an offset it stays true while
            rows are added and removed, but not with groups or re-ranking, where it is an offset.
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
            if not isinstance(getattr(self, name), Integral) or getattr(self, name) < least:
                raise UsageError(
                    f"{name}={getattr(self, name)!r} makes no search: pass {name}={least} or more", argument=name
                )
            object.__setattr__(self, name, int(getattr(self, name)))
        if self.group_by not in (None, "person", "track", "camera"):
            raise UsageError(f"no groups by {self.group_by}: choose person, track or camera", argument="group_by")
        if not isinstance(self.radius, float | int | None) and self.radius != "calibrated":
            raise UsageError(
                f"radius={self.radius!r} is no similarity: pass a number or 'calibrated'", argument="radius"
            )
        if self.cursor and self.offset:
            raise UsageError("a cursor says where to go on, and so does an offset: pass one of them", argument="offset")

    def but(self, **changes: Unpack[Searching]) -> SearchOptions:
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
        given: Any = changes
        made = replace(self, **given)
        return made if cameras is None else replace(made, filter=replace(made.filter, cameras=cameras))


class Searching(TypedDict, total=False):
    """The fields of `SearchOptions` by name, and `cameras`, which is short for a filter of cameras."""

    top: int
    offset: int
    cursor: str
    filter: Filter
    other_cameras: bool
    radius: float | Literal["calibrated"] | None
    group_by: GroupBy | None
    group_size: int
    rerank: bool
    expand: int
    candidates: int
    cameras: Collection[str | int] | None


def options_of(options: SearchOptions | None, changes: Searching) -> SearchOptions:
    """Return the options of a search, with some changed.

    Raises:
        UsageError: they are something else, or as `SearchOptions.but`.
    """
    if not isinstance(options, SearchOptions | None):
        raise UsageError(
            f"options are a {type(options).__name__}: pass SearchOptions(top=5), or top=5 by its name",
            argument="options",
        )
    return (options or SearchOptions()).but(**changes)


def check_list(images: Any, argument: str) -> None:
    """Refuse one image where a list is needed, something else to iterate over, and samples.

    Raises:
        UsageError: they are no list of images.
    """
    if isinstance(images, str | os.PathLike):
        raise UsageError(f"{images} is one image: pass a list, [{str(images)!r}]", argument=argument)
    if isinstance(images, Dataset) or not hasattr(images, "__len__"):
        raise UsageError(f"{argument} are a {type(images).__name__}: pass a list", argument=argument)
    if len(images) and isinstance(images[0], Sample):
        raise UsageError(
            f"{argument} are samples: pass their paths, [sample.path for sample in samples], and pids and cameras as "
            "columns",
            argument=argument,
        )
