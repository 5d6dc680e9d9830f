"""Images to features: the one place where a network is run for search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from reidkit.distributed import from_environment
from reidkit.errors import DivergedError, UsageError
from reidkit.model.fuse import fuse_batch_norms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.model.network import Network


AT_ONCE = 2**27
"""Bytes of features that are copied from the device at a time: 16,384 of 2,048 numbers."""


def choose_device(name: str) -> torch.device:
    """`auto`: the GPU where there is one.

    Raises:
        UsageError: a device that this machine does not have.
    """
    if name == "auto":
        return _own_gpu() if torch.cuda.is_available() else torch.device("cpu")
    unknown = UsageError(f"there is no device {name}: choose auto, cpu or cuda")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown from None
    if device.type not in ("cpu", "cuda"):
        raise unknown
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch sees no GPU here: pass device='auto', and see `reidkit doctor`", argument="device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no device {name}: torch sees {torch.cuda.device_count()} GPUs, counted from 0")
    return device


def _own_gpu() -> torch.device:
    """The GPU of this process: of several on one machine, each has its own.

    Raises:
        UsageError: there are more processes than GPUs.
    """
    here = from_environment("LOCAL_WORLD_SIZE", 1, least=1)
    rank = from_environment("LOCAL_RANK", 0, below=here)
    if here == 1:
        return torch.device("cuda")
    if here > torch.cuda.device_count():
        raise UsageError(
            f"{here} processes for {torch.cuda.device_count()} GPUs: start one for each, or pass device='cpu'",
            argument="device",
        )
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto`: bf16 where the device computes with it, else float32; a processor must have the instructions for it."""
    if name == "auto":
        has = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16()
        return torch.bfloat16 if has else torch.float32
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[name]


def choose_batch(device: torch.device) -> int:
    """How many images are run at a time: what fills the device. A GPU of today is not filled by a CPU's 128."""
    return 512 if device.type == "cuda" else 128


@torch.inference_mode()
def embed(
    network: Network,
    batches: Iterable[Tensor],
    precision: torch.dtype = torch.float32,
    *,
    feature: str = "after",
    flip: bool = False,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Features float32 [N, D] of batches of normalised images [B, 3, H, W], in their order.

    `feature`: `after` the neck is f_i, `before` it is f_t. With `flip` a feature is the mean of those of the image and
    of its mirror image. What is run is a copy in evaluation mode; `network` itself is left as it is.

    The features stay on the device until there are `AT_ONCE` bytes of them, for each copy waits for all work before
    it; `progress` is told of images that are handed to the device, a few batches before they are done.
    """
    fast = fuse_batch_norms(network)
    found: list[NDArray[np.float32]] = []
    waiting: list[Tensor] = []
    for images in batches:
        with torch.autocast(images.device.type, dtype=precision, enabled=precision != torch.float32):
            features = _run(fast, images, feature)
            if flip:
                features = (features + _run(fast, images.flip(3), feature)) / 2
        waiting.append(features)
        if sum(some.nbytes for some in waiting) >= AT_ONCE:
            found.append(torch.cat(waiting).cpu().numpy())
            waiting = []
        if progress:
            progress(len(images))
    if waiting:
        found.append(torch.cat(waiting).cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, network.channels), dtype=np.float32)


def refuse_diverged(vectors: NDArray[np.float32]) -> None:
    """Say of features that are no numbers where they come from: from the weights.

    Raises:
        DivergedError: a feature of `vectors` [N, D] holds a NaN or an infinity.
    """
    bad = int(np.count_nonzero(~np.isfinite(vectors).all(axis=1)))
    if bad:
        raise DivergedError(
            f"the network gives features with NaN or infinity for {bad} of {len(vectors)} images: its training has "
            "diverged; take another model, or train again with a lower optim.lr",
            argument="optim.lr",
        )


def _run(network: Network, images: Tensor, feature: str) -> Tensor:
    f_t, f_i = network(images)
    chosen: Tensor = f_i if feature == "after" else f_t
    return chosen.float()


def _cpu_has_bf16() -> bool:
    """Computing in bf16 works on every processor, but without these instructions it is slower than float32."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(name in flags.read_text() for name in ("avx512_bf16", "amx_bf16"))
