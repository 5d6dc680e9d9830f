"""Features files: `.npz` with what `Embeddings` holds, made by reidkit or by anything else.

`.npy`, `.mat` and `.parquet` are read by `foreign_features`.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from reidkit import npz
from reidkit.errors import DataError, MissingFileError
from reidkit.metrics import foreign_features
from reidkit.metrics.distances import prepare, shape, to_host
from reidkit.metrics.foreign_features import LONGEST_PATH, TEXTS
from reidkit.types import NO_CAMERA, Embeddings, Names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Side = Literal["query", "gallery"]

KEYS = "vectors float32 [N, D], pids int64 [N] and camids int64 [N]"
KINDS = f"an .npz with {KEYS}, or the same in .npy, .mat or .parquet"
NEEDED = ("vectors", "pids", "camids")
NAMES = {
    side: dict(zip((*NEEDED, "paths"), (f"{side}_{end}" for end in ("f", "label", "cam", "path")), strict=True))
    for side in ("query", "gallery")
}
"""How one file names both sides, as the widely used `pytorch_result.mat` does: `query_f`, `query_label`, `query_cam`,
and the same of the gallery."""

BOTH = ", ".join(name for names in NAMES.values() for name in names.values() if not name.endswith("path"))

ONE = {name: name for name in (*NEEDED, *TEXTS, "model")}
FEW = 1000
"""So many labels may be unpacked, whatever the number of features."""

LONGEST_NAME = 1024
"""Letters."""

PATHS_RATIO = 200
"""How many times its packed size a list of paths may take: each has the room of the longest."""


def read_features(path: Path, side: Side | None = None, *, need_cameras: bool = True) -> Embeddings:
    """Read a features file; nothing in it is executed, and nothing unpacked before its size is known.

    `side`: which one, of a file that holds query and gallery. What kind of file it is, its first bytes say. Without
    `need_cameras` it may lack camids: all are unknown.

    Raises:
        DataError: in one sentence, what is wrong with the file.
    """
    with _open_said(path):
        contents = _read(path, side, need_cameras=need_cameras)
    embeddings = make_embeddings(contents, str(path), need_cameras=need_cameras)
    _check(embeddings, str(path))
    return embeddings


def _called(contents: Mapping[str, Any], numbers: tuple[NDArray[np.int64], NDArray[np.int64]], what: str) -> Names:
    """Return what ids and cameras are called, from a name (or "") beside each."""
    found: list[dict[int, str]] = []
    for name, each in zip(("pid_names", "camid_names"), numbers, strict=True):
        texts = contents.get(name, np.full(each.shape, ""))
        is_text = texts.dtype.kind == "U" or all(isinstance(one, str) for one in texts.flat)
        if not is_text or texts.shape != each.shape:
            raise DataError(f"{what}: {name} must be text, one beside each number: leave it out or write it anew")
        called: dict[int, str] = {}
        for number, text in zip(each.reshape(-1).tolist(), texts.reshape(-1).tolist(), strict=True):
            if text and (not text.isprintable() or called.setdefault(number, text) != text):
                raise DataError(f"{what}: {name} calls {number} {text!r}, which is another name or none: write it anew")
        found.append(called)
    return Names(*found)


def holds_both(path: Path) -> bool:
    """Return whether one file holds query and gallery.

    Raises:
        DataError: it cannot be read.
    """
    with _open_said(path):
        return _pick(set(_names(path)), "query", path) is not ONE


def read_both(path: Path, *, need_cameras: bool = True) -> tuple[Embeddings, Embeddings]:
    """Query and gallery of one file that holds both.

    Raises:
        DataError: it holds one side alone, or as `read_features`.
    """
    if not holds_both(path):
        others = _others(_names(path))
        remedy = f"save {others} of it as {BOTH}, or " if others else ""
        raise DataError(f"{path} holds no query_f and gallery_f: {remedy}give the query's and the gallery's file")
    query = read_features(path, "query", need_cameras=need_cameras)
    return query, read_features(path, "gallery", need_cameras=need_cameras)


@contextmanager
def _open_said(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise MissingFileError(f"{path} is not there: give a features file, {KINDS}") from None
    except IsADirectoryError:
        raise DataError(
            f"{path} is a folder and no features file: make one by `reidkit embed MODEL IMAGES --out FEATURES.npz`"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _kind(path: Path) -> str:
    """Return what the first bytes say that a file is."""
    with path.open("rb") as file:
        start = file.read(128)
    kind = foreign_features.kind_of(start)
    if not kind:
        hint = foreign_features.hint(start)
        raise DataError(f"{path} is damaged or no features file, which is {KINDS}{hint}")
    return kind


def _names(path: Path) -> list[str]:
    kind = _kind(path)
    if kind == "mat":
        return list(foreign_features.variables(path))
    if kind != "npz":
        return []
    everything = [*ONE, *NAMES["query"].values(), *NAMES["gallery"].values()]
    with path.open("rb") as file, npz.opened(file, everything, str(path)) as archive:
        return [*archive.headers, *archive.others]


def _read(path: Path, side: Side | None, *, need_cameras: bool) -> dict[str, NDArray[Any]]:
    """Return the arrays by the names of `ONE`, those that are there."""
    kind = _kind(path)
    if kind == "npy":
        return foreign_features.read_npy(path)
    if kind == "parquet":
        return foreign_features.read_parquet(path)
    there = _names(path)
    names = _pick(set(there), side, path)
    check_names(there, names, str(path), need_cameras=need_cameras)
    if kind == "mat":
        return foreign_features.read_mat(path, names)
    with path.open("rb") as file, npz.opened(file, names.values(), str(path)) as archive:
        _check_headers({key: archive.headers[name] for key, name in names.items() if name in archive.headers}, path)
        ratios = dict.fromkeys(TEXTS, PATHS_RATIO)
        return {
            key: archive.read(name, ratios.get(key, npz.RATIO))
            for key, name in names.items()
            if name in archive.headers
        }


def _pick(there: set[str], side: Side | None, path: Path) -> dict[str, str]:
    """Under which name each array is looked for: alone, or as one side of a file that holds both."""
    if not there & set(NEEDED) and any(there & set(names.values()) for names in NAMES.values()):
        if side is None:
            raise DataError(f"{path} holds query and gallery: say which of them, or score it alone")
        return NAMES[side]
    return ONE


def check_names(there: Collection[str], names: Mapping[str, str], what: str, *, need_cameras: bool) -> None:
    """Refuse a file that lacks an array.

    Raises:
        DataError: it has not vectors, pids and, where they are needed, camids.
    """
    missing = [names[key] for key in NEEDED if names[key] not in there and (need_cameras or key != "camids")]
    if missing == [names["camids"]]:
        raise DataError(
            f"{what} has no {missing[0]}, one whole number per feature: add them, or pass cameras='any'",
            argument="cameras",
        )
    if missing:
        others = _others(there)
        renamed = f"; save {others} of it by these names" if others else ""
        raise DataError(f"{what} has no {' and no '.join(missing)}: a features file needs {KEYS}{renamed}")


def _others(there: Collection[str]) -> str:
    """Return the names of up to six arrays that no features file has, which may be what is missing; "" for none."""
    known = {*ONE, *NAMES["query"].values(), *NAMES["gallery"].values()}
    others = [name for name in there if name not in known]
    return ", ".join(others[:6]) + (", ..." if others[6:] else "")


def _check_headers(headers: Mapping[str, npz.Header], path: Path) -> None:
    """Refuse arrays whose shapes do not fit each other, before any of them is unpacked."""
    total = (headers["vectors"].shape or (0,))[0]
    for key in ("pids", "camids", *TEXTS):
        if key in headers and math.prod(headers[key].shape) > max(total, FEW):
            raise _misfit(str(path), headers["vectors"].shape, key, headers[key].shape)
    for key in (*TEXTS, "model"):
        most = LONGEST_PATH if key == "paths" else LONGEST_NAME
        if key in headers and (headers[key].dtype.kind != "U" or headers[key].dtype.itemsize > 4 * most):
            raise DataError(
                f"{path}: {key} must be text of at most {most} letters, one a number: save it so, or leave it out"
            )
    if "model" in headers and math.prod(headers["model"].shape) != 1:
        raise DataError(f"{path}: model is not one text: save the name of the model, or leave it out")


def _misfit(what: str, vectors: tuple[int, ...], key: str, found: tuple[int, ...]) -> DataError:
    """Return the error for labels that are not one for each feature."""
    total, count = (vectors or (0,))[0], math.prod(found)
    hint = f"; vectors of shape {list(vectors)} look transposed: save vectors.T" if vectors[1:] == (count,) else ""
    return DataError(f"{what} has {total} features, but {key} of shape {list(found)}: one per feature is needed{hint}")


def make_embeddings(contents: Mapping[str, Any], what: str, *, need_cameras: bool) -> Embeddings:
    """Embeddings of the arrays by the names of `ONE`.

    Raises:
        DataError: arrays of wrong types.
    """
    check_names(contents, ONE, what, need_cameras=need_cameras)
    vectors, pids = contents["vectors"], _whole(contents["pids"], "pids", what)
    camids = _whole(contents["camids"], "camids", what) if "camids" in contents else np.full_like(pids, NO_CAMERA)
    shape(vectors, what)
    if vectors.dtype.kind not in "fiu":
        raise DataError(f"the {what} features are of type {vectors.dtype}: real numbers are needed")
    return Embeddings(
        vectors=to_host(vectors),
        pids=pids,
        camids=camids,
        model=str(contents["model"].reshape(-1)[0]) if "model" in contents else "",
        paths=tuple(contents["paths"].reshape(-1).tolist()) if "paths" in contents else (),
        names=_called(contents, (pids, camids), what),
    )


def _whole(values: NDArray[Any], name: str, what: str) -> NDArray[np.int64]:
    """Ids or cameras as int64."""
    if values.dtype.kind not in "iu":
        remedy = f"save {name}.astype(int)"
        if values.dtype.kind != "f":
            names = f"{name.removesuffix('s')}_names"
            remedy = f"give each name a number, the same in query and gallery, and save the names as {names}"
        raise DataError(f"{what}: {name} are of type {values.dtype}, not whole numbers: {remedy}")
    if values.size and (values.min() < -1 or values.max() > np.iinfo(np.int64).max):
        unknown = "junk" if name == "pids" else "unknown"
        wrong = values[(values < -1) | (values > np.iinfo(np.int64).max)].reshape(-1)[0]
        raise DataError(f"{what}: {name} hold {wrong}: they are counted from 0, and -1 is {unknown}")
    return values.astype(np.int64)


def _check(embeddings: Embeddings, what: str) -> None:
    total, _ = shape(embeddings.vectors, what)
    for name in ("pids", "camids"):
        if getattr(embeddings, name).shape != (total,):
            raise _misfit(what, embeddings.vectors.shape, name, getattr(embeddings, name).shape)
    if embeddings.paths and len(embeddings.paths) != total:
        raise DataError(f"{what} has {total} features and {len(embeddings.paths)} paths: leave them out or name each")
    prepare(embeddings.vectors, "euclidean", what)
