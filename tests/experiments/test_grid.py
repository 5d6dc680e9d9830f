"""A table as a job: it shares, goes on, forgives a row, and stops when it is told."""

import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest

from reidkit.errors import DataError, RunError, UsageError
from reidkit.experiments import grid
from reidkit.experiments.grid import make_table
from reidkit.experiments.measure import RunOptions, measure
from reidkit.experiments.plan import plan_runs
from reidkit.train.checkpoint import StoppedError
from tests.commands import SIZE, settings
from tests.experiments.made import order
from tests.noise import draw_noise

OPTIONS = RunOptions(command="reidkit paper table2", device="cpu")
TINY = tuple(settings(SIZE))


@pytest.fixture
def asked(tmp_path, noise):
    """Table 2's rows with BNNeck, which are one training."""
    return order(tmp_path, "table2", data={"noise": noise}, settings=TINY, rows=("ft-euclidean", "fi-cosine"))


@pytest.fixture
def trained(monkeypatch):
    """Which runs are trained, without training them."""
    found = []

    def pretend(run, folders, options):
        found.append((run.recipe.name, run.seed))

    monkeypatch.setattr(grid, "measure", pretend)
    return found


def lines():
    said = []
    return said, replace(OPTIONS, say=said.append)


def test_a_run_for_two_rows_and_then_for_nothing(asked, monkeypatch):
    said, told = lines()
    result = make_table(asked, told)
    assert result.failures == {}
    runs = list((asked.out / "runs").iterdir())
    assert len(runs) == 1
    assert {"model.safetensors", "scores.json", "report.html"} <= {path.name for path in runs[0].iterdir()}
    measured = {row.name: row.cells[0].map.mean for row in result.rows}
    assert 0 < measured["ft-euclidean"] <= 1
    assert 0 < measured["fi-cosine"] <= 1
    assert measured["l2-cosine"] is None
    assert any(line.startswith("  epoch 3/3: loss") for line in said)

    files = {path.suffix for path in asked.out.iterdir() if path.is_file()}
    assert files == {".txt", ".json", ".csv", ".md", ".tex", ".html"}
    (file,) = asked.out.glob("*.json")
    assert json.loads(file.read_text()) == result.as_json()

    monkeypatch.setattr(grid, "measure", None)
    again = make_table(asked, told)
    assert again == result
    assert said[-1].endswith("1 run, 1 done already")

    # Another row of the same training is only searched; its network is not trained again.
    monkeypatch.setattr(grid, "measure", measure)
    monkeypatch.setattr("reidkit.experiments.measure.train", None)
    more = order(asked.out, "table2", data=asked.data, settings=TINY, rows=("fi-euclidean", "ft-cosine"))
    rows = {row.name: row.cells[0].map.mean for row in make_table(more, told).rows}
    assert rows["fi-euclidean"] is not None
    assert rows["ft-euclidean"] == measured["ft-euclidean"]

    # The same name for other images is no way to mix them up.
    other = draw_noise(asked.out / "other", people=range(1, 10))
    mixed = order(asked.out, "table2", data={"noise": other}, settings=TINY, rows=("fi-cosine",))
    (reason,) = make_table(mixed, told).failures.values()
    assert "trained on other images than noise has now" in reason


def test_a_row_that_fails_leaves_the_others(tmp_path, noise, monkeypatch):
    reached = []

    def fail(run, folders, options):
        reached.append(run.recipe.name)
        if run.recipe.name == "warmup":
            raise RunError("the loss is no number")
        if run.recipe.name == "erasing":
            raise ZeroDivisionError("a bug")

    monkeypatch.setattr(grid, "measure", fail)
    _, told = lines()
    asked = order(tmp_path, data={"noise": noise})
    result = make_table(asked, told)
    assert len(reached) == 7
    assert sorted(result.failures.values()) == ["ZeroDivisionError: a bug", "the loss is no number"]
    assert "the loss is no number" in (tmp_path / "table1.md").read_text()


