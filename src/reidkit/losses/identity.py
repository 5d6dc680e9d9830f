"""The ID loss (paper, section 3.3). It holds the classifier: the network knows nothing of the ids of training."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.arguments import check_choice, check_number, check_whole
from reidkit.errors import UsageError
from reidkit.losses.loss_inputs import check_factor, check_labels, checked_classes

SmoothingOver = Literal["all", "others"]
ClassifierInit = Literal["normal", "kaiming"]
Logits = Literal["linear", "cosface", "arcface", "circle"]

STYLED = 0.1
"""The least smoothing of images that have another camera's style (CamStyle, Zhong et al., CVPR 2018, equation 6)."""


class IdentityLoss(nn.Module):
    """Cross entropy with label smoothing over the N ids of the training set.

    With eps = `smoothing` and y the true id, the wanted distribution q is, smoothed over
    - `all` ids (equation 3): q_y = 1 - (N-1)/N eps, and eps/N for every other id;
    - the `others`: q_y = 1 - eps, and eps/(N-1) for every other id.

    `logits` other than `linear` are those of cosines with a margin (see `margin_logits`), and need no bias.

    Images that `styled_b` [B] marks, as they have been given another camera's style, have at least `STYLED` over all.

    Raises:
        UsageError: an unknown word, or `smoothing` that is not from 0 to 1.
    """

    styled_b: Tensor | None = None

    def __init__(  # noqa: PLR0913
        self,
        dim: int,
        num_ids: int,
        *,
        smoothing: float = 0.0,
        smoothing_over: SmoothingOver = "all",
        bias: bool = False,
        init: ClassifierInit = "normal",
        std: float = 0.001,
        logits: Logits = "linear",
        scale: float = 64.0,
        margin: float = 0.35,
    ) -> None:
        super().__init__()
        self.smoothing = smoothing_over_all(smoothing, smoothing_over, num_ids)
        self.logits, self.scale, self.margin = check_choice(logits, Logits, "logits"), scale, margin
        bias = bias and logits == "linear"
        self.classifier = new_classifier(dim, num_ids, bias=bias, init=init, std=std)

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """Return the mean loss of features [B, D], f_i in the paper, with labels [B], 0 <= label < num_ids.

        With `linear` logits labels may be [B, N], too: how much of each id a mixed image shows.

        Raises:
            UsageError: features or labels are none of these.
        """
        label_b = self._checked(feat_bd, label_b)
        if self.logits == "linear":
            return self._cross_entropy(self.classifier(feat_bd), label_b)
        cos_bc = F.linear(F.normalize(feat_bd, dim=1), F.normalize(self.classifier.weight, dim=1))
        logits_bc = margin_logits(cos_bc, label_b, self.logits, scale=self.scale, margin=self.margin)
        return self._cross_entropy(logits_bc, label_b)

    def _checked(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        mixed = self.logits == "linear" and isinstance(label_b, Tensor) and label_b.is_floating_point()
        if mixed and label_b.shape == (len(feat_bd), self.classifier.out_features):
            return label_b
        return checked_classes(feat_bd, label_b, self.classifier.in_features, self.classifier.out_features)

    def _cross_entropy(self, logits_bc: Tensor, label_b: Tensor) -> Tensor:
        if self.styled_b is None or self.smoothing >= STYLED:
            return F.cross_entropy(logits_bc, label_b, label_smoothing=self.smoothing)
        plain_b, more_b = (
            F.cross_entropy(logits_bc, label_b, label_smoothing=eps, reduction="none")
            for eps in (self.smoothing, STYLED)
        )
        return torch.where(self.styled_b, more_b, plain_b).mean()


class FocalLoss(IdentityLoss):
    """Cross entropy whose images count by (1 - p)^gamma, p the probability of the true id (arXiv:1708.02002, eq. 4)."""

    def __init__(self, dim: int, num_ids: int, *, gamma: float = 2.0, bias: bool = True) -> None:
        super().__init__(dim, num_ids, bias=bias)
        self.gamma = gamma

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """Return the mean loss of features [B, D] with labels [B], 0 <= label < num_ids."""
        label_b = checked_classes(feat_bd, label_b, self.classifier.in_features, self.classifier.out_features)
        log_b = F.log_softmax(self.classifier(feat_bd), dim=1).gather(1, label_b[:, None])[:, 0]
        return -((1 - log_b.exp()) ** self.gamma * log_b).mean()


def margin_logits(cos_bc: Tensor, label_b: Tensor, kind: Logits, *, scale: float, margin: float) -> Tensor:
    """Return logits [B, N] of cosines [B, N] that make the true id harder to reach.

    With c the cosine and m the margin, all times `scale`:

    - `cosface` (arXiv:1801.09414, equation 4): c - m for the true id, c for others;
    - `arcface` (arXiv:1801.07698, equation 3): cos(theta + m) for the true id, m in radians; beyond theta = pi - m,
      where that would rise again, c - m sin m;
    - `circle` (arXiv:2002.10857, equation 7): [1 + m - c]+ (c - 1 + m) for the true id, [c + m]+ (c - m) for others,
      where the first factors have no gradient.

    Args:
        cos_bc: Cosines of B features and the N rows of the classifier [B, N].
        label_b: The id of each feature [B], int64 from 0 to N - 1.
        kind: `cosface`, `arcface` or `circle`.
        scale: What all logits are multiplied by.
        margin: m; of `arcface` in radians, else in units of the cosine.

    Raises:
        UsageError: there is no such kind, or labels are not [B].
    """
    check_choice(kind, Literal["cosface", "arcface", "circle"], "kind")
    check_labels(cos_bc, label_b)
    check_factor(scale, "scale")
    check_factor(margin, "margin")
    true_bc = F.one_hot(label_b, cos_bc.shape[1]).bool()
    others_bc = cos_bc
    if kind == "cosface":
        own_bc = cos_bc - margin
    elif kind == "arcface":
        # cos(theta + m) without the arc cosine, whose slope is infinite at |c| = 1.
        sin_bc = (1 - cos_bc.square()).clamp_min(1e-12).sqrt()
        turned_bc = cos_bc * math.cos(margin) - sin_bc * math.sin(margin)
        own_bc = torch.where(cos_bc > -math.cos(margin), turned_bc, cos_bc - margin * math.sin(margin))
    else:
        own_bc = (1 + margin - cos_bc).clamp_min(0).detach() * (cos_bc - 1 + margin)
        others_bc = (cos_bc + margin).clamp_min(0).detach() * (cos_bc - margin)
    return scale * torch.where(true_bc, own_bc, others_bc)


def smoothing_over_all(smoothing: float, over: SmoothingOver, num_ids: int) -> float:
    """Convert eps to torch's `label_smoothing`, which spreads it over all N ids.

    Eps over the others is eps N/(N-1) over all: both give each other id eps/(N-1).
    """
    if not 0 <= check_number(smoothing, "smoothing") <= 1:
        raise UsageError(f"a smoothing of {smoothing}: it must be from 0 to 1, as 0.1", argument="smoothing")
    check_choice(over, SmoothingOver, "smoothing_over")
    return smoothing * (num_ids / max(num_ids - 1, 1) if over == "others" else 1.0)


def new_classifier(dim: int, num_ids: int, *, bias: bool, init: ClassifierInit, std: float) -> nn.Linear:
    """Make the classifier before the first step.

    Without a bias its weights are drawn as `init` says: normal with deviation `std`, or by Kaiming. With one, as the
    plain baseline has it, torch's own initialisation stays.
    """
    check_choice(init, ClassifierInit, "init")
    check_number(std, "std")
    classifier = nn.Linear(check_whole(dim, "dim", least=1), check_whole(num_ids, "num_ids", least=1), bias=bias)
    if not bias and init == "normal":
        nn.init.normal_(classifier.weight, std=std)
    elif not bias:
        nn.init.kaiming_normal_(classifier.weight, mode="fan_out")
    return classifier
