"""What caches take, and their deletion beside processes that use them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.atomic import atomic_write
from reidkit.data.cache import Cached, cache_usage, clear_cache
from reidkit.data.images import open_images
from reidkit.errors import DataError
from tests.data.test_images import SIZE, picture, pixels, write

if TYPE_CHECKING:
    from pathlib import Path


def test_by_hand(tmp_path: Path) -> None:
    """A cache, what a killed process left of another, its lock, and a file that is no cache."""
    for name, size in (("a.images", 100), ("b.partial", 20), ("b.lock", 0), ("notes.txt", 7)):
        (tmp_path / name).write_bytes(bytes(size))
    assert cache_usage(tmp_path) == Cached(tmp_path, 2, 120)
    assert clear_cache(tmp_path) == Cached(tmp_path, 2, 120)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.lock", "notes.txt"]
    assert cache_usage(tmp_path) == clear_cache(tmp_path) == Cached(tmp_path, 0, 0)


def test_no_folder(tmp_path: Path) -> None:
    assert cache_usage(tmp_path / "none") == clear_cache(tmp_path / "none") == Cached(tmp_path / "none", 0, 0)
    assert not (tmp_path / "none").exists()


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.images") as file:
        file.write(bytes(20))
        file.flush()
        assert clear_cache(tmp_path) == Cached(tmp_path, 0, 0)
        assert cache_usage(tmp_path) == Cached(tmp_path, 1, 20)
    assert clear_cache(tmp_path) == Cached(tmp_path, 1, 20)


def test_who_has_one_open_keeps_it(tmp_path: Path) -> None:
    samples = write(tmp_path / "set", 3)
    source = open_images(samples, SIZE, cache_dir=tmp_path / "cache")
    found = clear_cache(tmp_path / "cache")
    assert found.files == 1
    assert found.bytes > 3 * SIZE[0] * SIZE[1] * 3
    assert np.array_equal(pixels(source)[2], picture(2))
    assert np.array_equal(pixels(open_images(samples, SIZE, cache_dir=tmp_path / "cache"))[1], picture(1))


def test_a_file_that_may_not_be_deleted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.images").write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(type(tmp_path), "unlink", refuse)
    with pytest.raises(DataError, match=r"a\.images cannot be deleted: Permission denied"):
        clear_cache(tmp_path)
