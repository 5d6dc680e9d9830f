"""Which weights of a run are kept: the last ones, their moving average, or the best that were judged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from reidkit.model.network import Network
    from reidkit.recipe import Optim


class FinalWeights:
    """The network that is judged and saved, as `optim.average` and `optim.best_every` of the recipe say.

    With an average a, it is w' <- a w' + (1-a) w after each step, from the weights after the first one on; what batch
    norms remember is averaged alike. With `best_every`, the weights with the highest mAP are put back at the end; of
    equal ones the first.
    """

    def __init__(self, network: Network, optim: Optim) -> None:
        self._network = network
        self._by_score = bool(optim.best_every)
        self._average: AveragedModel | None = None
        if optim.average:
            self._average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(optim.average), use_buffers=True)
        self._best: dict[str, Tensor] = {}
        self.score = -math.inf
        self.epoch = 0
        """The epoch that the best weights come from; 0 while there are none."""

    @property
    def network(self) -> Network:
        """The network as it would be judged now."""
        return self._average.module if self._average is not None else self._network  # type: ignore[return-value]

    def follow(self) -> None:
        """A step was made."""
        if self._average is not None:
            self._average.update_parameters(self._network)

    def evaluated(self, epoch: int, scores: Mapping[str, Any]) -> None:
        """Keep a copy of the weights, if they are the best so far; those from before the first epoch are none."""
        if self._by_score and epoch and scores["map"] > self.score:
            self.score, self.epoch = float(scores["map"]), epoch
            self._best = {name: tensor.cpu().clone() for name, tensor in self.network.state_dict().items()}

    def finish(self) -> Network:
        """The network to save, with the weights that are kept."""
        network = self.network
        if self._best:
            network.load_state_dict(self._best)
        return network

    def state_dict(self) -> dict[str, Any]:
        """The average, and the best weights with their score."""
        average = self._average.state_dict() if self._average is not None else {}
        return {"average": average, "best": self._best, "score": self.score, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        own = self.network.state_dict()
        if state["best"] and {n: t.shape for n, t in state["best"].items()} != {n: t.shape for n, t in own.items()}:
            raise ValueError("the best weights are those of another network")
        self._best = {name: tensor.clone() for name, tensor in state["best"].items()}
        self.score, self.epoch = float(state["score"]), int(state["epoch"])
