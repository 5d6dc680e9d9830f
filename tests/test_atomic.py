"""Files that are there whole or not at all."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import reidkit as rk
from reidkit.atomic import (
    atomic_write,
    final_name,
    new_file,
    new_folder,
    os_errors_as,
    refuse_address,
    refuse_unwritable,
    write_bytes_atomic,
)
from reidkit.data.shards.writer import convert
from reidkit.data.split import write_split
from reidkit.errors import DataError
from reidkit.train.run_folder import locked
from reidkit.types import Dataset, Sample
from reidkit.video import track
from tests.gallery.made import Colours


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room for it"),
        (errno.EDQUOT, "make room for it"),
        (errno.EACCES, "you can write"),
    ],
)
def test_the_remedy_is_for_what_is_wrong(number, remedy):
    with pytest.raises(DataError, match=remedy), os_errors_as(Path("scores.json")):
        raise OSError(number, os.strerror(number))


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "scores.json"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        (partial,) = tmp_path.glob("scores.json.????????.partial")
        assert partial.read_bytes() == b"new"
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError(), KeyboardInterrupt()])
def test_whatever_goes_wrong_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "scores.json"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_what_a_kill_has_left_is_removed(tmp_path):
    """And nothing else: not the partial file of another name, nor one that is being written, nor a name of a user's."""
    path = tmp_path / "scores.json"
    (tmp_path / "scores.json.0123abcd.partial").write_bytes(b"much more than comes now")
    others = ("other.json.0123abcd.partial", "scores.json.partial", "scores.json.old", "scores.json.0123abcd.partial.x")
    for name in others:
        (tmp_path / name).write_bytes(b"kept")
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first", "the last to finish"
    assert {file.name for file in tmp_path.iterdir()} == {"scores.json", *others}


def test_a_new_file_never_replaces_another(tmp_path):
    path = tmp_path / "people.db"
    (tmp_path / "people.db.0123abcd.partial").write_bytes(b"left by a kill")
    with new_file(path) as file:
        file.write(b"whole")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with pytest.raises(FileExistsError), new_file(path) as file:
        file.write(b"another")
    assert path.read_bytes() == b"whole"
    assert [*tmp_path.iterdir()] == [path]


def test_a_new_folder_appears_with_all_that_is_in_it(tmp_path):
    """What a kill has left goes; what another process is filling stays, and so does what is called otherwise."""
    path = tmp_path / "split"
    for name in ("split.0123abcd.partial", "split.partial", "other.0123abcd.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    with new_folder(path) as first:
        (first / "whole").touch()
        assert not path.exists()
        with new_folder(tmp_path / "split") as second:
            assert first.is_dir()
            (second / "quicker").touch()
        assert [file.name for file in path.iterdir()] == ["quicker"]
        path.joinpath("quicker").unlink()
    assert [file.name for file in path.iterdir()] == ["whole"]
    assert {each.name for each in tmp_path.iterdir()} == {"split", "split.partial", "other.0123abcd.partial"}


def test_a_folder_that_holds_something_is_never_replaced(tmp_path):
    path = tmp_path / "split"
    path.mkdir()
    (path / "mine").touch()
    with pytest.raises(OSError, match="not empty"), new_folder(path) as partial:
        (partial / "new").touch()
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "other"):
        raise KeyboardInterrupt
    assert [*tmp_path.rglob("*")] == [path, path / "mine"]


def test_names_of_partial_files():
    assert final_name("scores.json.0123abcd.partial") == "scores.json"
    assert [final_name(name) for name in ("a", "a.partial", "a.0123ABCD.partial")] == [
        "a",
        "a.partial",
        "a.0123ABCD.partial",
    ]


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".npz")
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("name", ["scores.json.partial", "scores.json.0123abcd.partial"])
def test_a_planted_link_or_pipe_is_never_opened(tmp_path, name):
    """Somebody who may write into the folder lays a link to another file, or a pipe, where the partial file may be."""
    victim, path = tmp_path / "victim", tmp_path / "scores.json"
    victim.write_bytes(b"precious")
    for lay in (lambda: (tmp_path / name).symlink_to(victim), lambda: os.mkfifo(tmp_path / name)):
        lay()
        with atomic_write(path) as file:
            file.write(b"new")
        assert path.read_bytes() == b"new"
        assert not path.is_symlink()
        assert victim.read_bytes() == b"precious"
        (tmp_path / name).unlink()


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "scores.json"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    with atomic_write(path) as file:
        file.write(b"new")
    assert victim.read_bytes() == b"precious"
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
def test_a_pipe_is_written_into_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device"), atomic_write(pipe):
        pass  # nobody reads: that must not be waited for
    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(pipe.read_bytes)
        while True:
            try:
                with atomic_write(pipe) as file:
                    file.write(b"abc")
                    file.seek(1)
                    file.write(b"X")
                break
            except OSError:
                continue  # the reader is not there yet
        assert reader.result() == b"aXc"
    assert pipe.is_fifo()
    assert [*tmp_path.iterdir()] == [pipe]


