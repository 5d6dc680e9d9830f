from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from reidkit.errors import RunError, UsageError
from reidkit.recipe import Optim, Recipe
from reidkit.train import run_folder

FACTS: dict[str, Any] = {"seed": 0, "training_set": "abc", "people": 8}


def test_a_new_run_is_written_down(tmp_path: Path) -> None:
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    assert json.loads((tmp_path / "run.json").read_text()) == FACTS
    assert json.loads((tmp_path / "recipe.json").read_text())["optim"]["epochs"] == 120
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.json", "run.json"]


def test_resume_without_a_run_begins_one(tmp_path: Path) -> None:
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=True)
    assert run_folder.holds_run(tmp_path)


def test_a_run_is_not_begun_twice(tmp_path: Path) -> None:
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    with pytest.raises(
        UsageError, match="holds a run already: go on with it by resume=True, or choose another folder as out"
    ):
        run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=True)


def test_only_a_failure_that_has_saved_nothing_is_forgotten(tmp_path: Path) -> None:
    def fail(*saved: str) -> None:
        with run_folder.begun(tmp_path, Recipe(), FACTS, resume=False):
            for name in ("log.jsonl", "trained_on.json", *saved):
                (tmp_path / name).touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError):
        fail("state.pt")
    assert {path.name for path in tmp_path.iterdir()} == {
        "recipe.json",
        "run.json",
        "log.jsonl",
        "trained_on.json",
        "state.pt",
    }
    with pytest.raises(UsageError, match="holds a run already"):
        fail()
    assert (tmp_path / "recipe.json").exists()


def test_ids_are_called_ids(tmp_path: Path) -> None:
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    with pytest.raises(UsageError, match=r"\(training ids: 6, not 8\)"):
        run_folder.begin(tmp_path, Recipe(), FACTS | {"people": 6}, resume=True)


def test_a_folder_that_nobody_chose_says_how_it_is_named(tmp_path: Path) -> None:
    """Two data sets by one recipe and seed have one default folder."""
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    with pytest.raises(
        UsageError, match=r"another folder as out \(it is named by recipe and seed, whatever the data\)$"
    ):
        run_folder.refuse_run(tmp_path, by_default=True)


@pytest.mark.parametrize("name", ["recipe.json", "state.pt", "model.safetensors"])
def test_what_is_left_of_a_run_is_not_written_over(tmp_path: Path, name: str) -> None:
    """A state without its recipe would otherwise become the start of the new run, unasked."""
    (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match="holds a run already"):
        run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    assert not (tmp_path / "run.json").exists()


def test_another_recipe_seed_or_data_is_named(tmp_path: Path) -> None:
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    other = Recipe(name="other", optim=Optim(epochs=7))
    with pytest.raises(
        UsageError, match=r"was begun otherwise \(optim\.epochs: 7, not 120\): choose another folder as out"
    ):
        run_folder.begin(tmp_path, other, FACTS, resume=True)
    with pytest.raises(
        UsageError, match=r"\(seed: 3, not 0; its training images were others, and with those it goes on: some have"
    ):
        run_folder.begin(tmp_path, Recipe(), FACTS | {"seed": 3, "training_set": "xyz"}, resume=True)
    assert json.loads((tmp_path / "run.json").read_text()) == FACTS


def test_other_cameras_are_named(tmp_path: Path) -> None:
    """Where a recipe looks at them; runs of older versions have not written them down, and still go on."""
    seen = FACTS | {run_folder.CAMERAS: "c1"}
    for name in ("new", "old", "other"):
        (tmp_path / name).mkdir()
    run_folder.begin(tmp_path / "new", Recipe(), seen, resume=False)
    run_folder.begin(tmp_path / "new", Recipe(), seen, resume=True)
    with pytest.raises(UsageError, match=r"was begun otherwise \(its training images came from other cameras\)"):
        run_folder.begin(tmp_path / "new", Recipe(), FACTS | {run_folder.CAMERAS: "c2"}, resume=True)
    run_folder.begin(tmp_path / "old", Recipe(), FACTS, resume=False)
    run_folder.begin(tmp_path / "old", Recipe(), seen, resume=True)
    assert run_folder.differences(tmp_path / "new", tmp_path / "old") == []
    run_folder.begin(tmp_path / "other", Recipe(), FACTS | {run_folder.CAMERAS: "c2"}, resume=False)
    assert run_folder.differences(tmp_path / "new", tmp_path / "other") == [
        "cameras of the training images: c1, not c2"
    ]


def test_another_name_is_the_same_run(tmp_path: Path) -> None:
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    run_folder.begin(tmp_path, dataclasses.replace(Recipe(), name="other"), FACTS, resume=True)


@pytest.mark.parametrize("name", ["recipe.json", "run.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[]", "\x00" * 100])
def test_a_damaged_run_is_said_in_a_sentence(tmp_path: Path, name: str, content: str | None) -> None:
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    (tmp_path / "state.pt").touch()
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RunError, match=rf"{name}.*start a new run with another folder as out"):
        run_folder.begin(tmp_path, Recipe(), FACTS, resume=True)


def test_a_kill_between_the_two_files_leaves_a_folder_to_begin_in(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"se')
    run_folder.begin(tmp_path, Recipe(), FACTS, resume=False)
    assert json.loads((tmp_path / "run.json").read_text()) == FACTS


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        run_folder.locked(tmp_path / "a" / "run"),
        pytest.raises(
            RunError, match=r"another process is training in .*run: wait for it, or choose another folder as out"
        ),
        run_folder.locked(tmp_path / "a" / "run"),
    ):
        pytest.fail("both hold it")
    with run_folder.locked(tmp_path / "a" / "run"):
        pass


def test_a_lock_lets_go_when_training_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), run_folder.locked(tmp_path):
        raise KeyError
    with run_folder.locked(tmp_path):
        pass


def test_a_disk_without_locks_is_not_taken_for_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match=r"cannot be locked \(No locks available\)"), run_folder.locked(tmp_path):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with (
            pytest.raises(RunError, match=r"cannot be written .*: choose another folder as out"),
            run_folder.locked(path),
        ):
            pass


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    run_folder.write_json(path, FACTS)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(RunError, match=r"run\.json cannot be written \(No space left on device\): make room"):
        run_folder.write_json(path, {})
    assert json.loads(path.read_text()) == FACTS
    assert list(Path(tmp_path).iterdir()) == [path]
