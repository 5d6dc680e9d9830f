"""The names of tensors in files: those of a part that a network wraps stay what they are without the wrapping."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def leave_out_of_names(module: nn.Module, child: str, beside: tuple[str, ...] = ()) -> None:
    """Save the tensors of `module.child` without `child.` in their names, and load them so.

    Other children with tensors have to be named in `beside`, so that loading can tell theirs.
    """
    module.register_state_dict_post_hook(partial(_leave_out, f"{child}."))
    module.register_load_state_dict_pre_hook(partial(_put_in, f"{child}.", beside))


def _leave_out(child: str, _: nn.Module, state: dict[str, Any], prefix: str, __: object) -> None:
    for name in [name for name in state if name.startswith(prefix + child)]:
        state[prefix + name.removeprefix(prefix + child)] = state.pop(name)


def _put_in(child: str, beside: tuple[str, ...], _: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
    others = tuple(f"{prefix}{name}." for name in beside)
    for name in [name for name in state if name.startswith(prefix) and not name.startswith(others)]:
        state[prefix + child + name.removeprefix(prefix)] = state.pop(name)
