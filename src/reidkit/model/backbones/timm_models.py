"""Any network of timm as a backbone: `timm:NAME`. timm is an extra, as it asks for torchvision.

Weights come from `--weights`, a file with timm's names; nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from reidkit.errors import UsageError
from reidkit.extras import install
from reidkit.model.tensor_names import leave_out_of_names

if TYPE_CHECKING:
    from reidkit import recipe

PREFIX = "timm:"


class TimmBackbone(nn.Module):
    """What a model of timm makes of images before its pooling, as one map. Its tensors keep timm's names.

    Args:
        model: What `timm.create_model(NAME, num_classes=0)` gives: `forward_features` maps images to a map
            [B, C, h, w] or [B, h, w, C], or to tokens [B, N, C], of which the first `num_prefix_tokens` are no
            patches; `num_features` is C, and `default_cfg["classifier"]` names what the network has been rid of.

    Attributes:
        channels: C.
        classifier: The beginnings of the names of weights that are the classifier's.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.channels: int = int(cast("Any", model).num_features)
        told = (getattr(model, "default_cfg", None) or {}).get("classifier") or ()
        self.classifier = tuple(f"{name}." for name in ((told,) if isinstance(told, str) else told))
        leave_out_of_names(self, "model")

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W], normalised, to [B, channels, h, w]; tokens that make no grid to one row of them.

        Raises:
            UsageError: the model gives something else, or takes no images of this size.
        """
        model = cast("Any", self.model)
        try:
            x: Tensor = model.forward_features(images)
        except AssertionError as error:  # which is how timm's networks refuse a size
            height, width = images.shape[2:]
            why = " ".join(str(error).split()) or "it says no more"
            raise UsageError(
                f"the network of timm takes no images of {height}x{width} ({why}): set images.height and "
                "images.width to a size that it takes, or choose another network.backbone",
                argument="network.backbone",
            ) from None
        if x.dim() == 4 and x.shape[1] == self.channels:
            return x
        if x.dim() == 4 and x.shape[3] == self.channels:
            return x.permute(0, 3, 1, 2)
        if x.dim() == 3 and x.shape[2] == self.channels:
            return _as_map(x[:, int(getattr(model, "num_prefix_tokens", 0)) :], images)
        raise UsageError(
            f"the network of timm gives {list(x.shape)}, and no map of {self.channels} channels: choose another one",
            argument="network.backbone",
        )


def _as_map(tokens_bnc: Tensor, images: Tensor) -> Tensor:
    """Tokens [B, N, C] to the grid that has the shape of the images, [B, C, h, w], or to one row."""
    height, width = images.shape[2:]
    count = tokens_bnc.shape[1]
    rows = round((count * height / width) ** 0.5)
    grid = (rows, count // rows) if rows and count % rows == 0 else (1, count)
    as_map: Tensor = tokens_bnc.transpose(1, 2).unflatten(2, grid)
    return as_map


def build_backbone(recipe: recipe.Network) -> TimmBackbone:
    """Make the backbone of a recipe; `network.width` and other fields that are not timm's change nothing.

    Raises:
        UsageError: timm cannot be imported, or has no such network.
    """
    name = recipe.backbone.removeprefix(PREFIX)
    try:
        import timm
    except Exception as error:  # beside a torch without torchvision its import fails in many ways
        raise UsageError(
            f"{recipe.backbone} needs timm, which cannot be imported ({error}): {install('timm')}, or take another "
            "network.backbone",
            argument="network.backbone",
        ) from None
    try:
        return TimmBackbone(_create(timm.create_model, name))
    except (RuntimeError, ValueError, KeyError) as error:
        raise UsageError(
            f"timm makes no network called {name!a} ({error}): timm.list_models() lists them",
            argument="network.backbone",
        ) from None


def _create(create_model: Any, name: str) -> nn.Module:
    """Vision transformers are asked to take images of any size; networks that know no such option are not."""
    options = {"pretrained": False, "num_classes": 0}
    try:
        return cast("nn.Module", create_model(name, dynamic_img_size=True, **options))
    except TypeError:
        return cast("nn.Module", create_model(name, **options))
