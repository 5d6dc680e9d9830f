"""Features of many images into one file, in parts, with unreadable images and after a kill."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from reidkit import embedding
from reidkit.cli.main import app
from reidkit.data.formats.detect import load_dataset
from reidkit.data.image_list import list_images
from reidkit.data.shards.writer import convert
from reidkit.distributed import ALONE, Group
from reidkit.embedding import embed_images
from reidkit.encoder import InferenceOptions, InputSpec, as_image_encoder
from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.metrics.features import read_features
from reidkit.metrics.retrieval import score_features
from reidkit.types import Dataset, Sample
from tests.encoder.files import mean_colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.commands import Nursery


class Colours:
    """The feature of an image is its mean colour. After `left` images the power fails."""

    input = InputSpec(height=4, width=2)
    dim = 3
    fingerprint = "c0105125c0105125"

    def __init__(self, left: int = 1000) -> None:
        self.left, self.seen = left, 0

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen += len(images)
        if self.seen > self.left:
            raise KeyboardInterrupt
        features: NDArray[np.float32] = images.mean(axis=(1, 2)).astype(np.float32)
        return features


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten images of one colour each, 00.png to 09.png, the last four below; parts of four images."""
    monkeypatch.setattr(embedding, "PART", 4)
    made = tmp_path / "images"
    (made / "below").mkdir(parents=True)
    for number in range(10):
        place = made if number < 6 else made / "below"
        Image.new("RGB", (3, 5), (number, 2 * number, 9)).save(place / f"{number:02d}.png")
    return made


WANTED = [[number, 2 * number, 9] for number in range(10)]


