"""Read tensors from whole pickled modules in torch's format before 1.6, without executing any of it.

Such a file is pickles in a row and then the numbers; torch's own reader for weights alone refuses it, as each module
brings the text of its class along. This is Python's unpickler (not the one in C, whose memory a file can ask for as it
likes) with every class and function replaced: a tensor is noted down, and made when the numbers are read.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from reidkit.model.inert import Planned, is_harmless, plain, stand_in

if TYPE_CHECKING:
    from torch import Tensor

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
        return _load(file)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # an unpickler raises whatever an odd file leads to
        raise pickle.UnpicklingError(f"it is damaged: {type(error).__name__}") from None


def _load(file: BinaryIO) -> Any:
    # A magic number, the protocol, what machine it was, the object, and the keys of its numbers in their order.
    if _Reader(file).load() != MAGIC or _Reader(file).load() != PROTOCOL:
        raise pickle.UnpicklingError("it is of another format")
    _Reader(file).load()
    reader = _Reader(file)
    content = reader.load()
    numbers = {key: _numbers(file, reader.kinds[key]) for key in _Reader(file).load()}
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


class _Reader(pickle._Unpickler):
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
