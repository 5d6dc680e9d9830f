"""Read a `.npz` safely: nothing is unpacked before its size is known, and nothing is executed."""

from __future__ import annotations

import math
import os
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from reidkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

FREE = 64 << 20
"""Bytes that an array may always unpack to."""

RATIO = 20
"""Beyond `FREE`, how many times its packed size an array may unpack to: numbers that were measured hardly shrink."""

PIECE = 4 << 20


@dataclass(frozen=True)
class Header:
    """What an array says of itself, before it is read."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def size(self) -> int:
        """Its bytes in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """The arrays of an open `.npz` whose names were asked for.

    `headers`: what is there, by name. `read` unpacks one of them. `others`: the names of those that were not asked for.
    """

    def __init__(self, file: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], what: str) -> None:
        self._file, self._members, self._what = file, members, what
        self.headers = {name: self._header(name) for name in members}
        everything = (name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy"))
        self.others = tuple(name for name in everything if name not in members)

    def read(self, name: str, ratio: int = RATIO) -> NDArray[Any]:
        """One of the arrays; `ratio` times its packed size may it be.

        Raises:
            DataError: it is damaged, or too large to be believed or held.
        """
        header, member = self.headers[name], self._members[name]
        check_size(header.size, member.compress_size, f"{self._what}: {name}", ratio)
        with self._said(name), self._file.open(member) as stream:
            _read_header(stream)
            array = _filled(stream, header)
        if header.dtype.kind == "U" and not _is_text(array):
            raise DataError(f"{self._what} is damaged: {name} holds what is no text; make the file again")
        return array.reshape(header.shape, order="F" if header.fortran else "C")

    def _header(self, name: str) -> Header:
        member = self._members[name]
        if member.flag_bits & 1:
            raise DataError(f"{self._what} is encrypted: unpack it with its password and save the arrays again")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{self._what} is packed in a way that is not read: save it by numpy.savez or numpy.savez_compressed"
            )
        with self._said(name), self._file.open(member) as stream:
            header, length = _read_header(stream)
        if header.dtype.hasobject:
            raise DataError(
                f"{self._what}: {name} are Python objects, which could run a program and are never read: "
                "save them as an array of numbers or text"
            )
        if length + header.size != member.file_size:
            raise DataError(f"{self._what} is damaged: {name} is of another length than it says; make the file again")
        return header

    @contextmanager
    def _said(self, name: str) -> Iterator[None]:
        with damaged(self._what, name):
            yield


@contextmanager
def damaged(what: str, name: str) -> Iterator[None]:
    """Say in a sentence that a part of a file cannot be decoded.

    Raises:
        DataError: in the place of whatever a decoder raises.
    """
    try:
        yield
    except (DataError, OSError):
        raise
    except MemoryError:
        raise DataError(f"{what}: there is not enough memory for {name}: split the file") from None
    # zipfile, zlib and NumPy raise a dozen classes of errors on bytes that are not theirs.
    except Exception:
        raise DataError(f"{what} is damaged: {name} cannot be decoded; make the file again") from None


@contextmanager
def opened(file: IO[bytes], names: Iterable[str], what: str) -> Iterator[Archive]:
    """The arrays of these names, where there are such, in an open `.npz`. `what`: how messages name the file.

    Raises:
        DataError: it is no `.npz`, or one of these arrays is not what it should be.
    """
    with damaged(what, "its table of contents"):
        archive = zipfile.ZipFile(file)
    with archive:
        members: dict[str, zipfile.ZipInfo] = {}
        wanted = {f"{name}.npy": name for name in names}
        for member in archive.infolist():
            name = wanted.get(member.filename)
            if name in members:
                raise DataError(f"{what} holds {name} twice: save the arrays again")
            if name:
                members[name] = member
        yield Archive(archive, members, what)


def check_size(size: int, packed: int, what: str, ratio: int = RATIO) -> None:
    """Refuse what unpacks to more than can be right, or than this machine has memory.

    Args:
        size: bytes when unpacked.
        packed: bytes in the file.
        what: the part and its file.
        ratio: how many times `packed` is allowed.

    Raises:
        DataError: it is too large.
    """
    if size > FREE and size > ratio * packed:
        raise DataError(
            f"{what} would unpack from {words(packed)} to {words(size)}, as no measured features do: "
            "if they are right, save them uncompressed (numpy.savez)"
        )
    if size > memory():
        raise DataError(f"{what} takes {words(size)}, more than this machine's memory: split the file")


def memory() -> int:
    """Return the bytes of memory of this machine; an exbibyte where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 60


def words(size: int) -> str:
    """Return a number of bytes as people say it."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size} bytes"


def _read_header(stream: IO[bytes]) -> tuple[Header, int]:
    """Return the header at the beginning of a `.npy`, and its length.

    Raises:
        ValueError: or whatever else; it is no header.
    """
    version = np.lib.format.read_magic(stream)
    # Version 3 is for records with names that are not Latin, which no array here is.
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran, dtype = read(stream)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"no shape: {shape}")
    return Header(dtype, shape, fortran), stream.tell()


def read_npy(stream: IO[bytes], size: int, what: str) -> NDArray[Any]:
    """Return the array of a `.npy` of `size` bytes.

    Raises:
        DataError: it is damaged, or holds Python objects.
    """
    with damaged(what, "it"):
        header, length = _read_header(stream)
        if header.dtype.hasobject or length + header.size != size:
            raise DataError(f"{what} is damaged or holds Python objects: save an array of numbers or text")
        check_size(header.size, size, what)
        array = _filled(stream, header)
        if header.dtype.kind == "U" and not _is_text(array):
            raise DataError(f"{what} is damaged: it holds what is no text; make the file again")
        return array.reshape(header.shape, order="F" if header.fortran else "C")


def _filled(stream: IO[bytes], header: Header) -> NDArray[Any]:
    """Return the values one after the other, [size]; the stream's checksum is compared at its end."""
    array = np.zeros(math.prod(header.shape), header.dtype)
    if not header.size:
        return array
    view, done = array.view(np.uint8), 0
    while done < header.size:
        piece = stream.read(min(PIECE, header.size - done))
        if not piece:
            raise EOFError
        view[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    if stream.read(1):
        raise ValueError("longer than it says")
    return array


def _is_text(array: NDArray[Any]) -> bool:
    """Return whether all characters are Unicode's: others end a program when they are made a string."""
    if not array.nbytes:
        return True
    points = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    return int(points.max()) <= 0x10FFFF
