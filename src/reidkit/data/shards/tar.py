"""The table of contents of a tar, read from its headers alone; nothing is ever unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
_END = bytes(BLOCK)
_FILES = (b"0", b"\0", b"7")
_LONGEST = 1 << 20
"""A longer name, or extended header, is no name."""
_DIGITS = 18


class Entry(NamedTuple):
    """A regular file in a tar: its name as it stands there, and where its bytes are."""

    name: bytes
    start: int
    length: int


class Reader:
    """Pieces of a file, read `block` bytes at a time, because headers lie close together where images are small."""

    def __init__(self, read: Callable[[int, int], bytes], block: int) -> None:
        self._read, self._block = read, block
        self._data, self._start = b"", 0

    def __call__(self, start: int, length: int) -> bytes:
        """The bytes from `start` on; fewer at the end of the file."""
        first = start - self._start
        if first < 0 or first + length > len(self._data):
            self._data, self._start, first = self._read(start, max(length, self._block)), start, 0
        return self._data[first : first + length]


def walk(read: Callable[[int, int], bytes], size: int, where: str) -> Iterator[Entry]:
    """The regular files of a tar (ustar, GNU, pax) of `size` bytes, in order. Links, folders and devices are left out.

    Args:
        read: Gives the bytes from a start and of a length.
        size: Of the whole file, bytes.
        where: The file's name, for errors.

    Raises:
        DataError: it is no tar, it is damaged, or it ends too early; `where` is in the sentence.
    """
    place, name, length = 0, b"", -1
    while (header := read(place, BLOCK)) != _END:
        kind = _check(header, place, size, where)
        data = place + BLOCK
        own = _number(header[124:136], place, where)
        if kind in _FILES:
            own = own if length < 0 else length
            _check_end(name or _name(header), data + own, size, where)
            yield Entry(name or _name(header), data, own)
        else:
            _check_end(_name(header), data + own, size, where)
        if kind in (b"L", b"x"):
            told = read(data, min(own, _LONGEST))
            name, length = (told.rstrip(b"\0"), length) if kind == b"L" else _pax(told, name, length)
        elif kind != b"K":
            name, length = b"", -1
        place = data + -(-own // BLOCK) * BLOCK


def _check(header: bytes, place: int, size: int, where: str) -> bytes:
    """The kind of an entry."""
    if len(header) < BLOCK:
        if place == 0 and size:
            raise DataError(f"{where} is not a tar: it has only {size} bytes")
        raise DataError(f"{where} is cut short: it ends without the mark of a tar's end: copy it again")
    if header[257:262] != b"ustar" and not _sums_up(header):
        if place:
            raise DataError(f"{where} is damaged at byte {place}: copy it again")
        packed = header.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
        raise DataError(f"{where} is {'compressed: unpack it to a plain tar' if packed else 'not a tar'}")
    return header[156:157]


def _sums_up(header: bytes) -> bool:
    """Whether a header without the word `ustar`, as the oldest tars have it, is one by its checksum."""
    try:
        return int(header[148:156].strip(b"\0 "), 8) == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    except ValueError:
        return False


def _check_end(name: bytes, end: int, size: int, where: str) -> None:
    if end > size:
        shown = ascii(name.decode("utf-8", "backslashreplace"))[1:-1]
        raise DataError(f"{where} is cut short: {shown} ends at byte {end} and the file at {size}: copy it again")


def _number(field: bytes, place: int, where: str) -> int:
    try:
        value = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        value = -1
    if value < 0:
        raise DataError(f"{where} is damaged at byte {place}: copy it again")
    return value


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _pax(records: bytes, name: bytes, length: int) -> tuple[bytes, int]:
    """Name and length out of `LENGTH KEY=VALUE` records; what does not fit that is passed over."""
    while records:
        size, _, _ = records.partition(b" ")
        if not _is_count(size) or not 0 < int(size) <= len(records):
            break
        key, _, value = records[len(size) + 1 : int(size) - 1].partition(b"=")
        if key == b"path":
            name = value
        elif key == b"size" and _is_count(value):
            length = int(value)
        records = records[int(size) :]
    return name, length


def _is_count(digits: bytes) -> bool:
    """Whether this is a number of bytes: Python refuses to read one of thousands of digits, and no file has so many."""
    return digits.isdigit() and len(digits) <= _DIGITS
