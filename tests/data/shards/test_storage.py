from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.data.shards import storage
from reidkit.errors import DataError
from tests.data.shards.made import facts, noise_shards, pair, tar

fsspec = pytest.importorskip("fsspec")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://bucket/people", "s3://bucket/people"),
        ("https://host/a/b", "https://host/a/b"),
        ("memory://people", "memory://people"),
        ("file:///tmp/people", "file:///tmp/people"),
        ("people/a", None),
        ("/srv/people", None),
        ("c:/people", None),
    ],
)
def test_a_path_that_was_a_url(url: str, told: str | None) -> None:
    assert storage.url_of(Path(url)) == told


def test_a_folder_of_that_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jpeg: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    tar(tmp_path / "s3:" / "people" / "train.tar", pair("a", jpeg, pid=1))
    assert len(load_dataset(Path("s3://people")).train) == 1


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """Shards at a URL that fsspec keeps in memory."""
    noise_shards(tmp_path / "set")
    system = fsspec.filesystem("memory")
    system.store.clear()
    for path in (tmp_path / "set").iterdir():
        system.pipe_file(f"/people/{path.name}", path.read_bytes())
    return Path("memory://people")


def test_a_url_holds_what_the_folder_holds(tmp_path: Path, memory: Path) -> None:
    local, remote = load_dataset(tmp_path / "set"), load_dataset(memory)
    assert facts(remote.train) == facts(local.train)
    assert [s.path.read_bytes() for s in remote.train] == [s.path.read_bytes() for s in local.train]
    assert str(remote.train[0].path) == "memory://people/train-000.tar:0000.png"
    assert facts(load_dataset(Path("memory://people/train-001.tar")).train) == facts(local.train)[8:16]
    assert facts(load_dataset(Path(f"file://{tmp_path}/set")).train) == facts(local.train)


def test_a_url_with_nothing_behind_it(memory: Path) -> None:
    for url, says in (
        ("memory://nobody", "memory://nobody holds no .tar and no .parquet"),
        ("nosuch://bucket/a", "nosuch://bucket/a cannot be opened: fsspec knows no nosuch://"),
    ):
        with pytest.raises(DataError, match=says):
            load_dataset(Path(url))


def test_a_network_that_fails_now_and_then(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = load_dataset(memory).train
    calls: list[object] = []
    system = type(fsspec.filesystem("memory"))
    good, waits = system.cat_file, list[float]()

    def flaky(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(self)
        if len(calls) < 3:
            raise TimeoutError("no answer")
        return good(self, *args, **more)

    def dead(self: Any, *args: Any, **more: Any) -> Any:
        raise TimeoutError("no answer")

    monkeypatch.setattr(system, "cat_file", flaky)
    monkeypatch.setattr("time.sleep", waits.append)
    assert train[0].path.read_bytes().startswith(b"\x89PNG")
    assert (len(calls), waits) == (3, [0.5, 1.0])
    monkeypatch.setattr(system, "cat_file", dead)
    with pytest.raises(DataError, match=r"memory://people/train-000\.tar cannot be read: no answer"):
        train[0].path.read_bytes()


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] in {"fsspec", "pyarrow"}:
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    storage.place_of.cache_clear()
    with pytest.raises(DataError, match=r"^a URL needs fsspec: pip install fsspec aiohttp$"):
        load_dataset(Path("memory://people"))
