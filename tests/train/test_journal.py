from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reidkit.errors import RunError
from reidkit.train.checkpoint import Progress
from reidkit.train.log import READ_EVERY, TIMINGS, Callback, Log, Row, read


def add(journal: Log, place: Progress, **terms: float) -> None:
    journal.step(place, 0.5, 8, {name: torch.tensor(value) for name, value in terms.items()})


def plain(path: Path) -> list[Row]:
    return [{key: value for key, value in row.items() if key not in TIMINGS} for row in read(path)]


def test_an_epoch_of_two_steps(tmp_path: Path) -> None:
    """Terms 1 + 2 and 3 + 4: losses 3 and 7, means 2, 3 and 5, of 16 images."""
    seen: list[Row] = []

    class Seen(Callback):
        on_step = on_epoch = staticmethod(seen.append)  # type: ignore[assignment]

    journal = Log(tmp_path / "log.jsonl", (Seen(),))
    journal.start_epoch(Progress(), 0.0)
    add(journal, Progress(1, 1, 1), identity=1.0, triplet=2.0)
    add(journal, Progress(1, 2, 2), identity=3.0, triplet=4.0)
    journal.end_epoch(Progress(1, 2, 2), 0.5, waited=0.0)
    step: dict[str, Any] = {"kind": "step", "epoch": 1, "lr": 0.5, "images": 8}
    assert plain(tmp_path / "log.jsonl") == [
        {**step, "step": 1, "loss": 3, "identity": 1, "triplet": 2},
        {**step, "step": 2, "loss": 7, "identity": 3, "triplet": 4},
        {"kind": "epoch", "epoch": 1, "step": 2, "lr": 0.5, "images": 16, "loss": 5, "identity": 2, "triplet": 3},
    ]
    assert seen == read(tmp_path / "log.jsonl")


def test_every_row_says_how_fast_and_how_large(tmp_path: Path) -> None:
    journal = Log(tmp_path / "log.jsonl")
    journal.start_epoch(Progress(), 0.0)
    add(journal, Progress(1, 1, 1), identity=1.0)
    journal.end_epoch(Progress(1, 1, 1), 0.5, waited=0.0)
    step, epoch = read(tmp_path / "log.jsonl")
    assert step["images_per_s"] > 0
    assert step["memory_mb"] > 0
    assert set(TIMINGS) <= set(epoch)


def test_terms_are_read_all_at_once(tmp_path: Path) -> None:
    journal = Log(tmp_path / "log.jsonl")
    journal.start_epoch(Progress(), 0.0)
    for step in range(1, READ_EVERY):
        add(journal, Progress(1, step, step), identity=1.0)
        assert read(tmp_path / "log.jsonl") == []
    add(journal, Progress(1, READ_EVERY, READ_EVERY), identity=1.0)
    assert len(read(tmp_path / "log.jsonl")) == READ_EVERY


def test_means_go_on_over_a_stop(tmp_path: Path) -> None:
    first = Log(tmp_path / "log.jsonl")
    first.start_epoch(Progress(), 0.0)
    add(first, Progress(1, 1, 1), identity=1.0)
    first.collect()
    second = Log(tmp_path / "log.jsonl")
    second.load_state_dict(first.state_dict())
    second.start_epoch(Progress(1, 1, 1), 0.0)
    add(second, Progress(1, 2, 2), identity=4.0)
    second.end_epoch(Progress(1, 2, 2), 0.5, waited=0.0)
    assert read(tmp_path / "log.jsonl")[-1]["identity"] == 2.5
    assert read(tmp_path / "log.jsonl")[-1]["images"] == 16


def test_the_rate_of_a_resumed_epoch_counts_its_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """800 images before the stop, 8 in the 2 seconds after it: 4 images a second."""
    clock = iter([0.0, 100.0, 101.0, 102.0])
    monkeypatch.setattr("reidkit.train.log.time.perf_counter", lambda: next(clock))
    journal = Log(tmp_path / "log.jsonl")
    journal.load_state_dict({"sums": {}, "images": 800, "steps": 100})
    journal.start_epoch(Progress(1, 100, 100), 0.0)
    add(journal, Progress(1, 101, 101), identity=1.0)
    journal.end_epoch(Progress(1, 101, 101), 0.5, waited=1.0)
    epoch = read(tmp_path / "log.jsonl")[-1]
    assert (epoch["images_per_s"], epoch["seconds"], epoch["wait_share"]) == (4, 2, 0.5)


def write(path: Path, rows: list[Row], torn: str = "") -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)


def row(kind: str, epoch: int, step: int) -> Row:
    return {"kind": kind, "epoch": epoch, "step": step}


FIRST = [row("scores", 0, 0), row("step", 1, 1), row("step", 1, 2), row("epoch", 1, 2), row("scores", 1, 2)]
SECOND = [row("step", 2, 3), row("step", 2, 4), row("epoch", 2, 4)]


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        (Progress(), []),
        (Progress(1, 1, 1), FIRST[:2]),
        (Progress(1, 2, 2), FIRST[:3]),
        (Progress(2, 0, 2), FIRST),
        (Progress(2, 1, 3), FIRST + SECOND[:1]),
        (Progress(2, 2, 4), FIRST + SECOND[:2]),
        (Progress(3, 0, 4), FIRST + SECOND),
    ],
)
def test_rewind_keeps_what_lies_before(tmp_path: Path, place: Progress, kept: list[Row]) -> None:
    write(tmp_path / "log.jsonl", FIRST + SECOND, torn='{"kind": "step", "ep')
    Log(tmp_path / "log.jsonl").rewind(place)
    assert read(tmp_path / "log.jsonl") == kept
    assert "ep\n" not in (tmp_path / "log.jsonl").read_text()
    assert (tmp_path / "log.jsonl").read_text() == "".join(json.dumps(each) + "\n" for each in kept)


