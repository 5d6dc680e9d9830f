"""Devices and precisions by their names."""

from __future__ import annotations

import pytest
import torch

from reidkit import hardware
from reidkit.errors import UsageError
from reidkit.hardware import choose_device, choose_precision


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("tpu", "", "meta", "cpu cuda", "mps"):
        with pytest.raises(UsageError, match="choose auto, cpu or cuda"):
            choose_device(name)
    with pytest.raises(UsageError, match="torch sees no GPU here"):
        choose_device("cuda")


def test_devices_where_there_are_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="there is no device cuda:2: torch sees 2 GPUs, counted from 0"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("name", "has", "wanted"),
    [
        ("auto", False, torch.float32),
        ("auto", True, torch.bfloat16),
        ("fp32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
    ],
)
def test_precision(monkeypatch: pytest.MonkeyPatch, name: str, has: bool, wanted: torch.dtype) -> None:
    monkeypatch.setattr(hardware, "_cpu_has_bf16", lambda: has)
    assert choose_precision(name, torch.device("cpu")) is wanted
