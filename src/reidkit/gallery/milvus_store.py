"""The collections of a gallery in Milvus: made, opened, read in pages and written, and their errors in a sentence.

One collection holds the rows with their features, by key. Another one, of the name with `_removed` behind it, holds the
ids of rows that are gone, for those who follow the changes. What the gallery is stands in the first one's properties.
"""

from __future__ import annotations

import contextlib
import json
import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.errors import DataError, GalleryError, MissingFileError, ReidkitError, UsageError
from reidkit.extras import install
from reidkit.gallery.milvus_records import LONGEST_IN_BYTES, LONGEST_THUMBNAIL
from reidkit.process_settings import restored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from reidkit.gallery.milvus_address import Address

PROPERTY = "reidkit."
MOST = 16_384
"""Rows that Milvus gives at once."""

MESSAGE_BYTES = 24 * 2**20
"""Of features in one message; the server takes 64 MiB in all."""

PATIENCE = 60.0
"""Seconds that a call to the server may take."""

CONNECTING = 10.0
LOADING = 600.0

INDEXES: dict[str, dict[str, Any]] = {
    "flat": {"index_type": "FLAT", "params": {}},
    "hnsw": {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}},
    "ivf": {"index_type": "IVF_FLAT", "params": {"nlist": 1024}},
}
LEVELS = {"strong": "Strong", "session": "Session", "bounded": "Bounded", "any": "Eventually"}
"""Consistency levels by their names here; `any` is for what was read before at another level."""


