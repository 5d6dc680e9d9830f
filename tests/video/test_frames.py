"""Frames of files and folders: which, when and which way up; and files that are cut or no videos."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from PIL import Image

from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.video import frames
from reidkit.video.frames import Sampling, VideoFile, decoded_frames
from reidkit.video.image_folder import ImageFolder
from tests.video.drawn import plain, turned, write_sound, write_video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_frames_have_numbers_from_one_the_times_of_the_file_and_their_colours(tmp_path: Path) -> None:
    video = VideoFile(write_video(tmp_path / "v.mp4"))
    frames = list(video)
    assert [frame.number for frame in frames] == list(range(1, 41))
    assert [frame.second for frame in frames] == pytest.approx([each / 10 for each in range(40)])
    assert (video.about.rate, video.about.frames, video.about.seconds) == (10, 40, 4)
    assert (video.about.remarks, video.about.notes, video.about.created) == ([], [], None)
    for number in (0, 20):
        difference = frames[number].image.astype(int) - plain(number)
        assert np.abs(difference[:, 50:]).mean() < 8
        assert np.abs(difference[40:, 5:30]).mean(axis=(0, 1)) == pytest.approx([0, 0, 0], abs=12)  # red is red


def test_a_variable_rate_keeps_its_times_and_is_sampled_by_them(tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.5, 0.54, 1.0, 1.9, 2.0, 2.04]
    path = write_video(tmp_path / "v.mkv", len(times), times=times)
    assert [frame.second for frame in VideoFile(path)] == pytest.approx(times)
    sampled = VideoFile(path, every=0.5)
    # The first in each half second: 0.54 follows 0.5, and between 1.0 and 1.9 there is none.
    assert [(frame.number, round(frame.second, 3)) for frame in sampled] == [(1, 0), (4, 0.5), (6, 1), (7, 1.9), (8, 2)]
    assert sampled.read == 9


def test_every_by_hand() -> None:
    takes = Sampling(0.2).takes
    seconds = [each / 25 for each in range(30)]  # each fifth frame, though 0.6 / 0.2 is a little less than 3
    assert [at for at, second in enumerate(seconds) if takes(second)] == [0, 5, 10, 15, 20, 25]
    with pytest.raises(UsageError, match="no number of seconds"):
        Sampling(-1)


def test_times_begin_at_zero_where_those_of_the_file_do_not(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.ts", 20, codec="libx264")  # whose first time is not 0
    assert [frame.second for frame in VideoFile(path)] == pytest.approx([each / 10 for each in range(20)])


def test_a_time_far_ahead_moves_no_other_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All later frames followed it by a step each, so that clock times were wrong by a quarter of an hour."""

    def wrong(*given: Any) -> Iterator[Any]:
        for number, frame in enumerate(decoded_frames(*given)):
            frame.pts += round(1000 / frame.time_base) if number == 10 else 0
            yield frame

    monkeypatch.setattr(frames, "decoded_frames", wrong)
    source = VideoFile(write_video(tmp_path / "v.mkv", 20))
    assert [frame.second for frame in source] == pytest.approx([each / 10 for each in range(20)])
    assert (source.about.moved, source.about.remarks) == (1, [])
    assert source.about.notes == ["1 frame with times far from the others: put between those around"]


def test_a_telephone_held_upright_gives_upright_frames(tmp_path: Path) -> None:
    path = turned(write_video(tmp_path / "v.mp4"), tmp_path / "turned.mp4")
    frame = next(iter(VideoFile(path)))
    assert frame.image.shape == (160, 120, 3)
    # What was at the top is at the right, and what was at the left (red) is at the top.
    assert frame.image[60:, -20:].mean() > 230
    red, green, _ = frame.image[5:25, 10:80].mean(axis=(0, 1))
    assert red > 180
    assert green < 60


