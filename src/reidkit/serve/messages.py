"""What requests say, as pydantic models, and the rows and hits of answers."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from reidkit.errors import DataError
from reidkit.gallery import Filter, Row, SearchOptions
from reidkit.serve.problems import Problem, invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

MOST_VALUES = 1000
"""Of a list in a filter."""

SHOULD_BE = "Input should be "
"""How pydantic begins to say what a value is to be."""

LONGEST_PURPOSE = 500
WHOLE = 2**53
"""Whole numbers up to this one are the same in every language's JSON."""


def _only_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("write it as 2026-11-26T08:30:00Z")  # noqa: TRY004 (pydantic takes ValueError alone)
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_only_text, json_schema_input_type=datetime), Field(strict=False)]
Name = Annotated[str, Field(min_length=1, max_length=1024)]
Key = Annotated[str, Field(min_length=1, max_length=512)]
Pid = Annotated[int, Field(ge=0, le=WHOLE)]
Scalar = Annotated[str, Field(max_length=1024)] | bool | Annotated[int, Field(ge=-WHOLE, le=WHOLE)] | float
Attributes = Annotated[dict[Annotated[str, Field(min_length=1, max_length=64)], Scalar], Field(max_length=64)]
Vector = Annotated[str, Field(description="Little-endian float32 in base64.", max_length=2**17)]


class Message(BaseModel):
    """What a client sends: unknown members and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _only_objects(cls, value: object) -> object:
        if not isinstance(value, dict):
            members = (field.alias or name for name, field in cls.model_fields.items())
            raise ValueError(f"it is an object with any of {', '.join(members)}")  # noqa: TRY004 (as above)
        return value


class Names(Message):
    """One of these, or none of those."""

    include: Annotated[list[Name] | None, Field(alias="in", max_length=MOST_VALUES)] = None
    not_in: Annotated[list[Name], Field(max_length=MOST_VALUES)] = []


class Pids(Message):
    """One of these ids, or none of those."""

    include: Annotated[list[Pid] | None, Field(alias="in", max_length=MOST_VALUES)] = None
    not_in: Annotated[list[Pid], Field(max_length=MOST_VALUES)] = []


class Tracks(Message):
    """One of these tracks."""

    include: Annotated[list[Name] | None, Field(alias="in", max_length=MOST_VALUES)] = None


class Period(Message):
    """From a moment on, and before another."""

    gte: Moment | None = None
    lt: Moment | None = None


class Conditions(Message):
    """Which rows are meant: those that meet all conditions."""

    camera: Names = Names()
    pid: Pids = Pids()
    track: Tracks = Tracks()
    key: Names = Names()
    time: Period = Period()
    older_than: Moment | None = None
    attributes: Annotated[
        dict[Name, Scalar | Annotated[list[Scalar], Field(max_length=100)]], Field(max_length=64)
    ] = {}

    def as_filter(self) -> Filter:
        """Return them as the gallery takes them."""
        return Filter(
            cameras=self.camera.include,
            not_cameras=self.camera.not_in,
            pids=self.pid.include,
            not_pids=self.pid.not_in,
            tracks=self.track.include,
            keys=self.key.include,
            not_keys=self.key.not_in,
            since=self.time.gte,
            until=self.time.lt,
            older_than=self.older_than,
            attributes=self.attributes,
        )


class SearchConditions(Conditions):
    """The same for a search, where the query's own camera can be left out."""

    exclude_query_camera: bool = False


class QueryPart(Message):
    """One picture of whom is searched for: the number of a part `image`, a key of the gallery, or a feature."""

    image: Annotated[int, Field(ge=0, le=15)] | None = None
    key: Key | None = None
    vector: Vector | None = None


class SearchRequest(Message):
    """Who is searched for, and among what."""

    query: Annotated[list[QueryPart], Field(max_length=16)] = []
    combine: Literal["mean", "best"] = "mean"
    positive: Annotated[list[Key], Field(max_length=100)] = []
    negative: Annotated[list[Key], Field(max_length=100)] = []
    camera: Name | None = None
    model: Annotated[str, Field(max_length=200)] = ""
    limit: Annotated[int, Field(ge=1, le=200)] = 20
    offset: Annotated[int, Field(ge=0, le=10_000)] = 0
    cursor: Annotated[str, Field(max_length=2000)] = ""
    radius: Annotated[float, Field(ge=-1, le=1)] | Literal["calibrated"] | None = None
    filter: SearchConditions = SearchConditions()
    group_by: Literal["person", "track", "camera"] | None = None
    group_size: Annotated[int, Field(ge=1, le=20)] = 1
    rerank: bool = False
    expand: Annotated[int, Field(ge=0, le=50)] = 0
    purpose: Annotated[str, Field(max_length=LONGEST_PURPOSE)] = ""
    export: Annotated[bool, Field(description="Whether the list is to be kept; for the audit log.")] = False

    def options(self) -> SearchOptions:
        """Return how to search, as the gallery takes it."""
        return SearchOptions(
            top=self.limit,
            offset=self.offset,
            cursor=self.cursor,
            filter=self.filter.as_filter(),
            other_cameras=self.filter.exclude_query_camera,
            radius=self.radius,
            group_by=self.group_by,
            group_size=self.group_size,
            rerank=self.rerank,
            expand=self.expand,
        )


