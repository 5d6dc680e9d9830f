"""The sections of a recipe, each a few fields that are decided together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

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

HeadName = Literal[
    "single", "pcb", "rpp", "mgn", "bdb", "pyramid", "trinet", "svdnet", "aligned", "scpnet", "mancs",
    "token", "jigsaw", "windows",
]  # fmt: skip
"""Every head, each a module in `model/heads/`."""

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
        yield 0 < self.width <= 4, "width", "must be above 0 and at most 4"
        yield 0 <= self.reduced <= 65536, "reduced", "must be between 0 (none) and 65536"
        yield 0 <= self.embedding <= 65536, "embedding", "must be between 0 (none) and 65536"


@dataclass(frozen=True, kw_only=True)
class Images(Section):
    """Size in pixels, and the two augmentations of every rung of the ladder (paper, section 2, steps 3 and 4).

    `resize`: how an image of another size is brought to this one, by Pillow's filter of that name.
    `augment`: how often an image gets one of AutoAugment's policies. `exchange`: how often it gets the style of another
    camera of the training set, by the `moments` of its colours or, `fourier`, the amplitudes of low frequencies.
    """

    height: int = 256
    width: int = 128
    pad: int = 10
    flip: float = 0.5
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    augment: float = 0.0
    exchange: float = 0.0
    exchange_by: Literal["moments", "fourier"] = "moments"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        size = (self.height, self.width)
        yield min(size) >= 32, "height", "and images.width must be at least 32 pixels"
        yield max(size) <= 4096, "height", "and images.width must be at most 4096 pixels"
        yield 0 <= self.pad <= 4096, "pad", "must be between 0 and 4096"
        yield 0 <= self.flip <= 1, "flip", "must be between 0 and 1"
        yield 0 <= self.augment <= 1, "augment", "must be between 0 and 1"
        yield 0 <= self.exchange <= 1, "exchange", "must be between 0 and 1"


@dataclass(frozen=True, kw_only=True)
class Erasing(Section):
    """Random erasing (paper, section 3.2). `area` is S_e/S, `aspect` is H_e/W_e.

    `aspect_draw`: `uniform`, as in the official code, or `log`: its logarithm is uniform, as in torchvision.
    `fill`: `code` the constant (0.485, 0.456, 0.406) written after normalising, as the official code does;
    `imagenet-mean` the mean pixel of ImageNet; `image-mean` the mean pixel of the image; `random` noise N(0, 1).
    """

    probability: float = 0.0
    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    aspect_draw: Literal["uniform", "log"] = "uniform"
    fill: Literal["code", "imagenet-mean", "image-mean", "random"] = "code"

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield 0 <= self.probability <= 1, "probability", "must be between 0 and 1"
        yield 0 < self.area[0] <= self.area[1] < 1, "area", "must rise between 0 and 1"
        yield 0 < self.aspect[0] <= self.aspect[1], "aspect", "must rise from above 0"


@dataclass(frozen=True, kw_only=True)
class Batch(Section):
    """P = `ids` with K = `images` each.

    `visits`: in an epoch `chunks` shows every image of an id (official code), `once` shows each id once.
    `micro_batches`: the batch goes through the network in so many parts, for devices too small to hold it at once. The
    loss is that of the whole batch; batch norms see one part at a time. Several processes share each part.
    `cameras`: the images of an id in a batch are `any` of them, or `spread` over its cameras.
    `hard_pool`: half of the ids of a batch come from so many that are nearest to its first id; 0 draws all ids alike.
    """

    ids: int = 16
    images: int = 4
    visits: Literal["chunks", "once"] = "chunks"
    micro_batches: int = 1
    cameras: Literal["any", "spread"] = "any"
    hard_pool: int = 0

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield self.ids >= 2, "ids", "must be at least 2: a triplet needs an image of another id"
        yield self.images >= 2, "images", "must be at least 2: a triplet needs a second image of an id"
        yield self.ids * self.images <= 65536, "ids", "times batch.images must be at most 65,536"
        yield self.micro_batches >= 1, "micro_batches", "must be at least 1"
        yield self.hard_pool >= 0, "hard_pool", "must be 0 (none) or a number of ids"
        divides = self.ids % self.micro_batches == 0
        yield divides, "micro_batches", "must divide batch.ids: the images of an id stay together"


@dataclass(frozen=True, kw_only=True)
class Identity(Section):
    """The ID loss.

    `smoothing` is eps; `smoothing_over` says over which ids it is spread: over `all` N (equation 3: the true one keeps
    1 - (N-1)/N eps), or over the N-1 `others` (it keeps 1 - eps).
    `sampled`: how many ids enter the softmax of each step, those of the batch and others that are sampled, and are
    updated after it; 0: all ids. For training sets of 100,000 of them.
    `init` of the bias-free classifier behind a neck: normal with deviation `std`, or Kaiming.
    `over`: the ID losses of several branches count as their `mean` or their `sum`.
    `logits`: `linear`, or `scale` times cosines, that of the true id less `margin` (`cosface`), at an angle larger by
    it (`arcface`, in radians), or weighed by how far it is from where it should be (`circle`).
    """

    weight: float = 1.0
    smoothing: float = 0.0
    smoothing_over: Literal["all", "others"] = "all"
    init: Literal["normal", "kaiming"] = "normal"
    std: float = 0.001
    sampled: int = 0
    over: Literal["mean", "sum"] = "mean"
    logits: Literal["linear", "cosface", "arcface", "circle"] = "linear"
    scale: float = 64.0
    margin: float = 0.35

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield self.scale > 0, "scale", "must be above 0"
        yield 0 <= self.margin < 3, "margin", "must be at least 0 and below 3"
        all_ids = self.logits == "linear" or not self.sampled
        yield all_ids, "sampled", "must be 0 (all ids) with identity.logits other than linear"
        yield 0 <= self.smoothing < 1, "smoothing", "must be at least 0 and below 1"
        yield self.weight >= 0, "weight", "must not be negative"
        yield self.std > 0, "std", "must be above 0"
        yield self.sampled >= 0, "sampled", "must be 0 (all ids) or a number of ids"


@dataclass(frozen=True, kw_only=True)
class Triplet(Section):
    """The triplet loss on the Euclidean distance of features, the hardest ones of the batch.

    `form`: `hinge` is [d_p - d_n + margin]+, `soft` is ln(1 + exp(d_p - d_n)) and has no margin.
    `mining`: what d_p and d_n of an anchor are: the `hardest`, or means `weighted` by a softmax of the distances;
    `weighted-as-published` weighs as AGW's program does, which loses far negatives.
    `on`: the feature before or after the neck. `unit`: features of length 1.
    `over`: the losses of several branches count as their `mean` or their `sum`.
    """

    weight: float = 1.0
    margin: float = 0.3
    form: Literal["hinge", "soft"] = "hinge"
    mining: Literal["hardest", "weighted", "weighted-as-published"] = "hardest"
    on: Literal["f_t", "f_i"] = "f_t"
    unit: bool = False
    over: Literal["mean", "sum"] = "mean"

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield self.weight >= 0, "weight", "must not be negative"
        yield self.margin >= 0, "margin", "must not be negative"


@dataclass(frozen=True, kw_only=True)
class Pair(Section):
    """One more loss of pairs of images (see `losses.pairs`), of weight 0 unless it is asked for.

    `loss`: `circle` with `margin` m and `scale` gamma; `centroid` with `margin`, as the paper of centroid triplets has
    it or `centroid-as-published` by its program; `contrastive` (supervised), with `scale` 1/t.
    """

    loss: Literal["circle", "centroid", "centroid-as-published", "contrastive"] = "circle"
    weight: float = 0.0
    margin: float = 0.25
    scale: float = 128.0
    on: Literal["f_t", "f_i"] = "f_t"

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield self.weight >= 0, "weight", "must not be negative"
        yield self.margin >= 0, "margin", "must not be negative"
        yield self.scale > 0, "scale", "must be above 0"


@dataclass(frozen=True, kw_only=True)
class Aside(Section):
    """The loss of heads that have something for losses alone: `aligned`, `scpnet` and `mancs`; others ignore it.

    `margin` is that of AlignedReID's local triplet loss.
    """

    weight: float = 1.0
    margin: float = 0.3

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield self.weight >= 0, "weight", "must not be negative"
        yield self.margin >= 0, "margin", "must not be negative"


@dataclass(frozen=True, kw_only=True)
class Center(Section):
    """The centre loss. `form`: the `mean` over the batch, as the authors' program, or half the sum (equation 5)."""

    weight: float = 0.0
    lr: float = 0.5
    form: Literal["mean", "paper"] = "mean"

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield self.weight >= 0, "weight", "must not be negative"
        yield self.lr >= 0, "lr", "must not be negative"


