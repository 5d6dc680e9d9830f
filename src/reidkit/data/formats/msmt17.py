"""MSMT17 (Wei et al., CVPR 2018), in its first version and in the second, where faces are masked."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from reidkit.data.formats.scan import Format, is_file, list_matches, locate
from reidkit.errors import DataError
from reidkit.types import Dataset, Sample

LINE = re.compile(r"(?P<path>\S+_\d+_(?P<cam>\d{1,5})_\S+)\s+(?P<pid>\d{1,9})")
EXAMPLE = "0000/0000_000_01_0303morning_0015_0.jpg 0"
LAYOUT = "msmt17 (list_train.txt and list_query.txt)"


def matches(folder: Path) -> bool:
    """Return whether `folder` is laid out as MSMT17."""
    return (folder / "list_train.txt").is_file() and (folder / "list_query.txt").is_file()


def load(folder: Path, with_val: bool = False) -> Dataset:
    """MSMT17 from `MSMT17_V1`, `MSMT17_V2` or the folder it lies in.

    Trained on is what list_train.txt names, and with `with_val` what list_val.txt names as well: other images of the
    same ids. Published figures differ in that. The lists number the ids of the training and of the test folder from 0
    each; here the latter follow the former, so that a pid stands for one id.

    Raises:
        DataError: a list or a folder is missing, or a line does not fit, named with its number.
    """
    root = locate(folder, matches, "MSMT17: unpack MSMT17_V1.tar.gz or MSMT17_V2.tar.gz there")
    name, train_folder, test_folder = (
        ("msmt17-v2", root / "mask_train_v2", root / "mask_test_v2")
        if (root / "mask_train_v2").is_dir()
        else ("msmt17", root / "train", root / "test")
    )
    train, val = (_listed(root / f"list_{part}.txt", train_folder) for part in ("train", "val"))
    first = 1 + max(sample.pid for sample in train + val)
    query, gallery = (_listed(root / f"list_{part}.txt", test_folder, first) for part in ("query", "gallery"))
    return Dataset(name, train + val if with_val else train, query, gallery)


def _listed(table: Path, folder: Path, first: int = 0) -> tuple[Sample, ...]:
    """Return the images of `folder` that `table` names, their pids moved up by `first`."""
    samples = tuple(
        Sample(folder / match["path"], int(match["pid"]) + first, int(match["cam"]))
        for match in list_matches(table, LINE, EXAMPLE)
    )
    if not samples:
        raise DataError(f"{table} names no images: unpack MSMT17 again")
    if not is_file(Path(str(samples[0].path))):
        raise DataError(f"{samples[0].path}, which {table.name} names, is not there: unpack MSMT17 again")
    return samples


FORMATS = {
    "msmt17": Format(matches, load, guessed=True),
    "msmt17-trainval": Format(matches, partial(load, with_val=True)),
}