def test_a_shard_of_images_is_never_replaced_by_their_features(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    convert(Dataset("one", (Sample(folder / "00.png", 3, 1),)), tmp_path / "shards", "parquet", 10)
    (shard,) = (tmp_path / "shards").glob("*.parquet")
    before = shard.read_bytes()
    (tmp_path / "link.parquet").symlink_to(shard)
    for images, out in ((shard, shard), (tmp_path / "shards", shard), (shard, tmp_path / "link.parquet")):
        with pytest.raises(UsageError, match="holds the images that are read: name another file"):
            embed_images(Colours(), images, out)
    assert shard.read_bytes() == before
    assert embed_images(Colours(), shard, tmp_path / "f.parquet").features == 1
    content = bytearray((tmp_path / "f.parquet").read_bytes())
    content[100] ^= 1
    (tmp_path / "f.parquet").write_bytes(content)
    with pytest.raises(DataError, match="could not verify page integrity"):
        read_features(tmp_path / "f.parquet")


@pytest.mark.parametrize("name", ["f.npz", "f.parquet"])
def test_a_folder_by_hand(folder: Path, tmp_path: Path, name: str) -> None:
    made = embed_images(Colours(), folder, tmp_path / name)
    assert (made.images, made.features, made.ids, made.dim, made.unreadable, made.reused) == (10, 10, 0, 3, (), 0)
    found = read_features(tmp_path / name)
    assert np.asarray(found.vectors).tolist() == WANTED
    assert [path[-6:] for path in found.paths] == [f"{number:02d}.png" for number in range(10)]
    assert set(found.pids.tolist()) == set(found.camids.tolist()) == {-1}
    assert found.model == Colours.fingerprint
    assert not (tmp_path / f"{name}.parts").exists()


def test_a_name_that_is_no_text_is_written_by_its_bytes(folder: Path, tmp_path: Path) -> None:
    """Parquet holds UTF-8: the error came when all was computed."""
    pytest.importorskip("pyarrow")
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png"))
    (folder / "00.png").rename(odd)
    assert embed_images(Colours(), odd, tmp_path / "f.parquet").features == 1
    assert read_features(tmp_path / "f.parquet").paths[0].endswith("\\udcff.png")


def test_a_data_set_keeps_its_labels(noise: Path, tmp_path: Path) -> None:
    made = embed_images(Colours(), noise, tmp_path / "f.npz")
    dataset = load_dataset(noise)
    found = read_features(tmp_path / "f.npz")
    assert made.features == sum(map(len, dataset.splits)) == len(found)
    assert made.ids == len(set(found.pids.tolist()) - {0, -1}) > 1
    start = len(dataset.train)
    assert found.pids[start : start + len(dataset.query)].tolist() == dataset.query.pids.tolist()
    assert found.camids[:start].tolist() == dataset.train.camids.tolist()


def test_all_ids_with_names_are_counted(folder: Path, tmp_path: Path) -> None:
    """The first of them has the number 0, which without a name is that of distractors."""
    (folder / "named.csv").write_text("path,pid\n01.png,ann\n02.png,bob\n03.png,-1\n")
    assert embed_images(Colours(), folder / "named.csv", tmp_path / "f.npz").ids == 2


@pytest.mark.parametrize("name", ["f.npz", "f.parquet"])
def test_names_stay_beside_their_numbers(folder: Path, tmp_path: Path, name: str) -> None:
    """Without them, the first person of one file would be the first of another one, whoever they are."""
    pytest.importorskip("pyarrow")
    lines = ("path,pid,camid", *(f"{number:02d}.png,{'ann' if number < 4 else 'zoë'},door" for number in range(1, 6)))
    (folder / "named.csv").write_text("\n".join(lines), encoding="utf-8")
    embed_images(Colours(), folder / "named.csv", tmp_path / name)
    found = read_features(tmp_path / name)
    assert [found.names.pids[pid] for pid in found.pids.tolist()] == ["ann", "ann", "ann", "zoë", "zoë"]
    assert set(found.names.camids.values()) == {"door"}
    (folder / "named.csv").write_text("path,pid,camid\n01.png,bob,door\n")
    embed_images(Colours(), folder / "named.csv", tmp_path / f"other-{name}")
    with pytest.raises(DataError, match="is ann in the query and bob in the gallery"):
        score_features(found, read_features(tmp_path / f"other-{name}"))


def test_a_data_set_with_a_fault_is_not_embedded_without_its_ids(noise: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(noise, copy)
    shutil.copy(next((copy / "query").glob("*.jpg")), copy / "query" / "who.jpg")
    with pytest.raises(DataError, match=r"who\.jpg does not give an id and a camera: rename it .* or remove it"):
        list_images(copy)
    (copy / "query" / "who.jpg").unlink()
    assert list_images(copy).samples.pids.max() > 0


def test_one_split_of_a_data_set(noise: Path, folder: Path, tmp_path: Path) -> None:
    dataset = load_dataset(noise)
    for split in ("train", "query", "gallery"):
        part = list_images(noise, split=split).samples
        assert len(part) > 0
        assert list(part) == list(getattr(dataset, split))
    (folder / "split.csv").write_text("path,pid,camid,split\n01.png,1,0,train\n02.png,2,0,query\n03.png,2,1,gallery\n")
    assert list_images(folder / "split.csv", split="gallery").samples.pids.tolist() == [2]
    (folder / "plain.csv").write_text("path\n01.png\n")
    (folder / "plain.txt").write_text("01.png\n")
    for other in (noise / "query", folder / "01.png", folder / "plain.csv", folder / "plain.txt", dataset.query[0]):
        with pytest.raises(DataError, match="is no data set and has no split query: name none"):
            list_images(other, split="query")
    with pytest.raises(UsageError, match="split must be train, query or gallery, not val"):
        list_images(noise, split="val")  # type: ignore[arg-type]


def test_samples_data_sets_and_what_is_no_list_of_images(folder: Path) -> None:
    sample = Sample(folder / "00.png", 3, 1)
    assert list(list_images(sample).samples) == [sample]
    dataset = Dataset("two", (sample,), query=(Sample(folder / "01.png", 4, 1),))
    assert list_images(dataset).samples.pids.tolist() == [3, 4]
    assert list_images([dataset, folder / "02.png"]).samples.pids.tolist() == [3, 4, -1]
    assert list_images(dataset, split="query").samples.pids.tolist() == [4]
    with pytest.raises(DataError, match="the data set two has no gallery images: name another split"):
        list_images(dataset, split="gallery")
    with pytest.raises(DataError, match="there are no images to list"):
        list_images([])
    for wrong in (None, 3, [np.zeros((2, 2, 3), np.uint8)]):
        with pytest.raises(UsageError) as told:
            list_images(wrong)  # type: ignore[arg-type]
        assert told.value.argument == "images"
    (folder / "empty").mkdir()
    for name, content, message in (
        ("empty", None, "empty holds no images: give a folder that does"),
        ("zeros.txt", "00.png\0", "is no list of paths: it holds zeros"),
        ("long.csv", "path,split\n" + "x" * 200_000 + ",query\n", "is not CSV"),
    ):
        if content:
            (folder / name).write_text(content)
        with pytest.raises(DataError, match=message):
            list_images([folder / "00.png", folder / name])


def test_one_unreadable_image_never_stops_the_others(folder: Path, tmp_path: Path) -> None:
    (folder / "03.png").write_bytes(b"no image")
    (folder / "05.png").unlink()
    (folder / "list.txt").write_text("# ours\n" + "\n".join(f"{n:02d}.png" for n in range(6)) + "\n\n")
    made = embed_images(Colours(), folder / "list.txt", tmp_path / "f.npz")
    assert [one.path[-6:] for one in made.unreadable] == ["03.png", "05.png"]
    found = read_features(tmp_path / "f.npz")
    assert np.asarray(found.vectors).tolist() == [WANTED[number] for number in (0, 1, 2, 4)]
    for path in folder.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of 6 images can be read"):
        embed_images(Colours(), folder / "list.txt", tmp_path / "g.npz")


def test_a_killed_run_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    with pytest.raises(KeyboardInterrupt):
        embed_images(Colours(left=9), folder, out)
    assert not out.exists()
    again = Colours()
    made = embed_images(again, folder, out)
    assert (again.seen, made.reused) == (2, 8)
    assert np.asarray(read_features(out).vectors).tolist() == WANTED


def test_parts_of_another_model_or_list_are_not_used(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    for change in ("model", "flip", "list", "damage"):
        with pytest.raises(KeyboardInterrupt):
            embed_images(Colours(left=9), folder, out)
        again = Colours()
        again.fingerprint = "0" * 16 if change == "model" else again.fingerprint
        images = sorted(folder.glob("*.png")) if change == "list" else folder
        if change == "damage":
            (tmp_path / "f.npz.parts" / "0000000.npz").write_bytes(b"PK\x03\x04")
        made = embed_images(again, images, out, flip=change == "flip")
        wanted = {"model": 10, "flip": 20, "list": 6, "damage": 6}[change]
        assert again.seen == wanted, change
        assert made.features == (6 if change == "list" else 10)


def test_an_image_that_was_changed_after_a_kill_is_embedded_as_it_is(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    with pytest.raises(KeyboardInterrupt):
        embed_images(Colours(left=9), folder, out)
    Image.new("RGB", (6, 9), (200, 100, 50)).save(folder / "00.png")
    made = embed_images(Colours(), folder, out)
    assert made.reused == 0
    assert np.asarray(read_features(out).vectors).tolist() == [[200, 100, 50], *WANTED[1:]]


def test_a_folder_of_the_users_is_never_taken_for_parts(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "f.npz.parts" / "letters.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(DataError, match=r"f\.npz\.parts holds something else than parts of f\.npz \(letters\.txt\)"):
        embed_images(Colours(), folder, tmp_path / "f.npz")
    assert mine.read_text() == "mine"


def test_processes_take_every_other_part(folder: Path, tmp_path: Path) -> None:
    """The second of two makes the part of rows 4 to 7; the first alone would then make the others."""

    class Second(Group):
        def any(self, flag: bool) -> bool:
            return flag

    options = InferenceOptions(device="cpu", precision="fp32")
    first = embedding.Work
    second = first(
        as_image_encoder(Colours()),
        list_images(folder).samples,
        tmp_path / "f.npz",
        flip=False,
        options=replace(options, group=Second(1, 2)),
    )
    first(second.encoder, second.samples, second.path, flip=False, options=replace(options, group=ALONE)).begin()
    second.run()
    assert [file.name for file in sorted((tmp_path / "f.npz.parts").glob("*.npz"))] == ["0000001.npz"]
    made = embed_images(Colours(), folder, tmp_path / "f.npz")
    assert made.reused == 4


def test_tables_and_lists_of_every_kind(folder: Path, tmp_path: Path) -> None:
    (folder / "t.csv").write_text("name,path\nx,00.png\ny,below/07.png\n")
    (folder / "labelled.csv").write_text("path,pid,camid,split\n01.png,4,2,query\n02.png,4,3,gallery\n")
    for text, encoding in (
        ("a;PATH\nx;00.png\ny;below/07.png\n", "utf-16"),
        ("sep=;\nfile;n\n00.png;1\n07.png;2\n", "utf-8"),
    ):
        (folder / "other.csv").write_text(text, encoding=encoding)
        assert [path[-6:] for path in list_images(folder / "other.csv").samples.paths] == ["00.png", "07.png"]
    (folder / "next\u2028line.txt").write_text("a\x85b\u2028c.png\r\n01.png\n", encoding="utf-8", newline="")
    found = list_images(folder / "next\u2028line.txt").samples
    assert [sample.path.name for sample in found] == ["a\x85b\u2028c.png", "01.png"]
    found = list_images([folder / "t.csv", folder / "03.png", folder / "labelled.csv"]).samples
    assert [path[-6:] for path in found.paths] == ["00.png", "07.png", "03.png", "01.png", "02.png"]
    assert found.pids.tolist()[:3] == [-1, -1, -1]
    assert found.camids.tolist()[3:] == [2, 3]
    with pytest.raises(MissingFileError, match="is not there"):
        list_images(folder / "gone")
    (folder / "missing.csv").write_text("path;pid;camid\n01.png;4;2\ngone.png;5;2\n")
    found = list_images(folder / "missing.csv").samples
    assert [path[-8:] for path in found.paths] == ["s/01.png", "gone.png"]
    assert (found.pids.tolist(), found.camids.tolist()) == ([4, 5], [2, 2])
    (folder / "camera.csv").write_text("path,pid,camera\n01.png,4,2\n")
    with pytest.raises(DataError, match="rename the column camera to camid"):
        list_images(folder / "camera.csv")  # and not without the ids and cameras that it has
    (folder / "a.doc").write_text("x")
    with pytest.raises(DataError, match="is no image, list"):
        list_images(folder / "a.doc")
    (folder / "b.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match="is no text in UTF-8"):
        list_images(folder / "b.txt")
    (folder / "c.txt").write_text("\n# nothing\n")
    with pytest.raises(DataError, match="names no images"):
        list_images(folder / "c.txt")
    with pytest.raises(UsageError, match=r"ends neither in \.npz nor in \.parquet"):
        embed_images(Colours(), folder, tmp_path / "f.txt")
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        embed_images(Colours(), folder, tmp_path / "d.npz")
    with pytest.raises(UsageError, match=r"there is no argument bacth; did you mean batch\?"):
        embed_images(Colours(), folder, tmp_path / "f.npz", bacth=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="options are a dict: pass InferenceOptions"):
        embed_images(Colours(), folder, tmp_path / "f.npz", options={"batch": 3})  # type: ignore[arg-type]


STDIN = "several processes cannot share standard input: name a file (.txt) that holds the list"


def test_the_command(folder: Path, tmp_path: Path, nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mean_colour(tmp_path / "m.onnx")
    (folder / "04.png").write_bytes(b"no image")
    words = ("embed", model, folder, "--input-spec", "raw", "--out", tmp_path / "f.npz")
    found = nursery.run(*words, "--json")
    assert found.status == 1
    assert (json.loads(found.out)["features"], json.loads(found.out)["ids"]) == (9, 0)
    assert "f.npz: 9 features [3] without ids, " in nursery.run(*words).out
    assert "left out: " in found.err
    assert "04.png" in found.err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder / '00.png'}\n{folder / '01.png'}\n"))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        app([*map(str, ("embed", model, "-", *words[3:])), "--json"], standalone_mode=False)
    assert json.loads(out.getvalue())["features"] == 2
    shared = nursery.run("embed", model, "-", *words[3:], "--processes", 2)
    assert (shared.status, shared.line()) == (2, STDIN)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="several processes cannot share standard input"):
        app([*map(str, ("embed", model, "-", *words[3:]))], standalone_mode=False)
    assert np.asarray(read_features(tmp_path / "f.npz").vectors).tolist() == WANTED[:2]


def test_the_command_says_how_it_read_a_data_set(folder: Path, tmp_path: Path, nursery: Nursery) -> None:
    model, data = mean_colour(tmp_path / "m.onnx"), tmp_path / "data"
    for name in ("train/0001/c1_1.png", "train/0001/c2_1.png", "val/a.png"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "00.png", data / name)
    told = nursery.run("embed", model, data, "--input-spec", "raw", "--out", tmp_path / "f.npz")
    assert (told.status, "f.npz: 2 features [3] of 1 id" in told.out) == (0, True), told.err
    assert "passed over: 1 image in val/" in told.err