@dataclass(frozen=True, kw_only=True)
class Optim(Section):
    """The optimiser and its learning rate (see `train.optimizer.Schedule`).

    `warmup`: the interpretation of the first `warmup_epochs`; or the rate rises at each of the first `warmup_steps`.
    `average`: a moving average of the weights with this decay is evaluated and saved in their place; 0 is none.
    `best_every`: evaluate each so many epochs and keep the weights with the highest mAP; 0 keeps the last ones.
    `name`: Adam with coupled weight decay, AMSGrad alike, AdamW with decoupled decay, or SGD with `momentum`.
    `new`: the factor of the rate of what no weights file has filled, the classifier among it.
    `freeze`: for so many steps what a weights file has filled gets no step, and its batch norms keep their statistics.
    `schedule`: `steps`, by `drops` and `gamma`; or `cosine`, from `lr` after the epoch `flat` down to `floor`.
    """

    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    epochs: int = 120
    drops: tuple[int, ...] = (40, 70)
    gamma: float = 0.1
    warmup_epochs: int = 0
    warmup: Literal["paper", "code", "equation-1"] = "paper"
    warmup_steps: int = 0
    average: float = 0.0
    best_every: int = 0
    name: Literal["adam", "amsgrad", "adamw", "sgd"] = "adam"
    momentum: float = 0.9
    new: float = 1.0
    freeze: int = 0
    schedule: Literal["steps", "cosine"] = "steps"
    flat: int = 0
    floor: float = 0.0

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield self.lr > 0, "lr", "must be above 0"
        yield self.weight_decay >= 0, "weight_decay", "must not be negative"
        yield self.epochs >= 1, "epochs", "must be at least 1"
        yield self.drops == tuple(sorted(set(self.drops))), "drops", "must rise"
        yield self.gamma > 0, "gamma", "must be above 0"
        yield self.warmup_epochs >= 0, "warmup_epochs", "must not be negative"
        yield self.warmup_steps >= 0, "warmup_steps", "must not be negative"
        one = not (self.warmup_steps and self.warmup_epochs)
        yield one, "warmup_steps", "and optim.warmup_epochs exclude each other: set one of them to 0"
        yield 0 <= self.average < 1, "average", "must be at least 0 and below 1"
        yield self.best_every >= 0, "best_every", "must not be negative"
        yield 0 <= self.momentum < 1, "momentum", "must be at least 0 and below 1"
        yield self.new > 0, "new", "must be above 0"
        yield self.freeze >= 0, "freeze", "must be 0 or a number of steps"
        yield self.flat >= 0, "flat", "must be 0 or an epoch"
        yield 0 <= self.floor <= self.lr, "floor", "must be between 0 and optim.lr"


