"""A gallery in Milvus, for more images than one machine holds or several machines that share one gallery.

What differs from a gallery in a file: a change of several thousand rows is not one transaction (a call that the server
ends with an error may have made a part of it; the same call again completes it), two programs that add one key at the
same moment do not hear of each other (the later one counts), and removed rows leave the server's files when it next
compacts them.
"""

from __future__ import annotations

import base64
import secrets
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from reidkit.gallery.base_gallery import PAGE, BaseGallery, refuse_other_count
from reidkit.gallery.conflicts import NewRow, digest_of, rows_to_write, status_of
from reidkit.gallery.filters import EVERYTHING, MILVUS_UNKNOWN, Filter, check_filter
from reidkit.gallery.meta import new_meta, parse_meta
from reidkit.gallery.milvus_address import parse_address
from reidkit.gallery.milvus_records import (
    COLUMNS,
    LONGEST_THUMBNAIL,
    check_lengths,
    check_thumbnails,
    to_record,
    to_row,
    to_vector,
)
from reidkit.gallery.milvus_store import MESSAGE_BYTES, Store, rows_at_once
from reidkit.gallery.milvus_view import FIELDS, MilvusView
from reidkit.gallery.person_ids import first_names, with_proposed
from reidkit.gallery.positions import KEPT_DAYS, page_of, position_of, read_cursor, read_position, too_old
from reidkit.gallery.protocol import Added, CameraInfo, Changes, Check, Contents, Info, Page
from reidkit.gallery.row import from_micros, now_micros, time_of
from reidkit.metrics.calibration_file import calibration_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from reidkit.encoder import Encoder
    from reidkit.gallery.conflicts import Addition
    from reidkit.gallery.row import Row

SINCE = 1_577_836_800_000_000
"""Ids count microseconds from 2020 on, in steps of `STEP`."""

STEP = 4096
DAY = 86_400_000_000 * STEP

SMALL = ("key", "id")


