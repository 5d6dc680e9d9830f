"""`reidkit gallery`, as a user calls it, in this process."""

from __future__ import annotations

import json
import pwd
import shutil
import sqlite3
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit.cli import main as cli
from reidkit.encoder import load_model
from reidkit.errors import GalleryError
from reidkit.gallery import Row, open_gallery
from reidkit.gallery.local import LocalGallery
from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.serve.audit import AuditLog, read_log, verify
from tests.gallery import milvus_service
from tests.train.tiny import RECIPE


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(RECIPE.network).eval(), RECIPE)
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("crops/a.png", "crops/b.png", "crops/sub/c.png", "who.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 24, 3)).astype(np.uint8)).save(path)
    (tmp_path / "crops.csv").write_text(
        "path,pid,camera,time,colour\n"
        "crops/a.png,1,door,2026-11-26T08:00Z,red\n"
        "crops/b.png,2,hall,2026-11-26T09:00Z,blue\n"
        "crops/sub/c.png,,door,,red\n"
    )
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*words, status=0):
        monkeypatch.setattr(sys, "argv", ["reidkit", "gallery", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == status, (out, err)
        if status == 0 and "--json" in words:
            return json.loads(out)
        return out if status == 0 else f"{out}{err}"

    return run


def test_from_images_to_hits_and_back(place, call, model):
    made = call("create", "people.db", "--model", model, "--json")
    assert (made["rows"], made["model"]) == (0, load_model(model).fingerprint)
    added = call("add", "people.db", "crops.csv", "--model", model, "--thumbnails", "--json")
    assert (added["added"], added["rows"]) == (3, 3)
    assert "0 added, 0 replaced, 3 unchanged: 3 rows" in call("add", "people.db", "crops.csv", "--model", model)
    found = call("search", "people.db", "crops/a.png", "--model", model, "--json", "--sheet", "hits.png")
    assert (found["searched"], found["passed"], found["exact"]) == (3, 3, True)
    best = found["hits"][0]
    assert (best["key"], best["camera"], best["pid"], best["rank"]) == ("crops/a.png", "door", 1, 1)
    assert (best["time"], best["attributes"]) == ("2026-11-26T08:00:00Z", {"colour": "red"})
    assert best["similarity"] == pytest.approx(1, abs=1e-4)
    with Image.open("hits.png") as sheet:
        assert sheet.width > 100
    for words, expected in (
        (["--camera", "hall"], ["crops/b.png"]),
        (["--attribute", "colour=red", "--not-camera", "hall"], ["crops/a.png", "crops/sub/c.png"]),
        (["--since", "2026-11-26T08:30Z"], ["crops/b.png"]),
        (["--pid", "1", "--pid", "7"], ["crops/a.png"]),
        (["--key", "crops/a.png", "--other-cameras"], ["crops/b.png"]),
        (["--radius", "1.5"], []),
        (["--group-by", "camera", "--top", "1", "--wrong", "crops/b.png"], ["crops/a.png"]),
    ):
        query = [] if "--key" in words else ["crops/a.png", "--model", model]
        hits = call("search", "people.db", *query, *words, "--json")["hits"]
        assert sorted(hit["key"] for hit in hits) == expected, words
    for words, sentence in (
        (["--pictures", "crops"], "--pictures is where the images for a sheet lie: ask for one by --sheet"),
        (["--group-size", "2"], "say by --group-by what makes a group"),
    ):
        assert sentence in call("search", "people.db", "crops/a.png", "--model", model, *words, status=2)
    text = call("search", "people.db", "crops/a.png", "--model", model, "--camera", "attic")
    assert text.startswith("nobody: 0 of 3 images were searched, as no row meets the conditions")
    text = call("search", "people.db", "who.png", "--model", model)
    assert "crops/sub/c.png" in text
    assert "A person must check every match." in text
    assert "2026-11-26T08:00:00Z" in call("info", "people.db")
    info = call("info", "people.db", "--json")
    assert [(camera["name"], camera["rows"]) for camera in info["cameras"]] == [("door", 2), ("hall", 1)]
    assert "3 rows read, no problems" in call("check", "people.db")
    for option, value in (("--queries", 100), ("--min-recall", 0)):
        words = call("check", "people.db", option, value, status=2)
        assert words == f"reidkit: {option} is for a comparison: name the other gallery by --against, or leave it out\n"


def test_where_there_is_no_room_to_compact_the_removal_is_done_and_said(place, call, monkeypatch):
    with LocalGallery.create("people.db", fingerprint="abc", dim=4) as gallery:
        gallery.add_vectors(np.eye(4), [Row(str(number)) for number in range(4)])

    def full(gallery):
        raise GalleryError("people.db cannot be written: make room, and do it again")

    with monkeypatch.context() as patched:
        patched.setattr(LocalGallery, "compact", full)
        said = call("remove", "people.db", "1", "2", "--compact", status=1)
    assert "2 rows removed, but their room is not given back: people.db cannot be written" in said
    assert "(`reidkit gallery remove people.db --compact`)" in said
    assert "0 rows removed, 2 are in the gallery" in call("remove", "people.db", "--compact")


def test_export_copy_check_and_remove(place, call):
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    old = datetime.now(UTC) - timedelta(hours=100)
    with LocalGallery.create("people.db", fingerprint="abc", dim=4) as gallery:
        gallery.add_vectors(
            vectors, [Row(str(n), camera="door" if n % 2 else "hall", time=old if n < 4 else None) for n in range(6)]
        )
    assert call("export", "people.db", "people.npz", "--json") == {"rows": 6, "file": "people.npz"}
    assert "6 added" in call("copy", "people.db", "copy.db")
    assert call("copy", "people.db", "copy.db", "--json") == {"added": 0, "replaced": 0, "unchanged": 6, "rows": 6}
    assert "recall (all, 100.0%): @1 1.0000" in call("check", "copy.db", "--against", "people.db")
    assert call("remove", "copy.db", "--older-than", "72h", "--camera", "door", "--dry-run", "--json")["matching"] == 2
    assert "1 row would be removed" in call("remove", "copy.db", "0", "--dry-run")
    assert "the filter fits 3 rows, and not 5" in call("remove", "copy.db", "--camera", "door", "--expect", 5, status=1)
    assert "4 rows removed, 2 are in the gallery" in call("remove", "copy.db", "--older-than", "72h", "--compact")
    assert "0 rows removed, 2 are in the gallery" in call("remove", "copy.db", "--compact")
    assert "an empty filter" in call("remove", "copy.db", "--compact", "--expect", 2, status=2)
    assert "1 row removed, 1 are" in call("remove", "copy.db", "4")
    assert "4 and 1 more are not in the gallery: none is removed" in call("remove", "copy.db", "9", "4", "5", status=1)
    assert "missing: 5 rows" in call("check", "copy.db", "--against", "people.db", status=1)
    assert call("create", "new.db", "--dim", 4, "--fingerprint", "abc", "--json")["rows"] == 0
    for option in (("--camera", "door"), ("--attribute", "coat=red"), ("--thumbnails",)):
        words = call("add", "new.db", "people.npz", *option, status=2)
        assert f"{option[0]} is for images, and people.npz holds features: leave it out" in words
    assert "6 added" in call("add", "new.db", "people.npz")
    assert call("check", "new.db", "--against", "people.db", "--json")["problems"] == []


def test_what_cannot_be_read_is_named_and_the_rest_is_added(place, call, model):
    (place / "crops" / "b.png").write_text("no image")
    words = call("add", "people.db", "crops", "--model", model, "--camera", "door", status=1)
    assert "left out: " in words
    assert "b.png is not an image" in words
    assert "2 added, 0 replaced, 0 unchanged, 1 unreadable: 2 rows" in words
    words = call("add", "people.db", "crops/a.png", "crops", "--model", model, "--camera", "hall", status=1)
    assert "left as it is: a.png" in words
    assert (
        call("add", "people.db", "crops/a.png", "--model", model, "--camera", "hall", "--replace", "--json")["replaced"]
        == 1
    )


def test_no_gallery_is_made_for_features_that_cannot_be_added(place, call, model):
    """It was there, and empty."""
    known = {"pids": np.arange(4), "camids": np.arange(4), "model": np.array("0123456789abcdef")}
    np.savez(place / "other.npz", vectors=np.eye(4, dtype=np.float32), **known)
    (place / "text.npz").write_text("no features")
    for wrong, words in (
        ("nothing.npz", "nothing.npz is not there"),
        ("text.npz", "is damaged or no features file"),
        ("other.npz", "these features are of the model 0123456789abcdef, and the gallery's of"),
    ):
        assert words in call("add", "new.db", wrong, "--model", model, status=1)
    assert not (place / "new.db").exists()


def test_how_a_data_set_was_read_is_said(place, call, model):
    for name in ("train/0001/c1_1.png", "train/0001/c2_1.png", "val/a.png"):
        (place / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "who.png", place / "data" / name)
    (place / "data" / "train" / "0001" / "c3_1.png").write_text("no image")
    words = call("add", "people.db", "data", "--model", model, status=1)
    assert "2 added, 0 replaced, 0 unchanged, 1 unreadable: 2 rows" in words
    assert "passed over: 1 image in val/" in words


def test_people_with_names_are_shown_by_name(place, call, model):
    for name in ("Karl", "Mia"):
        (place / "own" / name).mkdir(parents=True)
        shutil.copy(place / "crops" / "a.png", place / "own" / name / "1.png")
    call("create", "own.db", "--model", model)
    call("add", "own.db", "own", "--model", model, "--attribute", "site=shop")
    text = call("search", "own.db", "crops/a.png", "--model", model, "--attribute", "site=shop")
    assert [line.split()[-1] for line in text.splitlines()[:3]] == ["person", "Karl", "Mia"]


def test_wrong_calls_end_in_a_sentence(place, call, model):
    for words, status, sentence in (
        (["create", "people.db"], 2, "name it by --model, or give --dim"),
        (["info", "none.db"], 1, "none.db is not there: make a gallery with `reidkit gallery create`"),
        (["add", "none.db", "crops"], 2, "images need the gallery's model to be embedded"),
        (["info", "crops.csv"], 1, "crops.csv is no gallery"),
        (["search", "none.db", "who.png"], 2, "name it by --model, or search by --key"),
        (["search", "none.db", "--key", "a"], 1, "none.db is not there"),
        (
            ["search", "none.db", "--pid", "Karl", "a.png"],
            2,
            "--pid Karl is no number: people who have names are found by",
        ),
        (["search", "none.db", "--pid", "7"], 2, "give IMAGES of a person, or --key and the key of a row"),
        (
            ["remove", "none.db", "--older-than", "soon"],
            2,
            "soon is no time: write 2026-11-26T08:00Z, or an age as 72h",
        ),
        (["search", "none.db", "--key", "a", "--radius", "near"], 2, "give a number, or calibrated"),
        (["search", "none.db", "--key", "a", "--attribute", "red"], 2, "--attribute red has no value"),
        (["add", "people.db", "nowhere", "--model", model], 1, "nowhere is not there: give images"),
        (["search", "none.db", "--key", "a", "--sheet", "hits.txt"], 2, "hits.txt"),
    ):
        said = call(*words, status=status)
        assert sentence in said, said
        assert "Traceback" not in said
    call("create", "people.db", "--dim", 4)
    assert "an empty filter would remove everything" in call("remove", "people.db", status=2)
    assert "is there already: add to it" in call("create", "people.db", "--dim", 4, status=1)
    call("create", "empty.db", "--model", model)
    found = call("search", "empty.db", "who.png", "--model", model)
    assert "nobody: 0 of 0 images were searched: the gallery is empty" in found
    assert "cannot be compared" in call("search", "people.db", "who.png", "--model", model, status=1)
    assert "not in the gallery" in call("search", "people.db", "--key", "a", status=1)


def test_searches_are_noted_where_there_is_an_audit_log(place, call, model):
    with open_gallery("people.db", load_model(model)) as gallery:
        gallery.add(["crops/a.png"], cameras=["door"])
    AuditLog(place / "people.db-audit").close()
    call("search", "people.db", "who.png", "--model", model, "--purpose", "case 7", "--camera", "door")
    call("remove", "people.db", "crops/a.png")
    log = AuditLog(place / "people.db-audit")
    search, remove = log.read()
    log.close()
    assert (search["action"], search["purpose"], search["hits"][0]["key"]) == ("search", "case 7", "crops/a.png")
    assert len(search["images"][0]) == 64
    assert (remove["action"], remove["removed"]) == ("remove", 1)
    assert (search["filter"], remove["filter"]) == ({"cameras": ["door"]}, {"keys": ["crops/a.png"]})
    assert verify(place / "people.db-audit").faults == ()
    (place / "people.db-audit").write_bytes(b"no log")
    said = call("search", "people.db", "who.png", "--model", model, status=1)
    assert said.endswith(": name another file as audit, or move it away\n")


def test_who_is_noted_is_who_the_system_knows(place, call, monkeypatch):
    """In a container that was given a number for its user nobody has a name, and every command ended in a traceback."""
    with LocalGallery.create("people.db", fingerprint="abc", dim=4) as gallery:
        gallery.add_vectors(np.eye(4)[:2], [Row("0"), Row("1")])
    AuditLog(place / "people.db-audit").close()
    monkeypatch.setenv("LOGNAME", "somebody else")
    named = pwd.getpwall()[0].pw_uid  # who runs the tests need not have a name
    monkeypatch.setattr("os.getuid", lambda: named)
    call("remove", "people.db", "0")
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    call("remove", "people.db", "1")
    name = pwd.getpwuid(named).pw_name
    actors = [entry["actor"] for entry in read_log(place / "people.db-audit")]
    assert actors == [f"command line: {name}", f"command line: uid {2**31 - 7}"]


@pytest.mark.parametrize("words", [["remove", "people.db", "0"], ["export", "people.db", "people.npz"]])
def test_what_cannot_be_noted_is_not_done(place, call, monkeypatch, words):
    def full(log, entries):
        raise sqlite3.OperationalError("database or disk is full")

    with LocalGallery.create("people.db", fingerprint="abc", dim=4) as gallery:
        gallery.add_vectors(np.ones((1, 4)), [Row("0")])
    AuditLog(place / "people.db-audit").close()
    monkeypatch.setattr(AuditLog, "_write", full)
    assert "disk is full), so that nothing is done or shown" in call(*words, status=1)
    assert call("info", "people.db", "--json")["rows"] == 1
    assert not (place / "people.npz").exists()


def test_a_gallery_in_milvus(place, call, model):
    """From images to hits, there and back: as in a file."""
    uri = milvus_service.fresh("command")
    secret = uri.replace("//", "//me:hunter2@")
    assert call("create", secret, "--model", model, "--json")["uri"] == uri
    assert call("add", uri, "crops.csv", "--model", model, "--thumbnails", "--json")["added"] == 3
    found = call("search", uri, "crops/a.png", "--model", model, "--camera", "door", "--json")
    assert ([hit["key"] for hit in found["hits"]], found["exact"]) == (["crops/a.png", "crops/sub/c.png"], True)
    assert "3 added, 0 replaced, 0 unchanged: 3 rows in copy.db" in call("copy", uri, "copy.db")
    assert f"0 added, 0 replaced, 3 unchanged: 3 rows in {uri}" in call("copy", "copy.db", secret)
    assert "no problems" in call("check", secret, "--against", "copy.db")
    assert "1 row removed, 2 are" in call("remove", uri, "crops/b.png", "--compact")
    assert "missing: 1 row" in call("check", uri, "--against", "copy.db", status=1)
    assert f"{uri}: 2 images" in call("info", secret)
    assert "milvus://host:19530/name" in call("info", "milvus://me:hunter2@here/1", status=2)
