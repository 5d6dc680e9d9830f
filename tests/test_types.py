from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reidkit.data import load_dataset
from reidkit.errors import DataError, UsageError
from reidkit.metrics import score
from reidkit.types import Embeddings, Sample, as_path


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


def test_arrays_are_left_alone() -> None:
    vectors = np.zeros((2, 3), np.float16)
    assert Embeddings(vectors, [1, 2], [1, 1]).vectors is vectors


@pytest.mark.parametrize("vectors", [[[1.0, 2.0], [3.0]], [["a", "b"]]])
def test_lists_that_make_no_array(vectors: Any) -> None:
    with pytest.raises(DataError, match="vectors are no array"):
        Embeddings(vectors, [1, 2], [1, 1])


def test_a_path_may_be_text(noise: Path) -> None:
    assert load_dataset(str(noise)) == load_dataset(noise)


def test_what_is_no_path(tmp_path: Path) -> None:
    assert as_path(str(tmp_path), "a file") == as_path(tmp_path, "a file") == tmp_path
    for wrong in (None, 3, [tmp_path]):
        with pytest.raises(UsageError, match=f"a {type(wrong).__name__} is no path: pass a file"):
            as_path(wrong, "a file")


def test_the_path_of_a_sample_may_be_text() -> None:
    assert Sample("a/b.jpg", 1, 2) == Sample(Path("a/b.jpg"), 1, 2)  # type: ignore[arg-type]


def test_an_id_and_a_camera_are_whole_numbers() -> None:
    """3.2 and 3.7 were both id 3, "7" was 7, and -5 the id of another data set after a merge."""
    assert Sample(Path("a"), np.int64(3), -1) == Sample(Path("a"), 3, -1)  # type: ignore[arg-type]
    for wrong in (3.5, "7", None, float("nan"), -5, 2**63):
        for pid, camid in ((wrong, 1), (1, wrong)):
            with pytest.raises(DataError, match=r"id of a\.jpg is .*: give a whole number from 0 on, or -1"):
                Sample(Path("a.jpg"), pid, camid)  # type: ignore[arg-type]
