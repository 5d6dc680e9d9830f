"""`reidkit video join` and `reidkit video find`: who is who in a gallery of videos, and where somebody was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from reidkit.cli import options
from reidkit.cli.gallery_audit import write_audit, write_search
from reidkit.cli.gallery_options import ModelOption, Which
from reidkit.cli.gallery_output import (
    have_own_thresholds,
    print_columns,
    print_meaning,
    searched_words,
    threshold_cells,
)
from reidkit.cli.output import print_json, print_line, print_table, remark
from reidkit.errors import UsageError
from reidkit.terminal import chance_words, counted

if TYPE_CHECKING:
    from reidkit.gallery import Gallery, Query
    from reidkit.metrics.calibration_file import Calibration
    from reidkit.video.clips import Clips
    from reidkit.video.joining import Proposal
    from reidkit.video.people import People, Track
    from reidkit.video.visits import Visit, Visits

SHOWN = 20
"""Doubtful pairs that are named one by one; --json has all of them."""


def join(
    uri: Annotated[str, typer.Argument(metavar="GALLERY", help="What reidkit video track has filled, as people.db.")],
    which: Which,
    threshold: Annotated[
        float | None, typer.Option(help="Join from this similarity on.  [default: calibrated, or from the videos]")
    ] = None,
    far: Annotated[
        float | None, typer.Option(help="Of a threshold from the videos: its false accept rate.  [default: 0.02]")
    ] = None,
    linkage: Annotated[
        Literal["average", "complete"], typer.Option(help="Of all pairs of tracks the mean, or the least.")
    ] = "average",
    cameras_overlap: Annotated[
        bool, typer.Option("--cameras-overlap", help="Two cameras may see one person at the same time.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show who would be joined, and write nothing.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what was proposed; what is confirmed stays.")] = False,
    confirm: Annotated[
        list[int] | None, typer.Option("--confirm", metavar="PERSON", help="This person was checked: its pid is kept.")
    ] = None,
    one: Annotated[bool, typer.Option("--one", help="Those of --confirm are one person.")] = False,
    unconfirm: Annotated[
        list[int] | None, typer.Option("--unconfirm", metavar="PID", help="Take back a --confirm.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Join the tracks of a gallery into people, within and across cameras: a proposal, for a person to check.

    Each row gets an attribute `person`, a number; --undo takes it away. Tracks that are seen at the same time are two
    people for certain, and without a calibration they give the threshold. Tracks that are unsure stay apart, and are
    listed. --confirm makes a proposal the pid of its rows, which later runs follow.
    """
    from reidkit.gallery import open_gallery
    from reidkit.video.people import confirm_people, forget_people, join_people, unconfirm_people, write_people

    if undo + bool(confirm) + bool(unconfirm) > 1:
        raise UsageError("choose one of --undo, --confirm and --unconfirm")
    if one and not confirm:
        raise UsageError("--one says that the people of --confirm are one: name them")
    if undo or confirm or unconfirm:
        _refuse_joining(
            {
                "--dry-run": dry_run,
                "--threshold": threshold is not None,
                "--far": far is not None,
                "--linkage": linkage != "average",
                "--cameras-overlap": cameras_overlap,
                "choice of rows": bool(which.filter()),
            }
        )
    with open_gallery(uri) as opened:
        if undo or confirm or unconfirm:
            if undo:
                action, count = "took back proposals of", forget_people(opened)
            elif confirm:
                action, count = "confirmed", confirm_people(opened, confirm, one=one)
            else:
                action, count = "no longer confirmed:", unconfirm_people(opened, unconfirm or [])
            facts = {"confirm": confirm or [], "unconfirm": unconfirm or [], "undo": undo}
            write_audit(uri, "join", rows=count, **facts)
            _print_changed(action, count, as_json=as_json)
            return
        found = join_people(
            opened,
            threshold=threshold,
            far=far,
            linkage=linkage,
            cameras_overlap=cameras_overlap,
            matching=which.filter(),
        )
        changed = 0 if dry_run else write_people(opened, found)
    if not dry_run:
        write_audit(uri, "join", rows=changed, people=found.count, threshold=round(found.threshold, 6))
    _print_people(found, changed, as_json=as_json)


def _refuse_joining(given: dict[str, bool]) -> None:
    """Refuse what only joining heeds, where something is confirmed or taken back: all of it would be written."""
    if said := next((name for name, there in given.items() if there), None):
        raise UsageError(f"--undo, --confirm and --unconfirm join nothing and heed no {said}: leave it out")


