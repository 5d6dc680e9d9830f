"""Reading the tensors of a weights file, wherever they are in it, without executing what the file holds."""

from __future__ import annotations

import pickle
import zipfile
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from reidkit.arguments import in_words
from reidkit.errors import WeightsError
from reidkit.model import pickled_modules
from reidkit.process_settings import without_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

MODEL = "model.safetensors"
"""The file of a run folder that holds the trained network."""
DEPTH = 8
"""How deep in nested dictionaries tensors are looked for."""

_FOREIGN = (
    (b"<!doctype", "is a web page", "fetch the file itself, which a browser's link may only lead to"),
    (b"<html", "is a web page", "fetch the file itself, which a browser's link may only lead to"),
    (b"<?xml", "is XML, as a server's error or an OpenVINO model is", "give a .safetensors or .pth file of weights"),
    (b"version https://git-lfs", "is a pointer of Git LFS", "fetch the file itself with `git lfs pull`"),
    (b"\x89hdf", "is an HDF5 file, as Keras writes it", "give a .safetensors or .pth file of weights"),
    (b"\x1f\x8b", "is compressed by gzip", "unpack it with `gunzip` or `tar xzf` and give the file inside"),
    (b"bzh", "is compressed by bzip2", "unpack it and give the file inside"),
    (b"\xfd7zxz", "is compressed by xz", "unpack it and give the file inside"),
    (b"rar!", "is a RAR archive", "unpack it and give the file inside"),
    (b"{", "is JSON", "give a .safetensors or .pth file of weights"),
)
"""The first bytes (in lower case) of other files that are given as weights, what they are, and a remedy."""


NO_WORDS: Mapping[str, str] = MappingProxyType({})


class Contents(NamedTuple):
    """What a weights file holds.

    `tensors`: the plain arrays of numbers, under dotted names where they are nested; `unusable`: why each of the other
    tensors is none; `metadata` of a safetensors file, {} for a torch file; `words`: texts beside the tensors of a torch
    file, by their keys, as a trainer writes the name of its model.
    """

    tensors: dict[str, Tensor]
    unusable: dict[str, str]
    metadata: dict[str, str]
    words: Mapping[str, str] = NO_WORDS


def weights_file(path: Path) -> Path:
    """Return the file of weights that `path` means: the model of a run folder, or the file itself.

    Raises:
        WeightsError: there is none.
    """
    try:
        if path.is_dir():
            return _of_folder(path)
        if path.is_file():
            return path
        if path.exists():
            raise WeightsError(f"{path} is no regular file: give a .safetensors or .pth file of weights")
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}): give a file that you may read") from None
    raise WeightsError(f"{path} is not there: give a .safetensors or .pth file of weights")


def read_contents(path: Path) -> Contents:
    """Read a `.safetensors`, `.pth` or `.pt` file, or the model of a run folder.

    The kind of a file is known by its first bytes, not by its name.

    Raises:
        WeightsError: no such file, not a weights file, or one that would have to execute code.
    """
    path = weights_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}): give a file that you may read") from None
    torch_file = head.startswith((b"PK\x03\x04", b"\x80"))
    safetensors = head[8:9] == b"{"
    if not torch_file and not safetensors:
        _refuse_foreign(path, head)
    if safetensors or (path.suffix == ".safetensors" and not torch_file):
        (found, metadata), words = _read_safetensors(path), NO_WORDS
    else:
        (found, words), metadata = _read_torch(path), {}
    odd = {name: why for name, tensor in found.items() if (why := unusable(tensor))}
    tensors = {name: tensor.detach() for name, tensor in found.items() if name not in odd}
    _refuse_shared(path, tensors)
    return Contents(tensors, odd, metadata, words)


def _models_in(folder: Path) -> list[str]:
    """Return two models, at most, in a folder that is none: runs, and exported files as of a model repository."""
    found = (
        path for kind in (f"*/{MODEL}", "*.safetensors", "*.onnx", "*/*.onnx") for path in sorted(folder.glob(kind))
    )
    return [str(path.parent if path.name == MODEL else path) for path in islice(found, 2)]


def _of_folder(folder: Path) -> Path:
    if (folder / MODEL).is_file():
        return folder / MODEL
    if (folder / "state.pt").is_file() or (folder / "recipe.json").is_file():
        raise WeightsError(
            f"{folder} holds no {MODEL}: has its run ended? `reidkit train --resume` goes on with it (in Python, "
            "resume=True)"
        )
    if inside := _models_in(folder):
        raise WeightsError(f"{folder} holds no {MODEL}: name a model in it, as {' or '.join(inside)}")
    raise WeightsError(
        f"{folder} holds no {MODEL}: give the folder of a finished run (one that was broken off can be resumed), "
        "or a .safetensors or .pth file"
    )


def _refuse_foreign(path: Path, head: bytes) -> None:
    """Refuse files of other kinds that are often given as weights, and say what they are."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for beginning, what, remedy in _FOREIGN:
        if start.startswith(beginning):
            raise WeightsError(f"{path} {what}, not weights: {remedy}")
    if b"<html" in start:
        raise WeightsError(f"{path} is a web page, not weights: fetch the file itself")
    if path.suffix == ".onnx":
        raise WeightsError(f"{path} is an ONNX model, which training cannot start from: give the weights it came from")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with path.open("rb") as opened, safe_open(_as_text(path, opened), "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}): fetch or write it again") from None
    except Exception as error:  # a type of numbers that this torch does not have
        raise WeightsError(
            f"{path} is a safetensors file with tensors that torch cannot hold ({type(error).__name__}): "
            "write it again with float32 or float16 weights"
        ) from None


def _as_text(path: Path, opened: BinaryIO) -> str:
    """Return the path of an open file; safetensors takes none that is no UTF-8, but any file that is open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"/dev/fd/{opened.fileno()}"
    return str(path)


