from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidkit.data.formats.detect import load_dataset, open_to_split
from reidkit.data.split import hold_out, make_split, queries_of, write_split
from reidkit.errors import DataError, UsageError
from reidkit.types import JUNK, NO_CAMERA, Sample
from tests.noise import file_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.data.split import How


def of(*labels: tuple[str, int, int]) -> tuple[Sample, ...]:
    return tuple(Sample(Path(name), pid, camid) for name, pid, camid in labels)


def test_queries_by_hand() -> None:
    """Camera 1 has two images of id 1 and camera 2 one, so camera 1 asks; none has two of id 2; id 3 has one camera."""
    samples = of(("a", 1, 1), ("b", 1, 1), ("c", 1, 2), ("d", 2, 1), ("e", 2, 2), ("f", 3, 1), ("g", 3, 1))
    assert {str(s.path) for s in queries_of(samples)} == {"a", "d"}
    assert {str(s.path) for s in queries_of(samples, "any")} == {"a", "d", "f"}
    unknown = of(("a", 1, NO_CAMERA), ("b", 1, NO_CAMERA), ("c", 2, NO_CAMERA))
    assert {str(s.path) for s in queries_of(unknown)} == {"a"}


LABELS = st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 2)), max_size=30)


@given(LABELS, st.booleans(), st.integers(0, 3))
def test_every_query_has_a_true_match_left(labels: list[tuple[int, int]], across: bool, seed: int) -> None:
    samples = of(*((f"{n}", pid, camid) for n, (pid, camid) in enumerate(labels)))
    asked = queries_of(samples, "cross" if across else "any", seed)
    gallery = [sample for sample in samples if sample not in asked]
    for query in asked:
        matches = [s for s in gallery if s.pid == query.pid]
        assert matches
        if across and query.camid != NO_CAMERA:
            assert [s for s in matches if s.camid not in (query.camid, NO_CAMERA)]


def test_held_out_ids(draw: Callable[..., Path]) -> None:
    """Ten ids of two cameras and one of a single image, which can only be trained on."""
    samples = of(*((f"{pid}{cam}", pid, cam) for pid in range(10) for cam in (1, 2)), ("x", 10, 1))
    for share, count in ((0.5, 6), (0.3, 3), (0.0, 1), (1.0, 10)):  # of 11, rounded to even
        train, test = hold_out(samples, share)
        assert len({s.pid for s in test}) == count
        assert 10 in {s.pid for s in train}
        assert not {s.pid for s in train} & {s.pid for s in test}
        assert len(train) + len(test) == len(samples)
    assert hold_out(samples, 0.5, 0) == hold_out(samples, 0.5, 0) != hold_out(samples, 0.5, 1)


def test_what_cannot_be_split() -> None:
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(UsageError, match="give one from 0 to 1"):
            hold_out(of(("a", 1, 1), ("b", 1, 2)), share)
    with pytest.raises(DataError, match="1 id is too few"):
        hold_out(of(("a", 1, 1), ("b", 1, 2)))
    with pytest.raises(DataError, match=r"no id was seen by two cameras.*split with cameras='any'"):
        hold_out(of(("a", 1, 1), ("b", 1, 1), ("c", 2, 2)))
    with pytest.raises(DataError, match="no id has two images"):
        hold_out(of(("a", 1, 1), ("c", 2, 2)))


@pytest.mark.parametrize("how", ["table", "copy", "link"])
def test_a_split_is_read_as_it_was_made(draw: Callable[..., Path], tmp_path: Path, how: How) -> None:
    names = [f"{pid}/{n}_c{n}_c9.jpg" for pid in range(4) for n in (1, 2, 3)]
    root = draw(*(f"people/{name}" for name in names), "people/-1/0_c1.jpg") / "people"
    made = make_split(*open_to_split(root), share=0.5)
    write_split(made, tmp_path / "new" / "out", how)
    found = load_dataset(tmp_path / "new" / "out")
    for part in ("train", "query", "gallery", "junk"):
        cameras = [Counter(s.camid for s in getattr(benchmark, part)) for benchmark in (made, found)]
        assert cameras[0] == cameras[1], part
        assert len(getattr(found, part)) == len(getattr(made, part)), part
    assert len(found.query) == 2
    assert [s.pid for s in found.junk] == [JUNK]
    pids = [{s.pid for s in part} for part in (found.train, found.query, found.gallery)]
    assert pids[1] == pids[2]
    assert not pids[0] & pids[1]
    assert not {file_of(s).resolve() for s in found.query} & {file_of(s).resolve() for s in found.gallery}
    assert [path.name for path in tmp_path.joinpath("new").iterdir()] == ["out"], "nothing else is left"
    with pytest.raises(DataError, match="out is there already: name a new folder"):
        write_split(made, tmp_path / "new" / "out", how)


