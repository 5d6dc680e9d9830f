"""What can befall a command's process, by the names that `Nursery.start(before=...)` takes."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from tests.noise import TRAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "tests.end_to_end.faults"


def held_steps() -> None:
    """The first step waits until there is a file `go` in the folder where the command runs."""
    _hold(1)


def held_later() -> None:
    """So does the sixth step, in the midst of the second epoch."""
    _hold(6)


def _hold(number: int) -> None:
    from reidkit.losses.objective import Objective

    step, taken, go = Objective.step, 0, Path("go").absolute()

    def held(self: Objective, lr: float) -> None:
        nonlocal taken
        taken += 1
        while taken == number and not go.exists():
            time.sleep(0.01)
        step(self, lr)

    mock.patch.object(Objective, "step", held).start()


def loud_steps() -> None:
    """Every step is said."""
    from reidkit.losses.objective import Objective

    step = Objective.step

    def loud(self: Objective, lr: float) -> None:
        sys.stderr.write("a step was taken\n")
        step(self, lr)

    mock.patch.object(Objective, "step", loud).start()


def stuck_save() -> None:
    """The second checkpoint never ends: half of its file is written when the process stands still."""
    import torch

    save, saved = torch.save, 0

    def stuck(state: Any, file: Any) -> None:
        nonlocal saved
        saved += 1
        save(state, file)
        if saved == 2:
            file.truncate(file.tell() // 2)
            file.flush()
            Path(file.name).with_suffix(".stuck").touch()
            time.sleep(600)

    mock.patch.object(torch, "save", stuck).start()


def stuck_weights() -> None:
    """The weights of the finished run never come to their end."""
    from reidkit.model import weights

    def stuck(content: bytes) -> Iterator[bytes]:
        yield content[: len(content) // 2]
        time.sleep(600)

    mock.patch.object(weights, "in_order", stuck).start()


def stuck_decoding() -> None:
    """The image cache is begun and never ended."""
    from reidkit.data import sources

    def stuck(*_: object) -> None:
        time.sleep(600)

    mock.patch.object(sources, "_read_into", stuck).start()


def no_room_for_the_log_later() -> None:
    """Once the first checkpoint is written, the log takes only a part of its next row."""
    _no_room_after_the_first_state(lambda log: log.stat().st_size + 50)


def no_room_for_the_next_state() -> None:
    """Once the first checkpoint is written, the log may grow, and no second one fits."""
    _no_room_after_the_first_state(lambda log: log.stat().st_size + 50_000)


def a_spoilt_image_and_no_room_for_the_next_state() -> None:
    """Both, before the next epoch reads its first image; the data set is the folder `own` beside the run's."""

    def spoil_and_limit(log: Path) -> int:
        sorted((log.parents[1] / "own" / TRAIN).iterdir())[5].write_bytes(b"")
        return log.stat().st_size + 50_000

    _no_room_after_the_first_state(spoil_and_limit)


def _no_room_after_the_first_state(limit: Callable[[Path], int]) -> None:
    from reidkit.train import checkpoint

    save = checkpoint.save

    def last(path: Path, *words: Any, **parts: Any) -> None:
        save(path, *words, **parts)
        room = limit(path.with_name("log.jsonl"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    mock.patch.object(checkpoint, "save", last).start()


def no_room_for_anything() -> None:
    """No file may grow beyond 1000 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def no_room_for_images() -> None:
    """No file may grow beyond 10 kB: the log fits, the cache does not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


def no_room_for_weights() -> None:
    """No file may grow beyond 300 kB: the log fits, the weights do not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


def no_room_for_states() -> None:
    """No file may grow beyond 1 MB: the weights fit, with Adam's moments they do not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def no_privileges() -> None:
    """Be root no more, as far as permissions go: without this, root could write into a read-only folder."""
    if os.geteuid() == 0:
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, none) == 0


def no_home() -> None:
    """A container's user without a home folder."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    mock.patch.object(Path, "home", homeless).start()
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # it asks for the home when it is imported


def no_memory() -> None:
    """torch's own words when the processor's memory is used up."""
    from reidkit.model.network import Network

    def refuse(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ...")

    mock.patch.object(Network, "forward", refuse).start()


def no_listener() -> None:
    """The terminal behind stderr is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, sys.stderr.fileno())
