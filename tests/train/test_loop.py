from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from reidkit.errors import RunError
from reidkit.recipe import override
from reidkit.train.checkpoint import Progress, StoppedError, refuse_broken_weights
from tests.train.tiny import RECIPE, CrashError, Run, same_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reidkit.model.network import Network


def stop_at(wanted: int) -> Callable[[Run, int], None]:
    """Ask the run to stop while it takes that step."""

    def fault(run: Run, step: int) -> None:
        if step == wanted:
            run.network.register_forward_hook(lambda *_: setattr(run.interrupt, "requested", True))

    return fault


def crash_at(wanted: int) -> Callable[[Run, int], None]:
    def fault(run: Run, step: int) -> None:
        if step == wanted:
            raise CrashError

    return fault


def scored(network: Network) -> dict[str, float]:
    """Scores that hang on the weights, so that a judge of the wrong network shows."""
    return {"rank1": float(network.state_dict()["backbone.conv1.weight"].sum()), "map": 0.5}


def in_folder(folder: Path, evaluate_every: int = 1, save_every: int = 2) -> Run:
    folder.mkdir()
    return Run(folder, save_every=save_every, evaluate_every=evaluate_every, judge=scored)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = in_folder(tmp_path_factory.mktemp("loop") / "unbroken")
    run.go()
    return run


def steps(run: Run) -> int:
    return len(run.rows("step"))


def test_the_same_twice(unbroken: Run, tmp_path: Path) -> None:
    again = in_folder(tmp_path / "again")
    assert same_weights(again.go(), unbroken.network)
    assert again.rows() == unbroken.rows()


def test_another_recipe_gives_another_network(unbroken: Run, tmp_path: Path) -> None:
    """Otherwise equal weights would prove nothing."""
    other = replace(in_folder(tmp_path / "other"), recipe=override(RECIPE, ["optim.lr=2e-4"]))
    assert not same_weights(other.go(), unbroken.network)


def test_the_log_has_every_step_epoch_and_score_once_and_in_order(unbroken: Run) -> None:
    rows = unbroken.rows("step")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["epoch"] for row in unbroken.rows("epoch")] == [1, 2, 3]
    assert [row["epoch"] for row in unbroken.rows("scores")] == [0, 1, 2, 3]
    assert {row["lr"] for row in rows if row["epoch"] == 2} == {unbroken.rows("epoch")[1]["lr"]}
    assert unbroken.rows("scores")[-1]["rank1"] == scored(unbroken.network)["rank1"]


def test_stopped_at_every_step_and_gone_on_with(unbroken: Run, tmp_path: Path) -> None:
    assert steps(unbroken) >= 9
    for step in range(1, steps(unbroken) + 1):
        run = in_folder(tmp_path / str(step))
        with pytest.raises(StoppedError, match=rf"stopped and saved at step {step} of epoch \d; go on with: reidkit"):
            run.go(stop_at(step))
        assert same_weights(run.go(), unbroken.network), step
        assert run.rows() == unbroken.rows(), step


def test_crashed_at_every_step_and_gone_on_with(unbroken: Run, tmp_path: Path) -> None:
    for step in range(1, steps(unbroken) + 1):
        run = in_folder(tmp_path / str(step))
        with pytest.raises(CrashError):
            run.go(crash_at(step))
        assert same_weights(run.go(), unbroken.network), step
        assert run.rows() == unbroken.rows(), step


@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(faults=st.lists(st.tuples(st.sampled_from((stop_at, crash_at)), st.integers(1, 12)), max_size=5))
def test_any_misfortunes_in_a_row(
    unbroken: Run,
    tmp_path_factory: pytest.TempPathFactory,
    faults: list[tuple[Callable[[int], Callable[[Run, int], None]], int]],
) -> None:
    run = in_folder(tmp_path_factory.mktemp("faults") / "run")
    for kind, step in faults:
        try:
            run.go(kind(step))
        except (StoppedError, CrashError):
            continue
    assert same_weights(run.go(), unbroken.network)
    assert run.rows() == unbroken.rows()


def test_stopped_behind_the_last_batch_of_an_epoch_and_crashed_in_the_next(unbroken: Run, tmp_path: Path) -> None:
    """The state is of epoch 1, whose end is in the log when the run crashes: it must not come twice."""
    last = unbroken.rows("epoch")[0]["step"]
    run = in_folder(tmp_path / "run", save_every=3)
    with pytest.raises(StoppedError):
        run.go(stop_at(last))
    with pytest.raises(CrashError):
        run.go(crash_at(last + 2))
    assert [row["epoch"] for row in run.rows("epoch")] == [1]
    run.go()
    assert run.rows() == unbroken.rows()


def test_a_crash_before_the_first_checkpoint_does_not_leave_scores_twice(unbroken: Run, tmp_path: Path) -> None:
    run = in_folder(tmp_path / "run")
    with pytest.raises(CrashError):
        run.go(crash_at(1))
    assert [row["epoch"] for row in run.rows("scores")] == [0]
    run.go()
    assert run.rows("scores") == unbroken.rows("scores")


