"""What a network runs on: the device, the precision and the number of images at a time, by their names."""

from __future__ import annotations

from pathlib import Path

import torch

from reidkit.distributed import from_environment
from reidkit.errors import UsageError


def choose_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is the GPU where there is one.

    Raises:
        UsageError: a device that this machine does not have.
    """
    if name == "auto":
        return _own_gpu() if torch.cuda.is_available() else torch.device("cpu")
    unknown = UsageError(f"there is no device {name}: choose auto, cpu or cuda", argument="device")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):  # None is no device, either
        raise unknown from None
    if device.type not in ("cpu", "cuda"):
        raise unknown
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch sees no GPU here: pass device='auto', and see `reidkit doctor`", argument="device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"there is no device {name}: torch sees {torch.cuda.device_count()} GPUs, counted from 0", argument="device"
        )
    return device


def _own_gpu() -> torch.device:
    """Return the GPU of this process: of several on one machine, each has its own.

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
    """Return the type of this name; `auto` is bf16 where the device has instructions for it, else float32.

    Raises:
        UsageError: there is none of this name.
    """
    if name == "auto":
        has = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16()
        return torch.bfloat16 if has else torch.float32
    types = {"bf16": torch.bfloat16, "fp32": torch.float32}
    if name not in types:
        raise UsageError(f"there is no precision {name}: choose auto, fp32 or bf16", argument="precision")
    return types[name]


def choose_batch(device: torch.device) -> int:
    """Return how many images are run at a time: what fills the device. A GPU of today is not filled by a CPU's 128."""
    return 512 if device.type == "cuda" else 128


def _cpu_has_bf16() -> bool:
    """Computing in bf16 works on every processor, but without these instructions it is slower than float32."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(name in flags.read_text() for name in ("avx512_bf16", "amx_bf16"))
