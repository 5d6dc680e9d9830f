"""A process that has imported what takes seconds to import, and forks a process of its own for every command.

Run it as `python -m tests.nursery`. It reads one request in JSON per line and writes one answer per line: for
`{"start": ...}` the number of the new process, for `{"wait": pid}` its status, negative where a signal ended it, for
`{"poll": pid}` whether it has ended.
The forked processes are real ones: they may be killed, get signals, and hit limits. `tests.commands` talks to it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from unittest import mock

import numba

from reidkit.plots import style

if TYPE_CHECKING:
    from collections.abc import Callable

WANTED = (
    "reidkit.cli.main",
    "reidkit.data.check",
    "reidkit.plots.image_grid",
    "reidkit.metrics.features",
    "reidkit.metrics.reranking.k_reciprocal",
    "reidkit.plots.projection",
    "reidkit.report.build",
    "reidkit.train.run",
    "torch._dynamo",
    # What those load when they are first used.
    "filelock",
    "jinja2.ext",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "pydantic.fields",
    "pydantic.type_adapter",
    "pydantic.types",
    "rich.console",
    "rich.markup",
    "rich.table",
    "rich.text",
)


def serve() -> None:
    for name in WANTED:
        importlib.import_module(name)
    numba.njit(lambda x: x)(1.0)  # from here on numba knows this machine
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.write(f"{_answer(request)}\n")
        sys.stdout.flush()


def _answer(request: dict[str, Any]) -> int:
    if "start" in request:
        return _start(request)
    return int(_has_ended(request["poll"])) if "poll" in request else _wait(request["wait"])


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _start(request: dict[str, Any]) -> int:
    pid = os.fork()
    if not pid:
        leave_with(partial(_become, request))
    return pid


def leave_with(become: Callable[[], None]) -> NoReturn:
    """In a process that was forked: `become` what it is for, be `reidkit`, and end."""
    status = 1
    try:
        become()
        from reidkit.cli.main import main

        main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _become(request: dict[str, Any]) -> None:
    """Take on the words, the folder and the streams of the command; `before` names a fault to suffer."""
    for number, name in enumerate((request["stdin"], request["out"], request["err"])):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, flags, 0o644), number)
    os.chdir(request["folder"])
    if not request["pictures"]:
        mock.patch.object(style, "_encode", _no_picture).start()
    sys.argv = ["reidkit", *request["start"]]
    if request["before"]:
        module, _, function = request["before"].partition(":")
        getattr(importlib.import_module(module), function)()


def _no_picture(*_: object, **__: object) -> bytes:
    """Most of the time of a tiny training goes into the figures of its report."""
    return b'<svg><g id="figure_1"></g></svg>\n'


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    serve()
