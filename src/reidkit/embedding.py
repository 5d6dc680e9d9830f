"""Features of any number of images into one file: a part at a time, so that a killed run goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit import strict_json
from reidkit.arguments import check_path, with_fields
from reidkit.atomic import atomic_write, final_name, os_errors_as, refuse_address
from reidkit.data.image_list import ImageList, list_images
from reidkit.data.masks import find_masks
from reidkit.data.sources import decode_all
from reidkit.distributed import ALONE
from reidkit.embedding_file import Embedded, Unreadable, refuse_shard, require_pyarrow, write_npz, write_parquet
from reidkit.encoder import InferenceOptions, Model, as_image_encoder, refuse_diverged
from reidkit.errors import DataError, UsageError
from reidkit.interrupts import interrupts_heard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Unpack

    from numpy.typing import NDArray

    from reidkit.data.image_list import Named
    from reidkit.encoder import Encoder, ImageEncoder, InferenceChanges
    from reidkit.types import Names, Samples

    Floats = NDArray[np.float32]

FORMAT = "reidkit/embed/1"
PART = 1024
"""Images whose pixels and features are in memory at a time, and which a kill costs at most."""

ENDINGS = (".npz", ".parquet")
_OURS = re.compile(r"plan\.json|\d{7}\.npz")


class _Part(NamedTuple):
    """Features of some images: their `rows` in the list, and reasons by row for those that cannot be read."""

    vectors: Floats
    rows: NDArray[np.int64]
    why: dict[int, str]


@interrupts_heard()
def embed_images(
    model: Encoder,
    images: Named | Iterable[Named] | ImageList,
    out: str | os.PathLike[str],
    *,
    flip: bool = False,
    format: str | None = None,  # noqa: A002
    options: InferenceOptions | None = None,
    **changes: Unpack[InferenceChanges],
) -> Embedded:
    """Write the features of images into a `.npz` or `.parquet`, as `score`, galleries and others read it.

    An image that cannot be read is left out and named in the result. What is done is kept in `OUT.parts` beside the
    file, so that the same call goes on after a kill; no feature comes twice.

    Args:
        model: What `load_model` returns, or any other `Encoder`.
        images: Files, folders, lists, tables, shards, data sets or samples: see `list_images`.
        out: The file. `.npz`: `vectors` float32 [N, D], `pids` and `camids` int64 [N] (-1: not known), `paths`,
            `model`; `.parquet`: the same as columns `vector`, `pid`, `camid`, `path`.
        flip: Take the mean of the features of each image and of its mirror image.
        format: The format of data sets; None: it is recognised.
        options: How images are run; None: all automatic. Of a `group` of processes each takes every n-th part.
        changes: Single fields of `InferenceOptions`, by name: `batch`, `device`, `precision`, `progress`, ...

    Raises:
        DataError: there are no images, or none can be read; the file cannot be written.
        UsageError: another ending of `out`; an option that there is not.
    """
    how = with_fields(options, InferenceOptions, changes)
    work, listed = plan(model, images, out, flip=flip, options=how, format=format)
    return work.make(listed)


def plan(
    model: Encoder,
    images: Named | Iterable[Named] | ImageList,
    out: str | os.PathLike[str],
    *,
    flip: bool,
    format: str | None,  # noqa: A002
    options: InferenceOptions,
) -> tuple[Work, ImageList]:
    """Return the work that `embed_images` does, which another module may share out, and the images.

    Raises:
        DataError: there are no images.
        UsageError: another ending of `out`.
    """
    path, encoder = check_path(out, "a file, as features.npz", "out"), as_image_encoder(model)
    refuse_address(path)
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path} ends neither in .npz nor in .parquet: name it so", argument="out")
    if path.suffix.lower() == ".parquet":
        require_pyarrow()
    listed = images if isinstance(images, ImageList) else list_images(images, format)
    if not listed.samples:
        raise DataError("there are no images to embed: give files, folders, lists or shards", argument="images")
    refuse_shard(path, listed.samples.shards)
    if options.masks is not None and isinstance(encoder, Model) and encoder.recipe.network.masks != "none":
        find_masks(options.masks, listed.samples, encoder.recipe.network.masks, options.missing_masks)
    return Work(encoder, listed.samples, path, flip=flip, options=options), listed


class Work:
    """The parts of one file, in the folder `OUT.parts`, each written whole or not at all."""

    def __init__(
        self,
        encoder: ImageEncoder,
        samples: Samples,
        path: Path,
        *,
        flip: bool,
        options: InferenceOptions,
        part: int = 0,
    ) -> None:
        self.encoder, self.samples, self.path = encoder, samples, path
        self.flip, self.options = flip, options
        self._stopped = False
        self.folder = path.with_name(f"{path.name}.parts")
        self.part = part or PART
        self.count = -(-len(samples) // self.part)

    def make(self, listed: ImageList, run: Callable[[], None] | None = None) -> Embedded:
        """Make the file: `run` makes the parts that are missing; None: `self.run`.

        Raises:
            DataError: no image can be read; the file cannot be written.
        """
        started, group = time.perf_counter(), self.options.group
        with os_errors_as(self.path):
            if self.path.is_dir():
                raise DataError(f"{self.path} is a folder: name a file that ends in .npz or .parquet", argument="out")
            reused = self.begin()
            group.wait()
            (run or self.run)()
            group.wait()
            result = self.result(reused, listed.names)
            group.wait()
            if group.first:
                self.finish(listed, result)
        return replace(result, seconds=time.perf_counter() - started)

    def begin(self) -> int:
        """Keep the parts of a run before, if it was of the same images and model; return how many images they hold."""
        plan = self.folder / "plan.json"
        wanted = self._plan()
        with contextlib.suppress(OSError, strict_json.JsonError):
            if strict_json.read(plan) == wanted:
                return self.images_done()
        if self.options.group.first:
            self._clear()
            self.folder.mkdir(parents=True)
            with atomic_write(plan) as file:
                file.write(json.dumps(wanted).encode())
        return 0

    def run(self) -> None:
        """Make the parts that are missing, those of this process; the images of the next are decoded meanwhile."""
        group = self.options.group
        mine = range(group.rank, self.count, group.size)
        missing = self.missing(mine)
        total = sum(len(self._rows(at)) for at in mine)
        done = total - sum(len(self._rows(at)) for at in missing)
        with ThreadPoolExecutor(1, thread_name_prefix="reidkit-part") as ahead, self._stopping():
            waiting = [ahead.submit(self._decode, at) for at in missing[:1]]
            for number, at in enumerate(missing):
                pixels, why = waiting.pop().result()
                if number + 1 < len(missing):
                    waiting.append(ahead.submit(self._decode, missing[number + 1]))
                self._save(at, self._encode(at, pixels, why, (done, total)))
                done += len(self._rows(at))

    def missing(self, parts: Iterable[int]) -> list[int]:
        """Return which parts are not there, or not whole."""
        return [at for at in parts if self._load(at) is None]

    def make_part(self, at: int) -> None:
        """Make one part, if it is not there."""
        if self._load(at) is None:
            pixels, why = self._decode(at)
            self._save(at, self._encode(at, pixels, why, (0, len(pixels))))

    def images_done(self) -> int:
        """Return how many images the parts hold that are there."""
        return sum(len(self._rows(at)) for at in range(self.count) if self._file(at).is_file())

    def finish(self, listed: ImageList, result: Embedded) -> None:
        """Put the parts together as the file, and remove them."""
        if not result.features:
            first = result.unreadable[0]
            raise DataError(f"none of {result.images} images can be read ({first.why}): give others", argument="images")
        kept = np.setdiff1d(np.arange(len(self.samples)), [row for part in self._parts() for row in part.why])
        table = self.samples.take(kept)
        columns: dict[str, Any] = {"pids": table.pids, "camids": table.camids, "paths": table.paths}
        for name, numbers, called in (
            ("pid_names", table.pids, listed.names.pids),
            ("camid_names", table.camids, listed.names.camids),
        ):
            if called:
                columns[name] = np.array([called.get(number, "") for number in numbers.tolist()], np.str_)
        write = write_parquet if self.path.suffix.lower() == ".parquet" else write_npz
        vectors = (part.vectors for part in self._parts())
        with atomic_write(self.path) as file:
            write(file, vectors, (len(kept), self.encoder.dim), columns, result.model)
        self._clear()

    def result(self, reused: int, names: Names) -> Embedded:
        """Return what the parts hold; id 0 are the distractors, unless it has one of `names`."""
        unreadable = tuple(
            Unreadable(str(self.samples[row].path), why) for part in self._parts() for row, why in part.why.items()
        )
        total, pids = len(self.samples), self.samples.pids
        return Embedded(
            self.path,
            total,
            total - len(unreadable),
            len(np.unique(pids[pids >= (0 if 0 in names.pids else 1)])),
            self.encoder.dim,
            self.encoder.fingerprint,
            unreadable,
            reused,
            0.0,
        )

    def _decode(self, at: int) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """Return the images of a part uint8 [P, H, W, 3], and reasons by their place in it for unreadable ones."""
        spec = self.encoder.input
        files = [self.samples[int(row)].path for row in self._rows(at)]
        pixels = np.empty((len(files), spec.height, spec.width, 3), np.uint8)
        why: dict[int, str] = {}
        done = 0
        with contextlib.closing(decode_all(files, (spec.height, spec.width), None, spec.resize)) as groups:
            for some, unreadable in groups:
                if self._stopped:
                    break
                pixels[done : done + len(some)] = some
                done += len(some)
                why |= unreadable
        return pixels, why

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Let the decoding ahead end where it is when this process has failed, or was interrupted."""
        self._stopped = False
        try:
            yield
        except BaseException:
            self._stopped = True
            raise

    def _encode(self, at: int, pixels: NDArray[np.uint8], why: dict[int, str], progress: tuple[int, int]) -> _Part:
        """Return the features of a part; `progress` is how many images are done before it, and how many there are."""
        readable = np.setdiff1d(np.arange(len(pixels)), list(why))
        rows = self._rows(at)
        done, total = progress

        def tell(count: int) -> None:
            nonlocal done
            done += count
            if self.options.progress:
                self.options.progress("images", done, total)

        source = _Decoded(pixels[readable], self.samples.take(rows[readable]))
        alone = replace(self.options, group=ALONE)
        vectors = self.encoder.features(source, alone, tell, flip=self.flip)
        refuse_diverged(vectors)
        return _Part(vectors, rows[readable], {int(rows[place]): reason for place, reason in sorted(why.items())})

    def _save(self, at: int, part: _Part) -> None:
        with atomic_write(self._file(at)) as file:
            np.savez(
                file,
                vectors=part.vectors,
                rows=part.rows,
                bad=np.array(list(part.why), np.int64),
                why=np.array(list(part.why.values()), np.str_),
            )

    def _load(self, at: int) -> _Part | None:
        """Return a part; None where it is not there, or not whole."""
        try:
            with self._file(at).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                why = dict(zip(file["bad"].tolist(), file["why"].tolist(), strict=True))
                part = _Part(file["vectors"], file["rows"], why)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        whole = sorted([*part.rows.tolist(), *part.why]) == self._rows(at).tolist()
        return part if whole and part.vectors.shape == (len(part.rows), self.encoder.dim) else None

    def _parts(self) -> Iterator[_Part]:
        for at in range(self.count):
            part = self._load(at)
            if part is None:
                raise DataError(f"{self._file(at)} is gone or damaged: run it again")
            yield part

    def _rows(self, at: int) -> NDArray[np.int64]:
        return np.arange(at * self.part, min((at + 1) * self.part, len(self.samples)))

    def _clear(self) -> None:
        """Remove the parts.

        Raises:
            DataError: something else lies beside them.
        """
        if not os.path.lexists(self.folder):
            return
        others = [entry.name for entry in self.folder.iterdir() if not _OURS.fullmatch(final_name(entry.name))]
        if others:
            raise DataError(
                f"{self.folder} holds something else than parts of {self.path.name} ({others[0]}): move it away, or "
                "name another file",
                argument="out",
            )
        shutil.rmtree(self.folder)

    def _file(self, at: int) -> Path:
        return self.folder / f"{at:07d}.npz"

    def _plan(self) -> dict[str, Any]:
        """What has to be the same for parts to be of the same file."""
        spec, names = self.encoder.input, hashlib.sha256()
        for path in self.samples.paths:
            names.update(f"{path}\0".encode(errors="surrogateescape"))
            with contextlib.suppress(OSError, ValueError):  # those in shards are no files of their own
                found = Path(path).stat()
                names.update(f"{found.st_size} {found.st_mtime_ns}\0".encode())
        return {
            "format": FORMAT,
            "model": self.encoder.fingerprint,
            "input": spec.to_json(),
            "dim": self.encoder.dim,
            "flip": self.flip,
            "images": len(self.samples),
            "names": names.hexdigest(),
            "part": self.part,
            **({} if self.options.masks is None else {"masks": str(self.options.masks)}),
        }


class _Decoded:
    """Images in memory, an `ImageSource`."""

    def __init__(self, pixels: NDArray[np.uint8], samples: Samples) -> None:
        self.samples, self.readable = samples, np.arange(len(pixels), dtype=np.int64)
        self.size = (pixels.shape[1], pixels.shape[2])
        self._pixels = pixels
        self._pixels.flags.writeable = False

    def __len__(self) -> int:
        return len(self._pixels)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return self._pixels, indices
