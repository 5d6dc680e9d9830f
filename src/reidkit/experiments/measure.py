"""One run of a table: trained, or resumed, and evaluated in every way that the table needs.

Its scores lie in `scores.json` beside it, so that what is measured once is only read from then on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from reidkit import recipe as recipes
from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, load_model
from reidkit.errors import DataError, UsageError
from reidkit.evaluation import EvaluationProtocol, embed_dataset
from reidkit.experiments.plan import PlannedRun, silent
from reidkit.hardware import choose_device, choose_precision
from reidkit.metrics.calibration_file import counted_lower
from reidkit.metrics.scoring import score
from reidkit.recipes.paper_table import BENCHMARKS
from reidkit.synth import synthesize
from reidkit.train.inputs import TrainOptions
from reidkit.train.log import Callback, log_lines
from reidkit.train.run import train
from reidkit.train.run_folder import locked, write_json
from reidkit.types import SPLITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from reidkit.experiments.plan import Experiment
    from reidkit.recipe import Recipe
    from reidkit.recipes.paper_table import Search
    from reidkit.train.log import Row
    from reidkit.train.run import Run
    from reidkit.types import Dataset, Embeddings, RerankMethod, Sample

    Pair = tuple[Embeddings, Embeddings]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How runs are made; none of it changes a result by more than rounding.

    Args:
        command: what goes on with the table, for the sentence of one that was stopped.
        shown_command: the same for pages that others read.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `fp32` or `bf16`.
        compile: torch compiles the networks in training, which pays where several runs share a GPU.
        cache_dir: the folder for decoded images; None decodes them for every batch.
        skip_unreadable: leave out images that cannot be read.
        format: the format of all data sets; None: it is recognised by the layout.
        masks: the folder of masks for networks that take them.
        say: called with each line about the progress.
        progress: called with (what, done, total) while something takes long.
    """

    command: str = "the same call"
    shown_command: str = ""
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    cache_dir: Path | None = None
    skip_unreadable: bool = False
    format: str | None = None
    masks: Path | None = None
    say: Callable[[str], None] = silent
    progress: Callable[[str, int, int], None] = silent


# What the twins of a table start from, as the paper's networks start from ImageNet's weights.
#
# For each backbone one network is trained for a few epochs on synthetic people, beside the runs of the table;
# all rows and all seeds share it.

IDS, CAMERAS, SEED = 800, 6, 7
"""Of the synthetic set; half of the ids are trained with."""

_SYNTHETIC = "drawn people"  # names the data set in the `scores.json` of runs begun with earlier versions


def with_starts(experiment: Experiment, options: RunOptions) -> Experiment:
    """Return the experiment with a file of weights for each backbone of its twins that was given none.

    Raises:
        ReidkitError: a row that there is none of; a start cannot be trained or written.
    """
    recipes_here = [recipe for row in experiment.selected_rows() if (recipe := experiment.recipe(row))]
    twin = experiment.table.twins.get(experiment.size)
    if twin is None or twin.start is None or not experiment.data or "" in experiment.weights:
        return experiment
    made: dict[str, Path | None] = {}
    for recipe in recipes_here:
        backbone = recipe.network.backbone
        if backbone not in {**experiment.weights, **made}:
            made[backbone] = _trained(twin.start(recipe.network), experiment.out / "start", options)
    return dataclasses.replace(experiment, weights={**experiment.weights, **made})


def _trained(recipe: Recipe, parent: Path, options: RunOptions) -> Path:
    """Train a start unless that is done; its weights."""
    folder = parent / f"{recipe.name}-{recipes.digest(recipe)[:10]}"
    if not is_trained(folder):
        people = parent / "people"
        if not people.is_dir():
            options.say(f"a start for {recipe.network.backbone}: making synthetic people in {people}")
            synthesize(people, IDS, CAMERAS, SEED, progress=partial(options.progress, "drawing"))
        run_ = PlannedRun(
            recipe=recipe, data=_SYNTHETIC, seed=0, folder=folder, weights=None, searches={}, titles=("start",)
        )
        measure(run_, {_SYNTHETIC: people}, options)
    return folder / "model.safetensors"


@dataclass(frozen=True)
class DatasetDigest:
    """Which images a data set has: digests of those trained with and tested with; `official` as published."""

    name: str
    trained: str
    tested: str
    official: bool

    @classmethod
    def of(cls, name: str, dataset: Dataset) -> DatasetDigest:
        """Digest a data set by the names, ids and cameras of its images.

        Raises:
            DataError: there is nothing to train on or nothing to search.
        """
        for part in SPLITS:
            if not getattr(dataset, part):
                raise DataError(f"{name} has no {part} images: give a data set that has")
        published = BENCHMARKS.get(name)
        official = published is not None and published[:2] == (len(dataset.train), len(dataset.query))
        lower = 0 if dataset.train.shards else counted_lower(dataset.name)
        tested = _listing((*dataset.query, *dataset.gallery), lower)
        return cls(name, _listing(dataset.train, lower), tested, official)

    def key(self, search: Search) -> str:
        """Return the key of a score in `scores.json`: the data set, which images it has, and how it is searched."""
        return f"{self.name} {self.tested} {search.feature} {search.metric}{' reranked' if search.rerank else ''}"


