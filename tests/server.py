"""A web server on this machine, for shards at a URL, and what can go wrong with one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Site:
    """A folder at `url`, whose files can be asked for in pieces if there are `ranges`.

    `faults` is what the next requests for files meet: a status, `cut`, or `silence`. Once it is `gone`, all meet 503.
    """

    def __init__(self, folder: Path, *, ranges: bool = True, modified: bool = True) -> None:
        self.ranges, self.modified = ranges, modified
        self.faults: list[int | str] = []
        self.gone = False
        self.bytes = 0
        self.silent = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self, directory=str(folder)))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def served(folder: Path, *, ranges: bool = True, modified: bool = True) -> Iterator[Site]:
    """The files of a folder on a port of the loopback."""
    site = Site(folder, ranges=ranges, modified=modified)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.silent.set()
        site.server.shutdown()
        site.server.server_close()
        thread.join()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, site: Site, *words: object, directory: str) -> None:
        self.site = site
        super().__init__(*words, directory=directory)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified" or self.site.modified:
            super().send_header(keyword, value)

    def do_GET(self) -> None:
        if self.path.endswith("/") and not self.site.gone:
            super().do_GET()
            return
        fault = 503 if self.site.gone else self.site.faults.pop(0) if self.site.faults else None
        if fault == "silence":
            self.site.silent.wait(30)
            return
        if isinstance(fault, int):
            self.send_error(fault)
            return
        told = self.headers.get("Range")
        if not told or not self.site.ranges:
            super().do_GET()
            return
        with open(self.translate_path(self.path), "rb") as file:  # noqa: PTH123
            whole = file.read()
        first, last = (int(word) for word in told.removeprefix("bytes=").split("-"))
        if first >= len(whole):
            self.send_error(416)
            return
        piece = whole[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(piece)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(piece) - 1}/{len(whole)}")
        self.end_headers()
        self.site.bytes += len(piece)
        self.wfile.write(piece[: len(piece) // 2] if fault == "cut" else piece)
        self.close_connection = fault == "cut"