def test_a_camera_whose_number_no_name_gives_back_is_refused(draw: Callable[..., Path], tmp_path: Path) -> None:
    """Folders have up to five digits in c<N>: with more, all cameras of the copies would be unknown."""
    labels = [(pid, cam) for pid in range(4) for cam in (5, 192168001)]
    root = draw(*(f"in/{pid}_{cam}.jpg" for pid, cam in labels))
    made = make_split(of(*((str(root / f"in/{pid}_{cam}.jpg"), pid, cam) for pid, cam in labels)))
    with pytest.raises(DataError, match=r"camera 192168001 has more digits .*: pass how='table'"):
        write_split(made, tmp_path / "new", "copy")
    assert not (tmp_path / "new").exists()
    write_split(made, tmp_path / "new")
    assert load_dataset(tmp_path / "new").train.camids.tolist() == made.train.camids.tolist()


def test_a_name_that_no_table_can_hold_is_named(draw: Callable[..., Path], tmp_path: Path) -> None:
    names = [f"in/{pid}/{os.fsdecode(name)}.jpg" for pid in "ab" for name in (b"c1_\xff", b"c2_\xfe")]
    made = make_split(*open_to_split(draw(*names) / "in"))
    with pytest.raises(
        DataError, match=r"the name of .*\.jpg is no UTF-8, as a table is: rename it, or pass how='copy'"
    ):
        write_split(made, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    write_split(made, tmp_path / "new", "copy")
    assert len(load_dataset(tmp_path / "new").train) == 2


def test_what_cannot_be_read_or_written_is_named(
    draw: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = draw(*(f"people/{pid}/c{cam}_{n}.jpg" for pid in "ab" for cam in (1, 2) for n in (1, 2))) / "people"
    made = make_split(*open_to_split(root), share=0.5)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/out cannot be written .*: name another folder"):
        write_split(made, tmp_path / "file" / "out")

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        with pytest.raises(
            DataError,
            match=r"new cannot be written \(No space left on device\): make room for it, or name another folder",
        ):
            write_split(made, tmp_path / "new", "copy")
    gone = root / "a" / "c1_1.jpg"
    gone.unlink()
    with pytest.raises(DataError, match=r"a/c1_1.jpg cannot be read \(No such file or directory\): repair it"):
        write_split(made, tmp_path / "new", "copy")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("ids", "called"), [(("anna", "bob", "0007"), {"anna", "bob", "0007"}), (("anna", "7.5", "x"), set())]
)
@pytest.mark.parametrize("how", ["table", "copy"])
def test_ids_keep_their_names(
    draw: Callable[..., Path], tmp_path: Path, how: How, ids: tuple[str, ...], called: set[str]
) -> None:
    """Unless one of them would not come back from a table: then numbers stand for all."""
    root = draw(*(f"people/{pid}/c{cam}_{n}.jpg" for pid in ids for cam in (1, 2) for n in (1, 2))) / "people"
    write_split(make_split(*open_to_split(root), share=0.5), tmp_path / "out", how)
    found = load_dataset(tmp_path / "out")
    assert {found.names.pid(s.pid) for s in (*found.train, *found.query)} == (
        called or ({"0", "1", "2"} if how == "table" else {"0000", "0001", "0002"})
    )


def test_cameras_that_are_not_known_stay_so(draw: Callable[..., Path], tmp_path: Path) -> None:
    root = draw(*(f"people/{pid}/{n}_x.jpg" for pid in "abcd" for n in range(3))) / "people"
    for how in ("table", "copy"):
        write_split(make_split(*open_to_split(root)), tmp_path / how, how)
        found = load_dataset(tmp_path / how)
        assert [len(found.train), len(found.query), len(found.gallery)] == [6, 2, 4]
        assert {s.camid for s in (*found.train, *found.query)} == {NO_CAMERA}


@pytest.mark.parametrize(
    "parts", [("train/{pid}/c{cam}_{n}.jpg", "test/{pid}/c{cam}_{n}.jpg"),
              ("bounding_box_train/{pid}_c{cam}s1_{n}.jpg", "bounding_box_test/{pid}_c{cam}s1_{n}.jpg")],
)  # fmt: skip
def test_a_test_split_is_what_is_held_out(draw: Callable[..., Path], parts: tuple[str, str]) -> None:
    names = [part.format(pid=pid, cam=cam, n=n) for part, pids in zip(parts, ((1, 2, 3), (8, 9)), strict=True)
             for pid in pids for cam in (1, 2) for n in (1, 2)]  # fmt: skip
    root = draw(*(f"around/own/{name}" for name in names)) / "around" / "own"
    for place in (root, root.parent, root.parent.parent):
        train, test, *_ = open_to_split(place)
        assert (len(train), len(test)) == (12, 8)
    made = make_split(train, test)
    assert [len(made.train), len(made.query), len(made.gallery)] == [12, 4, 4]


def test_no_query_shows_a_distractor_of_market1501(draw: Callable[..., Path]) -> None:
    names = [f"bounding_box_test/{pid:04d}_c{cam}s1_{n}.jpg" for pid in (0, 8) for cam in (1, 2) for n in (1, 2)]
    root = draw("bounding_box_train/0001_c1s1_1.jpg", *names)
    for format_ in (None, "market1501"):
        made = make_split(*open_to_split(root, format_))
        assert {sample.pid for sample in made.query} == {8}
        assert sorted(sample.pid for sample in made.gallery) == [0, 0, 0, 0, 8, 8]


def test_a_gallery_of_dukemtmc_is_split_as_its_refusal_says(draw: Callable[..., Path]) -> None:
    names = [f"bounding_box_test/{pid:04d}_c{cam}_f{n}.jpg" for pid in (0, 8) for cam in (1, 2) for n in (1, 2)]
    root = draw("bounding_box_train/0001_c1_f1.jpg", *names)
    with pytest.raises(DataError, match=f"`reidkit split {root} OUT`"):
        load_dataset(root)
    for format_ in (None, "dukemtmc"):
        made = make_split(*open_to_split(root, format_))
        assert {sample.pid for sample in made.query} == {0, 8}


def test_a_gallery_without_queries_is_what_is_held_out(draw: Callable[..., Path]) -> None:
    """Its ids are not trained on."""
    names = [f"{part}/{pid}/c{cam}_{n}.jpg" for part, pids in (("train", "abc"), ("gallery", "yz"))
             for pid in pids for cam in (1, 2) for n in (1, 2)]  # fmt: skip
    made = make_split(*open_to_split(draw(*names)), share=0.7)
    assert {made.names.pid(sample.pid) for sample in made.train} == set("abc")
    assert {made.names.pid(sample.pid) for sample in (*made.query, *made.gallery)} == set("yz")
    assert [len(made.query), len(made.gallery)] == [4, 4]


def test_what_has_queries_is_left_alone(draw: Callable[..., Path]) -> None:
    root = draw(*(f"{part}/{name}/a.jpg" for part in ("train", "query", "gallery") for name in "ab"))
    with pytest.raises(DataError, match="has a query and a gallery already"):
        open_to_split(root)


def test_an_unwritable_place_leaves_nothing(draw: Callable[..., Path], tmp_path: Path) -> None:
    root = draw(*(f"people/{pid}/{n}.jpg" for pid in "abcd" for n in range(3))) / "people"
    made = make_split(*open_to_split(root))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"Not a directory|File exists"):
        write_split(made, tmp_path / "file" / "out")
    file_of(made.gallery[0]).unlink()
    with pytest.raises(DataError, match="No such file"):
        write_split(made, tmp_path / "out", "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "people"]
