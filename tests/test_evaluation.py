from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError
from reidkit.evaluation import EvaluationProtocol, InferenceOptions, evaluate, require_evaluable
from reidkit.model.network import build_network
from reidkit.model.weights import Model
from reidkit.types import Dataset, Names, Sample, SampleTable
from tests.noise import draw_noise, file_of
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.metrics.retrieval import Scores

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(3)
    network = build_network(RECIPE.network).train()
    with torch.no_grad():
        network(torch.randn(16, 3, 32, 32))  # moves the neck, which starts as the identity
    return Model(network.eval(), RECIPE, "0123456789abcdef")


@pytest.fixture(scope="module")
def benchmark(noise: Path) -> Dataset:
    return load_dataset(noise)


def features(model: Model, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """f_i of each image by itself, of length 1."""
    rows = []
    for sample in samples:
        pixels = (np.asarray(Image.open(file_of(sample)).convert("RGB")) / 255 - MEAN) / STD
        with torch.inference_mode():
            rows.append(model.network(torch.from_numpy(pixels).float().permute(2, 0, 1)[None]).f_i[0].numpy())
    found = np.array(rows, dtype=np.float64)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def recompute(model: Model, benchmark: Dataset) -> tuple[float, float, float]:
    """Rank-1, mAP and mINP, query by query as the protocol says, by sorting the gallery."""
    query, gallery = features(model, benchmark.query), features(model, benchmark.gallery)
    firsts, precisions, penalties = [], [], []
    for sample, feature in zip(benchmark.query, query, strict=True):
        kept = [
            i
            for i, other in enumerate(benchmark.gallery)
            if not (other.pid == sample.pid and other.camid == sample.camid)
        ]
        order = sorted(kept, key=lambda i: -float(gallery[i] @ feature))
        ranks = [rank for rank, i in enumerate(order, 1) if benchmark.gallery[i].pid == sample.pid]
        firsts.append(ranks[0] == 1)
        precisions.append(np.mean([found / rank for found, rank in enumerate(ranks, 1)]))
        penalties.append(len(ranks) / ranks[-1])
    return float(np.mean(firsts)), float(np.mean(precisions)), float(np.mean(penalties))


def test_scores_are_those_of_a_plain_recomputation(model: Model, benchmark: Dataset) -> None:
    evaluation = evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions())
    scores = evaluation.scores
    assert (scores.rank1, scores.map, scores.minp) == pytest.approx(recompute(model, benchmark), abs=1e-6)
    assert (scores.queries, scores.gallery) == (4, 16)
    assert set(evaluation.seconds) == {"embed", "score"}


def test_features_know_where_they_come_from(model: Model, benchmark: Dataset) -> None:
    evaluation = evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions(batch=3))
    assert evaluation.gallery.paths == tuple(str(sample.path) for sample in benchmark.gallery)
    assert evaluation.gallery.pids.tolist() == [sample.pid for sample in benchmark.gallery]
    assert evaluation.query.camids.tolist() == [sample.camid for sample in benchmark.query]
    assert evaluation.query.model == "0123456789abcdef"
    ours = evaluation.query.vectors / np.linalg.norm(evaluation.query.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, features(model, benchmark.query), atol=1e-4)


def test_features_know_what_ids_and_cameras_are_called(model: Model, benchmark: Dataset) -> None:
    names = Names({benchmark.query[0].pid: "anna"}, {1: "door"})
    evaluation = evaluate(model, replace(benchmark, names=names), EvaluationProtocol(), InferenceOptions())
    assert evaluation.query.names == evaluation.gallery.names == names


def test_reading_changes_no_score(model: Model, benchmark: Dataset, tmp_path: Path) -> None:
    plain = evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions()).scores.as_json()
    assert (
        evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions(cache_dir=tmp_path)).scores.as_json() == plain
    )
    assert evaluate(
        model, benchmark, EvaluationProtocol(), InferenceOptions(batch=1)
    ).scores.as_json() == pytest.approx(plain)


def test_the_protocol_is_heard(model: Model, benchmark: Dataset) -> None:
    after = evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions())
    before = evaluate(model, benchmark, EvaluationProtocol(feature="before"), InferenceOptions())
    mirrored = evaluate(model, benchmark, EvaluationProtocol(flip=True), InferenceOptions())
    assert not np.allclose(after.query.vectors, before.query.vectors)
    assert not np.allclose(after.query.vectors, mirrored.query.vectors)
    everywhere = evaluate(model, benchmark, EvaluationProtocol(cameras="any"), InferenceOptions())
    assert everywhere.scores.as_json() != after.scores.as_json()


def test_progress_names_what_is_read(model: Model, benchmark: Dataset) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions(batch=10, tell=lambda *call: told.append(call)))
    assert told == [("query", 4, 4), ("gallery", 10, 16), ("gallery", 16, 16)]


def test_what_cannot_be_judged_is_refused(model: Model, benchmark: Dataset) -> None:
    for wrong, sentence in (
        (replace(benchmark, query=SampleTable()), "market1501 has no query images to judge with"),
        (replace(benchmark, gallery=SampleTable()), "market1501 has no gallery images to judge with"),
        (replace(benchmark, gallery=SampleTable(replace(s, pid=99) for s in benchmark.gallery)), "share no id"),
        (replace(benchmark, gallery=SampleTable(replace(s, camid=1) for s in benchmark.gallery)), "own camera"),
    ):
        with pytest.raises(DataError, match=sentence):
            require_evaluable(wrong, EvaluationProtocol())
        with pytest.raises(DataError, match=sentence):
            evaluate(model, wrong, EvaluationProtocol(), InferenceOptions())
    require_evaluable(
        replace(benchmark, gallery=SampleTable(replace(s, camid=1) for s in benchmark.gallery)),
        EvaluationProtocol(cameras="any"),
    )


def test_a_broken_image_is_refused_or_left_out(model: Model, tmp_path: Path) -> None:
    benchmark = load_dataset(draw_noise(tmp_path / "own"))
    file_of(benchmark.gallery[0]).write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 16 images cannot be read"):
        evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions())
    evaluation = evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions(skip_unreadable=True))
    assert evaluation.scores.gallery == 15
    assert str(benchmark.gallery[0].path) not in evaluation.gallery.paths
    assert len(evaluation.gallery.vectors) == len(evaluation.gallery.pids) == 15


@pytest.mark.parametrize(("name", "expected"), [("cuda", torch.device("cuda")), ("cpu", None)])
def test_scores_are_counted_where_the_network_runs(
    name: str, expected: torch.device | None, model: Model, benchmark: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU; a processor has quicker loops of its own."""
    asked: list[object] = []

    def score(*_: object, device: torch.device | None, **more: object) -> Scores:
        asked.append(device)
        return evaluated.scores

    evaluated = evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions())
    features = evaluated.query, evaluated.gallery
    monkeypatch.setattr("reidkit.evaluation.embed_samples", lambda *words: features[words[2] == "gallery"])
    monkeypatch.setattr("reidkit.evaluation.score", score)
    evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions(device=torch.device(name)))
    assert asked == [expected]
