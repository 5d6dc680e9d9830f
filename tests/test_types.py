from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reidkit.data import load_dataset
from reidkit.errors import DataError, UsageError
from reidkit.metrics import score
from reidkit.types import Dataset, Embeddings, Sample


def test_lists_become_arrays() -> None:
    embeddings = Embeddings([[1.0, 0.0], [0.0, 2.5]], [7, 8], (1, 2), paths=["a.jpg", "b.jpg"])
    dtypes = [str(array.dtype) for array in (embeddings.vectors, embeddings.pids, embeddings.camids)]
    assert dtypes == ["float32", "int64", "int64"]
    assert embeddings.vectors.tolist() == [[1, 0], [0, 2.5]]
    assert embeddings.paths == ("a.jpg", "b.jpg")
    renumbered = replace(embeddings, pids=np.array([9, 9]))
    assert renumbered.pids.tolist() == [9, 9]
    assert renumbered.vectors is embeddings.vectors
    assert score(Embeddings([[1.0, 0.1]], [7], [2]), embeddings).rank1 == 1


def test_features_are_shown_by_their_counts() -> None:
    """The repr of a cell printed the path of every image."""
    paths = [f"{number}.jpg" for number in range(1200)]
    pids = np.array([-1, 7, 8, 8] * 300)
    many = Embeddings(np.zeros((1200, 3), np.float32), pids, [-1] * 1200, model="0123456789abcdef", paths=paths)
    assert repr(many) == "Embeddings(1,200 images, 2 ids, 0 cameras, model 0123456789abcdef, dim=3)"
    tensors = Embeddings(torch.zeros(1, 2), torch.tensor([7]), torch.tensor([1]))
    assert repr(tensors) == "Embeddings(1 image, 1 id, 1 camera, model not known, dim=2)"
    assert "vectors [2]" in repr(Embeddings([1.0, 2.0], [1, 2], [1, 1])), "wrong shapes are refused where they are used"


def test_arrays_are_left_alone() -> None:
    vectors = np.zeros((2, 3), np.float16)
    assert Embeddings(vectors, [1, 2], [1, 1]).vectors is vectors


@pytest.mark.parametrize("given", [np.array, list])
def test_labels_that_an_int64_cannot_hold(given: Any) -> None:
    """2**64 - 1, as of hashes, was -1: junk."""
    fitting = Embeddings([[1.0]], np.array([7], np.uint64), [1])
    assert (str(fitting.pids.dtype), fitting.pids.tolist()) == ("int64", [7])
    for labels in ({"pids": [2**64 - 1]}, {"camids": [2**63]}):
        (name,) = labels
        values: dict[str, Any] = {"pids": [1], "camids": [1], name: given(labels[name])}
        with pytest.raises(DataError, match=rf"{name} hold \d+, which is above 2\*\*63 - 1: number them over"):
            Embeddings([[1.0]], **values)
    with pytest.raises(DataError, match=r"pids are no array .*too large.* numbered over query and gallery together"):
        Embeddings([[1.0]], [2**70], [1])


@pytest.mark.parametrize("vectors", [[[1.0, 2.0], [3.0]], [["a", "b"]]])
def test_lists_that_make_no_array(vectors: Any) -> None:
    with pytest.raises(DataError, match="vectors are no array"):
        Embeddings(vectors, [1, 2], [1, 1])


def test_a_path_may_be_text(noise: Path) -> None:
    assert load_dataset(str(noise)) == load_dataset(noise)


def test_the_path_of_a_sample_may_be_text() -> None:
    assert Sample("a/b.jpg", 1, 2) == Sample(Path("a/b.jpg"), 1, 2)


def test_an_id_and_a_camera_are_whole_numbers() -> None:
    """3.2 and 3.7 were both id 3, "7" was 7, and -5 the id of another data set after a merge."""
    assert Sample(Path("a"), np.int64(3), -1) == Sample(Path("a"), 3, -1)  # type: ignore[arg-type]
    for wrong in (3.5, "7", None, float("nan"), -5, 2**63):
        for pid, camid in ((wrong, 1), (1, wrong)):
            with pytest.raises(DataError, match=r"id of a\.jpg is .*: give a whole number from 0 on, or -1"):
                Sample(Path("a.jpg"), pid, camid)  # type: ignore[arg-type]


def test_paths_of_features_may_be_paths_and_what_pandas_holds_an_array(tmp_path: Path) -> None:
    """Such paths ended the scoring in a TypeError, wherever an id was on both sides."""
    pandas = pytest.importorskip("pandas")
    gallery = Embeddings([[1.0, 0.0], [0.0, 1.0]], [7, 8], [1, 1], paths=[tmp_path / "a.jpg", tmp_path / "b.jpg"])  # type: ignore[list-item]
    query = Embeddings(pandas.DataFrame([[1.0, 0.1]]), [7], [2], paths=[tmp_path / "c.jpg"])  # type: ignore[list-item]
    assert gallery.paths == (str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg"))
    assert score(query, gallery).rank1 == 1


@pytest.mark.parametrize("pids", [None, (number for number in (1, 2))])
def test_labels_that_make_no_array(pids: Any) -> None:
    with pytest.raises(DataError, match="pids are no array"):
        Embeddings([[1.0], [2.0]], pids, [1, 1])


def test_sources_are_lists_of_paths() -> None:
    with pytest.raises(DataError, match="give a list of paths for each row"):
        Embeddings([[1.0], [2.0]], [1, 2], [1, 1], sources=["a.jpg", "b.jpg"])


def test_a_data_set_is_of_samples() -> None:
    """As torchreid has them, or paths alone: they were taken, and failed wherever one was looked at first."""
    one = Sample("a.jpg", 1, 1)
    for wrong in ([("a.jpg", 1, 1)], ["a.jpg"], "market", None, one):
        with pytest.raises(UsageError, match=r"is no list of samples: pass \[Sample\(path, pid, camid\), \.\.\.\]"):
            Dataset("mine", wrong)  # type: ignore[arg-type]
    assert list(Dataset("mine", (each for each in [one])).train) == [one]
    assert not Dataset("mine", [], ()).train


def test_the_path_of_a_sample_is_a_path() -> None:
    """An image itself was taken, and ended training in an AttributeError."""
    for wrong in (np.zeros((8, 4, 3), np.uint8), b"a.jpg", None):
        with pytest.raises(DataError, match=r"of type .*: save the image, and pass its path"):
            Sample(wrong, 1, 1)  # type: ignore[arg-type]


def test_rows_of_a_table_are_numbers_or_a_mask_of_all() -> None:
    """A mask of other images gave those that were true in it, and 0.7 the first image."""
    table = Dataset("mine", [Sample(f"{pid}.jpg", pid, 1) for pid in range(3)]).train
    assert table.take([2, 0]).pids.tolist() == [2, 0]
    assert table.take(table.pids == 1).pids.tolist() == [1]
    assert not table.take([])
    for wrong in ([True, False], [0.7, 1.2], [[0, 1]], 0):
        with pytest.raises(UsageError, match="pass numbers of images, or a mask of all 3"):
            table.take(wrong)  # type: ignore[arg-type]
