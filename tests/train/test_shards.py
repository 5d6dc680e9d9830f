"""Training from shards: the run is that of the folder the shards were made from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.data.shards.index import INDEX
from reidkit.data.shards.writer import convert
from reidkit.errors import UsageError
from reidkit.recipe import override
from reidkit.train.inputs import TrainOptions
from reidkit.train.log import log_lines
from reidkit.train.run import train
from tests.data.shards.made import noise_shards
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.train.run import Run

TWO_EPOCHS = override(RECIPE, ["optim.epochs=2", "optim.drops=[]", "optim.warmup_epochs=0"])


@pytest.fixture(scope="module")
def from_files(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("files") / "run"
    return train(TWO_EPOCHS, noise, out=out, options=TrainOptions(precision="fp32"))


@pytest.mark.parametrize(("kind", "stream"), [("webdataset", None), ("webdataset", True), ("parquet", None)])
def test_the_run_is_that_of_the_folder(
    noise: Path, tmp_path: Path, from_files: Run, kind: Any, stream: bool | None
) -> None:
    """The weights, bit for bit, and so the scores; where all fits one window a stream has the same order too."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    convert(load_dataset(noise), tmp_path / "shards", kind, 6)
    options = TrainOptions(precision="fp32", stream=stream)
    run = train(TWO_EPOCHS, tmp_path / "shards", out=tmp_path / "run", options=options)
    assert run.model.fingerprint == from_files.model.fingerprint
    assert run.evaluation is not None
    assert from_files.evaluation is not None
    assert run.evaluation.scores.as_json() == from_files.evaluation.scores.as_json()
    assert run.description == f"{kind}: 32 training images of 8 ids from 2 cameras"
    run.write_report("reidkit train")
    assert (run.folder / "report.html").read_text().count("data:image/jpeg") > 20, "images of shards are on the page"


def test_a_run_does_not_go_on_in_another_order_or_on_other_images(tmp_path: Path) -> None:
    shards = noise_shards(tmp_path / "shards")
    go = partial(train, TWO_EPOCHS, shards, out=tmp_path / "run", resume=True)
    go()
    facts = (tmp_path / "run" / "run.json").read_text()
    go()
    assert (tmp_path / "run" / "run.json").read_text() == facts
    with pytest.raises(UsageError, match=r"begun otherwise.*streamed"):
        go(options=TrainOptions(stream=True))
    noise_shards(tmp_path / "shards", images=5)
    with pytest.raises(UsageError, match="begun otherwise"):
        go()
    assert not (shards / INDEX).exists(), "nothing is written beside other people's shards"


def test_people_who_lie_apart_are_spoken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard has one image of each person; batches want two."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    from tests.data.shards.made import pair, picture, tar

    for shard in range(4):
        images = [item for pid in range(8) for item in pair(f"k{pid}", picture(8 * shard + pid), pid=pid, camid=0)]
        tar(tmp_path / "set" / f"train-{shard}.tar", images)
    said: list[str] = []
    recipe = override(TWO_EPOCHS, ["optim.epochs=1"])
    with log_lines(said.append):
        train(recipe, tmp_path / "set", out=tmp_path / "run")
        assert not any("lie apart" in line for line in said), "read one by one, it does not matter"
        train(recipe, tmp_path / "set", out=tmp_path / "other", options=TrainOptions(stream=True))
    assert any(line.startswith("warning: 100% of the images lie apart from the others of their id") for line in said)
