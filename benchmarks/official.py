"""The authors' own program, imported from a checkout of reid-strong-baseline, behind the interface of `reference.py`.

Only single modules are imported, so that neither ignite, yacs, torchvision nor a GPU is needed: the network, the
losses, the optimisers, the rate, the sampler, the scores and re-ranking. What ties them together there
(`engine/trainer.py`, `make_loss_with_center`, `R1_mAP`) needs those packages and is written again here, statement by
statement. The program is for torch 1.0; what today's torch warns of therefore is passed over.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import random
import sys
import tempfile
import types
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.reference import Setting, learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Weights = dict[str, Tensor]

NEEDED = (
    "modeling/baseline.py",
    "layers/triplet_loss.py",
    "layers/center_loss.py",
    "solver/build.py",
    "data/samplers/triplet_sampler.py",
    "data/datasets/eval_reid.py",
    "utils/re_ranking.py",
)
RATE = "solver/lr_scheduler.py"
PACKAGE = "official_program"


class Checkout:
    """The folder of the authors' program."""

    def __init__(self, folder: Path) -> None:
        """Raises SystemExit where a file is missing."""
        missing = [name for name in NEEDED if not (folder / name).is_file()]
        if missing:
            raise SystemExit(
                f"{folder} has no {', '.join(missing)}: give a checkout of reid-strong-baseline with --official"
            )
        self.folder = folder
        self.has_rate = (folder / RATE).is_file()

    def module(self, name: str) -> Any:
        """One of its modules by its path, such as `layers/center_loss.py`; packages' own `__init__` are not run."""
        parts = (PACKAGE, *Path(name).with_suffix("").parts)
        for depth in range(1, len(parts)):
            package = types.ModuleType(".".join(parts[:depth]))
            package.__path__ = [str(self.folder.joinpath(*parts[1:depth]))]
            sys.modules.setdefault(package.__name__, package)
        with quiet():
            return importlib.import_module(".".join(parts))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Pass over what it prints and what today's torch warns of; new tensors are in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(before)


def solver(setting: Setting) -> SimpleNamespace:
    """The part of its configuration that the optimisers read, as `softmax_triplet_with_center.yml` has it."""
    return SimpleNamespace(
        SOLVER=SimpleNamespace(
            BASE_LR=setting.lr,
            WEIGHT_DECAY=setting.weight_decay,
            BIAS_LR_FACTOR=1,
            WEIGHT_DECAY_BIAS=setting.weight_decay,
            OPTIMIZER_NAME="Adam",
            CENTER_LR=setting.center_lr,
        )
    )


