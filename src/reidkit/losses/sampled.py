"""The ID loss among a part of the people, for training sets of 100,000 of them (Partial FC, arXiv:2203.15565)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.losses.draw import draw_people
from reidkit.losses.identity import first_classifier, smoothing
from reidkit.losses.rows import Rows

if TYPE_CHECKING:
    from reidkit.recipe import Identity


class SampledIdentityLoss(nn.Module):
    """Cross entropy with label smoothing over S people: all those of the batch, and others that each step draws.

    The loss is that of `IdentityLoss` with S for N. So each of the others present has a larger share of the softmax
    than among all N, which nothing makes up for, as in Partial FC; and eps of label smoothing is shared among the S.
    As somebody outside of the batch enters with odds of about S/N, their eps/S is in the mean the eps/N of equation 3.
    With S = N it is `IdentityLoss` under Adam.

    Who is drawn is a function of a seed, taken from torch's when the loss is made, and of the steps taken so far. Both
    belong to the state: a resumed run draws as an unbroken one, and several processes with one seed draw the same.

    The rows of the classifier step themselves (see `Rows`). Those of people who are not drawn rest, and are not
    decayed: a row meets the weight decay as often as it meets the loss.
    """

    seed: Tensor
    steps: Tensor

    def __init__(self, channels: int, people: int, recipe: Identity, weight_decay: float, *, bias: bool) -> None:
        super().__init__()
        self.people, self.count = people, min(recipe.sampled, people)
        self.smoothing = smoothing(recipe, self.count)
        first = first_classifier(channels, people, recipe, bias=bias)
        weight = first.weight.detach()
        # A bias is a column more: Adam treats it as every other weight.
        self.rows = Rows(
            weight if first.bias is None else torch.cat((weight, first.bias.detach()[:, None]), 1), weight_decay
        )
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """f_i [B, D] and the number of each person [B], 0 <= label < people, at most `count` different ones."""
        index_s = draw_people(self.seed, self.steps, self.people, self.count, label_b)
        rows_sd = self.rows.take(index_s)
        channels = feat_bd.shape[1]
        bias_s = rows_sd[:, channels] if rows_sd.shape[1] > channels else None
        logits_bs = F.linear(feat_bd, rows_sd[:, :channels], bias_s)
        return F.cross_entropy(logits_bs, torch.searchsorted(index_s, label_b), label_smoothing=self.smoothing)

    def step(self, lr: float) -> None:
        """Move the rows of the last `forward` at the rate `lr`, and go on to the next draw."""
        self.rows.step(lr)
        self.steps += 1
