"""Shards hold what the data set holds."""

from __future__ import annotations

import dataclasses
import errno
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.data.images import image_file
from reidkit.data.shards.writer import convert
from reidkit.errors import DataError, UsageError
from reidkit.types import SYNTHETIC, Names
from tests.data.shards.made import noise_shards, pair, picture, tar
from tests.noise import draw_noise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reidkit.types import Dataset, Sample

KINDS = ("webdataset", "parquet")


def told(samples: Sequence[Sample]) -> list[tuple[str, int, int, bytes]]:
    return [(s.path.name, s.pid, s.camid, s.path.read_bytes()) for s in samples]


def splits(benchmark: Dataset) -> list[list[tuple[str, int, int, bytes]]]:
    return [told(part) for part in (benchmark.train, benchmark.query, benchmark.gallery, benchmark.junk)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_same_images_in_the_same_order(tmp_path: Path, kind: Any, size: int) -> None:
    pytest.importorskip("pyarrow")
    noise = draw_noise(tmp_path / "market")
    gallery = noise / "bounding_box_test"
    (gallery / "-1_c1s1_000000_00.jpg").write_bytes(next(gallery.iterdir()).read_bytes())
    benchmark = load_dataset(noise)
    seen: list[tuple[int, int]] = []
    counts = convert(benchmark, tmp_path / "out", kind, size, lambda *now: seen.append(now))
    found = load_dataset(tmp_path / "out")
    assert found.name == kind
    assert splits(found) == splits(benchmark)
    assert (counts["images"], counts["kept"]) == (32 + 4 + 16 + 1, 0)
    assert seen[-1] == (53, 53)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == counts["shards"] + 1
    if size == 1000:
        end = "tar" if kind == "webdataset" else "parquet"
        assert names == [f"gallery-00000.{end}", f"query-00000.{end}", "reidkit-index.npz", f"train-00000.{end}"]


def test_the_tars_are_those_of_any_program(tmp_path: Path) -> None:
    convert(load_dataset(draw_noise(tmp_path / "market")), tmp_path / "out", "webdataset", 5)
    with tarfile.open(tmp_path / "out" / "train-00000.tar") as made:
        assert made.getnames()[:3] == ["0001_c1s1_000000_00.jpg", "0001_c1s1_000000_00.json", "0001_c1s1_000001_00.jpg"]
        told_of = made.extractfile("0001_c1s1_000000_00.json")
        assert told_of is not None
        assert told_of.read() == b'{"pid": 1, "camid": 1, "split": "train"}'


def test_people_stay_together(tmp_path: Path, jpeg: bytes) -> None:
    """Three people, mixed up, of 3, 2 and 5 images in shards of 4: the second does not fit, the third never does."""
    lines = ["path,pid,camid,split"]
    for n, pid in enumerate([1, 2, 3, 3, 1, 3, 2, 1, 3, 3]):
        (tmp_path / f"{n}.jpg").write_bytes(jpeg)
        lines.append(f"{n}.jpg,{pid},0,train")
    (tmp_path / "people.csv").write_text("\n".join(lines))
    convert(load_dataset(tmp_path / "people.csv"), tmp_path / "out", "webdataset", 4)
    shards = [load_dataset(path).train for path in sorted((tmp_path / "out").glob("*.tar"))]
    found = [[sample.path.name[0] for sample in part] for part in shards]
    assert found == [["0", "4", "7"], ["1", "6"], ["2", "3", "5", "8"], ["9"]]


@pytest.mark.parametrize("kind", KINDS)
def test_what_ids_and_cameras_are_called_goes_along(tmp_path: Path, jpeg: bytes, kind: Any) -> None:
    """Also where the first image has no name, being junk of an unknown camera, and out of the index and without it."""
    pytest.importorskip("pyarrow")
    rows = ["path,pid,camid,split", "0.jpg,-1,,gallery", "1.jpg,zoe,yard,gallery", "2.jpg,anna,door,query"]
    for n in range(3):
        (tmp_path / f"{n}.jpg").write_bytes(jpeg)
    (tmp_path / "t.csv").write_text("\n".join(rows))
    table, out = load_dataset(tmp_path / "t.csv"), tmp_path / "out"
    convert(table, out, kind, 8)
    for _ in range(2):
        found = load_dataset(out)
        assert found.names == table.names == Names({0: "anna", 1: "zoe"}, {0: "door", 1: "yard"})
        assert [(s.pid, s.camid) for s in (*found.query, *found.gallery, *found.junk)] == [(0, 0), (1, 1), (-1, -1)]
        (out / "reidkit-index.npz").unlink(missing_ok=True)
    assert convert(table, out, kind, 8)["kept"] == 2
    renamed = dataclasses.replace(table, names=Names({0: "anna", 1: "zoë"}, table.names.camids))
    assert convert(renamed, out, kind, 8)["kept"] == 1


def test_names_that_would_be_alike(tmp_path: Path, jpeg: bytes) -> None:
    """A name keeps its folder; a dot in it, which would end the key, goes; what is then alike gets its number."""
    for name in ("anna/1_c1.jpg", "bob/1_c1.jpg", "bob/a.b_c1.PNG", "bob/a_b_c1.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(jpeg)
    convert(load_dataset(tmp_path / "in"), tmp_path / "out", "webdataset", 10)
    keys = [str(s.path).partition(":")[2] for s in load_dataset(tmp_path / "out").train]
    assert keys == ["anna/1_c1.jpg", "bob/1_c1.jpg", "00000002_bob_a_b_c1.png", "00000003_bob_a_b_c1.jpg"]


def test_no_name_leads_out_of_the_folder_that_a_tar_is_unpacked_into(tmp_path: Path, jpeg: bytes) -> None:
    """Tables name images as ../photos/a.jpg; a tar from elsewhere may hold any name."""
    for name in ("lists/own/b.jpg", "photos/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpeg)
    table = tmp_path / "lists" / "all.csv"
    table.write_text("path,pid\n../photos/a.jpg,1\nown/b.jpg,1\n")
    convert(load_dataset(table), tmp_path / "out", "webdataset", 10)
    assert [s.path.key for s in load_dataset(tmp_path / "out").train] == ["photos/a.jpg", "lists/own/b.jpg"]  # type: ignore[attr-defined]

    tar(tmp_path / "theirs" / "train-0.tar", [f for key in ("../../a", "/b", "./c") for f in pair(key, jpeg, pid=1)])
    convert(load_dataset(tmp_path / "theirs"), tmp_path / "again", "webdataset", 10)
    assert [s.path.key for s in load_dataset(tmp_path / "again").train] == ["a.jpg", "b.jpg", "c.jpg"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_was_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    pytest.importorskip("pyarrow")
    benchmark, out = load_dataset(draw_noise(tmp_path / "market")), tmp_path / "out"

    def stop(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(benchmark, out, kind, 8, stop)
    there = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(there) == 2
    first = min(out.iterdir())
    first.write_bytes(first.read_bytes()[:2000])  # damaged since
    assert convert(benchmark, out, kind, 8)["kept"] == 1
    assert splits(load_dataset(out)) == splits(benchmark)
    assert convert(benchmark, out, kind, 8)["kept"] == 7, "all, the next time"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("same_size", [False, True])
def test_an_image_that_changed_is_written_anew(tmp_path: Path, kind: Any, same_size: bool) -> None:
    pytest.importorskip("pyarrow")
    noise, out = draw_noise(tmp_path / "market"), tmp_path / "out"
    convert(load_dataset(noise), out, kind, 8)
    first = min((noise / "bounding_box_train").iterdir())
    before = first.read_bytes()
    new = before[:-20] + bytes([before[-20] ^ 1]) + before[-19:] if same_size else picture(3)
    first.write_bytes(new)
    assert convert(load_dataset(noise), out, kind, 8)["kept"] == 6
    assert load_dataset(out).train[0].path.read_bytes() == new


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_image_is_not_packed(tmp_path: Path, kind: Any, jpeg: bytes) -> None:
    """A table, or a link with the name of an image, may name any file, and shards are given to others."""
    pytest.importorskip("pyarrow")
    secret = tmp_path / "id_rsa"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----")
    (tmp_path / "people.csv").write_text("path,pid,camid,split\nid_rsa,1,0,train\n")
    (tmp_path / "set" / "train" / "anna").mkdir(parents=True)
    (tmp_path / "set" / "train" / "anna" / "0_c1.jpg").write_bytes(jpeg)
    (tmp_path / "set" / "train" / "anna" / "1_c1.jpg").symlink_to(secret)
    for given, name in (("people.csv", "id_rsa"), ("set", "1_c1")):
        with pytest.raises(DataError, match=rf"{name}.* is not an image.*: mend it, or take it out of the data set"):
            convert(load_dataset(tmp_path / given), tmp_path / "out", kind, 8)
        assert not any(b"OPENSSH" in path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_the_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    for out in ("a", "b"):
        convert(load_dataset(draw_noise(tmp_path / "market")), tmp_path / out, "webdataset", 8)
    pairs = [(path, tmp_path / "b" / path.name) for path in (tmp_path / "a").glob("*.tar")]
    assert pairs
    assert all(one.read_bytes() == other.read_bytes() for one, other in pairs)


def test_from_shards_to_shards(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    benchmark = load_dataset(noise_shards(tmp_path / "one"))
    convert(benchmark, tmp_path / "two", "parquet", 10)
    convert(load_dataset(tmp_path / "two"), tmp_path / "three", "webdataset", 10)
    assert splits(load_dataset(tmp_path / "three")) == splits(benchmark)


def test_what_is_refused(tmp_path: Path) -> None:
    noise, out = load_dataset(draw_noise(tmp_path / "market")), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds something else \(thesis\.txt\): give a folder that is empty"):
        convert(noise, out, "webdataset", 8)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="images_per_shard=1 or more"):
        convert(noise, tmp_path / "new", "webdataset", 0)
    next((tmp_path / "market" / "query").iterdir()).unlink()
    with pytest.raises(DataError, match=r"query/.*\.jpg cannot be read: No such file"):
        convert(noise, tmp_path / "new", "webdataset", 8)


def test_a_full_disk_keeps_what_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, out = load_dataset(draw_noise(tmp_path / "market")), tmp_path / "out"
    written: list[str] = []
    real = os.fsync

    def fill(number: int) -> None:
        written.append("")
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr("os.fsync", fill)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\): make room"):
        convert(benchmark, out, "webdataset", 8)
    assert sorted(path.name for path in out.iterdir()) == ["train-00000.tar", "train-00001.tar"]
    assert convert(benchmark, out, "webdataset", 8)["kept"] == 2


def test_drawn_people_stay_synthetic(tmp_path: Path) -> None:
    noise = draw_noise(tmp_path / "market")
    (noise / "README.txt").write_text(SYNTHETIC)
    convert(load_dataset(noise), tmp_path / "out", "webdataset", 8)
    assert load_dataset(tmp_path / "out").name == "synthetic"


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_found_by_its_string(tmp_path: Path, kind: Any) -> None:
    pytest.importorskip("pyarrow")
    convert(load_dataset(draw_noise(tmp_path / "market")), tmp_path / "out", kind, 8)
    for sample in load_dataset(tmp_path / "out").gallery:
        assert image_file(str(sample.path)) == sample.path
    loose = tmp_path / "market" / "query"
    for text in (str(loose), f"{tmp_path}/out/none.tar:a.jpg", f"{tmp_path}/nowhere/a.tar:b.jpg"):
        assert str(image_file(text)) == text
