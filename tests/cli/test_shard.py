from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import training

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


def wherever_they_lie(found: dict[str, Any]) -> dict[str, Any]:
    """A description without what depends on the places of the files and their order."""
    return {key: value for key, value in found.items() if key not in {"first", "passed_over", "shared"}}


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_shards_of_a_data_set_are_described_as_it_is(nursery: Nursery, noise: Path, tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    words = ("shard", noise, tmp_path / "out", "--format", kind, "--images-per-shard", 10, "--json")
    counts = nursery.run(*words).json()
    assert counts == {
        "folder": str(tmp_path / "out"), "format": kind, "images": 52, "shards": 4 + 1 + 2, "kept": 0,
    }  # fmt: skip
    assert nursery.run(*words).json()["kept"] == 7
    ours, theirs = (nursery.run("data", place, "--json").json() for place in (tmp_path / "out", noise))
    assert ours["shared"] == {"ids": 0, "images": None, "first": []}, "images in shards are not compared"
    assert wherever_they_lie(ours) == wherever_they_lie(theirs) | {"name": kind}
    sheet = nursery.run("data", tmp_path / "out", "--no-check", "--sheet", tmp_path / "sheet.png")
    assert sheet.status == 0
    assert (tmp_path / "sheet.png").is_file()


def test_train_and_evaluate_from_shards(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    assert nursery.run("shard", noise, tmp_path / "out").status == 0
    words = training(tmp_path / "out", tmp_path / "run", optim__epochs=1, optim__drops=[], optim__warmup_epochs=0)
    trained = nursery.run(*words, "--stream", "--json").json()
    assert trained["map"] > 0
    page = tmp_path / "page.html"
    again = nursery.run("evaluate", tmp_path / "run", "--data", tmp_path / "out", "--report", page, "--json").json()
    assert again["queries"] == 4
    assert page.read_text().count("data:image/jpeg") > 20


def test_a_truncated_shard_and_a_broken_image_are_one_line(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    assert nursery.run("shard", noise, tmp_path / "out").status == 0
    tar = tmp_path / "out" / "train-00000.tar"
    whole = tar.read_bytes()
    start = whole.index(b"\xff\xd8")
    tar.write_bytes(whole[:start] + bytes(600) + whole[start + 600 :])
    found = nursery.run("data", tmp_path / "out")
    assert found.status == 1
    assert "1 of 52 images cannot be read" in found.line()
    assert f"{tar}:0001_c1s1_000000_00.jpg: is not an image" in found.err
    stopped = nursery.run(*training(tmp_path / "out", tmp_path / "run"))
    assert f"{tar}:0001_c1s1_000000_00.jpg is not an image" in stopped.line()
    tar.write_bytes(whole[:5000])
    cut = nursery.run("data", tmp_path / "out")
    assert cut.status == 1
    assert f"{tar} is cut short" in cut.line()


def test_synthetic_people_straight_into_shards(nursery: Nursery, tmp_path: Path) -> None:
    small = ("--ids", 8, "--cameras", 2, "--height", 32, "--width", 32, "--images-per-camera", 2)
    assert nursery.run("synth", tmp_path / "files", *small).status == 0
    counts = nursery.run("synth", tmp_path / "shards", *small, "--shards", 6, "--json").json()
    assert counts["images"] == counts["train"] + counts["query"] + counts["gallery"]
    ours, theirs = (nursery.run("data", tmp_path / name, "--json").json() for name in ("shards", "files"))
    assert wherever_they_lie(ours) == wherever_they_lie(theirs)
    assert ours["name"] == "synthetic"


def test_options_of_videos_and_of_images_exclude_each_other(nursery: Nursery, tmp_path: Path) -> None:
    """They were taken and did nothing; a height of 0 was the default."""
    for words, sentence in (
        (("--videos", 1, "--cameras", 3), "--cameras is for images, and --videos makes none"),
        (("--videos", 1, "--shards", 3), "--shards is for images, and --videos makes none"),
        (("--seconds", 3), "--seconds is how long a video is: ask for some by --videos"),
        (("--height", 0), "height and width must be at least 32 pixels"),
    ):
        ended = nursery.run("synth", tmp_path / "new", *words)
        assert ended.status == 2
        assert sentence in ended.err
    assert not (tmp_path / "new").exists()


def test_the_option_for_the_format_of_what_is_read_is_from(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    """--format is that of the shards here, as elsewhere it is that of the data set."""
    shutil.copytree(noise / "bounding_box_test", tmp_path / "own" / "bounding_box_test")
    shutil.copytree(noise / "bounding_box_train", tmp_path / "own" / "bounding_box_train")
    (tmp_path / "own" / "query").mkdir()
    words = ("shard", tmp_path / "own", tmp_path / "out")
    assert nursery.run(*words).line().endswith("to train on bounding_box_train alone (--from)")
    assert nursery.run(*words, "--from", "market1501-train").status == 0