def test_a_stop_that_comes_while_the_network_is_judged(unbroken: Run, tmp_path: Path) -> None:
    run = in_folder(tmp_path / "run")

    def judge(network: Network) -> dict[str, float]:
        run.interrupt.requested = network is run.network and len(run.rows("epoch")) == 1
        return scored(network)

    run.judge = judge
    with pytest.raises(StoppedError, match="saved at step 3 of epoch 1"):
        run.go()
    run.judge = scored
    assert same_weights(run.go(), unbroken.network)
    assert run.rows() == unbroken.rows()


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    run = in_folder(tmp_path / "run")
    first, rows = run.go(), run.rows()
    assert same_weights(run.go(crash_at(1)), first)
    assert run.rows() == rows


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_last_good_state(tmp_path: Path) -> None:
    run = replace(in_folder(tmp_path / "run", evaluate_every=0, save_every=1))

    def spoil(run: Run, step: int) -> None:
        if step == 6:
            with torch.no_grad():
                next(run.network.parameters()).fill_(float("nan"))

    with pytest.raises(RunError) as caught:
        run.go(spoil)
    sentence = str(caught.value)
    assert "the loss is not finite at step 6 of epoch 2" in sentence
    assert "identity nan" in sentence
    assert "triplet nan" in sentence
    assert f"the last good checkpoint is {run.folder / 'state.pt'}" in sentence
    state = torch.load(run.folder / "state.pt", weights_only=True)
    assert state["place"][0] == 2
    assert all(bool(torch.isfinite(value).all()) for value in state["network"].values())
    run.go()
    assert steps(run) >= 9


def test_a_rate_beyond_reason_ends_in_a_sentence(tmp_path: Path) -> None:
    run = replace(in_folder(tmp_path / "run", evaluate_every=0), recipe=override(RECIPE, ["optim.lr=1e9"]))
    with pytest.raises(RunError, match=r"not finite at step \d .*no checkpoint was written yet: try a lower"):
        run.go()
    assert not (run.folder / "state.pt").exists()
    for line in (run.folder / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_stop_right_after_the_weights_broke_keeps_the_good_state(tmp_path: Path) -> None:
    """The loss of that step was still a number; its gradient was not."""
    run = in_folder(tmp_path / "run", evaluate_every=0, save_every=1)

    def spoil(run: Run, step: int) -> None:
        if step == 6:
            first = next(run.network.parameters())
            first.register_hook(lambda grad: grad * float("nan"))
            stop_at(step)(run, step)

    with pytest.raises(RunError, match=r"conv1\.weight of the network holds NaN or infinity after step 6; the last"):
        run.go(spoil)
    state = torch.load(run.folder / "state.pt", weights_only=True)
    assert all(bool(torch.isfinite(value).all()) for value in state["network"].values())


def test_a_classifier_that_is_no_number_is_no_good_state_either(tmp_path: Path) -> None:
    good, bad = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    with torch.no_grad():
        bad.bias.fill_(float("inf"))
    refuse_broken_weights({"network": good}, tmp_path / "state.pt", Progress(1, 2, 3))
    with pytest.raises(RunError, match="after step 3; no checkpoint was written yet"):
        refuse_broken_weights({"network": good, "objective": bad}, tmp_path / "state.pt", Progress(1, 2, 3))


def test_the_status_is_that_of_the_signal() -> None:
    assert StoppedError("x").status == 130
    assert StoppedError("x", signal.SIGTERM).status == 143


@pytest.mark.parametrize("place", [("average", "module.neck.weight"), ("best", "neck.weight")])
def test_no_state_is_saved_whose_average_or_best_weights_are_no_numbers(tmp_path: Path, place: tuple[str, str]) -> None:
    class Holds:
        def state_dict(self) -> dict[str, Any]:
            return {place[0]: {place[1]: torch.tensor([0.0, float("nan")])}, "epoch": 3}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            """Nothing."""

    with pytest.raises(
        RunError, match=rf"{place[0]}\.{place[1]} of the final weights holds NaN or infinity after step 6"
    ):
        refuse_broken_weights({"kept": Holds()}, tmp_path / "state.pt", Progress(2, 0, 6))


@pytest.mark.parametrize("stop", [3, 6])
def test_pools_of_hard_ids_go_on_as_they_would_have(stop: int, tmp_path: Path) -> None:
    """After a stop in the middle of an epoch, and after a crash: they come from the checkpoint, or are made anew."""
    recipe = override(
        RECIPE, ["batch.hard_pool=2", "batch.cameras=spread", "images.exchange=0.5", "images.augment=0.2"]
    )
    runs = []
    for name in ("unbroken", "broken"):
        (tmp_path / name).mkdir()
        runs.append(Run(tmp_path / name, recipe))
    whole, broken = runs
    whole.go()
    with pytest.raises(StoppedError):
        broken.go(stop_at(stop))
    broken.go()
    assert same_weights(whole.network, broken.network)
    assert whole.rows() == broken.rows()
    plain = replace(in_folder(tmp_path / "plain"), recipe=override(recipe, ["batch.hard_pool=0"]))
    assert not same_weights(plain.go(), whole.network)
