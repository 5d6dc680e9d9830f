"""Shards behind a web server on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.data.shards import storage
from reidkit.data.shards.storage import Remote
from reidkit.errors import DataError
from tests.data.shards.made import facts, noise_shards, pair, tar
from tests.server import Site, served

if TYPE_CHECKING:
    from collections.abc import Iterator

fsspec = pytest.importorskip("fsspec", reason="URLs need fsspec: pip install fsspec aiohttp")
pytest.importorskip("aiohttp", reason="URLs of HTTP need aiohttp: pip install fsspec aiohttp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return noise_shards(tmp_path / "set")


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with served(folder) as made:
        yield made


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between tries, in no time."""
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


def test_a_url_holds_what_the_folder_holds(folder: Path, site: Site) -> None:
    local, remote = load_dataset(folder), load_dataset(Path(site.url))
    assert facts(remote.train) == facts(local.train)
    assert [s.path.read_bytes() for s in remote.train] == [s.path.read_bytes() for s in local.train]
    assert str(remote.train[0].path) == f"{site.url}/train-000.tar:0000.png"
    assert facts(load_dataset(Path(f"{site.url}/train-001.tar")).train) == facts(local.train)[8:16]


def test_a_tar_without_its_end_is_named(folder: Path, site: Site) -> None:
    """Its size is not known beforehand: the server answers that there is nothing behind its end."""
    shard = folder / "train-000.tar"
    whole = shard.read_bytes().rstrip(b"\0")
    shard.write_bytes(whole + bytes(-len(whole) % 512))
    with pytest.raises(DataError, match=r"train-000\.tar is cut short"):
        load_dataset(Path(site.url))


def test_short_failures_are_passed_over(site: Site, waits: list[float]) -> None:
    train = load_dataset(Path(site.url)).train
    whole = train[0].path.read_bytes()
    site.faults += [503, "cut", 429]
    assert train[0].path.read_bytes() == whole
    assert waits == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("fault", "says", "tries"),
    [
        (404, "it is not there", 1),
        (403, "the server answers 403 Forbidden: see that the URL may be read from here", 1),
        (500, "the server answers 500 Internal Server Error", 4),
        ("cut", "payload", 4),
    ],
)
def test_lasting_failures_end_in_a_sentence(site: Site, fault: int | str, says: str, tries: int) -> None:
    train = load_dataset(Path(site.url)).train
    site.faults += [fault] * 9
    with pytest.raises(DataError, match=rf"train-000\.tar cannot be read: .*{says}"):
        train[0].path.read_bytes()
    assert len(site.faults) == 9 - tries


def test_a_server_that_says_nothing_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec would wait five minutes, four times, and give up on a large piece that arrives slowly, too."""
    monkeypatch.setattr("reidkit.data.shards.storage._SILENCE", 1.0)  # a slow machine answers within it
    with served(folder) as site:
        train = load_dataset(Path(site.url)).train
        site.faults += ["silence"] * 4
        with pytest.raises(DataError, match=r"train-000\.tar cannot be read: .*[Tt]imeout"):
            train[0].path.read_bytes()
        assert train[0].path.read_bytes()


def test_who_has_set_fsspec_is_not_overruled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "http", {"client_kwargs": {"headers": {"X-Mine": "1"}}})
    system = Remote(site.url)._system
    assert system.client_kwargs == {"headers": {"X-Mine": "1"}}


def test_a_server_that_is_gone(folder: Path) -> None:
    with served(folder) as site:
        train = load_dataset(Path(site.url)).train
    with pytest.raises(DataError, match=r"train-000\.tar cannot be read: .*[Cc]onnect"):
        train[0].path.read_bytes()
    storage.place_of.cache_clear()
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:\d+/other cannot be read: .*[Cc]onnect"):
        load_dataset(Path(f"{site.url}/other"))


def test_a_folder_that_is_not_there(site: Site) -> None:
    with pytest.raises(DataError, match=r"/nobody holds no \.tar and no \.parquet"):
        load_dataset(Path(f"{site.url}/nobody"))


def test_a_server_of_whole_files_is_refused(folder: Path) -> None:
    """Python's own is one: it would answer each question for a piece with the beginning of the shard."""
    with (
        served(folder, ranges=False) as site,
        pytest.raises(DataError, match=r"gives whole files only \(no range requests\): copy the shards"),
    ):
        load_dataset(Path(site.url))


@pytest.mark.parametrize("modified", [True, False])
def test_shards_that_have_changed_are_read_anew(
    folder: Path, jpeg: bytes, modified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of web servers have no sizes and times; the table is kept by what the server says of each file, if so."""
    with served(folder, modified=modified) as site:
        before = facts(load_dataset(Path(site.url)).train)
        read = site.bytes
        storage.place_of.cache_clear()
        assert facts(load_dataset(Path(site.url)).train) == before
        assert (site.bytes - read < read // 2) == modified, "the table is used"
        tar(folder / "train-000.tar", pair("new", jpeg, pid=77))
        os.utime(folder / "train-000.tar", (2e9, 2e9))
        storage.place_of.cache_clear()
        assert facts(load_dataset(Path(site.url)).train)[0] == ("new.jpg", 77, -1)


def test_a_package_that_is_missing_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def without(*_: Any, **more: Any) -> Any:
        raise ImportError('HTTPFileSystem requires "requests" and "aiohttp" to be installed')

    monkeypatch.setattr(fsspec.core, "url_to_fs", without)
    storage.place_of.cache_clear()
    with pytest.raises(DataError, match=r"^http://127.*/x needs a package more: pip install fsspec aiohttp$"):
        load_dataset(Path(f"{site.url}/x"))
