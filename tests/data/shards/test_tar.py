"""Against the standard library's tarfile."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.data.shards.webdataset import Entry, Reader, walk
from reidkit.errors import DataError
from tests.data.shards.made import tar

if TYPE_CHECKING:
    from pathlib import Path

FORMS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def contents(data: bytes, block: int = 1024) -> list[Entry]:
    reader = Reader(lambda start, length: data[start : start + length], block)
    return list(walk(reader, len(data), "a.tar"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block", [1, 512, 1 << 20])
def test_names_and_bytes_are_those_of_tarfile(tmp_path: Path, form: int, block: int) -> None:
    long = "d" * 90 + "/" + "n" * 60 + ".jpg"  # too long for the 100 letters of a header
    files = [("a.jpg", b"one"), ("empty.jpg", b""), (long, b"x" * 512), ("b/ä.jpg", b"y" * 513)]
    data = tar(tmp_path / "a.tar", files, form).read_bytes()
    found = contents(data, block)
    assert [(entry.name.decode(), data[entry.start : entry.start + entry.length]) for entry in found] == files


def test_only_files_are_listed_and_hostile_names_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as made:
        for name, kind in (("folder", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            made.addfile(entry)
        made.addfile(tarfile.TarInfo("../../evil.jpg"))
        made.addfile(tarfile.TarInfo("/etc/evil.jpg"))
    assert [entry.name for entry in contents(path.read_bytes())] == [b"../../evil.jpg", b"/etc/evil.jpg"]
    assert [child.name for child in tmp_path.iterdir()] == ["a.tar"], "nothing is unpacked"


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    data = tar(tmp_path / "a.tar", [("caf\udce9.jpg", b"1")]).read_bytes()
    assert contents(data)[0].name == b"caf\xe9.jpg"


@pytest.mark.parametrize("end", [0, 100, 700, 1500, 2048])
def test_a_tar_that_is_cut_short(tmp_path: Path, end: int) -> None:
    """Of 512 header, 1024 bytes, 512 header, 512 bytes: cut in a header, in a file, and between files."""
    data = tar(tmp_path / "a.tar", [("a.jpg", bytes(1024)), ("b.jpg", b"2")]).read_bytes()
    with pytest.raises(DataError, match=r"^a\.tar is (cut short|not a tar).*[a-z]$"):
        contents(data[:end])


def test_where_the_cut_is_is_said(tmp_path: Path) -> None:
    data = tar(tmp_path / "a.tar", [("a.jpg", bytes(1024))]).read_bytes()
    with pytest.raises(DataError, match=r"cut short: a\.jpg ends at byte 1536 and the file at 1500: copy it again"):
        contents(data[:1500])


@pytest.mark.parametrize("behind", [b"\0" * 2048 + b"x", bytes(2 << 20)], ids=["goes on", "a hole"])
def test_zeros_in_the_midst_are_no_end(tmp_path: Path, behind: bytes) -> None:
    """A header of zeros is what a disk leaves where it wrote nothing: the images behind it would be lost in silence."""
    whole = tar(tmp_path / "a.tar", [("a.jpg", bytes(1024))]).read_bytes()
    assert contents(whole + bytes(9000)) == contents(whole)
    with pytest.raises(
        DataError, match=r"damaged: the mark of a tar's end is at byte 1536, and the file goes on: copy"
    ):
        contents(whole + behind)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x1f\x8b" + bytes(2000), "is compressed: unpack it to a plain tar"),
        (b"no tar" * 500, "is not a tar"),
        (b"PK" + bytes(1000), "is not a tar"),
    ],
)
def test_what_is_no_tar(data: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        contents(data)


def test_a_tar_of_the_oldest_kind_is_told_by_its_checksum(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("a.jpg")
    header = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
    header[257:512] = bytes(255)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    assert contents(bytes(header) + bytes(1024)) == [Entry(b"a.jpg", 512, 0)]
    header[0] ^= 1
    with pytest.raises(DataError, match="not a tar"):
        contents(bytes(header) + bytes(1024))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_ends_in_a_sentence_or_in_entries_inside_the_file(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=data.draw(st.sampled_from(FORMS))) as made:
        for name in (f"{'a' * 60}/{'b' * 60}", "b.jpg"):
            entry = tarfile.TarInfo(name)
            entry.size = 600
            made.addfile(entry, io.BytesIO(bytes(600)))
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = contents(bytes(raw))
    except DataError:
        return
    assert all(0 <= entry.start <= entry.start + entry.length <= len(raw) for entry in found)


@pytest.mark.parametrize("records", [b"9" * 5000 + b" path=a\n", b"5013 size=" + b"9" * 5000 + b"\n"])
def test_numbers_of_thousands_of_digits_are_passed_over(records: bytes) -> None:
    """Python refuses to read such a number by a ValueError."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, kind, data in (("p", b"x", records), ("a.jpg", b"0", b"image")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(data)
            file.addfile(entry, io.BytesIO(data))
    (found,) = contents(made.getvalue())
    assert (found.name, found.length) == (b"a.jpg", 5)
