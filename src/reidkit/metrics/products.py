"""The one matrix product that all distances come from, on the machine's own cores or on an accelerator."""

from __future__ import annotations

import ctypes
import functools
import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from reidkit.process_settings import restored, without_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor


WORTH_TORCH = 2e11
"""Multiplications and additions that take NumPy a second longer: as long as torch takes to import."""


WIDE_CORES = ("SkylakeX", "Cooperlake", "Sapphirerapids")
"""The processors for which OpenBLAS uses the whole of AVX-512; Zen 4 and 5 are among them under these names."""


class Multiplier(Protocol):
    """Places features where they are multiplied, and multiplies them."""

    def place(self, vectors: NDArray[np.float32]) -> Any:
        """Features [N, D] as `multiply` takes them."""

    def multiply(self, query: Any, gallery: Any, out: NDArray[np.float32]) -> None:
        """Write `query @ gallery.T` to `out`."""


class Host:
    """NumPy's product: nothing that torch has is quicker, as long as its OpenBLAS uses the whole width of registers."""

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features themselves."""
        return vectors

    def multiply(self, query: NDArray[np.float32], gallery: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write `query @ gallery.T` to `out`."""
        np.matmul(query, gallery.T, out=out)


class Wide:
    """oneDNN's product in single precision, by way of torch, for an OpenBLAS that uses half the width of AVX-512.

    It does so on processors that it does not know, and where `OPENBLAS_CORETYPE` says so: 130 GFLOP/s of one Zen 5
    core, where this gives 250. Otherwise the two are equally quick.
    """

    def place(self, vectors: NDArray[np.float32]) -> Tensor:
        """Return the features themselves, seen by torch."""
        import torch

        with without_warnings(category=UserWarning):  # some arrays are read-only, and nothing is written here
            return torch.from_numpy(vectors)

    def multiply(self, query: Tensor, gallery: Tensor, out: NDArray[np.float32]) -> None:
        """Write `query @ gallery.T` to `out`."""
        import torch

        with full_precision(_onednn()), torch.inference_mode():
            torch.from_numpy(out).copy_(torch.ops.mkldnn._linear_pointwise(query, gallery, None, "none", [], ""))


class Device:
    """torch's product on an accelerator, in full single precision whatever the program has set."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def place(self, vectors: NDArray[np.float32]) -> Tensor:
        """Return a copy on the device."""
        import torch

        return torch.tensor(vectors, device=self.device)

    def multiply(self, query: Tensor, gallery: Tensor, out: NDArray[np.float32]) -> None:
        """Write `query @ gallery.T` to `out`."""
        import torch

        with full_precision(torch.backends.cuda.matmul), torch.inference_mode():
            torch.from_numpy(out).copy_(query @ gallery.T)


def multiplier_for(*arrays: NDArray[Any] | Tensor, all_pairs: bool = False) -> Multiplier:
    """Return the one for the first array that is on an accelerator; else the machine's own cores.

    Args:
        arrays: features [N, D] of each part: queries and a gallery, or points.
        all_pairs: every point is compared with every other; else the first part with the second.

    The choice depends on sizes, processor and OpenBLAS, and not on a clock: a command gives the same bits each time on
    one machine.
    """
    device = accelerator(*arrays)
    if device is not None:
        return Device(device)
    rows = [float(len(array)) for array in arrays]
    pairs = sum(rows) ** 2 / 2 if all_pairs else math.prod(rows)
    return Wide() if 2 * pairs * arrays[0].shape[1] >= WORTH_TORCH and has_wide() else Host()


def accelerator(*arrays: NDArray[Any] | Tensor) -> Any:
    """Return the device of the first array that is on one; None where all are in the host's memory."""
    devices = (None if isinstance(array, np.ndarray) else getattr(array, "device", None) for array in arrays)
    return next((device for device in devices if device is not None and device.type != "cpu"), None)


@functools.cache
def has_wide() -> bool:
    """Return whether `Wide` is there, quicker, and exact: by what processor and OpenBLAS say, and by a check."""
    from llvmlite import binding

    if not binding.get_host_cpu_features().get("avx512f", False) or blas_core() in ("", *WIDE_CORES):
        return False
    import torch

    # torch before 2.9 has no switch that holds oneDNN to single precision.
    there = torch.backends.mkldnn.is_available() and hasattr(torch.backends.mkldnn, "matmul")
    return there and hasattr(torch.ops.mkldnn, "_linear_pointwise") and is_exact(Wide())


def blas_core() -> str:
    """Return the processor that NumPy's OpenBLAS computes for, as `Haswell`; empty where NumPy has another library."""
    for path in Path(np.__file__).parents[1].glob("numpy.libs/libscipy_openblas*"):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename"):
            if function := getattr(library, name, None):
                function.restype = ctypes.c_char_p
                return str(function().decode())
    return ""


def is_exact(multiplier: Multiplier) -> bool:
    """Whether a product has the errors of single precision: one of bf16 or TF32 is off by a thousand times as much.

    The environment can tell oneDNN to round to bf16 (`ONEDNN_DEFAULT_FPMATH_MODE`), which no setting of torch undoes.
    """
    vectors = np.random.default_rng(0).uniform(-1, 1, (256, 512)).astype(np.float32)
    found, wanted = np.empty((256, 256), np.float32), vectors.astype(np.float64) @ vectors.astype(np.float64).T
    try:
        multiplier.multiply(multiplier.place(vectors), multiplier.place(vectors), found)
    except RuntimeError:  # another version takes other arguments
        return False
    return bool(np.abs(found - wanted).max() < 1e-3)


def _onednn() -> Any:
    """OneDNN's switch, which torch's types do not know."""
    import torch

    backend: Any = torch.backends.mkldnn
    return backend.matmul


@contextmanager
def full_precision(switch: Any) -> Iterator[None]:
    """Products of one backend without TF32 and bf16, whose errors are a thousand times larger; what was set comes back.

    `switch` is torch's: `torch.backends.cuda.matmul` or `torch.backends.mkldnn.matmul`, which is the whole process's.
    """
    name, exact = ("fp32_precision", "ieee") if hasattr(switch, "fp32_precision") else ("allow_tf32", False)
    with restored((name, id(switch)), lambda: getattr(switch, name), lambda before: setattr(switch, name, before)):
        setattr(switch, name, exact)
        yield
