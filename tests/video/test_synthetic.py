from __future__ import annotations

import csv
import hashlib
import json
import sys

import numpy as np
import pytest

from reidkit.cli.main import app
from reidkit.errors import DataError, UsageError
from reidkit.video import draw_videos
from reidkit.video.encode import write_video
from tests.video.conftest import SMALL

av = pytest.importorskip("av")


def frames_of(path):
    with av.open(str(path)) as container:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def rows_of(path):
    return [[float(cell) for cell in line.split(",")] for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_is_in_the_folder(street):
    names = {str(path.relative_to(street)) for path in street.rglob("*") if path.is_file()}
    videos = [f"camera{number}" for number in (1, 2)]
    assert names == {
        "README.txt",
        "videos.csv",
        "photo.png",
        *(f"{video}.mp4" for video in videos),
        *(f"{kind}/{video}.txt" for kind in ("gt", "det") for video in videos),
    }
    with (street / "videos.csv").open(encoding="utf-8") as file:
        starts = [line["start"] for line in csv.DictReader(file)]
    assert starts == ["2026-11-26T08:00:00+00:00", "2026-11-26T08:00:03+00:00"]


def test_videos_have_their_frames_and_their_start(street):
    found = frames_of(street / "camera2.mp4")
    assert [time for time, _ in found] == pytest.approx([at / 8 for at in range(112)], abs=1e-4)
    assert {pixels.shape for _, pixels in found} == {(144, 256, 3)}
    with av.open(str(street / "camera2.mp4")) as container:
        assert container.metadata["creation_time"].startswith("2026-11-26T08:00:03")


def test_ground_truth_is_that_of_the_challenge(street):
    rows = [row for number in (1, 2) for row in rows_of(street / "gt" / f"camera{number}.txt")]
    ids = [{row[1] for row in rows_of(street / "gt" / f"camera{number}.txt")} for number in (1, 2)]
    assert ids[0] & ids[1], "somebody is in both videos"
    for frame, who, left, top, wide, high, use, kind, visible in rows:
        assert 1 <= frame <= 112
        assert 1 <= who <= SMALL["ids"]
        assert (use, kind) == (1, 1)
        assert left >= 1
        assert top >= 1
        assert left + wide <= 257
        assert top + high <= 145
        assert 0 <= visible <= 1


def test_a_detector_misses_who_is_hidden(street):
    truth = {row[0]: [] for row in rows_of(street / "gt" / "camera1.txt")}
    for row in rows_of(street / "gt" / "camera1.txt"):
        truth[row[0]].append(row)
    found = rows_of(street / "det" / "camera1.txt")
    assert {row[1] for row in found} == {-1}
    seen = sum(row[8] >= 0.3 for rows in truth.values() for row in rows)
    assert 0.9 * seen < len(found) < seen + 10
    assert all(0 < row[6] < 1 for row in found)


def test_the_same_seed_makes_the_same_files(tmp_path):
    settings = SMALL | {"seconds": 2.0}
    digests = []
    for name in ("one", "two"):
        counts = draw_videos(tmp_path / name, 1, seed=5, **settings)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1]
    assert counts["frames"] == 16


def test_only_synthetic_videos_are_replaced(tmp_path):
    settings = SMALL | {"seconds": 1.0}
    out = tmp_path / "street"
    draw_videos(out, 2, **settings)
    draw_videos(out, 1, **settings)
    assert not (out / "camera2.mp4").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["street"]
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="holds something else"):
        draw_videos(out, 1, **settings)
    assert (out / "mine.txt").exists()


def test_the_command(tmp_path, capsys):
    words = ["--videos", "1", "--ids", "3", "--seconds", "1", "--height", "96", "--width", "160", "--json"]
    app(["synth", str(tmp_path / "street"), *words], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in ("videos", "frames")} == {"videos": 1, "frames": 12}


def test_a_video_of_uneven_times_and_sides(tmp_path):
    times = [0.0, 0.1, 0.5, 0.52]
    frames = [(time, np.full((49, 65, 3), 40 * at, np.uint8)) for at, time in enumerate(times)]
    assert write_video(tmp_path / "odd.mp4", frames) == 4
    found = frames_of(tmp_path / "odd.mp4")
    assert [time for time, _ in found] == pytest.approx(times, abs=1e-3)
    assert {pixels.shape for _, pixels in found} == {(48, 64, 3)}
    assert [round(pixels.mean() / 40) for _, pixels in found] == [0, 1, 2, 3]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's length")
def test_a_full_disk_is_told_with_the_name_that_was_given(tmp_path):
    """And not with that of the unfinished folder, which is gone."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(DataError) as caught:
            draw_videos(tmp_path / "street", 1, **SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith(
        f"{tmp_path / 'street' / 'camera1.mp4'} cannot be written (File too large): make room"
    )
    assert list(tmp_path.iterdir()) == []


def test_videos_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="without a frame"):
        write_video(tmp_path / "none.mp4", [])
    with pytest.raises(DataError, match="cannot be written"):
        write_video(tmp_path / "no" / "folder.mp4", [(0.0, np.zeros((64, 64, 3), np.uint8))])
    assert list(tmp_path.iterdir()) == []
