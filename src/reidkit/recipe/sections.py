"""The sections of a recipe, each a few fields that are decided together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from reidkit.recipe.checks import Section
from reidkit.recipe.network_section import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reidkit.recipe.checks import Rule


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
        yield min(self.size) >= 32, "height", "and images.width must be at least 32 pixels"
        yield max(self.size) <= 4096, "height", "and images.width must be at most 4096 pixels"
        yield 0 <= self.pad <= 4096, "pad", "must be between 0 and 4096"
        yield from self.fractions("flip", "augment", "exchange")


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
        yield from self.fractions("probability")
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
        yield from self.at_least_1("micro_batches")
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
    `over`: the ID losses of several branches count as their `mean`, their `sum`, or by `halves`: one half is the first
    branch, and one the mean of the others (as TransReID has it).
    `logits`: `linear`, or `scale` times cosines, that of the true id less `margin` (`cosface`), at an angle larger by
    it (`arcface`, in radians), or weighed by how far it is from where it should be (`circle`).
    """

    weight: float = 1.0
    smoothing: float = 0.0
    smoothing_over: Literal["all", "others"] = "all"
    init: Literal["normal", "kaiming"] = "normal"
    std: float = 0.001
    sampled: int = 0
    over: Literal["mean", "sum", "halves"] = "mean"
    logits: Literal["linear", "cosface", "arcface", "circle"] = "linear"
    scale: float = 64.0
    margin: float = 0.35

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield from self.positive("scale", "std")
        yield from self.not_negative("weight")
        yield 0 <= self.margin < 3, "margin", "must be at least 0 and below 3"
        all_ids = self.logits == "linear" or not self.sampled
        yield all_ids, "sampled", "must be 0 (all ids) with identity.logits other than linear"
        yield 0 <= self.smoothing < 1, "smoothing", "must be at least 0 and below 1"
        yield self.sampled >= 0, "sampled", "must be 0 (all ids) or a number of ids"


@dataclass(frozen=True, kw_only=True)
class Triplet(Section):
    """The triplet loss on the Euclidean distance of features, the hardest ones of the batch.

    `form`: `hinge` is [d_p - d_n + margin]+, `soft` is ln(1 + exp(d_p - d_n)) and has no margin.
    `mining`: what d_p and d_n of an anchor are: the `hardest`, or means `weighted` by a softmax of the distances;
    `weighted-as-published` weighs as AGW's program does, which loses far negatives.
    `on`: the feature before or after the neck. `unit`: features of length 1.
    `over`: the losses of several branches count as their `mean`, their `sum`, or by `halves`, as the ID losses.
    `curriculum`: over this share of the epochs d_n is a quantile of the distances to other ids, which falls from the
    easiest to the hardest (see `losses.curriculum`); 0 is none.
    `dynamic`: in steps in which it learns much slower than the ID loss it is left out (see `losses.dynamic_choice`).
    """

    weight: float = 1.0
    margin: float = 0.3
    form: Literal["hinge", "soft"] = "hinge"
    mining: Literal["hardest", "weighted", "weighted-as-published"] = "hardest"
    on: Literal["f_t", "f_i"] = "f_t"
    unit: bool = False
    over: Literal["mean", "sum", "halves"] = "mean"
    curriculum: float = 0.0
    dynamic: bool = False

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield from self.not_negative("weight", "margin")
        yield from self.fractions("curriculum")
        hard = self.mining == "hardest" or not self.curriculum
        yield hard, "curriculum", "must be 0 with triplet.mining other than hardest"


