"""A hundred kinds of odd weights end in one of our errors of one line, or in a model of finite numbers."""

from __future__ import annotations

import collections
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch

from reidkit.errors import ReidkitError
from reidkit.train.foreign_models import import_weights
from tests.model.convert.families import CASES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[dict[Any, Any]], Any]

STEM = "model.backbone.conv1.weight"
"""The first tensor of the file."""


def put(value: Callable[[torch.Tensor], Any]) -> Change:
    """Change the first tensor."""
    return lambda state: {**state, STEM: value(state[STEM])}


def quantised(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def nested(state: dict[Any, Any], depth: int) -> dict[Any, Any]:
    for _ in range(depth):
        state = {"state_dict": state}
    return state


def own_self(state: dict[Any, Any]) -> dict[Any, Any]:
    state["self"] = state
    return state


ODD: dict[str, Change] = {
    "sparse": put(lambda t: t.to_sparse()),
    "meta": put(lambda t: t.to("meta")),
    "quantised": put(quantised),
    "complex": put(lambda t: t.to(torch.complex64)),
    "integers": put(lambda t: t.to(torch.int64)),
    "truth": put(lambda t: t > 0),
    "bytes": put(lambda t: t.to(torch.uint8)),
    "half": put(lambda t: t.half()),
    "bfloat16": put(lambda t: t.bfloat16()),
    "double": put(lambda t: t.double()),
    "float8": put(lambda t: t.to(torch.float8_e4m3fn)),
    "NaN": put(lambda t: t * float("nan")),
    "infinity": put(lambda t: t / 0),
    "empty tensor": put(lambda t: t[:0]),
    "scalar": put(lambda t: t.sum()),
    "one axis more": put(lambda t: t[None]),
    "one axis less": put(lambda t: t[0]),
    "other channels": put(lambda t: torch.cat([t, t])),
    "four colours": put(lambda t: torch.cat([t, t], dim=1)),
    "flat": put(lambda t: t.flatten()),
    "expanded": put(lambda t: torch.zeros(1).expand(t.shape)),
    "huge and expanded": put(lambda _: torch.zeros(1).expand(2**40)),
    "huge side": put(lambda _: torch.zeros(1).expand(2**20, 3, 7, 7)),
    "twenty axes": put(lambda t: t.reshape(*[1] * 16, *t.shape)),
    "a list": put(lambda t: t.flatten()[:9].tolist()),
    "a number": put(lambda _: 3),
    "text": put(lambda _: "weights"),
    "None": put(lambda _: None),
    "numpy": put(lambda t: t.numpy()),
    "parameter": put(torch.nn.Parameter),
    "transposed": put(lambda t: t.transpose(0, 1)),
    "without it": lambda state: {k: v for k, v in state.items() if k != STEM},
    "half of them": lambda state: dict(list(state.items())[::2]),
    "the first ten": lambda state: dict(list(state.items())[:10]),
    "the last ten": lambda state: dict(list(state.items())[-10:]),
    "empty": lambda _: {},
    "a list of tensors": lambda state: list(state.values()),
    "a tensor": lambda state: next(iter(state.values())),
    "integer keys": lambda state: dict(enumerate(state.values())),
    "tuple keys": lambda state: {(name, 1): tensor for name, tensor in state.items()},
    "an empty key": lambda state: {**state, "": torch.zeros(2)},
    "dots": lambda state: {f"..{name}..": tensor for name, tensor in state.items()},
    "a newline in a key": lambda state: {**state, "a\nb": torch.zeros(2)},
    "an escape in a key": lambda state: {**state, "\x1b[31m": torch.zeros(2)},
    "a long key": lambda state: {**state, "k" * 100_000: torch.zeros(2)},
    "a large number in a key": lambda state: {**state, f"backbone.layer1.{'9' * 5000}.conv1.weight": torch.zeros(2)},
    "a key that patterns could take for ever": lambda state: {
        **state,
        "encoder_q." * 20_000 + "conv1.weigh": torch.ones(1),
    },
    "braces in a key": lambda state: {**state, "{0}{height}": torch.zeros(2)},
    "patterns in keys": lambda state: {**state, "(a+)+$": torch.zeros(2), "\\1": torch.zeros(2)},
    "other scripts": lambda state: {**state, "权重.重": torch.zeros(2)},
    "many keys": lambda state: {**state, **{f"extra.{i}": 0 for i in range(3000)}},
    "upper case": lambda state: {name.upper(): tensor for name, tensor in state.items()},
    "ordered": collections.OrderedDict,
    "nested once": lambda state: nested(state, 1),
    "nested five times": lambda state: nested(state, 5),
    "nested fifty times": lambda state: nested(state, 50),
    "in itself": own_self,
    "modules of modules": lambda state: {
        f"module.module.module.module.{name}": tensor for name, tensor in state.items()
    },
    "twice": lambda state: {**state, **{f"module.{name}": tensor for name, tensor in state.items()}},
    "an average beside it": lambda state: {"state_dict": state, "state_dict_ema": state},
    "all of one tensor": lambda state: dict.fromkeys(state, next(iter(state.values()))),
    "zeros": lambda state: {name: torch.zeros_like(tensor) for name, tensor in state.items()},
    "negative variances": lambda state: {n: -t.abs() if n.endswith("running_var") else t for n, t in state.items()},
    "no statistics": lambda state: {name: tensor for name, tensor in state.items() if "running" not in name},
    "no shifts": lambda state: {name: tensor for name, tensor in state.items() if not name.endswith("bias")},
    "scaled up": lambda state: {name: tensor * 1e30 for name, tensor in state.items()},
    "scalars": lambda state: {name: tensor.float().sum() for name, tensor in state.items()},
    "empty tensors": lambda state: {name: tensor.flatten()[:0] for name, tensor in state.items()},
    "sparse, all": lambda state: {
        n: t.to_sparse() if t.is_floating_point() and t.ndim else t for n, t in state.items()
    },
    "half, all": lambda state: {n: t.half() if t.is_floating_point() else t for n, t in state.items()},
    "integers, all": lambda state: {name: tensor.long() for name, tensor in state.items()},
    "counters only": lambda state: {name: tensor for name, tensor in state.items() if name.endswith("tracked")},
    "counters of another shape": lambda state: {
        n: t.repeat(2) if n.endswith("tracked") else t for n, t in state.items()
    },
    "no counters": lambda state: {name: tensor for name, tensor in state.items() if not name.endswith("tracked")},
    "gradients": lambda state: {n: torch.nn.Parameter(t) if t.is_floating_point() else t for n, t in state.items()},
    "an optimizer beside it": lambda state: {"net": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
    "a recipe beside it": lambda state: {"state_dict": state, "recipe": "{}", "format": "reidkit/1"},
    "a model name": lambda state: {"state_dict": state, "model_name": "{height}\n", "preprocess": "resize_pad"},
    "keys of another family": lambda state: {**state, "base.conv1.weight": torch.zeros(8, 3, 7, 7)},
    "keys of all": lambda state: {**state, "base.cls_token": torch.zeros(1), "base.blocks.0.x": torch.zeros(1)},
    "a family that is not supported": lambda state: {**state, "prompt_learner.ctx": torch.zeros(2)},
    "no head": lambda state: {n: t for n, t in state.items() if not n.startswith(("fc", "bottle", "model.heads"))},
    "a strange head": lambda state: {**state, "fc.0.weight": torch.zeros(3), "bottleneck.weight": torch.zeros(2, 2)},
}
"""What is done to a good file of a family."""

RAW: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(4096),
    "text": b"weights",
    "a pickle of None": b"\x80\x02N.",
    "a pickle cut off": b"\x80\x02}q\x00X",
    "a zip of nothing": b"PK\x05\x06" + bytes(18),
    "a zip cut off": b"PK\x03\x04" + bytes(100),
    "a page": b"<!DOCTYPE html><html></html>",
    "JSON": b"{}",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "safetensors without end": (2**63 - 1).to_bytes(8, "little") + b"{",
    "safetensors of nothing": (2).to_bytes(8, "little") + b"{}",
    "safetensors of a lie": (60).to_bytes(8, "little")
    + b'{"a":{"dtype":"F32","shape":[4294967296],"data_offsets":[0,4]}}',
    "a memo of two thousand million": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "an instance of object": b"\x80\x02cbuiltins\nobject\nq\x00)\x81q\x01.",
    "an extension": b"\x80\x02\x82\x01.",
    "a class of ours": b"\x80\x02creidkit.errors\nUsageError\nq\x00)\x81q\x01.",
}
"""Files that are no weights at all."""


@pytest.fixture(scope="module")
def good() -> dict[str, torch.Tensor]:
    return CASES["fast-reid"]().state


def ends_well(path: Path) -> None:
    """See that the file gives a model, or one line."""
    refused, tensors = "", {}
    try:
        tensors = import_weights(path).model.network.state_dict()
    except ReidkitError as error:
        refused = str(error)
    assert bool(tensors) != bool(refused)
    assert "\n" not in refused
    assert len(refused) < 2000
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


@pytest.mark.parametrize("kind", ODD)
def test_odd_tensors(kind, good, tmp_path):
    state = dict(good)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(ODD[kind](state), tmp_path / "net.pth")
    except (RuntimeError, NotImplementedError, IndexError) as error:
        pytest.skip(f"torch cannot make it: {error}")
    ends_well(tmp_path / "net.pth")


@pytest.mark.parametrize("kind", RAW)
def test_odd_files(kind, tmp_path):
    (tmp_path / "net.pth").write_bytes(RAW[kind])
    with pytest.raises(ReidkitError) as caught:
        import_weights(tmp_path / "net.pth")
    assert "\n" not in str(caught.value)


def test_there_are_a_hundred_kinds():
    assert len(ODD) + len(RAW) >= 100
