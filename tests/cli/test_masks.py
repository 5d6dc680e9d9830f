"""`--masks` and `--keypoints` as users give them, from `reidkit synth --masks` on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.commands import SIZE, settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

TINY = SIZE | {"optim.epochs": 1, "optim.drops": [], "optim.warmup_epochs": 0, "network.head": "single"}
SYNTH = ("--ids", 8, "--cameras", 2, "--images-per-camera", 2, "--height", 64, "--width", 32)


def test_from_synthetic_people_to_scores(nursery: Nursery, tmp_path: Path) -> None:
    people, run = tmp_path / "people", tmp_path / "run"
    drawn = nursery.run("synth", people, *SYNTH, "--masks")
    assert "keypoints.json" in drawn.out
    sets = [word for setting in settings(TINY) for word in ("--set", setting)]
    words = ["train", "pse", "--data", people, "--out", run, "--no-cache", *sets]
    without = nursery.run(*words)
    assert without.status == 2
    assert without.line().startswith("the network takes keypoints beside each image")
    assert without.line().endswith("(--masks)")
    keypoints = people / "masks" / "keypoints.json"
    trained = nursery.run(*words, "--keypoints", keypoints, "--json").json()
    scores = nursery.run("evaluate", run, "--data", people, "--masks", people / "masks", "--no-cache", "--json").json()
    assert abs(scores["map"] - trained["map"]) < 1e-6
    made = nursery.run("embed", run, people / "query", "--keypoints", keypoints, "--out", tmp_path / "f.npz", "--json")
    assert made.json()["features"] == 8
    grey = nursery.run("evaluate", run, "--data", people, "--masks", people / "masks" / "grey", "--no-cache")
    assert grey.status == 2
    assert "is by its name a folder of grey, and the network takes keypoints" in grey.line()
    gone = nursery.run("gallery", "add", tmp_path / "g.db", people / "query", "--model", run)
    assert gone.status
    assert "Traceback" not in gone.err
    both = nursery.run("synth", tmp_path / "tars", *SYNTH, "--masks", "--shards", 10)
    assert both.line() == "shards and videos hold no masks: leave out --masks, or these"
