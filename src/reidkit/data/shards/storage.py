"""Where shards lie: in a folder on a disk, or at a URL that fsspec opens and a network may fail to reach."""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from reidkit.errors import DataError
from reidkit.extras import install
from reidkit.types import SYNTHETIC

if TYPE_CHECKING:
    from collections.abc import Callable

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.ASCII)


class Place(Protocol):
    """A folder of shards. Two that are equal hold the same files."""

    def sizes(self) -> dict[str, int]:
        """Return the files right inside, by name, and their sizes in bytes; -1 where the place does not say."""

    def state(self, name: str) -> str:
        """Something that changes when the file does."""

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return the bytes of a file from `start` on, fewer than `length` at its end."""

    def open(self, name: str) -> Any:
        """Return the file as a binary stream that can seek."""

    def where(self, name: str) -> str:
        """Return the file as people write it."""


def url_of(path: Path) -> str | None:
    """The URL that a command was given as a path, which folds its slashes: `s3:/bucket/people` is `s3://bucket/people`.

    None where it is a path after all.
    """
    match = _URL.match(str(path))
    if not match or path.exists():
        return None
    scheme, rest = match[1], str(path)[match.end() :]
    return f"{scheme}:///{rest}" if scheme in {"file", "local"} else f"{scheme}://{rest}"


@lru_cache(maxsize=64)
def place_of(path: Path) -> Place:
    """Return the place that a folder or a folded URL names.

    Raises:
        DataError: fsspec, or what it needs for this kind of URL, is not installed; there is no such kind.
    """
    url = url_of(path)
    if url is None:
        return Folder(path)
    if url.startswith(("file:", "local:")):
        return Folder(Path(url.partition("://")[2]))
    return Remote(url)


def shards_at(path: Path, suffix: str) -> tuple[Place, dict[str, int]]:
    """Return where the shards of a folder or URL lie, their names and sizes; `path` may be one shard alone.

    Raises:
        DataError: as `place_of`, or the place cannot be listed.
    """
    alone = path.name.lower().endswith(suffix) and not path.is_dir()
    place = place_of(path.parent if alone else path)
    found = place.sizes()
    return place, {
        name: size for name, size in found.items() if name.lower().endswith(suffix) and (not alone or name == path.name)
    }


def set_name(path: Path, name: str) -> str:
    """`name`, or `synthetic` where the README beside the shards says that they were drawn."""
    place = place_of(path)
    drawn = "README.txt" in place.sizes() and place.read("README.txt", 0, 200).startswith(SYNTHETIC.encode())
    return "synthetic" if drawn else name


class Folder:
    """Shards in a folder on a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and other._path == self._path

    def __hash__(self) -> int:
        return hash(self._path)

    def sizes(self) -> dict[str, int]:
        """Return the regular files of the folder, hidden ones left out; none where there is no such folder."""
        if not self._path.is_dir():
            return {}
        with os.scandir(self._path) as entries:
            return {e.name: e.stat().st_size for e in entries if not e.name.startswith(".") and e.is_file()}

    def state(self, name: str) -> str:
        """Return the time of the last change."""
        return str((self._path / name).stat().st_mtime_ns)

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return a piece of a file."""
        try:
            with (self._path / name).open("rb", buffering=0) as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise DataError(f"{self.where(name)} cannot be read: {error.strerror}") from None

    def open(self, name: str) -> Any:
        """Return the file, opened."""
        try:
            return (self._path / name).open("rb")
        except OSError as error:
            raise DataError(f"{self.where(name)} cannot be read: {error.strerror}") from None

    def where(self, name: str) -> str:
        """Return the path."""
        return str(self._path / name)


_TRIES = 4
_AGAIN = (408, 425, 429)
"""Refusals of HTTP that are not the last word; the others below 500 are."""

_CONNECT, _SILENCE = 10, 20
"""Seconds that a web server may take to let us in, and to send the next bytes. How long a whole piece takes is its own
affair: a window of shards may well need ten minutes."""

_BEYOND = 416
"""A piece that begins behind the end of a file, of which a disk would give no bytes."""

_VERSION = ("ETag", "etag", "LastModified", "Last-Modified", "mtime", "created", "updated")
"""What stores call the version of a file, or its time."""


class Remote:
    """Shards at a URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._gives_pieces = False
        fsspec = _fsspec()
        scheme = url.partition("://")[0]
        try:
            self._system, self._root = fsspec.core.url_to_fs(self._url, **_patience(scheme))
        except ImportError as error:
            remedy = install("aiohttp") if scheme in {"http", "https"} else " ".join(str(error).split())
            raise DataError(f"{url} needs a package more: {remedy}") from None
        except ValueError:
            raise DataError(
                f"{url} cannot be opened: fsspec knows no {scheme}:// (see its list of protocols)"
            ) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    def sizes(self) -> dict[str, int]:
        """Return what the place lists; none where there is no such place."""
        found = self._listing()
        return {name: -1 if facts.get("size") is None else int(facts["size"]) for name, facts in found.items()}

    def state(self, name: str) -> str:
        """Return what the store says of the file's version: it has one name for that here and another there.

        Raises:
            DataError: it says nothing, neither in its list nor when asked for the file.
        """
        known = self._listing().get(name, {})
        if not any(known.get(key) for key in _VERSION):
            known = self._try(lambda: self._system.info(f"{self._root}/{name}"), name)
        said = [known.get(key) for key in _VERSION]
        if not any(said):
            raise DataError(f"{self.where(name)} has no version: whether it is still the same cannot be known")
        return str([*said, known.get("size")])

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return a piece of a file, asked for again where the network fails."""
        self._require_pieces(name)
        return self._piece(name, start, length) if length > 0 else b""

    def open(self, name: str) -> Any:
        """Return the file as fsspec opens it."""
        self._require_pieces(name)
        return self._try(lambda: self._system.open(f"{self._root}/{name}", "rb"), name)

    def where(self, name: str) -> str:
        """Return the URL."""
        return f"{self._url}/{name}"

    def _piece(self, name: str, start: int, length: int) -> bytes:
        data: bytes = self._try(
            lambda: self._system.cat_file(f"{self._root}/{name}", start=start, end=start + length), name
        )
        return data

    def _require_pieces(self, name: str) -> None:
        """Refuse a web server that answers with the whole file whatever it is asked for: nothing else would show it."""
        if self._gives_pieces or not self._url.startswith(("http:", "https:")):
            return
        if len(self._piece(name, 0, 1)) > 1:
            raise DataError(
                f"{self.where(name)} cannot be read: its server gives whole files only (no range requests): "
                "copy the shards to a disk, or serve them by one that does, as nginx and Apache"
            )
        self._gives_pieces = True

    def _listing(self) -> dict[str, dict[str, Any]]:
        try:
            entries = self._try(lambda: self._system.ls(self._root, detail=True), "")
        except _MissingError:
            return {}
        return {str(e["name"]).rstrip("/").rpartition("/")[2]: e for e in entries if e.get("type") != "directory"}

    def _try(self, work: Callable[[], Any], name: str) -> Any:
        """Do it, up to four times within 3.5 seconds of waiting, unless the answer is final."""
        where = self.where(name).rstrip("/")
        for attempt in range(_TRIES):
            try:
                return work()
            except (FileNotFoundError, NotADirectoryError) as error:
                raise _MissingError(f"{where} cannot be read: {_words(error, 'it is not there')}") from None
            except PermissionError as error:
                raise DataError(f"{where} cannot be read: {_words(error)}") from None
            except Exception as error:  # every store fails with classes of its own
                status = getattr(error, "status", None)
                if status == _BEYOND:
                    return b""
                final = isinstance(status, int) and 400 <= status < 500 and status not in _AGAIN
                if final or attempt == _TRIES - 1:
                    raise DataError(f"{where} cannot be read: {_words(error)}") from None
                time.sleep(0.5 * 2**attempt)
        raise AssertionError


class _MissingError(DataError):
    """There is nothing at this URL."""


def _words(error: Exception, otherwise: str = "") -> str:
    """Return what a store says; `otherwise`, where it only repeats the URL."""
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    if isinstance(status, int) and message:
        hint = ": see that the URL may be read from here" if status in (401, 403) else ""
        return f"the server answers {status} {message}{hint}"
    told = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return otherwise if otherwise and "://" in told else told


def _patience(scheme: str) -> dict[str, Any]:
    """Return what to tell fsspec, so that a silent server is not waited for; what its own settings say goes first."""
    from fsspec.config import conf

    if scheme not in ("http", "https") or "client_kwargs" in conf.get(scheme, {}):
        return {}
    import aiohttp

    waits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
    return {"client_kwargs": {"timeout": waits}}


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise DataError(f"a URL needs fsspec: {install('fsspec')}") from None
    return fsspec
