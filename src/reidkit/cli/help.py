"""Help: the groups of options and the topics of commands, and how both are set out."""

from __future__ import annotations

import inspect
import re
from typing import Any

GROUPS = {
    "Data": "data val_data format_ read_as part ids stream cache no_cache clear_cache skip_unreadable masks "
    "missing_masks check",
    "Training": "weights teacher settings interpretation seed seeds rows small short resume save_every evaluate_every",
    "Inference": "network input_spec preset input_ colour resize normalise flip feature batch",
    "Scores": "metric ap cameras rerank rerank_by k1 k2 lam rescore rescore_top ci by_camera single_shot multi_query",
    "People": "detector detector_format person min_score boxes boxes_format every tracker min_height crops for_ again",
    "Threshold": "threshold far method prior allow_training_ids",
    "Picture": "queries answers perplexity measured",
    "Precision": "int8 fp16 calibration opset",
    "Rows": "camera not_camera pid track attribute since until older_than time",
    "Search": "key right wrong best top offset radius from_camera other_cameras group_by group_size expand "
    "pictures purpose",
    "Gallery": "model split fingerprint dim replace thumbnails any_model expect dry_run compact against min_recall",
    "Machine": "device precision compiled processes workers ray quick",
    "Service": "host port allow_host proxy secure images videos wait timeout",
    "Access": "token_file role require_purpose audit audit_keep retain",
    "Output": "out picture licence save_classifier sheet per_query report images_per_shard shards tensorboard "
    "as_json help",
}
"""The groups in their order, with the names of the parameters in each."""

TOPICS = {
    "Data": "data split shard synth",
    "Training": "recipes train distil adapt reduce import",
    "Scores": "evaluate score calibrate compare compare-runs show paper",
    "Files for others": "embed export",
    "Search": "gallery video serve",
    "Help": "help doctor",
}
"""The commands by what they are for, as `reidkit` alone lists them."""

OWN = {
    "synth": {"Data": "cameras seed images_per_camera height width videos seconds", "Output": "masks"},
    "calibrate": {"Threshold": "seed"},
    "ranks": {"Picture": "seed"},
    "attention": {"Picture": "seed"},
    "embedding": {"Picture": "method"},
    "shard": {"Output": "kind"},
    "split": {"Data": "share seed cameras", "Output": "how"},
    "train": {"Data": "cameras", "Training": "network"},
    "distil": {"Data": "cameras", "Training": "network"},
    "reduce": {"Training": "dim power"},
    "serve": {"Inference": "model"},
    "audit": {"Access": "verify actor"},
    "check": {"Gallery": "queries"},
    "embed": {"Data": "split"},
    "score": {"Scores": "query_sequences gallery_sequences"},
    "import": {"Data": "family settings"},
    "track": {"Data": "camera start", "Inference": "model", "Output": "gallery keep"},
    "crops": {"Data": "camera start"},
    "join": {"Search": "threshold far linkage cameras_overlap", "Gallery": "undo confirm one unconfirm"},
    "find": {"Data": "uri", "Search": "gap", "Output": "videos clips marked csv overwrite"},
    "adapt": {"Data": "cameras", "Training": "network"},
}
"""Where a name means something else in one command than in the others."""


def group_of(command: str, name: str) -> str:
    """Return the group in which the parameter `name` of a command is shown.

    Raises:
        KeyError: it is in none.
    """
    for groups in (OWN.get(command, {}), GROUPS):
        for group, names in groups.items():
            if name in names.split():
                return group
    raise KeyError(f"{command}: no group of options has {name}")


class ExampleFirst:
    """Help with the example, which is the `epilog`, before the options."""

    def format_help(self: Any, ctx: Any, formatter: Any) -> None:
        """Write usage, what the command does, an example, and the options or commands."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        if self.epilog:
            _example(formatter, self.epilog)
        self.format_options(ctx, formatter)


def _example(formatter: Any, text: str) -> None:
    lines = inspect.cleandoc(text).splitlines()
    with formatter.section("Example" if len(lines) == 1 else "Examples"):
        for line in lines:
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def plain_type(name: str) -> str:
    """`--data <path>`, where Typer writes `<list[Path]>`, and `<int>` where it writes `<int range>`."""
    name = re.sub(r"<list\[(.+)\]>", r"<\1>", name).replace("<Path>", "<path>")
    return name.replace(" range>", ">")


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring, on one line and without its full stop."""
    first = " ".join(text.strip().split("\n\n")[0].split())
    return first.partition(". ")[0].rstrip(".")
