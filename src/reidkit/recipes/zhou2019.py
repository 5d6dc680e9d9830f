"""OSNet in four widths, and with instance norms (Zhou et al., arXiv:1905.00953, arXiv:1910.06827)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from reidkit.recipe import Center, Network, Optim, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

if TYPE_CHECKING:
    from reidkit.recipe import BackboneName

CLAIMS = {
    "x1_0": ((94.2, 82.6), (87.0, 70.2), (74.9, 43.8)),
    "x0_75": ((93.7, 81.2), None, (72.8, 41.4)),
    "x0_5": ((92.5, 79.8), None, (69.7, 37.5)),
    "x0_25": ((91.2, 75.0), (82.0, 61.4), (61.4, 29.5)),
}
"""torchreid's scores by width."""

OSNETS = {
    width: replace(
        STRONG,
        name=f"osnet-{width}",
        network=Network(backbone=cast("BackboneName", f"osnet-{width}"), embedding=512, neck="bn-relu"),
        triplet=Triplet(weight=0.0),
        center=Center(),
        optim=Optim(name="amsgrad", lr=1.5e-3, epochs=150, drops=(60,)),
    )
    for width in CLAIMS
}
AIN = replace(OSNETS["x1_0"], name="osnet-ain-x1_0", network=replace(OSNETS["x1_0"].network, backbone="osnet-ain-x1_0"))

_NOTE = "torchreid's, on random batches; MSMT17 on train alone."

ROWS = (
    *(
        Row(
            name=recipe.name,
            title=f"OSNet {width.replace('_', '.')}",
            recipe=recipe,
            published=scores(*CLAIMS[width]),
            note=_NOTE,
        )
        for width, recipe in OSNETS.items()
    ),
    Row(name="osnet-ain-x1_0", title="OSNet-AIN x1.0", recipe=AIN, note="Made for other data sets than its own."),
)
