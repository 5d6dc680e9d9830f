"""The key layouts of other projects, as data: how each is recognised and renamed, and what its keys do not say.

A name of a tensor goes through the first of a family's `renames` that matches its start; what comes out are the names
of `model.network.Network`, but for a few that depend on shapes (see `convert.SHAPED`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST = 300
"""Longer names are no project's, and would take a pattern long."""

Renames = tuple[tuple[str, str], ...]

STAGES = r"(?:layer0\.)?(?=(?:conv1|bn1)\.|layer[1-4]\.)"
"""Before the names of a ResNet. The SE networks for torch call the stem `layer0`."""

VIT = r"(?=(?:cls_token|pos_embed)$|patch_embed\.proj\.|blocks\.\d+\.|norm\.)"
"""Before the names of a vision transformer, as timm has them."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A layout of keys.

    Attributes:
        name: What `import_weights(family=...)` calls it.
        tell: Patterns of the start of a key; the layout has a key for each.
        never: Patterns that no key of it matches.
        renames: Patterns of the start of a key, and what is written for it.
        drops: Patterns of keys that an evaluation does not need, as a classifier.
        leaves_rest: Whether keys that match nothing are left out, too; else they are refused.
        refuses: Patterns of keys that no network of reidkit's has, and what they are.
        settings: Fields of the recipe that the keys do not tell.
        with_key: Such fields where there is a key of a pattern; the last one that matches counts.
        normalised: `half` where images are (x - 0.5) / 0.5, which is put into the first layer; else ImageNet's.
        unsupported: Why none of it can be imported; "" where it can.
        by_keys: False: it is taken only where its name is given, as another family has the same keys.
        starts: Whether a training that starts from it needs the renames; else the prefix of the backbone is enough.
        unsaid: What no key tells, and which setting changes what is assumed.
    """

    name: str
    tell: tuple[str, ...]
    never: tuple[str, ...] = ()
    renames: Renames = ()
    drops: tuple[str, ...] = ()
    leaves_rest: bool = False
    refuses: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    with_key: tuple[tuple[str, Mapping[str, object]], ...] = ()
    normalised: Literal["imagenet", "half"] = "imagenet"
    unsupported: str = ""
    by_keys: bool = True
    starts: bool = False
    unsaid: str = ""

    def is_told_by(self, names: Iterable[str]) -> bool:
        """Whether these keys are of this layout."""
        names = list(names)
        return all(some_match(pattern, names) for pattern in self.tell) and not any(
            some_match(pattern, names) for pattern in self.never
        )

    def rename(self, name: str) -> str | None:
        """Return the new name; "" for a tensor that is left out, None for one that the layout does not have."""
        if len(name) > LONGEST:
            return "" if self.leaves_rest else None
        if any(re.match(pattern, name) for pattern in self.drops):
            return ""
        for pattern, new in self.renames:
            if found := re.match(pattern, name):
                return found.expand(new) + name[found.end() :]
        return "" if self.leaves_rest else None


def some_match(pattern: str, names: Iterable[str]) -> str:
    """Return the first of the names whose start matches; "" where there is none."""
    return next((name for name in names if len(name) <= LONGEST and re.match(pattern, name)), "")


_LAST_STRIDE = "a last stride of {last_stride} (network.last_stride)"
_SIZE = "images of {height}x{width} (images.height, images.width)"

_CAFFE = (
    # Stride in the 1x1 convolution, as caffe had it, but in the grouped SE-ResNeXts.
    (r".*layer1\.0\.se_module\.", {"network.stem_relu": True, "network.stride_in": "1x1"}),
    (r".*layer1\.0\.bn1\.IN\.", {"network.stem_relu": True}),
)
_SENET = ((r"(?:base\.)?layer0\.conv[23]\.", "the stem of SENet-154"),)

_MGN_BRANCHES = ("one", "two", "three")
_MGN_HEADS = {
    "b1": "one.",
    "b2": "two.heads.whole.",
    "b21": "two.heads.stripes.heads.stripe0.",
    "b22": "two.heads.stripes.heads.stripe1.",
    "b3": "three.heads.whole.",
    "b31": "three.heads.stripes.heads.stripe0.",
    "b32": "three.heads.stripes.heads.stripe1.",
    "b33": "three.heads.stripes.heads.stripe2.",
}
_FAST_REID = {
    "network.last_stride": 1,
    "network.stem_pool": "ceil",
    "images.resize": "bicubic",
}
_FAST_REID_RENAMES: Renames = (
    (r"backbone\.sie_embed$", "backbone.cameras.table"),
    (r"heads\.bnneck\.", "neck."),
    (r"heads\.(?=bottleneck\.\d+\.|pool_layer\.p$)", ""),
    (r"backbone\.", "backbone."),
)
_FAST_REID_DROPS = (r"heads\.weight$", r"heads\.classifier\.", r"pixel_(?:mean|std)$", r"heads\.cls_layer\.")

