"""Several processes that work on one batch: the rank of this one, and the few operations that they do together.

A process outside of such a group is a group of one, for which every method here does nothing: the callers need not ask.
The variables of the environment are torchrun's, so that a run can be started by it as well as by reidkit.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from reidkit.errors import PeerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOGGER = logging.getLogger("reidkit.distributed")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: one of them may be decoding a data set. A dead one is noticed at once."""

SILENCE = 0.5
"""Seconds that it waits for them to start before it says so: processes that are started together need less."""


@dataclass(frozen=True)
class Group:
    """`size` processes of which this is number `rank`, from 0 on. Number 0 writes the files and speaks.

    `members` is torch's handle of a part of all processes; None is all of them.
    """

    rank: int = 0
    size: int = 1
    members: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Group:
        """The same group: a copy of a network whose norms belong to one is normalised by the same processes."""
        return self

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def slice_of(self, count: int) -> slice:
        """Return which of `count` things this process takes; the slices follow each other and differ by one at most."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, part: Tensor) -> Tensor:
        """Return the parts of all processes [B/n, ...] behind each other: [B, ...], of one shape each.

        The gradient of the own part comes back; the others have theirs. Where every process computes the same loss of
        the whole, the sum of their gradients of the network's weights is that of one process with the whole batch.
        """
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        with _heard():
            dist.all_gather(parts, part.detach().contiguous(), group=self.members)
        parts[self.rank] = part
        return torch.cat(parts)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """As `gather`, without a gradient, for numbers of rows that differ."""
        if self.size == 1:
            return rows
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with _heard():
            dist.all_gather(counts, torch.tensor([len(rows)]), group=self.members)
        lengths = [int(count) for count in counts]
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        return torch.cat([part[:n] for part, n in zip(self.gather(padded).split(max(lengths)), lengths, strict=True)])

    def add_in_place(self, tensors: Iterable[Tensor], scale: float = 1.0) -> None:
        """Put `scale` times the sum over the processes in the place of each tensor: one message for all of a type."""
        if self.size == 1:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        for same in kinds.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            with _heard():
                dist.all_reduce(flat, group=self.members)
            parts = (flat if scale == 1 else flat.mul_(scale)).split([tensor.numel() for tensor in same])
            for tensor, part in zip(same, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes. The host's own message: an accelerator need not wait for it."""
        if self.size == 1:
            return flag
        told = torch.tensor([int(flag)])
        with _heard():
            dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self.members)
        return bool(told.item())

    def wait(self) -> None:
        """Until every process is here."""
        self.any(False)

    def neighbours(self, count: int) -> Group:
        """The `count` processes beside this one that make a group of their own; every process has to call this."""
        if count == self.size:
            return self
        groups = [dist.new_group(list(range(i, i + count))) for i in range(0, self.size, count)]
        return Group(self.rank % count, count, groups[self.rank // count])


ALONE = Group()
"""A process that works by itself."""


def invited() -> bool:
    """Return whether this process was started as one of several."""
    return from_environment("WORLD_SIZE", 1, least=1) > 1


def from_environment(name: str, default: int, least: int = 0, below: int = 2**16) -> int:
    """Return the number that torchrun has put into the environment; `default` where it is not set or empty.

    Raises:
        UsageError: it is no whole number from `least` on and below `below`.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,6}", text) or not least <= int(text) < below:
        raise UsageError(
            f"{name} is {text[:40]!a} in the environment, and not a number from {least} to {below - 1}: unset it, "
            "or start with torchrun",
            argument="processes",
        )
    return int(text)


def _check_environment() -> None:
    """See that what torchrun sets is there, before torch waits for processes that cannot come.

    Raises:
        UsageError: a variable is missing or no number that it can be.
    """
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name, "").strip()]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is set in the environment, but not {' and '.join(missing)}: unset it, or start with torchrun",
            argument="processes",
        )
    size = from_environment("WORLD_SIZE", 1, least=1)
    from_environment("RANK", 0, below=size)
    here = from_environment("LOCAL_WORLD_SIZE", 1, least=1)
    from_environment("LOCAL_RANK", 0, below=max(here, size))
    from_environment("MASTER_PORT", 1, least=1)


@contextmanager
def joined() -> Iterator[Group]:
    """The group that this process was started in, by reidkit or by torchrun; a group of one where it was not.

    Raises:
        UsageError: the variables of the environment are not whole.
        PeerError: the others cannot be reached.
    """
    if not invited():
        yield ALONE
        return
    if dist.is_initialized():  # a second command of the same process
        yield Group(dist.get_rank(), dist.get_world_size())
        return
    _check_environment()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        with _said_after(SILENCE):
            dist.init_process_group(backend, timeout=PATIENCE)
    except (ValueError, KeyError) as error:
        raise UsageError(f"WORLD_SIZE is set, but not what belongs to it ({error}): start with torchrun") from None
    except (RuntimeError, OSError) as error:
        raise PeerError(f"the other processes cannot be reached ({_brief(error)})") from None
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def _said_after(seconds: float) -> Iterator[None]:
    """Say what is waited for, where the others have not come after some seconds."""
    size, place = os.environ["WORLD_SIZE"].strip(), f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    timer = threading.Timer(
        seconds,
        LOGGER.warning,
        (
            "waiting up to %d minutes for all %s processes to come to %a: WORLD_SIZE is set in the environment; "
            "if there are no others, stop this and unset it",
            PATIENCE.total_seconds() // 60,
            size,
            place,
        ),
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _heard() -> Iterator[None]:
    """What a message ends in when another process is gone, in a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            f"another process of this run has ended ({_brief(error)}): run it again, a training with resume=True",
            argument="resume",
        ) from None


def _brief(error: Exception) -> str:
    """Return the first sentence of a message that begins with positions in torch's source."""
    words = str(error).strip() or type(error).__name__
    return re.sub(r"^(\[[^]]*\]\s*)+", "", words.splitlines()[0]).split(". ")[0].rstrip(".")
