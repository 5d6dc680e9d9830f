"""The ID loss (paper, section 3.3). It holds the classifier: the network knows nothing of the ids of training."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.recipe.checks import check_choice

SmoothingOver = Literal["all", "others"]
ClassifierInit = Literal["normal", "kaiming"]


class IdentityLoss(nn.Module):
    """Cross entropy with label smoothing over the N ids of the training set.

    With eps = `smoothing` and y the true id, the wanted distribution q is, smoothed over
    - `all` ids (equation 3): q_y = 1 - (N-1)/N eps, and eps/N for every other id;
    - the `others`: q_y = 1 - eps, and eps/(N-1) for every other id.
    """

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
    ) -> None:
        super().__init__()
        self.smoothing = smoothing_over_all(smoothing, smoothing_over, num_ids)
        self.classifier = new_classifier(dim, num_ids, bias=bias, init=init, std=std)

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """Return the mean loss of features [B, D], f_i in the paper, with labels [B], 0 <= label < num_ids."""
        return F.cross_entropy(self.classifier(feat_bd), label_b, label_smoothing=self.smoothing)


def smoothing_over_all(smoothing: float, over: SmoothingOver, num_ids: int) -> float:
    """Convert eps to torch's `label_smoothing`, which spreads it over all N ids.

    Eps over the others is eps N/(N-1) over all: both give each other id eps/(N-1).
    """
    check_choice(over, SmoothingOver, "smoothing_over")
    return smoothing * (num_ids / max(num_ids - 1, 1) if over == "others" else 1.0)


def new_classifier(dim: int, num_ids: int, *, bias: bool, init: ClassifierInit, std: float) -> nn.Linear:
    """Make the classifier before the first step.

    Without a bias its weights are drawn as `init` says: normal with deviation `std`, or by Kaiming. With one, as the
    plain baseline has it, torch's own initialisation stays.
    """
    check_choice(init, ClassifierInit, "init")
    classifier = nn.Linear(dim, num_ids, bias=bias)
    if not bias and init == "normal":
        nn.init.normal_(classifier.weight, std=std)
    elif not bias:
        nn.init.kaiming_normal_(classifier.weight, mode="fan_out")
    return classifier
