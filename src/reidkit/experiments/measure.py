"""One run of a table: trained, or gone on with, and searched in every way that the table needs.

Its scores lie in `scores.json` beside it, so that what is measured once is only read from then on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from reidkit import recipe as recipes
from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import choose_device, choose_precision
from reidkit.errors import DataError, UsageError
from reidkit.evaluation import EvaluationProtocol, InferenceOptions, embed_samples
from reidkit.experiments.plan import Training
from reidkit.metrics.reranking.k_reciprocal import k_reciprocal
from reidkit.metrics.retrieval import score, score_distances
from reidkit.model.weights import load_model
from reidkit.recipes.luo2019.ladder import start
from reidkit.synth import draw_dataset
from reidkit.train import run_report
from reidkit.train.run import TrainOptions, run
from reidkit.train.run_folder import locked, write_json
from reidkit.types import counted_lower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from reidkit.experiments.plan import Order
    from reidkit.recipe import Recipe
    from reidkit.recipes.tables import Search
    from reidkit.types import Dataset, Embeddings, Sample

    Pair = tuple[Embeddings, Embeddings]


# What the small twins of a table start from, as the paper's networks start from ImageNet's weights.
#
# For each backbone one network is trained for a few epochs on synthetic people, beside the runs of the table;
# all rows and all seeds share it.

IDS, CAMERAS, SEED = 800, 6, 7
"""Half of the people are trained with."""

_DRAWN = "drawn people"


def with_starts(order: Order, machine: Machine, watch: Watch) -> Order:
    """The order with a file of weights for each backbone of its small twins that was given none.

    Raises:
        ReidkitError: a row that there is none of; a start cannot be trained or written.
    """
    recipes_here = [recipe for line in order.lines() if (recipe := order.recipe(line))]
    if order.size != "small" or not order.data or "" in order.weights:
        return order
    made: dict[str, Path | None] = {}
    for recipe in recipes_here:
        backbone = recipe.network.backbone
        if backbone not in {**order.weights, **made}:
            made[backbone] = _trained(start(recipe.network), order.out / "start", machine, watch)
    return dataclasses.replace(order, weights={**order.weights, **made})


def _trained(recipe: Recipe, place: Path, machine: Machine, watch: Watch) -> Path:
    folder = place / f"{recipe.name}-{recipes.digest(recipe)[:10]}"
    if not is_trained(folder):
        people = place / "people"
        if not people.is_dir():
            watch.say(f"a start for {recipe.network.backbone}: drawing people into {people}")
            draw_dataset(people, IDS, CAMERAS, SEED, progress=partial(watch.tell, "drawing"))
        one = Training(recipe=recipe, data=_DRAWN, seed=0, folder=folder, weights=None, searches={}, titles=("start",))
        measure(one, {_DRAWN: people}, machine, watch)
    return folder / "model.safetensors"


OFFICIAL = {"market1501": (12936, 3368), "dukemtmc": (16522, 2228)}
"""Training images and queries of the data sets that the paper's numbers are from."""


def _silent(*_: object) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Whom to tell: `say` takes lines, `tell` (what, done, total)."""

    say: Callable[[str], None] = _silent
    tell: Callable[[str, int, int], None] = _silent


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How runs are made; none of it changes a result by more than rounding.

    `command` goes on with the table; `shown_command` is the same for pages that others read.
    """

    command: str
    shown_command: str = ""
    device: str = "auto"
    precision: str = "auto"
    cache_dir: Path | None = None
    skip_unreadable: bool = False


@dataclass(frozen=True)
class Known:
    """What a table needs to know of a data set: which images it has, and whether published numbers are from it."""

    name: str
    trained: str
    tested: str
    official: bool

    @classmethod
    def of(cls, name: str, benchmark: Dataset) -> Known:
        """By names and people of its images, and by their number.

        Raises:
            DataError: there is nothing to train on or nothing to search.
        """
        for part in ("train", "query", "gallery"):
            if not getattr(benchmark, part):
                raise DataError(f"{name} has no {part} images: give a data set that has")
        official = OFFICIAL.get(name) == (len(benchmark.train), len(benchmark.query))
        lower = 0 if benchmark.train.shards else counted_lower(benchmark.name)
        tested = _listing((*benchmark.query, *benchmark.gallery), lower)
        return cls(name, _listing(benchmark.train, lower), tested, official)

    def key(self, search: Search) -> str:
        """What a score in `scores.json` is of: the data set, which images it has, and how it is searched."""
        return f"{self.name} {self.tested} {search.feature} {search.metric}{' reranked' if search.rerank else ''}"


