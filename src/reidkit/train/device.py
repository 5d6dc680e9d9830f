"""What a run sets up on its device before the first step. None of it changes a result by more than rounding."""

from __future__ import annotations

import ctypes
import sys
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from reidkit.errors import UsageError
from reidkit.model.chance import RANDOM_STATE
from reidkit.process_settings import TRAINING, restored
from reidkit.train.log import Callback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from reidkit.train.checkpoint import Progress


# Keep large freed blocks in the process, where glibc would hand them back to the system after every step.

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_NEVER = 2**31 - 1
_DEFAULTS = ((_M_MMAP_MAX, 65536), (_M_TRIM_THRESHOLD, 128 * 1024), (_M_MMAP_THRESHOLD, 128 * 1024))
"""glibc's own values (mallopt(3))."""
_GROWN = ((_M_MMAP_MAX, 65536), (_M_TRIM_THRESHOLD, 64 * 2**20), (_M_MMAP_THRESHOLD, 32 * 2**20))
"""What its thresholds grow to by themselves, until one is set, where large blocks come and go."""

SHORT = 0.1
"""The share of the memory below which what is available counts as short."""

EVERY = 10
"""Steps between two looks at what is left."""

_kept = False


def keep_freed_memory() -> bool:
    """Tell the allocator to keep what is freed; return whether it could be told (it is glibc's or not).

    The activations of a step are blocks of megabytes. By default each is mapped, zeroed page by page by the kernel,
    and unmapped again, in every step. The effect is that of MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_MAX_, without
    the need to set them before the process starts. It costs memory: see docs/speed.md.
    """
    global _kept  # noqa: PLW0603  the allocator's setting is the process's own
    libc = _libc()
    if libc is None or (_kept is False and is_memory_short()):
        return False
    _kept = bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, _NEVER))
    return _kept


class FreedMemory(Callback):
    """Gives kept memory back, for good, if the machine runs short of it."""

    def on_position(self, progress: Progress, batches: int) -> None:  # noqa: ARG002
        """Give memory back, where the machine has run short of it."""
        give_way_if_short(progress.step)


def give_way_if_short(step: int) -> bool:
    """Hand kept memory back, for good, if the machine runs short of it; return whether that was done.

    Looks at every tenth `step` only.
    """
    if step % EVERY or not _kept or not is_memory_short():
        return False
    give_back_memory(_DEFAULTS)
    return True


def give_back_memory(values: tuple[tuple[int, int], ...] = _GROWN) -> None:
    """Hand kept memory back, and keep no more of it, with these values for the allocator."""
    global _kept  # noqa: PLW0603
    libc = _libc()
    if libc is not None and _kept:
        for setting, value in values:
            libc.mallopt(setting, value)
        libc.malloc_trim(0)
        _kept = False


def is_memory_short(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> bool:
    """Whether less than a tenth of the memory is left, of the machine or the container; False where unknown."""
    shares = (_machine_share(proc), _container_share(cgroup))
    return any(share is not None and share < SHORT for share in shares)


def _machine_share(proc: Path) -> float | None:
    try:
        rows = dict(line.split(":", 1) for line in proc.read_text().splitlines() if ":" in line)
        return int(rows["MemAvailable"].split()[0]) / int(rows["MemTotal"].split()[0])
    except (OSError, KeyError, ValueError, IndexError, ZeroDivisionError):
        return None


def _container_share(cgroup: Path) -> float | None:
    """What is left below the limit of a cgroup (version 2); its page cache counts as free, as the kernel drops it."""
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        rows = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return 1 - (used - int(rows.get("file", 0))) / limit
    except (OSError, ValueError, ZeroDivisionError):  # `max` is no number: there is no limit
        return None


def _libc() -> ctypes.CDLL | None:
    """Return the C library of this process, if it has glibc's `mallopt` and `malloc_trim`."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


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


@contextmanager
def prepared(device: torch.device) -> Iterator[None]:
    """Set torch up for training on `device`, and leave it as it was, its random state and the allocator included.

    Of several runs in threads the last one to end does so.
    """
    with ExitStack() as run:
        with RANDOM_STATE:
            run.enter_context(restored(TRAINING, partial(_settings, device), _put_back))
            prepare(device)
        try:
            yield
        finally:
            with RANDOM_STATE:
                run.close()


class _Settings(NamedTuple):
    """What a run changes of torch."""

    random: torch.Tensor
    random_of_gpu: tuple[torch.device, torch.Tensor] | None
    switches: list[tuple[Any, str, Any]]


def _settings(device: torch.device) -> _Settings:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    names = [(cudnn, "benchmark"), (cudnn, "allow_tf32"), (matmul, "allow_tf32")]
    # What newer versions of torch have beside, and what it says alone where a program has set one of them.
    names += [(getattr(cudnn, part, None), "fp32_precision") for part in ("conv", "rnn")] + [(matmul, "fp32_precision")]
    switches: list[tuple[Any, str, Any]] = []
    for switch, name in names:
        with suppress(AttributeError, RuntimeError):
            switches.append((switch, name, getattr(switch, name)))
    # Of the run's own GPU alone: to ask the others would take memory of each.
    of_gpu = (device, torch.cuda.get_rng_state(device)) if device.type == "cuda" else None
    return _Settings(torch.get_rng_state(), of_gpu, switches)


def _put_back(before: _Settings) -> None:
    give_back_memory()
    for switch, name, value in before.switches:
        setattr(switch, name, value)
    torch.set_rng_state(before.random)
    if before.random_of_gpu:
        device, state = before.random_of_gpu
        torch.cuda.set_rng_state(state, device)


def compile_network(network: nn.Module, device: torch.device) -> None:
    """Let torch compile `network` at its first step, in place.

    Its parameters, their names and its copies (see `model.fuse`) stay what they are.

    Raises:
        UsageError: something that compiling needs is missing.
    """
    if lacking := _lacks(device):
        raise UsageError(f"compiling needs {lacking}: install it, or pass compile=False", argument="compile")
    network.compile()


def _lacks(device: torch.device) -> str:
    """Return what is missing for compiling: Triton writes the kernels of a GPU, a C++ compiler those of a CPU."""
    compiler = any(which(name) for name in ("g++", "c++", "clang++", "gcc", "cc", "clang"))
    if not compiler:
        return "a C compiler"
    if device.type == "cuda" and find_spec("triton") is None:
        return "Triton (pip install triton)"
    return ""
