from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats.detect import FORMATS, GUESSED, load_dataset, merge_datasets
from reidkit.errors import DataError, UsageError
from reidkit.types import NO_CAMERA, Dataset, Sample
from tests.noise import file_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOXES = ("bounding_box_train", "query", "bounding_box_test")
TREES = {
    "market1501": [f"{part}/0002_c1s1_000451_03.jpg" for part in BOXES],
    "dukemtmc": [f"{part}/0001_c2_f0046182.jpg" for part in BOXES],
    "msmt17": [f"{part}/0000/0000_000_01_0303morning_0015_0.jpg" for part in ("train", "test")],
    "msmt17-v2": [f"mask_{part}_v2/0000/0000_000_01_0303morning_0015_0.jpg" for part in ("train", "test")],
    "cuhk03-detected": [f"{kind}/{part}/0001_c1_1.png" for kind in ("detected", "labeled") for part in BOXES],
    "veri776": [f"image_{part}/0001_c001_00016450_0.jpg" for part in ("train", "query", "test")],
    "mars": [f"{part}/0001/0001C1T0001F001.jpg" for part in ("bbox_train", "bbox_test")],
    "ltcc": [f"{part}/000_1_c3_015833.png" for part in ("train", "query", "test")],
    "celeb-reid": [f"{part}/1_2_0.jpg" for part in ("train", "query", "gallery")],
    "vehicleid": ["image/0000001.jpg"],
    "veri-wild": ["images/00001/000001.jpg"],
    "csv": ["images/1/a.jpg"],
    "folder": [f"{part}/anna/a_c1.jpg" for part in ("train", "query", "gallery")],
}


@pytest.fixture
def lay(draw: Callable[..., Path]) -> Callable[[str], Path]:
    """A function that writes a small data set of the named format into a folder of that name."""

    def write(name: str) -> Path:
        root = draw(*(f"all/{name}/{path}" for path in TREES[name])) / "all" / name
        if name == "csv":
            (root / "people.csv").write_text("path,pid,camid,split\nimages/1/a.jpg,1,0,train\n")
        if name.startswith("ve") and name != "veri776":
            (root / "train_test_split").mkdir()
            (root / "train_test_split/train_list.txt").write_text(
                "0000001 1\n" if name == "vehicleid" else "00001/000001\n"
            )
        for part in ("train", "val", "query", "gallery"):
            if name.startswith("msmt17"):
                (root / f"list_{part}.txt").write_text("0000/0000_000_01_0303morning_0015_0.jpg 0\n")
        return root

    return write


@pytest.mark.parametrize("name", TREES)
def test_the_layout_says_the_format(lay: Callable[[str], Path], name: str) -> None:
    root = lay(name)
    found = load_dataset(root)
    assert found.name == name
    assert len(found.train) == 1
    assert load_dataset(root.parent) == found, "the folder around it"
    assert load_dataset(root, name.removesuffix("-v2")) == found


@pytest.mark.parametrize("name", TREES)
def test_a_format_does_not_take_another_for_its_own(lay: Callable[[str], Path], name: str) -> None:
    """Only `folder` fits nearly everything, and cuhk03's variants are told apart by name."""
    root = lay(name)
    fitting = {other for other in GUESSED if FORMATS[other].matches(root)}
    expected = {"msmt17-v2": "msmt17", "cuhk03-detected": "cuhk03"}.get(name, name)
    assert fitting == {expected} - {"folder"}


def test_the_variants_of_cuhk03_and_msmt17(lay: Callable[[str], Path]) -> None:
    assert load_dataset(lay("cuhk03-detected"), "cuhk03-labeled").name == "cuhk03-labeled"
    with pytest.raises(
        DataError, match=r"splits_classic_labeled.json is not there, and CUHK03 in the classic protocol"
    ):
        load_dataset(lay("cuhk03-detected"), "cuhk03-classic-labeled-19")
    assert len(load_dataset(lay("msmt17"), "msmt17-trainval").train) == 2


def test_a_csv_file_and_another_file(lay: Callable[[str], Path]) -> None:
    root = lay("csv")
    assert load_dataset(root / "people.csv") == load_dataset(root)
    with pytest.raises(DataError, match=r"a.jpg is a file: give the folder of a data set"):
        load_dataset(root / "images/1/a.jpg")


def test_several_data_sets_are_a_question(lay: Callable[[str], Path]) -> None:
    lay("dukemtmc")
    around = lay("market1501").parent
    with pytest.raises(DataError, match="several data sets: choose dukemtmc or market1501"):
        load_dataset(around)
    assert load_dataset(around, "dukemtmc").name == "dukemtmc"


def test_a_folder_beside_a_data_set_does_not_hide_it(lay: Callable[[str], Path], draw: Callable[..., Path]) -> None:
    around = lay("market1501").parent
    draw("all/holiday/beach.jpg")
    assert load_dataset(around).name == "market1501"


