"""What exporters print is kept to themselves, and what the program prints after them is not."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import TYPE_CHECKING

from reidkit.export.onnx_file import NOISY, quiet

if TYPE_CHECKING:
    import pytest


def settings() -> tuple[object, ...]:
    """What `quiet` changes for the whole process."""
    return sys.stdout, sys.stderr, list(warnings.filters), [logging.getLogger(name).level for name in NOISY]


def test_two_exports_at_once_leave_everything_as_it_was() -> None:
    """The first to end put the program's output back, and the last one the lost output of the other."""
    before, inside, second_inside, leave, ended = settings(), *(threading.Event() for _ in range(4))

    def export() -> None:
        with quiet():
            inside.set()
            assert leave.wait(60)

    def another() -> None:
        assert inside.wait(60)
        with quiet():
            second_inside.set()
            assert ended.wait(60)

    first, second = threading.Thread(target=export), threading.Thread(target=another)
    first.start()
    second.start()
    assert inside.wait(60)
    second_inside.wait(0.3)  # which it is not, as long as the first one is at work
    leave.set()
    first.join()
    ended.set()
    second.join()
    assert settings() == before


def test_one_within_another(capsys: pytest.CaptureFixture[str]) -> None:
    before = settings()
    with quiet(), quiet():
        sys.stdout.write("lost")
    assert settings() == before
    assert capsys.readouterr().out == ""
