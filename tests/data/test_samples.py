"""`Samples`: the same of loose files and of shards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from reidkit.data.formats.detect import load_dataset
from reidkit.data.shards.writer import convert
from reidkit.errors import DataError
from reidkit.types import Dataset, Embeddings, Sample, Samples, SampleTable, as_samples

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = [(3, 1), (-1, 2), (5, -1), (3, 2)]


@pytest.fixture(params=["files", "shards"])
def samples(request: pytest.FixtureRequest, tmp_path: Path) -> Samples:
    """Four images: ids 3, junk, 5, 3 by cameras 1, 2, an unknown one and 2."""
    table = []
    for number, (pid, camid) in enumerate(LABELS):
        path = tmp_path / f"{number}.jpg"
        Image.new("RGB", (4, 8), (number, 0, 0)).save(path)
        table.append(Sample(path, pid, camid))
    if request.param == "files":
        return Dataset("four", table).train
    convert(Dataset("four", [s for s in table if s.pid >= 0]), tmp_path / "shards", "webdataset", 2)
    shards = load_dataset(tmp_path / "shards").train
    assert shards.shards
    assert shards.pids.tolist() == [3, 3, 5]
    return shards.take([0, 2, 1])


def test_they_are_shown_by_their_counts(samples: Samples) -> None:
    """Not one by one: a data set that is printed would fill the screen."""
    assert repr(samples) == f"{type(samples).__name__}({len(samples)} images, 2 ids, 2 cameras)"
    assert repr(samples[:0]).endswith("(0 images, 0 ids, 0 cameras)")
    assert "train=SampleTable(0 images" in repr(Dataset("none"))


def test_columns_are_those_of_the_samples(samples: Samples) -> None:
    assert samples.pids.dtype == samples.camids.dtype == np.int64
    assert samples.pids.tolist() == [sample.pid for sample in samples]
    assert samples.camids.tolist() == [sample.camid for sample in samples]
    assert samples.paths == tuple(str(sample.path) for sample in samples)


@pytest.mark.parametrize("rows", [[2, 0], np.array([2, 0]), np.array([True, False, True]), []])
def test_rows_are_taken_in_their_order(samples: Samples, rows: list[int]) -> None:
    samples = samples[:3]
    indices = np.arange(3)[np.asarray(rows, dtype=bool if np.asarray(rows).dtype == bool else int)]
    taken = samples.take(rows)
    assert isinstance(taken, Samples)
    assert list(taken) == [samples[int(i)] for i in indices]
    assert taken.shards == samples.shards


def test_slices_are_tables(samples: Samples) -> None:
    assert isinstance(samples[1:], Samples)
    assert samples[1:] == list(samples)[1:]
    assert samples[1:] != list(samples)[:-1]
    assert samples[-1] == list(samples)[-1]


def test_junk_and_unknown_cameras_keep_their_number(samples: Samples) -> None:
    moved = samples.renumbered(10, 100)
    assert moved.pids.tolist() == [pid if pid == -1 else pid + 10 for pid in samples.pids.tolist()]
    assert moved.camids.tolist() == [camid if camid == -1 else camid + 100 for camid in samples.camids.tolist()]
    assert samples.renumbered(0, 0) is samples


def test_the_digest_tells_order_and_ids(samples: Samples) -> None:
    same = samples.take(range(len(samples)))
    assert same.digest() == samples.digest()
    assert len(samples.digest()) == 16
    assert samples.take([1, 0, 2]).digest() != samples.digest()
    assert samples.renumbered(1, 0).digest() != samples.digest()
    assert samples.renumbered(0, 1).digest() == samples.digest(), "cameras take no part in training"


def test_the_digest_of_files_is_that_of_names_and_ids() -> None:
    table = SampleTable([Sample(Path("a/x.jpg"), 3, 1), Sample(Path("b/y.jpg"), 5, 2)])
    assert table.digest() == hashlib.sha256(b"x.jpg\x003\ny.jpg\x005\n").hexdigest()[:16]


def test_a_data_set_makes_tables_of_any_sequence() -> None:
    sample = Sample(Path("a.jpg"), 1, 2)
    makers: tuple[Callable[[], object], ...] = (lambda: [sample], lambda: (sample,), lambda: iter([sample]))
    for maker in makers:
        found = Dataset("one", train=maker())  # type: ignore[arg-type]
        assert isinstance(found.train, SampleTable)
        assert (list(found.train), len(found.query)) == ([sample], 0)
        assert found == Dataset("one", [sample])
    table = SampleTable([sample])
    assert as_samples(table) is table
    assert Dataset("one", query=table).query is table


def test_lists_become_arrays_of_features() -> None:
    found = Embeddings([[1, 2], [3, 4]], [7, -1], [1, 2], paths=["a.jpg", "b.jpg"])
    assert found.vectors.dtype == np.float32
    assert found.pids.dtype == found.camids.dtype == np.int64
    assert (found.vectors.tolist(), found.pids.tolist(), found.paths) == ([[1, 2], [3, 4]], [7, -1], ("a.jpg", "b.jpg"))
    vectors = np.zeros((1, 2), np.float16)
    assert Embeddings(vectors, [1], [1]).vectors is vectors
    assert len(Embeddings([], [], [])) == 0


@pytest.mark.parametrize(
    ("vectors", "pids", "sentence"),
    [
        ([[1, 2], [3]], [1, 2], "vectors are no array .* give a list of numbers, one row for each image$"),
        ([[1], [2]], [1.5, 2], "pids are float64: give one whole number for each image"),
        (
            [[1], [2]],
            ["anna", "bob"],
            r"pids are no array .* one row for each image; names are numbered over query and gallery",
        ),
    ],
)
def test_lists_that_are_no_features(vectors: list[Any], pids: list[Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Embeddings(vectors, pids, [1, 1])


def test_ids_of_several_sets_of_shards_never_begin_again(samples: Samples) -> None:
    """Shards have columns of 32 bits: behind two sets with ids of nine digits, those of a third were negative."""
    assert samples.renumbered(10**9, 7).pids.max() == 10**9 + 5
    if samples.shards:
        with pytest.raises(DataError, match="the pids of several data sets of shards end above 2,147,483,647"):
            samples.renumbered(2**31 - 5, 0)
        with pytest.raises(DataError, match="the camids of several"):
            samples.renumbered(0, 2**31)
