"""Functions of a test module that run as several processes which know each other."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import torch

from reidkit.distributed import joined

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


def together(nursery: Nursery, function: str, count: int, folder: Path) -> list[Any]:
    """What `module:name` gives, called with its group, in each of `count` processes."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as kept:
        # Who binds it with the same option, as torch does, may listen there; nobody else is given it meanwhile.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        started = [
            nursery.start(function, folder / f"{rank}.pt", rank, count, port, before=f"{__name__}:be_one")
            for rank in range(count)
        ]
        ended = [command.wait() for command in started]
    assert [each.status for each in ended] == [0] * count, "\n".join(each.err for each in ended)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


def be_one() -> None:
    """Be the process that the words of this command describe, and no `reidkit`."""
    function, path, rank, count, port = sys.argv[1:]
    os.environ |= {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
    module, _, name = function.partition(":")
    with joined() as group:
        torch.save(getattr(importlib.import_module(module), name)(group), path)
    sys.exit(0)
