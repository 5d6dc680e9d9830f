"""`reidkit gallery audit`: who searched for whom, and whether the log was tampered with."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidkit.cli import options
from reidkit.cli.gallery_options import parse_time
from reidkit.cli.output import print_json, print_json_list, print_line
from reidkit.errors import DataError, GalleryError, MissingFileError, UsageError
from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reidkit.gallery import Filter, Hit, Query

SHOWN = 120
"""Characters of what an entry holds beside time, actor and action."""

FIRST = ("purpose", "wanted", "filter", "a", "b", "similarity")
"""What of that stands first: why, and for what. Hashes and results are long."""


def audit(
    uri: Annotated[str, typer.Argument(metavar="GALLERY", help="Its file, as people.db; or the file of the log.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of hashes instead.")] = False,
    actor: Annotated[str, typer.Option("--actor", help="Entries of this actor.")] = "",
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="2026-11-26T08:00Z, or 2h ago.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Entries from before this time.")] = None,
    as_json: options.Json = False,
) -> None:
    """Show the audit log of a gallery that is served, or check that nobody has changed it."""
    from reidkit.gallery.milvus_address import shown
    from reidkit.gallery.row import to_micros
    from reidkit.serve.audit import is_log, read_log

    if "://" in uri:
        raise UsageError(
            f"{shown(uri)} is no file that an audit log could lie beside: name that of the log, as `reidkit serve "
            "--audit FILE` did"
        )
    path = Path(uri) if uri.endswith("-audit") or is_log(Path(uri)) else Path(f"{uri}-audit")
    if not path.is_file():
        raise MissingFileError(f"{path} is not there: a log begins when `reidkit serve` first serves the gallery")
    if verify:
        _verify(path, as_json=as_json)
        return
    first, last = (None if text is None else to_micros(parse_time(text)) for text in (since, until))
    read = read_log(path, since=first or 0, until=last, actor=actor)
    entries = (entry | {"time": _time_text(entry["time"])} for entry in read)
    if as_json:
        print_json_list("entries", entries)
        return
    for entry in entries:
        names = [*(name for name in FIRST if name in entry), *(name for name in entry if name not in FIRST)]
        rest = {name: entry[name] for name in names if name not in ("id", "time", "actor", "action", "hash")}
        text = json.dumps(rest, ensure_ascii=False)
        short = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
        print_line(f"{entry['id']}  {entry['time']}  {entry['actor']}  {entry['action']}  {short}")


def _time_text(micros: int) -> str:
    """Return a time as text; the number itself, where it is damaged and no time."""
    from reidkit.gallery.row import from_micros

    try:
        return from_micros(micros).isoformat(timespec="milliseconds")
    except OverflowError:
        return str(micros)


def _verify(path: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    from reidkit.serve.audit import verify

    found = verify(path)
    if as_json:
        print_json(asdict(found))
    else:
        print_line(f"{counted(found.entries, 'entry', 'entries')}, the last one {found.hash}")
        for fault in found.faults:
            print_line(fault)
    if found.faults:
        raise DataError(f"{path} has been changed: compare it with a copy that nobody could write to")


def write_search(uri: str, purpose: str, query: Query, matching: Filter, hits: Iterable[Hit]) -> None:
    """Note a search before its hits are shown, as `write_audit`: with hashes of its pictures, and no pictures."""
    import hashlib

    write_audit(
        uri,
        "search",
        purpose=purpose,
        images=[hashlib.sha256(Path(str(image)).read_bytes()).hexdigest() for image in query.images],
        keys=list(query.keys),
        filter=matching.conditions(),
        hits=[{"key": hit.key, "similarity": round(hit.similarity, 6)} for hit in hits],
    )


def write_audit(uri: str, action: str, **facts: Any) -> None:
    """Note what is about to be done or shown in the audit log of the gallery, where it has one.

    Raises:
        GalleryError: the log cannot be written, so that nothing is to be done.
    """
    log = Path(f"{uri}-audit")
    if not log.is_file():
        return
    from reidkit.serve.audit import AuditLog

    with closing(AuditLog(log)) as audit:
        try:
            audit.write(f"command line: {_user()}", action, **facts).result()
        except sqlite3.Error as error:
            raise GalleryError(
                f"{log} cannot be written ({error}), so that nothing is done or shown: make room for it"
            ) from None


def _user() -> str:
    """Return who runs this, as the system knows it: not as `LOGNAME` and the like say, which anybody can set."""
    try:
        import pwd
    except ImportError:  # Windows
        import getpass

        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container that was given a number (`docker run --user 12345`)
        return f"uid {os.getuid()}"
