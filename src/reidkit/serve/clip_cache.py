"""Clips of rows that are from videos: made when they are asked for, one at a time, and held for a while."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from reidkit.errors import ReidkitError
from reidkit.serve.problems import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.gallery import Gallery
    from reidkit.video.record import Record

LOG = logging.getLogger("reidkit.serve")

HELD = 32 * 2**20
"""Bytes of clips that are held."""

WAITING = 8
"""Clips that may wait to be made."""


class Clips:
    """Clips of the rows of a gallery.

    Which video and which track are shown is what the row says, and the video is looked up by its name in the one folder
    that was named when the service was started: nothing that a client says is a path.
    """

    def __init__(self, gallery: Gallery, folder: Path | None) -> None:
        """Make clips of the videos in `folder`, which `reidkit video track` has made; None: there are none."""
        self._gallery, self._folder = gallery, folder
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="reidkit-clips")
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[int, Record], bytes] = OrderedDict()
        self._waiting = 0

    async def get(self, key: str, timeout: float) -> bytes:
        """Return the clip of a row, an MP4 file.

        Raises:
            Problem: there is no such row, or no video of it; too many clips are being made, or it takes too long.
        """
        if self._folder is None:
            raise Problem("not-found", "The service was started without --videos.")
        if self._waiting >= WAITING:
            raise Problem("overloaded", retry_after=2)
        self._waiting += 1
        try:
            work = asyncio.get_running_loop().run_in_executor(self._maker, self._clip, key)
            return await asyncio.wait_for(work, timeout)
        except TimeoutError:
            raise Problem("timed-out", retry_after=2) from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Make no more clips."""
        self._maker.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._held.clear()

    def _clip(self, key: str) -> bytes:
        row = self._gallery.get(key)
        if row is None:
            raise Problem("not-found", "There is no row of this key.")
        video = row.attributes.get("video")
        if not isinstance(video, str) or self._folder is None:
            raise Problem("not-found", "This row is from no video.")
        from reidkit.video.clips import clip_bytes, tracked_video
        from reidkit.video.people import seconds_in_video

        try:
            # What is known of a video changes where it is tracked again: its tracks are others then.
            place = row.id, tracked_video(self._folder, video).record
            with self._lock:
                if (held := self._held.get(place)) is not None:
                    self._held.move_to_end(place)
                    return held
            made = clip_bytes(self._folder, video, row.track or row.key, seen=seconds_in_video(row))
        except ReidkitError as error:
            LOG.info("no clip of a row: %s", error)  # it names folders of this machine, which the answer must not
            raise Problem("not-found", "The video of this row is not there, or cannot be read.") from None
        with self._lock:
            self._held[place] = made
            while sum(map(len, self._held.values())) > HELD:
                self._held.popitem(last=False)
        return made
