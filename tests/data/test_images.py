"""The image cache: whole or not at all, never stale; and the two sources under one contract."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from reidkit.data import load_dataset, sources
from reidkit.data.cache import default_cache_dir
from reidkit.data.decode import resize
from reidkit.data.images import open_images, read_for_display
from reidkit.data.sources import decode_all
from reidkit.errors import DataError, UsageError
from reidkit.types import Sample
from tests.noise import file_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource

H, W = 12, 8
SIZE = (H, W)


def picture(seed: int, height: int = H, width: int = W) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(folder: Path, count: int) -> list[Sample]:
    """PNGs at the input size, so that the pixels come back as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(picture(i)).save(path)
    return [Sample(path, i, 0) for i, path in enumerate(paths)]


def pixels(source: ImageSource, *indices: int) -> NDArray[np.uint8]:
    array, rows = source.rows(np.array(indices or range(len(source)), dtype=np.int64))
    return array[rows]


def no_decoding(path: Path) -> NDArray[np.uint8]:
    raise AssertionError(f"{path} is decoded again")


@pytest.fixture(params=["mapped", "streamed"])
def cache_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "cache" if request.param == "mapped" else None


def test_images_come_back(tmp_path: Path, cache_dir: Path | None) -> None:
    samples = write(tmp_path / "set", 70)
    source = open_images(samples, SIZE, cache_dir=cache_dir)
    assert source.samples == tuple(samples)
    assert source.readable.tolist() == list(range(70))
    assert (len(source), source.size) == (70, (H, W))
    assert np.array_equal(pixels(source), np.stack([picture(i) for i in range(70)]))
    assert np.array_equal(pixels(source, 69, 0, 0, 33), np.stack([picture(i) for i in (69, 0, 0, 33)]))
    assert not source.rows(np.array([1]))[0].flags.writeable


def triangle(image: NDArray[Any], size: int) -> NDArray[np.float64]:
    """The columns [size, ...]: each the mean of the source under a triangle two target pixels wide (at least two)."""
    scale = len(image) / size
    reach = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs((np.arange(len(image)) + 0.5)[None] - centres[:, None]) / reach)
    out: NDArray[np.float64] = np.tensordot(weights / weights.sum(1, keepdims=True), image.astype(float), 1)
    return out


@pytest.mark.parametrize("shape", [(24, 16), (31, 5), (7, 90), (12, 9)])
def test_resized_by_the_definition(tmp_path: Path, cache_dir: Path | None, shape: tuple[int, int]) -> None:
    image = picture(3, *shape)
    Image.fromarray(image).save(tmp_path / "a.png")
    source = open_images([Sample(tmp_path / "a.png", 0, 0)], SIZE, cache_dir=cache_dir)
    expected = triangle(triangle(image, H).swapaxes(0, 1), W).swapaxes(0, 1)
    assert np.abs(pixels(source)[0] - expected).max() < 1.6


def test_broken_images_are_refused(tmp_path: Path, cache_dir: Path | None) -> None:
    samples = write(tmp_path / "set", 9)
    file_of(samples[1]).write_bytes(b"no image")
    file_of(samples[3]).unlink()
    file_of(samples[4]).write_bytes(file_of(samples[0]).read_bytes()[:60])
    file_of(samples[8]).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        open_images(samples, SIZE, cache_dir=cache_dir)
    sentence = str(caught.value)
    assert "4 of 9 images" in sentence
    assert "skip_unreadable=True" in sentence
    assert "\n" not in sentence
    assert [name in sentence for name in ("001.png", "003.png", "004.png", "008.png")] == [True, True, True, False]


def test_broken_images_are_left_out(tmp_path: Path, cache_dir: Path | None) -> None:
    samples = write(tmp_path / "set", 5)
    file_of(samples[1]).write_bytes(b"no image")
    source = open_images(samples, SIZE, cache_dir=cache_dir, skip_unreadable=True)
    assert source.readable.tolist() == [0, 2, 3, 4]
    assert [sample.pid for sample in source.samples] == [0, 2, 3, 4]
    assert np.array_equal(pixels(source, 1, 3), np.stack([picture(2), picture(4)]))
    with pytest.raises(DataError, match="1 of 5"):
        open_images(samples, SIZE, cache_dir=cache_dir)


@pytest.mark.parametrize("size", [128, (64,), (0, 64), (64.5, 32), ("64", "32")])
def test_what_is_no_size(noise: Path, size: Any) -> None:
    with pytest.raises(UsageError, match="size") as told:
        open_images(load_dataset(noise).train, size)
    assert told.value.argument == "size"


def test_nothing_to_open(tmp_path: Path, cache_dir: Path | None) -> None:
    with pytest.raises(DataError, match="there is no image"):
        open_images([], SIZE, cache_dir=cache_dir)
    missing = [Sample(tmp_path / f"{i}.jpg", i, 0) for i in range(2)]
    with pytest.raises(DataError, match="2 of 2 images cannot be read"):
        open_images(missing, SIZE, cache_dir=cache_dir, skip_unreadable=True)


