"""`reidkit data` and `reidkit split`, and what training and evaluating say of what was passed over."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from PIL import Image

from tests.commands import training
from tests.noise import draw_noise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


def people(noise: Path, root: Path) -> Path:
    """A folder for each id of the noise, for training and test together."""
    for image in sorted(noise.glob("bounding_box_*/*.jpg")):
        (root / image.name[:4]).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, root / image.name[:4] / image.name)
    return root


def test_data_names_what_it_read_and_what_it_passed_over(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    root = people(noise, tmp_path / "people")
    (root / "0001" / "x.heic").write_bytes(b"x")
    (root / "val" / "0001").mkdir(parents=True)
    shutil.copyfile(next(noise.glob("query/*.jpg")), root / "val" / "0001" / "a.jpg")
    value = nursery.run("data", root, "--json").json()
    assert value["passed_over"] == {".heic files": 1, "images in val/": 1}
    assert value["cameras"] == ["1", "2"]
    first = value["first"][0]
    assert [first[key] for key in ("split", "pid", "id", "camid", "camera")] == ["train", 0, "0001", 1, "1"]
    assert first["path"] == str(root / "0001" / "0001_c1s1_000000_00.jpg")
    assert len(value["first"]) == 3
    text = nursery.run("data", root).out
    assert "cameras      1, 2\n" in text
    assert "read         0001/0001_c1s1_000000_00.jpg: id 0001, camera 1\n" in text
    assert "passed over  1 .heic file\n" in text
    assert "passed over  1 image in val/\n" in text


def test_a_guess_is_noted(nursery: Nursery, tmp_path: Path) -> None:
    image = (draw_noise(tmp_path / "noise") / "query").glob("*.jpg")
    content = next(image).read_bytes()
    for name in ("7/01_1", "7/02_1", "8/01_2", "8/02_2"):
        (tmp_path / "ids" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ids" / f"{name}.jpg").write_bytes(content)
    note = "folder: the cameras are the first numbers of names such as 01_1.jpg"
    assert nursery.run("data", tmp_path / "ids", "--json").json()["notes"][0].startswith(note)
    assert f"note         {note}" in nursery.run("data", tmp_path / "ids").out.replace("\n", " ")


def test_training_and_evaluating_say_it_in_one_line(nursery: Nursery, tmp_path: Path) -> None:
    noise = draw_noise(tmp_path / "noise")
    (noise / "query" / "x.heic").write_bytes(b"x")
    (noise / "notes.txt").write_bytes(b"x")
    line = "passed over: 1 .heic file\n"
    trained = nursery.run(*training(noise, tmp_path / "run", optim__epochs=1, optim__drops=[], optim__warmup_epochs=0))
    assert trained.status == 0, trained.err
    assert trained.err.count(line) == 1
    found = nursery.run("evaluate", tmp_path / "run", "--data", noise, "--no-cache", "--json")
    assert found.err.count(line) == 1
    assert json.loads(found.out)["queries"] == 4


def test_settings_that_change_nothing_are_said(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    changes = {"triplet__form": "soft", "triplet__margin": 0.5, "distil__logits": 1, "adapt__eps": 0.5}
    brief = {"optim__epochs": 1, "optim__drops": [], "optim__warmup_epochs": 0}
    trained = nursery.run(*training(noise, tmp_path / "run", **brief, **changes))
    assert trained.status == 0, trained.err
    assert [line for line in trained.err.splitlines() if "has no effect" in line] == [
        "warning: triplet.margin has no effect with triplet.form=soft",
        "warning: distil.logits has no effect without a teacher",
        "warning: adapt.eps has no effect in a training",
    ]


def test_a_split_trains_and_is_scored(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    """Twelve ids of two cameras with two images each; a third of them are held out, each asked for by both cameras."""
    root = people(noise, tmp_path / "people")
    value = nursery.run("split", root, tmp_path / "new", "--share", "0.33", "--json").json()
    counts = {key: value[key] for key in ("train", "query", "gallery", "junk", "train_ids", "test_ids")}
    assert counts == {"train": 32, "query": 8, "gallery": 8, "junk": 0, "train_ids": 8, "test_ids": 4}
    assert value["cameras_known"] is True
    words = training(tmp_path / "new", tmp_path / "run", optim__epochs=1, optim__drops=[], optim__warmup_epochs=0)
    scores = nursery.run(*words, "--json").json()
    assert (scores["queries"], scores["gallery"]) == (8, 8)
    again = nursery.run("split", root, tmp_path / "new")
    assert again.status == 1
    assert again.line().endswith("new is there already: name a new folder")
    text = nursery.run("split", root, tmp_path / "other", "--cameras", "any", "--as", "link").out
    assert text.endswith("evaluate with --cameras any: it was split so\n")
    assert nursery.run("data", tmp_path / "other", "--json").json()["query"]["images"] == 6


def test_a_split_names_ids_that_are_in_train_and_test(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        people(noise, tmp_path / "own" / part)
    (tmp_path / "own" / "train" / "0001").rename(tmp_path / "own" / "train" / "anna")
    refused = nursery.run("split", tmp_path / "own", tmp_path / "new", "--share", "0.3")
    assert (refused.status, (tmp_path / "new").exists()) == (2, False)
    assert refused.line().endswith("so that --share changes nothing: leave it out")
    ran = nursery.run("split", tmp_path / "own", tmp_path / "new")
    assert "share 11 ids (0002, 0003, 0004, ...) and 44 images: scores of a model that is trained" in ran.err


def test_data_says_where_no_score_would_come_of_it(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    """A table that knows no cameras: only with --cameras any has a query a true match."""
    image = next(noise.glob("query/*.jpg"))
    table = tmp_path / "t.csv"
    table.write_text(f"path,pid,split\n{image},1,query\n{next(noise.glob('bounding_box_test/*.jpg'))},1,gallery\n")
    done = nursery.run("data", table)
    assert done.status == 0
    assert "warning: no scores from this data: every true match is from its query's own camera" in done.err
    assert done.err.endswith("(evaluate --cameras any)\n")
    assert "warning" not in nursery.run("data", noise).err


def test_several_tables_are_named(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    shutil.copyfile(next(noise.glob("query/*.jpg")), tmp_path / "a.jpg")
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text("path,pid\na.jpg,1\n")
    assert nursery.run("data", tmp_path).line().endswith("; or name a table in it (a.csv, b.csv)")


def test_a_contact_sheet_needs_a_name_with_a_format(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    done = nursery.run("data", noise, "--sheet", tmp_path / "sheet.jpg")
    assert (done.status, done.out) == (2, "")
    assert "name it .png, .svg or .pdf" in done.line()
    assert not list(tmp_path.iterdir())


def test_a_contact_sheet_replaces_no_image(nursery: Nursery, tmp_path: Path) -> None:
    picture = tmp_path / "1" / "a_c1.png"
    picture.parent.mkdir()
    Image.new("RGB", (8, 16), "red").save(picture)
    before = picture.read_bytes()
    done = nursery.run("data", tmp_path, "--format", "folder", "--sheet", picture)
    assert (done.status, picture.read_bytes()) == (2, before)
    assert "is what this command reads: name another file (--sheet)" in done.line()
