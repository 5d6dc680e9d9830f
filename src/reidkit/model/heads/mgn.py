"""MGN: three copies of the last stages, which see the whole, halves and thirds (Wang et al., arXiv:1804.01438).

The trunk ends behind the first block of layer3. Copies start with equal weights, ImageNet's where a file has them.
The paper's first copy keeps the stride of layer4 (`network.last_stride` 2), the others have none; fast-reid has none
in all three (1). Each of the 8 vectors has its own embedding, as in most programs. Triplet losses stand where fast-reid
has them: on the wholes, and on the halves and the thirds side by side; the paper has them on the wholes alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from reidkit.model.heads.pcb import build_stripes
from reidkit.model.heads.several import Several
from reidkit.model.heads.single import build_leaf
from reidkit.model.views import take_tail

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.contracts import Backbone

STRIPES, DIM = 3, 256
RANKED = ("one", "two.whole", "three.whole", "two.stripes", "three.stripes")


def build_tailed_head(recipe: recipe.Network, backbone: Backbone) -> Several:
    """Make the head of a recipe, initialised from torch's random state; `backbone` gives the map of the trunk then.

    With `network.stripes` n the second copy sees n - 1 stripes and the third one n.

    Raises:
        UsageError: the backbone is no ResNet.
    """
    tail = take_tail(backbone, "layer3", 1)
    dim, count = recipe.embedding or DIM, recipe.stripes or STRIPES

    def branch(number: int) -> Several:
        whole = build_leaf(recipe, tail.channels, dim)
        parts = build_stripes(recipe, tail.channels, number, dim)
        return Several({"whole": (nn.Identity(), whole), "stripes": (nn.Identity(), parts)}, unit=recipe.unit)

    return Several(
        {
            "one": (tail.copy(), build_leaf(recipe, tail.channels, dim)),
            "two": (tail.copy(stride=False), branch(max(2, count - 1))),
            "three": (tail.copy(stride=False), branch(max(3, count))),
        },
        ranked=RANKED,
        unit=recipe.unit,
    )
