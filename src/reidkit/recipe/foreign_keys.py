"""What other programs call the fields of a recipe, so that a wrong key leads to the right one."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELDS = {
    "lr": "optim.lr",
    "learning_rate": "optim.lr",
    "base_lr": "optim.lr",
    "wd": "optim.weight_decay",
    "epoch": "optim.epochs",
    "num_epochs": "optim.epochs",
    "max_epoch": "optim.epochs",
    "max_epochs": "optim.epochs",
    "steps": "optim.drops",
    "stepsize": "optim.drops",
    "milestones": "optim.drops",
    "warmup_epoch": "optim.warmup_epochs",
    "ema": "optim.average",
    "num_instances": "batch.images",
    "num_instance": "batch.images",
    "instances": "batch.images",
    "arch": "network.backbone",
    "model_name": "network.backbone",
    "label_smooth": "identity.smoothing",
    "label_smoothing": "identity.smoothing",
    "random_erasing": "erasing.probability",
    "re_prob": "erasing.probability",
    "img_height": "images.height",
    "img_width": "images.width",
    "center_lr": "center.lr",
    "center_weight": "center.weight",
    "triplet_weight": "triplet.weight",
    "if_labelsmooth": "identity.smoothing",
    "epsilon": "identity.smoothing",
    "weight_decay_bias": "optim.weight_decay",
    "delay_epochs": "optim.drops",
    "warmup_iters": "optim.warmup_epochs",
    "num_ids": "batch.ids",
    "num_pids": "batch.ids",
    "ims_per_batch": "batch.ids",
    "center_loss_weight": "center.weight",
    "padding": "images.pad",
    "do_flip": "images.flip",
    "depth": "network.backbone",
    "feat_dim": "network.embedding",
    "embedding_dim": "network.embedding",
    "model": "network.backbone",
}
"""The field of a recipe by its name in other programs."""

SIZES = {"size", "img_size", "input_size", "image_size", "size_train", "size_test"}
"""One setting in other programs, two here: images.height and images.width."""

NEAR = 0.75
"""How similar a key must be to one that exists: `optim.epoch` is `optim.epochs`, `optim.momentum` is nothing."""


def nearest(key: str, known: Sequence[str]) -> str:
    """Say which of the `known` keys may be meant by one that does not exist, as the end of a sentence."""
    leaf = key.rpartition(".")[2].strip().lower().replace("-", "_")
    same = [full for full in known if leaf and full.rpartition(".")[2] == leaf]
    same = sorted(same, key=FIELDS.get(leaf, "").__ne__) or ([FIELDS[leaf]] if leaf in FIELDS else [])
    if leaf in SIZES:
        return "; did you mean images.height and images.width?"
    near = same or difflib.get_close_matches(key.lower(), known, n=1, cutoff=NEAR)
    if near:
        return f"; did you mean {' or '.join(near[:3])}?"
    section = key.partition(".")[0]
    inside = [full.removeprefix(f"{section}.") for full in known if full.startswith(f"{section}.")]
    if inside:
        return f"; {section} has {', '.join(inside)}"
    return "; `reidkit recipes standard-baseline` shows every key"
