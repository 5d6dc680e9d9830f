"""The fields of a recipe that follow from the names and shapes of the tensors in a weights file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reidkit.arguments import in_words
from reidkit.errors import WeightsError
from reidkit.model.backbones import osnet, resnet, vit
from reidkit.model.convert.recognise import EXPORT_IT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

IMAGES = ((256, 128), (384, 128), (256, 256), (384, 192), (224, 224), (128, 64), (64, 32), (160, 64), (192, 64))
"""Sizes of images that vision transformers for re-identification are trained with, the usual ones first."""
STRIDES = (16, 12, 11, 14, 8, 10, 13, 15, 9)


def settings_told(state: Mapping[str, Tensor], path: Path) -> dict[str, object]:
    """Return the settings of the recipe whose network has tensors of these names and shapes.

    Raises:
        WeightsError: no backbone of reidkit's has such.
    """
    if "backbone.conv1.conv.weight" in state:
        told = _osnet(state, path)
    elif "backbone.cls_token" in state or "backbone.pos_embed" in state:
        told = _vit(state, path)
    elif "backbone.conv1.weight" in state:
        told = _resnet(state, path)
    else:
        names = in_words(", ".join(list(state)[:3]) or "there are none", 200)
        raise WeightsError(
            f"{path} has no first layer among its tensors ({names}): save the whole `model.state_dict()` and give that"
        )
    return {**told, **_head(state)}


def _head(state: Mapping[str, Tensor]) -> dict[str, object]:
    """Return the settings of the head, by the names of its tensors."""
    told: dict[str, object] = {}
    if any(name.startswith("views.") for name in state):
        told["network.head"] = "mgn"
    elif any(name.startswith("heads.stripe") for name in state):
        told |= {"network.head": "pcb", "network.stripes": _number_of(state, r"heads\.stripe(\d+)\.")}
    elif any(name.startswith("whole.") for name in state):
        told["network.head"] = "jigsaw"
    elif "backbone.cls_token" in state:
        told["network.head"] = "token"
    necks = [name for name in state if re.search(r"(^|\.)neck\.", name)]
    if necks:
        told["network.neck"] = "bn-relu" if any(".0." in name.split("neck")[-1] for name in necks) else "bnneck"
    embedding = next((tensor for name, tensor in state.items() if name.endswith("embedding.weight")), None)
    if embedding is not None and embedding.ndim == 2:
        told["network.embedding"] = embedding.shape[0]
    if any(name.endswith("pooling.p") for name in state):
        told["network.pool"] = "gem"
    return told


def _resnet(state: Mapping[str, Tensor], path: Path) -> dict[str, object]:
    """Find the network of `resnet.KINDS` with these blocks, and the width of its stem."""
    trunk = {re.sub(r"^views\.one\.", "backbone.", name): tensor for name, tensor in state.items()}
    depths = tuple(_number_of(trunk, rf"backbone\.layer{stage}\.(\d+)\.") for stage in range(1, 5))
    bottleneck = "backbone.layer1.0.conv3.weight" in trunk
    squeeze = "backbone.layer1.0.se_module.fc1.weight" in trunk
    ibn = "a" if "backbone.layer1.0.bn1.IN.weight" in trunk else ""
    ibn = "b" if f"backbone.layer1.{depths[0] - 1}.IN.weight" in trunk else ibn
    inner = "backbone.layer1.0.conv2.weight"
    shape = _shape(trunk, inner)
    grouped = bottleneck and len(shape) == 4 and shape[0] != shape[1]
    for name, kind in resnet.KINDS.items():
        same = (kind.depths, kind.bottleneck, kind.squeeze, kind.ibn, kind.groups > 1)
        if same == (depths, bottleneck, squeeze, ibn, grouped):
            width = _width(trunk, "backbone.conv1.weight", 64, path)
            return {"network.backbone": name, "network.width": width, **_blocks_behind(trunk)}
    what = f"{inner} is {list(shape)}" if grouped else f"its stages have {', '.join(map(str, depths))} blocks"
    there = {"SE": squeeze, f"IBN-{ibn}": bool(ibn), "grouped": grouped}
    kinds = " and ".join(word for word, has in there.items() if has)
    raise WeightsError(
        f"{path} is of a residual network that reidkit has not ({what}{kinds and ', with '}{kinds}): {EXPORT_IT}"
    )


def _blocks_behind(state: Mapping[str, Tensor]) -> dict[str, object]:
    theta = next((tensor for name, tensor in state.items() if name.endswith(".after.theta.weight")), None)
    if theta is None or theta.ndim < 1:
        return {}
    return {"network.blocks": "nonlocal-as-published" if theta.shape[0] == 1 else "nonlocal"}


def _osnet(state: Mapping[str, Tensor], path: Path) -> dict[str, object]:
    """Find the kind of OSNet by its norms, and its size by the stem."""
    if "backbone.conv2.0.conv2.0.layers.0.conv1.weight" in state:
        family = "osnet-ain"
    else:
        family = "osnet" if "backbone.conv1.bn.running_mean" in state else "osnet-ibn"
    stem = (_shape(state, "backbone.conv1.conv.weight") or (0,))[0]
    sizes = {widths[0]: size for size, widths in osnet.WIDTHS.items()}
    size = sizes.get(stem, "x1_0") if family != "osnet-ibn" else "x1_0"
    width = _width(state, "backbone.conv1.conv.weight", osnet.WIDTHS[size][0], path)
    return {"network.backbone": f"{family}-{size}", "network.width": width}


def _vit(state: Mapping[str, Tensor], path: Path) -> dict[str, object]:
    """Find the transformer by the length of its tokens, and the size of its images by the number of positions."""
    token, places = (_shape(state, f"backbone.{name}") for name in ("cls_token", "pos_embed"))
    by_dim = {kind.dim: name for name, kind in vit.KINDS.items()}
    dim = token[-1] if token else 0
    if dim not in by_dim or len(places) != 3:
        raise WeightsError(
            f"{path} is of a vision transformer that reidkit has not (cls_token is {list(token)}, pos_embed "
            f"{list(places)}): its tokens have {', '.join(map(str, by_dim))} numbers"
        )
    told: dict[str, object] = {"network.backbone": by_dim[dim]}
    if (cameras := _shape(state, "backbone.cameras.table")) and len(cameras) == 2:
        told["network.cameras"] = cameras[0]
    return {**told, **_positions(places[1] - 1, path)}


def _positions(places: int, path: Path) -> dict[str, object]:
    """Return the grid, the stride and the size of images that give so many patches."""
    for stride in STRIDES:
        for height, width in IMAGES:
            grid = ((height - vit.PATCH) // stride + 1, (width - vit.PATCH) // stride + 1)
            if grid[0] * grid[1] == places:
                size = (256, 128) if (height, width) == (224, 224) else (height, width)
                return {
                    "network.position_grid": list(grid),
                    "network.patch_stride": stride,
                    "images.height": size[0],
                    "images.width": size[1],
                }
    raise WeightsError(
        f"{path} has a table of {places} positions, which no usual size of images has: export it to ONNX where it was "
        "made, and give that to any command as the model"
    )


def _width(state: Mapping[str, Tensor], name: str, nominal: int, path: Path) -> float:
    shape = _shape(state, name)
    if len(shape) != 4 or not 0 < shape[0] <= 4 * nominal:
        raise WeightsError(f"{path} holds no convolution at {name} (it is {list(shape)}): give other weights")
    return shape[0] / nominal


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    return tuple(state[name].shape) if name in state else ()


def _number_of(state: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many different words the group of a pattern finds at the beginning of names."""
    return len({found[1] for name in state if (found := re.match(pattern, name))})
