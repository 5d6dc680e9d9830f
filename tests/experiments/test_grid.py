"""A table as a job: it shares, goes on, forgives a row, and stops when it is told."""

import json
import os
import signal

import pytest

from reidkit.errors import DataError, RunError, UsageError
from reidkit.experiments import grid, workers
from reidkit.experiments.grid import make
from reidkit.experiments.measure import Machine, Watch, measure
from reidkit.experiments.plan import plan
from reidkit.train.stop import StoppedError
from tests.commands import SIZE, settings
from tests.experiments.made import order
from tests.noise import draw_noise

MACHINE = Machine(command="reidkit paper table2", device="cpu")
TINY = tuple(settings(SIZE))


@pytest.fixture
def asked(tmp_path, noise):
    """Table 2's rows with BNNeck, which are one training."""
    return order(tmp_path, "table2", data={"noise": noise}, settings=TINY, rows=("ft-euclidean", "fi-cosine"))


@pytest.fixture
def trained(monkeypatch):
    """Which runs are trained, without training them."""
    found = []

    def pretend(training, folders, machine, watch):
        found.append((training.recipe.name, training.seed))

    monkeypatch.setattr(grid, "measure", pretend)
    return found


def lines():
    said = []
    return said, Watch(say=said.append)


def test_a_run_for_two_rows_and_then_for_nothing(asked, monkeypatch):
    said, watch = lines()
    result = make(asked, MACHINE, watch)
    assert result.failures == {}
    runs = list((asked.out / "runs").iterdir())
    assert len(runs) == 1
    assert {"model.safetensors", "scores.json", "report.html"} <= {path.name for path in runs[0].iterdir()}
    measured = {row.line.name: row.cells[0].map.mean for row in result.sheet.rows}
    assert 0 < measured["ft-euclidean"] <= 1
    assert 0 < measured["fi-cosine"] <= 1
    assert measured["l2-cosine"] is None
    assert any(line.startswith("  epoch 3/3: loss") for line in said)

    files = {path.suffix for path in asked.out.iterdir() if path.is_file()}
    assert files == {".txt", ".json", ".csv", ".md", ".tex", ".html"}
    (file,) = asked.out.glob("*.json")
    assert json.loads(file.read_text()) == result.sheet.as_json()

    monkeypatch.setattr(grid, "measure", None)
    again = make(asked, MACHINE, watch)
    assert again.sheet == result.sheet
    assert said[-1].endswith("1 run, 1 done already")

    # Another row of the same training is only searched; its network is not trained again.
    monkeypatch.setattr(grid, "measure", measure)
    monkeypatch.setattr("reidkit.experiments.measure.run", None)
    more = order(asked.out, "table2", data=asked.data, settings=TINY, rows=("fi-euclidean", "ft-cosine"))
    rows = {row.line.name: row.cells[0].map.mean for row in make(more, MACHINE, watch).sheet.rows}
    assert rows["fi-euclidean"] is not None
    assert rows["ft-euclidean"] == measured["ft-euclidean"]

    # The same name for other images is no way to mix them up.
    other = draw_noise(asked.out / "other", people=range(1, 10))
    mixed = order(asked.out, "table2", data={"noise": other}, settings=TINY, rows=("fi-cosine",))
    (reason,) = make(mixed, MACHINE, watch).failures.values()
    assert "trained on other images than noise has now" in reason


def test_a_row_that_fails_leaves_the_others(tmp_path, noise, monkeypatch):
    reached = []

    def fail(training, folders, machine, watch):
        reached.append(training.recipe.name)
        if training.recipe.name == "warmup":
            raise RunError("the loss is no number")
        if training.recipe.name == "erasing":
            raise ZeroDivisionError("a bug")

    monkeypatch.setattr(grid, "measure", fail)
    _, watch = lines()
    asked = order(tmp_path, data={"noise": noise})
    result = make(asked, MACHINE, watch)
    assert len(reached) == 7
    assert sorted(result.failures.values()) == ["ZeroDivisionError: a bug", "the loss is no number"]
    assert "the loss is no number" in (tmp_path / "table1.md").read_text()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), StoppedError("stopped and saved; go on with: reidkit paper")])
def test_stopping_stops_the_table(tmp_path, noise, monkeypatch, stop):
    reached = []

    def interrupted(training, folders, machine, watch):
        reached.append(training)
        raise stop

    monkeypatch.setattr(grid, "measure", interrupted)
    with pytest.raises(StoppedError, match="go on with: reidkit paper") as caught:
        make(order(tmp_path, data={"noise": noise}), MACHINE, Watch())
    assert caught.value.status == 130
    assert len(reached) == 1


def test_order_of_runs(tmp_path, noise, trained):
    make(order(tmp_path, data={"noise": noise}, seeds=2, rows=("warmup", "standard-baseline")), MACHINE, Watch())
    assert trained == [("standard-baseline", 0), ("standard-baseline", 1), ("warmup", 0), ("warmup", 1)]


def test_what_is_wrong_with_a_data_set_is_said_first(tmp_path, noise, trained):
    with pytest.raises(DataError, match="is not there"):
        make(order(tmp_path, data={"noise": noise, "other": tmp_path / "gone"}), MACHINE, Watch())
    train_only = tmp_path / "train-only"
    (train_only / "bounding_box_train").mkdir(parents=True)
    for image in (noise / "bounding_box_train").iterdir():
        (train_only / "bounding_box_train" / image.name).symlink_to(image)
    with pytest.raises(DataError):
        make(order(tmp_path, data={"mine": train_only}), MACHINE, Watch())
    with pytest.raises(UsageError, match="no row zzz"):
        make(order(tmp_path, data={"noise": noise}, rows=("zzz",)), MACHINE, Watch())
    assert trained == []


def test_without_data_the_published_table_is_written(tmp_path, trained):
    result = make(order(tmp_path, data={}), MACHINE, Watch())
    assert "94.5 / 85.9" in (tmp_path / "table1.txt").read_text()
    assert sum("is not measured" in note for note in result.sheet.notes) == 2


def test_a_worker_is_told_everything(asked):
    (training,) = plan(asked)
    told = json.loads(json.dumps(workers.to_json(training, asked.data, MACHINE)))
    found, folders, machine = workers.from_json(told)
    assert (found.recipe, found.folder, found.searches) == (training.recipe, training.folder, training.searches)
    assert (folders, machine) == (dict(asked.data), MACHINE)


def test_workers_stop_with_the_table_and_go_on_with_it(asked):
    """Ctrl-C reaches one of two workers after its first epoch; both save, and a second call ends what they began."""
    longer = order(
        asked.out, "table2", data=asked.data, settings=(*TINY, "optim.epochs=30"), rows=("fi-cosine",), seeds=2
    )
    epochs = []

    def interrupt(line):
        if "epoch" in line:
            epochs.append(line)
            if len(epochs) == 1:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoppedError, match="every run is saved; go on with: reidkit paper table2"):
        make(longer, MACHINE, Watch(say=interrupt), processes=2)
    assert 1 <= len(epochs) < 60
    said, watch = lines()
    result = make(longer, MACHINE, watch)
    assert result.failures == {}
    assert len(next(row for row in result.sheet.rows if row.line.name == "fi-cosine").cells[0].map.values) == 2
    assert len([line for line in said if "epoch" in line]) + len(epochs) in (60, 61, 62)
