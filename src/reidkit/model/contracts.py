"""What the parts of a network promise each other: a backbone gives a map, a head makes features of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

Spans = Mapping[str, slice]
"""Where in a feature each branch of a head stands: "" is the whole, `upper` a branch, `upper.left` a part of it."""


class Features(NamedTuple):
    """What a network returns, always: two features of each image, [B, D] each, and what losses see beside them.

    `f_t` stands before the neck, for the triplet and the centre loss; `f_i` after it, for the ID loss and for
    retrieval. Without a neck both are the one feature f. `aside` [B, A] is what a head has for losses alone, as local
    features that no search compares; None for most.
    """

    f_t: Tensor
    f_i: Tensor
    aside: Tensor | None = None


class _Module(Protocol):
    """What is used of `nn.Module`, which every part is one of."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Give what is learned."""


class Backbone(_Module, Protocol):
    """A module that maps normalised images [B, 3, H, W] to one feature map [B, C, h, w]."""

    @property
    def channels(self) -> int:
        """C, the channels of the map."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return the map of the images."""


class Head(_Module, Protocol):
    """A module that makes the features [B, D] of a map [B, C, h, w]."""

    @property
    def channels(self) -> int:
        """D, the length of both features."""

    @property
    def spans(self) -> Spans:
        """The branches that the features are made up of."""

    def __call__(self, map_bchw: Tensor, /) -> Features:
        """Return both features of each image."""