def test_what_another_process_has_made_did_not_fail(tmp_path, noise, monkeypatch):
    """It trains the first row while this one trains the second."""
    asked = order(tmp_path, data={"noise": noise}, settings=TINY, rows=("standard-baseline", "erasing"))
    first, second = plan_runs(asked)

    def elsewhere(run, folders, options):
        if run.folder == first.folder:
            raise RunError("another process is training in it: wait for it")
        measure(first, folders, options)
        measure(second, folders, options)

    monkeypatch.setattr(grid, "measure", elsewhere)
    result = make_table(asked, OPTIONS)
    assert result.failures == {}
    assert [len(row.cells[0].map.values) for row in result.rows if row.name in asked.rows] == [1, 1]
    (file,) = asked.out.glob("*.txt")
    assert "failed" not in file.read_text()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), StoppedError("stopped and saved; go on with: reidkit paper")])
def test_stopping_stops_the_table(tmp_path, noise, monkeypatch, stop):
    reached = []

    def interrupted(run, folders, options):
        reached.append(run)
        raise stop

    monkeypatch.setattr(grid, "measure", interrupted)
    with pytest.raises(StoppedError, match="go on with: reidkit paper") as caught:
        make_table(order(tmp_path, data={"noise": noise}), OPTIONS)
    assert caught.value.status == 130
    assert len(reached) == 1


def test_order_of_runs(tmp_path, noise, trained):
    make_table(order(tmp_path, data={"noise": noise}, seeds=2, rows=("warmup", "standard-baseline")), OPTIONS)
    assert trained == [("standard-baseline", 0), ("standard-baseline", 1), ("warmup", 0), ("warmup", 1)]


def test_what_is_wrong_with_a_data_set_is_said_first(tmp_path, noise, trained):
    with pytest.raises(DataError, match="is not there"):
        make_table(order(tmp_path, data={"noise": noise, "other": tmp_path / "gone"}), OPTIONS)
    train_only = tmp_path / "train-only"
    (train_only / "bounding_box_train").mkdir(parents=True)
    for image in (noise / "bounding_box_train").iterdir():
        (train_only / "bounding_box_train" / image.name).symlink_to(image)
    with pytest.raises(DataError):
        make_table(order(tmp_path, data={"mine": train_only}), OPTIONS)
    with pytest.raises(UsageError, match="no row zzz"):
        make_table(order(tmp_path, data={"noise": noise}, rows=("zzz",)), OPTIONS)
    with pytest.raises(DataError, match="noise has 8 ids to train on, and a batch takes 9: take at most 8 ids"):
        make_table(order(tmp_path, data={"noise": noise}, settings=("batch.ids=9",), size="small"), OPTIONS)
    assert trained == []


def test_without_data_the_published_table_is_written(tmp_path, trained):
    result = make_table(order(tmp_path, data={}), OPTIONS)
    assert "94.5 / 85.9" in (tmp_path / "table1.txt").read_text()
    assert sum("is not measured" in note for note in result.notes) == 2


def test_a_worker_is_told_everything(asked):
    (training,) = plan_runs(asked)
    options = replace(OPTIONS, compile=True, format="csv")
    told = json.loads(json.dumps(grid.to_json(training, asked.data, options)))
    found, folders, machine = grid.from_json(told)
    assert (found.recipe, found.folder, found.searches) == (training.recipe, training.folder, training.searches)
    assert (folders, machine) == (dict(asked.data), options)


def test_all_workers_are_asked_to_stop_before_one_is_waited_for(asked, monkeypatch):
    done = []

    class Idle:
        ended = False

        def ask_to_stop(self):
            done.append("asked")

        def stop(self):
            done.append("waited for")

    def interrupted(_):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(grid, "_start", lambda run, *_: (run, Idle()))
    monkeypatch.setattr(grid, "time", SimpleNamespace(sleep=interrupted))  # time itself belongs to other threads, too
    runs = plan_runs(order(asked.out, "table2", data=asked.data, settings=TINY, rows=("fi-cosine",), seeds=2))
    with pytest.raises(StoppedError):
        grid.measure_all(runs, asked.data, OPTIONS, 2, lambda *_: None)
    assert done == ["asked", "asked", "waited for", "waited for"]


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
        make_table(longer, replace(OPTIONS, say=interrupt), processes=2)
    assert 1 <= len(epochs) < 60
    said, told = lines()
    result = make_table(longer, told)
    assert result.failures == {}
    assert len(next(row for row in result.rows if row.name == "fi-cosine").cells[0].map.values) == 2
    assert len([line for line in said if "epoch" in line]) + len(epochs) in (60, 61, 62)
