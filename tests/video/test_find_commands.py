"""`reidkit video join` and `reidkit video find` as they are called, on synthetic videos; and the README's commands."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from reidkit.cli import main as cli
from reidkit.encoder import load_model
from reidkit.gallery import open_gallery
from reidkit.metrics.calibration_file import calibration_path, save_calibration
from reidkit.serve.audit import AuditLog
from tests.gallery.made import calibration

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of ReID whose feature are the colours of twelve parts of a person."""
    taken = helper.make_tensor_value_info("images", TensorProto.FLOAT, ("n", 3, 24, 8))
    given = helper.make_tensor_value_info("features", TensorProto.FLOAT, ("n", 36))
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[2, 8], strides=[2, 8]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    graph = helper.make_graph(nodes, "stripes", [taken], [given])
    path = tmp_path_factory.mktemp("model") / "osnet_stripes.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `reidkit WORDS`: status, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["reidkit", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def tracked(street: Path, stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic videos, tracked into a folder and a gallery."""
    from reidkit.video import track

    place = tmp_path_factory.mktemp("tracked")
    shutil.copytree(street, place / "street")
    model = load_model(stripes)
    with open_gallery(place / "people.db", model) as gallery:
        videos = [str(place / "street" / f"camera{number}.mp4") for number in (1, 2)]
        boxes = [place / "street" / "det" / f"camera{number}.txt" for number in (1, 2)]
        track(videos, place / "tracks", boxes=boxes, model=model, gallery=gallery)
    return place


@pytest.fixture
def place(tracked: Path, tmp_path: Path) -> Path:
    shutil.copytree(tracked, tmp_path / "copy")
    return tmp_path / "copy"


def test_find_writes_what_was_asked_for(run: Any, place: Path, stripes: Path) -> None:
    words = ["--gallery", place / "people.db", "--model", stripes, "--videos", place / "tracks", "--top", 3]
    asked = ["--sheet", place / "found.png", "--clips", place / "clips", "--marked", place / "marked"]
    table = ["--csv", place / "found.csv"]
    status, text, said = run("video", "find", place / "street/photo.png", *words, *asked, *table)
    assert status == 0, said
    assert "visit  camera" in text
    assert "A person must check every match." in text
    assert "on 2026-11-26, UTC" in text
    assert (place / "found.png").stat().st_size > 10_000
    assert len(list((place / "clips").glob("*.mp4"))) == 3
    assert list((place / "marked").glob("*-marked.mp4"))
    with (place / "found.csv").open(encoding="utf-8") as file:
        assert [line["rank"] for line in csv.DictReader(file)] == ["1", "2", "3"]
    # None of it is replaced unless that is said.
    status, _, said = run("video", "find", place / "street/photo.png", *words, *table)
    assert (status, "is there already" in said) == (2, True)
    status, _, said = run("video", "find", place / "street/photo.png", *words, *asked[2:4])
    assert (status, "--overwrite" in said) == (1, True)
    assert run("video", "find", place / "street/photo.png", *words, *asked, *table, "--overwrite")[0] == 0


def test_find_as_json_and_in_the_audit_log(run: Any, place: Path, stripes: Path) -> None:
    AuditLog(place / "people.db-audit").close()
    words = ["--gallery", place / "people.db", "--model", stripes, "--purpose", "lost child"]
    status, text, _ = run("video", "find", place / "street/photo.png", *words, "--json")
    assert status == 0
    value = json.loads(text)
    assert value["visits"][0]["camera"] in {"camera1", "camera2"}
    assert value["visits"][0]["from"] < value["visits"][0]["to"]
    similarities = [visit["similarity"] for visit in value["visits"]]
    assert similarities == sorted(similarities, reverse=True)
    status, text, _ = run("gallery", "audit", place / "people.db", "--json")
    assert "lost child" in text


def test_nobody_and_visits_below_the_threshold_in_words(run: Any, place: Path, stripes: Path) -> None:
    words = ["--gallery", place / "people.db", "--model", stripes]
    status, text, _ = run("video", "find", place / "street/photo.png", *words, "--camera", "attic")
    assert (status, text.startswith("nobody: 0 of ")) == (0, True)
    assert "as no row meets the conditions" in text
    model = shutil.copy(stripes, place)
    known = calibration(load_model(model).fingerprint)
    strict = replace(known, chosen=replace(known.chosen, threshold=1.0), camera_pairs=())
    save_calibration(calibration_path(Path(model)), strict)
    status, text, _ = run("video", "find", place / "street/photo.png", *words[:2], "--model", model)
    assert (status, "below the threshold: probably other people" in text) == (0, True)
    assert text.index("visit  camera") > text.index("nobody reaches the threshold")


