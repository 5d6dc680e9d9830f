"""Read tensors from files that hold whole pickled modules (`torch.save(model)`), without executing any of it.

torch's reader for weights alone knows no classes but tensors and containers. Here every other class of the file is
stood for by an empty one, which takes what it is given, keeps its attributes, and has no behaviour. Functions of
Python's library are refused: no model needs them, and an attack does.
"""

from __future__ import annotations

import _compat_pickle
import pickle
import re
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

if TYPE_CHECKING:
    from torch import Tensor

ALLOWED = frozenset({"argparse", "collections", "datetime", "enum", "functools", "pathlib", "types"})
"""Modules of Python's library whose classes stand in files of models, as a trainer's options."""
MOST = 512
"""Classes that a file may name."""
LARGEST = 20_000
"""Modules of a network, at most."""


def load(file: BinaryIO) -> Any:
    """Return what a torch file holds, with modules as dictionaries of tensors by their dotted names.

    Raises:
        UnpicklingError: it asks for something that is no class of a model, the first of which is named.
    """
    names: dict[str, Any] = {}
    while True:
        file.seek(0)
        try:
            with torch.serialization.safe_globals([(stood_for, name) for name, stood_for in names.items()]):
                return plain(torch.load(file, map_location="cpu", weights_only=True))
        except pickle.UnpicklingError as error:
            name = refused_name(error)
            if name is None or name in names or not is_harmless(name) or len(names) >= MOST:
                raise
            names[name] = stand_in(name)


def refused_name(error: Exception) -> str | None:
    """Return what torch's reader for weights alone has refused, by its error; None where it names nothing."""
    found = re.search(r"(?:GLOBAL|Unsupported class)\s+([A-Za-z_][\w.]{0,200})", str(error))
    return found[1] if found else None


def is_harmless(name: str) -> bool:
    """Whether a name can be a class of a project's, or one of the few of Python's that models hold."""
    root = name.partition(".")[0]
    pythons = root in sys.stdlib_module_names or root in _compat_pickle.IMPORT_MAPPING  # by its name in Python 2
    return "." in name and (not pythons or root in ALLOWED)


