"""Checks of what a loss is given: the features and labels of a batch, and its own margin and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reidkit.arguments import check_number
from reidkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def check_labels(feat_bd: Tensor, label_b: Tensor) -> None:
    """Refuse labels that are not one for each feature: [B, 1] would be compared as something else, in silence.

    Raises:
        UsageError: features are not [B, D], or labels not [B], or they are no tensors.
    """
    for value, what in ((feat_bd, "features"), (label_b, "labels")):
        if not isinstance(value, torch.Tensor):
            raise UsageError(f"{what} are a {type(value).__name__}: pass a tensor, as torch.as_tensor makes it")
    if feat_bd.ndim != 2 or label_b.shape != feat_bd.shape[:1]:
        raise UsageError(
            f"features are {list(feat_bd.shape)} and labels {list(label_b.shape)}: pass features [B, D] and labels [B]"
        )


def checked_classes(feat_bd: Tensor, label_b: Tensor, dim: int, num_ids: int) -> Tensor:
    """Return the labels int64 [B], once they and the features [B, D] are what a loss over `num_ids` ids takes.

    Whether labels are from 0 to `num_ids` - 1 is asked on the host alone: to ask a GPU would be to wait for it.

    Raises:
        UsageError: as `check_labels`; D is not `dim`, or a label is none of these numbers.
    """
    check_labels(feat_bd, label_b)
    if feat_bd.shape[1] != dim:
        raise UsageError(
            f"features have {feat_bd.shape[1]} dimensions and the loss was made for {dim}: make it with "
            f"dim={feat_bd.shape[1]}",
            argument="dim",
        )
    if label_b.dtype.is_floating_point or label_b.dtype == torch.bool:
        raise UsageError(f"labels are {str(label_b.dtype).removeprefix('torch.')}: pass the numbers of ids, int64")
    if label_b.device.type == "cpu" and len(label_b):
        low, high = (int(end) for end in label_b.aminmax())
        if low < 0 or high >= num_ids:
            raise UsageError(
                f"labels go from {low} to {high} and the loss was made for {num_ids} ids: number the ids from 0 on, "
                "as np.unique(pids, return_inverse=True)[1] does",
                argument="num_ids",
            )
    return label_b.long()


def check_factor(value: float | Tensor, argument: str) -> None:
    """Refuse what a loss cannot calculate with; a tensor, as one that is learned, is not looked at.

    Raises:
        UsageError: it is no number.
    """
    if not isinstance(value, torch.Tensor):
        check_number(value, argument)
