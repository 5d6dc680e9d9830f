from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit.comparison import Comparison, calibrate, compare
from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, Model, load_model, read_images
from reidkit.errors import DataError, UsageError, WeightsError
from reidkit.evaluation import EvaluationProtocol, evaluate, find_input_spec
from reidkit.metrics.calibration_file import load_calibration
from reidkit.metrics.matching import require_evaluable
from reidkit.metrics.scoring import score_reranked
from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.types import Dataset, Names, Sample, SampleTable
from tests.noise import draw_noise, file_of
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.metrics.retrieval import Scores

CPU = InferenceOptions(device="cpu", precision="fp32")
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
    evaluation = evaluate(model, benchmark, EvaluationProtocol(), CPU)
    scores = evaluation.scores
    assert (scores.rank1, scores.map, scores.minp) == pytest.approx(recompute(model, benchmark), abs=1e-6)
    assert (scores.queries, scores.gallery) == (4, 16)
    assert set(evaluation.seconds) == {"embed", "score"}


def test_features_know_where_they_come_from(model: Model, benchmark: Dataset) -> None:
    evaluation = evaluate(
        model, benchmark, EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32", batch=3)
    )
    assert evaluation.gallery.paths == tuple(str(sample.path) for sample in benchmark.gallery)
    assert evaluation.gallery.pids.tolist() == [sample.pid for sample in benchmark.gallery]
    assert evaluation.query.camids.tolist() == [sample.camid for sample in benchmark.query]
    assert evaluation.query.model == "0123456789abcdef"
    ours = evaluation.query.vectors / np.linalg.norm(evaluation.query.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, features(model, benchmark.query), atol=1e-4)


def test_features_know_what_ids_and_cameras_are_called(model: Model, benchmark: Dataset) -> None:
    names = Names({benchmark.query[0].pid: "anna"}, {1: "door"})
    evaluation = evaluate(
        model, replace(benchmark, names=names), EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32")
    )
    assert evaluation.query.names == evaluation.gallery.names == names


def test_reading_changes_no_score(model: Model, benchmark: Dataset, tmp_path: Path) -> None:
    plain = evaluate(
        model, benchmark, EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32")
    ).scores.as_json()
    assert (
        evaluate(
            model, benchmark, EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32", cache_dir=tmp_path)
        ).scores.as_json()
        == plain
    )
    assert evaluate(
        model, benchmark, EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32", batch=1)
    ).scores.as_json() == pytest.approx(plain)


def test_who_prints_scores_is_told_what_they_are_worth(model: Model, benchmark: Dataset) -> None:
    class Blind:
        dim, fingerprint, input = 2, "", model.input

        def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.ones((len(pixels), 2), np.float32)

    assert evaluate(model, benchmark).warnings() == ()
    found = evaluate(Blind(), benchmark)
    assert found.warnings()[0].startswith("all features are equal, so that no image can be told from another")
    assert str(found).splitlines()[1] == f"warning: {found.warnings()[0]}"
    doubled = Dataset("doubled", (), benchmark.query, (*benchmark.gallery, *benchmark.query))
    assert "queries lie in the gallery as the same file" in evaluate(model, doubled).warnings()[0]


def test_the_protocol_is_heard(model: Model, benchmark: Dataset) -> None:
    after = evaluate(model, benchmark, EvaluationProtocol(), CPU)
    before = evaluate(
        model, benchmark, EvaluationProtocol(feature="before"), InferenceOptions(device="cpu", precision="fp32")
    )
    mirrored = evaluate(
        model, benchmark, EvaluationProtocol(flip=True), InferenceOptions(device="cpu", precision="fp32")
    )
    assert not np.allclose(after.query.vectors, before.query.vectors)
    assert not np.allclose(after.query.vectors, mirrored.query.vectors)
    everywhere = evaluate(
        model, benchmark, EvaluationProtocol(cameras="any"), InferenceOptions(device="cpu", precision="fp32")
    )
    assert everywhere.scores.as_json() != after.scores.as_json()


def test_progress_names_what_is_read(model: Model, benchmark: Dataset) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(
        model,
        benchmark,
        EvaluationProtocol(),
        InferenceOptions(device="cpu", precision="fp32", batch=10, progress=lambda *call: told.append(call)),
    )
    assert told == [("query", 4, 4), ("gallery", 10, 16), ("gallery", 16, 16)]


def test_what_cannot_be_judged_is_refused(model: Model, benchmark: Dataset) -> None:
    for wrong, sentence in (
        (
            replace(benchmark, query=SampleTable()),
            "the data set market1501 has no query images to evaluate with: .* or make .* by `reidkit split DIR OUT`",
        ),
        (replace(benchmark, gallery=SampleTable()), "market1501 has no gallery images to evaluate with"),
        (replace(benchmark, gallery=SampleTable(replace(s, pid=99) for s in benchmark.gallery)), "share no id"),
        (replace(benchmark, gallery=SampleTable(replace(s, camid=1) for s in benchmark.gallery)), "own camera"),
    ):
        with pytest.raises(DataError, match=sentence):
            require_evaluable(wrong, "cross")
        with pytest.raises(DataError, match=sentence):
            evaluate(model, wrong, EvaluationProtocol(), CPU)
    require_evaluable(
        replace(benchmark, gallery=SampleTable(replace(s, camid=1) for s in benchmark.gallery)),
        "any",
    )