class OfficialTraining:
    """Training with the authors' modules; weights under the names of `reference.Reference`."""

    name = "official"

    def __init__(self, checkout: Checkout, start: Weights, setting: Setting | None = None) -> None:
        self.setting = setting or Setting()
        ids, channels = start["classifier.weight"].shape
        losses = checkout.module("layers/triplet_loss.py")
        with quiet():
            self.network = network(checkout, start).train()
            self.identity = losses.CrossEntropyLabelSmooth(ids, epsilon=self.setting.smoothing, use_gpu=False)
            self.triplet = losses.TripletLoss(self.setting.margin)
            self.center = checkout.module("layers/center_loss.py").CenterLoss(ids, channels, use_gpu=False)
            self.center.centers.data.copy_(start["centers"])
            self.optimizer, self.center_optimizer = checkout.module("solver/build.py").make_optimizer_with_center(
                solver(self.setting), self.network, self.center
            )
            self.rate = _rate(checkout, self.optimizer, self.setting)

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> dict[str, float]:
        """One step at the rate of an epoch; the weighted terms of the loss before it, and the rate."""
        with quiet():
            lr = self.rate(epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.zero_grad()
            self.center_optimizer.zero_grad()
            score, feature = self.network(images)
            terms = {
                "identity": self.identity(score, labels),
                "triplet": self.triplet(feature, labels)[0],
                "center": self.setting.center_weight * self.center(feature, labels),
            }
            (terms["identity"] + terms["triplet"] + terms["center"]).backward()
            self.optimizer.step()
            self.center.centers.grad.data *= 1.0 / self.setting.center_weight
            self.center_optimizer.step()
        return {name: float(term.detach()) for name, term in terms.items()} | {"lr": lr}

    def weights(self) -> Weights:
        """All weights, running statistics and centres."""
        found = {_ours(name): value for name, value in self.network.state_dict().items()}
        return {**found, "centers": self.center.centers.detach()}

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """f_i as it is searched with."""
        self.network.eval()
        with quiet():
            features: Tensor = self.network(images)
        self.network.train()
        return features


def network(checkout: Checkout, start: Weights) -> Any:
    """Its network with these weights; its constructor reads those of the backbone from a file."""
    offered = {
        "num_classes": len(start["classifier.weight"]),
        "last_stride": 1,
        "neck": "bnneck",
        "neck_feat": "after",
        "model_name": "resnet50",
        "pretrain_choice": "imagenet",
    }
    make = checkout.module("modeling/baseline.py").Baseline
    backbone = {name: value for name, value in start.items() if name.split(".")[0] not in ("neck", "classifier")}
    backbone.pop("centers")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "backbone.pth")
        torch.save(backbone, path)
        offered["model_path"] = str(path)
        wanted = inspect.signature(make).parameters
        made = make(**{name: value for name, value in offered.items() if name in wanted})
    made.load_state_dict({name: start[_ours(name)] for name in made.state_dict()})
    return made


def _ours(name: str) -> str:
    return name.removeprefix("base.").replace("bottleneck.", "neck.", 1)


def _rate(checkout: Checkout, optimizer: Any, setting: Setting) -> Any:
    """The rate of an epoch, counted from 1: torch 1.0 gave its scheduler one less."""
    if not checkout.has_rate:
        return lambda epoch: learning_rate(setting, epoch)
    scheduler = checkout.module(RATE).WarmupMultiStepLR(
        optimizer, setting.drops, setting.gamma, setting.warmup_from, setting.warmup_epochs, "linear"
    )

    def rate(epoch: int) -> float:
        scheduler.last_epoch = epoch - 1
        return float(scheduler.get_lr()[0])

    return rate


def market_scores(
    checkout: Checkout,
    distances: NDArray[Any],
    query: tuple[NDArray[np.int64], NDArray[np.int64]],
    gallery: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> dict[str, Any]:
    """Its CMC and mAP. Its data sets drop junk when they are listed, so it is dropped here."""
    kept = gallery[0] != -1
    with quiet():
        curve, mean = checkout.module("data/datasets/eval_reid.py").eval_func(
            distances[:, kept], query[0], gallery[0][kept], query[1], gallery[1][kept]
        )
    return {"rank1": float(curve[0]), "rank5": float(curve[4]), "rank10": float(curve[9]), "map": float(mean)}


def k_reciprocal(checkout: Checkout, query: NDArray[Any], gallery: NDArray[Any]) -> NDArray[Any]:
    """Its re-ranked distances of features of length one; it holds the encoding in half precision."""
    with quiet():
        found = checkout.module("utils/re_ranking.py").re_ranking(
            torch.from_numpy(query), torch.from_numpy(gallery), 20, 6, 0.3
        )
    return np.asarray(found)


def epoch_of_batches(
    checkout: Checkout, pids: Sequence[int], ids: int, images: int, rng: random.Random
) -> list[list[int]]:
    """The batches of an epoch of its sampler, which draws from the random states of `random` and NumPy."""
    random.seed(rng.getrandbits(32))
    np.random.seed(rng.getrandbits(32))
    listing = [("", pid, 0) for pid in pids]
    sampler = checkout.module("data/samplers/triplet_sampler.py").RandomIdentitySampler(listing, ids * images, images)
    order = [int(index) for index in sampler]
    size = ids * images
    return [order[n : n + size] for n in range(0, len(order), size)]
