"""Features of other programs, each written by one line of NumPy, SciPy or pyarrow."""

from __future__ import annotations

import contextlib
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reidkit.errors import DataError
from reidkit.metrics import foreign_features
from reidkit.metrics.features import read_both, read_features
from reidkit.metrics.retrieval import score_features

if TYPE_CHECKING:
    from pathlib import Path

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
scipy_io = pytest.importorskip("scipy.io")

VECTORS = np.array([[1, 2], [3, 4], [5, 6.5]], np.float32)
PIDS, CAMIDS = [1, -1, 2], [0, 1, -1]
MAT: dict[str, Any] = {
    "query_f": VECTORS[:1],
    "query_label": [[1]],
    "query_cam": [[0]],
    "gallery_f": VECTORS.astype(np.float64),
    "gallery_label": np.array([PIDS], np.float64),
    "gallery_cam": [CAMIDS],
}


def check(path: Path, paths: tuple[str, ...] = ()) -> None:
    found = read_features(path, "gallery")
    assert (found.vectors.tolist(), str(found.vectors.dtype)) == (VECTORS.tolist(), "float32")
    assert (found.pids.tolist(), found.camids.tolist(), found.paths) == (PIDS, CAMIDS, paths)


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        read_features(path, "gallery")
    assert "\n" not in str(caught.value)


def test_npy_with_its_labels_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "g.npy", VECTORS)
    refused(tmp_path / "g.npy", r"single array, and .*g_pids\.npy and .*g_camids\.npy with its labels")
    np.save(tmp_path / "g_pids.npy", PIDS)
    np.save(tmp_path / "g_camids.npy", np.array(CAMIDS, np.int8))
    check(tmp_path / "g.npy")
    np.save(tmp_path / "g_paths.npy", ["a", "bb", "ü"])
    check(tmp_path / "g.npy", ("a", "bb", "ü"))
    np.save(tmp_path / "g_paths.npy", [1, 2, 3])
    refused(tmp_path / "g.npy", "not text: save the paths as str")
    np.save(tmp_path / "g_pids.npy", np.array([{}, 1, 2]), allow_pickle=True)
    refused(tmp_path / "g.npy", "damaged or holds Python objects")
    (tmp_path / "g_pids.npy").write_bytes(b"")
    refused(tmp_path / "g.npy", r"g_pids\.npy is damaged")


def test_a_mat_with_both_sides(tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "both.mat", MAT)
    check(tmp_path / "both.mat")
    query, gallery = read_both(tmp_path / "both.mat")
    assert (query.vectors.tolist(), query.pids.tolist(), len(gallery.pids)) == ([[1, 2]], [1], 3)
    with pytest.raises(DataError, match="holds query and gallery: say which"):
        read_features(tmp_path / "both.mat")
    scipy_io.savemat(tmp_path / "packed.mat", MAT, do_compression=True)
    check(tmp_path / "packed.mat")


def test_an_npz_with_both_sides(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "both.npz",
        **{key: np.squeeze(value) for key, value in MAT.items()}
        | {"query_f": VECTORS[:1], "query_label": [1], "query_cam": [0], "gallery_label": np.array(PIDS)},
    )
    check(tmp_path / "both.npz")
    assert len(read_both(tmp_path / "both.npz")[0].pids) == 1
    np.savez(tmp_path / "one.npz", vectors=VECTORS, pids=PIDS, camids=CAMIDS)
    with pytest.raises(DataError, match="holds no query_f and gallery_f: give the query's and the gallery's file"):
        read_both(tmp_path / "one.npz")
    theirs: dict[str, Any] = {"qf": VECTORS[:1], "gf": VECTORS, "q_pids": [1], "g_pids": PIDS}
    np.savez(tmp_path / "theirs.npz", **theirs)
    scipy_io.savemat(tmp_path / "theirs.mat", theirs)
    for name in ("theirs.npz", "theirs.mat"):
        with pytest.raises(
            DataError, match="save qf, gf, q_pids, g_pids of it as query_f, query_label, query_cam, gal"
        ):
            read_both(tmp_path / name)


def test_a_mat_of_one_side(tmp_path: Path) -> None:
    scipy_io.savemat(
        tmp_path / "g.mat",
        {"vectors": VECTORS, "pids": PIDS, "camids": CAMIDS, "paths": np.array(["a", "bb", "ü"], object)},
    )
    check(tmp_path / "g.mat", ("a", "bb", "ü"))


