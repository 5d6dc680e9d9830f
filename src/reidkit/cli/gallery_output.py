"""What the commands of `reidkit gallery` print."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING

from reidkit.cli.output import print_json, print_line, print_table, remark
from reidkit.terminal import chance_words, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reidkit.gallery import Gallery, Hit, Hits
    from reidkit.gallery.fill import Filled
    from reidkit.metrics.calibration_file import Calibration

SHOWN = 20
"""Problems that are named one by one; --json has all of them."""


def print_filled(filled: Filled, rows: int, *, as_json: bool) -> int:
    """Print how many rows were added, replaced and left out; return the exit status."""
    if as_json:
        unreadable = [{"image": name, "reason": reason} for name, reason in filled.unreadable]
        print_json({**dataclasses.asdict(filled), "unreadable": unreadable, "rows": rows})
    else:
        for _, reason in filled.unreadable[:SHOWN]:
            remark(f"left out: {reason}")
        for key in filled.conflicts[:SHOWN]:
            remark(f"left as it is: {key} is there with another image or other columns (--replace replaces it)")
        words = [f"{filled.added:,} added", f"{filled.replaced:,} replaced", f"{filled.unchanged:,} unchanged"]
        words += [f"{len(filled.unreadable):,} unreadable"] if filled.unreadable else []
        words += [f"{len(filled.conflicts):,} in conflict"] if filled.conflicts else []
        print_line(f"{', '.join(words)}: {counted(rows, 'row')} in the gallery")
    return int(bool(filled.unreadable or filled.conflicts))


def print_info(opened: Gallery, *, as_json: bool) -> None:
    """Print what a gallery is."""
    from reidkit.gallery.row import time_text

    found = opened.info()
    if as_json:
        values = dataclasses.asdict(found)
        for each in (values, *values["cameras"]):
            each |= {name: time_text(value) for name, value in each.items() if isinstance(value, datetime)}
        print_json(values)
        return
    print_line(
        f"{found.uri}: {counted(found.rows, 'image')}, model {found.model or 'not known'}, {found.dim} numbers each"
    )
    if found.calibrated:
        pairs = f", {counted(found.pairs, 'pair')} of cameras with their own" if found.pairs else ""
        print_line(f"threshold {found.threshold:.4f} at a false accept rate of {found.far:g}{pairs}")
    else:
        print_line("not calibrated: hits have no probabilities (reidkit calibrate)")
    size = f"{found.bytes / 2**20:,.1f} MiB, " if found.bytes else ""
    print_line(f"{size}made {time_text(found.created)}{'' if found.exact else '; a search may miss some (its index)'}")
    if found.cameras:
        cells = [
            [each.name or "(not known)", f"{each.rows:,}", time_text(each.first) or "", time_text(each.last) or ""]
            for each in found.cameras
        ]
        print_table(("camera", "images", "first", "last"), cells)


def searched_words(passed: int, searched: int, what: str) -> str:
    """Return how much of a gallery was searched, with a hint where it or its conditions leave nothing."""
    words = f"{passed:,} of {searched:,} {what} were searched"
    if not searched:
        return f"{words}: the gallery is empty"
    if not passed:
        return f"{words}, as no row meets the conditions (`reidkit gallery info` shows the cameras and their times)"
    return words


def print_hits(hits: Hits, known: Calibration | None, *, as_json: bool) -> None:
    """Print hits, and what their probabilities mean."""
    from reidkit.gallery.person_ids import PERSON
    from reidkit.gallery.row import time_text

    if as_json:
        values = [
            dataclasses.asdict(hit) | {"time": time_text(hit.time), "added": time_text(hit.added)} for hit in hits
        ]
        names = ("searched", "passed", "candidates", "exact", "threshold", "far", "next")
        facts = {name: getattr(hits, name) for name in names}
        print_json({**facts, "hits": values})
        return
    if not hits:
        print_line(f"nobody: {searched_words(hits.passed, hits.searched, 'images')}")
        return
    by_row = have_own_thresholds(hits)
    columns = {
        "rank": [str(hit.rank) for hit in hits],
        "similarity": [f"{hit.similarity:.4f}" for hit in hits],
        "probability": [chance_words(hit.probability, 1) for hit in hits],
        "threshold": threshold_cells(hits) if by_row else [],
        "same": [{None: "", True: "yes", False: "no"}[hit.same] for hit in hits],
        "camera": [hit.camera or "" for hit in hits],
        "time": [time_text(hit.time) or "" for hit in hits],
        "pid": ["" if hit.pid is None else str(hit.pid) for hit in hits],
        "person": [name if isinstance(name := hit.attributes.get(PERSON), str) else "" for hit in hits],
    }
    print_columns("key", [hit.key for hit in hits], columns)
    print_line(searched_words(hits.passed, hits.searched, "images"))
    print_meaning(known, by_row=by_row)


def print_columns(name: str, keys: Sequence[str], columns: Mapping[str, Sequence[str]], left: int = 1) -> None:
    """Print a table of `keys` under `name`, and of those columns in which anything stands."""
    told = {title: cells for title, cells in columns.items() if any(cells)}
    print_table((name, *told), list(zip(keys, *told.values(), strict=True)), left=left)


def have_own_thresholds(hits: Iterable[Hit]) -> bool:
    """Return whether a pair of cameras among hits has a threshold of its own, so that one sentence will not do."""
    return any(hit.calibration == "pair" for hit in hits)


def threshold_cells(hits: Iterable[Hit]) -> list[str]:
    """Return the threshold of each hit."""
    return ["" if hit.threshold is None else f"{hit.threshold:.4f}" for hit in hits]


def print_meaning(known: Calibration | None, *, by_row: bool) -> None:
    """Print what a match means, by the general threshold and how often strangers reach it, None without a calibration.

    `by_row`: the table has a column with the threshold of each row.
    """
    if known:
        which = "that of its row" if by_row else f"{known.threshold():.4f}"
        print_line(f"same: from the threshold on, {which}; {known.strangers()}. A person must check every match.")
    else:
        print_line("not calibrated: no probabilities (reidkit calibrate). A person must check every match.")
