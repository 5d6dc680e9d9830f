from __future__ import annotations

import contextlib
import io
import pickle
import tracemalloc
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from reidkit.errors import DataError
from reidkit.metrics.features import read_features
from reidkit.metrics.retrieval import score_features
from reidkit.types import Names
from tests.features_file import write_features

from .definition import embeddings

if TYPE_CHECKING:
    from collections.abc import Callable
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


def test_what_ids_and_cameras_are_called_comes_back(tmp_path: Path) -> None:
    """Junk and an unknown camera are called nothing: the text beside them is empty."""
    names = Names({1: "anna", 2: "zoë"}, {0: "door"})
    written = replace(embeddings([[1, 2], [3, 4], [5, 6.5]], [1, -1, 2], [0, 1, -1]), names=names)
    write_features(tmp_path / "f.npz", written)
    assert read_features(tmp_path / "f.npz").names == names


def test_sides_that_number_other_names_are_refused() -> None:
    query = replace(embeddings([[1, 0]], [0], [0]), names=Names({0: "anna"}))
    gallery = embeddings([[1, 0]], [0], [1])
    assert score_features(query, gallery).rank1 == 1
    assert score_features(query, replace(gallery, names=query.names)).rank1 == 1
    with pytest.raises(
        DataError, match="id 0 is anna in the query and bob in the gallery: they come from two data sets"
    ):
        score_features(query, replace(gallery, names=Names({0: "bob"})))


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
        ({"pids": np.array([1.0, 2, 3])}, r"pids are of type float64, not whole numbers: save pids.astype\(int\)"),
        ({"pids": np.array(["1", "2", "3"])}, "pids are of type <U1.*: give each name a number.* names as pid_names"),
        ({"pids": None, "labels": np.arange(3)}, "has no pids: .*; save labels of it by these names"),
        ({"vectors": np.ones((2, 3))}, r"2 features, but pids of shape \[3\]: .* look transposed: save vectors.T"),
        ({"vectors": np.array([["a", "b"]] * 3)}, "are of type <U1: real numbers"),
        ({"vectors": np.array([[1, 2], [3, np.nan], [5, 6]])}, "row 1 of .* holds a NaN"),
        ({"vectors": np.array([[1, 2], [3, 4], [1e60, 6]])}, "row 2 of .* holds a NaN or an infinity"),
        ({"paths": np.array(["a"])}, "3 features and 1 paths"),
        ({"pid_names": np.array(["a"])}, "pid_names must be text, one beside each number"),
        (
            {"camid_names": np.array([1, 2, 3])},
            "camid_names must be text of at most 1024 letters, one a number",
        ),
        ({"pid_names": np.array(["a\n", "", ""])}, r"pid_names calls 1 'a\\n', which is another name or none"),
        ({"pids": np.array([1, 1, 2]), "pid_names": np.array(["a", "b", ""])}, "pid_names calls 1 'b'"),
        ({"paths": np.array([None, {}, 1], object)}, "paths are Python objects, which could run a program"),
        ({"vectors": np.array([[None, {}]] * 3, object)}, "vectors are Python objects"),
        ({"vectors": np.zeros((3, 2), [("x", "<f4"), ("y", "<f4")])}, "real numbers are needed"),
        ({"vectors": np.zeros((3, 2), "M8[s]")}, "are of type datetime64.*: real numbers"),
        ({"pids": np.array([1, -2, 2])}, "pids hold -2: they are counted from 0, and -1 is junk"),
        ({"camids": np.array([0, 1, -7])}, "camids hold -7: they are counted from 0, and -1 is unknown"),
        ({"pids": np.array([1, 2, 2**63], np.uint64)}, "pids hold 9223372036854775808"),
        ({"paths": np.array([b"a", b"b", b"c"])}, "paths must be text of at most 4096 letters"),
        ({"model": np.array(["a", "b"])}, "model is not one text"),
        ({"pids": np.zeros(10**6, np.int64)}, r"has 3 features, but pids of shape \[1000000\]"),
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
    with pytest.raises(DataError, match=r"f\.npz is (damaged|a single array)"):
        read_features(tmp_path / "f.npz")


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def packed(method: int = zipfile.ZIP_STORED, **parts: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, part in ({name: npy(value) for name, value in GOOD.items()} | parts).items():
            archive.writestr(f"{name}.npy", part)
    return stream.getvalue()


def encrypted() -> bytes:
    found = bytearray(packed())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := found.find(mark, at + 1)) >= 0:
            found[at + offset] |= 1
    return bytes(found)