def find(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Photos of one person.")],
    uri: Annotated[
        str, typer.Option("--gallery", metavar="GALLERY", help="What reidkit video track has filled, as people.db.")
    ],
    which: Which,
    model: ModelOption = None,
    network: options.NetworkOption = None,
    input_spec: options.InputSpecOption = None,
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="What track --out has made: its crops and videos.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many visits.")] = 10,
    gap: Annotated[float, typer.Option(min=0, help="Seconds without the person that a visit may have.")] = 10.0,
    best: Annotated[bool, typer.Option("--best", help="Of several photos, compare the most similar one.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Draw the visits there (.png, .svg or .pdf).")] = None,
    clips: Annotated[Path | None, typer.Option(help="A folder for a clip of each visit above the threshold.")] = None,
    marked: Annotated[Path | None, typer.Option(help="A folder for the videos, whole, with boxes.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the visits there as a table.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    purpose: Annotated[str, typer.Option(help="Why: for the audit log, where the gallery has one.")] = "",
    as_json: options.Json = False,
) -> int:
    """Find a person in videos: at which camera, from when to when, how probable.

    The tracks that match are put together to visits; those below the threshold are shown apart. A person must check
    every match. Where GALLERY-audit lies beside the gallery, the search is noted there before anything is shown.
    """
    from reidkit.gallery import open_gallery
    from reidkit.gallery.query import Query
    from reidkit.video.people import hint_of_videos
    from reidkit.video.visits import find_visits

    outputs = _Outputs(sheet, csv, clips, marked, videos)
    _check_outputs(outputs, overwrite=overwrite)
    if model is None:
        raise UsageError("a photo needs the gallery's model to be embedded: name it by --model")
    open_gallery(uri).close()  # before a model is loaded for nothing
    query = Query(images=photos, combine="best" if best else "mean")
    with open_gallery(uri, options.open_model(model, network, input_spec)) as opened:
        visits = find_visits(opened, query, top=top, gap=gap, matching=which.filter())
        write_search(uri, purpose, query, which.filter(), (hit for visit in visits for hit in visit.hits))
        hint = hint_of_videos(opened) if visits.threshold is None else None
        done = _write(opened, query, visits, outputs, overwrite=overwrite)
    files = [str(file) for each in done for file in each.files]
    problems = list(dict.fromkeys(problem for each in done for problem in each.problems))
    if as_json:
        facts = {name: getattr(visits, name) for name in ("searched", "passed", "threshold", "far")}
        found = [visit.as_json() for visit in visits]
        proposal = hint._asdict() if hint else None
        print_json({**facts, "proposal": proposal, "visits": found, "files": files, "problems": problems})
    else:
        _print_visits(visits, opened.calibration, hint)
        for file in files:
            print_line(f"written {file}")
    for problem in problems:
        remark(f"left out: {problem}")
    return int(bool(problems))


class _Outputs(NamedTuple):
    """What is written beside the answer: files, and folders of clips, which are made of those in `videos`."""

    sheet: Path | None
    csv: Path | None
    clips: Path | None
    marked: Path | None
    videos: Path | None


def _check_outputs(outputs: _Outputs, *, overwrite: bool) -> None:
    """Refuse what cannot be written before anything is searched."""
    sheet, csv, clips, marked, videos = outputs
    if sheet:
        from reidkit.plots.style import figure_format

        figure_format(sheet)
    for path in (sheet, csv):
        if path and path.exists() and not overwrite:
            raise UsageError(f"{path} is there already: name another file, or pass --overwrite")
    if (clips or marked) and videos is None:
        raise UsageError("clips are made of the videos: name the folder that reidkit video track has made by --videos")
    if videos is not None and not videos.is_dir():
        raise UsageError(f"{videos} is no folder: name the one that reidkit video track has made")


def _write(opened: Gallery, query: Query, visits: Visits, outputs: _Outputs, *, overwrite: bool) -> list[Clips]:
    """Write what was asked for beside the answer."""
    from reidkit.atomic import write_bytes_atomic
    from reidkit.video.clips import Clips, write_clips, write_marked
    from reidkit.video.visits import visits_csv

    sheet, csv, clips, marked, videos = outputs
    done: list[Clips] = []
    if csv:
        write_bytes_atomic(csv, visits_csv(visits).encode())
        done.append(Clips((csv,), ()))
    if sheet:
        from reidkit.plots.style import write_figure
        from reidkit.video.sheet import visits_figure

        write_figure(visits_figure(opened, query.images, visits, videos), sheet)
        done.append(Clips((sheet,), ()))
    if clips and videos:
        done.append(write_clips(visits.above, videos, clips, overwrite=overwrite))
    if marked and videos:
        done.append(write_marked(visits.above, videos, marked, overwrite=overwrite))
    return done


def _print_visits(visits: Visits, known: Calibration | None, hint: Proposal | None) -> None:
    if not visits:
        print_line(f"nobody: {searched_words(visits.passed, visits.searched, 'tracks')}")
        return
    by_row = have_own_thresholds(visit.best for visit in visits)
    _print_some(visits.above, by_row=by_row)
    if visits.below:
        print_line()
        print_line("below the threshold: probably other people")
        _print_some(visits.below, by_row=by_row)
    print_line(searched_words(visits.passed, visits.searched, "tracks"))
    if hint:  # which there is only where nothing is calibrated
        print_line(
            f"a hint: {hint.far:.0%} of {hint.pairs:,} pairs of strangers, tracks that are seen together in these "
            f"videos, reach a similarity of {hint.threshold:.4f}"
        )
    print_meaning(known, by_row=by_row)


def _print_some(visits: tuple[Visit, ...], *, by_row: bool) -> None:
    from reidkit.video.visit_words import span_words

    if not visits:
        print_line("nobody reaches the threshold")
        return
    days = {time.date() for visit in visits for time in (visit.start, visit.end) if time}
    spans = [span_words(visit, day=len(days) > 1).partition(" - ") for visit in visits]
    columns = {
        "camera": [visit.camera or "" for visit in visits],
        "from": [begin for begin, _, _ in spans],
        "to": [end for _, _, end in spans],
        "probability": [chance_words(visit.probability, 1) for visit in visits],
        "similarity": [f"{visit.similarity:.4f}" for visit in visits],
        "threshold": threshold_cells(visit.best for visit in visits) if by_row else [],
        "person": ["" if visit.person is None else str(visit.person) for visit in visits],
        "video": ["" if visit.video == visit.camera else visit.video or "" for visit in visits],
        "tracks": [str(len(visit.hits)) for visit in visits],
    }
    print_columns("visit", [str(visit.rank) for visit in visits], columns, left=3)
    if len(days) == 1:
        print_line(f"on {days.pop()}, UTC")


def _print_changed(action: str, count: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"rows": count})
    else:
        print_line(f"{action} {counted(count, 'row')}")


