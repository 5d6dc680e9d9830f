from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.recipe import Optim, Recipe, override
from reidkit.train.cluster_contrast import SCHEDULE
from reidkit.train.inputs import TrainOptions
from reidkit.train.remarks import schedule_warnings
from reidkit.train.run import train
from reidkit.types import Sample
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path


def warnings(batches: int = 100, **optim: Any) -> tuple[str, ...]:
    """The sentences, each of which names the key that it is about."""
    found = schedule_warnings(Optim(**optim), batches)
    assert all(f"{key}=" in sentence for key, sentence in found)
    return tuple(sentence for _, sentence in found)


@pytest.mark.parametrize(
    "optim",
    [
        {"epochs": 120, "drops": (40, 70), "warmup_epochs": 10},
        {"epochs": 71, "drops": (40, 70)},
        {"epochs": 1, "drops": ()},
        {"epochs": 10, "drops": (), "warmup_epochs": 10},
        {"epochs": 10, "drops": (), "warmup_steps": 1000},
    ],
)
def test_a_schedule_that_fits(optim: dict[str, Any]) -> None:
    assert warnings(**optim) == ()


def test_a_drop_beyond_the_end() -> None:
    """A third and seven twelfths of 60 epochs, as 40 and 70 are of 120."""
    (said,) = warnings(epochs=60, drops=(40, 70))
    assert said.startswith("optim.drops lowers the learning rate after epoch 70, and the run ends with 60: ")
    assert ": optim.drops=[20,35] " in said


def test_an_adaptation_has_proportions_of_its_own() -> None:
    """Drops after two and four fifths, and no warm-up: it was told those of the strong baseline, as "the paper's"."""
    found = schedule_warnings(Optim(epochs=10, drops=(20, 40), warmup_steps=3000), 200, SCHEDULE)
    remedies = [sentence.rpartition(": ")[2] for _, sentence in found]
    ends = "has the published proportions"
    assert remedies == [f"optim.drops=[4,8] {ends}", f"optim.warmup_steps=0 {ends}"]


def test_a_drop_at_the_last_epoch_comes_to_nothing() -> None:
    assert len(warnings(epochs=70, drops=(40, 70))) == 1


def test_a_warm_up_that_is_longer_than_the_run() -> None:
    (said,) = warnings(epochs=9, drops=(), warmup_epochs=10)
    assert "takes 10 epochs and the run 9," in said
    (said,) = warnings(epochs=10, drops=(), warmup_steps=1001)
    assert "takes 1001 steps and the run about 1000," in said


@pytest.mark.parametrize("warmup", ["warmup_epochs", "warmup_steps"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 8, 30, 69])
def test_the_remedies_work(epochs: int, warmup: str) -> None:
    schedule: dict[str, Any] = {"epochs": epochs, "drops": (40, 70), warmup: 9999}
    settings = [found for said in warnings(**schedule) for found in re.findall(r"(optim\.\S+=\S+) has", said)]
    assert len(settings) == 2
    recipe = override(Recipe(), [f"optim.{key}={json.dumps(value)}" for key, value in schedule.items()])
    assert schedule_warnings(override(recipe, settings).optim, 100) == ()


def test_what_has_no_effect_is_said(noise: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rates of new parts and frozen steps of a run from scratch; it takes place all the same."""
    changes = ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0", "optim.new=3", "optim.freeze=2"]
    changes.append("batch.hard_pool=50")
    with caplog.at_level("WARNING", "reidkit.train"):
        train(override(RECIPE, changes), noise, out=tmp_path / "run", options=TrainOptions(precision="fp32"))
    said = {record.__dict__.get("argument"): record.getMessage() for record in caplog.records}
    assert "multiplies the learning rate of the whole network by 3" in said["optim.new"]
    assert "has no effect" in said["optim.freeze"]
    assert said["batch.hard_pool"].startswith("batch.hard_pool=50 chooses no hard ids, as an id has ")


@pytest.mark.parametrize(("camid", "words"), [(3, "come from one camera"), (-1, "come from unknown cameras")])
def test_what_needs_another_camera_is_said(
    noise: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, camid: int, words: str
) -> None:
    changes = ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0", "images.exchange=1", "batch.cameras=spread"]
    images = [Sample(each.path, each.pid, camid) for each in load_dataset(noise).train]
    with caplog.at_level("WARNING", "reidkit.train"):
        train(override(RECIPE, changes), images, out=tmp_path / "run", options=TrainOptions(precision="fp32"))
    said = {record.__dict__.get("argument"): record.getMessage() for record in caplog.records}
    assert said["images.exchange"] == f"images.exchange changes nothing, as the training images {words}"
    assert said["batch.cameras"] == f"batch.cameras=spread changes nothing, as the training images {words}"