def test_a_broken_image_is_refused_or_left_out(model: Model, tmp_path: Path) -> None:
    benchmark = load_dataset(draw_noise(tmp_path / "own"))
    file_of(benchmark.gallery[0]).write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 16 images cannot be read"):
        evaluate(model, benchmark, EvaluationProtocol(), CPU)
    evaluation = evaluate(
        model, benchmark, EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32", skip_unreadable=True)
    )
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

    evaluated = evaluate(model, benchmark, EvaluationProtocol(), CPU)
    features = evaluated.query, evaluated.gallery
    monkeypatch.setattr("reidkit.evaluation.embed_samples", lambda *words, **_: features[words[2] == "gallery"])
    monkeypatch.setattr("reidkit.evaluation.score", score)
    evaluate(model, benchmark, EvaluationProtocol(), InferenceOptions(device=torch.device(name), precision="fp32"))
    assert asked == [expected]


def test_images_of_every_kind_have_the_features_of_the_samples(model: Model, benchmark: Dataset) -> None:
    """A path as text, a `Path`, an image of Pillow and its pixels: the same file four times."""
    sample = benchmark.query[0]
    path = file_of(sample)
    embeddings = model.embed(benchmark.query, device="cpu", precision="fp32")
    assert embeddings.vectors.shape == (len(benchmark.query), model.dim)
    assert embeddings.pids.tolist() == benchmark.query.pids.tolist()
    assert (embeddings.paths[0], embeddings.model) == (str(path), model.fingerprint)
    opened = Image.open(path)
    vectors = model.embed([str(path), path, opened, np.asarray(opened)], device="cpu", precision="fp32")
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, model.dim)
    np.testing.assert_allclose(vectors, np.tile(embeddings.vectors[:1], (4, 1)), rtol=1e-4, atol=1e-6)
    expected = features(model, [sample])[0]
    np.testing.assert_allclose(vectors[0] / np.linalg.norm(vectors[0]), expected, rtol=1e-3, atol=1e-5)


def test_what_is_no_list_of_images(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a.jpg is one image: pass a list of images, \['a.jpg'\]"):
        model.embed("a.jpg")
    folder: Any = tmp_path
    with pytest.raises(
        UsageError, match=r"is a folder: pass a list of images, as sorted\(Path\('.*'\).glob\('\*.jpg'\)\), or"
    ):
        model.embed(folder)
    everything: Any = Dataset("mine")
    with pytest.raises(UsageError, match=r"images are a whole data set: pass one split of it, as data\.query"):
        model.embed(everything)
    with pytest.raises(UsageError, match=r"images are one array \[4, 4, 3\]: pass a list .* or one array uint8 \[N,"):
        model.embed(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(
        UsageError, match=r"image 1 is float64 \[4, 4, 3\]: pass RGB pixels uint8 .*; floats from 0 to 1"
    ):
        model.embed([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3))])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="image 0 is of type int: pass a path, a PIL image"):
        model.embed([7])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"gone.jpg cannot be read: No such file"):
        model.embed([tmp_path / "gone.jpg"])
    with pytest.raises(UsageError, match="there is no feature f_x"):
        model.embed([np.zeros((4, 4, 3), np.uint8)], feature="f_x")
    assert model.embed([]).shape == (0, model.dim)


def test_an_encoder_takes_pixels_of_its_size(model: Model) -> None:
    spec = model.input
    pixels = np.random.default_rng(0).integers(0, 256, (3, spec.height, spec.width, 3)).astype(np.uint8)
    np.testing.assert_array_equal(model.encode(pixels), model.embed(pixels))
    (read,) = read_images(list(pixels), spec)
    np.testing.assert_array_equal(read, pixels)
    with pytest.raises(UsageError, match=r"images uint8 \[3, 1, .*model.embed resizes images of any size"):
        model.encode(pixels[:, :1])


def test_fields_are_changed_by_name(model: Model, benchmark: Dataset) -> None:
    plain = evaluate(model, benchmark, EvaluationProtocol(flip=True, metric="euclidean"), CPU)
    named = evaluate(model, benchmark, flip=True, metric="euclidean", device="cpu", precision="fp32")
    assert named.scores.as_json() == plain.scores.as_json()
    with pytest.raises(UsageError, match="there is no argument flips: choose of batch, cache_dir, cameras, device"):
        evaluate(model, benchmark, flips=True)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="metric is cosinus: choose cosine or euclidean"):
        evaluate(model, benchmark, metric="cosinus")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a batch of -1 images"):
        evaluate(model, benchmark, batch=-1)