def test_progress(tmp_path: Path, cache_dir: Path | None) -> None:
    told: list[tuple[int, int]] = []
    samples = write(tmp_path / "set", 70)
    open_images(samples, SIZE, cache_dir=cache_dir, progress=lambda *now: told.append(now))
    assert told == [(32, 70), (64, 70), (70, 70)]


def test_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = write(tmp_path / "set", 3)
    open_images(samples, SIZE, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(sources, "decode", no_decoding)
    assert np.array_equal(pixels(open_images(samples, SIZE, cache_dir=tmp_path / "cache"))[2], picture(2))
    with pytest.raises(AssertionError, match="again"):
        open_images(samples, (H, W + 1), cache_dir=tmp_path / "cache")


def test_what_was_found_broken_is_not_decoded_again_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = write(tmp_path / "set", 3)
    file_of(samples[0]).write_bytes(b"no image")
    with pytest.raises(DataError):
        open_images(samples, SIZE, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(sources, "decode", no_decoding)
    assert len(open_images(samples, SIZE, cache_dir=tmp_path / "cache", skip_unreadable=True)) == 2


def test_an_image_that_becomes_readable_is_taken_in(tmp_path: Path) -> None:
    """As after a fault of the network: neither its size nor its time of change tell."""
    samples = write(tmp_path / "set", 2)
    good, state = file_of(samples[1]).read_bytes(), file_of(samples[1]).stat()
    file_of(samples[1]).write_bytes(bytes(len(good)))
    os.utime(file_of(samples[1]), ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len(open_images(samples, SIZE, cache_dir=tmp_path / "cache", skip_unreadable=True)) == 1
    file_of(samples[1]).write_bytes(good)
    os.utime(file_of(samples[1]), ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len(open_images(samples, SIZE, cache_dir=tmp_path / "cache", skip_unreadable=True)) == 2


def newer(path: Path) -> None:
    """Another picture of as many bytes, a second later."""
    then = path.stat().st_mtime_ns
    Image.fromarray(255 - picture(1)).save(path, compress_level=0)
    os.utime(path, ns=(then, then + 10**9))


def larger(path: Path) -> None:
    """Another size in bytes, the same time."""
    then = path.stat().st_mtime_ns
    Image.fromarray(255 - picture(1)).save(path)
    path.write_bytes(path.read_bytes() + b"more")
    os.utime(path, ns=(then, then))


@pytest.mark.parametrize("change", [newer, larger])
def test_a_stale_cache_is_made_anew(tmp_path: Path, change: Callable[[Path], None]) -> None:
    samples = write(tmp_path / "set", 2)
    Image.fromarray(picture(1)).save(file_of(samples[1]), compress_level=0)
    old = open_images(samples, SIZE, cache_dir=tmp_path / "cache")
    change(file_of(samples[1]))
    assert np.array_equal(pixels(open_images(samples, SIZE, cache_dir=tmp_path / "cache"))[1], 255 - picture(1))
    assert np.array_equal(pixels(old)[1], picture(1)), "who has the old one open keeps it"
    assert len(list((tmp_path / "cache").glob("*.images"))) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:0],
        lambda whole: whole + b"x",
        lambda whole: whole[1:],
        lambda whole: bytes(len(whole)),
        lambda whole: whole.replace(b'"state"', b'"stale"'),
        lambda whole: whole.replace(b"{}", b"[]"),
        lambda whole: whole.replace(b"{}", b'{"9": "beyond the last"}'),
    ],
)
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    samples = write(tmp_path / "set", 2)
    open_images(samples, SIZE, cache_dir=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.images")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert np.array_equal(pixels(open_images(samples, SIZE, cache_dir=tmp_path / "cache"))[1], picture(1))
    assert file.read_bytes() == whole


def test_breaking_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    samples = write(tmp_path / "set", 3)
    with pytest.raises(KeyboardInterrupt):
        open_images(samples, SIZE, cache_dir=tmp_path / "cache", progress=stop)
    (lock,) = (tmp_path / "cache").iterdir()
    partial = lock.with_suffix(".images.0123abcd.partial")
    partial.write_bytes(bytes(10_000))  # what a killed process leaves
    assert np.array_equal(pixels(open_images(samples, SIZE, cache_dir=tmp_path / "cache"))[2], picture(2))
    assert not partial.exists()


SCRIPT = """
import sys, time
from pathlib import Path
from reidkit.data.images import open_images
from reidkit.recipe import Images
from reidkit.types import Sample
from tests.noise import file_of
told = []

def tell(*progress):
    told.append(progress)
    time.sleep(0.05)

samples = [Sample(path, 0, 0) for path in sorted(Path(sys.argv[1]).iterdir())]
source = open_images(samples, (12, 8), cache_dir=Path(sys.argv[2]), progress=tell)
images, _ = source.rows(source.readable)
print(images.tobytes().hex()[:64], int(images.sum()), bool(told))
"""


def test_processes_that_come_at_once(tmp_path: Path) -> None:
    """One of them decodes, the others wait for it."""
    write(tmp_path / "set", 200)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "set"), str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=300)[0].split() for process in running]
    expected = np.stack([picture(i) for i in range(200)])
    assert {(head, total) for head, total, _ in answers} == {(expected.tobytes().hex()[:64], str(expected.sum()))}
    assert sorted(told for *_, told in answers) == ["False", "False", "True"]


