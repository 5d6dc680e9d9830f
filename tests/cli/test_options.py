from __future__ import annotations

from pathlib import Path

import pytest

from reidkit.cli import options
from reidkit.errors import UsageError


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert options.Machine().cache_dir() == Path("/elsewhere/reidkit")
    assert options.Machine(cache=Path("mine")).cache_dir() == Path("mine")
    assert options.Machine(no_cache=True).cache_dir() is None
    with pytest.raises(UsageError, match="exclude each other"):
        options.Machine(cache=Path("mine"), no_cache=True).cache_dir()


def test_no_home_is_needed_where_the_cache_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert options.Machine(cache=Path("mine")).cache_dir() == Path("mine")
    elsewhere = options.Machine().cache_dir()
    assert elsewhere is not None
    assert elsewhere.name == "cache"
