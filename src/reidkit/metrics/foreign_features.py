"""Read the features that other programs write, in `.npy`, `.mat` and Parquet, as the arrays of a features file."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit import npz
from reidkit.errors import DataError
from reidkit.npz import FREE, RATIO, damaged

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


# Numbers and text of a MATLAB 5 to 7 `.mat`, as its "MAT-File Format" lays them down.
#
# SciPy reads these files, too, but a damaged one can end it by a segmentation fault: its loops trust what a file says.

HEADER = 128
MATRIX, COMPRESSED = 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""The types of data by their numbers."""

NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""The classes of arrays of numbers."""

CELLS, LETTERS = 1, 4
TEXT = {4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
"""How text is encoded, by the type of its data: UTF-16 in most files."""

COMPLEX = 0x08
BEGINNING = 4096
"""Bytes in which a variable says its name and shape."""


class Slot(NamedTuple):
    """Where a variable lies in the file."""

    start: int
    length: int
    packed: bool


class Element(NamedTuple):
    """A piece of data: its type, its bytes, and the order of bytes in a number."""

    kind: int
    data: memoryview
    order: str


class Variable(NamedTuple):
    """What a variable says of itself, and the data that follow."""

    name: str
    kind: int
    shape: tuple[int, ...]
    is_complex: bool
    parts: Iterator[Element]


def variables(path: Path) -> dict[str, Slot]:
    """Return the variables of a file by name.

    Raises:
        DataError: it is damaged.
        OSError: it cannot be read.
    """
    found: dict[str, Slot] = {}
    with damaged(str(path), "its table of contents"), path.open("rb") as file:
        order, size = _order(file.read(HEADER)), path.stat().st_size
        while len(tag := file.read(8)) == 8:
            kind, length = np.frombuffer(tag, f"{order}u4").tolist()
            slot = Slot(file.tell(), length, kind == COMPRESSED)
            if slot.start + length > size:
                raise ValueError("cut")
            if kind in (MATRIX, COMPRESSED):
                name = _named(file.read(min(length, BEGINNING)), slot.packed, order)
                if name in found:
                    raise DataError(f"{path} holds {name} twice: save the arrays again")
                found[name] = slot
            file.seek(slot.start + length)
    return found


def read(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the variables of these names that are there: numbers, or text as one string a row or cell.

    Raises:
        DataError: one is damaged, too large to be believed, or something else.
        OSError: the file cannot be read.
    """
    slots = variables(path)
    found = {}
    with path.open("rb") as file:
        order = _order(file.read(HEADER))
        for name in names:
            if name in slots:
                file.seek(slots[name].start)
                data = file.read(slots[name].length)
                found[name] = _read(data, slots[name], order, f"{path}: {name}")
    return found


def _read(data: bytes, slot: Slot, order: str, what: str) -> NDArray[Any]:
    if slot.packed:
        limit = min(max(FREE, RATIO * len(data)), npz.memory())
        with damaged(what, "it"):
            unpacked = zlib.decompressobj().decompress(data, limit + 1)
        if len(unpacked) > limit:
            raise DataError(
                f"{what} would unpack from {npz.words(len(data))} to more than {npz.words(limit)}, as no measured "
                "features do: if they are right, save them uncompressed"
            )
        data = unpacked[8:]
    with damaged(what, "it"):
        return _array(_variable(memoryview(data), order), what)


