"""The network as everything else sees it: images in, two features out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from reidkit.model.backbones.resnet import ResNet
from reidkit.model.neck import L2Neck, bnneck

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit import recipe


class Features(NamedTuple):
    """What the network returns, always: [B, D] each.

    `f_t` stands before the neck, for the triplet and the centre loss; `f_i` after it, for the ID loss and for
    retrieval. Without a neck both are the one feature f.
    """

    f_t: Tensor
    f_i: Tensor


class Network(nn.Module):
    """Backbone, global average pooling, neck. `forward` means the same in training, evaluation and export.

    `embedding`, where there is one, is a linear layer between pooling and neck.
    """

    def __init__(self, backbone: ResNet, neck: nn.Module, embedding: nn.Linear | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = embedding or nn.Identity()
        self.neck = neck
        self.channels = embedding.out_features if embedding else backbone.channels
        """The length D of both features."""
        self.spans = {"": slice(0, self.channels)}

    def forward(self, images: Tensor) -> Features:
        """Images [B, 3, H, W], normalised, to f_t and f_i, [B, D] each."""
        return self.describe(self.backbone(images).mean(dim=(2, 3)))

    def describe(self, pooled: Tensor) -> Features:
        """What is pooled from the last feature map, [B, C], to f_t and f_i, [B, D] each."""
        f_t = self.embedding(pooled)
        return Features(f_t, self.neck(f_t))


def build_network(recipe: recipe.Network) -> Network:
    """The network of a recipe, freshly initialised from torch's random state. `stride_in` auto is torchvision's."""
    backbone = ResNet(
        recipe.backbone,
        width=recipe.width,
        last_stride=recipe.last_stride,
        stride_in="1x1" if recipe.stride_in == "1x1" else "3x3",
        stem_relu=recipe.stem_relu,
    )
    embedding = nn.Linear(backbone.channels, recipe.embedding) if recipe.embedding else None
    channels = recipe.embedding or backbone.channels
    necks: dict[str, Callable[[], nn.Module]] = {"none": nn.Identity, "bnneck": partial(bnneck, channels), "l2": L2Neck}
    neck = necks[recipe.neck]()
    return Network(backbone, neck, embedding)
