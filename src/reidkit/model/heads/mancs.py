"""Mancs: the attended maps of two inner stages are classified too, by a focal loss (Wang et al., ECCV 2018).

No program of the authors is public; this is an interpretation of the paper. The attention is the backbone's
(`network.blocks`); here its maps behind layer2 and layer3 are pooled and stand beside the feature of `single`, for the
loss that `aside` of the recipe weighs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from reidkit.model.heads.beside import side_by_side
from reidkit.model.heads.single import build_leaf
from reidkit.model.views import take_tail

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.contracts import Backbone, Features, Head
    from reidkit.model.views import Tail


class Supervised(nn.Module):
    """Two last stages and a head; the map before each stage is pooled beside the features.

    Args:
        first: From the map of the backbone on.
        second: From what `first` gives on.
        widths: The channels of the maps before the two.
        head: Of the last map.
    """

    def __init__(self, first: Tail, second: Tail, widths: tuple[int, int], head: Head) -> None:
        super().__init__()
        self.first, self.second, self.features = first, second, cast("nn.Module", head)
        self.channels, self.spans = head.channels, head.spans
        self.aside = side_by_side([("inner", widths[0]), ("middle", widths[1])])

    def forward(self, map_bchw: Tensor) -> Features:
        """The map of an inner stage to features, with the means of both maps aside in training."""
        middle_bchw = self.first(map_bchw)
        found: Features = self.features(self.second(middle_bchw))
        if not self.training:
            return found
        return found._replace(aside=torch.cat((map_bchw.mean(dim=(2, 3)), middle_bchw.mean(dim=(2, 3))), dim=1))


def build_tailed_head(recipe: recipe.Network, backbone: Backbone) -> Supervised:
    """Make the head of a recipe, initialised from torch's random state; `backbone` ends behind layer2 then.

    Raises:
        UsageError: the backbone is no ResNet.
    """
    second = take_tail(backbone, "layer4")
    middle = cast("Any", backbone).channels
    first = take_tail(backbone, "layer3")
    leaf = build_leaf(recipe, second.channels, recipe.embedding)
    return Supervised(first, second, (backbone.channels, middle), leaf)