FAMILIES = (
    Family(
        name="clip-reid",
        tell=(r"(?:image_encoder|text_encoder|prompt_learner)\.",),
        unsupported="reidkit has no network of CLIP's",
    ),
    Family(
        name="solider",
        tell=(
            r"(?:base\.|backbone\.)?(?:stages\.0\.blocks\.0\.attn\.w_msa|semantic_embed_w|patch_embed\.projection)\.",
        ),
        unsupported="reidkit has no Swin transformer",
    ),
    Family(
        name="swin",
        tell=(r"(?:model\.)?layers\.0\.blocks\.0\.attn\.relative_position_bias_table",),
        unsupported="reidkit has no Swin transformer",
    ),
    Family(
        name="densenet",
        tell=(r"(?:model\.)?features\.(?:conv0|denseblock1)\.",),
        unsupported="reidkit has no DenseNet",
    ),
    Family(
        name="torchvision-vit",
        tell=(r"conv_proj\.", r"encoder\.layers\."),
        unsupported="reidkit reads vision transformers with timm's names",
    ),
    Family(
        name="lmbn",
        tell=(r"(?:backone|global_branch|partial_branch|channel_branch)\.",),
        unsupported="reidkit has no network of LightMBN's branches",
    ),
    Family(
        name="tinyvit",
        tell=(r"(?:backbone\.)?patch_embed\.seq\.0\.c\.",),
        unsupported="reidkit has no TinyViT",
    ),
    Family(
        name="transreid",
        starts=True,
        tell=(r"base\.cls_token$", r"base\.blocks\.0\."),
        renames=(
            (r"base\.sie_embed$", "backbone.cameras.table"),
            (r"b1\.0\.", "whole.blocks.last."),
            (r"b1\.1\.", "whole.norm."),
            (r"b2\.0\.", "part.blocks.last."),
            (r"b2\.1\.", "part.norm."),
            *(
                (rf"bottleneck_{i}\.", f"leaves.{part}.neck.")
                for i, part in enumerate(("one", "two", "three", "four"), 1)
            ),
            (r"bottleneck\.", "neck."),
            (rf"base\.{VIT}", "backbone."),
        ),
        drops=(r"classifier(?:_\d)?\.", r"base\.(?:fc|head)\."),
        normalised="half",
        unsaid="the cameras are numbered from 1; the feature before the neck, which the project evaluates, is f_t",
    ),
    Family(
        name="agw",
        starts=True,
        tell=(r"base\.conv1\.weight$", r"base\.NL_\d\.|global_pool\.p$"),
        renames=(
            (rf"base\.(?:{STAGES}|(?=NL_\d\.))", "backbone."),
            (r"bottleneck\.", "neck."),
            (r"global_pool\.", "pooling."),
        ),
        drops=(r"classifier\.", r"base\.fc\."),
        settings={"network.last_stride": 1, "network.stem_relu": False, "network.stride_in": "3x3"},
        with_key=_CAFFE,
        unsaid=_LAST_STRIDE,
    ),
    Family(
        name="strong-baseline",
        tell=(r"base\.(?:layer0\.)?conv1\.weight$", r"base\.layer4\."),
        renames=((rf"base\.{STAGES}", "backbone."), (r"bottleneck\.", "neck.")),
        drops=(r"classifier\.", r"base\.(?:fc|last_linear)\."),
        refuses=_SENET,
        settings={"network.last_stride": 1, "network.stem_relu": False, "network.stride_in": "3x3"},
        with_key=_CAFFE,
        unsaid=_LAST_STRIDE,
    ),
    Family(
        name="fast-reid-mgn",
        starts=True,
        tell=(r"b1_head\.", r"backbone\.0\.weight$"),
        renames=(
            (r"backbone\.0\.", "backbone.conv1."),
            (r"backbone\.1\.", "backbone.bn1."),
            (r"backbone\.4\.", "backbone.layer1."),
            (r"backbone\.5\.", "backbone.layer2."),
            (r"backbone\.6\.", "backbone.layer3.0."),
            *(
                (rf"b{branch}\.0\.{block}\.", f"views.{name}.layer3.{block + 1}.")
                for branch, name in enumerate(_MGN_BRANCHES, 1)
                for block in range(22)
            ),
            *((rf"b{branch}\.1\.", f"views.{name}.layer4.") for branch, name in enumerate(_MGN_BRANCHES, 1)),
            *((rf"{theirs}_head\.", f"heads.{ours}") for theirs, ours in _MGN_HEADS.items()),
        ),
        drops=(r"b\d+_head\.(?:weight$|classifier\.|cls_layer\.)", r"pixel_(?:mean|std)$"),
        settings={**_FAST_REID, "images.height": 384, "network.stride_in": "3x3"},
        unsaid=_SIZE,
    ),
    Family(
        name="fast-reid",
        starts=True,
        tell=(
            r"backbone\.(?:conv1\.weight|cls_token)$",
            r"heads\.(?:weight$|bottleneck\.|bnneck\.|classifier\.|pool_layer\.)",
        ),
        renames=_FAST_REID_RENAMES,
        drops=_FAST_REID_DROPS,
        settings={**_FAST_REID, "network.stride_in": "3x3"},
        unsaid=f"{_SIZE}, 384x128 by --from fast-reid-sbs; {_LAST_STRIDE}",
    ),
    Family(
        name="fast-reid-sbs",
        tell=(r"backbone\.(?:conv1\.weight|cls_token)$", r"heads\."),
        renames=_FAST_REID_RENAMES,
        drops=_FAST_REID_DROPS,
        settings={**_FAST_REID, "images.height": 384, "network.stride_in": "3x3"},
        by_keys=False,
        unsaid=f"{_SIZE}; {_LAST_STRIDE}",
    ),
    Family(
        name="layumi-pcb",
        tell=(r"model\.conv1\.weight$", r"classifier0\.add_block\."),
        renames=((rf"model\.{STAGES}", "backbone."), (r"classifier(\d)\.add_block\.", r"heads.stripe\1.bottleneck.")),
        drops=(r"classifier\d\.classifier\.", r"model\.fc\."),
        settings={"network.last_stride": 1, "images.resize": "bicubic", "images.height": 384, "images.width": 192},
        unsaid=_SIZE,
    ),
    Family(
        name="layumi",
        tell=(r"model\.conv1\.weight$", r"classifier\.add_block\."),
        renames=((rf"model\.{STAGES}", "backbone."), (r"classifier\.add_block\.", "bottleneck.")),
        drops=(r"classifier\.classifier\.", r"model\.fc\."),
        refuses=((r"(?:model\.)?usam_\d\.", "its attention (USAM)"),),
        settings={"images.resize": "bicubic"},
        unsaid=f"{_LAST_STRIDE}, which its opts.yaml beside the file would say",
    ),
    Family(
        name="torchreid-osnet",
        tell=(r"conv1\.conv\.weight$", r"conv2\.0\.", r"conv5\.conv\.weight$"),
        renames=((r"fc\.0\.", "embedding."), (r"fc\.1\.", "neck.0."), (r"(?=conv[1-5]\.|pool[23]\.)", "backbone.")),
        drops=(r"classifier\.",),
    ),
    Family(
        name="pretraining",
        tell=(r"(?:.*\.)?(?:encoder_q|teacher|student)\.(?:.*\.)?(?:conv1\.weight|cls_token)$",),
        renames=tuple(
            (rf"(?:.*\.)?{word}\.(?:module\.|backbone\.|base\.|encoder\.)*(?:{STAGES}|{VIT})", "backbone.")
            for word in ("encoder_q", "teacher")
        ),
        leaves_rest=True,
        unsaid="a pre-trained backbone without a neck, to start a training from",
    ),
    Family(
        name="torchreid",
        tell=(r"conv1\.weight$", r"layer4\.", r"classifier\.|fc\.0\."),
        renames=((r"fc\.0\.", "embedding."), (r"fc\.1\.", "neck.0."), (STAGES, "backbone.")),
        drops=(r"classifier\.",),
        with_key=((r"fc\.0\.", {"network.last_stride": 1}),),
        unsaid=_LAST_STRIDE,
    ),
    Family(
        name="torchvision",
        tell=(r"(?:layer0\.)?conv1\.weight$", r"layer4\."),
        renames=((STAGES, "backbone."),),
        drops=(r"fc\.(?:weight|bias)$", r"last_linear\."),
        refuses=_SENET,
        with_key=_CAFFE[:1],
        unsaid="a pre-trained backbone without a neck, to start a training from",
    ),
    Family(
        name="timm-vit",
        tell=(r"cls_token$", r"blocks\.0\.", r"patch_embed\.proj\."),
        renames=((VIT, "backbone."),),
        drops=(r"head\.", r"pre_logits\.", r"fc\."),
        refuses=((r"dist_token$", "DeiT's token of distillation"), (r"fc_norm\.", "a norm behind a pooling")),
        normalised="half",
        unsaid="images (x - 0.5) / 0.5, as most of timm's transformers have them",
    ),
)
"""Every layout, in the order in which they are tried."""
