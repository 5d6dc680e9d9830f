from __future__ import annotations

import base64
import dataclasses
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, load_model
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.report import attention, build
from reidkit.report.page import Report, render
from reidkit.types import Names
from tests.commands import training

if TYPE_CHECKING:
    from reidkit.evaluation import Evaluation
    from tests.commands import Nursery


@pytest.fixture(scope="module")
def run(nursery: Nursery, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("page") / "a run"
    words = [*training(noise, folder), "--evaluate-every", "1", "--precision", "fp32", "--weights"]
    first = folder.with_name("first")
    assert nursery.run(*training(noise, first)).status == 0
    return folder, nursery.run(*words, first / "model.safetensors", "--json").json()


@pytest.fixture(scope="module")
def evaluation(run: tuple[Path, dict[str, float]], noise: Path) -> Evaluation:
    return evaluate(
        load_model(run[0]), load_dataset(noise), EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32")
    )


def test_the_report_of_a_run_holds_its_figures(run: tuple[Path, dict[str, float]]) -> None:
    folder, scores = run
    text = (folder / "report.html").read_text()
    for key in ("rank1", "map", "minp", "rank5"):
        assert f"{100 * scores[key]:.1f}" in text
    for word in ("strong-baseline", "float32", "market1501: 32 training images of 8 ids from 2 cameras", "rank-1"):
        assert word in text
    facts = json.loads((folder / "run.json").read_text())
    assert facts["training_set"] in text
    assert facts["weights"] in text
    assert "OMP_NUM_THREADS=1 reidkit train strong-baseline --data .../" in text
    for words in (
        "<dt>Data set</dt>",
        "<dt>Model</dt>",
        "<code>optim.epochs=3</code> (was 120)",
        "evaluated on market1501",
    ):
        assert words in text
    assert text.count("data:image/jpeg;base64,") >= 4 * 11
    assert "<svg" in text


def test_the_report_shows_the_features_of_those_whom_the_gallery_shows(
    run: tuple[Path, dict[str, float]], evaluation: Evaluation
) -> None:
    """A map of f_t and one of f_i, each with the number of every person who is known, and nobody else's."""
    (address,) = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", (run[0] / "report.html").read_text())
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", base64.b64decode(address).decode())
    known = {str(pid) for pid in evaluation.gallery.pids.tolist() if pid > 0}
    assert 2 <= len(known) <= 12
    numbers = [text for text in drawn if text in known]
    assert {number: numbers.count(number) >= 3 for number in known} == dict.fromkeys(known, True)
    assert sum("of the variance" in text for text in drawn) == 4
    assert f"{sum(evaluation.gallery.pids > 0)} gallery images with {len(known)} ids" in drawn


def test_nothing_names_a_place_on_this_machine(run: tuple[Path, dict[str, float]], noise: Path) -> None:
    folder, _ = run
    for name in ("report.html", "run.json", "recipe.json", "log.jsonl"):
        text = (folder / name).read_text()
        for place in (str(folder.parent), str(noise.parent), tempfile.gettempdir()):
            assert place not in text, name
    assert str(folder.parent).encode() not in (folder / "model.safetensors").read_bytes()


def test_random_queries_are_drawn_from_all_and_the_hardest_from_the_others() -> None:
    precision = np.array([0.5, np.nan, *np.linspace(0.9, 0.2, 30)])
    hardest, others = build._choose(precision)
    assert len(hardest) == build.HARDEST
    assert len(others) == build.RANDOM
    assert not set(others) & set(hardest)
    assert 1 not in {*hardest, *others}
    assert list(precision[hardest]) == sorted(precision[hardest])
    left = sorted(set(range(32)) - {1, *others}, key=lambda row: precision[row])
    assert set(hardest) == set(left[: build.HARDEST])
    assert list(build._choose(precision)[1]) == list(others)
    # The random ones are no better than all are: over many sets of queries their mean is that of all.
    means = [precision[build._choose(np.roll(precision, by))[1] - by].mean() for by in range(32)]
    assert np.mean(means) == pytest.approx(np.nanmean(precision), abs=0.05)


def test_ranked_lists_call_ids_and_cameras_by_their_names(evaluation: Evaluation) -> None:
    pid = int(evaluation.query.pids[0])
    names = Names({pid: "anna <1>"}, {1: "door"})
    sides = {name: replace(getattr(evaluation, name), names=names) for name in ("query", "gallery")}
    (one,) = build.ranked_lists(replace(evaluation, **sides), EvaluationProtocol(), [0])
    assert (one.pid, one.pid_name) == (pid, "anna <1>")
    assert {entry.camid_name for entry in one.entries} <= {"door", ""}
    assert all((entry.pid_name == "anna <1>") == (entry.pid == pid) for entry in one.entries)
    shown = render(Report(title="x", random=[one]))
    assert "id anna &lt;1&gt;" in shown
    assert ("camera door" in shown) == (1 in {one.camid, *(entry.camid for entry in one.entries)})


def test_ranked_lists_say_what_was_found(evaluation: Evaluation) -> None:
    lists = build.ranked_lists(evaluation, EvaluationProtocol(), [2, 0])
    assert [str(one.query_path) for one in lists] == [evaluation.query.paths[2], evaluation.query.paths[0]]
    for one, row in zip(lists, (2, 0), strict=True):
        assert one.average_precision == evaluation.scores.average_precision[row]
        assert one.first_rank == evaluation.scores.first_match[row]
        assert len(one.entries) == build.TOP
        distances = [entry.distance for entry in one.entries]
        assert distances == sorted(distances)
        assert all(entry.is_match == (entry.pid == one.pid) for entry in one.entries)
        assert not [entry for entry in one.entries if (entry.pid, entry.camid) == (one.pid, one.camid)]
        ranks = [rank for rank, entry in enumerate(one.entries, 1) if entry.is_match]
        assert one.first_rank == (ranks[0] if ranks else one.first_rank)


def test_scores_curve_and_distances_are_those_of_the_judgement(
    run: tuple[Path, dict[str, float]], evaluation: Evaluation
) -> None:
    model = load_model(run[0])
    bare = build.build_report(model, "noise: 4 queries", {"a": 1, "people": 8}, "reidkit x", on="noise")
    made = build.add_scores(bare, evaluation, EvaluationProtocol())
    assert made.title == f"{model.name} on noise"
    assert made.model == f"{model.name}: resnet18 at 0.125 of its width, images of 32x32, weights {model.fingerprint}"
    assert made.data == "noise: 4 queries"
    assert made.changed is not None
    assert made.changed["optim.epochs"] == (3, 120)
    assert "network.stride_in" not in made.changed
    assert made.scores is not None
    assert made.scores["map"] == evaluation.scores.map
    assert made.scores["seconds"] == evaluation.seconds
    assert list(made.cmc) == list(evaluation.scores.cmc)
    assert made.reranked is None
    assert (len(made.random), len(made.hardest)) == (4, 0)  # four queries, and all are drawn
    again = build.add_scores(bare, evaluation, EvaluationProtocol(), evaluation.scores, {"embed": 1.0, "rerank": 2.0})
    assert again.scores is not None
    assert again.scores["seconds"] == {"embed": 1.0, "rerank": 2.0}
    assert made.settings["a"] == 1
    assert made.settings["training ids"] == 8
    assert made.settings["CPU threads"] == torch.get_num_threads()
    assert made.distances is not None
    assert sum(made.distances.same) + sum(made.distances.different) == 4 * (16 - 2)


def test_maps_are_of_queries_and_their_nearest_true_matches(
    run: tuple[Path, dict[str, float]], evaluation: Evaluation
) -> None:
    """The mean of each map is the cosine similarity of the two, as average pooling and BNNeck are linear."""
    model, query, gallery = load_model(run[0]), evaluation.query, evaluation.gallery
    pairs = attention.matched_pairs(model, evaluation, EvaluationProtocol(), [2, 0], torch.device("cpu"))
    for row, pair in zip((2, 0), pairs, strict=True):
        found = attention.true_match(evaluation, EvaluationProtocol(), row)
        assert found is not None
        assert gallery.pids[found] == query.pids[row]
        assert gallery.camids[found] != query.camids[row]
        a, b = query.vectors[row], gallery.vectors
        cosines = b @ a / np.linalg.norm(a) / np.linalg.norm(b, axis=1)
        matches = (gallery.pids == query.pids[row]) & (gallery.camids != query.camids[row])
        assert cosines[found] == cosines[matches].max()
        assert [each.path.name for each in pair] == [Path(query.paths[row]).name, Path(gallery.paths[found]).name]
        for each in pair:
            assert each.map.mean() == pytest.approx(cosines[found], abs=1e-4)
            assert each.low == 0.0


def test_a_query_without_a_true_match_has_no_pair(run: tuple[Path, dict[str, float]], evaluation: Evaluation) -> None:
    lost = evaluation.scores.first_match.copy()
    lost[0] = np.nan
    without = dataclasses.replace(evaluation, scores=dataclasses.replace(evaluation.scores, first_match=lost))
    assert attention.true_match(without, EvaluationProtocol(), 0) is None
    assert attention.matched_pairs(load_model(run[0]), without, EvaluationProtocol(), [0], torch.device("cpu")) == []
    (one,) = attention.compare_attention(load_model(run[0]), without, EvaluationProtocol(), [0], 1, torch.device("cpu"))
    assert one.query.map.mean() == pytest.approx(1, abs=1e-4)  # compared with itself
