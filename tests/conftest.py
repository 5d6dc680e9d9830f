"""What several packages of tests start from."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

# Several tests and the commands that they start share the cores: threads of each would wait for those of the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from tests.commands import Nursery
from tests.noise import draw_noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# An example may take its time: a test fails for what it finds, and not for a machine that is busy. The examples are the
# same at each run, so that a change fails for what it changed; with REIDKIT_FUZZ they are others, to look further.
settings.register_profile(
    "any machine",
    deadline=None,
    derandomize="REIDKIT_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Hear signals even where the tests were started in the background of a script, which tells them not to."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Where commands are started."""
    made = Nursery(tmp_path_factory.mktemp("commands"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of noise, to read and not to change."""
    return draw_noise(tmp_path_factory.mktemp("noise") / "market")
