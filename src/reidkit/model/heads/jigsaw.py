"""TransReID's jigsaw (He et al., ICCV 2021, section 3.3): shuffled groups of patches, each with a feature of its own.

The transformer ends before its last block. One copy of that block, and of the norm behind it, sees all tokens: its
class token is the feature `whole`. Another copy sees the class token with a quarter of the patches, four times: the
features `one` to `four`. The patches of a quarter lie all over the image, as they were moved and shuffled before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from reidkit.errors import UsageError
from reidkit.model.contracts import Features
from reidkit.model.heads import token
from reidkit.model.heads.beside import side_by_side

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.contracts import Backbone, Head, Spans
    from reidkit.model.views import Tail

GROUPS = 2
"""Into how many groups the patches are dealt out when they are shuffled."""

PARTS = ("one", "two", "three", "four")


class Jigsaw(nn.Module):
    """The head: five features of the tokens before a transformer's last block.

    In evaluation those of the four quarters are divided by four, as in the program.

    Args:
        tail: The last block and the norm; a copy is made of them.
        heads: What makes f_t and f_i of each of the five class tokens, `whole` first.
        shift: By how many places the patches are moved before they are shuffled.
    """

    def __init__(self, tail: Tail, heads: dict[str, Head], shift: int) -> None:
        super().__init__()
        self.whole, self.part, self.shift = tail, tail.copy(), shift
        self.leaves = nn.ModuleDict({name: cast("nn.Module", head) for name, head in heads.items()})
        self.channels = sum(head.channels for head in heads.values())
        leaves = side_by_side([(name, head.channels) for name, head in heads.items()])
        self.spans: Spans = {"": slice(0, self.channels), **leaves}
        self.ranked = tuple(heads)

    def forward(self, map_bchw: Tensor) -> Features:
        """[B, C, 1, 1 + patches] to f_t and f_i, [B, D] each, of the whole and of the four quarters."""
        tokens = map_bchw[:, :, 0].transpose(1, 2)
        first, patches = tokens[:, :1], tokens[:, 1:]
        quarter = patches.shape[1] // len(PARTS)
        shuffled = shuffle(patches, self.shift)
        seen = [self.whole(tokens)]
        for number in range(len(PARTS)):  # up to three patches at the end are in none
            part = shuffled[:, number * quarter : (number + 1) * quarter]
            seen.append(self.part(torch.cat([first, part], dim=1)))
        found = [leaf(each.transpose(1, 2).unsqueeze(2)) for leaf, each in zip(self.leaves.values(), seen, strict=True)]
        share = 1.0 if self.training else 1 / len(PARTS)
        scales = [1.0, *(share for _ in PARTS)]
        f_t, f_i = (
            torch.cat([scale * side for scale, side in zip(scales, sides, strict=True)], dim=1)
            for sides in zip(*map(_sides, found), strict=True)
        )
        return Features(f_t, f_i)


def _sides(features: Features) -> tuple[Tensor, Tensor]:
    return features.f_t, features.f_i


def shuffle(patches_bnc: Tensor, shift: int) -> Tensor:
    """Move the first `shift` patches [B, N, C] behind the others, and deal all out as from `GROUPS` piles in turn.

    Where the groups do not divide N, the last but one is repeated at the end, as in the program. TransReID's program
    moves one patch fewer than its setting says: 4 for 5.
    """
    moved = torch.cat([patches_bnc[:, shift:], patches_bnc[:, :shift]], dim=1)
    if moved.shape[1] % GROUPS:
        moved = torch.cat([moved, moved[:, -2:-1]], dim=1)
    shuffled: Tensor = moved.unflatten(1, (GROUPS, -1)).transpose(1, 2).flatten(1, 2)
    return shuffled


def build_tailed_head(recipe: recipe.Network, backbone: Backbone) -> Jigsaw:
    """Make the head of a recipe, initialised from torch's random state; `backbone` ends before its last block then.

    Raises:
        UsageError: the backbone is no vision transformer.
    """
    take = getattr(backbone, "take_tail", None)
    if take is None:
        raise UsageError(
            f"a {type(backbone).__name__} has no tokens for this head: set network.backbone to a vision transformer",
            argument="network.backbone",
        )
    heads: dict[str, Head] = {name: token.build_head(recipe, backbone.channels) for name in ("whole", *PARTS)}
    return Jigsaw(take(), heads, recipe.jigsaw_shift)