class MilvusGallery(BaseGallery):
    """A gallery in a collection of Milvus. Several programs may read and write it."""

    kind: ClassVar[str] = "milvus"

    def __init__(self, uri: str, model: Encoder | None = None) -> None:
        """Open the gallery at an address.

        Args:
            uri: `milvus://[user:password@]host[:port]/[database/]name[?index=...&consistency=...&tls=true]`.
            model: What embeds images; None: only features can be added and searched for.

        Raises:
            DataError: no gallery, something else, or the gallery of another model.
            GalleryError: the server does not answer, or refuses.
            UsageError: an address that is none.
        """
        self._address = parse_address(uri)
        self._encoder = model
        self._store = Store(self._address)
        try:
            self._meta = meta = parse_meta(self._store.open(), str(self._address), model)
            self.model, self.dim, self.flip, self.calibration = meta.model, meta.dim, meta.flip, meta.calibration
        except BaseException:
            self._store.close()
            raise
        self._lock = threading.RLock()  # of changes
        self._last = 0
        self._tag = secrets.randbelow(STEP)  # two programs that write at the same moment give different ids
        self._listing: tuple[str, NDArray[np.int64]] = ("", np.zeros(0, np.int64))
        self._noted_calibration = self._pruned = False
        self._names: dict[int, str | None] | None = None

    @classmethod
    def create(cls, uri: str, model: Encoder | None = None, *, fingerprint: str = "", dim: int = 0) -> Self:
        """Make an empty gallery, and open it.

        Args:
            uri: As for opening; `index` is how it will be searched.
            model: What embeds images. Without one, `fingerprint` and `dim` say which features the gallery is for.
            fingerprint: The fingerprint of the model of these features; "": not known.
            dim: Their length.

        Raises:
            DataError: it is there.
            GalleryError: the server does not answer, or refuses.
            UsageError: no length of features, or an address that is none.
        """
        store = Store(parse_address(uri))
        try:
            store.create(new_meta(model, fingerprint, dim, now_micros()))
        finally:
            store.close()
        return cls(uri, model)

    def close(self) -> None:
        """Close the connection."""
        self._store.close()

    # What is in it.

    def count(self, matching: Filter = EVERYTHING) -> int:
        """Return how many rows meet a filter."""
        check_filter(matching)
        return self._store.count(matching.milvus())

    def get(self, key: str) -> Row | None:
        """Return the row of a key; None where there is none."""
        found = self._records([key], COLUMNS)
        return to_row(found[0]) if found else None

    def thumbnail(self, key: str) -> bytes | None:
        """Return the JPEG that was added with a row; None where there is none."""
        return self.thumbnails([key])[0]

    def thumbnails(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the JPEGs that were added with rows: see `Gallery.thumbnails`."""
        found = self._records(keys, ("key", "thumbnail"), size=MESSAGE_BYTES // LONGEST_THUMBNAIL)
        pictures = {record["key"]: base64.b64decode(record["thumbnail"]) for record in found}
        return [pictures.get(key) or None for key in keys]

    def contents(self, rows: Sequence[Row], *, thumbnails: bool = False) -> Contents:
        """Return rows with their features: see `Gallery.contents`."""
        fields = ("key", "id", "vector", *(("thumbnail",) if thumbnails else ()))
        size = rows_at_once(self.dim, LONGEST_THUMBNAIL if thumbnails else 0)
        found = {record["id"]: record for record in self._records([row.key for row in rows], fields, size=size)}
        kept = [row for row in rows if row.id in found]
        vectors = np.array([to_vector(found[row.id]) for row in kept], np.float32).reshape(-1, self.dim)
        pictures = [base64.b64decode(found[row.id].get("thumbnail", "")) or None for row in kept]
        return Contents(kept, vectors, pictures)

    def digests(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what names the contents of rows by key: see `Gallery.digests`."""
        found = self._records(keys, ("key", "digest"))
        return {record["key"]: bytes.fromhex(record["digest"]) for record in found}

    def person_names(self) -> dict[int, str | None]:
        """Return the name of each id: see `Gallery.person_names`."""
        first: dict[int, Row] = {}
        for record in self._read(f"pid != {MILVUS_UNKNOWN}"):
            row = to_row(record)
            if row.pid is not None and (row.pid not in first or row.id < first[row.pid].id):
                first[row.pid] = row
        return first_names(first.values())

    def keys(self) -> list[str]:
        """Return the keys of all rows, in the order of their ids."""
        found = [(record["id"], record["key"]) for page in self._store.pages("", SMALL) for record in page]
        return [key for _, key in sorted(found)]

    def rows(self, matching: Filter = EVERYTHING, *, limit: int = PAGE, cursor: str = "") -> Page:
        """Return the rows that meet a filter: see `Gallery.rows`."""
        check_filter(matching)
        after = read_cursor(cursor, limit)
        found: list[Row] = []
        while len(found) <= limit:
            ids = self._ids_after(matching, after, fresh=not cursor and not found)[: limit + 1 - len(found)]
            if not len(ids):
                break
            for first in range(0, len(ids), PAGE):
                some = self._among(ids[first : first + PAGE].tolist())
                found += sorted((row for row in some if matching.matches(row)), key=lambda row: row.id)
            after = int(ids[-1])
        return page_of(found, limit)

    def _read(self, expression: str) -> Iterable[dict[str, Any]]:
        return (record for page in self._store.pages(expression, COLUMNS) for record in page)

    def _ids_after(self, matching: Filter, after: int, *, fresh: bool) -> NDArray[np.int64]:
        """Return the ids above one of the rows that match, in their order.

        Milvus sorts by key alone. So the first page of a list fetches all ids, and the next ones go on with them; where
        they end, ids are fetched that have been added meanwhile. Rows that are gone meanwhile are not found later.
        """
        known, ids = self._listing
        expression = matching.milvus()  # and not the filter: to Python, an attribute of 1 is equal to one of True
        if not fresh and known == expression and len(ids) and after < ids[-1]:
            return ids[np.searchsorted(ids, after, side="right") :]
        condition = f"id > {after}"
        pages = self._store.pages(f"({expression}) and {condition}" if expression else condition, ("id",))
        ids = np.sort(np.array([record["id"] for page in pages for record in page], np.int64))
        self._listing = (expression, ids)
        return ids

    def info(self) -> Info:
        """Return what the gallery is."""
        rows: Counter[str | None] = Counter()
        first: dict[str | None, int] = {}
        last: dict[str | None, int] = {}
        for page in self._store.pages("", ("camera", "time")):
            for record in page:
                camera, micros = record["camera"] or None, record["time"]
                rows[camera] += 1
                if micros != MILVUS_UNKNOWN:
                    first[camera] = min(first.get(camera, micros), micros)
                    last[camera] = max(last.get(camera, micros), micros)
        cameras = tuple(
            CameraInfo(name=name, rows=rows[name], first=time_of(first.get(name)), last=time_of(last.get(name)))
            for name in sorted(rows, key=lambda name: (name is None, name or ""))
        )
        exact = self._store.index == "flat"
        return self._info(str(self._address), self._meta.uuid, cameras, from_micros(self._meta.created), exact=exact)

    def changes(self, position: str = "") -> Changes:
        """Return what has changed since a position: see `Gallery.changes`.

        Of programs that write at the same time, clocks must agree: a row that becomes visible after rows that were
        given later ids is not reported.
        """
        seen, gone = read_position(position, self._meta.uuid)
        now = (now_micros() - SINCE) * STEP
        if position and gone < now - KEPT_DAYS * DAY:
            raise too_old()
        pages = self._store.pages(f"seq > {gone}", ("seq", "id"), log=True)
        noted = {record["seq"]: record["id"] for page in pages for record in page}
        removed = {number: noted[number] for number in sorted(noted) if noted[number] <= seen}
        added = sorted((to_row(record) for record in self._read(f"id > {seen}")), key=lambda row: row.id)
        # A removal is noted before it is made: what is still there was not removed in the end.
        numbers = sorted(set(removed.values()))
        left = {row.id for first in range(0, len(numbers), PAGE) for row in self._among(numbers[first : first + PAGE])}
        last = max([seen, *(row.id for row in added)])
        reached = max([gone, now - DAY, *noted])
        ids = tuple(number for number in removed.values() if number not in left)
        return Changes(tuple(added), ids, position_of(self._meta.uuid, last, reached))

    def _among(self, ids: Sequence[int]) -> list[Row]:
        return [to_row(record) for record in self._read(f"id in {list(ids)}")]

    def check(self) -> Check:
        """Read everything and compare it with what was written."""
        problems: list[str] = []
        keys: set[str] = set()
        fields = (*FIELDS, "digest")
        for page in self._store.pages("", fields, size=rows_at_once(self.dim)):
            for record in page:
                vector = to_vector(record)
                if record["key"] in keys:
                    problems.append(f"{record['key']} is there twice")
                elif not np.isfinite(vector).all():
                    problems.append(f"the feature of {record['key']} holds a NaN or an infinity")
                elif digest_of(to_row(record), vector.astype("<f4").tobytes()).hex() != record["digest"]:
                    problems.append(f"{record['key']} is not what was written")
                keys.add(record["key"])
        counted = self.count()
        if counted != len(keys):
            problems.append(f"the server counts {counted} rows, and gives {len(keys)}: keys are there twice")
        return Check(len(keys), tuple(problems))

    # Changes.

    def _write(self, given: Addition) -> Added:
        check_lengths(given.vectors, given.rows)
        check_thumbnails(given.thumbnails)
        with self._lock:
            if given.settle and self._names is None:  # all rows are read for it once
                self._names = with_proposed(self.person_names(), self)
            given = given.settled(lambda: self._names or {})
            if self._names is not None:  # what is added without names takes ids, too
                self._names = with_proposed(first_names(given.rows, self._names), given.rows)
            new = rows_to_write(given)
            keys = tuple(row.key for row in given.rows)
            records = self._store.by_key(keys, ("key", "id", "digest"), size=PAGE, level="strong")
            known = {key: (int(record["id"]), bytes.fromhex(record["digest"])) for key, record in records.items()}
            fresh: dict[str, NewRow] = {}
            status = [status_of(each, known, fresh, given.how, self._stored) for each in new]
            self._log_removed([known[key][0] for key in fresh if key in known])
            self._upsert(list(fresh.values()))
            self._note_calibration()
        return Added(keys, tuple(status))

    def _upsert(self, new: Sequence[NewRow]) -> None:
        """Write rows under new ids, in their order, as many at a time as fit into a message."""
        added, numbers = now_micros(), self._next_ids(len(new))
        pictures = max((len(each.thumbnail) for each in new if each.thumbnail), default=0)
        size = rows_at_once(self.dim, 2 * pictures)
        for first in range(0, len(new), size):
            some = zip(new[first : first + size], numbers[first : first + size], strict=True)
            records = [
                to_record(
                    each.row,
                    np.frombuffer(each.vector, "<f4"),
                    each.thumbnail,
                    each.digest,
                    number=number,
                    added=added,
                )
                for each, number in some
            ]
            self._store.upsert(records, size=size)

    def _stored(self, key: str) -> tuple[Row, NDArray[np.float32]]:
        """Return a row with its feature."""
        record = self._records([key], FIELDS)[0]
        return to_row(record), to_vector(record)

    def _records(self, keys: Sequence[str], fields: Sequence[str], *, size: int = PAGE) -> list[dict[str, Any]]:
        try:
            wanted = list(Filter(keys=keys).keys or ())
        except ValueError:  # no row can have such a key
            return []
        return list(self._store.by_key(wanted, fields, size=size, level="strong").values())

    def _remove(self, matching: Filter, expect: int | None) -> int:
        with self._lock:
            found = {
                record["id"]: record["key"] for page in self._store.pages(matching.milvus(), SMALL) for record in page
            }
            refuse_other_count(len(found), expect)
            self._log_removed(sorted(found))
            self._store.delete(list(found.values()))
        return len(found)

    def _log_removed(self, ids: Sequence[int]) -> None:
        """Note that rows will be gone, before they are: who follows the changes asks whether they are."""
        if ids:
            self._store.note_removed(list(zip(self._next_ids(len(ids)), ids, strict=True)))
        if ids and not self._pruned:
            self._store.forget_removed((now_micros() - SINCE) * STEP - KEPT_DAYS * DAY)
            self._pruned = True

    def _next_ids(self, count: int) -> list[int]:
        """Return ids above all that this program has given: the time, and what tells programs apart."""
        first = max(self._last + 1, now_micros() - SINCE)
        self._last = first + count
        return [(first + at) * STEP + self._tag for at in range(count)]

    def compact(self) -> None:
        """Let the server write its files anew, without what was removed."""
        self._store.compact()

    def _note_calibration(self) -> None:
        """Keep the calibration of the model with the gallery, for those who open it without the model."""
        if not self._noted_calibration:
            self._store.note("calibration", calibration_text(self.calibration))
            self._noted_calibration = True

    @contextmanager
    def _view(self) -> Iterator[MilvusView]:
        yield MilvusView(self._store, self.dim)


def is_there(uri: str) -> bool:
    """Return whether there is a gallery at an address.

    Raises:
        GalleryError: the server does not answer, or refuses.
        UsageError: an address that is none.
    """
    store = Store(parse_address(uri))
    try:
        return store.exists()
    finally:
        store.close()
