"""`reidkit compare-runs`."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidkit.cli import options
from reidkit.cli.output import print_json, print_line, print_table, progress, shown_command
from reidkit.cli.score import cell_text
from reidkit.errors import DataError, UsageError
from reidkit.terminal import percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reidkit.evaluation import Evaluation, EvaluationProtocol
    from reidkit.metrics.intervals import PairedComparison, Values
    from reidkit.recipe import Recipe

WORDS = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "map": "mAP", "minp": "mINP"}
COLUMNS = ("query", "path", "pid", "camid", "ap", "inp", "first_match")
SHOWN = 10
"""Queries that are listed: those on which both differ most."""


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
        return {key: rows[-1][key] for key in (*WORDS, "epoch") if key in rows[-1]} if rows else {}


def compare_runs(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run's folder, a model, or a file of --per-query.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind.")],
    features: options.Features,
    comparing: options.Comparing,
    inference: options.Inference,
    data: Annotated[Path | None, typer.Option(help="Evaluate both on this data set, and test the difference.")] = None,
    report: options.Report = None,
    format_: options.Format = None,
    as_json: options.Json = False,
) -> None:
    """Compare two runs: their curves, their scores side by side, and a paired test over the ids of the queries."""
    import numpy as np

    from reidkit.metrics.intervals import compare_paired

    sides = tuple(_open(path) for path in (first, second))
    protocol = features.protocol(comparing)
    if data is not None:
        with progress() as tell:
            _evaluate(zip(sides, (first, second), strict=True), (data, format_), protocol, (inference, tell))
    a, b = sides
    found = None
    if a.values and b.values:
        if _labels(a) != _labels(b):
            raise DataError(f"{first} and {second} are results of different queries: evaluate both on the same data")
        found = compare_paired(a.values, b.values, np.array([pid for _, _, pid, _ in a.queries], np.int64))
    elif not (a.log and b.log):
        raise UsageError("there is nothing to compare: give two runs with their logs, or a data set by --data")
    changed = _changed(a, b)
    if as_json:
        print_json(_json(sides, found, changed))
    else:
        _print(sides, found, changed)
    if report:
        _write(report, sides, found, changed, protocol)
        if not as_json:
            print_line(f"report in {report}")


def most_different(a: Values, b: Values, count: int = SHOWN) -> list[int]:
    """Return the numbers of the queries whose average precision differs most, of those that differ at all."""
    import numpy as np

    apart = np.nan_to_num(np.abs(b.average_precision - a.average_precision))
    order = np.argsort(-apart, kind="stable")[:count]
    return [int(row) for row in order if apart[row] > 0]


def _labels(side: Side) -> list[tuple[str, str, int, int]]:
    """Return what must be equal for two results to be of the same queries; their folder may have moved."""
    return [(number, PurePath(path).name, pid, camid) for number, path, pid, camid in side.queries]


def _open(path: Path) -> Side:
    """Return a run with its log and recipe, or the values of a file of `--per-query`."""
    if path.is_dir():
        from reidkit.recipe import load
        from reidkit.train.log import read

        recipe = load(path / "recipe.json") if (path / "recipe.json").is_file() else None
        return Side(name=str(path), log=read(path / "log.jsonl"), recipe=recipe)
    if not path.exists():
        raise DataError(f"{path} is not there: give a run's folder, or a file that --per-query has written")
    if path.suffix.lower() == ".csv":
        return read_queries(path)
    return Side(name=str(path))


def read_queries(path: Path) -> Side:
    """Read a file that `--per-query` has written.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    import numpy as np

    from reidkit.metrics.intervals import Values

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


def _evaluate(
    sides: Iterable[tuple[Side, Path]],
    data: tuple[Path, str | None],
    protocol: EvaluationProtocol,
    inference: tuple[options.Inference, options.Progress],
) -> None:
    """Evaluate both models on the same data."""
    from reidkit.data.formats.detect import load_dataset
    from reidkit.evaluation import evaluate
    from reidkit.metrics.intervals import Values

    dataset, settings = load_dataset(*data), inference[0].for_library(inference[1])
    for side, path in sides:
        if side.values:
            raise UsageError(f"{path} is a result already: leave out --data, or give a run's folder")
        model = inference[0].load_model(path)
        side.recipe = side.recipe or getattr(model, "recipe", None)
        side.evaluation = evaluate(model, dataset, protocol, settings)
        query, scores = side.evaluation.query, side.evaluation.scores
        side.values = Values(scores.average_precision, scores.inp, scores.first_match)
        labels = zip(query.paths, query.pids.tolist(), query.camids.tolist(), strict=True)
        side.queries = tuple((str(row), *label) for row, label in enumerate(labels))


def _changed(a: Side, b: Side) -> list[str]:
    """Return the fields in which the recipes differ: `optim.lr: 0.1, not 0.2` says that A has 0.1."""
    from reidkit.recipe import differences

    return differences(a.recipe, b.recipe) if a.recipe and b.recipe else []


