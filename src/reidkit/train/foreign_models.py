"""`import_weights`: make a reidkit model from the weights of another project."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.arguments import check_path
from reidkit.encoder import Model
from reidkit.errors import WeightsError
from reidkit.model.convert.imported import build_foreign_network
from reidkit.model.weights import fingerprint, fingerprint_read_as, load_network, save_model
from reidkit.model_files import EXPORTED
from reidkit.train.run_folder import locked, require_room

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from reidkit.recipe import Recipe

ENCRYPTED = (".tlt", ".etlt", ".hdf5", ".h5", ".engine", ".plan")
"""Files of NVIDIA's TAO and TensorRT, which nothing else can read."""
LONGEST = 65536
"""Bytes of a settings file beside the weights that are looked at."""


@dataclass(frozen=True, kw_only=True)
class ImportedModel:
    """A model with the weights of another project.

    Attributes:
        model: The model.
        family: The layout of the keys, as `fast-reid`.
        left_out: The keys that an evaluation does not need, as those of a classifier.
        remarks: What no key tells and was assumed, each a sentence's part.
    """

    model: Model
    family: str
    left_out: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def import_weights(
    path: str | os.PathLike[str],
    *,
    family: str | None = None,
    settings: Sequence[str] | Mapping[str, object] = (),
    out: str | os.PathLike[str] | None = None,
) -> ImportedModel:
    """Make a model of reidkit's from weights that another project has saved, without executing what the file holds.

    The layout is recognised by the keys alone. What they do not tell, as the stride of the last stage, is what that
    project's programs have unless `settings` say otherwise; `remarks` name it.

    Args:
        path: A `.pth`, `.pt` or `.safetensors` with a state dict, under any of the usual wrappers, or a whole module.
        family: The layout, as `fast-reid-sbs` or `torchreid`; None: recognised.
        settings: Changes of the recipe: `{"network.last_stride": 2}`, or texts as `network.last_stride=2`.
        out: A folder for the model; None: it is not written.

    Raises:
        WeightsError: no weights; a layout that is not known or not supported, with the key that says so; tensors that
            do not fit, or hold NaN.
        UsageError: there is no such layout or setting; the folder holds a run, or another model.
    """
    path, folder = check_path(path, "a file of weights"), None if out is None else Path(out)
    _refuse_other_kinds(path)
    beside = _stride_beside(path)
    found = build_foreign_network(path, family, settings, beside=beside)
    weights = fingerprint(found.network.state_dict())
    name = fingerprint_read_as(weights, found.read_as)
    if folder is not None and require_room(folder, found.recipe, weights):
        with locked(folder):
            save_model(folder / "model.safetensors", found.network, found.recipe, read_as=found.read_as)
    elif folder is not None:  # as it was written, by an earlier version perhaps
        name = load_network(folder).fingerprint
    return ImportedModel(
        model=Model(found.network, found.recipe, name, folder),
        family=found.family.name,
        left_out=found.left_out,
        remarks=tuple(filter(None, (_assumed(found.family.unsaid, found.recipe), *found.remarks))),
    )


def _refuse_other_kinds(path: Path) -> None:
    """Refuse files that are no weights by their endings, with what can be done with them."""
    ending = path.suffix.lower()
    if ending in EXPORTED:
        raise WeightsError(
            f"{path} needs no import: give it to any command as the model, and where that asks how its images are "
            "made, the input spec (--input-spec, in Python input_spec; deepstream for TAO's)"
        )
    if ending in ENCRYPTED:
        raise WeightsError(
            f"{path} is encrypted or made for one device, and only NVIDIA's programs read it: export ONNX with `tao`, "
            "and give the .onnx to any command as the model"
        )


def _stride_beside(path: Path) -> dict[str, object]:
    """Return the last stride that layumi's `opts.yaml` beside the weights names, if there is one."""
    try:
        with (path.parent / "opts.yaml").open("rb") as file:
            text = file.read(LONGEST).decode(errors="replace")
    except OSError:
        return {}
    stride = re.search(r"^stride:\s*([12])\s*$", text, re.MULTILINE)
    return {"network.last_stride": int(stride[1])} if stride else {}


def _assumed(unsaid: str, recipe: Recipe) -> str:
    """Fill what was assumed into a family's sentence."""
    network, images = recipe.network, recipe.images
    return unsaid.format(last_stride=network.last_stride, height=images.height, width=images.width)