@dataclass(frozen=True, kw_only=True)
class Pair(Section):
    """One more loss of pairs of images (see `losses.pair_losses`), of weight 0 unless it is asked for.

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
        yield from self.not_negative("weight", "margin")
        yield from self.positive("scale")


@dataclass(frozen=True, kw_only=True)
class Aside(Section):
    """The loss of heads that have something for losses alone: `aligned`, `scpnet` and `mancs`; others ignore it.

    `margin` is that of AlignedReID's local triplet loss.
    """

    weight: float = 1.0
    margin: float = 0.3

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield from self.not_negative("weight", "margin")


@dataclass(frozen=True, kw_only=True)
class Center(Section):
    """The centre loss. `form`: the `mean` over the batch, as the authors' program, or half the sum (equation 5)."""

    weight: float = 0.0
    lr: float = 0.5
    form: Literal["mean", "paper"] = "mean"

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield from self.not_negative("weight", "lr")


@dataclass(frozen=True, kw_only=True)
class Optim(Section):
    """The optimiser and its learning rate (see `train.optimizer.Schedule`).

    `warmup`: the interpretation of the first `warmup_epochs`; or the rate rises at each of the first `warmup_steps`.
    `average`: a moving average of the weights with this decay is evaluated and saved in their place; 0 is none.
    `best_every`: evaluate each so many epochs and keep the weights with the highest mAP; 0 keeps the last ones.
    `name`: Adam with coupled weight decay, AMSGrad alike, AdamW with decoupled decay, or SGD with `momentum`,
    Nesterov's with `nesterov`.
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
    nesterov: bool = False
    new: float = 1.0
    freeze: int = 0
    schedule: Literal["steps", "cosine"] = "steps"
    flat: int = 0
    floor: float = 0.0

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield from self.positive("lr", "gamma", "new")
        yield from self.not_negative("weight_decay", "warmup_epochs", "warmup_steps", "best_every")
        yield from self.at_least_1("epochs")
        yield self.drops == tuple(sorted(set(self.drops))), "drops", "must rise"
        one = not (self.warmup_steps and self.warmup_epochs)
        yield one, "warmup_steps", "and optim.warmup_epochs exclude each other: set one of them to 0"
        yield 0 <= self.average < 1, "average", "must be at least 0 and below 1"
        yield 0 <= self.momentum < 1, "momentum", "must be at least 0 and below 1"
        plain = not self.nesterov or (self.name == "sgd" and self.momentum > 0)
        yield plain, "nesterov", "must be false without optim.name=sgd and a momentum above 0"
        yield self.freeze >= 0, "freeze", "must be 0 or a number of steps"
        yield self.flat >= 0, "flat", "must be 0 or an epoch"
        yield 0 <= self.floor <= self.lr, "floor", "must be between 0 and optim.lr"


@dataclass(frozen=True, kw_only=True)
class Distil(Section):
    """What a training with a teacher learns from it; without one it changes nothing.

    `similarity` is the weight of how alike the images of a batch are to both, at `temperature`; `logits` that of what
    both take their ids for, at `logit_temperature`, by the divergence `kl` or `js` (see `losses.distillation`).
    `views` is what the teacher sees: the `augmented` images of the student, in each step, or each image `plain`, once.
    """

    similarity: float = 1.0
    temperature: float = 0.1
    logits: float = 0.0
    logit_temperature: float = 4.0
    divergence: Literal["kl", "js"] = "kl"
    views: Literal["augmented", "plain"] = "augmented"

    def rules(self) -> Iterator[Rule]:
        """Give what must hold of the values."""
        yield from self.not_negative("similarity", "logits")
        yield from self.positive("temperature", "logit_temperature")


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
        yield from self.at_least_1("k1", "k2", "min_images", "steps")
        yield from self.positive("temperature")
        yield from self.fractions("momentum")


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
        upright = self.network.masks == "none" or not self.images.augment
        yield upright, "images.augment", "must be 0 with network.masks: masks do not follow its shears and turns"
        two = not self.triplet.dynamic or (self.identity.weight > 0 and self.triplet.weight > 0)
        yield (
            two,
            "triplet.dynamic",
            "must be false where identity.weight or triplet.weight is 0: it chooses between both",
        )
        enough = self.identity.sampled == 0 or self.identity.sampled >= self.batch.ids
        yield enough, "identity.sampled", "must be 0 (all ids) or at least batch.ids: those of the batch always enter"