def _read_torch(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Read the tensors of a torch file under dotted names, without a leading `state_dict.` where it has them all.

    A whole module (`torch.save(model)`) gives the tensors of its `state_dict()`, and nothing of it is executed.

    Returns:
        The tensors, and texts beside them.
    """
    _refuse_database(path)
    _refuse_packed(path)
    try:
        # torch's own words on old and odd kinds of tensors; and not the path, as it would go by its suffix.
        with without_warnings(), path.open("rb") as file:
            content = _load(file)
    except Exception as error:  # torch.load raises whatever its zip and pickle readers do
        reason, remedy = _why_unreadable(error)
        raise WeightsError(f"{path} is no torch weights file ({reason}): {remedy}") from None
    words = _words(content)
    if isinstance(content, dict) and {"place", "recipe", "network", "optimizer"} <= content.keys():
        raise WeightsError(
            f"{path} is the checkpoint of a run, from which `reidkit train --resume` goes on (in Python, "
            f"resume=True): to start from the trained network give the run's folder or its {MODEL}"
        )
    if isinstance(content, dict) and _is_state_dict(content.get("state_dict")):
        content = content["state_dict"]
    found: dict[str, Tensor] = {}
    for name, tensor in _tensors_in(content):
        if name in found:
            raise WeightsError(f"{path} holds {in_words(name, 80)} twice: save `model.state_dict()` and give that")
        found[name] = tensor
    if not found:
        raise WeightsError(f"{path} holds no state dict: save `model.state_dict()` and give that")
    return found, words


def _load(file: BinaryIO) -> Any:
    """Read a torch file that holds tensors in plain containers, or else objects, of which only their tensors are read.

    Raises:
        Exception: whatever torch's readers raise.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if zipfile.is_zipfile(file):
            return pickled_modules.load(file)
        file.seek(0)
        return pickled_modules.load_legacy(file)


def _words(content: object) -> dict[str, str]:
    """Return the short texts of a dictionary, by their keys."""
    if not isinstance(content, dict):
        return {}
    pairs = [pair for pair in content.items() if all(isinstance(each, str) and len(each) <= 80 for each in pair)]
    return dict(pairs[:32])


def _refuse_database(path: Path) -> None:
    """Refuse an SQLite file, which a gallery is: whoever gives it as a model has mixed up two names."""
    with path.open("rb") as file:
        if file.read(16) == b"SQLite format 3\0":
            raise WeightsError(f"{path} is a database, as galleries are, not weights: give a .safetensors or .pth file")


def _refuse_packed(path: Path) -> None:
    """Refuse compressed entries, which may unpack to any size: torch writes none."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # Of a version of the format that it does not know, zipfile says that it is not implemented.
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return  # torch says what is wrong with it
    names = {entry.filename for entry in entries}
    if names and all(name.endswith(".npy") for name in names):
        raise WeightsError(f"{path} is a NumPy archive, not weights: give a .safetensors or .pth file of weights")
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise WeightsError(
            f"{path} is no torch weights file (it is a compressed archive, as torch writes none): "
            "unpack it and give the .safetensors or .pth file inside"
        )


def _why_unreadable(error: Exception) -> tuple[str, str]:
    """Return what is wrong with a torch file and a remedy, by the error of its reader."""
    text = str(error)
    plain = "give a .safetensors or a plain state dict"
    if "TorchScript" in text:
        return "it is a TorchScript program", "load it with torch.jit.load and save its `state_dict()`"
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return "it asks for more memory than there is", "give another file, or make room"
    if "weights_only" in text or "Unsupported" in text:
        named = pickled_modules.refused_name(error)
        held = f": {named[:81]}" if named else ""
        return (
            f"it holds more than tensors{held}",
            "where you trust it, load it with torch.load(..., weights_only=False) and save its state dict alone",
        )
    return "it is damaged or something else", plain


def _is_state_dict(content: object) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items())
    )


def _tensors_in(content: object) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of nested dictionaries under its dotted name, each dictionary once."""
    waiting: list[tuple[str, int, Any]] = [("", 0, content)]
    seen: set[int] = set()
    while waiting:
        prefix, depth, place = waiting.pop()
        if not isinstance(place, dict) or id(place) in seen or depth > DEPTH:
            continue
        seen.add(id(place))
        for key, value in place.items():
            name = f"{prefix}{key if isinstance(key, str | int) else type(key).__name__}"
            if isinstance(value, torch.Tensor):
                yield name, value
            else:
                waiting.append((f"{name}.", depth + 1, value))


def unusable(tensor: Tensor) -> str:
    """Say why a tensor is no plain array of numbers; empty where it is one."""
    if tensor.is_nested or tensor.layout != torch.strided:
        return "sparse"
    if tensor.device.type != "cpu":
        return f"a {tensor.device.type} tensor without values"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_complex():
        return "complex"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "expanded from fewer numbers"
    return ""


def _refuse_shared(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse files in which many names share the same large tensors: tied weights are few, these fill the memory."""
    size = path.stat().st_size
    if sum(tensor.nbytes for tensor in tensors.values()) > 8 * size + 2**20:
        raise WeightsError(f"{path} holds the same numbers under many names: save `model.state_dict()` and give that")