def saved_by_torch() -> bytes:
    file = io.BytesIO()
    torch.save({"vectors": torch.eye(3)}, file)
    return file.getvalue()


def beyond_unicode() -> bytes:
    paths = bytearray(npy(np.array(["a"] * 3)))
    paths[-4:] = b"\xff\xff\xff\x7f"
    return packed(paths=bytes(paths))


def twice() -> bytes:
    stream = io.BytesIO(packed())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("pids.npy", npy(np.array([2, 2, 2])))
    return stream.getvalue()


VECTORS = npy(GOOD["vectors"])
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "encrypted": (encrypted, "is encrypted: unpack it with its password"),
    "open bracket": (lambda: packed(vectors=VECTORS.replace(b"(3, 2), }", b"(3, 2    ")), "vectors cannot be decoded"),
    "a true length": (lambda: packed(vectors=VECTORS.replace(b"(3, 2), }", b"(True,2)}")), "vectors cannot be decoded"),
    "a negative length": (lambda: packed(vectors=VECTORS.replace(b"(3, 2)", b"(-3,2)")), "vectors cannot be decoded"),
    "more than there is": (lambda: packed(vectors=VECTORS.replace(b"(3, 2)", b"(9, 2)")), "of another length"),
    "no array": (lambda: packed(vectors=b"not an npy file"), "vectors cannot be decoded"),
    "cut array": (lambda: packed(vectors=VECTORS[:-4]), "of another length"),
    "lzma": (lambda: packed(zipfile.ZIP_LZMA), "packed in a way that is not read"),
    "bzip2": (lambda: packed(zipfile.ZIP_BZIP2), "packed in a way that is not read"),
    "beyond Unicode": (beyond_unicode, "paths holds what is no text"),
    "twice": (twice, "holds pids twice"),
    "a pickle": (lambda: pickle.dumps({"vectors": 1}), "a pickle could run a program and is never read"),
    "a file of torch": (
        saved_by_torch,
        "torch.save writes a pickle, which is never read, save the arrays by numpy.savez",
    ),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "save in MATLAB by `save -v7`"),
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_hostile_files(tmp_path: Path, kind: str) -> None:
    make, sentence = HOSTILE[kind]
    (tmp_path / "f.npz").write_bytes(make())
    with pytest.raises(DataError, match=sentence) as caught:
        read_features(tmp_path / "f.npz")
    assert "\n" not in str(caught.value)


def test_every_flipped_byte_ends_in_a_sentence(tmp_path: Path) -> None:
    whole = packed(zipfile.ZIP_DEFLATED, paths=npy(np.array(["a", "b", "c"])))
    for at in range(len(whole)):
        for other in (0, 0xFF, whole[at] ^ 0x10):
            (tmp_path / "f.npz").write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
            with contextlib.suppress(DataError):
                assert read_features(tmp_path / "f.npz").vectors.tolist() == GOOD["vectors"].tolist()


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Half a GB of zeros in half a MB is refused; what was measured and packed is read."""
    count = 1 << 17
    np.savez_compressed(
        tmp_path / "f.npz", vectors=np.zeros((count, 1024), np.float32), pids=np.zeros(count, int), camids=[0] * count
    )
    tracemalloc.start()
    with pytest.raises(DataError, match=r"vectors would unpack from .* kB to 536.9 MB.*save them uncompressed"):
        read_features(tmp_path / "f.npz")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    measured = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)
    np.savez_compressed(tmp_path / "g.npz", vectors=measured, pids=np.zeros(5000, int), camids=np.zeros(5000, int))
    assert read_features(tmp_path / "g.npz").vectors.tolist() == measured.tolist()


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        read_features(tmp_path / "f.npz")
    with pytest.raises(DataError, match="is a folder and no features file: make one by `reidkit embed"):
        read_features(tmp_path)
