"""A service in the process that has called it."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest
import torch

from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.serve import ServiceSettings, serve, server
from tests.gallery.made import Colours


def run(model):
    """Serve until the address is told, which ends it."""

    def told(address):
        during.append(torch.get_num_threads())
        raise BrokenPipeError(address)

    during = []
    with pytest.raises(BrokenPipeError, match=r"http://127\.0\.0\.1"):
        serve("memory", model, ServiceSettings(port=0), ready=told)
    return during


def test_torch_has_its_threads_again_afterwards(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(server, "cores_here", lambda: 2)
    torch.set_num_threads(2)
    try:
        assert run(Colours()) == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_within_an_event_loop_it_says_what_to_do_and_in_a_thread_it_runs():
    """As in a notebook, where all cells run within one."""
    began = threading.active_count()

    async def cell():
        with pytest.raises(
            UsageError, match="an event loop runs in this thread already, as in a notebook: call serve in"
        ):
            serve("memory", Colours(), ServiceSettings(port=0))
        assert threading.active_count() == began
        return await asyncio.to_thread(run, Colours())

    assert len(asyncio.run(cell())) == 1


def test_a_second_ctrl_c_as_late_as_when_the_event_loop_is_put_away(monkeypatch):
    """It ended in a KeyboardInterrupt, though all was done."""
    put_away, before = asyncio.Runner.close, signal.getsignal(signal.SIGINT)

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        put_away(self)

    monkeypatch.setattr(asyncio.Runner, "close", interrupted)
    serve("memory", Colours(), ServiceSettings(port=0), ready=lambda _: signal.raise_signal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is before


def test_files_that_cannot_be_used_are_refused_before_a_gallery_is_made(tmp_path):
    """The gallery was made, and then the file of tokens was not there."""
    (tmp_path / "other.log").write_text("no audit log")
    wrong = (
        ({"token_file": tmp_path / "nobody.txt"}, MissingFileError, "nobody.txt is not there"),
        ({"audit": tmp_path / "other.log"}, DataError, "other.log cannot be the audit log"),
    )
    for settings, error, words in wrong:
        with pytest.raises(error, match=words):
            serve(tmp_path / "people.db", Colours(), ServiceSettings(port=0, **settings))
    assert [path.name for path in tmp_path.iterdir()] == ["other.log"]
