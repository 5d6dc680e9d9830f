"""What the type of a field cannot say of its value."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from reidkit.recipe.sections import Recipe


def check(recipe: Recipe, where: str) -> None:
    """One table: a rule, and the sentence that a user reads when it is broken.

    Raises:
        UsageError: a value breaks a rule; the sentence starts with `where`.
    """
    r = recipe
    sections = [section for section in dataclasses.asdict(recipe).values() if isinstance(section, dict)]
    leaves = [leaf for section in sections for leaf in section.values()]
    numbers = [
        n for leaf in leaves for n in (leaf if isinstance(leaf, tuple) else [leaf]) if isinstance(n, int | float)
    ]
    rules = (
        (all(map(math.isfinite, numbers)), "numbers must be finite"),
        (all(abs(n) < 2**31 for n in numbers), "numbers must be below 2,147,483,648"),
        (r.name.isprintable() and len(r.name) <= 200, "name must be one line of at most 200 characters"),
        (0 < r.network.width <= 4, "network.width must be above 0 and at most 4"),
        (0 <= r.network.embedding <= 65536, "network.embedding must be between 0 (none) and 65536"),
        (min(r.images.height, r.images.width) >= 32, "images.height and images.width must be at least 32 pixels"),
        (max(r.images.height, r.images.width) <= 4096, "images.height and images.width must be at most 4096 pixels"),
        (0 <= r.images.pad <= 4096, "images.pad must be between 0 and 4096"),
        (0 <= r.images.flip <= 1, "images.flip is a probability, between 0 and 1"),
        (0 <= r.erasing.probability <= 1, "erasing.probability is between 0 and 1"),
        (0 < r.erasing.area[0] <= r.erasing.area[1] < 1, "erasing.area must rise between 0 and 1"),
        (0 < r.erasing.aspect[0] <= r.erasing.aspect[1], "erasing.aspect must rise from above 0"),
        (r.batch.ids >= 2, "batch.ids must be at least 2: a triplet needs somebody else"),
        (r.batch.images >= 2, "batch.images must be at least 2: a triplet needs a second image of a person"),
        (r.batch.ids * r.batch.images <= 65536, "batch.ids times batch.images must be at most 65,536"),
        (r.batch.parts >= 1, "batch.parts must be at least 1"),
        (
            r.batch.ids % max(r.batch.parts, 1) == 0,
            "batch.parts must divide batch.ids: a person's images stay together",
        ),
        (0 <= r.identity.smoothing < 1, "identity.smoothing must be at least 0 and below 1"),
        (min(r.identity.weight, r.triplet.weight, r.center.weight) >= 0, "a loss weight must not be negative"),
        (r.identity.weight + r.triplet.weight > 0, "identity.weight and triplet.weight cannot both be 0"),
        (r.identity.std > 0, "identity.std must be above 0"),
        (
            r.identity.sampled == 0 or r.identity.sampled >= r.batch.ids,
            "identity.sampled must be 0 (all people) or at least batch.ids: those of the batch always enter",
        ),
        (r.triplet.margin >= 0, "triplet.margin must not be negative"),
        (r.center.lr >= 0, "center.lr must not be negative"),
        (r.optim.lr > 0, "optim.lr must be above 0"),
        (r.optim.weight_decay >= 0, "optim.weight_decay must not be negative"),
        (r.optim.gamma > 0, "optim.gamma must be above 0"),
        (r.optim.epochs >= 1, "optim.epochs must be at least 1"),
        (r.optim.warmup_epochs >= 0, "optim.warmup_epochs must not be negative"),
        (r.optim.warmup_steps >= 0, "optim.warmup_steps must not be negative"),
        (
            not (r.optim.warmup_steps and r.optim.warmup_epochs),
            "optim.warmup_steps and optim.warmup_epochs exclude each other: set one of them to 0",
        ),
        (0 <= r.optim.average < 1, "optim.average must be at least 0 and below 1"),
        (r.optim.best_every >= 0, "optim.best_every must not be negative"),
        (list(r.optim.drops) == sorted(set(r.optim.drops)), "optim.drops must rise"),
    )
    for holds, sentence in rules:
        if not holds:
            raise UsageError(f"{where}: {sentence}")