def test_a_data_set_two_levels_down(draw: Callable[..., Path]) -> None:
    """`reid-data/market1501/Market-1501-v15.09.15`, as one collection lays them out."""
    names = [f"{part}/0002_c1s1_000451_03.jpg" for part in BOXES]
    root = draw(*(f"market1501/Market-1501-v15.09.15/{name}" for name in names))
    for named in (None, "market1501"):
        assert load_dataset(root, named).name == "market1501"
    draw(*(f"dukemtmc-reid/DukeMTMC-reID/{part}/0001_c2_f0046182.jpg" for part in BOXES))
    one, other = "dukemtmc-reid/DukeMTMC-reID", "market1501/Market-1501-v15.09.15"
    with pytest.raises(DataError, match=f"several data sets: choose {one} or {other}"):
        load_dataset(root)
    assert load_dataset(root / one).name == "dukemtmc"
    draw("shop/people/anna/a.jpg", "shop/people/bob/b.jpg")
    assert load_dataset(root / "shop").name == "folder"


def test_occluded_duke_is_called_so(draw: Callable[..., Path]) -> None:
    root = draw(*(f"Occluded_Duke/{part}/0001_c2_f0046182.jpg" for part in BOXES))
    assert load_dataset(root).name == "occluded-duke"
    (root / "Occluded_Duke").rename(root / "duke")
    assert load_dataset(root).name == "dukemtmc"
    assert load_dataset(root, "occluded-duke").name == "occluded-duke"


def test_errors_are_one_line_that_helps(draw: Callable[..., Path]) -> None:
    root = draw("flat/a.jpg")
    (root / "empty" / "inner").mkdir(parents=True)
    cases = {
        root / "none": "none is not there",
        root / "empty": "empty holds no images",
        root / ("x" * 300): "cannot be read: File name too long",
        root
        / "flat": r"flat holds images straight, such as a.jpg: sort them .*flat/<id>/<image>\), or list them in a .csv",
    }
    for place, reason in cases.items():
        with pytest.raises(DataError, match=reason) as caught:
            load_dataset(place)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        UsageError, match="there is no format market: the formats are market1501, market1501-train, dukemtmc"
    ):
        load_dataset(root, "market")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_complains_of_an_empty_folder(tmp_path: Path, name: str) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=str(place)):
            load_dataset(place, name)


def of(*labels: tuple[str, int, int], root: Path) -> tuple[Sample, ...]:
    return tuple(Sample(root / name, pid, camid) for name, pid, camid in labels)


def test_merging_by_hand(tmp_path: Path) -> None:
    """The first uses pids up to 9 and camids up to 5, so the second's 0 becomes 10 and its camera 0 becomes 6.

    The first's distractor, pid 0, and the second's person 0 stay two. -1 stays -1.
    """
    market = Dataset(
        "market1501",
        train=of(("a", 2, 5), root=tmp_path),
        query=of(("b", 9, 0), root=tmp_path),
        gallery=of(("c", 0, 1), ("d", 9, 1), root=tmp_path),
        junk=of(("e", -1, 3), root=tmp_path),
    )
    own = Dataset(
        "folder",
        train=of(("f", 0, 0), ("g", 1, NO_CAMERA), root=tmp_path),
        query=of(("h", 0, 0), root=tmp_path),
        gallery=of(("i", 0, 2), root=tmp_path),
        junk=of(("j", -1, 1), root=tmp_path),
    )
    third = Dataset("csv", train=of(("k", 0, 0), root=tmp_path))
    found = merge_datasets([market, own, third])
    assert found.name == "market1501+folder+csv"
    assert found.train == of(("a", 2, 5), ("f", 10, 6), ("g", 11, NO_CAMERA), ("k", 12, 9), root=tmp_path)
    assert found.query == of(("b", 9, 0), ("h", 10, 6), root=tmp_path)
    assert found.gallery == of(("c", 0, 1), ("d", 9, 1), ("i", 10, 8), root=tmp_path)
    assert found.junk == of(("e", -1, 3), ("j", -1, 7), root=tmp_path)


def test_one_alone_stays_what_it_is(lay: Callable[[str], Path]) -> None:
    alone = load_dataset(lay("market1501"))
    assert merge_datasets([alone]) == alone


def test_twice_the_same_is_a_mistake(lay: Callable[[str], Path]) -> None:
    alone = load_dataset(lay("market1501"))
    with pytest.raises(DataError, match="is in two of the data sets"):
        merge_datasets([alone, alone])
    root = lay("market1501")
    (root.parent / "link").symlink_to(root)
    for other in (root.parent / "link", root / ".." / root.name):
        with pytest.raises(DataError, match=f"{file_of(alone.train[0]).name} is in two of the data sets"):
            merge_datasets([alone, load_dataset(other)])
    with pytest.raises(DataError, match="no data set is given"):
        merge_datasets([])


def test_archives_are_to_be_unpacked(tmp_path):
    (tmp_path / "Photos.ZIP").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"Photos.ZIP is an archive: unpack it"):
        load_dataset(tmp_path / "Photos.ZIP")
    with pytest.raises(DataError, match=r"holds no images: unpack Photos.ZIP"):
        load_dataset(tmp_path)
