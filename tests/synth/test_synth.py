"""The set as a whole: layout, counts, the same bytes again, and nothing of other people's lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from reidkit.errors import DataError, UsageError
from reidkit.synth import FOLDERS, Plan, Size, synthesize

SMALL = Size(height=32, width=32, images_per_camera=2)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_by_hand(tmp_path: Path) -> None:
    """Six ids, two cameras, two images: 3 ids to learn from, 3 to find; a query and a gallery image each a camera."""
    counts = synthesize(tmp_path / "set", 6, 2, 0, images_per_camera=2, workers=1)
    drawn = sorted(files(tmp_path / "set"))
    assert [name for name in drawn if "train" in name] == [
        f"bounding_box_train/{pid:04d}_c{cam}s1_{frame:06d}_01.jpg"
        for pid in (1, 2, 3)
        for cam in (1, 2)
        for frame in (1, 26)
    ]
    assert [name for name in drawn if "query" in name] == [
        f"query/{pid:04d}_c{cam}s1_000001_01.jpg" for pid in (4, 5, 6) for cam in (1, 2)
    ]
    assert [name for name in drawn if "test" in name] == [
        *(f"bounding_box_test/-1_c{cam}s1_000001_01.jpg" for cam in (1, 2)),
        *(f"bounding_box_test/0000_c{cam}s1_000001_01.jpg" for cam in (1, 2)),
        *(f"bounding_box_test/{pid:04d}_c{cam}s1_000026_01.jpg" for pid in (4, 5, 6) for cam in (1, 2)),
    ]
    assert counts == {
        "train": 12, "query": 6, "gallery": 8, "distractors": 2, "junk": 2, "train_ids": 3, "test_ids": 3,
    }  # fmt: skip


def test_images_have_the_size_asked_for(tmp_path: Path) -> None:
    synthesize(tmp_path / "set", 4, 2, 0, height=96, width=40, images_per_camera=2, workers=1)
    paths = list((tmp_path / "set").rglob("*.jpg"))
    assert paths
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (40, 96))


def test_same_arguments_same_bytes_however_many_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        synthesize(tmp_path / str(workers), 40, 5, 5, workers=workers, **SMALL)
    one, two = files(tmp_path / "1"), files(tmp_path / "2")
    assert len(one) > 400
    assert one == two


def test_another_seed_draws_other_people(tmp_path: Path) -> None:
    for seed in (0, 1):
        synthesize(tmp_path / str(seed), 4, 2, seed, workers=1, **SMALL)
    one, other = files(tmp_path / "0"), files(tmp_path / "1")
    assert one.keys() == other.keys()
    assert not {name for name in one if one[name] == other[name]}


def test_images_do_not_depend_on_the_size_of_the_set(tmp_path: Path) -> None:
    """The train images of ids 1 and 2 stay when there are more ids."""
    few, more = tmp_path / "few", tmp_path / "more"
    synthesize(few, 4, 2, 0, workers=1, **SMALL)
    synthesize(more, 12, 3, 0, workers=1, height=32, width=32, images_per_camera=3)
    shared = [name for name in files(few) if name.startswith("bounding_box_train")]
    assert len(shared) == 8
    assert all(files(few)[name] == files(more)[name] for name in shared)


def test_readme_says_what_it_is(tmp_path: Path) -> None:
    synthesize(tmp_path / "set", 4, 2, 9, workers=1, **SMALL)
    text = (tmp_path / "set" / "README.txt").read_text()
    assert "Synthetic" in text
    assert "--ids 4 --cameras 2 --seed 9" in text


def test_progress_rises_to_the_total(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    counts = synthesize(tmp_path / "set", 20, 4, 0, workers=1, progress=lambda *now: told.append(now), **SMALL)
    total = counts["train"] + counts["query"] + counts["gallery"] + counts["junk"]
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > 1


def test_its_own_earlier_set_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "set"
    synthesize(out, 8, 3, 0, workers=1, **SMALL)
    synthesize(out, 4, 2, 1, workers=1, **SMALL)
    synthesize(tmp_path / "fresh", 4, 2, 1, workers=1, **SMALL)
    assert files(out) == files(tmp_path / "fresh")
    assert {path.name for path in tmp_path.iterdir()} == {"set", "fresh"}


@pytest.mark.parametrize("foreign", ["notes.txt", "query/mine.jpg", "README.txt", "runs/a/model.safetensors"])
def test_other_peoples_files_are_refused_and_kept(tmp_path: Path, foreign: str) -> None:
    precious = tmp_path / "set" / foreign
    if foreign != "README.txt":
        synthesize(tmp_path / "set", 4, 2, 0, workers=1, **SMALL)
    precious.parent.mkdir(parents=True, exist_ok=True)
    precious.write_text("mine")
    before = files(tmp_path)
    with pytest.raises(UsageError, match=r"something else.*: give a folder"):
        synthesize(tmp_path / "set", 4, 2, 1, workers=1, **SMALL)
    assert files(tmp_path) == before


@pytest.mark.parametrize("where", ["set.partial", "set.old", "set.lock", "set.0123abcd.partial"])
def test_what_lies_beside_it_is_kept(tmp_path: Path, where: str) -> None:
    """A set that the user has moved aside, and a foreign folder even under a name of ours."""
    synthesize(tmp_path / where, 4, 2, 0, workers=1, **SMALL)
    if where.startswith("set.0"):
        (tmp_path / where / "notes.txt").write_text("mine")
    before = files(tmp_path / where)
    synthesize(tmp_path / "set", 4, 2, 1, workers=1, **SMALL)
    synthesize(tmp_path / "set", 4, 2, 2, workers=1, **SMALL)
    assert files(tmp_path / where) == before
    assert {path.name for path in tmp_path.iterdir()} == {"set", where}


def test_two_at_once(tmp_path: Path) -> None:
    """The second is told so, and neither touches what the other draws."""
    before: dict[str, bytes] = {}

    def second(done: int, total: int) -> None:
        with pytest.raises(DataError, match=r"another process is drawing into .*set: wait for it, or name another"):
            synthesize(tmp_path / "set", 4, 2, 1, workers=1, **SMALL)

    synthesize(tmp_path / "set", 4, 2, 0, workers=1, progress=second, **SMALL)
    before = files(tmp_path / "set")
    synthesize(tmp_path / "alone", 4, 2, 0, workers=1, **SMALL)
    assert before == files(tmp_path / "alone")
    assert {path.name for path in tmp_path.iterdir()} == {"set", "alone"}


def test_a_kill_between_the_two_renames_loses_no_set(tmp_path: Path) -> None:
    synthesize(tmp_path / "set.0123abcd.old", 4, 2, 0, workers=1, **SMALL)
    before = files(tmp_path / "set.0123abcd.old")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "set", 4, 2, 1, workers=1, progress=stop, **SMALL)
    assert files(tmp_path / "set") == before
    assert {path.name for path in tmp_path.iterdir()} == {"set"}


def test_a_planted_link_in_the_place_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".set.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(DataError, match="cannot be written"):
        synthesize(tmp_path / "set", 4, 2, 1, workers=1, **SMALL)
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        synthesize(tmp_path / "set", 4, 2, 1)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="something else"):
        synthesize(tmp_path / "link", 4, 2, 1)


def test_an_empty_folder_and_missing_parents_will_do(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for out in (tmp_path / "set", tmp_path / "a" / "b"):
        synthesize(out, 4, 2, 1, workers=1, **SMALL)
        assert {path.name for path in out.iterdir()} == {"README.txt", *FOLDERS}


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written \(.*\): name one in a folder you can write"):
        synthesize(tmp_path / "file" / "set", 4, 2, 1, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, workers: int) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "set", 60, 4, 0, workers=workers, progress=interrupt, **SMALL)
    assert not list(tmp_path.iterdir())


SCRIPT = """
import sys, pathlib
from reidkit.synth import synthesize
if __name__ == "__main__":
    synthesize(pathlib.Path(sys.argv[1]), 2000, 6, 0, workers=2, progress=lambda *now: print(*now, flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_leaves_no_set_and_no_process(tmp_path: Path, how: signal.Signals) -> None:
    script, out = tmp_path / "script.py", tmp_path / "set"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if how == signal.SIGINT:
            os.killpg(process.pid, how)
        else:
            process.kill()
        process.wait(180)
        deadline = time.monotonic() + 180
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(process.pid)
    assert not out.exists()
    assert any(tmp_path.glob("set.*.partial")) == (how == signal.SIGKILL)
    synthesize(out, 4, 2, 0, workers=1, **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"set", "script.py"}


def _alive(group: int) -> bool:
    """Whether a process of the group runs. One that has ended stays as a zombie where nobody collects it."""
    if not Path("/proc/self/stat").is_file():
        return _is_there(group)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            return True
    return False


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ids": 3}, "ids must be"),
        ({"ids": 4.5}, "ids must be a whole number"),
        ({"ids": "8"}, "ids must be a whole number from 0 on, not the text '8'"),
        ({"ids": 1_000_001}, "ids must be"),
        ({"cameras": 1}, "cameras must be"),
        ({"cameras": 100}, "cameras must be"),
        ({"seed": -1}, "seed must be a whole number from 0 on, not -1"),
        ({"images_per_camera": 1}, "images_per_camera must be"),
        ({"height": 31}, "at least 32 pixels"),
        ({"width": 513}, "at most 512 pixels"),
    ],
)
def test_numbers_that_make_no_set(wrong: dict[str, float], says: str) -> None:
    plan = Plan(**{"ids": 4, "cameras": 2, "seed": 0, **wrong})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=says):
        plan.check()


def test_no_workers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="workers must be at least 1"):
        synthesize(tmp_path / "set", 4, 2, 0, workers=0)


def test_names_are_unique_in_a_large_set() -> None:
    names = [shot.name for shot in Plan(ids=600, cameras=3, seed=0, images_per_camera=30).shots()]
    assert len(names) == len(set(names))


def test_a_script_without_a_main_block_is_told_of_it(tmp_path: Path) -> None:
    """Its drawing processes import the script, and would draw again."""
    script = tmp_path / "mine.py"
    script.write_text("import reidkit as rk\nrk.synthesize('people', ids=40, workers=2)\n")
    run = subprocess.run([sys.executable, script], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert "as a script calls this outside of `if __name__ == '__main__':`" in run.stderr
    assert not (tmp_path / "people").exists()