@pytest.mark.parametrize(
    ("matrix", "white", "red"),
    [
        ((1, 0, 0, 1), "top", "left"),
        ((-1, 0, 0, -1), "bottom", "right"),
        ((0, -1, 1, 0), "left", "bottom"),
        ((-1, 0, 0, 1), "top", "right"),  # the camera in front, as in a mirror: not upside down
        ((1, 0, 0, -1), "bottom", "left"),
        ((0, 1, 1, 0), "left", "top"),
    ],
)
def test_frames_are_turned_and_mirrored_as_the_file_says(
    matrix: tuple[int, int, int, int], white: str, red: str, tmp_path: Path
) -> None:
    path = turned(write_video(tmp_path / "v.mp4"), tmp_path / "turned.mp4", matrix)
    image = next(iter(VideoFile(path))).image
    middle = [slice(side // 2 - 5, side // 2 + 5) for side in image.shape[:2]]
    edges = {
        "top": image[3:12, middle[1]],
        "bottom": image[-12:-3, middle[1]],
        "left": image[middle[0], 3:12],
        "right": image[middle[0], -12:-3],
    }
    colours = {edge: pixels.mean(axis=(0, 1)) for edge, pixels in edges.items()}
    assert {edge for edge, (_, green, _) in colours.items() if green > 200} == {white}
    assert {edge for edge, (bright, green, _) in colours.items() if bright > 180 and green < 60} == {red}


def test_the_creation_time_is_told_where_it_can_be_one(tmp_path: Path) -> None:
    told = write_video(tmp_path / "a.mp4", 2, metadata={"creation_time": "2026-11-27T08:30:00.000000Z"})
    assert VideoFile(told).about.created == datetime(2026, 11, 27, 8, 30, tzinfo=UTC)
    never_set = write_video(tmp_path / "b.mp4", 2, metadata={"creation_time": "1970-01-01T00:00:00Z"})
    assert VideoFile(never_set).about.created is None


def test_a_cut_file_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "v.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 3])
    video = VideoFile(cut)
    found = len(list(video))
    assert 5 < found < 20
    assert any("it is cut: it ends at" in remark for remark in video.about.remarks)


def test_a_longer_sound_or_a_last_picture_that_stays_is_no_cut(tmp_path: Path) -> None:
    long_sound = VideoFile(write_video(tmp_path / "sound.mkv", 10, sound=8.0))
    assert len(list(long_sound)) == 10
    assert (long_sound.about.seconds, long_sound.about.remarks) == (1.0, [])
    for name in ("last.mp4", "last.mkv"):  # a screen, or a camera that records where something moves
        still = VideoFile(write_video(tmp_path / name, 3, times=[0, 1, 2], codec="libx264", end=20.0))
        assert [frame.second for frame in still] == [0, 1, 2]
        assert (still.about.seconds, still.about.remarks) == (20, [])


def test_damage_in_the_middle_is_passed_over_or_said(tmp_path: Path) -> None:
    content = bytearray(write_video(tmp_path / "v.avi").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\0" * 400
    damaged = tmp_path / "damaged.avi"
    damaged.write_bytes(content)
    assert len(list(VideoFile(damaged))) > 20


def test_packets_that_cannot_be_decoded_are_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    with av.open(path) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for start, size in (places[20], places[30]):
        content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    video = VideoFile(path)
    assert len(list(video)) == 38
    assert video.about.remarks == ["2 damaged packets passed over"]


def test_what_is_no_video_ends_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot be read"):
        VideoFile(tmp_path / "gone.mp4")
    with pytest.raises(DataError, match="is no file: give a video, or a folder of images"):
        VideoFile(tmp_path)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(DataError, match="is empty"):
        VideoFile(empty)
    text = tmp_path / "text.mp4"
    text.write_text("hello " * 1000)
    with pytest.raises(DataError, match=r"text\.mp4 cannot be read as a video"):
        VideoFile(text)
    head = tmp_path / "head.mp4"
    head.write_bytes(write_video(tmp_path / "v.mp4").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"head\.mp4 cannot be read as a video .*: play it"):
        VideoFile(head)
    with pytest.raises(DataError, match="has no video stream, but audio"):
        VideoFile(write_sound(tmp_path / "sound.mp4"))


def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", 2)
    for name, content in (
        ("list.mp4", f"ffconcat version 1.0\nfile {tmp_path}/v.mp4\n"),
        ("list.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{tmp_path}/v.mp4\n#EXT-X-ENDLIST\n"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="cannot be read as a video"):
            VideoFile(tmp_path / name)


def test_huge_frames_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.mp4", 2)
    monkeypatch.setattr("reidkit.video.frames.MOST_PIXELS", 1000)
    with pytest.raises(DataError, match="frames of 160 x 120 pixels, above the limit of 1,000: scale it down"):
        VideoFile(path)


def sequence(folder: Path, info: str = "[Sequence]\nframeRate=5\nimDir=img1\n", numbers: tuple[int, ...] = (1, 2, 4)):
    (folder / "img1").mkdir(parents=True)
    (folder / "seqinfo.ini").write_text(info)
    for number in numbers:
        Image.fromarray(plain(number)).save(folder / "img1" / f"{number:06d}.png")
    return folder


def test_a_folder_of_images_in_the_form_of_mot(tmp_path: Path) -> None:
    video = ImageFolder(sequence(tmp_path / "MOT-01"))
    frames = list(video)
    assert [(frame.number, frame.second) for frame in frames] == [(1, 0), (2, 0.2), (4, pytest.approx(0.6))]
    np.testing.assert_array_equal(frames[2].image, plain(4))
    assert [frame.number for frame in ImageFolder(tmp_path / "MOT-01", every=0.5)] == [1, 4]
    (tmp_path / "MOT-01/img1/000002.png").write_bytes(b"no image")
    damaged = ImageFolder(tmp_path / "MOT-01")
    assert [frame.number for frame in damaged] == [1, 4]
    assert damaged.about.remarks[0].startswith("1 unreadable image, the first of them: ")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("[Sequence]\nimDir=img1\n", "no rate"),
        ("[Sequence]\nframeRate=0\n", "no rate"),
        ("frameRate=5\n", "no rate"),
        ("[Sequence]\nframeRate=5\nimDir=../..\n", "which is no folder in"),
        ("[Sequence]\nframeRate=5\nimDir=img2\n", "which is no folder in"),
    ],
)
def test_a_wrong_seqinfo_ends_in_a_sentence_with_an_example(info: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"(?s){said}.*frameRate=25"):
        ImageFolder(sequence(tmp_path / "s", info))


def test_a_folder_without_seqinfo_or_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"without seqinfo\.ini"):
        ImageFolder(tmp_path)
    with pytest.raises(DataError, match="holds no images with numbers"):
        ImageFolder(sequence(tmp_path / "none", numbers=()))
    with pytest.raises(DataError, match="counted from 1"):
        ImageFolder(sequence(tmp_path / "zero", numbers=(0, 1)))
