from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reidkit.evaluate.features import read_features, write_features
from reidkit.evaluate.metrics import score
from reidkit.types import DataError, Embeddings, Names

from .definition import embeddings

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {
    "vectors": np.ones((3, 2), np.float32),
    "pids": np.array([1, -1, 2]),
    "camids": np.array([0, 1, -1]),
}


@pytest.mark.parametrize("paths", [(), ("a.jpg", "ü/b c.jpg", "")])
@pytest.mark.parametrize("model", ["", "4c1f"])
def test_comes_back_as_it_was(tmp_path: Path, paths: tuple[str, ...], model: str) -> None:
    written = embeddings([[1, 2], [3, 4], [5, 6.5]], [1, -1, 2], [0, 1, -1], paths, model)
    write_features(tmp_path / "some.features", written)
    found = read_features(tmp_path / "some.features")
    assert found.vectors.tolist() == written.vectors.tolist()
    assert (found.pids.tolist(), found.camids.tolist()) == ([1, -1, 2], [0, 1, -1])
    assert (found.paths, found.model) == (paths, model)
    assert [str(x.dtype) for x in (found.vectors, found.pids, found.camids)] == ["float32", "int64", "int64"]
    assert [path.name for path in tmp_path.iterdir()] == ["some.features"]


def test_what_ids_and_cameras_are_called_comes_back(tmp_path: Path) -> None:
    """Junk and an unknown camera are called nothing; other programs read a text beside each number."""
    names = Names({1: "anna", 2: "zoë"}, {0: "door"})
    written = replace(embeddings([[1, 2], [3, 4], [5, 6.5]], [1, -1, 2], [0, 1, -1]), names=names)
    write_features(tmp_path / "f.npz", written)
    with np.load(tmp_path / "f.npz") as file:
        assert file["pid_names"].tolist() == ["anna", "", "zoë"]
        assert file["camid_names"].tolist() == ["door", "", ""]
    assert read_features(tmp_path / "f.npz").names == names


def test_sides_that_number_other_names_are_refused() -> None:
    query = replace(embeddings([[1, 0]], [0], [0]), names=Names({0: "anna"}))
    gallery = embeddings([[1, 0]], [0], [1])
    assert score(query, gallery).rank1 == 1
    assert score(query, replace(gallery, names=query.names)).rank1 == 1
    with pytest.raises(
        DataError, match="id 0 is anna in the query and bob in the gallery: they come from two data sets"
    ):
        score(query, replace(gallery, names=Names({0: "bob"})))


def test_other_number_types_are_read(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "f.npz", vectors=np.ones((1, 2), np.float16), pids=np.array([3], np.uint8), camids=[0], more="x"
    )
    assert read_features(tmp_path / "f.npz").vectors.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pids": None}, "has no pids: a features file needs"),
        ({"pids": None, "camids": None}, "has no pids and no camids"),
        ({"vectors": np.ones(3)}, r"features have the shape \[3\]"),
        ({"vectors": np.ones((0, 2))}, r"features have the shape \[0, 2\]"),
        ({"vectors": np.ones((4, 2))}, r"has 4 features, but pids of shape \[3\]"),
        ({"camids": np.zeros((3, 1), np.int64)}, r"has 3 features, but camids of shape \[3, 1\]"),
        ({"pids": np.array([1.0, 2, 3])}, "pids are of type float64, not whole numbers"),
        ({"pids": np.array(["1", "2", "3"])}, "pids are of type <U1"),
        ({"vectors": np.array([["a", "b"]] * 3)}, "are of type <U1: real numbers"),
        ({"vectors": np.array([[1, 2], [3, np.nan], [5, 6]])}, "row 1 of .* holds a NaN"),
        ({"vectors": np.array([[1, 2], [3, 4], [1e60, 6]])}, "row 2 of .* holds a NaN, an infinity"),
        ({"paths": np.array(["a"])}, "3 features and 1 paths"),
        ({"pid_names": np.array(["a"])}, "pid_names must be text, one beside each number"),
        ({"camid_names": np.array([1, 2, 3])}, "camid_names must be text, one beside each number"),
        ({"pid_names": np.array(["a\n", "", ""])}, r"pid_names calls 1 'a\\n', which is another name or none"),
        ({"pids": np.array([1, 1, 2]), "pid_names": np.array(["a", "b", ""])}, "pid_names calls 1 'b'"),
        ({"paths": np.array([None, {}, 1], object)}, "is damaged or no features file"),
        ({"vectors": np.array([[None, {}]] * 3, object)}, "is damaged or no features file"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    contents: dict[str, Any] = {name: value for name, value in (GOOD | change).items() if value is not None}
    np.savez(tmp_path / "f.npz", **contents)
    with pytest.raises(DataError, match=sentence) as caught:
        read_features(tmp_path / "f.npz")
    assert "\n" not in str(caught.value)
    assert "f.npz" in str(caught.value)


def damaged() -> dict[str, bytes]:
    file = io.BytesIO()
    np.savez(file, **GOOD)
    whole = file.getvalue()
    huge = io.BytesIO()
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    shape = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 2048), }"
    with zipfile.ZipFile(huge, "w") as archive:
        archive.writestr("vectors.npy", header + shape.ljust(117) + b"\n")
    flipped = bytearray(whole)
    flipped[whole.index(b"NUMPY") + 130] ^= 0xFF
    array = io.BytesIO()
    np.save(array, GOOD["vectors"])
    return {
        "empty": b"",
        "text": b"hello, these are no features",
        "cut": whole[: len(whole) // 2],
        "flipped": bytes(flipped),
        "no numbers": b"PK\x03\x04" + bytes(200),
        "huge": huge.getvalue(),
        "array": array.getvalue(),
    }


@pytest.mark.parametrize("kind", sorted(damaged()))
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    (tmp_path / "f.npz").write_bytes(damaged()[kind])
    with pytest.raises(DataError, match=r"f\.npz is (damaged or no features file|a single array)"):
        read_features(tmp_path / "f.npz")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        read_features(tmp_path / "f.npz")
    with pytest.raises(DataError, match="cannot be read"):
        read_features(tmp_path)
    with pytest.raises(DataError, match="cannot be written"):
        write_features(tmp_path / "no" / "f.npz", embeddings([[1.0]], [1], [0]))


def test_a_bad_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_features(tmp_path / "f.npz", embeddings([[1.0]], [1], [0]))
    for bad in (
        embeddings([[np.nan]], [1], [0]),
        embeddings([[1.0]], [1, 2], [0]),
        Embeddings(np.ones((1, 1), np.float32), np.array([1]), np.array([0]), "", ("a", "b")),
    ):
        with pytest.raises(DataError):
            write_features(tmp_path / "f.npz", bad)
    assert read_features(tmp_path / "f.npz").vectors.tolist() == [[1]]
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]