def test_every_class_of_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
        for shape in ((1, 1), (1, 3), (40, 30)):
            values = rng.integers(0, 100, shape).astype(kind)
            scipy_io.savemat(tmp_path / "f.mat", {"a": values}, do_compression=bool(shape[0] > 1))
            found = foreign_features.read(tmp_path / "f.mat", ["a", "b"])
            assert list(found) == ["a"]
            assert (found["a"].dtype, found["a"].tolist()) == (values.dtype, values.tolist())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gallery_label": None}, "has no gallery_label: a features file needs"),
        ({"gallery_label": [[0.5, 1, 2]]}, "gallery_label holds what is no whole number"),
        ({"gallery_label": [[np.nan, 1, 2]]}, "gallery_label holds what is no whole number"),
        ({"gallery_label": [[-3, 1, 2]]}, "pids hold -3"),
        ({"gallery_cam": [[1, 2]]}, "camids of shape"),
        ({"gallery_f": [["a", "b"]]}, "is text of several axes"),
        ({"gallery_f": "abc"}, "real numbers are needed|have the shape"),
        ({"gallery_f": np.array([[3, "b"]], object)}, "cell array of more than text"),
        ({"gallery_f": {"a": 1}}, "is a structure, sparse or complex"),
        ({"gallery_f": VECTORS * 1j}, "is a structure, sparse or complex"),
    ],
)
def test_what_is_wrong_in_a_mat(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    scipy_io.savemat(tmp_path / "both.mat", {key: value for key, value in (MAT | change).items() if value is not None})
    refused(tmp_path / "both.mat", sentence)


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_mats(tmp_path: Path, compressed: bool) -> None:
    scipy_io.savemat(tmp_path / "both.mat", MAT, do_compression=compressed)
    whole = (tmp_path / "both.mat").read_bytes()
    rng = np.random.default_rng(0)
    for at in (*range(124, 300), *rng.integers(0, len(whole), 300)):
        changed = bytearray(whole)
        changed[at] ^= int(rng.integers(1, 256))
        (tmp_path / "f.mat").write_bytes(bytes(changed) if rng.random() < 0.8 else whole[:at])
        with contextlib.suppress(DataError):
            read_features(tmp_path / "f.mat", "gallery")


def test_a_mat_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "f.mat", MAT | {"gallery_f": np.zeros((1 << 16, 1024))}, do_compression=True)
    tracemalloc.start()
    refused(tmp_path / "f.mat", r"gallery_f would unpack from .* kB to more than 67\.1 MB")
    assert tracemalloc.get_traced_memory()[1] < 160 << 20
    tracemalloc.stop()


def table(path: Path, /, **columns: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_parquet(tmp_path: Path) -> None:
    path = table(tmp_path / "g.parquet", vector=VECTORS.tolist(), pid=PIDS, camid=CAMIDS)
    check(path)
    fixed = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(VECTORS.reshape(-1)), 2)
    check(table(path, vectors=fixed, pids=PIDS, camids=CAMIDS, paths=["a", "b", "a"], other=[1, 2, 3]), ("a", "b", "a"))


@pytest.mark.parametrize("key", ["reidkit.model", "model"])
def test_the_model_that_a_parquet_file_names_is_compared(tmp_path: Path, key: str) -> None:
    path = tmp_path / "g.parquet"
    columns = pyarrow.table({"vector": VECTORS.tolist(), "pid": PIDS, "camid": CAMIDS})
    parquet.write_table(columns.replace_schema_metadata({key: "beef"}), path)
    found = read_features(path)
    assert found.model == "beef"
    with pytest.raises(DataError, match="model cafe and the gallery's of beef"):
        score_features(replace(found, model="cafe"), found)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"vector": None}, "has no column vector"),
        ({"vector": None, "pid": None}, "has no column vector and no pid"),
        ({"vector": [[1.0], [1.0, 2], [1, 2, 3]]}, "lists of several lengths"),
        ({"vector": [[], [], []]}, "lists of several lengths, or none"),
        ({"vector": [1.0, 2, 3]}, "lists of numbers of one length are needed"),
        ({"vector": [[1.0, None], [1, 2], [3, 4]]}, "row 0 of .* holds a NaN"),
        ({"vector": [["a"], ["b"], ["c"]]}, "real numbers are needed"),
        ({"vector": [None, [1.0], [2]]}, "column vector has rows without a value"),
        ({"pid": [1, None, 2]}, "column pid has rows without a value"),
        ({"pid": ["1", "2", "3"]}, "pids are of type object, not whole numbers"),
        ({"pid": [1, -2, 2]}, "pids hold -2"),
        ({"path": ["a" * 5000, "b", "c"]}, "no text of at most 4096 letters"),
        ({"path": [1, 2, 3]}, "no text of at most 4096 letters"),
    ],
)
def test_what_is_wrong_in_a_table(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    columns = {"vector": VECTORS.tolist(), "pid": PIDS, "camid": CAMIDS} | change
    refused(table(tmp_path / "g.parquet", **{key: c for key, c in columns.items() if c is not None}), sentence)


def test_damaged_tables(tmp_path: Path) -> None:
    whole = table(
        tmp_path / "g.parquet", vector=VECTORS.tolist(), pid=PIDS, camid=CAMIDS, path=["a", "b", "c"]
    ).read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(4, len(whole), 200):
        changed = bytearray(whole)
        changed[at] ^= int(rng.integers(1, 256))
        (tmp_path / "f.parquet").write_bytes(bytes(changed) if rng.random() < 0.8 else whole[:at])
        with contextlib.suppress(DataError):
            read_features(tmp_path / "f.parquet")


def test_a_table_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    count = 1 << 15
    fixed = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.zeros(count * 1024, np.float32)), 1024)
    path = table(tmp_path / "g.parquet", vector=fixed, pid=[0] * count, camid=[0] * count)
    refused(path, r"would unpack from .*B to 134\..* MB")
