"""When the allocator keeps freed memory, and when it gives it back."""

from __future__ import annotations

import pytest

from reidkit.train import device


def files(folder, available, limit="max", used=0, cached=0):
    """A machine of 1,000 kB with `available` kB left, and a container's limit in bytes."""
    (folder / "meminfo").write_text(f"MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  {available} kB\n")
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\nfile {cached}\n")
    return folder / "meminfo", folder


@pytest.mark.parametrize(
    ("case", "short"),
    [
        ({"available": 500}, False),
        ({"available": 99}, True),
        ({"available": 100}, False),
        ({"available": 500, "limit": 1000, "used": 950}, True),
        ({"available": 500, "limit": 1000, "used": 950, "cached": 500}, False),
        ({"available": 500, "limit": 1000, "used": 500}, False),
    ],
)
def test_a_tenth_of_the_machine_or_of_the_container(case, short, tmp_path):
    assert device.is_memory_short(*files(tmp_path, **case)) is short


def test_a_system_that_does_not_say_is_not_short(tmp_path):
    assert not device.is_memory_short(tmp_path / "none", tmp_path)


@pytest.mark.skipif(device._libc() is None, reason="the allocator is not glibc's")
def test_memory_is_kept_until_it_runs_short(monkeypatch):
    monkeypatch.setattr(device, "is_memory_short", lambda: False)
    assert device.keep_freed_memory()
    assert not device.give_way_if_short(10)
    monkeypatch.setattr(device, "is_memory_short", lambda: True)
    assert not device.give_way_if_short(9), "it looks at every tenth step"
    assert device.give_way_if_short(10)
    assert not device.give_way_if_short(20), "nothing is kept any more"
    assert not device.keep_freed_memory(), "where memory is short it is not kept from the start"
