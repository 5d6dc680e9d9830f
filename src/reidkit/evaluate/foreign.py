"""Features that other programs write, in `.npy`, `.mat` and Parquet: arrays by the names of a features file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit import npz
from reidkit.evaluate import matlab
from reidkit.npz import damaged
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

STARTS = {b"PK\x03\x04": "npz", b"\x93NUMPY": "npy", b"PAR1": "parquet", b"MATLAB 5.0": "mat"}
HINTS = {
    b"\x89HDF": ": HDF5 and MATLAB 7.3 are not read, save in MATLAB by `save -v7`",
    b"MATLAB 7.3": ": MATLAB 7.3 is not read, save in MATLAB by `save -v7`",
    b"\x80": ": a pickle could run a program and is never read, save the arrays by numpy.savez",
}
COLUMNS = {
    "vectors": ("vectors", "vector"),
    "pids": ("pids", "pid"),
    "camids": ("camids", "camid"),
    "paths": ("paths", "path"),
}
BESIDE = ("pids", "camids", "paths")
LONGEST_PATH = 4096
"""Letters."""


def kind_of(start: bytes) -> str:
    """`npz`, `npy`, `parquet` or `mat` by the first bytes of a file; "" for anything else."""
    return next((kind for mark, kind in STARTS.items() if start.startswith(mark)), "")


def hint(start: bytes) -> str:
    """What to do with a file that is something else."""
    return next((words for mark, words in HINTS.items() if start.startswith(mark)), "")


def read_npy(path: Path) -> Arrays:
    """`NAME.npy` with the features; beside it `NAME_pids.npy` and `NAME_camids.npy`, and if need be `NAME_paths.npy`.

    Raises:
        DataError: one of them is damaged, or labels are missing.
    """
    files = {"vectors": path, **{name: path.with_name(f"{path.stem}_{name}.npy") for name in BESIDE}}
    absent = [str(files[name]) for name in ("pids", "camids") if not files[name].is_file()]
    if not files["pids"].is_file():
        raise DataError(
            f"{path} is a single array, and {' and '.join(absent)} with its labels beside it are not there: "
            "save them, or all in one .npz with vectors, pids and camids"
        )
    found = {}
    for name, each in files.items():
        if each.is_file():
            with each.open("rb") as file:
                found[name] = npz.read_npy(file, each.stat().st_size, str(each))
    if "paths" in found and found["paths"].dtype.kind != "U":
        raise DataError(f"{files['paths']} holds {found['paths'].dtype} and not text: save the paths as str")
    return found


def read_mat(path: Path, names: Mapping[str, str]) -> Arrays:
    """The arrays of these names in a `.mat`; MATLAB's doubles become whole numbers where they are labels.

    Raises:
        DataError: it is damaged, or labels are no whole numbers.
    """
    contents = matlab.read(path, names.values())
    found = {key: contents[name] for key, name in names.items() if name in contents}
    for key in ("pids", "camids"):
        if key in found:
            found[key] = _labels(found[key], f"{path}: {names[key]}")
    for key in ("paths", "model"):
        if key in found and found[key].dtype.kind != "O":
            raise DataError(f"{path}: {names[key]} is no text: save it as a cell array of text, or leave it out")
    return found


def _labels(values: NDArray[Any], what: str) -> NDArray[Any]:
    """Labels as MATLAB has them, [1, N] or [N, 1] and often doubles, as whole numbers [N]."""
    if values.ndim == 2 and 1 in values.shape:
        values = values.reshape(-1)
    if values.dtype.kind != "f":
        return values
    if not (np.isfinite(values).all() and (values == np.floor(values)).all() and (np.abs(values) < 2**53).all()):
        raise DataError(f"{what} holds what is no whole number: ids and cameras are whole numbers")
    return values.astype(np.int64)


def read_parquet(path: Path) -> Arrays:
    """The columns `vector` (lists of one length), `pid` and `camid`, and if there is one `path`; plurals are as good.

    Raises:
        DataError: it is damaged, unpacks to too much, or holds no such columns.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path} needs pyarrow to be read: pip install pyarrow, or save the arrays as .npz") from None
    with damaged(str(path), "its table of contents"):
        file = parquet.ParquetFile(path)
        schema, facts = file.schema_arrow, file.metadata
        columns = {key: next((name for name in names if name in schema.names), "") for key, names in COLUMNS.items()}
        values = sum(
            facts.row_group(g).column(c).num_values
            for g in range(facts.num_row_groups)
            for c in range(facts.num_columns)
        )
    missing = [COLUMNS[key][1] for key in ("vectors", "pids") if not columns[key]]
    if missing:
        raise DataError(f"{path} has no column {' and no '.join(missing)}: vector, pid and camid are needed")
    npz.check_size(4 * values, path.stat().st_size, str(path))
    with damaged(str(path), "a column"):
        texts = [columns["paths"]] if columns["paths"] else []
        file = parquet.ParquetFile(path, read_dictionary=texts)
        table = file.read(columns=[name for name in columns.values() if name])
        found = {key: table.column(name) for key, name in columns.items() if name}
    gaps = [columns[key] for key, column in found.items() if column.null_count]
    if gaps:
        raise DataError(f"{path}: column {gaps[0]} has rows without a value: leave them out, or fill them")
    return {key: _column(column, f"{path}: column {columns[key]}", key) for key, column in found.items()}


def _column(column: Any, what: str, key: str) -> NDArray[Any]:
    """A column as an array; one of lists as [N, D]."""
    with damaged(what, "it"):
        if key == "vectors":
            return _lists(column, what)
        if key != "paths":
            return np.asarray(column.to_numpy())
        # Kept as a dictionary until the longest is known: one long text for a million rows takes little in the file.
        if str(column.type).startswith("dictionary"):
            texts = [chunk.dictionary.to_pylist() for chunk in column.chunks]
        else:
            texts = [[None]]
        if any(not isinstance(text, str) or len(text) > LONGEST_PATH for some in texts for text in some):
            raise DataError(f"{what} holds what is no text of at most {LONGEST_PATH} letters: save paths as str")
        rows = (some[i] for some, chunk in zip(texts, column.chunks, strict=True) for i in chunk.indices.to_pylist())
        return np.array(list(rows), dtype=object)


def _lists(column: Any, what: str) -> NDArray[Any]:
    """A column of lists of one length as [N, D]."""
    from pyarrow import compute, types

    if not (types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type)):
        raise DataError(f"{what} is of type {column.type}: lists of numbers of one length are needed")
    widths = compute.unique(compute.list_value_length(column)).to_pylist()
    if len(widths) != 1 or not widths[0]:
        raise DataError(f"{what} holds lists of several lengths, or none: all features need the same length")
    flat = np.concatenate([np.asarray(chunk.flatten().to_numpy(zero_copy_only=False)) for chunk in column.chunks])
    return flat.reshape(len(column), widths[0])