def test_rewind_writes_numbers_as_they_were(tmp_path: Path) -> None:
    line = json.dumps({**row("step", 1, 1), "loss": 0.1 + 0.2, "lr": 3.5e-05}) + "\n"
    (tmp_path / "log.jsonl").write_text(line)
    Log(tmp_path / "log.jsonl").rewind(Progress(1, 1, 1))
    assert (tmp_path / "log.jsonl").read_text() == line


def test_rewind_without_a_log_makes_an_empty_one(tmp_path: Path) -> None:
    Log(tmp_path / "log.jsonl").rewind(Progress())
    assert (tmp_path / "log.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    "junk", ["\x00\x00\x00", "3", "[]", "null", '{"kind": "step"}', '{"kind": "step", "step": "1"}']
)
def test_lines_that_are_no_rows_are_left_out(tmp_path: Path, junk: str) -> None:
    write(tmp_path / "log.jsonl", FIRST, torn=junk + "\n")
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n")
    assert read(tmp_path / "log.jsonl") == FIRST


def test_no_log_is_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path / "log.jsonl") == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_term_that_is_not_finite_ends_the_run(tmp_path: Path, value: float) -> None:
    journal = Log(tmp_path / "log.jsonl")
    journal.start_epoch(Progress(), 0.0)
    add(journal, Progress(2, 1, 6), identity=1.0, triplet=2.0)
    add(journal, Progress(2, 2, 7), identity=1.0, triplet=value)
    add(journal, Progress(2, 3, 8), identity=1.0, triplet=2.0)
    with pytest.raises(RunError, match=rf"at step 7 of epoch 2 \(identity 1\.0, triplet {value}\); no checkpoint"):
        journal.flush()
    assert [(each["step"], each["triplet"]) for each in read(tmp_path / "log.jsonl")] == [(6, 2.0), (7, None)]


def test_the_last_good_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    journal = Log(tmp_path / "log.jsonl")
    add(journal, Progress(2, 1, 6), identity=float("nan"))
    with pytest.raises(RunError, match=rf"the last good checkpoint is {tmp_path / 'state.pt'}: try a lower"):
        journal.flush()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_disk_is_said_in_a_sentence() -> None:
    journal = Log(Path("/dev/full"))
    add(journal, Progress(1, 1, 1), identity=1.0)
    with pytest.raises(RunError, match=r"/dev/full cannot be written \(No space left on device\): make room and run"):
        journal.flush()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    journal = Log(tmp_path / "gone" / "log.jsonl")
    for refused in (
        lambda: journal.scores(Progress(), {"map": 0.5}),
        journal.collect,
        lambda: journal.rewind(Progress()),
    ):
        with pytest.raises(RunError, match=r"log\.jsonl cannot be written \(No such file or directory\)"):
            refused()


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": [], "epoch": 1, "step": 1}',
        '{"kind": "step", "epoch": true, "step": 1}',
        '{"kind": "step", "epoch": 1, "step": 1e2}',
        '{"kind": "step", "epoch": 1, "step": 1, "loss": {"a": 1}}',
        '{"kind": "step", "epoch": 1, "step": 1, "loss": NaN}',
        '{"kind": "step", "epoch": 1, "epoch": 2, "step": 1}',
        f'{{"kind": "step", "epoch": 1, "step": {"9" * 5000}}}',
        "[" * 100_000,
        "\x00" * 70_000,
    ],
)
def test_lines_that_are_no_rows(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_text(f"{line}\n{json.dumps(FIRST[0])}\n")
    assert read(tmp_path / "log.jsonl") == FIRST[:1]


def test_damaged_lines_before_the_last_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Line 2 of four is damaged; a torn last line, as a kill leaves it, is not spoken of."""
    good = [{"kind": "step", "epoch": 1, "step": step, "loss": 1.0} for step in (1, 3, 4)]
    first, third, fourth = (json.dumps(row) + "\n" for row in good)
    path = tmp_path / "log.jsonl"
    path.write_text(first + '{"kind": "step", "ep\x00\n' + third + fourth + '{"kind": "st')
    with caplog.at_level("WARNING", "reidkit"):
        Log(path).rewind(Progress(2, 0, 4))
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: line 2 is damaged and left out; the curves of the report lack what stood there, the run does not"
    ]
    assert read(path) == good
    caplog.clear()
    path.write_text(first + "\n[]\n" + third)
    told: list[str] = []
    assert read(path, told.append) == good[:2]
    assert "2 lines, the first one 2, are damaged" in told.pop()
    path.write_text(first + "x" * 200_000 + "\n" + third)
    assert read(path, told.append) == good[:2]
    assert "line 2 is damaged" in told.pop()
    path.write_text(first + third[:-9])
    with caplog.at_level("WARNING", "reidkit"):
        Log(path).rewind(Progress(2, 0, 4))
    assert not caplog.records
