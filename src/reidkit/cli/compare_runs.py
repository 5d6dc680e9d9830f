"""`reidkit compare-runs`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidkit.cli import options
from reidkit.cli.output import check_output, print_json, print_line, print_table, progress, shown_command
from reidkit.errors import UsageError
from reidkit.terminal import percent

if TYPE_CHECKING:
    from reidkit.evaluation import EvaluationProtocol
    from reidkit.metrics.intervals import PairedComparison
    from reidkit.plots.image_grid import RankedList
    from reidkit.train.run_comparison import RunComparison, Side

WORDS = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "map": "mAP", "minp": "mINP"}


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
    check_output("--report", report, first, second, data)
    if data is None and (format_ or (features, comparing) != (options.Features(), options.Comparing())):
        raise UsageError("how features are made and compared is for --data: give it, or leave these options out")
    from reidkit.train import compare_runs

    network = options.import_network(inference.network)
    inference.cache_dir()  # refuses options that exclude each other
    if data is None:
        found, protocol = compare_runs(first, second, network=network), None
    else:
        from reidkit.data.formats.detect import load_dataset

        protocol = features.protocol(comparing)
        with progress() as tell:
            found = compare_runs(
                first,
                second,
                load_dataset(data, format_),
                protocol=protocol,
                options=inference.for_library(tell),
                network=network,
                input_spec=inference.input_spec,
            )
    if as_json:
        print_json(_json(found))
    else:
        _print(found)
    if report:
        _write(report, found, protocol)
        if not as_json:
            print_line(f"report in {report}")


def _sentence(found: PairedComparison) -> str:
    """Return how the test was made, and what it cannot say."""
    way = "all exchanges" if found.exact else "random exchanges"
    few = f"; with {found.ids} ids no p can be below {found.smallest_p:.2g}" if found.smallest_p > 0.05 else ""
    return (
        f"{found.queries} queries of {found.ids} ids; p: {way} of A and B by id; "
        f"interval: 95 %, bootstrap over ids{few}"
    )


def _print(found: RunComparison) -> None:
    a, b, test = found.a, found.b, found.test
    print_line(f"A: {a.name}")
    print_line(f"B: {b.name}")
    if test:
        rows = []
        for name, one in test.differences.items():
            scores = (percent(one.a), percent(one.b), _signed(one.difference))
            ends = (one.interval.low, one.interval.high) if one.interval else (None, None)
            rows.append((WORDS[name], *scores, " to ".join(map(_signed, ends)), f"{one.p:.4f}"))
        print_table(("", "A", "B", "B - A", "95 % interval", "p"), rows)
        print_line(_sentence(test))
        _print_queries(found)
    elif a.scores and b.scores:
        keys = [key for key in WORDS if key in a.scores and key in b.scores]
        print_table(
            ("last scores", "A", "B"), [(WORDS[key], percent(a.scores[key]), percent(b.scores[key])) for key in keys]
        )
    if a.log and b.log:
        training = [("epochs", str(a.epochs), str(b.epochs)), ("loss", _loss(a), _loss(b))]
        print_table(("training", "A", "B"), training)
    for line in (*found.changed, *found.given):
        print_line(f"A has {line}")
    if not test:
        print_line("no test was made: give --data, or two files of --per-query")


def _print_queries(found: RunComparison) -> None:
    rows = [
        (line["path"] or f"query {line['query']}", str(line["pid"]), percent(line["a"]), percent(line["b"]))
        for line in _queries(found)
    ]
    if rows:
        print_table(("differ most in", "id", "AP of A", "AP of B"), rows)


def _queries(found: RunComparison) -> list[dict[str, Any]]:
    """Return the queries that differ most, as JSON."""
    a, b = found.a, found.b
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
        for row in found.most_different()
    ]


def _json(found: RunComparison) -> dict[str, Any]:
    value: dict[str, Any] = {
        key: {"name": side.name, "epochs": side.epochs, "last_scores": side.scores, "curves": side.curves}
        for key, side in (("a", found.a), ("b", found.b))
    }
    value["recipe_differences"] = list(found.changed)
    value["run_differences"] = list(found.given)
    if test := found.test:
        value |= {name: one.as_json() for name, one in test.differences.items()}
        value |= {"queries": test.queries, "ids": test.ids, "exact": test.exact, "smallest_p": test.smallest_p}
        value["most_different"] = _queries(found)
    return value


def _loss(side: Side) -> str:
    points = side.curves.get("loss")
    return f"{points[-1][1]:.3f}" if points else "-"


_signed = partial(percent, sign="+")


def _write(path: Path, found: RunComparison, protocol: EvaluationProtocol | None) -> None:
    """Write the page; `protocol` is that by which both were evaluated."""
    from reidkit.report.page import ComparedQuery, ComparePage, write_comparison

    a, b, test, rows = found.a, found.b, found.test, found.most_different()
    lists: list[list[RankedList] | list[None]] = [[None] * len(rows)] * 2
    if protocol and rows:
        from reidkit.report.build import ranked_lists

        lists = [ranked_lists(side.evaluation, protocol, rows) for side in (a, b) if side.evaluation]
    page = ComparePage(
        names=(a.name, b.name),
        command=shown_command(),
        scores=[
            (WORDS[name], one.a, one.b, (one.interval.low, one.interval.high) if one.interval else None, one.p)
            for name, one in (test.differences.items() if test else ())
        ],
        sentence=_sentence(test) if test else "",
        curves=(a.curves, b.curves),
        changed=(*found.changed, *found.given),
        queries=[
            ComparedQuery(one["path"] or f"query {one['query']}", one["pid"], one["camid"], (one["a"], one["b"]), pair)
            for one, pair in zip(_queries(found), zip(*lists, strict=True), strict=True)
        ],
    )
    write_comparison(path, page)
