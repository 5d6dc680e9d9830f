"""The centre loss (paper, equation 5). It updates its own centres, so the loop has no second optimizer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from reidkit.arguments import check_choice, check_number, check_whole
from reidkit.losses.loss_inputs import checked_classes

CenterForm = Literal["mean", "paper"]


class CenterLoss(nn.Module):
    """The squared distance of each feature to the centre of its id; the centres follow the features.

    `form` says which of two definitions is used, for a batch of B images, n of them of the id with centre c:

    - `mean`, as in the authors' program: the mean of |f - c|^2 over the batch, and c <- c - lr 2/B sum(c - f), which is
      gradient descent on that mean without the weight of the term;
    - `paper`: half the sum over the batch (equation 5), and the update of the paper that introduced the centre loss
      (Wen et al., ECCV 2016, equation 4), c <- c - lr sum(c - f) / (1 + n). Gradient descent on a sum would overshoot:
      with n = 4 and lr = 0.5 it mirrors the centre at the features and never converges.
    """

    centers: Tensor

    def __init__(self, dim: int, num_ids: int, *, lr: float = 0.5, form: CenterForm = "mean") -> None:
        super().__init__()
        self.lr, self.form = check_number(lr, "lr"), check_choice(form, CenterForm, "form")
        num_ids, dim = check_whole(num_ids, "num_ids", least=1), check_whole(dim, "dim", least=1)
        self.register_buffer("centers", torch.randn(num_ids, dim))
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """Return the loss of features [B, D], f_t in the paper, with labels [B], 0 <= label < num_ids."""
        label_b = checked_classes(feat_bd, label_b, self.centers.shape[1], len(self.centers))
        self._last = (feat_bd.detach(), label_b)
        square_b = (feat_bd - self.centers[label_b]).square().sum(dim=1)
        return square_b.mean() if self.form == "mean" else 0.5 * square_b.sum()

    @torch.no_grad()
    def step(self, lr: float | None = None) -> None:  # noqa: ARG002 (the rate of the optimizer, for losses that use it)
        """Move the centres towards the features of the last `forward`, at the centres' own rate; once for each."""
        if self._last is None:
            return
        (feat_bd, label_b), self._last = self._last, None
        pull_bd = self.centers[label_b] - feat_bd
        if self.form == "mean":
            pull_bd *= 2 / len(feat_bd)
        else:  # n of each image's id
            pull_bd /= 1 + (label_b[:, None] == label_b).sum(dim=1, keepdim=True)
        self.centers.index_add_(0, label_b, pull_bd, alpha=-self.lr)