def _listing(samples: Sequence[Sample], lower: int) -> str:
    """A short text that differs where names, people or cameras of two lists of images differ.

    Cameras are counted `lower` by so much, so that the scores of earlier tables are found again.
    """
    total = hashlib.sha256()
    for sample in samples:
        camid = sample.camid - lower
        total.update(f"{sample.path.name}\0{sample.pid}\0{camid}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:12]


def scores_of(folder: Path, trained: str) -> dict[str, dict[str, float]]:
    """What has been measured with the run in `folder`, if it was trained on the images that `trained` names.

    Nothing if it was not, or if the file is missing or damaged.
    """
    content = _read(folder)
    return dict(content["scores"]) if content.get("training") == trained else {}


def is_trained(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end, its page included.

    One without a page was killed just before that, and its state is there to go on from; where the state was deleted
    too, to save room, nothing is trained again.
    """
    has_page = (folder / "report.html").is_file() or not (folder / "state.pt").is_file()
    return (folder / "model.safetensors").is_file() and has_page


def measure(
    training: Training,
    folders: Mapping[str, Path],
    machine: Machine,
    watch: Watch,
) -> None:
    """Train what is left to train of a run and search what is left to search with it.

    Raises:
        ReidkitError: what keeps it from coming to its end, in one sentence; what is done is kept.
    """
    benchmarks = {name: load_dataset(folders[name]) for name in {training.data, *training.searches}}
    known = {name: Known.of(name, benchmark) for name, benchmark in benchmarks.items()}
    begun = _read(training.folder).get("training")
    if begun not in (None, known[training.data].trained):
        raise UsageError(
            f"the run in {training.folder} was trained on other images than {training.data} has now: choose another "
            "folder as out, or another name for the data set",
            argument="out",
        )
    fresh: Pair | None = None
    if not is_trained(training.folder):
        job = _job(training, folders[training.data], machine, watch)
        outcome = run(training.recipe, job)
        run_report.write(training.folder, outcome, machine.shown_command)
        fresh = (outcome.evaluation.query, outcome.evaluation.gallery) if outcome.evaluation else None
    with locked(training.folder):
        searcher = _Searcher(training, machine, scores_of(training.folder, known[training.data].trained), watch)
        for name in training.searches:
            wanted = {known[name].key(search): search for search in training.searches[name]}
            if searcher.search(benchmarks[name], wanted, fresh if name == training.data else None):
                content = {"training": known[training.data].trained, "scores": searcher.scores}
                write_json(training.folder / "scores.json", content)


class _Searcher:
    """Searches with the network of a run; it is only loaded where something is left to be measured."""

    def __init__(
        self,
        training: Training,
        machine: Machine,
        scores: dict[str, dict[str, float]],
        watch: Watch,
    ) -> None:
        self.training = training
        self.scores = scores
        device = choose_device(machine.device)
        self._reading = InferenceOptions(
            cache_dir=machine.cache_dir,
            skip_unreadable=machine.skip_unreadable,
            device=device,
            precision=choose_precision(machine.precision, device),
            tell=watch.tell,
        )

    def search(self, benchmark: Dataset, wanted: Mapping[str, Search], fresh: Pair | None) -> bool:
        """Search one data set in every way that is wanted and not known yet; whether there was any.

        `fresh` are f_i of it, if they are at hand.
        """
        wanted = {key: search for key, search in wanted.items() if key not in self.scores}
        for feature in sorted({search.feature for search in wanted.values()}):
            pair = (
                fresh if fresh and feature == "after" else self._embed(benchmark, EvaluationProtocol(feature=feature))
            )
            for key, search in wanted.items():
                if search.feature == feature:
                    self.scores[key] = _search(pair, search)
        return bool(wanted)

    def _embed(self, benchmark: Dataset, protocol: EvaluationProtocol) -> Pair:
        model = load_model(self.training.folder)
        query = embed_samples(model, benchmark.query, "query", protocol, self._reading)
        return query, embed_samples(model, benchmark.gallery, "gallery", protocol, self._reading)


def _search(pair: Pair, search: Search) -> dict[str, float]:
    query, gallery = pair
    if not search.rerank:
        return score(query, gallery, metric=search.metric).as_json()
    dist_qg = k_reciprocal(query.vectors, gallery.vectors, metric=search.metric)
    return score_distances(dist_qg, query, gallery).as_json()


def _job(training: Training, data: Path, machine: Machine, watch: Watch) -> TrainOptions:
    epochs = training.recipe.optim.epochs

    def follow(row: dict[str, Any]) -> None:
        if row["kind"] == "epoch":
            rate = f"lr {row['lr']:.3g}, {row['images_per_s']} images/s"
            watch.say(f"  epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, {rate}, {row['seconds']:.0f} s")

    return TrainOptions(
        out=training.folder,
        data=(data,),
        weights=training.weights,
        seed=training.seed,
        resume=True,
        device=machine.device,
        precision=machine.precision,
        cache_dir=machine.cache_dir,
        skip_unreadable=machine.skip_unreadable,
        resume_command=machine.command,
        watchers=(follow,),
        say=lambda line: watch.say(f"  {line}"),
        tell=watch.tell,
    )


def _read(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("scores"), dict) else {}
