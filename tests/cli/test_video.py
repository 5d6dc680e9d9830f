"""`reidkit video track` and `reidkit video crops` as they are called."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from reidkit.cli import main as cli
from reidkit.errors import UsageError
from reidkit.video import track
from tests.video.detectors.files import constant_detector
from tests.video.walkers import FRAMES, truth, video

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `reidkit video WORDS`: status, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["reidkit", "video", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture
def mean_colour(tmp_path: Path) -> Path:
    """A model of ReID whose feature is the mean colour."""
    taken = helper.make_tensor_value_info("images", TensorProto.FLOAT, ("n", 3, 8, 4))
    given = helper.make_tensor_value_info("features", TensorProto.FLOAT, ("n", 3))
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    graph = helper.make_graph(nodes, "mean", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "osnet_mean.onnx")
    return tmp_path / "osnet_mean.onnx"


def test_crops_without_a_model_and_again(run: Any, tmp_path: Path) -> None:
    path, boxes, out = video(tmp_path), truth(tmp_path / "det.txt", ids=False), tmp_path / "out"
    words = ("crops", path, "--boxes", boxes, "--out", out, "--start", "2026-11-27T08:00Z", "--camera", "hall=door")
    status, text, said = run(*words)
    assert (status, said) == (0, "")
    assert "hall" in text
    assert "door" in text
    assert "2026-11-27 08:00:00" in text
    assert "frames/s" in text  # the time that each part took
    assert "ReID" not in text
    assert len(list((out / "hall/crops").rglob("*.jpg"))) == 10
    status, text, _ = run(*words, "--json")
    value = json.loads(text)
    assert (status, value["reused"], value["videos"][0]["counts"]["frames"]) == (0, ["hall"], FRAMES)


def test_a_name_that_is_no_utf8(run: Any, tmp_path: Path) -> None:
    path = video(tmp_path).rename(tmp_path / "hall\udcff.mp4")
    words = ("crops", path, "--boxes", truth(tmp_path / "det.txt"), "--out", tmp_path / "out", "--json")
    for again in ([], ["hall_"]):
        status, text, said = run(*words)
        assert (status, said, json.loads(text)["reused"]) == (0, "", again)
    assert json.loads((tmp_path / "out/hall_/video.json").read_text())["source"]["name"] == "hall\udcff.mp4"


def test_track_into_a_gallery(run: Any, tmp_path: Path, mean_colour: Path) -> None:
    path, boxes = video(tmp_path), truth(tmp_path / "det.txt", ids=False)
    gallery = tmp_path / "people.db"
    words = ("track", path, "--boxes", boxes, "--model", mean_colour, "--out", tmp_path / "out", "--gallery", gallery)
    for _ in "12":
        status, _, said = run(*words)
        assert (status, "images for osnet_mean.onnx" in said) == (0, True)
    from reidkit.gallery import open_gallery

    with open_gallery(gallery) as people:
        assert people.keys() == ["hall/1", "hall/2"]


def test_no_gallery_is_made_where_nothing_can_be_tracked(run: Any, tmp_path: Path, mean_colour: Path) -> None:
    """It was made first, and what else was given was looked at then."""
    path, boxes = video(tmp_path), truth(tmp_path / "det.txt", ids=False)
    words = ("--model", mean_colour, "--out", tmp_path / "out", "--gallery", tmp_path / "people.db")
    for wrong, status, says in (
        (("--boxes", tmp_path / "wrong.txt"), 1, "wrong.txt is not there: give a file of boxes"),
        (("--boxes", boxes, "--boxes", boxes), 2, "2 files of boxes for 1 video"),
        (("--boxes", boxes, "--start", "soon"), 2, "'soon' is no time"),
    ):
        found, _, said = run("track", path, *wrong, *words)
        assert (found, says in said) == (status, True), said
    assert sorted(each.name for each in tmp_path.iterdir()) == ["det.txt", path.name, "osnet_mean.onnx"]


def test_a_detector_is_named_with_its_format(run: Any, tmp_path: Path) -> None:
    rows = np.zeros((1, 5, 6), np.float32)
    detector = constant_detector(tmp_path / "d.onnx", {"output0": rows})
    status, _, said = run("crops", video(tmp_path), "--detector", detector, "--out", tmp_path / "out")
    assert (status, said) == (0, "people by d.onnx: format yolo-end-to-end, 64 x 64\n")


def test_packages_that_are_not_there_are_named_at_once(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were named one after the other: that of the detector first, then that of the model, PyAV at last."""
    detector, path = constant_detector(tmp_path / "d.onnx", {"output0": np.zeros((1, 5, 6), np.float32)}), tmp_path
    for module in ("onnx", "openvino", "av"):
        monkeypatch.setitem(sys.modules, module, None)
    status, _, said = run(
        "track", path / "hall.mp4", "--detector", detector, "--model", path / "m.xml", "--out", path / "out"
    )
    assert (status, said) == (
        2,
        "reidkit: tracking these videos needs av, onnx and openvino: pip install av onnx openvino\n",
    )
    with pytest.raises(UsageError, match=r"needs av and onnx: pip install av onnx$"):
        track([path / "hall.mp4"], path / "out", detector=detector)