class Planned:
    """A tensor whose numbers come later in the file: at `offset` of those called `key`."""

    def __init__(self, key: str, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.key, self.offset, self.size, self.stride = key, offset, size, stride
        self.tensor = torch.empty(0)


class Inert:
    """An object of which the attributes are known, and nothing else."""

    def __new__(cls, *_: object, **__: object) -> Inert:
        """Take anything."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        """Do nothing with it."""

    def __setstate__(self, state: object) -> None:
        """Keep attributes."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update({key: value for key, value in part.items() if isinstance(key, str)})


def stand_in(name: str) -> type[Inert]:
    """Return an empty class for that of this name."""
    module, _, kind = name.rpartition(".")
    return type(kind, (Inert,), {"__module__": module})


def plain(content: Any) -> Any:
    """Return a module's tensors in the place of it; so, too, in a dictionary of modules."""
    if isinstance(content, Inert):
        return _tensors(content)
    if isinstance(content, Planned):
        return content.tensor
    if isinstance(content, dict):
        return {key: plain(value) if isinstance(value, Inert | Planned) else value for key, value in content.items()}
    return content


def _tensors(module: Inert) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers of a module and of those in it, as its `state_dict()` names them.

    Raises:
        UnpicklingError: there is no end of them, as of modules that lie in themselves.
    """
    found: dict[str, torch.Tensor] = {}
    waiting, seen = [("", module)], 0
    while waiting:
        prefix, place = waiting.pop()
        seen += 1
        if seen > LARGEST:
            raise pickle.UnpicklingError("weights_only: there is no end of modules in modules")
        left_out = place.__dict__.get("_non_persistent_buffers_set")
        for name, tensor in (*_items(place, "_parameters"), *_items(place, "_buffers")):
            if isinstance(tensor, torch.Tensor | Planned) and not (isinstance(left_out, set) and name in left_out):
                found[f"{prefix}{name}"] = plain(tensor)
        inner = [(f"{prefix}{name}.", each) for name, each in _items(place, "_modules") if isinstance(each, Inert)]
        waiting += reversed(inner)
    return found


def _items(module: Inert, kind: str) -> list[tuple[str, Any]]:
    held = module.__dict__.get(kind)
    return [(name, value) for name, value in held.items() if isinstance(name, str)] if isinstance(held, dict) else []


# torch's format before 1.6: pickles in a row, and then the numbers. torch's own reader for weights alone refuses it, as
# each module brings the text of its class along. This is Python's unpickler (not the one in C, whose memory a file can
# ask for as it likes) with every class and function replaced: a tensor is noted down, and made when the numbers are
# read.

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
TYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def load_legacy(file: BinaryIO) -> Any:
    """Return what a torch file of that format holds, with modules as dictionaries of tensors by their dotted names.

    Raises:
        UnpicklingError: it is of another format, is damaged, or asks for something that is no class of a model.
    """
    try:
        return _load_legacy(file)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # an unpickler raises whatever an odd file leads to
        raise pickle.UnpicklingError(f"it is damaged: {type(error).__name__}") from None


def _load_legacy(file: BinaryIO) -> Any:
    # A magic number, the protocol, what machine it was, the object, and the keys of its numbers in their order.
    if _LegacyReader(file).load() != MAGIC or _LegacyReader(file).load() != PROTOCOL:
        raise pickle.UnpicklingError("it is of another format")
    _LegacyReader(file).load()
    reader = _LegacyReader(file)
    content = reader.load()
    numbers = {key: _numbers(file, reader.kinds[key]) for key in _LegacyReader(file).load()}
    for planned in reader.planned:
        planned.tensor = numbers[planned.key].as_strided(planned.size, planned.stride, planned.offset)
    return plain(content)


def _numbers(file: BinaryIO, kind: torch.dtype) -> Tensor:
    """Read the numbers of one storage: how many, as eight bytes, and then each."""
    size = int.from_bytes(file.read(8), "little") * kind.itemsize
    begin = file.tell()
    if not 0 <= size <= file.seek(0, 2) - begin:
        raise pickle.UnpicklingError("it is cut off")
    file.seek(begin)
    return torch.frombuffer(bytearray(file.read(size)), dtype=kind) if size else torch.empty(0, dtype=kind)


class _LegacyReader(pickle._Unpickler):
    """Finds no class but containers and stand-ins."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.kinds: dict[str, torch.dtype] = {}
        self.planned: list[Planned] = []

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or a function.

        Raises:
            UnpicklingError: it is none that a model needs.
        """
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): tuple,
            ("torch._utils", "_rebuild_tensor_v2"): self._plan,
            ("torch._utils", "_rebuild_tensor"): self._plan,
            ("torch._utils", "_rebuild_parameter"): _first,
            ("_codecs", "encode"): _first,  # bytes, in the pickles of Python 2
            ("builtins", "set"): set,
            ("__builtin__", "set"): set,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in TYPES:
            return TYPES[name]
        if not is_harmless(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"weights_only: GLOBAL {module}.{name}")
        return stand_in(f"{module}.{name}")

    def persistent_load(self, found: Any) -> Any:
        """Return a module's class, whose text is left out, or the key of some numbers.

        Raises:
            UnpicklingError: it is something else.
        """
        if found[0] == "module":
            return found[1]
        if found[0] != "storage" or found[5:] != (None,) or not isinstance(found[1], torch.dtype):
            raise pickle.UnpicklingError("it is of another format")
        self.kinds[found[2]] = found[1]
        return found[2]

    def _plan(self, key: str, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Planned:
        self.planned.append(Planned(key, offset, tuple(size), tuple(stride)))
        return self.planned[-1]


def _first(value: object, *_: object) -> object:
    return value
