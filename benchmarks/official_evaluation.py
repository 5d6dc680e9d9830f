"""Both whole programs, from the files to the scores: the same weights, the same images, each in its own way.

The authors' program lists Market-1501's folders, opens, resizes and normalises images, runs its network and scores
with its own metrics (`R1_mAP`, `R1_mAP_reranking`). Two packages that it imports are not installed beside a CPU build
of torch, or not at all, and are stood in for here: of torchvision the four transforms that its evaluation composes
(`Resize`, `ToTensor`, `Normalize`, `Compose`), of ignite the class that its metrics derive from.
"""

from __future__ import annotations

import contextlib
import io
import sys
import types
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks import official
from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import Model, load_model, read_images, require_torch
from reidkit.evaluation import evaluate
from reidkit.model.network import build_network
from reidkit.recipes import get_recipe
from reidkit.recipes.luo2019.interpretations import interpret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL.Image import Image
    from torch import Tensor

    from reidkit.recipe import Recipe

NEEDED = (
    *("data/transforms/build.py", "data/datasets/market1501.py", "data/datasets/dataset_loader.py"),
    *("data/datasets/eval_reid.py", "utils/reid_metric.py"),
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 128
SCORES = ("rank1", "rank5", "rank10", "map")


@dataclass(frozen=True)
class Evaluated:
    """What a program makes of a data set.

    `pixels` float32 [N, 3, H, W] are what its network takes and `features` float32 [N, D] what it gives, not yet of
    length one; queries come first, both parts in the order of their file names. `plain` and `reranked`: its scores.
    """

    names: list[str]
    pixels: Tensor
    features: Tensor
    plain: dict[str, float]
    reranked: dict[str, float]


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        """Of an image, what the last one gives."""
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    """To a height and a width by Pillow's bilinear filter, which is what torchvision calls for a PIL image."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.height, self.width = size

    def __call__(self, image: Image) -> Image:
        """The image at that size."""
        from PIL.Image import Resampling

        return image.resize((self.width, self.height), Resampling.BILINEAR)


class ToTensor:
    """From a PIL image of 8-bit colours to float32 [3, H, W] from 0 to 1."""

    def __call__(self, image: Image) -> Tensor:
        """The tensor."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Normalize:
    """Less the mean, over the standard deviation of each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, image: Tensor) -> Tensor:
        """The normalised image."""
        return (image - self.mean) / self.std


class Metric:
    """What ignite's does for a metric that is made, updated and computed by hand: it resets it at the start."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all that was seen."""
        raise NotImplementedError("the authors' metrics reset themselves")


@contextlib.contextmanager
def stood_in(checkout: official.Checkout) -> Iterator[None]:
    """Give the authors' imports what they ask for, pass over what is printed and what today's torch warns of."""
    modules = {name: types.ModuleType(name) for name in ("torchvision", "torchvision.transforms", "ignite")}
    transforms = {"Compose": Compose, "Resize": Resize, "ToTensor": ToTensor, "Normalize": Normalize}
    vars(modules["torchvision.transforms"]).update(transforms)
    modules["torchvision"].transforms = modules["torchvision.transforms"]  # type: ignore[attr-defined]
    modules["ignite.metrics"] = types.ModuleType("ignite.metrics")
    modules["ignite.metrics"].Metric = Metric  # type: ignore[attr-defined]
    for name in ("data", "data.datasets"):
        modules[name] = types.ModuleType(name)
    modules["data.datasets.eval_reid"] = checkout.module("data/datasets/eval_reid.py")
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def run_official(checkout: official.Checkout, network: Any, data: Path, size: tuple[int, int]) -> Evaluated:
    """List, read, embed and score Market-1501's folders under `data` by the authors' program.

    Raises:
        SystemExit: a file of the checkout that this needs is missing.
    """
    missing = [name for name in NEEDED if not (checkout.folder / name).is_file()]
    if missing:
        raise SystemExit(f"{checkout.folder} has no {', '.join(missing)}: the whole programs cannot be compared")
    config = SimpleNamespace(INPUT=SimpleNamespace(PIXEL_MEAN=MEAN, PIXEL_STD=STD, SIZE_TEST=list(size)))
    with stood_in(checkout):
        transform = load(checkout, "data/transforms/build.py").build_transforms(config, is_train=False)
        market = load(checkout, "data/datasets/market1501.py").Market1501
        market.dataset_dir = data.resolve().name
        listed = market(root=str(data.resolve().parent), verbose=False)
        query, gallery = sorted(listed.query), sorted(listed.gallery)
        images = load(checkout, "data/datasets/dataset_loader.py").ImageDataset(query + gallery, transform)
        pixels = torch.stack([images[row][0] for row in range(len(images))])
        features = _forward(network, pixels)
        metrics = load(checkout, "utils/reid_metric.py")
        pids, camids = ([row[column] for row in query + gallery] for column in (1, 2))
        found = []
        for make in (metrics.R1_mAP, metrics.R1_mAP_reranking):
            metric = make(len(query), max_rank=50, feat_norm="yes")
            metric.update((features, pids, camids))
            cmc, mean = metric.compute()
            found.append(dict(zip(SCORES, (*(float(cmc[rank]) for rank in (0, 4, 9)), float(mean)), strict=True)))
    return Evaluated([Path(row[0]).name for row in query + gallery], pixels, features, *found)


def load(checkout: official.Checkout, name: str) -> Any:
    """A module of the checkout, in single precision, as the program itself runs."""
    module = checkout.module(name)
    torch.set_default_dtype(torch.float32)
    return module


@torch.inference_mode()
def _forward(network: Any, pixels: Tensor) -> Tensor:
    return torch.cat([network(batch) for batch in pixels.split(BATCH)])


def run_ours(model: Model, data: Path) -> Evaluated:
    """The same by reidkit, in float32."""
    dataset = load_dataset(data)
    found = evaluate(model, dataset, precision="fp32", rerank="k-reciprocal")
    paths = [*dataset.query.paths, *dataset.gallery.paths]
    read = torch.from_numpy(np.concatenate(list(read_images(paths, model.input))))
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    pixels = (read.permute(0, 3, 1, 2).float() / 255 - mean) / std
    features = torch.from_numpy(np.concatenate([found.query.vectors, found.gallery.vectors]))
    first = len(dataset.query)
    names = [Path(path).name for path in paths]
    order = sorted(range(first), key=names.__getitem__) + sorted(range(first, len(names)), key=names.__getitem__)
    plain, reranked = (
        {name: float(getattr(scores, name)) for name in SCORES} for scores in (found.scores, found.reranked)
    )
    return Evaluated([names[row] for row in order], pixels[order], features[order], plain, reranked)


def both(checkout: official.Checkout, run: Path, data: Path) -> tuple[Evaluated, Evaluated, Tensor]:
    """Evaluate both programs with the weights of `run`; then run reidkit's network on the authors' pixels.

    The network is the authors' own: where the model's recipe has a ReLU in the stem or a stride elsewhere, the same
    weights are put into a network without, so that its scores are not those of the run.
    """
    model, features = official_model(run)
    start = {_common(name): value for name, value in model.network.state_dict().items()}
    start["classifier.weight"] = start["centers"] = torch.zeros(1, len(start["neck.weight"]))
    network = official.network(checkout, start).float().eval()
    theirs = run_official(checkout, network, data, model.recipe.images.size)
    ours = run_ours(model, data)
    if ours.names != theirs.names:
        raise SystemExit("the programs list other images: give the folders of Market-1501 with --data")
    return ours, theirs, features(theirs.pixels)


def official_model(run: Path) -> tuple[Model, Callable[[Tensor], Tensor]]:
    """The model with the weights of a run in the authors' network, and f_i of images as its network takes them."""
    trained = require_torch(load_model(run))
    recipe: Recipe = trained.recipe
    strong = interpret(get_recipe("strong-baseline"), "official-code").network
    network = replace(strong, width=recipe.network.width, stride_in="3x3")
    if network != replace(recipe.network, stem_relu=False, stride_in="3x3"):
        raise SystemExit("--model is another network than a ResNet-50 with BNNeck and last stride 1: give one with it")
    recipe = replace(recipe, network=network)
    made = build_network(recipe.network)
    made.load_state_dict(trained.network.state_dict())
    model = Model(made.eval(), recipe)

    @torch.inference_mode()
    def features(pixels: Tensor) -> Tensor:
        return torch.cat([made(batch)[1] for batch in pixels.split(BATCH)])

    return model, features


def _common(name: str) -> str:
    return name.removeprefix("backbone.")


def compare(ours: Evaluated, theirs: Evaluated, own_on_theirs: Tensor) -> dict[str, tuple[Any, str]]:
    """How far the programs are from each other, as a value and what it says."""
    grey = (ours.pixels - theirs.pixels).abs() * (255 * torch.tensor(STD)[:, None, None])
    scale = float(theirs.features.abs().max())
    unit_ours, unit_theirs = (torch.nn.functional.normalize(one.features.double()) for one in (ours, theirs))
    found: dict[str, tuple[Any, str]] = {
        "images": (len(ours.names), "queries and gallery images"),
        "pixels": (float(grey.max()), "largest difference of the images that the networks take, in steps of 1/255"),
        "pixels_differ": (float((grey > 0.01).float().mean()), "part of their values that differ"),
        "features_same_pixels": (
            float((own_on_theirs - theirs.features).abs().max()) / scale,
            "largest difference of f_i over the largest, both networks on the authors' pixels",
        ),
        "features": (
            float((ours.features - theirs.features).abs().max()) / scale,
            "largest difference of f_i over the largest, each on its own pixels",
        ),
        "cosine": (float((1 - (unit_ours * unit_theirs).sum(1)).max()), "largest 1 - cosine of an image's two f_i"),
    }
    for kind in ("plain", "reranked"):
        a, b = getattr(ours, kind), getattr(theirs, kind)
        found[f"{kind}_ours"] = ([a[name] for name in SCORES], f"reidkit's {', '.join(SCORES)}, {kind}")
        found[f"{kind}_official"] = ([b[name] for name in SCORES], f"the authors', {kind}")
        found[f"{kind}_apart"] = (max(abs(a[name] - b[name]) for name in SCORES), "their largest difference")
    return found