@dataclass(frozen=True, kw_only=True)
class Distil(Section):
    """What a training with a teacher learns from it; without one it changes nothing.

    `similarity` is the weight of how alike the images of a batch are to both, at `temperature`; `logits` that of what
    both take their ids for, at `logit_temperature`, by the divergence `kl` or `js` (see `losses.distillation`).
    """

    similarity: float = 1.0
    temperature: float = 0.1
    logits: float = 0.0
    logit_temperature: float = 4.0
    divergence: Literal["kl", "js"] = "kl"

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield self.similarity >= 0, "similarity", "must not be negative"
        yield self.temperature > 0, "temperature", "must be above 0"
        yield self.logits >= 0, "logits", "must not be negative"
        yield self.logit_temperature > 0, "logit_temperature", "must be above 0"


@dataclass(frozen=True, kw_only=True)
class Adapt(Section):
    """Adaptation to images without labels by cluster contrast (arXiv:2103.11568); a training does not use it.

    Each epoch DBSCAN makes clusters of at least `min_images` images within `eps` of each other, by the Jaccard distance
    of `k1` neighbours and an expansion over `k2`; then come `steps` batches with InfoNCE at `temperature` against one
    centroid a cluster, of which every image leaves the part `momentum` in place.
    """

    eps: float = 0.6
    k1: int = 30
    k2: int = 6
    min_images: int = 4
    temperature: float = 0.05
    momentum: float = 0.1
    steps: int = 200

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield 0 < self.eps < 1, "eps", "must be above 0 and below 1"
        yield self.k1 >= 1, "k1", "must be at least 1"
        yield self.k2 >= 1, "k2", "must be at least 1"
        yield self.min_images >= 1, "min_images", "must be at least 1"
        yield self.temperature > 0, "temperature", "must be above 0"
        yield 0 <= self.momentum <= 1, "momentum", "must be between 0 and 1"
        yield self.steps >= 1, "steps", "must be at least 1"


@dataclass(frozen=True, kw_only=True)
class Recipe(Section):
    """One training run, apart from its data and its seed."""

    prefix: ClassVar[str | None] = ""

    name: str = "custom"
    network: Network = field(default_factory=Network)
    images: Images = field(default_factory=Images)
    erasing: Erasing = field(default_factory=Erasing)
    batch: Batch = field(default_factory=Batch)
    identity: Identity = field(default_factory=Identity)
    triplet: Triplet = field(default_factory=Triplet)
    center: Center = field(default_factory=Center)
    pair: Pair = field(default_factory=Pair)
    aside: Aside = field(default_factory=Aside)
    optim: Optim = field(default_factory=Optim)
    distil: Distil = field(default_factory=Distil)
    adapt: Adapt = field(default_factory=Adapt)

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of several sections at once."""
        yield self.name.isprintable() and len(self.name) <= 200, "name", "must be one line of at most 200 characters"
        some = self.identity.weight + self.triplet.weight + self.pair.weight > 0
        yield some, "identity.weight", "and triplet.weight cannot both be 0 without pair.weight"
        enough = self.identity.sampled == 0 or self.identity.sampled >= self.batch.ids
        yield enough, "identity.sampled", "must be 0 (all ids) or at least batch.ids: those of the batch always enter"
