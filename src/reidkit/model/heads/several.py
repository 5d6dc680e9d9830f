"""A head of several branches, each a view of the map with a head of its own; their features stand side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.errors import UsageError
from reidkit.model.contracts import Features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.model.contracts import Head, Spans


class Several(nn.Module):
    """Named branches, each (view, head): what the heads make of their views of the map, concatenated.

    A view is any module from map to map: `nn.Identity()`, a stripe of rows, a copy of the last stage (see
    `model.views`). Heads may be `Several` themselves: the spans of a branch `two` with branches `a` and `b` are `two`,
    `two.a` and `two.b`, so that a loss can be put on a stripe, on a branch, or on the whole.

    Args:
        branches: View and head by name.
        ranked: The spans that get a triplet loss each where a recipe makes the objective; "" is the whole vector.
        unit: In evaluation each branch of f_i has length 1, so that none outweighs the others in a cosine.

    Raises:
        UsageError: there is no branch, or one has a name that a module cannot have.
    """

    def __init__(
        self, branches: Mapping[str, tuple[nn.Module, Head]], *, ranked: Sequence[str] = ("",), unit: bool = False
    ) -> None:
        super().__init__()
        self.ranked, self.unit = tuple(ranked), unit
        if not isinstance(branches, Mapping):
            raise UsageError(
                f"the branches are a {type(branches).__name__}: give {{name: (view, head)}}", argument="branches"
            )
        if not branches:
            raise UsageError("a head of several branches has none: give {name: (view, head)}", argument="branches")
        self.views, self.heads = nn.ModuleDict(), nn.ModuleDict()
        spans: dict[str, slice] = {}
        start = 0
        for name, branch in branches.items():
            if not isinstance(branch, tuple | list) or len(branch) != 2:
                raise UsageError(
                    f"the branch {name} is a {type(branch).__name__}: give a view and a head, as (nn.Identity(), head)",
                    argument="branches",
                )
            view, head = branch
            if not name.isidentifier() or hasattr(self.views, name):
                raise UsageError(
                    f"a branch cannot be called {name!r}: give it a name of letters and digits", argument="branches"
                )
            self.views[name], self.heads[name] = view, cast("nn.Module", head)
            # The branch itself is the span "" of its head.
            for inner, span in head.spans.items():
                spans[f"{name}.{inner}" if inner else name] = slice(start + span.start, start + span.stop)
            start += head.channels
        if unknown := set(self.ranked) - {"", *spans}:
            raise UsageError(
                f"there is no branch {min(unknown)} to be ranked: the spans are '', {', '.join(spans)}",
                argument="ranked",
            )
        self.channels = start
        """D, the sum of those of the branches."""
        self.spans: Spans = {"": slice(0, start), **spans}

    def forward(self, map_bchw: Tensor) -> Features:
        """[B, C, h, w] to f_t and f_i, [B, D] each, in the order of the branches."""
        return self._concatenated([self.heads[name](view(map_bchw)) for name, view in self.views.items()])

    def _concatenated(self, branches: Sequence[Features]) -> Features:
        """Return the features of all branches as one vector on each side of the neck."""
        found = [branch.f_i for branch in branches]
        if self.unit and not self.training:
            found = [F.normalize(f_i.float(), dim=1) for f_i in found]
        return Features(torch.cat([branch.f_t for branch in branches], dim=1), torch.cat(found, dim=1))
