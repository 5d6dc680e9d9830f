"""Setting up a device; that of a GPU is tested as far as a machine without one can."""

from __future__ import annotations

import copy
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from reidkit.errors import UsageError
from reidkit.train import device
from reidkit.train.device import compile_network, prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

# Torch's compiler, when it is first imported, calls what torch itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def _settings() -> Iterator[None]:
    """Torch's settings, put back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


def without_gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, torch.device]]:
    """Have torch keep the random state of a GPU that is not there; whose is asked for, and set."""
    calls: list[tuple[str, torch.device]] = []

    def ask(of: torch.device) -> torch.Tensor:
        calls.append(("asked", of))
        return torch.zeros(16, dtype=torch.uint8)

    monkeypatch.setattr(torch.cuda, "get_rng_state", ask)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda _, of: calls.append(("set", of)))
    return calls


@pytest.mark.usefixtures("_settings")
def test_float32_on_a_gpu_is_float32_and_settings_are_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = without_gpu(monkeypatch)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, True, True
    with prepared(CPU):
        assert (cudnn.benchmark, cudnn.allow_tf32) == (False, True)
    with prepared(GPU):
        with prepared(GPU):
            assert (cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32) == (True, False, False)
        assert (cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32) == (True, False, False)
    assert (cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32) == (False, True, True)
    assert calls == [("asked", GPU), ("set", GPU)]  # of the run's own GPU, and no other's


@pytest.mark.usefixtures("_settings")
@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has one switch alone")
def test_what_a_program_has_set_for_convolutions_alone_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the switches of newer versions of torch; the old one cannot even be asked then."""
    without_gpu(monkeypatch)
    cudnn: Any = torch.backends.cudnn
    cudnn.conv.fp32_precision = "ieee"
    with prepared(GPU):
        assert not cudnn.allow_tf32
    assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("ieee", "tf32")


def compiled(network: nn.Module) -> bool:
    return network._compiled_call_impl is not None


def test_what_compiling_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_spec", lambda _: None)
    monkeypatch.setattr(device, "which", lambda _: "/usr/bin/cc")
    compile_network(nn.Linear(2, 2), CPU)  # Triton writes the kernels of a GPU alone
    with pytest.raises(UsageError, match=r"compiling needs Triton .*: install it, or pass compile=False"):
        compile_network(nn.Linear(2, 2), GPU)
    monkeypatch.setattr(device, "which", lambda _: None)
    with pytest.raises(UsageError, match="compiling needs a C compiler"):
        compile_network(nn.Linear(2, 2), CPU)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_a_compiled_network_is_the_same_network() -> None:
    """Its parameters keep their names, it learns the same, and its copies are not compiled."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    plain = copy.deepcopy(network)
    compile_network(network, CPU)
    assert compiled(network)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert not compiled(copy.deepcopy(network))
    x = torch.randn(5, 4)
    for model in (network, plain):
        model(x).square().sum().backward()
    torch.testing.assert_close(network(x), plain(x))
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
