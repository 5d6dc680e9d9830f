"""A head with something beside its features, which losses alone see: no search compares it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.model.contracts import Features, Head, Spans


class Beside(nn.Module):
    """The features of `head`, and beside them `Features.aside`, what `beside` makes of the same map.

    Args:
        head: Map to features.
        beside: Map [B, C, h, w] to [B, A], A the sum of the widths.
        parts: The name and the width of each part of `aside`, in their order.
    """

    def __init__(self, head: Head, beside: nn.Module, parts: Sequence[tuple[str, int]]) -> None:
        super().__init__()
        self.features, self.beside = cast("nn.Module", head), beside
        self.channels, self.spans = head.channels, head.spans
        self.ranked: tuple[str, ...] = tuple(getattr(head, "ranked", ("",)))
        self.aside: Spans = side_by_side(parts)

    def forward(self, map_bchw: Tensor) -> Features:
        """[B, C, h, w] to f_t and f_i, [B, D] each, and aside [B, A]; None in evaluation, where no loss sees it."""
        found: Features = self.features(map_bchw)
        return found._replace(aside=self.beside(map_bchw)) if self.training else found


def side_by_side(parts: Sequence[tuple[str, int]]) -> Spans:
    """Return the place of each part, one after the other."""
    spans, start = {}, 0
    for name, width in parts:
        spans[name], start = slice(start, start + width), start + width
    return spans