def _array(variable: Variable, what: str) -> NDArray[Any]:
    if variable.is_complex or variable.kind not in (*NUMBERS, LETTERS, CELLS):
        raise DataError(f"{what} is a structure, sparse or complex: save it as a full array of real numbers")
    if variable.kind == CELLS:
        inner = [_variable(part.data, part.order) for part in variable.parts]
        if len(inner) != math.prod(variable.shape) or any(one.kind != LETTERS for one in inner):
            raise DataError(f"{what} is a cell array of more than text: save numbers as a full array")
        return np.array([_text(one) for one in inner], dtype=object)
    if variable.kind == LETTERS:
        rows = variable.shape[0] if len(variable.shape) == 2 else 0
        letters = _text(variable)
        if not rows or len(letters) != math.prod(variable.shape):
            raise DataError(f"{what} is text of several axes: save numbers as a full array, text as a cell array")
        return np.array([letters[row::rows].rstrip() for row in range(rows)], dtype=object)
    part = next(variable.parts)
    stored = np.frombuffer(part.data, f"{part.order}{STORED[part.kind]}")
    # Numbers may be stored in a smaller type than their class; the columns come one after the other.
    return stored.astype(NUMBERS[variable.kind]).reshape(variable.shape, order="F")


def _text(variable: Variable) -> str:
    """Return all letters, column by column."""
    if not math.prod(variable.shape):
        return ""
    part = next(variable.parts)
    ends = {"<": "-le", ">": "-be"}[part.order] if part.kind != 16 else ""
    return bytes(part.data).decode(TEXT[part.kind] + ends)


def _named(data: bytes, packed: bool, order: str) -> str:
    if packed:
        data = zlib.decompressobj().decompress(data, BEGINNING)[8:]
    return _variable(memoryview(data), order).name


def _variable(data: memoryview, order: str) -> Variable:
    """Return the head of a matrix: its flags, its shape and its name, each an element."""
    parts = _elements(data, order)
    flags, lengths, name = next(parts), next(parts), next(parts)
    word = int(np.frombuffer(flags.data, f"{order}u4")[0])
    shape = tuple(np.frombuffer(lengths.data, f"{order}i4").tolist())
    if len(shape) > 32 or any(length < 0 for length in shape):
        raise ValueError("no shape")
    return Variable(bytes(name.data).decode("ascii"), word & 0xFF, shape, bool(word >> 8 & COMPLEX), parts)


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """Yield the elements one after the other. Those of up to four bytes lie in their own tag."""
    at = 0
    while at + 8 <= len(data):
        first, length = np.frombuffer(data[at : at + 8], f"{order}u4").tolist()
        if first >> 16:
            yield Element(first & 0xFFFF, data[at + 4 : at + 4 + (first >> 16)], order)
            at += 8
            continue
        if at + 8 + length > len(data):
            raise ValueError("cut")
        yield Element(first, data[at + 8 : at + 8 + length], order)
        at += 8 + length + -length % 8


def _order(header: bytes) -> str:
    return {b"IM": "<", b"MI": ">"}[header[126:128]]


STARTS = {b"PK\x03\x04": "npz", b"\x93NUMPY": "npy", b"PAR1": "parquet", b"MATLAB 5.0": "mat"}
HINTS = {
    b"\x89HDF": ": HDF5 and MATLAB 7.3 are not read, save in MATLAB by `save -v7`",
    b"MATLAB 7.3": ": MATLAB 7.3 is not read, save in MATLAB by `save -v7`",
    b"\x80": ": a pickle could run a program and is never read, save the arrays by numpy.savez",
}
TORCH = b"/data.pkl"
"""The first name in a zip file that torch.save has written."""

COLUMNS = {
    "vectors": ("vectors", "vector"),
    "pids": ("pids", "pid"),
    "camids": ("camids", "camid"),
    "paths": ("paths", "path"),
    "pid_names": ("pid_names", "pid_name"),
    "camid_names": ("camid_names", "camid_name"),
}
TEXTS = ("paths", "pid_names", "camid_names")
BESIDE = ("pids", "camids", "paths")
LONGEST_PATH = 4096
"""Letters."""


def kind_of(start: bytes) -> str:
    """`npz`, `npy`, `parquet` or `mat` by the first bytes of a file; "" for anything else."""
    if TORCH in start:
        return ""
    return next((kind for mark, kind in STARTS.items() if start.startswith(mark)), "")


