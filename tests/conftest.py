"""What several packages of tests start from."""

from __future__ import annotations

import os
import random
import secrets
import signal
import sys
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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Begin each test with the same random numbers, whatever ran before it in this process.

    Workers share tests out anew at each run. With REIDKIT_FUZZ they are others.
    """
    seed = secrets.randbits(32) if "REIDKIT_FUZZ" in os.environ else 0
    random.seed(seed)
    for name, function in (("numpy.random", "seed"), ("torch", "manual_seed")):
        if name in sys.modules:
            getattr(sys.modules[name], function)(seed)


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
