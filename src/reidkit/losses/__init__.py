"""What training minimises: losses that take plain arguments, and the objective that they are the terms of."""

from reidkit.losses.center import CenterLoss
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.objective import Objective, Term, build_objective
from reidkit.losses.partial_fc import PartialFC
from reidkit.losses.triplet import batch_hard_triplet

__all__ = [
    "CenterLoss",
    "IdentityLoss",
    "Objective",
    "PartialFC",
    "Term",
    "batch_hard_triplet",
    "build_objective",
]