def _print_people(found: People, changed: int, *, as_json: bool) -> None:
    doubts = [_doubt(found, at) for at in range(len(found.joined.doubts))]
    if as_json:
        tracks = [
            {
                "track": track.name,
                "person": int(number),
                "confirmed": track.pid is not None,
                "camera": track.camera,
                "from": track.start.isoformat() if track.start else None,
                "to": track.end.isoformat() if track.end else None,
                "first": track.row.attributes.get("first"),
                "last": track.row.attributes.get("last"),
            }
            for track, number in zip(found.tracks, found.people, strict=True)
        ]
        facts = {"basis": found.basis, "threshold": found.threshold, "far": found.far}
        proposal = found.proposal._asdict() if found.proposal else None
        people = {"people": found.count, "changed": changed, "tracks": tracks, "doubts": doubts}
        print_json({**facts, "proposal": proposal, **people})
        return
    _print_joined(found)
    for doubt in doubts[:SHOWN]:
        why = ", but they are seen at the same time" if doubt["together"] else ""
        print_line(
            f"unsure: persons {doubt['people'][0]} and {doubt['people'][1]}: {doubt['tracks'][0]} and "
            f"{doubt['tracks'][1]} are alike ({doubt['similarity']:.3f}), all their tracks less so{why}"
        )
    if len(doubts) > SHOWN:
        print_line(f"unsure: {len(doubts) - SHOWN} more pairs (--json)")
    print_line(_threshold_words(found))
    print_line(
        f"{counted(len(found.tracks), 'track')}, {counted(found.count, 'person', 'people')}; "
        f"{counted(changed, 'row')} changed. A person must check."
    )


def _print_joined(found: People) -> None:
    """Print the people who have several tracks."""
    rows = []
    tracks_of: dict[int, list[Track]] = {int(number): [] for number in found.numbers}
    for track, person in zip(found.tracks, found.people, strict=True):
        tracks_of[int(person)].append(track)
    for number, mine in tracks_of.items():
        if len(mine) > 1:
            cameras = list(dict.fromkeys(track.camera or "?" for track in mine))
            starts = [track.start for track in mine if track.start]
            when = f"{min(starts):%Y-%m-%d %H:%M:%S}" if starts else ""
            state = "confirmed" if any(track.pid is not None for track in mine) else "proposed"
            rows.append([str(number), str(len(mine)), ", ".join(cameras), when, state])
    if rows:
        print_table(("person", "tracks", "cameras", "first seen (UTC)", ""), rows)


def _threshold_words(found: People) -> str:
    if found.basis == "given":
        return f"joined from a similarity of {found.threshold:.4f} on, as given"
    if found.basis == "calibrated":
        return f"joined from the calibrated threshold on, {found.threshold:.4f} at a false accept rate of {found.far:g}"
    words = (
        f"joined from a similarity of {found.threshold:.4f} on, which {found.far:.0%} of the pairs of tracks reach "
        "that are seen together"
    )
    warning = found.proposal.warning if found.proposal else ""
    if warning:
        remark(f"warning: {warning}")
    return f"{words} ({found.proposal.pairs:,} pairs)" if found.proposal else words


def _doubt(found: People, at: int) -> dict[str, Any]:
    doubt = found.joined.doubts[at]
    values = doubt._asdict()
    values["people"] = [int(found.numbers[person]) for person in doubt.people]
    values["tracks"] = [found.tracks[track].name for track in doubt.tracks]
    return dict(values)
