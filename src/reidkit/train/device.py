"""What a run sets up on its device before the first step. None of it changes a result by more than rounding."""

from __future__ import annotations

from importlib.util import find_spec
from shutil import which
from typing import TYPE_CHECKING

import torch

from reidkit.train.memory import keep_freed_memory
from reidkit.types import UsageError

if TYPE_CHECKING:
    from torch import nn

LONG = 500_000
"""Training images from which on compiling the network, which takes a minute, can be hoped to pay on a GPU."""


def prepare(device: torch.device) -> None:
    """Set torch up for training on `device`.

    On a GPU the convolutions are chosen by trial: the shapes of a run are the same at every step. Float32 stays
    float32: TF32, torch's default for convolutions, has 10 bits of mantissa, and who asks for fp32 where bf16 is the
    default asks for the reference.
    """
    keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def compile_network(network: nn.Module, device: torch.device, wanted: bool | None, images: int) -> bool:
    """Let torch compile `network` at its first step, in place; whether it will.

    Its parameters, their names and its copies (see `model.folding`) stay what they are. `wanted` None: on a GPU, if
    the run trains on `images` enough in all to win the time back, and if there is what compiling needs.

    Raises:
        UsageError: it is asked for and cannot be had.
    """
    if wanted is None:
        wanted = device.type == "cuda" and images >= LONG and not _lacks(device)
    if not wanted:
        return False
    if lacking := _lacks(device):
        raise UsageError(f"--compile needs {lacking}: install it, or leave --compile out")
    network.compile()
    return True


def _lacks(device: torch.device) -> str:
    """What is missing for compiling: Triton writes the kernels of a GPU, a C++ compiler those of a CPU."""
    compiler = any(which(name) for name in ("g++", "c++", "clang++", "gcc", "cc", "clang"))
    if not compiler:
        return "a C compiler"
    if device.type == "cuda" and find_spec("triton") is None:
        return "Triton (pip install triton)"
    return ""