def _sentence(found: PairedComparison) -> str:
    """Return how the test was made, and what it cannot say."""
    way = "all exchanges" if found.exact else "drawn exchanges"
    few = f"; with {found.ids} ids no p can be below {found.smallest_p:.2g}" if found.smallest_p > 0.05 else ""
    return (
        f"{found.queries} queries of {found.ids} ids; p: {way} of A and B by id; "
        f"interval: 95 %, bootstrap over ids{few}"
    )


def _print(sides: Sequence[Side], found: PairedComparison | None, changed: Sequence[str]) -> None:
    a, b = sides
    print_line(f"A: {a.name}")
    print_line(f"B: {b.name}")
    if found:
        rows = []
        for name, one in found.differences.items():
            scores = (percent(one.a), percent(one.b), _signed(one.difference))
            ends = (one.interval.low, one.interval.high) if one.interval else (None, None)
            rows.append((WORDS[name], *scores, " to ".join(map(_signed, ends)), f"{one.p:.4f}"))
        print_table(("", "A", "B", "B - A", "95 % interval", "p"), rows)
        print_line(_sentence(found))
        _print_queries(sides)
    elif a.scores and b.scores:
        keys = [key for key in WORDS if key in a.scores and key in b.scores]
        print_table(
            ("last scores", "A", "B"), [(WORDS[key], percent(a.scores[key]), percent(b.scores[key])) for key in keys]
        )
    if a.log and b.log:
        training = [("epochs", str(_epochs(a)), str(_epochs(b))), ("loss", _loss(a), _loss(b))]
        print_table(("training", "A", "B"), training)
    for line in changed:
        print_line(f"A has {line}")
    if not found:
        print_line("no test was made: give --data, or two files of --per-query")


def _print_queries(sides: Sequence[Side]) -> None:
    rows = [
        (line["path"] or f"query {line['query']}", str(line["pid"]), percent(line["a"]), percent(line["b"]))
        for line in _queries(sides)
    ]
    if rows:
        print_table(("differ most in", "id", "AP of A", "AP of B"), rows)


def _queries(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Return the queries that differ most, as JSON."""
    a, b = sides
    if not a.values or not b.values:
        return []
    ours, theirs = a.values.average_precision, b.values.average_precision
    return [
        {
            "query": int(a.queries[row][0]),
            "path": a.queries[row][1],
            "pid": a.queries[row][2],
            "camid": a.queries[row][3],
            "a": float(ours[row]),
            "b": float(theirs[row]),
        }
        for row in most_different(a.values, b.values)
    ]


def _json(sides: Sequence[Side], found: PairedComparison | None, changed: Sequence[str]) -> dict[str, Any]:
    value: dict[str, Any] = {
        key: {"name": side.name, "epochs": _epochs(side), "last_scores": side.scores, "curves": _curves(side)}
        for key, side in zip("ab", sides, strict=True)
    }
    value["recipe_differences"] = list(changed)
    if found:
        value |= {name: one.as_json() for name, one in found.differences.items()}
        value |= {"queries": found.queries, "ids": found.ids, "exact": found.exact, "smallest_p": found.smallest_p}
        value["most_different"] = _queries(sides)
    return value


def _curves(side: Side) -> dict[str, list[list[float]]]:
    """Loss, rank-1 and mAP over the epochs, as pairs."""
    from reidkit.plots.charts import number

    curves: dict[str, list[list[float]]] = {}
    for key in ("loss", "rank1", "map"):
        rows = [(number(row.get("epoch")), number(row.get(key))) for row in side.log if row.get("kind") != "step"]
        points = {x: y for x, y in rows if x is not None and y is not None}
        if points:
            curves[key] = [[x, points[x]] for x in sorted(points)]
    return curves


def _epochs(side: Side) -> int:
    return max((int(row["epoch"]) for row in side.log if row.get("kind") == "epoch"), default=0)


def _loss(side: Side) -> str:
    points = _curves(side).get("loss")
    return f"{points[-1][1]:.3f}" if points else "-"


_signed = partial(percent, sign="+")


def _write(
    path: Path,
    sides: Sequence[Side],
    found: PairedComparison | None,
    changed: Sequence[str],
    protocol: EvaluationProtocol,
) -> None:
    """The page."""
    from reidkit.report.build import ranked_lists
    from reidkit.report.page import ComparedQuery, ComparePage, write_comparison

    a, b = sides
    rows = most_different(a.values, b.values) if a.values and b.values else []
    lists = [
        ranked_lists(side.evaluation, protocol, rows) if side.evaluation and rows else [None] * len(rows)
        for side in sides
    ]
    page = ComparePage(
        names=(a.name, b.name),
        command=shown_command(),
        scores=[
            (WORDS[name], one.a, one.b, (one.interval.low, one.interval.high) if one.interval else None, one.p)
            for name, one in (found.differences.items() if found else ())
        ],
        sentence=_sentence(found) if found else "",
        curves=(_curves(a), _curves(b)),
        changed=changed,
        queries=[
            ComparedQuery(one["path"] or f"query {one['query']}", one["pid"], one["camid"], (one["a"], one["b"]), pair)
            for one, pair in zip(_queries(sides), zip(*lists, strict=True), strict=True)
        ],
    )
    write_comparison(path, page)
