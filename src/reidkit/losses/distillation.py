"""What a student learns from a teacher: how it compares the images of a batch, or what it takes their ids for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F

from reidkit.arguments import check_choice

if TYPE_CHECKING:
    from torch import Tensor

Divergence = Literal["kl", "js"]
"""Which way two distributions are compared: KL(teacher || student), or the mean of it and of its reverse."""


def similarity_distillation(student_bd: Tensor, teacher_be: Tensor, temperature: float = 0.1) -> Tensor:
    """Return how far the student's view of a batch is from the teacher's: the mean over its images of KL(p || q).

    p and q are what each image's cosines to the other images of the batch, divided by `temperature`, give in a
    softmax: the teacher's and the student's. Only these are compared, so that both features may have any length (as in
    "Similarity-Preserving Knowledge Distillation", Tung & Mori, ICCV 2019, with softmax and KL in the place of
    squares).

    Args:
        student_bd: Features [B, D] of the student.
        teacher_be: Features [B, E] of the teacher, which get no gradient.
        temperature: The smaller, the more the nearest images count.
    """
    student_bb, teacher_bb = (_others(feat, temperature) for feat in (student_bd, teacher_be.detach()))
    return F.kl_div(student_bb, teacher_bb, reduction="batchmean", log_target=True)


def logit_distillation(
    student_bc: Tensor, teacher_bc: Tensor, temperature: float = 4.0, divergence: Divergence = "kl"
) -> Tensor:
    """Return T^2 times the divergence of the distributions over ids, the mean over the batch (Hinton et al. 2015).

    Args:
        student_bc: Logits [B, C] of the student.
        teacher_bc: Logits [B, C] of the teacher, of the same ids in the same order; they get no gradient.
        temperature: T, by which both are divided.
        divergence: `kl` is KL(teacher || student), `js` the mean of that and KL(student || teacher), as in fast-reid.

    Raises:
        UsageError: an unknown word.
    """
    check_choice(divergence, Divergence, "divergence")
    student, teacher = (F.log_softmax(each / temperature, dim=1) for each in (student_bc, teacher_bc.detach()))
    forward = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    if divergence == "kl":
        return forward * temperature**2
    backward = F.kl_div(teacher, student, reduction="batchmean", log_target=True)
    return (forward + backward) / 2 * temperature**2


def _others(feat_bd: Tensor, temperature: float) -> Tensor:
    """Return the log probabilities of each image over the other ones, [B, B - 1]."""
    direction_bd = F.normalize(feat_bd.float(), dim=1)
    cos_bb = direction_bd @ direction_bd.T / temperature
    # The diagonal is every (B + 1)th number from the first: behind it, rows of B + 1 numbers end with one of it.
    count = len(cos_bb)
    others = cos_bb.flatten()[1:].view(count - 1, count + 1)[:, :-1]
    return F.log_softmax(others.reshape(count, count - 1), dim=1)
