"""`reidkit gallery check`, `copy` and `export`: a gallery beside another one, or in a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit.cli import options
from reidkit.cli.gallery_audit import write_audit
from reidkit.cli.gallery_options import Uri, Which
from reidkit.cli.gallery_output import SHOWN
from reidkit.cli.output import print_json, print_line, progress
from reidkit.errors import UsageError
from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

QUERIES, RECALL = 100, 0.99
"""What `check --against` searches for, and finds at least."""


def check(
    uri: Uri,
    against: Annotated[str | None, typer.Option(help="Another gallery, taken for the truth.")] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help=f"For --against: rows that are searched for.  [default: {QUERIES}]")
    ] = None,
    min_recall: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"For --against: the least recall.  [default: {RECALL}]")
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Read everything and compare it with what was written; with --against, with another gallery.

    Compared are keys, columns and features of sampled rows, and for sampled queries, with and without filters, how many
    of the other gallery's first 1, 10 and 100 hits are found. The exit status is 1 where there is a problem.
    """
    from reidkit.gallery import open_gallery
    from reidkit.gallery.agreement import compare_galleries

    if against is None:
        _refuse_given({"--queries": queries, "--min-recall": min_recall})
    with open_gallery(uri) as opened:
        found = opened.check()
        compared = None
        if against is not None:
            with open_gallery(against) as truth:
                compared = compare_galleries(opened, truth, queries=queries or QUERIES)
    problems = list(found.problems)
    if compared:
        counts = (("missing", compared.missing), ("extra", compared.extra), ("different", compared.different))
        problems += [f"{what}: {counted(count, 'row')}" for what, count in counts if count]
        least = RECALL if min_recall is None else min_recall
        problems += [f"recall is {compared.least():.4f}"] if compared.least() < least else []
    if as_json:
        facts = dataclasses.asdict(compared) if compared else None
        print_json({"rows": found.rows, "problems": problems, "against": facts})
    else:
        for problem in problems[:SHOWN]:
            print_line(problem)
        if compared:
            print_line(f"{compared.queries} queries, by part of the rows that passes the filter:")
            for name, recall in compared.recall.items():
                words = ", ".join(f"@{top} {value:.4f}" for top, value in recall.items())
                print_line(f"recall ({name}, {compared.passed[name]:.1%}): {words}")
        print_line(
            f"{counted(found.rows, 'row')} read, {counted(len(problems), 'problem') if problems else 'no problems'}"
        )
    return int(bool(problems))


def _refuse_given(values: Mapping[str, float | None]) -> None:
    """Refuse options of a comparison that nobody asks for."""
    for option, value in values.items():
        if value is not None:
            raise UsageError(f"{option} is for a comparison: name the other gallery by --against, or leave it out")


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A gallery.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Another one; made where it is not there.")],
    as_json: options.Json = False,
) -> None:
    """Copy all rows of a gallery into another one, of any kind; a copy that was stopped goes on when repeated."""
    from reidkit.gallery import open_gallery
    from reidkit.gallery.milvus_address import shown
    from reidkit.gallery.transfer import copy_gallery, open_copy

    with open_gallery(source) as ours, open_copy(ours, target) as theirs, progress() as tell:
        done = copy_gallery(ours, theirs, lambda count, total: tell("rows", count, total))
        rows = theirs.count()
    counts = {name: done.count(name) for name in ("added", "replaced", "unchanged")}
    if as_json:
        print_json({**counts, "rows": rows})
    else:
        words = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        print_line(f"{words}: {counted(rows, 'row')} in {shown(target)}")


def export(
    uri: Uri,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A features file to write, .npz or .parquet.")],
    which: Which,
    as_json: options.Json = False,
) -> None:
    """Write rows with their features to a features file, which `reidkit gallery add` takes again."""
    from reidkit.gallery import open_gallery
    from reidkit.gallery.transfer import export_gallery

    matching = which.filter()
    with open_gallery(uri) as opened, progress() as tell:
        write_audit(uri, "export", rows=opened.count(matching), filter=matching.conditions())
        count = export_gallery(opened, out, matching, lambda done, total: tell("rows", done, total))
    if as_json:
        print_json({"rows": count, "file": str(out)})
    else:
        print_line(f"{counted(count, 'row')} in {out}")
