"""The processes of `--processes`, forked from their parent, where `reidkit` would start an interpreter for each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from typing import IO, TYPE_CHECKING
from unittest import mock

from tests.nursery import leave_with

if TYPE_CHECKING:
    from collections.abc import Mapping


def forked_processes() -> None:
    """For `Nursery.start(before="tests.forked:forked_processes")`."""
    start = subprocess.Popen

    def chosen(words: list[str], **options: object) -> object:
        ours = words == [sys.executable, "-m", "reidkit", *sys.argv[1:]]
        return Forked(**options) if ours else start(words, **options)  # type: ignore[arg-type, call-overload]

    mock.patch.object(subprocess, "Popen", chosen).start()


class Forked:
    """What `subprocess.Popen` is to whom starts this very command again."""

    def __init__(
        self, env: Mapping[str, str], stdout: int | None, stderr: IO[bytes] | None, *, start_new_session: bool
    ) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            leave_with(partial(_become, env, stdout, stderr, start_new_session))

    def poll(self) -> int | None:
        return self._collect(os.WNOHANG)

    def wait(self) -> int | None:
        return self._collect(0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _collect(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _become(env: Mapping[str, str], stdout: int | None, stderr: IO[bytes] | None, start_new_session: bool) -> None:
    if start_new_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(env)
    if stdout == subprocess.DEVNULL:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if stderr is not None:
        os.dup2(stderr.fileno(), sys.stderr.fileno())
