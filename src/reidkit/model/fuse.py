"""Batch norms folded into the convolutions before them, for inference: the same function, fewer passes over memory."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AnyModule = TypeVar("AnyModule", bound=nn.Module)

TRACING = threading.Lock()
"""Held by who traces: two at once would each give back the other's call for that of modules, for good."""


def fuse_batch_norms(network: AnyModule) -> AnyModule:
    """Return a copy in evaluation mode, channels last in memory, that gives the same features up to rounding.

    In evaluation a batch norm is y = (x - mean) / sqrt(var + eps) * gamma + beta, which is linear in x: behind a
    convolution it is a factor of each filter, and a bias. Which norm stands behind which convolution is read off the
    graph of operations, whatever the network is; a norm whose convolution has another user, or that stands behind
    something else, stays as it is, as the neck's does.
    """
    fused = copy.deepcopy(network).eval()
    for convolution, norm in list(_pairs(fused)):
        before, behind = cast("nn.Conv2d", fused.get_submodule(convolution)), fused.get_submodule(norm)
        both = fuse_conv_bn_eval(before, cast("nn.BatchNorm2d", behind))
        fused.set_submodule(convolution, both)
        fused.set_submodule(norm, nn.Identity())
    return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _pairs(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give the names of each convolution with the norm that alone reads what it gives.

    A module that cannot be traced, as its operations depend on values, is searched child by child.
    """
    try:
        with TRACING:
            graph = _Tracer().trace(module)
    except Exception:  # whatever the code of a network raises when it is given a symbol for a tensor
        for name, child in module.named_children():
            yield from _pairs(child, f"{prefix}{name}.")
        return
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        names = (str(source.target), str(node.target))
        convolution, norm = (module.get_submodule(name) for name in names)
        once = calls[source.target] == calls[node.target] == 1
        if (
            once
            and isinstance(convolution, nn.Conv2d)
            and isinstance(norm, nn.BatchNorm2d)
            and norm.track_running_stats
        ):
            yield prefix + names[0], prefix + names[1]


class _Tracer(fx.Tracer):
    """Traces what its own thread calls: while fx traces, the modules of all threads are called through its tracer."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Let modules that other threads call run as they are."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)
