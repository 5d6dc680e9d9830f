"""The table of `--per-query`: one line for each query."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING

from reidkit.atomic import atomic_write, os_errors_as
from reidkit.terminal import text_cell

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.cli.score import ScoreResult
    from reidkit.types import Embeddings


def write_queries(path: Path, query: Embeddings, found: ScoreResult) -> None:
    r"""Write one line for each query: its scores as measured and after re-ranking, empty where it has no match.

    Where ids or cameras have names, these stand in columns of their own.

    The file is UTF-8 and written whole or not at all. A byte of a path that is not UTF-8 appears as `\udcXX`.

    Raises:
        DataError: the file cannot be written.
    """
    kinds = {"": found.scores, **({"reranked_": found.reranked} if found.reranked else {})}
    values = {
        prefix + name: getattr(scores, attribute)
        for prefix, scores in kinds.items()
        for name, attribute in (("ap", "average_precision"), ("inp", "inp"), ("first_match", "first_match"))
    }
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with os_errors_as(path), atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        writer = csv.writer(text)
        names = query.names
        named = ("pid_name", "camid_name") if names else ()
        writer.writerow(("query", "path", "pid", "camid", *named, *values))
        for i, (pid, camid) in enumerate(zip(query.pids.tolist(), query.camids.tolist(), strict=True)):
            numbers = ("" if math.isnan(column[i]) else f"{column[i]:g}" for column in values.values())
            called = (text_cell(names.pid(pid)), text_cell(names.camid(camid))) if names else ()
            writer.writerow((i, text_cell(query.paths[i]) if query.paths else "", pid, camid, *called, *numbers))
        text.flush()
        text.detach()  # `file` is flushed and closed by its owner
