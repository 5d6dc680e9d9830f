"""Runs of a few steps on noise in memory, for tests of the loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.data.loaders import build_batches
from reidkit.data.sources import MappedImages
from reidkit.losses.objective import build_objective
from reidkit.model.network import Network, build_network
from reidkit.recipe import override
from reidkit.recipes import get_recipe
from reidkit.train.checkpoint import Interrupt
from reidkit.train.log import TIMINGS, Log, Row, read
from reidkit.train.loop import LoopOptions, fit
from reidkit.types import Sample
from tests.commands import SIZE, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from reidkit.data.loaders import TrainBatches
    from reidkit.recipe import Recipe
    from reidkit.train.loop import FinalWeights

RECIPE = override(get_recipe("strong-baseline"), settings(SIZE))
PEOPLE, IMAGES = 8, 4


def nothing(run: Run, step: int) -> None:
    """No fault."""


class CrashError(Exception):
    """Stands for whatever ends a process without a word."""


@dataclass
class Run:
    """A run in `folder` that can be begun again and again. `fault(step)` is called before each step."""

    folder: Path
    recipe: Recipe = RECIPE
    save_every: int = 1
    evaluate_every: int = 0
    judge: Callable[[Any], dict[str, float]] | None = None
    fault: Callable[[Run, int], None] = nothing
    interrupt: Interrupt = field(default_factory=lambda: Interrupt("reidkit train --resume"))
    network: Network = field(init=False)
    kept: FinalWeights = field(init=False)

    def go(self, fault: Callable[[Run, int], None] | None = None) -> Network:
        """Train from where the folder is to the end, or to what `fault` brings about."""
        torch.manual_seed(0)
        self.network = build_network(self.recipe.network)
        network = self.network
        objective = build_objective(self.recipe, network.spans, PEOPLE, ranked=network.ranked, aside=network.aside)
        self.interrupt = Interrupt("reidkit train --resume")
        options = LoopOptions(
            device=torch.device("cpu"),
            precision=torch.float32,
            state=self.folder / "state.pt",
            log=Log(self.folder / "log.jsonl"),
            interrupt=self.interrupt,
            save_every=self.save_every,
            evaluate_every=self.evaluate_every,
            evaluate=self.judge,
        )
        batches = _batches(self, fault or self.fault)
        self.kept = fit(self.network, objective, batches, self.recipe, options)
        return self.network

    def rows(self, kind: str = "") -> list[Row]:
        """The log without what differs from run to run."""
        rows = read(self.folder / "log.jsonl")
        return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows if kind in ("", row["kind"])]


def _batches(run: Run, fault: Callable[[Run, int], None]) -> TrainBatches:
    """Batches that call a fault before each is handed out; its step counts from the first of the first epoch."""
    rng = np.random.default_rng(1)
    height, width = run.recipe.images.height, run.recipe.images.width
    pixels = rng.integers(0, 256, (PEOPLE * IMAGES, height, width, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(PEOPLE), IMAGES)
    samples = [Sample(run.folder / f"{i}.jpg", int(pid), i % 2) for i, pid in enumerate(labels)]
    source = MappedImages(pixels, samples, np.arange(len(samples)))
    made = build_batches(source, labels, run.recipe, 0, torch.device("cpu"))
    made.watcher = lambda epoch, batch, _: fault(run, sum(map(made.count, range(1, epoch))) + batch + 1)
    return made


def same_weights(ours: nn.Module, theirs: nn.Module) -> bool:
    """Bit for bit."""
    mine, other = ours.state_dict(), theirs.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
