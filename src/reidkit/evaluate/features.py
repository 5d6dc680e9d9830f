"""Features files: `.npz` with what `Embeddings` holds, made by reidkit or by anything else."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.evaluate.blocks import prepare, shape, to_host
from reidkit.types import NO_CAMERA, DataError, Embeddings, Names
from reidkit.whole import said, whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

READ = ("vectors", "pids", "camids", "paths", "model", "pid_names", "camid_names")

KEYS = "vectors float32 [N, D], pids int64 [N] and camids int64 [N]"


def write_features(path: Path, embeddings: Embeddings) -> None:
    """Writes a features file, whole or not at all. It is read with `numpy.load` or `read_features`.

    Raises:
        DataError: the embeddings are not what `read_features` would accept, or the folder cannot be written.
    """
    _check(embeddings, path)
    contents: dict[str, Any] = {
        "vectors": to_host(embeddings.vectors),
        "pids": np.asarray(embeddings.pids, np.int64),
        "camids": np.asarray(embeddings.camids, np.int64),
    }
    if embeddings.paths:
        contents["paths"] = np.array(embeddings.paths, dtype=np.str_)
    if embeddings.model:
        contents["model"] = np.array(embeddings.model, dtype=np.str_)
    for name, numbers, called in _named(embeddings):
        if called:
            contents[name] = np.array([called.get(number, "") for number in numbers.tolist()], dtype=np.str_)
    with said(path), whole(path) as file:
        np.savez(file, **contents)


def read_features(path: Path, *, need_cameras: bool = True) -> Embeddings:
    """Reads a features file; nothing in it is executed. Without `need_cameras` it may lack camids: all are unknown.

    Raises:
        DataError: in one sentence, what is wrong with the file.
    """
    try:
        with path.open("rb") as file:
            contents = _contents(np.load(file, allow_pickle=False), path)
    except FileNotFoundError:
        raise DataError(f"{path} is not there: give a .npz with vectors, pids and camids") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    # By NotImplementedError zipfile says that the file is compressed in a way it cannot read.
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError):
        raise DataError(f"{path} is damaged or no features file, which is an .npz with {KEYS}") from None
    embeddings = _embeddings(contents, path, need_cameras=need_cameras)
    _check(embeddings, path)
    return embeddings


def _contents(archive: Any, path: Path) -> dict[str, NDArray[Any]]:
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path} is a single array: a features file is an .npz with {KEYS}")
    with archive:
        return {name: archive[name] for name in READ if name in archive}


def _named(embeddings: Embeddings) -> tuple[tuple[str, NDArray[np.int64], Mapping[int, str]], ...]:
    """The two arrays of names, the numbers that they stand beside, and what these are called."""
    names = embeddings.names
    return ("pid_names", embeddings.pids, names.pids), ("camid_names", embeddings.camids, names.camids)


def _names(contents: Mapping[str, Any], path: Path) -> Names:
    """What ids and cameras are called, from a name (or "") beside each."""
    found: list[dict[int, str]] = []
    for name, numbers in (("pid_names", contents["pids"]), ("camid_names", contents["camids"])):
        texts = contents.get(name, np.full(numbers.shape, ""))
        if texts.dtype.kind != "U" or texts.shape != numbers.shape:
            raise DataError(f"{path}: {name} must be text, one beside each number: leave it out or write it anew")
        called: dict[int, str] = {}
        for number, text in zip(numbers.reshape(-1).tolist(), texts.reshape(-1).tolist(), strict=True):
            if text and (not text.isprintable() or called.setdefault(number, text) != text):
                raise DataError(f"{path}: {name} calls {number} {text!r}, which is another name or none: write it anew")
        found.append(called)
    return Names(*found)


def _embeddings(contents: dict[str, Any], path: Path, *, need_cameras: bool) -> Embeddings:
    missing = [name for name in ("vectors", "pids", "camids") if name not in contents]
    if missing == ["camids"]:
        if need_cameras:
            raise DataError(
                f"{path} has no camids, one whole number per feature: add them, or compare without by --cameras any"
            )
        contents["camids"] = np.full(np.shape(contents["pids"]), NO_CAMERA)
    elif missing:
        raise DataError(f"{path} has no {' and no '.join(missing)}: a features file needs {KEYS}")
    for name in ("pids", "camids"):
        if contents[name].dtype.kind not in "iu":
            raise DataError(f"{path}: {name} are of type {contents[name].dtype}, not whole numbers")
    shape(contents["vectors"], str(path))
    return Embeddings(
        vectors=to_host(contents["vectors"]),
        pids=contents["pids"].astype(np.int64),
        camids=contents["camids"].astype(np.int64),
        model=str(contents["model"]) if "model" in contents else "",
        paths=tuple(str(name) for name in contents["paths"].reshape(-1)) if "paths" in contents else (),
        names=_names(contents, path),
    )


def _check(embeddings: Embeddings, path: Path) -> None:
    total, _ = shape(embeddings.vectors, str(path))
    for name in ("pids", "camids"):
        if getattr(embeddings, name).shape != (total,):
            found = list(getattr(embeddings, name).shape)
            raise DataError(f"{path} has {total} features, but {name} of shape {found}: one per feature is needed")
    if embeddings.paths and len(embeddings.paths) != total:
        raise DataError(f"{path} has {total} features and {len(embeddings.paths)} paths: leave them out or name each")
    prepare(embeddings.vectors, "euclidean", str(path))
