from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from reidkit.errors import DataError
from reidkit.plots.image_grid import HEIGHT, LINE, SHEET_GAP, SHEET_MARGIN, write_sheet
from reidkit.types import NO_CAMERA, Dataset, Sample

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH = HEIGHT // 2
SHADES = {1: 40, 2: 80}


@pytest.fixture
def benchmark(tmp_path: Path) -> Dataset:
    """Person 1 in dark grey, two images; person 2 in lighter grey, seven images and a broken one."""
    samples = []
    for pid, count in ((1, 2), (2, 7)):
        for number in range(count):
            path = tmp_path / f"{pid}_{number}.png"
            Image.new("L", (32, 64), SHADES[pid]).save(path)
            samples.append(Sample(path, pid, number - 1))
    (tmp_path / "broken.jpg").write_bytes(b"")
    return Dataset("folder", train=(*samples, Sample(tmp_path / "broken.jpg", 2, 99)))


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.array(Image.open(path))


def cell(sheet: NDArray[np.uint8], row: int, column: int) -> NDArray[np.uint8]:
    top, left = SHEET_GAP + row * (HEIGHT + LINE + SHEET_GAP) + LINE, SHEET_MARGIN + column * (WIDTH + SHEET_GAP)
    return sheet[top : top + HEIGHT, left : left + WIDTH]


def test_two_rows_by_hand(benchmark: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    write_sheet(benchmark, path)
    sheet = pixels(path)
    assert sheet.shape == (SHEET_GAP + 2 * (HEIGHT + LINE + SHEET_GAP), SHEET_MARGIN + 8 * (WIDTH + SHEET_GAP), 3)
    for row, (pid, count) in enumerate([(1, 2), (2, 7)]):
        for column in range(count):
            assert (cell(sheet, row, column) == SHADES[pid]).all()
    assert (cell(sheet, 0, 2) == 255).all(), "nothing beyond the second image of person 1"
    crossed = cell(sheet, 1, 7)
    assert crossed[0, 0].tolist() == crossed[-1, -1].tolist() == [0xB0, 0x00, 0x20]
    assert crossed[HEIGHT // 2, 3].tolist() == [255, 255, 255]
    assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]


def test_every_image_has_its_camera_written_above(benchmark: Dataset, tmp_path: Path) -> None:
    assert benchmark.train[0].camid == NO_CAMERA
    write_sheet(benchmark, tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    labels = [
        sheet[
            SHEET_GAP : SHEET_GAP + LINE,
            SHEET_MARGIN + k * (WIDTH + SHEET_GAP) : SHEET_MARGIN + k * (WIDTH + SHEET_GAP) + WIDTH,
        ]
        for k in range(3)
    ]
    assert labels[0].min() < 128
    assert labels[1].min() < 128
    assert not np.array_equal(labels[0], labels[1])
    assert labels[2].min() == 255, "no image, no label"
    assert sheet[: SHEET_GAP + LINE + LINE, :SHEET_MARGIN].min() < 128, "the id"


def test_the_seed_chooses(benchmark: Dataset, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1)):
        write_sheet(benchmark, tmp_path / name, seed, ids=1, images=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    shades = set()
    for seed in range(10):
        write_sheet(benchmark, tmp_path / "c", seed, ids=1, images=1)
        shades.add(int(cell(pixels(tmp_path / "c"), 0, 0)[5, 5, 0]))
    assert set(SHADES.values()) <= shades


def test_without_training_images_the_test_images_are_drawn(benchmark: Dataset, tmp_path: Path) -> None:
    samples = benchmark.train
    write_sheet(Dataset("x", query=samples[:2], gallery=samples[2:]), tmp_path / "a.png")
    write_sheet(benchmark, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_all_broken_is_still_a_picture(tmp_path: Path) -> None:
    write_sheet(Dataset("x", train=(Sample(tmp_path / "none.jpg", 0, 0),)), tmp_path / "sheet.png")
    assert cell(pixels(tmp_path / "sheet.png"), 0, 0)[0, 0].tolist() == [0xB0, 0x00, 0x20]


def test_nothing_to_draw_and_nowhere_to_write(benchmark: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images to draw"):
        write_sheet(Dataset("empty"), tmp_path / "sheet.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_sheet(benchmark, tmp_path / "file" / "sheet.png")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"cannot be written \(Is a directory\): name a file"):
        write_sheet(benchmark, tmp_path / "folder")
    assert not list(tmp_path.glob("*.partial"))
