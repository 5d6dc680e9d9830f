"""SVDNet's embedding, whose rows are made orthogonal every few epochs (Sun et al., ICCV 2017, arXiv:1703.05693).

For W = U S V^T, with a column for each number of the feature, W is replaced by U S: distances of features stay as they
are, and the weight vectors become orthogonal. Then W is held for half of the epochs up to the next time (restraint) and
learned with the rest of the network in the other half (relaxation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.errors import UsageError
from reidkit.model.heads.single import Single, build_leaf

if TYPE_CHECKING:
    from reidkit import recipe

DIM = 1024

ALREADY = 1e-5
"""The largest |cosine| of two columns that counts as orthogonal: rounding leaves less, a step of training more."""


class OrthogonalEmbedding(nn.Linear):
    """A linear layer without a bias, x -> W^T x; `weight` is W^T [D, C], as torch keeps it.

    `start_epoch(n)` is called before each epoch n, counted from 1: it replaces W in epochs `every` + 1,
    2 `every` + 1, ..., and holds it in the first half of the `every` epochs from there on. 0 never does.

    Raises:
        UsageError: there are more numbers than channels, D > C.
    """

    def __init__(self, channels: int, dim: int, every: int = 10) -> None:
        if dim > channels:
            raise UsageError(
                f"{dim} weight vectors of {channels} numbers cannot be orthogonal: set network.embedding to at most "
                f"{channels}",
                argument="network.embedding",
            )
        super().__init__(channels, dim, bias=False)
        self.every, self.held = every, False
        if not self.weight.is_meta:
            nn.init.normal_(self.weight, std=0.01)

    def forward(self, feat_bc: Tensor) -> Tensor:
        """[B, C] to [B, D]."""
        return F.linear(feat_bc, self.weight.detach() if self.held else self.weight)

    def start_epoch(self, epoch: int, *, fresh: bool = True) -> None:
        """Replace and hold W where it is time; not `fresh`: the epoch is gone on with, and W was replaced before."""
        within = (epoch - 1) % self.every if self.every and epoch > self.every else self.every
        self.held = within < self.every // 2
        if within == 0 and self.every and fresh:
            self.replace()

    @torch.no_grad()
    def replace(self) -> None:
        """W <- U S, each column in the place of the old one that it is most like, with that one's sign.

        Equation 2 of the paper; the matching, greedy from the largest |cosine| on, keeps what the classifier has
        learned of each number. Where the columns are orthogonal already, as in a run that was stopped right behind
        this, nothing changes: not even by rounding. Nor does it where W is not finite, which the next loss will tell.
        """
        old_dc = self.weight.double()
        direction_dc = F.normalize(old_dc, dim=1)
        most = (direction_dc @ direction_dc.T).fill_diagonal_(0).abs().max()
        if most < ALREADY or not most.isfinite():
            return
        left_ck, scale_k, _ = torch.linalg.svd(old_dc.T, full_matrices=False)
        new_dc = torch.zeros_like(old_dc)
        new_dc[: len(scale_k)] = (left_ck * scale_k).T
        cosine_dd = F.normalize(old_dc, dim=1) @ F.normalize(new_dc, dim=1).T
        size_dd = cosine_dd.abs()
        for _ in range(len(old_dc)):
            place, column = divmod(int(size_dd.argmax()), len(old_dc))
            sign = -1.0 if cosine_dd[place, column] < 0 else 1.0
            self.weight[place] = (sign * new_dc[column]).to(self.weight.dtype)
            size_dd[place, :], size_dd[:, column] = -1, -1


def build_head(recipe: recipe.Network, channels: int) -> Single:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state."""
    dim = recipe.embedding or DIM
    embedding = OrthogonalEmbedding(channels, dim, recipe.orthogonal_every)
    return build_leaf(recipe, channels, dim, embedding=embedding)