def hint(start: bytes) -> str:
    """Return what to do with a file that is something else."""
    if TORCH in start:
        return ": torch.save writes a pickle, which is never read, save the arrays by numpy.savez"
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
    """Return the arrays of these names in a `.mat`; MATLAB's doubles become whole numbers where they are labels.

    Raises:
        DataError: it is damaged, or labels are no whole numbers.
    """
    contents = read(path, names.values())
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
    """The columns `vector` (lists of one length), `pid` and `camid`, and beside them `path`, `pid_name`, `camid_name`.

    Those beside them may be missing, and plurals are as good. The file's metadata may name the model by the key
    `reidkit.model`, or `model`.

    Raises:
        DataError: it is damaged, unpacks to too much, or holds no such columns.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path} needs pyarrow to be read: pip install pyarrow, or save the arrays as .npz") from None
    with damaged(str(path), "its table of contents"):
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        schema, facts = file.schema_arrow, file.metadata
        columns = {key: next((name for name in names if name in schema.names), "") for key, names in COLUMNS.items()}
        values = 0
        # A damaged table of contents may promise columns that a group lacks: asking for one would end the process, with
        # no exception. The scan reads all of it a little at a time, and raises.
        file.scan_contents()
        for group in map(facts.row_group, range(facts.num_row_groups)):
            if group.num_columns != facts.num_columns:
                raise DataError(f"{path} is damaged: a group of rows has other columns than the file; copy it again")
            values += sum(group.column(c).num_values for c in range(group.num_columns))
    missing = [COLUMNS[key][1] for key in ("vectors", "pids") if not columns[key]]
    if missing:
        raise DataError(f"{path} has no column {' and no '.join(missing)}: vector, pid and camid are needed")
    npz.check_size(4 * values, path.stat().st_size, str(path))
    with damaged(str(path), "a column"):
        texts = [columns[key] for key in TEXTS if columns[key]]
        file = parquet.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True)
        table = file.read(columns=[name for name in columns.values() if name])
        found = {key: table.column(name) for key, name in columns.items() if name}
    gaps = [columns[key] for key, column in found.items() if column.null_count]
    if gaps:
        raise DataError(f"{path}: column {gaps[0]} has rows without a value: leave them out, or fill them")
    arrays = {key: _column(column, f"{path}: column {columns[key]}", key) for key, column in found.items()}
    told = schema.metadata or {}
    model = told.get(b"reidkit.model") or told.get(b"model", b"")
    return arrays | {"model": np.array([model.decode(errors="replace")])} if model else arrays


def _column(column: Any, what: str, key: str) -> NDArray[Any]:
    """Return a column as an array; one of lists as [N, D]."""
    with damaged(what, "it"):
        if key == "vectors":
            return _lists(column, what)
        if key not in TEXTS:
            return np.asarray(column.to_numpy())
        # Kept as a dictionary until the longest is known: one long text for a million rows takes little in the file.
        if str(column.type).startswith("dictionary"):
            texts = [chunk.dictionary.to_pylist() for chunk in column.chunks]
        else:
            texts = [[None]]
        if any(not isinstance(text, str) or len(text) > LONGEST_PATH for some in texts for text in some):
            raise DataError(f"{what} holds what is no text of at most {LONGEST_PATH} letters: save {key} as str")
        rows = (some[i] for some, chunk in zip(texts, column.chunks, strict=True) for i in chunk.indices.to_pylist())
        return np.array(list(rows), dtype=object)


def _lists(column: Any, what: str) -> NDArray[Any]:
    """Return a column of lists of one length as [N, D]."""
    from pyarrow import compute, types

    if not (types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type)):
        raise DataError(f"{what} is of type {column.type}: lists of numbers of one length are needed")
    widths = compute.unique(compute.list_value_length(column)).to_pylist()
    if len(widths) != 1 or not widths[0]:
        raise DataError(f"{what} holds lists of several lengths, or none: all features need the same length")
    flat = np.concatenate([np.asarray(chunk.flatten().to_numpy(zero_copy_only=False)) for chunk in column.chunks])
    return flat.reshape(len(column), widths[0])
