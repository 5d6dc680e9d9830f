"""`data`, `train`, `evaluate` and `calibrate` where training and test share ids, or one camera took all."""

from __future__ import annotations

from shutil import copytree
from typing import TYPE_CHECKING

import pytest

from reidkit.data.overlap import RECORD
from tests.commands import training
from tests.noise import GALLERY, QUERY, TRAIN, draw_noise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


@pytest.fixture(scope="module")
def shared(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A set whose four ids of the test are among the eight of the training, a run on it, and what the run warned of."""
    folder = tmp_path_factory.mktemp("shared")
    data = draw_noise(folder / "data", evaluated=range(1, 5))
    value = nursery.run(*training(data, folder / "run"), "--json").json()
    return data, folder / "run", value["warnings"]


def test_data_and_train_say_what_is_shared(nursery: Nursery, shared: tuple[Path, Path, list[str]]) -> None:
    data, _, warnings = shared
    (warning,) = (warning for warning in warnings if "training and test" in warning)
    assert warning.startswith("training and test (query and gallery) share 4 ids (1, 2, 3, ...) and 0 images")
    done = nursery.run("data", data, "--json")
    assert done.json()["shared"] == {"ids": 4, "images": 0, "first": [1, 2, 3]}
    assert warning in done.err
    assert "shared       4 ids (1, 2, 3, ...) and 0 images" in nursery.run("data", data).out


def test_evaluate_knows_the_training_ids(nursery: Nursery, shared: tuple[Path, Path, list[str]], noise: Path) -> None:
    data, run, _ = shared
    done = nursery.run("evaluate", run, "--data", data, "--no-cache", "--json")
    assert done.json()["trained_on"] == {"ids": 4, "images": 0, "first": [1, 2, 3]}
    assert "warning: the model was trained on 4 ids" in done.err
    other = nursery.run("evaluate", run, "--data", noise, "--no-cache", "--json").json()
    assert (other["trained_on"], other["warnings"]) == ({"ids": 0, "images": 0, "first": []}, [])


def test_calibrate_refuses_training_images(
    nursery: Nursery, shared: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    """The training images as query and gallery, in a set of their own."""
    data, run, _ = shared
    for folder in (QUERY, GALLERY):
        copytree(data / TRAIN, tmp_path / folder)
    draw_noise(tmp_path, people=range(21, 23), evaluated=())
    words = ["calibrate", run, "--data", tmp_path, "--far", "0.1", "--no-cache", "--out", tmp_path / "c.json"]
    done = nursery.run(*words)
    assert done.status == 1
    assert done.line().startswith("8 ids of market1501's query and gallery are ids that the model was trained on")
    assert not (tmp_path / "c.json").exists()
    stored = nursery.run(*words, "--allow-training-ids", "--json").json()
    assert stored["trained_on"]["ids"] == 8
    assert any("the model was trained on 8 ids" in warning for warning in stored["warnings"])


def test_an_older_run_says_that_nothing_is_known(
    nursery: Nursery, shared: tuple[Path, Path, list[str]], noise: Path, tmp_path: Path
) -> None:
    copytree(shared[1], tmp_path / "run")
    (tmp_path / "run" / RECORD).unlink()
    value = nursery.run("evaluate", tmp_path / "run", "--data", noise, "--no-cache", "--json").json()
    assert value["trained_on"] is None
    (warning,) = value["warnings"]
    assert warning.startswith("what the model was trained on is not written down")


def test_train_where_one_camera_took_all(nursery: Nursery, tmp_path: Path) -> None:
    """Each query has the two gallery images of its id; with --cameras cross there is no score."""
    data = draw_noise(tmp_path / "data")
    for path in [*data.glob("*/*_c2*.jpg")]:
        path.unlink()
    words = ["--set", "batch.images=2"]
    done = nursery.run(*training(data, tmp_path / "cross"), *words)
    assert done.status == 0
    assert "no scores from this data" in done.err
    assert "(--cameras)" in done.err
    value = nursery.run(*training(data, tmp_path / "any"), *words, "--cameras", "any", "--json").json()
    assert (value["queries"], value["gallery"]) == (4, 8)
    assert not any("gallery" in warning for warning in value["warnings"])
    page = (tmp_path / "any" / "report.html").read_text()
    assert "cameras" in page
