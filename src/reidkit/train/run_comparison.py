"""Two runs or results side by side: their logs, what their recipes differ in, and a paired test of their scores."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError, UsageError
from reidkit.metrics.intervals import Values, compare_paired
from reidkit.model_files import EXPORTED
from reidkit.plots.charts import curve_over_epochs
from reidkit.recipe import differences, load
from reidkit.terminal import cell_text
from reidkit.train import log, run_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reidkit.encoder import InferenceOptions, InputSpec
    from reidkit.evaluation import Evaluation, EvaluationProtocol
    from reidkit.metrics.intervals import PairedComparison
    from reidkit.model.own_network import OwnModule
    from reidkit.recipe import Recipe
    from reidkit.types import Dataset

SCORES = ("rank1", "rank5", "rank10", "map", "minp")
COLUMNS = ("query", "path", "pid", "camid", "ap", "inp", "first_match")
"""The columns of a file of queries that are read."""


@dataclass(kw_only=True)
class Side:
    """What is known of a run or a result; what is not known is empty."""

    name: str
    log: Sequence[Mapping[str, Any]] = ()
    recipe: Recipe | None = None
    evaluation: Evaluation | None = None
    queries: tuple[tuple[str, str, int, int], ...] = ()
    """The number, path, id and camera of each query."""

    values: Values | None = field(default=None, repr=False)

    @property
    def scores(self) -> dict[str, Any]:
        """The last scores in the log."""
        rows = [row for row in self.log if row.get("kind") in ("epoch", "scores") and "map" in row]
        return {key: rows[-1][key] for key in (*SCORES, "epoch") if key in rows[-1]} if rows else {}

    @property
    def epochs(self) -> int:
        """The last epoch in the log; 0 where there is none."""
        return max((int(row["epoch"]) for row in self.log if row.get("kind") == "epoch"), default=0)

    @property
    def curves(self) -> dict[str, list[list[float]]]:
        """Loss, rank-1 and mAP over the epochs, as points (epoch, value); those that the log has."""
        rows = [row for row in self.log if row.get("kind") != "step"]
        found = {key: curve_over_epochs(rows, key) for key in ("loss", "rank1", "map")}
        return {key: [list(point) for point in points] for key, points in found.items() if points}


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Two sides and what they differ in.

    `test`: the differences of their scores on the same queries, with intervals and p values; None where there are no
    scores of single queries. `changed`: the fields of their recipes that differ; `optim.lr: 0.1, not 0.2` says that
    `a` has 0.1. `given`: what else two runs differ in, in the same words: seed, precision, weights, training images, a
    teacher, own parts.
    """

    a: Side
    b: Side
    test: PairedComparison | None
    changed: tuple[str, ...]
    given: tuple[str, ...] = ()

    def most_different(self, count: int = 10) -> list[int]:
        """Return the numbers of the queries whose average precision differs most, of those that differ at all."""
        if not self.a.values or not self.b.values:
            return []
        apart = np.nan_to_num(np.abs(self.b.values.average_precision - self.a.values.average_precision))
        order = np.argsort(-apart, kind="stable")[:count]
        return [int(row) for row in order if apart[row] > 0]