class Near(NamedTuple):
    """A row that Milvus has found: its key, and the cosine in single precision."""

    key: str
    similarity: float


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Let the client library log no refused call, which it does with a traceback, and with what was asked for."""
    loggers = [logging.getLogger(name) for name in ("pymilvus", "pymilvus.milvus_client", "grpc")]

    def put_back(levels: list[int]) -> None:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

    with restored("loggers of Milvus", lambda: [logger.level for logger in loggers], put_back):
        put_back([logging.CRITICAL] * len(loggers))
        yield


class Store:
    """A connection to the collections of one gallery. Several threads may use it."""

    def __init__(self, address: Address) -> None:
        """Connect to the server.

        Raises:
            GalleryError: it does not answer, or refuses the token.
            UsageError: pymilvus is not installed.
        """
        if not find_spec("pymilvus"):
            raise UsageError(f"a gallery in Milvus needs pymilvus, which is not installed: `{install('pymilvus')}`")
        self.address = address
        self.log = f"{address.name}_removed"
        self.index = ""
        from pymilvus import MilvusClient  # which sets the levels of its loggers when it is first imported

        with self.errors():
            self._client: Any = MilvusClient(
                uri=address.server, token=address.token, db_name=address.database, timeout=CONNECTING
            )

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the client library raises into one sentence, without tokens.

        Raises:
            GalleryError: the server does not answer, or refuses.
        """
        try:
            with _unlogged():
                yield
        except ReidkitError:
            raise
        except Exception as error:
            if not type(error).__module__.startswith(("pymilvus", "grpc")):
                raise
            raise GalleryError(_sentence(error, self.address)) from None

    def exists(self) -> bool:
        """Return whether the collection is there."""
        with self.errors():
            return bool(self._client.has_collection(self.address.name, timeout=PATIENCE))

    def create(self, meta: dict[str, str]) -> None:
        """Make the collections.

        Raises:
            DataError: there is one of this name.
        """
        with self.errors():
            if self._client.has_collection(self.address.name, timeout=PATIENCE):
                raise DataError(f"{self.address} is there already: name another one, or drop it")
            from pymilvus import DataType

            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("key", DataType.VARCHAR, max_length=LONGEST_IN_BYTES["key"], is_primary=True)
            for name in ("camera", "track", "image", "digest"):
                schema.add_field(name, DataType.VARCHAR, max_length=LONGEST_IN_BYTES[name])
            for name in ("id", "pid", "time", "added"):
                schema.add_field(name, DataType.INT64)
            for name in ("attributes", "large"):
                schema.add_field(name, DataType.JSON)
            schema.add_field("thumbnail", DataType.VARCHAR, max_length=LONGEST_THUMBNAIL)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=int(meta["dim"]))
            properties = {PROPERTY + name: value for name, value in meta.items()}
            self._client.create_collection(
                self.address.name, schema=schema, properties=properties, consistency_level="Strong", timeout=PATIENCE
            )

    def open(self) -> dict[str, str]:
        """Bring the collections into memory, making what is missing after a stop; what the gallery says of itself.

        Raises:
            MissingFileError: there is none.
            DataError: a collection that is no gallery.
        """
        with self.errors():
            if not self._client.has_collection(self.address.name, timeout=PATIENCE):
                raise MissingFileError(f"{self.address} is not there: `reidkit gallery create` makes it")
            described = self._client.describe_collection(self.address.name, timeout=PATIENCE)
            properties = described.get("properties") or {}
            meta = {
                name.removeprefix(PROPERTY): str(value)
                for name, value in properties.items()
                if name.startswith(PROPERTY)
            }
            if "uuid" not in meta:
                raise DataError(f"{self.address} is a collection of something else: name another one")
            self._ensure_log()
            self.index = self._ensure_index()
            for name in (self.address.name, self.log):
                self._client.load_collection(name, timeout=LOADING)
        return meta

    def note(self, name: str, value: str) -> None:
        """Keep something that the gallery says of itself."""
        with self.errors():
            self._client.alter_collection_properties(
                self.address.name, properties={PROPERTY + name: value}, timeout=PATIENCE
            )

    def _ensure_log(self) -> None:
        if self._client.has_collection(self.log, timeout=PATIENCE):
            return
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("seq", DataType.INT64, is_primary=True)
        schema.add_field("id", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # every collection must have one
        self._client.create_collection(self.log, schema=schema, consistency_level="Strong", timeout=PATIENCE)
        self._index(self.log, "flat", "L2")

    def _ensure_index(self) -> str:
        """Make the index of the features, where there is none; its kind.

        Raises:
            UsageError: it is of another kind than the address says.
        """
        name = self.address.name
        if not self._client.list_indexes(name, "vector"):
            self._index(name, self.address.index or "flat", "COSINE")
        found = self._client.describe_index(name, self._client.list_indexes(name, "vector")[0], timeout=PATIENCE)
        by_type = {values["index_type"]: kind for kind, values in INDEXES.items()}
        kind = by_type.get(found["index_type"], "other")
        if self.address.index not in ("", kind):
            raise UsageError(
                f"{self.address} has the index {kind}, and not {self.address.index}: leave index out, or copy the "
                "gallery into a new one with it",
                argument="uri",
            )
        return kind

    def _index(self, name: str, kind: str, metric: str) -> None:
        parameters = self._client.prepare_index_params()
        parameters.add_index("vector", metric_type=metric, **INDEXES[kind])
        self._client.create_index(name, parameters, timeout=LOADING)

    # Reading.

    def count(self, expression: str, level: str = "strong") -> int:
        """Return how many rows meet an expression."""
        with self.errors():
            found = self._client.query(
                self.address.name,
                filter=expression,
                output_fields=["count(*)"],
                consistency_level=LEVELS[level],
                timeout=PATIENCE,
            )
            return int(found[0]["count(*)"])

    def pages(
        self, expression: str, fields: Sequence[str], *, size: int = MOST, log: bool = False, level: str = "strong"
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield all rows that meet an expression, some at a time, in the order of their keys.

        pymilvus has an iterator for this, which writes keys into its expressions as they are, so that a key with a
        quote ends it.
        """
        name, key = (self.log, "seq") if log else (self.address.name, "key")
        size, after = max(1, min(size, MOST)), ""
        with self.errors():
            while True:
                page = self._client.query(
                    name,
                    filter=" and ".join(f"({each})" for each in (expression, after) if each),
                    output_fields=list(fields),
                    limit=size,
                    iterator="True",  # the first ones by key, of all segments
                    reduce_stop_for_best="True",
                    consistency_level=LEVELS[level],
                    timeout=PATIENCE,
                )
                if page:
                    yield list(page)
                if len(page) < size:
                    return
                after = f"{key} > {json.dumps(max(record[key] for record in page), ensure_ascii=False)}"

    def by_key(self, keys: Iterable[str], fields: Sequence[str], *, size: int, level: str) -> dict[str, dict[str, Any]]:
        """Return the fields of those keys that are there, asking for `size` at a time."""
        wanted, found = list(dict.fromkeys(keys)), {}
        with self.errors():
            for first in range(0, len(wanted), size):
                some = self._client.query(
                    self.address.name,
                    filter=keys_in(wanted[first : first + size]),
                    output_fields=list(fields),
                    consistency_level=LEVELS[level],
                    timeout=PATIENCE,
                )
                found.update({record["key"]: record for record in some})
        return found

    def nearest(
        self, weights: NDArray[np.floating], expression: str, limit: int, *, effort: int, level: str
    ) -> list[list[Near]]:
        """Return up to `limit` rows with the largest cosines for each of `weights` [Q, D].

        `effort` is how many rows an approximate index looks at, at least.
        """
        parameters: dict[str, dict[str, int]] = {
            "hnsw": {"ef": int(min(max(effort, limit), 32_768))},
            "ivf": {"nprobe": int(min(max(32, effort // 64), 1024))},
        }
        answers: list[list[Near]] = []
        at_once = max(1, min(64, 262_144 // limit))
        with self.errors():
            for first in range(0, len(weights), at_once):
                found = self._client.search(
                    self.address.name,
                    data=weights[first : first + at_once].astype(np.float32).tolist(),
                    filter=expression,
                    limit=limit,
                    output_fields=["key"],
                    search_params={"metric_type": "COSINE", "params": parameters.get(self.index, {})},
                    consistency_level=LEVELS[level],
                    timeout=PATIENCE,
                )
                answers += [[Near(hit["entity"]["key"], float(hit["distance"])) for hit in hits] for hits in found]
        return answers

    # Writing.

    def upsert(self, records: Sequence[dict[str, Any]], *, size: int) -> None:
        """Write rows, replacing those of the same keys, `size` at a time; keys must differ."""
        with self.errors():
            for first in range(0, len(records), size):
                self._client.upsert(self.address.name, list(records[first : first + size]), timeout=PATIENCE)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove rows by their keys."""
        with self.errors():
            for first in range(0, len(keys), 1000):
                self._client.delete(self.address.name, filter=keys_in(keys[first : first + 1000]), timeout=PATIENCE)

    def note_removed(self, entries: Sequence[tuple[int, int]]) -> None:
        """Write ids of rows that will be gone, each with its number in the log."""
        records = [{"seq": number, "id": row, "vector": [0.0, 0.0]} for number, row in entries]
        with self.errors():
            for first in range(0, len(records), 10_000):
                self._client.upsert(self.log, records[first : first + 10_000], timeout=PATIENCE)

    def forget_removed(self, before: int) -> None:
        """Drop what the log says of removals with numbers below `before`."""
        with self.errors():
            self._client.delete(self.log, filter=f"seq < {before}", timeout=PATIENCE)

    def compact(self) -> None:
        """Let the server write its files anew, without what was removed; it does so in the background."""
        with self.errors():
            self._client.flush(self.address.name, timeout=LOADING)
            self._client.compact(self.address.name, timeout=PATIENCE)

    def drop(self) -> None:
        """Remove the gallery."""
        with self.errors():
            for name in (self.address.name, self.log):
                self._client.drop_collection(name, timeout=PATIENCE)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            self._client.close()


def keys_in(keys: Sequence[str]) -> str:
    """Return the expression that a key is one of these: as JSON, none of them can end its place."""
    from reidkit.gallery.filters import Filter

    return Filter(keys=keys).milvus()


def _sentence(error: Exception, address: Address) -> str:
    """Return what went wrong, and what may help."""
    text = " ".join(str(getattr(error, "message", "") or getattr(error, "details", lambda: "")() or error).split())
    for secret in address.secrets():
        text = text.replace(secret, "***")
    lower = text.lower()
    if "auth" in lower or "permission" in lower:
        return (
            f"{address} refuses the user or the token: set REIDKIT_MILVUS_TOKEN to user:password, or write "
            "milvus://user:password@host:port/name"
        )
    if any(word in lower for word in ("fail connecting", "unavailable", "deadline", "timeout", "connect", "channel")):
        return f"{address} does not answer: start Milvus there, or check host and port"
    if "quota" in lower or "rate limit" in lower or "memory" in lower or "disk" in lower:
        return f"{address} has no room or is too busy ({text[:200]}): give the server more, or wait and repeat this"
    return f"{address} refuses ({text[:200]}): look into the server's log"


def rows_at_once(dim: int, extra: int = 0) -> int:
    """Return how many rows with their features fit into one message."""
    return max(1, min(1000, MESSAGE_BYTES // (4 * dim + extra + 512)))
