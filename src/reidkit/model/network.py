"""The network as everything else sees it: images in, two features out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from reidkit.errors import UsageError
from reidkit.model.heads.reduced import Reduced
from reidkit.model.masked import masked_features, widen
from reidkit.model.tensor_names import leave_out_of_names
from reidkit.recipe import Network as NetworkSection
from reidkit.recipe import family_of
from reidkit.recipe.mask_channels import MIRRORED, mask_channels

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.contracts import Backbone, Features, Head, Spans


class Network(nn.Module):
    """A backbone and a head. `forward` means the same in training, evaluation and export."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = cast("nn.Module", backbone)
        self.head = cast("nn.Module", head)
        self.channels = head.channels
        """D, the length of both features."""
        self.spans = head.spans
        """The branches that they are made up of (see `Spans`)."""
        self.filled: frozenset[str] = frozenset()
        """The names of the parameters that a weights file has filled before the first step."""
        self.ranked: tuple[str, ...] = tuple(getattr(head, "ranked", ("",)))
        """The spans that a triplet loss stands on."""
        self.aside: Spans = dict(getattr(head, "aside", {}))
        """The parts of what the head has for losses alone, by name; empty where it has nothing."""
        self.mask_channels = 0
        """How many maps stand beside the colours of its images (see `model.masked`)."""
        self.mirrored: tuple[int, ...] = ()
        """Of a mirrored image, which of these maps each comes from, where they change places."""
        # Files and checkpoints of every release have `neck.weight`, not `head.neck.weight`.
        leave_out_of_names(self, "head", beside=("backbone",))

    @property
    def takes_cameras(self) -> bool:
        """Whether the backbone can be told the camera of each image."""
        return bool(getattr(self.backbone, "takes_cameras", False))

    def forward(self, images: Tensor, camera_b: Tensor | None = None) -> Features:
        """Images [B, 3, H, W], normalised, to f_t and f_i, [B, D] each, and what the head has aside.

        A backbone that `takes_cameras` gets the numbers [B] of the cameras, too, where they are given. With masks,
        images are [B, 3 + `mask_channels`, H, W].
        """
        if self.mask_channels:
            return masked_features(self.backbone, self.head, self.mask_channels, images)
        map_bchw = self.backbone(images, camera_b) if self.takes_cameras else self.backbone(images)
        features: Features = self.head(map_bchw)
        return features


def build_network(recipe: recipe.Network) -> Network:
    """Make the network of a recipe, initialised from torch's random state.

    A family of backbones is a module of its name in `model/backbones/` with a `build_backbone(recipe)`, a head one in
    `model/heads/` with a `build_head(recipe, channels)`: another one is found without a change here. A head that takes
    the last stages off the backbone has `build_tailed_head(recipe, backbone)` instead.

    Raises:
        UsageError: something else than a recipe's section `network`.
    """
    if not isinstance(recipe, NetworkSection):
        raise UsageError(
            f"a {type(recipe).__name__} is no section of a recipe: pass get_recipe('strong-baseline').network",
            argument="recipe",
        )
    family = family_of(recipe.backbone)
    backbone: Backbone = import_module(f"reidkit.model.backbones.{family}").build_backbone(recipe)
    module = import_module(f"reidkit.model.heads.{recipe.head}")
    head: Head
    if hasattr(module, "build_tailed_head"):
        head = module.build_tailed_head(recipe, backbone)
    else:
        head = module.build_head(recipe, backbone.channels)
    if masks := mask_channels(recipe):
        return _masked(backbone, head, recipe, masks)
    if recipe.reduced:
        head = Reduced(head, recipe.reduced)
    return Network(backbone, head)


def _masked(backbone: Backbone, head: Head, recipe: recipe.Network, channels: int) -> Network:
    """Make a network whose images have so many masks beside them."""
    if not getattr(head, "takes_masks", False):
        widen(backbone, channels)
    network = Network(backbone, head)
    network.mask_channels = channels
    network.mirrored = MIRRORED if recipe.masks == "keypoints" else ()
    return network
