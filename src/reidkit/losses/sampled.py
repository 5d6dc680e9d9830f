"""The ID loss among a part of the people, for training sets of 100,000 of them (Partial FC, arXiv:2203.15565)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.distributed import ALONE
from reidkit.losses.draw import draw_people
from reidkit.losses.identity import first_classifier, smoothing
from reidkit.losses.rows import Rows
from reidkit.losses.sharded import cross_entropy, for_all

if TYPE_CHECKING:
    from reidkit.distributed import Group
    from reidkit.recipe import Identity, Optim


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

    In a `group` of processes, each of which has the features of the whole batch, the rows are shared out, and the
    softmax is taken over all of them ("partial"). Loss, gradients and draw are those of one process.
    """

    seed: Tensor
    steps: Tensor

    def __init__(
        self, channels: int, people: int, recipe: Identity, optim: Optim, *, bias: bool, group: Group = ALONE
    ) -> None:
        super().__init__()
        self.people, self.count = people, min(recipe.sampled, people)
        self.smoothing = smoothing(recipe, self.count)
        first = first_classifier(channels, people, recipe, bias=bias)
        weight = first.weight.detach()
        if first.bias is not None:  # a column more: Adam treats it as every other weight
            weight = torch.cat((weight, first.bias.detach()[:, None]), dim=1)
        self.rows = Rows(weight, optim.weight_decay, group)
        self.group = group
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """f_i [B, D] and the number of each person [B], 0 <= label < people, at most `count` different ones."""
        index_s = draw_people(self.seed, self.steps, self.people, self.count, label_b)
        place_b = torch.searchsorted(index_s, label_b)
        rows_sd, start = self.rows.take(index_s)
        channels = feat_bd.shape[1]
        bias_s = rows_sd[:, channels] if rows_sd.shape[1] > channels else None
        logits_bs = F.linear(for_all(feat_bd, self.group), rows_sd[:, :channels], bias_s)
        if self.group.size == 1:
            return F.cross_entropy(logits_bs, place_b, label_smoothing=self.smoothing)
        return cross_entropy(logits_bs, place_b - start, self.count, self.smoothing, self.group)

    def step(self, lr: float) -> None:
        """Move the rows of the last `forward` at the rate `lr`, and go on to the next draw."""
        self.rows.step(lr)
        self.steps += 1