def compare_runs(  # noqa: PLR0913
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    data: str | os.PathLike[str] | Dataset | None = None,
    *,
    protocol: EvaluationProtocol | None = None,
    options: InferenceOptions | None = None,
    network: OwnModule | None = None,
    input_spec: InputSpec | str | None = None,
) -> RunComparison:
    """Compare two runs, models or files of queries.

    Args:
        a: A run's folder, a model, or a `.csv` that `reidkit evaluate --per-query` has written.
        b: Another of the same kind.
        data: A data set, or its folder: both models are evaluated on it, and their difference is tested.
        protocol: How they are evaluated; None is the usual one.
        options: Device, precision, cache and batch.
        network: Your own network, as for `load_model`.
        input_spec: How the images of foreign `.onnx` and `.xml` files are made, as for `load_model`.

    Raises:
        UsageError: nothing of the two can be compared.
        DataError: a file cannot be read, or the two are results of different queries.
    """
    sides = tuple(_open(Path(path)) for path in (a, b))
    if data is not None:
        # Logs and files of queries are compared without torch, which takes two seconds.
        from reidkit.encoder import load_model
        from reidkit.evaluation import evaluate

        dataset = load_dataset(data) if isinstance(data, str | os.PathLike) else data
        for side, path in zip(sides, (a, b), strict=True):
            if side.values:
                raise UsageError(f"{path} is a result already: leave out data, or give a run's folder", argument="data")
            foreign = Path(path).suffix.lower() in EXPORTED
            model = load_model(path, network=network, input_spec=input_spec if foreign else None)
            side.recipe = side.recipe or getattr(model, "recipe", None)
            _fill(side, evaluate(model, dataset, protocol, options))
    first, second = sides
    test = None
    if first.values and second.values:
        if _labels(first) != _labels(second):
            raise DataError(f"{a} and {b} are results of different queries: evaluate both on the same data")
        test = compare_paired(first.values, second.values, np.array([row[2] for row in first.queries], np.int64))
    elif first.values or second.values:
        raise UsageError(
            f"{a if first.values else b} is a result of queries and {b if first.values else a} is none: make the other "
            "one too, by `reidkit evaluate --per-query`"
        )
    elif not (first.log and second.log):
        raise UsageError(
            "there is nothing to compare: give two runs with their logs, or a data set to evaluate them on",
            argument="data",
        )
    changed = differences(first.recipe, second.recipe) if first.recipe and second.recipe else []
    given = run_folder.differences(Path(a), Path(b))
    return RunComparison(a=first, b=second, test=test, changed=tuple(changed), given=tuple(given))


def _open(path: Path) -> Side:
    """Return a run with its log and recipe, or the values of a file of queries."""
    if path.is_dir():
        recipe = load(path / "recipe.json") if (path / "recipe.json").is_file() else None
        return Side(name=str(path), log=log.read(path / "log.jsonl"), recipe=recipe)
    if not path.exists():
        raise DataError(f"{path} is not there: give a run's folder, or a file that --per-query has written")
    return read_queries(path) if path.suffix.lower() == ".csv" else Side(name=str(path))


def read_queries(path: Path) -> Side:
    """Read a file that `--per-query` has written.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    wrong = DataError(f"{path} is not a table of queries: write one with `reidkit evaluate --per-query FILE.csv`")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows or not set(COLUMNS) <= set(rows[0]):
            raise wrong
        numbers = np.array([[float(row[name] or "nan") for name in COLUMNS[4:]] for row in rows])
        queries = tuple((row["query"], cell_text(row["path"]), int(row["pid"]), int(row["camid"])) for row in rows)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, csv.Error):
        raise wrong from None
    ap, inp, first = numbers.T
    unknown = np.isnan(ap)
    if not np.array_equal(unknown, np.isnan(first)) or not (((ap >= 0) & (ap <= 1) & (first >= 1)) | unknown).all():
        raise wrong
    return Side(name=str(path), queries=queries, values=Values(ap, inp, first))


def _fill(side: Side, evaluation: Evaluation) -> None:
    """Put the scores of single queries into a side."""
    query, scores = evaluation.query, evaluation.scores
    side.evaluation = evaluation
    side.values = Values(scores.average_precision, scores.inp, scores.first_match)
    labels = zip(query.paths, query.pids.tolist(), query.camids.tolist(), strict=True)
    side.queries = tuple((str(row), *label) for row, label in enumerate(labels))


def _labels(side: Side) -> list[tuple[str, str, int, int]]:
    """Return what must be equal for two results to be of the same queries; their folder may have moved."""
    return [(number, PurePath(path).name, pid, camid) for number, path, pid, camid in side.queries]