def _listing(samples: Sequence[Sample], lower: int) -> str:
    """Return a short text that differs where names, ids or cameras of two lists of images differ.

    Cameras are counted `lower` by so much, so that the scores of earlier tables are found again.
    """
    total = hashlib.sha256()
    for sample in samples:
        camid = sample.camid - lower
        total.update(f"{sample.path.name}\0{sample.pid}\0{camid}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:12]


def scores_of(folder: Path, trained: str) -> dict[str, dict[str, float]]:
    """Return what has been measured with the run in `folder`, if it was trained on the images of the digest `trained`.

    Nothing if it was not, or if the file is missing or damaged; what is damaged in it is left out.
    """
    content = _read(folder)
    if content.get("training") != trained:
        return {}
    return {key: scores for key, scores in content["scores"].items() if _are_scores(scores)}


def _are_scores(value: object) -> bool:
    return (
        isinstance(value, dict)
        and {"rank1", "map"} <= value.keys()
        and all(isinstance(score, int | float) and math.isfinite(score) for score in value.values())
    )


def is_trained(folder: Path) -> bool:
    """Return whether the run in `folder` has come to its end, its page included.

    One without a page was killed just before that, and its state is there to go on from; where the state was deleted
    too, to save room, nothing is trained again.
    """
    has_page = (folder / "report.html").is_file() or not (folder / "state.pt").is_file()
    return (folder / "model.safetensors").is_file() and has_page


def measure(planned: PlannedRun, folders: Mapping[str, Path], options: RunOptions) -> None:
    """Train what is left to train of a run, and evaluate what is left to evaluate of it.

    Args:
        planned: the run.
        folders: the folder of each data set, by its name.
        options: how it is made.

    Raises:
        ReidkitError: what keeps it from coming to its end, in one sentence; what is done is kept.
    """
    if planned.recipe.network.masks == "none":
        options = dataclasses.replace(options, masks=None)
    datasets = {name: load_dataset(folders[name], options.format) for name in {planned.data, *planned.searches}}
    digests = {name: DatasetDigest.of(name, dataset) for name, dataset in datasets.items()}
    trained = digests[planned.data].trained
    if _read(planned.folder).get("training") not in (None, trained):
        raise UsageError(
            f"the run in {planned.folder} was trained on other images than {planned.data} has now: choose another "
            "folder as out, or another name for the data set",
            argument="out",
        )
    fresh: Pair | None = None
    if not is_trained(planned.folder):
        run = _train(planned, datasets[planned.data], options)
        run.write_report(options.shown_command)
        fresh = (run.evaluation.query, run.evaluation.gallery) if run.evaluation else None
    with locked(planned.folder):
        scores = scores_of(planned.folder, trained)
        for name, searches in planned.searches.items():
            wanted = {key: each for each in searches if (key := digests[name].key(each)) not in scores}
            if wanted:
                known = fresh if name == planned.data else None
                scores |= _evaluate(planned.folder, datasets[name], wanted, known, options)
                write_json(planned.folder / "scores.json", {"training": trained, "scores": scores})


def _evaluate(
    folder: Path, dataset: Dataset, wanted: Mapping[str, Search], fresh: Pair | None, options: RunOptions
) -> dict[str, dict[str, float]]:
    """Evaluate a run on one data set in every way that is wanted; `fresh` are f_i of it, if they are at hand."""
    device = choose_device(options.device)
    inference = InferenceOptions(
        cache_dir=options.cache_dir,
        skip_unreadable=options.skip_unreadable,
        device=device,
        precision=choose_precision(options.precision, device),
        progress=options.progress,
        masks=options.masks,
    )
    pairs = {"after": fresh} if fresh else {}
    scores = {}
    for key, search in sorted(wanted.items(), key=lambda item: item[1].feature):
        if search.feature not in pairs:
            protocol = EvaluationProtocol(feature=search.feature)
            pairs[search.feature] = embed_dataset(load_model(folder), dataset, protocol, inference)
        again: RerankMethod | None = "k-reciprocal" if search.rerank else None
        scores[key] = score(*pairs[search.feature], metric=search.metric, rerank=again).as_json()
    return scores


def _train(planned: PlannedRun, dataset: Dataset, options: RunOptions) -> Run:
    with log_lines(lambda line: options.say(f"  {line}")):
        return train(
            planned.recipe,
            dataset,
            out=planned.folder,
            weights=planned.weights,
            seed=planned.seed,
            resume=True,
            masks=options.masks,
            options=TrainOptions(
                device=options.device,
                precision=options.precision,
                compile=options.compile,
                cache_dir=options.cache_dir,
                skip_unreadable=options.skip_unreadable,
                resume_command=options.command,
            ),
            callbacks=(_Follow(planned.recipe.optim.epochs, options),),
        )


class _Follow(Callback):
    """Passes on a line for each epoch of a run, and how much is done of what takes a while."""

    def __init__(self, epochs: int, options: RunOptions) -> None:
        self._epochs, self._options = epochs, options

    def on_epoch(self, row: Row) -> None:
        """Write a line."""
        rate = f"lr {row['lr']:.3g}, {row['images_per_s']} images/s"
        line = f"  epoch {row['epoch']}/{self._epochs}: loss {row['loss']:.3f}, {rate}, {row['seconds']:.0f} s"
        self._options.say(line)

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Move a bar."""
        self._options.progress(what, done, total)


def _read(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("scores"), dict) else {}
