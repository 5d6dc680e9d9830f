from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from reidkit.recipe import Optim, override
from reidkit.train.loop import FinalWeights
from tests.train.test_loop import crash_at
from tests.train.tiny import RECIPE, CrashError, Run, same_weights

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.model.network import Network


def line(weight: float) -> nn.Linear:
    made = nn.Linear(1, 1, bias=False)
    nn.init.constant_(made.weight, weight)
    return made


def kept(network: nn.Module, optim: Optim) -> FinalWeights:
    return FinalWeights(network, average=optim.average, best=optim.best_every > 0)  # type: ignore[arg-type]


def weight(network: object) -> float:
    assert isinstance(network, nn.Linear)
    return network.weight.item()


def test_the_average_by_hand() -> None:
    """Decay 0.9 and the weights 1, 2, 4: 1, then 0.9 + 0.2 = 1.1, then 0.99 + 0.4 = 1.39."""
    network = line(0.0)
    average = kept(network, Optim(average=0.9))
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(network.weight, value)
        average.update()
    assert weight(average.network) == pytest.approx(1.39)
    assert weight(average.finish()) == pytest.approx(1.39)
    assert weight(network) == 4.0


def test_what_batch_norm_remembers_is_averaged_too() -> None:
    norm = nn.BatchNorm1d(1)
    average = kept(norm, Optim(average=0.5))
    for value in (2.0, 4.0):
        nn.init.constant_(norm.running_mean, value)  # type: ignore[arg-type]
        average.update()
    assert average.network.running_mean.item() == pytest.approx(3.0)  # type: ignore[operator]


def test_the_best_and_of_equal_ones_the_first() -> None:
    network = line(0.0)
    best = kept(network, Optim(best_every=1))
    for epoch, score in enumerate((0.9, 0.2, 0.5, 0.5, 0.1)):
        nn.init.constant_(network.weight, float(epoch))
        best.evaluated(epoch, {"map": score})
    assert (best.epoch, best.score) == (2, 0.5), "what was before the first epoch does not count"
    assert weight(best.finish()) == 2.0


def test_without_either_the_last_weights_are_kept() -> None:
    network = line(3.0)
    plain = kept(network, Optim())
    plain.update()
    plain.evaluated(1, {"map": 1.0})
    assert weight(plain.finish()) == 3.0


def falling(network: Network) -> dict[str, float]:
    """A score that weights which have learned for longer get less of."""
    return {"rank1": 0.5, "map": 1 / (1 + float(network.state_dict()["neck.num_batches_tracked"]))}


@pytest.mark.parametrize("setting", ["optim.average=0.8", "optim.best_every=1"])
def test_crashed_and_gone_on_with_the_same_is_kept(setting: str, tmp_path: Path) -> None:
    def begin(name: str) -> Run:
        (tmp_path / name).mkdir()
        return Run(tmp_path / name, override(RECIPE, [setting]), judge=falling, evaluate_every=1)

    whole = begin("whole")
    last = whole.go()
    learned = {name: tensor.clone() for name, tensor in last.state_dict().items()}
    kept_state = whole.kept.finish().state_dict()
    assert not all(torch.equal(kept_state[name], tensor) for name, tensor in learned.items())
    assert whole.kept.epoch == (1 if "best" in setting else 0)
    for step in (2, 5, 8):
        run = begin(str(step))
        with pytest.raises(CrashError):
            run.go(crash_at(step))
        run.go()
        assert run.kept.epoch == whole.kept.epoch
        assert same_weights(run.kept.finish(), whole.kept.finish())
        assert run.rows() == whole.rows()
