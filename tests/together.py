"""Functions of a test module that run as several processes which know each other."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import torch

from reidkit.distributed import joined

if TYPE_CHECKING:
    from pathlib import Path


def together(function: str, count: int, folder: Path, timeout: float = 300) -> list[Any]:
    """What `module:name` gives, called with its group, in each of `count` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    known = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.together", function, str(folder / f"{rank}.pt")],
            env=os.environ | known | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    errors = [process.communicate(timeout=timeout)[1] for process in running]
    assert [process.returncode for process in running] == [0] * count, "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    with joined() as group:
        torch.save(getattr(importlib.import_module(module), name)(group), sys.argv[2])
