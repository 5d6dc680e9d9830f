"""The one product that all distances come from, on the machine's own cores or on an accelerator."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor


class Multiplier(Protocol):
    """Puts features where they are multiplied, and multiplies them."""

    def place(self, vectors: NDArray[np.float32]) -> Any:
        """Features [N, D] as `multiply` takes them."""

    def multiply(self, query: Any, gallery: Any, out: NDArray[np.float32]) -> None:
        """Writes `query @ gallery.T` to `out`."""


class Host:
    """NumPy's product: 80 GFLOP/s of one Zen 3 core, where torch's two ways (MKL, oneDNN) reach 55 and 62."""

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features themselves."""
        return vectors

    def multiply(self, query: NDArray[np.float32], gallery: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Writes `query @ gallery.T` to `out`."""
        np.matmul(query, gallery.T, out=out)


class Device:
    """torch's product on an accelerator, in full single precision whatever the program has set."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def place(self, vectors: NDArray[np.float32]) -> Tensor:
        """A copy on the device."""
        import torch

        return torch.tensor(vectors, device=self.device)

    def multiply(self, query: Tensor, gallery: Tensor, out: NDArray[np.float32]) -> None:
        """Writes `query @ gallery.T` to `out`."""
        import torch

        with full_precision(), torch.inference_mode():
            torch.from_numpy(out).copy_(query @ gallery.T)


def multiplier_for(*arrays: NDArray[Any] | Tensor) -> Multiplier:
    """The one for the first array that is on an accelerator; else the machine's own cores."""
    for array in arrays:
        device = getattr(array, "device", None)
        if not isinstance(array, np.ndarray) and device is not None and device.type != "cpu":
            return Device(device)
    return Host()


@contextmanager
def full_precision() -> Iterator[None]:
    """Products on CUDA without TF32, whose errors are a thousand times larger; what was set comes back."""
    import torch

    switch = torch.backends.cuda.matmul
    name, exact = ("fp32_precision", "ieee") if hasattr(switch, "fp32_precision") else ("allow_tf32", False)
    before = getattr(switch, name)
    setattr(switch, name, exact)
    try:
        yield
    finally:
        setattr(switch, name, before)