def test_videos_that_are_missing_are_named(run: Any, place: Path, stripes: Path) -> None:
    (place / "street" / "camera1.mp4").unlink()
    words = ["--gallery", place / "people.db", "--model", stripes, "--videos", place / "tracks"]
    status, text, said = run("video", "find", place / "street/photo.png", *words, "--clips", place / "clips", "--json")
    assert status == 1
    assert said.count("camera1.mp4 is not there") == 1
    assert len(json.loads(text)["problems"]) == 1
    assert list((place / "clips").glob("*camera2*"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--clips", "clips"], "--videos"),
        (["--videos", "nowhere"], "is no folder"),
        (["--sheet", "found.doc"], "found.doc"),
    ],
    ids=["clips", "videos", "sheet"],
)
def test_wrong_calls_of_find(run: Any, place: Path, stripes: Path, words: list[str], says: str) -> None:
    call = ["video", "find", place / "street/photo.png", "--gallery", place / "people.db", "--model", stripes]
    status, _, said = run(*call, *words)
    assert (status, says in said) == (2, True), said
    assert len(said.splitlines()) == 1


def test_join_proposes_confirms_and_takes_back(run: Any, place: Path) -> None:
    gallery = place / "people.db"
    status, text, _ = run("video", "join", gallery, "--threshold", "0.9", "--dry-run", "--json")
    assert (status, json.loads(text)["changed"]) == (0, 0)
    status, text, _ = run("video", "join", gallery, "--threshold", "0.9")
    assert status == 0
    assert "A person must check." in text
    assert "as given" in text
    assert run("video", "join", gallery, "--confirm", "1")[0] == 0
    with open_gallery(gallery) as opened:
        assert [row.pid for row in opened if row.attributes["person"] == 1] == [
            1 for row in opened if row.attributes["person"] == 1
        ]
    assert "took back" in run("video", "join", gallery, "--undo")[1]
    assert run("video", "join", gallery, "--unconfirm", "1")[0] == 0
    with open_gallery(gallery) as opened:
        assert all(row.pid is None and "person" not in row.attributes for row in opened)
    status, _, said = run("video", "join", gallery, "--confirm", "99")
    assert (status, "person 99" in said) == (1, True)
    assert run("video", "join", gallery, "--undo", "--confirm", "1")[0] == 2


def test_nothing_is_taken_back_or_confirmed_but_what_is_said(run: Any, place: Path) -> None:
    gallery = place / "people.db"
    assert run("video", "join", gallery, "--threshold", "0.9")[0] == 0
    for words, named in (
        (("--undo", "--dry-run"), "no --dry-run"),
        (("--undo", "--camera", "camera1"), "no choice of rows"),
        (("--confirm", "1", "--dry-run"), "no --dry-run"),
        (("--confirm", "1", "--far", "0.1"), "no --far"),
        (("--one",), "--one says that"),
    ):
        status, _, said = run("video", "join", gallery, *words)
        assert (status, named in said) == (2, True), said
    with open_gallery(gallery) as opened:
        assert len(opened)
        assert all(row.pid is None and "person" in row.attributes for row in opened)


def test_the_commands_of_the_readme(run: Any, stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand there, with another model and shorter videos."""
    monkeypatch.chdir(tmp_path)
    block = re.search(r"## Find a person in videos.*?```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    calls = [shlex.split(line.split("  #")[0]) for line in block[1].replace("\\\n", " ").splitlines()]
    assert [words[:3] for words in calls][1:] == [["reidkit", "video", "track"], ["reidkit", "video", "find"]]
    for _, *words in calls:
        small = ["--seconds", "6", "--height", "144", "--width", "256"] if words[0] == "synth" else []
        status, text, said = run(*(str(stripes) if word == "demo/run" else word for word in words), *small)
        assert status == 0, said
    assert "camera" in text
    assert Path("demo/found.png").exists()
    assert list(Path("demo/clips").glob("*.mp4"))
