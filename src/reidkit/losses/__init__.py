"""What training minimises: losses that take plain arguments, and the objective that they are the terms of."""

from reidkit.losses.aside import aligned_triplet, shortest_path, stripe_error
from reidkit.losses.center import CenterLoss
from reidkit.losses.curriculum import CurriculumTriplet, quantile_triplet
from reidkit.losses.dynamic_choice import DynamicChoice
from reidkit.losses.identity import FocalLoss, IdentityLoss, margin_logits
from reidkit.losses.objective import Objective, Sides, Term, build_objective
from reidkit.losses.pair_losses import (
    centroid_triplet,
    centroid_triplet_as_published,
    circle_loss,
    supervised_contrastive,
)
from reidkit.losses.partial_fc import PartialFC
from reidkit.losses.triplet import (
    batch_hard_triplet,
    triplet_loss,
    weighted_triplet,
    weighted_triplet_as_published,
)

__all__ = [
    "CenterLoss",
    "CurriculumTriplet",
    "DynamicChoice",
    "FocalLoss",
    "IdentityLoss",
    "Objective",
    "PartialFC",
    "Sides",
    "Term",
    "aligned_triplet",
    "batch_hard_triplet",
    "build_objective",
    "centroid_triplet",
    "centroid_triplet_as_published",
    "circle_loss",
    "margin_logits",
    "quantile_triplet",
    "shortest_path",
    "stripe_error",
    "supervised_contrastive",
    "triplet_loss",
    "weighted_triplet",
    "weighted_triplet_as_published",
]
