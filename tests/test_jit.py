"""Where nothing of the user's can be written, what can be made again lies in a temporary folder."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba
import pytest

from reidkit.data.cache import default_cache_dir
from reidkit.errors import DataError
from reidkit.jit import njit, remark, temporary_folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for kept in (temporary_folder, remark):
        kept.cache_clear()
    return tmp_path / f"reidkit-{os.getuid()}"


def test_the_folder_is_this_users_alone(place: Path) -> None:
    assert temporary_folder() == place
    assert place.stat().st_mode & 0o777 == 0o700
    temporary_folder.cache_clear()
    assert temporary_folder() == place, "the same one again"


@pytest.mark.parametrize("planted", ["link", "open", "file", "other"])
def test_a_folder_that_somebody_else_may_fill_is_not_taken(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    if planted == "link":
        (tmp_path / "theirs").mkdir()
        place.symlink_to(tmp_path / "theirs")
    elif planted == "file":
        place.touch()
    else:
        place.mkdir(mode=0o700)
        place.chmod(0o777 if planted == "open" else 0o700)
    if planted == "other":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        place.rename(tmp_path / "reidkit-12345")
    found = temporary_folder()
    assert found.name.startswith("reidkit-")
    assert found not in (place, tmp_path / "reidkit-12345")
    assert found.lstat().st_mode & 0o777 == 0o700


def test_the_image_cache(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "reidkit"):
        assert default_cache_dir() == default_cache_dir() == place / "cache"
    assert [record.getMessage() for record in caplog.records] == [
        f"decoded images are kept in {place}/cache: {tmp_path}/file/reidkit cannot be written"
    ]

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    temporary_folder.cache_clear()
    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(
        DataError, match=r"cannot be written, nor a temporary one, .*: name a folder as cache_dir, or None for no cache"
    ):
        default_cache_dir()


def test_no_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_cache_dir() == place / "cache"


def test_an_empty_home_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    assert default_cache_dir() == place / "cache"


def test_compiled_loops(place: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """With no other place for them numba raises a RuntimeError for the loop."""
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [caching.UserProvidedCacheLocator])
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")

    def twice(x: int) -> int:
        return 2 * x

    with caplog.at_level(logging.WARNING, "reidkit"):
        assert njit()(twice)(21) == 42
    assert "compiled loops are kept in" in caplog.text
    assert list((place / "numba").rglob("*.nbi"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    (place / "numba").rename(place / "away")
    (place / "numba").touch()
    assert njit()(twice)(21) == 42, "without a cache"


def test_numba_is_loaded_when_a_loop_is_called(tmp_path: Path) -> None:
    """Most commands import loops and call none; a loop may call others."""
    (tmp_path / "loops.py").write_text(
        "from reidkit.jit import compiled\n\n@compiled\ndef twice(x):\n    return 2 * x\n\n"
        "@compiled\ndef four_times(x):\n    return twice(twice(x))\n"
    )
    calls = (
        "import sys, loops; before = 'numba' in sys.modules; "
        "print(before, loops.four_times(3), loops.twice(1.5), 'numba' in sys.modules, loops.twice.__name__)"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for _ in ("compiled", "read"):
        done = subprocess.run(
            [sys.executable, "-c", calls], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["False", "12", "3.0", "True", "twice"]


def test_every_command_starts_without_fcntl() -> None:
    """Windows has none of these modules."""
    hide = "import sys, warnings; warnings.simplefilter('ignore'); sys.modules.update(fcntl=None, resource=None); "
    load = "import reidkit.cli.main, reidkit.train.run, reidkit.synth, reidkit.data.cache, reidkit.experiments.grid"
    subprocess.run([sys.executable, "-c", hide + load], check=True)


def test_who_wants_to_know_is_told_of_compiling_and_not_of_what_was_kept(tmp_path: Path) -> None:
    (tmp_path / "loops.py").write_text(
        "from reidkit import jit\n"
        "jit.tell_of_compiling(lambda: print('compiling'))\n"
        "@jit.njit()\ndef one(x):\n    return x + 1\n"
        "@jit.njit()\ndef two(x):\n    return one(x) + 1\n"
        "print(two(1), two(1.5))\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    for expected in ("compiling\n3 3.5\n", "3 3.5\n"):
        done = subprocess.run(
            [sys.executable, tmp_path / "loops.py"], capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout == expected