def test_no_room(tmp_path: Path) -> None:
    """A file may not grow above 100 kB here; the cache takes 20 images of 288 kB."""
    samples = write(tmp_path / "set", 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=r"no room in .*cache.*takes 0.01 GB: .*cache_dir, or None for no cache"):
            open_images(samples, (400, 240), cache_dir=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_cache_folder_that_is_none(tmp_path: Path) -> None:
    samples = write(tmp_path / "set", 1)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot be written in .*cache_dir, or None for no cache"):
        open_images(samples, SIZE, cache_dir=tmp_path / "file" / "cache")


def test_memory_does_not_grow_with_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody takes the groups, only a few are decoded: two for each thread, one more, and the one at hand."""
    decoded: list[Path] = []

    def count(path: Path) -> NDArray[np.uint8]:
        decoded.append(path)
        return picture(0)

    monkeypatch.setattr(sources, "decode", count)
    groups = decode_all([Path(str(i)) for i in range(32 * 500)], (H, W), None)
    next(groups)
    assert len(decoded) <= 32 * (2 * 16 + 2)
    groups.close()


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    samples = write(tmp_path / "set", 2)
    source = open_images(samples, SIZE, cache_dir=None)
    file_of(samples[1]).unlink()
    with pytest.raises(DataError, match=r"001\.png"):
        pixels(source)


def test_odd_names(tmp_path: Path, cache_dir: Path | None) -> None:
    paths = [tmp_path / os.fsdecode(name) for name in (b"a b\n.png", b"\xff\xfe.png", "人.png".encode())]
    for i, path in enumerate(paths):
        Image.fromarray(picture(i)).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(path)
    source = open_images([Sample(path, 0, 0) for path in paths], SIZE, cache_dir=cache_dir)
    assert np.array_equal(pixels(source)[1], picture(1))


@pytest.mark.parametrize("told", ["x", "", "y"])
def test_where_caches_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    """The XDG standard says to ignore a relative path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x") if told == "x" else told)
    assert default_cache_dir() == (tmp_path / "x" if told == "x" else tmp_path / ".cache") / "reidkit"


def test_the_filter_of_the_recipe(tmp_path: Path, cache_dir: Path | None) -> None:
    """Both filters side by side: neither takes the other's file."""
    Image.fromarray(picture(0, 2 * H, 2 * W)).save(tmp_path / "a.png")
    found = {}
    for by in ("bilinear", "bicubic", "bilinear"):
        found[by] = pixels(open_images([Sample(tmp_path / "a.png", 0, 0)], SIZE, resize=by, cache_dir=cache_dir))[0]
        expected = np.zeros((H, W, 3), dtype=np.uint8)
        resize(picture(0, 2 * H, 2 * W), expected, by)
        assert np.array_equal(found[by], expected)
    assert not np.array_equal(found["bilinear"], found["bicubic"])


def test_an_image_for_display_is_what_the_network_gets_shrunk_into_a_box(tmp_path: Path) -> None:
    """400 x 200 of grey of 16 bits, at 3/4 of its range, into 96 x 192: 96 x 48; a small one stays as it is."""
    Image.fromarray(np.full((200, 400), 0xC000, np.uint16)).save(tmp_path / "deep.png")
    picture = read_for_display(tmp_path / "deep.png", (96, 192))
    assert picture is not None
    assert (picture.mode, picture.size) == ("RGB", (96, 48))
    assert np.unique(np.asarray(picture)).tolist() == [0xC0]
    Image.new("RGB", (20, 30)).save(tmp_path / "small.png")
    small = read_for_display(tmp_path / "small.png", (96, 192))
    assert small is not None
    assert small.size == (20, 30)


def test_an_image_for_display_stands_upright(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (120, 60)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    picture = read_for_display(tmp_path / "a.jpg", (96, 192))
    assert picture is not None
    assert picture.size == (60, 120)


@pytest.mark.parametrize(
    "name", ["empty.jpg", "text.jpg", "cut.jpg", "huge.png", "gone.jpg", "nul\0.jpg", "n" * 999, ""]
)
def test_what_cannot_be_read_is_no_image_for_display(tmp_path: Path, name: str) -> None:
    """95 million pixels take few bytes in a file, and 285 MB as RGB."""
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"no image")
    Image.new("RGB", (300, 300)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-400])
    Image.new("1", (10_000, 9_500)).save(tmp_path / "huge.png")
    assert read_for_display(tmp_path / name, (96, 192)) is None