def test_a_device_is_written_into_and_not_replaced(tmp_path):
    """/dev/null takes everything, /dev/full nothing; a link to a device is one; a terminal gets what is written."""
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "link"):
        with atomic_write(path) as file:
            file.write(b"new")
        assert path.is_char_device()
    with pytest.raises(OSError, match="No space left"), atomic_write(Path("/dev/full")) as file:
        file.write(b"new")
    ours, terminal = os.openpty()
    with atomic_write(Path(os.ttyname(terminal))) as file:
        file.write(b"new")
    assert os.read(ours, 10) == b"new"


def test_the_own_output_is_written_to_where_it_goes(tmp_path):
    """`--report /dev/stdout > page.html` adds to the file that is open already."""
    script = "from pathlib import Path; from reidkit.atomic import atomic_write\n"
    script += "with atomic_write(Path('/dev/stdout')) as file: file.write(b'new')"
    page = tmp_path / "page.html"
    with page.open("wb") as out:
        out.write(b"old ")
        out.flush()
        subprocess.run([sys.executable, "-c", script], stdout=out, check=True)
    assert page.read_bytes() == b"old new"


def test_without_posix_locks(tmp_path, monkeypatch):
    """Windows has no fcntl; there an open file cannot be removed."""
    monkeypatch.setattr("reidkit.atomic.fcntl", None)
    path = tmp_path / "scores.json"
    (tmp_path / "scores.json.0123abcd.partial").write_bytes(b"stale")
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


def test_of_those_who_write_one_file_each_writes_its_own(tmp_path, monkeypatch):
    """From four threads: none renames, mixes or removes what another still writes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "scores.json"
    contents = [bytes([65 + number]) * (100_000 + number) for number in range(4)]

    def write(content):
        for _ in range(5):
            with atomic_write(path) as file:
                for start in range(0, len(content), 10_000):
                    file.write(content[start : start + 10_000])
                    file.flush()
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(write, content) for content in contents]:
            done.result()
    assert [*tmp_path.iterdir()] == [path]


def test_a_disk_without_locks_has_to_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    path = tmp_path / "scores.json"
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none" / "scores.json"):
        pass
    (tmp_path / "scores.json").mkdir()
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path / "scores.json"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    path, done = tmp_path / "scores.json", []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: done.append((path.exists(), sync(number))))
    with atomic_write(path) as file:
        file.write(b"new")
    assert done == [(False, None)]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process's files are Unix's")
def test_a_full_disk_leaves_no_partial_file(tmp_path: Path) -> None:
    """What is still in the buffer when the file is closed cannot be written either."""
    code = """
import resource, signal, sys
from pathlib import Path
from reidkit.atomic import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_write(Path(sys.argv[1])) as file:
        file.write(b"x" * 3000)
        raise KeyError
except (KeyError, OSError):
    pass
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=True)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_to_an_address(tmp_path, monkeypatch):
    """It would be a folder called `s3:` in the working directory."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 16)).save("a.png")
    (tmp_path / "b.txt").write_text("1,1,1,1,8,16,1\n")
    there, out = set(tmp_path.iterdir()), Path("s3://bucket/x")
    images = Dataset("one", (Sample(tmp_path / "a.png", 1, 1),))
    for write in (
        lambda: write_bytes_atomic(out, b""),
        lambda: refuse_unwritable(out),
        lambda: locked(out).__enter__(),
        lambda: write_split(images, out),
        lambda: convert(images, out, "webdataset", 8),
        lambda: rk.synthesize(out, ids=4),
        lambda: rk.embed_images(Colours(), ["a.png"], out.with_suffix(".npz")),
        lambda: track([tmp_path / "v.mp4"], out, boxes=[tmp_path / "b.txt"]),
    ):
        with pytest.raises(DataError, match=r"^s3://bucket/x.* is an address, and files are written to a disk"):
            write()
    assert set(tmp_path.iterdir()) == there
    (tmp_path / "s3:").mkdir()
    refuse_address(out)  # a folder that is there is one
