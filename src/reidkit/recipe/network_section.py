"""The section of the network, with the names of all backbones and heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from reidkit.recipe.checks import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reidkit.recipe.checks import Rule

ResNets = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "seresnet50", "seresnet101", "seresnext50", "seresnext101",
    "resnet18-ibn-a", "resnet34-ibn-a", "resnet50-ibn-a", "resnet101-ibn-a",
    "resnet18-ibn-b", "resnet34-ibn-b", "resnet50-ibn-b", "resnet101-ibn-b",
]  # fmt: skip
BlocksName = Literal["none", "nonlocal", "nonlocal-as-published", "attention"]
"""What can stand behind the blocks of a ResNet (see `model.blocks`)."""

OSNets = Literal[
    "osnet-x1_0", "osnet-x0_75", "osnet-x0_5", "osnet-x0_25", "osnet-ibn-x1_0",
    "osnet-ain-x1_0", "osnet-ain-x0_75", "osnet-ain-x0_5", "osnet-ain-x0_25",
]  # fmt: skip
ViTs = Literal["vit-tiny", "vit-small", "vit-base"]
HACNNs = Literal["hacnn"]
TimmModels = Literal["timm:NAME"]
BackboneName = Literal[
    ResNets,
    OSNets,
    HACNNs,
    ViTs,
    TimmModels,
]
"""Every backbone; another family is one more name in here, and an entry of `BACKBONES`."""

MaskKind = Literal["none", "grey", "labels", "keypoints"]
"""`grey`: one map, 0 to 1. `labels`: one map for each number from 1 on. `keypoints`: one for each joint."""

HeadName = Literal[
    "single", "pcb", "rpp", "mgn", "bdb", "pyramid", "trinet", "svdnet", "aligned", "scpnet", "mancs",
    "token", "jigsaw", "windows", "regions", "spreid", "glad", "pie",
]  # fmt: skip
"""Every head, each a module in `model/heads/`."""

POOLED = {"regions": (), "spreid": ("labels",), "glad": ("keypoints",), "pie": ("keypoints",)}
"""The heads that pool by masks, and the only kind of them that a head takes; () is any."""

BACKBONES: dict[str, tuple[str, ...]] = {
    "resnet": get_args(ResNets),
    "osnet": get_args(OSNets),
    "hacnn": get_args(HACNNs),
    "vit": get_args(ViTs),
    "timm_models": get_args(TimmModels),
}
"""The backbones of each family: of each module in `model/backbones/`."""


def family_of(backbone: str) -> str:
    """Return the family of a backbone: the module in `model/backbones/` that makes it."""
    pattern = f"{backbone.partition(':')[0]}:NAME" if ":" in backbone else backbone
    return next(family for family, names in BACKBONES.items() if pattern in names)


@dataclass(frozen=True, kw_only=True)
class Network(Section):
    """The network, from images to both features.

    `stride_in`: which convolution of a bottleneck block carries the stride: `3x3` as torchvision does, `1x1` as caffe
    did, `auto` as the metadata of the weights file says (torchvision's where it says nothing).
    `stem_relu` False leaves out the ReLU after the first batch norm, as the authors' published weights need.
    `stem_pool`: the max pooling of a ResNet's stem, `padded` as in torchvision, or `ceil` as in fast-reid.
    `blocks` behind those of a ResNet's inner stages: AGW's non-local blocks, as its paper means them or as its program
    has them, or Mancs' attention. `mixstyle`: how often the styles of images are mixed behind the first two stages.
    For vision transformers: `patch_stride` in pixels; `position_grid`, height and width of the table of positions, to
    which that of a weights file is resized; `cameras` of the training set that have an embedding, 0 is none;
    `drop_path`, how often the last block is left out in training. The head `token` takes the class token, `jigsaw`
    those of TransReID, whose patches it moves by `jigsaw_shift`: 4 as its program does, where the paper has 5. The
    head `windows` belongs to the backbone `hacnn`.
    `neck`: what makes f_i of f_t: nothing, batch norm (BNNeck), or `l2`, its direction (see `model.neck`).
    `embedding`: the length of the feature that a linear layer behind the pooling makes; 0 is no such layer.
    `head`: what makes the features of the backbone's map; `single` is pooling, embedding and neck. A head of several
    branches reads `embedding` as the length of each, 0 being its own.
    `pool`: `gem` is a mean of powers whose exponent is learned, `gem-3` that of cubes.
    `stripes`: into how many the head cuts the map, for heads that do; 0 is the head's own number.
    `dropout`: the share of f_i that the ID loss does not see.
    `unit`: in evaluation, each branch of f_i has length 1.
    `orthogonal_every`: the epochs between two replacements of the embedding of the head `svdnet`; 0 is none.
    `masks`: what stands beside each image, from outside: a `grey` map, the maps of a label image with `regions` numbers
    from 1 on, or those of `keypoints`. Heads of regions pool by them; for others they are channels of the input.
    `reduced`: the length of the feature behind all that, of a model that `reidkit reduce` has made; 0 is none.
    """

    backbone: BackboneName = "resnet50"
    width: float = 1.0
    last_stride: Literal[1, 2] = 2
    stride_in: Literal["auto", "3x3", "1x1"] = "auto"
    stem_relu: bool = True
    stem_pool: Literal["padded", "ceil"] = "padded"
    blocks: BlocksName = "none"
    mixstyle: float = 0.0
    patch_stride: int = 16
    position_grid: tuple[int, int] = (14, 14)
    cameras: int = 0
    drop_path: float = 0.1
    jigsaw_shift: int = 4
    neck: Literal["none", "bnneck", "l2", "bn-relu"] = "none"
    embedding: int = 0
    head: HeadName = "single"
    pool: Literal["mean", "max", "mean+max", "gem", "gem-3"] = "mean"
    stripes: int = 0
    dropout: float = 0.0
    unit: bool = False
    orthogonal_every: int = 10
    masks: MaskKind = "none"
    regions: int = 4
    reduced: int = 0

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield 0 <= self.mixstyle <= 1, "mixstyle", "must be between 0 and 1"
        vit = self.backbone in BACKBONES["vit"]
        yield 1 <= self.patch_stride <= 16, "patch_stride", "must be between 1 and 16 (no overlap)"
        grid = all(1 <= side <= 256 for side in self.position_grid)
        yield grid, "position_grid", "must be two numbers between 1 and 256"
        yield 0 <= self.cameras <= 4096, "cameras", "must be between 0 (none) and 4,096"
        yield vit or not self.cameras, "cameras", f"must be 0 for {self.backbone}: a vision transformer can have some"
        yield 0 <= self.drop_path < 1, "drop_path", "must be at least 0 and below 1"
        tokens = vit or self.head not in {"token", "jigsaw"}
        yield tokens, "backbone", f"must be a vision transformer for the head {self.head}"
        windows = self.head != "windows" or self.backbone in BACKBONES["hacnn"]
        yield windows, "backbone", "must be hacnn for the head windows"
        yield 0 <= self.jigsaw_shift <= 4096, "jigsaw_shift", "must be between 0 and 4,096"
        styled = self.backbone in BACKBONES["resnet"] or self.backbone in BACKBONES["osnet"] or not self.mixstyle
        yield styled, "mixstyle", f"must be 0 for {self.backbone}: a ResNet or an OSNet can have it"
        plain = self.backbone in BACKBONES["resnet"] or self.blocks == "none"
        yield plain, "blocks", f"must be none for {self.backbone}: they stand behind those of a ResNet"
        yield 0 <= self.stripes <= 16, "stripes", "must be between 0 (the head's own) and 16"
        yield 0 <= self.dropout < 1, "dropout", "must be at least 0 and below 1"
        yield self.orthogonal_every >= 0, "orthogonal_every", "must not be negative"
        resnet = self.head not in {"mgn", "mancs"} or self.backbone in BACKBONES["resnet"]
        yield resnet, "backbone", f"must be a ResNet for the head {self.head}, which takes its last stages"
        whole = self.head != "scpnet" or not self.embedding
        yield whole, "embedding", "must be 0 for the head scpnet, whose branches are as long as the stripes of the map"
        yield from self._rules_of_masks()
        yield 0 < self.width <= 4, "width", "must be above 0 and at most 4"
        yield 0 <= self.reduced <= 65536, "reduced", "must be between 0 (none) and 65536"
        yield 0 <= self.embedding <= 65536, "embedding", "must be between 0 (none) and 65536"

    def _rules_of_masks(self) -> Iterator[Rule]:
        yield 1 <= self.regions <= 64, "regions", "must be between 1 and 64"
        pooled = self.head in POOLED
        yield not pooled or self.masks != "none", "masks", f"must not be none for the head {self.head}"
        kinds = POOLED.get(self.head, ())
        yield not kinds or self.masks in kinds, "masks", f"must be {' or '.join(kinds)} for the head {self.head}"
        yield not self.reduced or self.masks == "none", "reduced", "must be 0 (none) with network.masks"
        resnet = self.masks == "none" or self.backbone in BACKBONES["resnet"]
        yield resnet, "backbone", "must be a ResNet for network.masks"