class BatchRequest(Message):
    """Several searches by keys and features; pictures are embedded first, by `/v1/embed`."""

    searches: Annotated[list[SearchRequest], Field(min_length=1, max_length=64)]
    purpose: Annotated[str, Field(max_length=LONGEST_PURPOSE)] = ""


class CompareRequest(Message):
    """Two rows of the gallery, where the parts `a` and `b` are not pictures; and the cameras of pictures."""

    a_key: Key | None = None
    b_key: Key | None = None
    cameras: Annotated[list[Name | None], Field(min_length=2, max_length=2)] = [None, None]
    purpose: Annotated[str, Field(max_length=LONGEST_PURPOSE)] = ""


class RowContent(Message):
    """What is known of a row. Its feature comes from the picture that is sent, or is given as `vector`."""

    vector: Vector | None = None
    model: Annotated[str, Field(max_length=200)] = ""
    pid: Pid | None = None
    camera: Name | None = None
    track: Name | None = None
    time: Moment | None = None
    attributes: Attributes = {}

    def row(self, key: str) -> Row:
        """Return it as a row of the gallery.

        Raises:
            DataError: a name that cannot be one, or a key that no path can name.
        """
        if key in (".", ".."):  # which clients take for folders, and resolve
            raise DataError(f"the key {key} cannot stand in a path: give it a letter or a digit")
        return Row(
            key, pid=self.pid, camera=self.camera, track=self.track, time=self.time, attributes=dict(self.attributes)
        )


class NewRow(RowContent):
    """A row of a batch: with the number of a part `image`, or with its feature."""

    key: Key
    image: Annotated[int, Field(ge=0, le=15)] | None = None


class RowsRequest(Message):
    """Rows to be added or replaced."""

    rows: Annotated[list[NewRow], Field(min_length=1, max_length=1000)]
    on_conflict: Literal["replace", "skip"] = "replace"


class DeleteRequest(Message):
    """Which rows are to be removed. `expect` is how many there should be; with `dry_run` they are only counted."""

    filter: Conditions
    expect: Annotated[int, Field(ge=0, le=WHOLE)] | None = None
    dry_run: bool = False


class SessionRequest(Message):
    """A token, to be traded for a cookie."""

    token: Annotated[str, Field(min_length=1, max_length=500)]


def validated(kind: type[M], value: Any) -> M:
    """Return a request as its model; None stands for an empty one.

    Raises:
        Problem: `invalid`, with each value by its place, and without repeating it: it may be half a picture.
    """
    try:
        return kind.model_validate({} if value is None else value)
    except ValidationError as error:
        words: dict[str, str] = {}
        for each in error.errors(include_input=False, include_url=False)[:200]:
            pointer, found = _pointer(value, each), _words(each)
            # of a value of several types pydantic has one error for each type, and more for what is inside of it
            words[pointer] = f"{words[pointer]} or {found.removeprefix(SHOULD_BE)}" if pointer in words else found
        inmost = [at for at in words if not any(other.startswith(f"{at}/") for other in words if at != "/")]
        errors = [{"pointer": at, "detail": words[at][:200]} for at in inmost[:20]]
        raise Problem("invalid", f"{errors[0]['pointer']}: {errors[0]['detail']}", errors=errors) from None


def whole_number(text: str, name: str, least: int = 0, most: int = WHOLE) -> int:
    """Return the value of a parameter of the query.

    Raises:
        Problem: `invalid`: it is no whole number, or another than `least` to `most`.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 17 and least <= int(text) <= most):
        raise invalid(f"/{name}", f"it is a whole number from {least} to {most}")
    return int(text)


def decode_vector(text: str, dim: int, pointer: str) -> NDArray[np.float32]:
    """Return a feature float32 [D] from base64.

    Raises:
        Problem: `invalid`: it has another length, is zero, or holds NaN or infinity.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(pointer, "it is not base64") from None
    if len(data) != 4 * dim:
        raise invalid(pointer, f"it has {len(data)} bytes, and {dim} numbers float32 have {4 * dim}")
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise invalid(pointer, "it holds NaN or infinity")
    if not vector.any():
        raise invalid(pointer, "it is zero")
    return vector


def encode_vector(vector: NDArray[np.float32]) -> str:
    """Return a feature [D] as base64 of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _pointer(value: Any, error: ErrorDetails) -> str:
    """Return the place of a value in a request, without the types that pydantic puts between its parts."""
    parts: list[str] = []
    for part in error["loc"]:
        inside = part in (value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ())
        if inside:
            value = value[part]
        if inside or error["type"] == "missing":
            parts.append(str(part))
    return "/" + "/".join(parts)[:200]


def _words(error: ErrorDetails) -> str:
    """Return what is wrong with a value: pydantic's words, or what says more."""
    if error["type"] == "extra_forbidden":
        return "there is no such member: leave it out"
    return error["msg"].removeprefix("Value error, ")[:200]
