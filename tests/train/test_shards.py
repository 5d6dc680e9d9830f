"""Training from shards: the run is that of the folder the shards were made from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.data.shards.index import INDEX
from reidkit.data.shards.writer import convert
from reidkit.errors import UsageError
from reidkit.recipe import override
from reidkit.train.run import TrainOptions, run
from reidkit.train.run_report import write
from tests.data.shards.made import noise_shards
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.train.run import TrainResult

TWO_EPOCHS = override(RECIPE, ["optim.epochs=2", "optim.drops=[]", "optim.warmup_epochs=0"])


@pytest.fixture(scope="module")
def from_files(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return run(TWO_EPOCHS, TrainOptions(out=tmp_path_factory.mktemp("files") / "run", data=(noise,), precision="fp32"))


@pytest.mark.parametrize(("kind", "stream"), [("webdataset", None), ("webdataset", True), ("parquet", None)])
def test_the_run_is_that_of_the_folder(
    noise: Path, tmp_path: Path, from_files: TrainResult, kind: Any, stream: bool | None
) -> None:
    """The weights, bit for bit, and so the scores; where all fits one window a stream has the same order too."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    convert(load_dataset(noise), tmp_path / "shards", kind, 6)
    job = TrainOptions(out=tmp_path / "run", data=(tmp_path / "shards",), precision="fp32", stream=stream)
    outcome = run(TWO_EPOCHS, job)
    assert outcome.model.fingerprint == from_files.model.fingerprint
    assert outcome.evaluation is not None
    assert from_files.evaluation is not None
    assert outcome.evaluation.scores.as_json() == from_files.evaluation.scores.as_json()
    assert outcome.description == f"{kind}: 32 training images of 8 people from 2 cameras"
    write(job.out, outcome, "reidkit train")
    assert (job.out / "report.html").read_text().count("data:image/jpeg") > 20, "images of shards are on the page"


def test_a_run_does_not_go_on_in_another_order_or_on_other_images(tmp_path: Path) -> None:
    shards = noise_shards(tmp_path / "shards")
    job = TrainOptions(out=tmp_path / "run", data=(shards,), resume=True)
    run(TWO_EPOCHS, job)
    facts = json.loads((job.out / "run.json").read_text())
    run(TWO_EPOCHS, job)
    assert json.loads((job.out / "run.json").read_text()) == facts
    with pytest.raises(UsageError, match=r"begun otherwise.*streamed"):
        run(TWO_EPOCHS, replace(job, stream=True))
    noise_shards(tmp_path / "shards", images=5)
    with pytest.raises(UsageError, match="begun otherwise"):
        run(TWO_EPOCHS, job)
    assert not (shards / INDEX).exists(), "nothing is written beside other people's shards"


def test_people_who_lie_apart_are_spoken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard has one image of each person; batches want two."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    from tests.data.shards.made import pair, picture, tar

    for shard in range(4):
        images = [item for pid in range(8) for item in pair(f"k{pid}", picture(8 * shard + pid), pid=pid, camid=0)]
        tar(tmp_path / "set" / f"train-{shard}.tar", images)
    said: list[str] = []
    job = TrainOptions(out=tmp_path / "run", data=(tmp_path / "set",), say=said.append)
    run(override(TWO_EPOCHS, ["optim.epochs=1"]), job)
    assert not any("lie apart" in line for line in said), "read one by one, it does not matter"
    run(override(TWO_EPOCHS, ["optim.epochs=1"]), replace(job, out=tmp_path / "other", stream=True))
    assert any(line.startswith("100% of the images lie apart from the others of their person") for line in said)