def test_scores_after_re_ranking(model: Model, benchmark: Dataset) -> None:
    again = evaluate(model, benchmark, None, CPU, rerank="k-reciprocal")
    assert again.reranked is not None
    assert again.reranked.as_json() == score_reranked(again.query, again.gallery).as_json()
    assert again.scores.as_json() == evaluate(model, benchmark, None, CPU).scores.as_json()
    first, second = str(again).splitlines()
    assert first.startswith(f"rank-1 {100 * again.scores.rank1:.1f} rank-5 ")
    assert second.startswith(f"re-ranked: rank-1 {100 * again.reranked.rank1:.1f} ")
    with pytest.raises(UsageError, match="there is no re-ranking by magic"):
        evaluate(model, benchmark, rerank="magic")  # type: ignore[arg-type]


def test_comparing_without_a_calibration(model: Model, benchmark: Dataset) -> None:
    """An image is as similar to itself as can be; whether it shows the same person, a threshold says."""
    path, other = (file_of(benchmark.query[i]) for i in (0, 1))
    itself = compare(model, path, path)
    assert itself == Comparison(itself.similarity)
    assert itself.similarity == pytest.approx(1.0, abs=1e-6)
    assert "no threshold is known" in str(compare(model, path, path))
    alike = compare(model, path, other, threshold=-1.0)
    ours, theirs = features(model, [benchmark.query[0], benchmark.query[1]])
    assert alike.similarity == pytest.approx(ours @ theirs, abs=1e-2)  # bf16 where the processor has it
    assert (alike.same, alike.probability, alike.threshold) == (True, None, -1.0)
    assert compare(model, path, other, threshold=1.0).same is False


def test_comparing_by_the_calibration_beside_the_model(model: Model, benchmark: Dataset, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", model.network, model.recipe)
    stored = load_model(str(tmp_path))
    measured = calibrate(stored, benchmark, far=0.05, flip=True, feature="f_t", device="cpu")
    assert load_calibration(tmp_path, stored.fingerprint) == measured
    assert (measured.feature, measured.flip, measured.settings.far) == ("before", True, 0.05)
    path, other = (file_of(benchmark.query[i]) for i in (0, 1))
    alike = compare(stored, path, other)
    assert alike.threshold == measured.threshold()
    assert alike.same == (alike.similarity >= measured.threshold())
    assert alike.probability == pytest.approx(float(measured.same_person(alike.similarity)))
    assert f"the threshold {alike.threshold:.3f}; probability of one person" in str(alike)
    vectors = stored.embed([path, other], feature="f_t", flip=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert alike.similarity == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)


def test_what_is_passed_in_the_place_of_something_else(model: Model, benchmark: Dataset, noise: Path) -> None:
    assert (
        evaluate(model, str(noise), None, CPU).scores.as_json()
        == evaluate(model, benchmark, None, CPU).scores.as_json()
    )
    wrong: Any = "runs/strong"
    for call in (
        lambda: evaluate(wrong, benchmark),
        lambda: calibrate(wrong, benchmark),
        lambda: compare(wrong, "a", "b"),
    ):
        with pytest.raises(UsageError, match="the model is a str: pass what load_model returns"):
            call()
    nothing: Any = None
    with pytest.raises(UsageError, match="images are of type NoneType: pass a list of paths"):
        model.embed(nothing)
    with pytest.raises(UsageError, match="a NoneType is no path: pass the folder of a data set"):
        evaluate(model, nothing)
    samples: Any = list(benchmark.query)
    with pytest.raises(
        UsageError, match=r"a list is no path: pass .* or Dataset\(name, query=\[Sample\(path, pid, camid\)"
    ):
        evaluate(model, samples)
    options: Any = {"batch": 2}
    with pytest.raises(UsageError, match=r"options is a dict: pass InferenceOptions\(\.\.\.\), or its fields"):
        evaluate(model, benchmark, None, options)
    sample: Any = benchmark.query[0]
    with pytest.raises(UsageError, match=r"a is a sample: pass its path, a\.path"):
        compare(model, sample, sample)
    batches: tuple[Any, ...] = (2.5, "8")
    for batch in batches:
        with pytest.raises(UsageError, match="batch must be a whole number from 0 on"):
            model.embed([str(sample.path)], batch=batch)
    device: Any = None
    with pytest.raises(UsageError, match="there is no device None: choose auto, cpu or cuda"):
        model.embed([str(sample.path)], device=device)
    rows: Any = [[1.0, 0.0]]
    with pytest.raises(UsageError, match=r"the query is a list: pass Embeddings\(vectors, pids, camids\)"):
        score_reranked(rows, rows)
    with pytest.raises(FileNotFoundError, match="gone is not there: give the folder of a data set"):
        evaluate(model, noise / "gone")


def test_models_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone is not there: give a run folder, a \.safetensors"):
        load_model(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx is not there: give an \.onnx"):
        find_input_spec(tmp_path / "gone.onnx", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    with pytest.raises(WeightsError, match=r"model\.onnx is no ONNX file"):
        load_model(tmp_path / "model.onnx")
