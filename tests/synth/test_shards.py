"""The images of `synthesize`, in shards."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from reidkit.errors import UsageError
from reidkit.synth import Plan, Shards, Size, draw_shards, synthesize
from reidkit.synth.draw import STRANGERS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SMALL = Size(height=32, width=32, images_per_camera=3)
PLAN = Plan(ids=20, cameras=4, seed=3, **SMALL)


def write(path: Path, items: Iterable[tuple[str, bytes, int, int, str]]) -> int:
    """A shard that is easy to read back: a folder of files that say what is known of them in their names."""
    path.mkdir()
    count = 0
    for name, data, pid, camid, split in items:
        (path / f"{count:03d}|{name}|{pid}|{camid}|{split}").write_bytes(data)
        count += 1
    return count


def nothing(folder: Path) -> None:
    """Lay nothing beside the shards."""


def drawn(out: Path) -> dict[str, list[tuple[str, str, str, str, bytes]]]:
    found = {}
    for shard in sorted(path for path in out.iterdir() if path.is_dir()):
        rows = [(*path.name.split("|")[1:], path.read_bytes()) for path in sorted(shard.iterdir())]
        found[shard.name] = rows
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_bytes_under_the_same_names(tmp_path: Path, workers: int) -> None:
    synthesize(tmp_path / "files", 20, 4, 3, workers=1, **SMALL)
    counts = draw_shards(tmp_path / "shards", PLAN, Shards(images=30, write=write, finish=nothing), workers=workers)
    found = drawn(tmp_path / "shards")
    folders = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
    ours = {(folders[split], name): data for rows in found.values() for name, _, _, split, data in rows}
    theirs = {(p.parent.name, p.name): p.read_bytes() for p in (tmp_path / "files").rglob("*.jpg")}
    assert ours == theirs
    assert counts["images"] == len(theirs)
    assert counts["shards"] == len(found)
    assert "train-*.tar: persons 1 to 10, to learn from." in (tmp_path / "shards" / "README.txt").read_text()
    for name, rows in found.items():
        assert len(rows) <= 30
        for file, pid, camid, split, _ in rows:
            assert name.startswith(split)
            assert file.startswith(f"{int(pid):04d}_c{int(camid)}s1" if pid != "-1" else f"-1_c{int(camid)}s1")
    whole = [[pid for _, pid, *_ in found[name]] for name in found if name.startswith("train")]
    assert all(not set(one) & set(other) for one, other in pairwise(whole)), "nobody is in two shards"


def test_progress_and_a_set_in_the_way(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    shards = Shards(images=500, write=write, finish=nothing)
    counts = draw_shards(tmp_path / "out", PLAN, shards, workers=1, progress=lambda *now: seen.append(now))
    assert seen[-1] == (counts["images"], counts["images"])
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        draw_shards(tmp_path / "out", PLAN, shards, workers=1)
    with pytest.raises(UsageError, match="at least 1 image"):
        draw_shards(tmp_path / "new", PLAN, Shards(images=0, write=write, finish=nothing))


def test_nobody_with_a_label_looks_like_a_passer_by() -> None:
    plan = Plan(ids=24_000, cameras=2, seed=0, images_per_camera=2)
    people = {shot.pid for pid in (9_999, 10_000, 10_001, 24_000) for shot in plan.people(pid, pid + 1)}
    assert people == {9_999, 10_010_000, 10_010_001, 10_024_000}
    strangers = {shot.pid for shot in plan.others() if "/0000_" in shot.name}
    assert STRANGERS <= min(strangers) <= max(strangers) < 10_000_000
