"""Files that are there whole or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from reidkit.whole import whole


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "scores.json"
    path.write_bytes(b"old")
    with whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert (tmp_path / "scores.json.partial").read_bytes() == b"new"
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError(), KeyboardInterrupt()])
def test_whatever_goes_wrong_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "scores.json"
    path.write_bytes(b"old")

    def fail():
        with whole(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_what_a_kill_has_left_is_written_over(tmp_path):
    path = tmp_path / "scores.json"
    (tmp_path / "scores.json.partial").write_bytes(b"much more than comes now")
    with whole(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


def test_those_who_write_one_file_wait_for_each_other(tmp_path, monkeypatch):
    """From four threads: with one `NAME.partial` for all, one renames or mixes what another still writes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "scores.json"
    contents = [bytes([65 + number]) * (100_000 + number) for number in range(4)]

    def write(content):
        for _ in range(5):
            with whole(path) as file:
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
    with whole(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "none" / "scores.json"):
        pass
    (tmp_path / "scores.json.partial").mkdir()
    with pytest.raises(IsADirectoryError), whole(tmp_path / "scores.json"):
        pass


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    path, done = tmp_path / "scores.json", []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: done.append((path.exists(), sync(number))))
    with whole(path) as file:
        file.write(b"new")
    assert done == [(False, None)]