def test_videos_that_fail_are_named_in_a_line_each_and_the_others_go_on(run: Any, tmp_path: Path) -> None:
    good, boxes = video(tmp_path), truth(tmp_path / "det.txt")
    (tmp_path / "text.mp4").write_text("no video")
    status, text, said = run(
        "crops", tmp_path / "text.mp4", good, "--boxes", boxes, "--boxes", boxes, "--out", tmp_path / "out"
    )
    assert status == 1
    assert len(said.splitlines()) == 1
    assert said.startswith(f"left out: {tmp_path}/text.mp4 cannot be read as a video")
    assert "hall" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("track", "v.mp4", "--out", "o", "--boxes", "b.txt"), "name the --model that embeds crops"),
        (("crops", "v.mp4", "--out", "o"), "say what finds people: --detector FILE, or --boxes FILE"),
        (("crops", "v.mp4", "--out", "o", "--detector", "d", "--boxes", "b"), "say what finds people"),
        (
            ("track", "v.mp4", "--out", "o", "--boxes", "b", "--keep", "nothing", "--gallery", "g.db"),
            "--keep nothing makes no features for a --gallery",
        ),
        (
            ("track", "v.mp4", "--out", "o", "--boxes", "b", "--keep", "nothing", "--model", "m"),
            "--keep nothing embeds no crops, and --model does nothing with it",
        ),
        (
            ("track", "v.mp4", "--out", "o", "--boxes", "b", "--keep", "nothing", "--input-spec", "torchreid"),
            "--input-spec does nothing with it",
        ),
        (
            ("crops", "v.mp4", "--out", "o", "--detector", "d.onnx", "--detector-format", "yolo9000"),
            "hf-detr, ssd (--detector-format)",
        ),
        (("crops", "v.mp4", "--out", "o", "--boxes", "b", "--for", "long"), "--for long is no duration: write 90s"),
        (("crops", "v.mp4", "--out", "o", "--boxes", "b", "--for", "5s"), "--for says when live input ends"),
        (
            ("crops", "v.mp4", "--out", "o", "--boxes", "b", "--min-score", "0.9"),
            "--min-score does nothing with --boxes",
        ),
        (("crops", "v.mp4", "--out", "o", "--boxes", "b", "--person", "3"), "--person does nothing with --boxes"),
        (
            ("crops", "v.mp4", "--out", "o", "--detector", "d.onnx", "--boxes-format", "mot"),
            "--boxes-format does nothing with --detector",
        ),
        (("crops", "v.mp4", "--out", "o", "--boxes", "b", "--every", "-1"), "every -1.0 is no number of seconds"),
        (
            ("crops", "v.mp4", "w.mp4", "--out", "o", "--boxes", "b", "--camera", "v=a", "--camera", "c"),
            "names no video",
        ),
        (
            ("crops", "v.mp4", "--out", "o", "--boxes", "b", "--start", "w=2026-11-26T08:00Z"),
            "names none of the videos: write VIDEO=VALUE",
        ),
        (
            ("crops", "v.mp4", "w.mp4", "--out", "o", "--boxes", "b", "--boxes", "c", "--camera", "hall"),
            "1 camera for 2 videos: give one for each, or by name",
        ),
        (("crops", "v.mp4", "--out", "o", "--boxes", "b", "--camera", "w=hall"), "w=hall names none of the videos"),
    ],
)
def test_wrong_calls_end_in_a_line(words: tuple[str, ...], said: str, run: Any) -> None:
    status, text, line = run(*words)
    assert (status, text) == (2, "")
    assert said in line
    assert len(line.splitlines()) == 1
