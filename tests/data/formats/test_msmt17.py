from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import msmt17
from reidkit.errors import DataError
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LISTS = {
    "train": ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_000_15_0303noon_0015_0.jpg 1"],
    "val": ["0002/0002_007_03_0303morning_0020_1.jpg 2"],
    "query": ["0000/0000_004_02_0303afternoon_0100_0.jpg 0"],
    "gallery": ["0000/0000_001_07_0303morning_0042_1.jpg 0", "0001/0001_000_05_0303evening_0042_0.jpg 1"],
}


@pytest.fixture(params=[("train", "test"), ("mask_train_v2", "mask_test_v2")], ids=["v1", "v2"])
def root(request: pytest.FixtureRequest, draw: Callable[..., Path]) -> Path:
    train, test = request.param
    folders = {"train": train, "val": train, "query": test, "gallery": test}
    root = draw(*(f"{folders[part]}/{line.split()[0]}" for part, lines in LISTS.items() for line in lines))
    for part, lines in LISTS.items():
        (root / f"list_{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_lists_by_hand(root: Path) -> None:
    """Three people to train on (one only in list_val.txt), so the test folder's person 0 becomes 3."""
    found = msmt17.load(root)
    train, test = ("mask_train_v2", "mask_test_v2") if found.name == "msmt17-v2" else ("train", "test")
    assert found.train == (
        Sample(root / train / "0000/0000_000_01_0303morning_0015_0.jpg", 0, 1),
        Sample(root / train / "0001/0001_000_15_0303noon_0015_0.jpg", 1, 15),
    )
    assert found.query == (Sample(root / test / "0000/0000_004_02_0303afternoon_0100_0.jpg", 3, 2),)
    assert [(sample.pid, sample.camid) for sample in found.gallery] == [(3, 7), (4, 5)]


def test_with_val_there_is_more_to_train_on(root: Path) -> None:
    without, with_val = msmt17.load(root), msmt17.load(root, with_val=True)
    assert [sample.pid for sample in with_val.train] == [0, 1, 2]
    assert (with_val.query, with_val.gallery) == (without.query, without.gallery)


def test_windows_line_ends_and_empty_lines(root: Path) -> None:
    expected = msmt17.load(root)
    table = root / "list_train.txt"
    table.write_bytes(table.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert msmt17.load(root) == expected


@pytest.mark.parametrize("line", ["0000/0000_000_01_0303.jpg", "0000.jpg 0", "0000/0000_000_xx_x.jpg 0"])
def test_a_line_that_does_not_fit_is_named(root: Path, line: str) -> None:
    table = root / "list_gallery.txt"
    table.write_text(LISTS["gallery"][0] + "\n" + line + "\n")
    with pytest.raises(DataError, match=r"list_gallery.txt line 2 does not read like"):
        msmt17.load(root)


def test_what_is_missing_is_named(root: Path) -> None:
    (root / "list_val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not text: unpack the data set again"):
        msmt17.load(root)
    (root / "list_val.txt").write_text("\n")
    with pytest.raises(DataError, match="names no images"):
        msmt17.load(root)
    (root / "list_val.txt").unlink()
    with pytest.raises(DataError, match=r"cannot be read .No such file"):
        msmt17.load(root)


def test_lists_without_the_images(root: Path) -> None:
    for name in ("test", "mask_test_v2"):
        if (root / name).exists():
            (root / name).rename(root / "moved")
    with pytest.raises(
        DataError, match=r"0000_004_02_0303afternoon_0100_0.jpg, which list_query.txt names, is not there"
    ):
        msmt17.load(root)
