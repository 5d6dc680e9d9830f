"""Whole modules are read for their tensors, and nothing in their files is executed."""

import argparse
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from reidkit.errors import WeightsError
from reidkit.model.tensors import read_contents


class Net(nn.Module):
    """What a project saves with `torch.save(model)`."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.options = argparse.Namespace(lr=np.float64(0.1), where=None)
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


@pytest.fixture
def net(monkeypatch):
    """A network whose class is gone by the time that its file is read."""
    gone = types.ModuleType("modeling_baseline")
    gone.Net = Net
    monkeypatch.setitem(sys.modules, "modeling_baseline", gone)
    monkeypatch.setattr(Net, "__module__", "modeling_baseline")
    return Net()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"model": net, "epoch": 3}, nn.DataParallel])
def test_tensors_of_a_whole_module(net, wrap, zipped, tmp_path):
    torch.save(wrap(net), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    del sys.modules["modeling_baseline"]
    found = read_contents(tmp_path / "net.pth").tensors
    wanted = wrap(net).state_dict() if isinstance(wrap(net), nn.Module) else net.state_dict()
    names = {name.removeprefix("model."): tensor for name, tensor in found.items()}
    assert list(names) == list(wanted)
    assert all(torch.equal(names[name], wanted[name]) for name in wanted)
    sys.modules["modeling_baseline"] = types.ModuleType("modeling_baseline")


class Attack:
    """Something that is called while a pickle is read."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize(
    "attack",
    [
        (os.system, ("touch owned",)),
        (eval, ("open('owned', 'w')",)),
        (open, ("owned", "w")),
        (subprocess.run, (["touch", "owned"],)),
        (getattr, ("a", "upper")),
        (__import__, ("os",)),
        (os.mkdir, ("owned",)),
    ],
    ids=lambda attack: attack[0].__name__,
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("where", ["alone", "in a module", "beside tensors"])
def test_an_attack_is_refused_and_does_not_run(net, attack, where, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net.attack = called = Attack(attack[0], *attack[1])
    content = {"alone": called, "in a module": net, "beside tensors": {"a": torch.zeros(2), "b": called}}[where]
    torch.save(content, "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"^net\.pth is no torch weights file \(it holds more than tensors[^\n]*$"):
        read_contents(tmp_path.joinpath("net.pth").relative_to(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_modules_without_end_are_refused(net, tmp_path):
    """Each of 40 modules holds the next one twice: 2^40 names."""
    place = net
    for _ in range(40):
        inner = nn.Module()
        place.add_module("a", inner)
        place.add_module("b", inner)
        place = inner
    torch.save(net, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        read_contents(tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_old_files_that_are_cut_or_changed_are_refused(net, tmp_path):
    """Each byte of the pickles changed in turn, and each tenth length: one line, or tensors."""
    torch.save(net, tmp_path / "good.pth", _use_new_zipfile_serialization=False)
    good = (tmp_path / "good.pth").read_bytes()
    path = tmp_path / "bad.pth"
    bad = [good[:length] for length in range(1, len(good), len(good) // 40)]
    bad += [good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :] for at in range(0, len(good), len(good) // 160)]
    for content in bad:
        path.write_bytes(content)
        try:
            found = read_contents(path).tensors
        except WeightsError as error:
            found = {}
            assert "\n" not in str(error)  # noqa: PT017
        assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())
