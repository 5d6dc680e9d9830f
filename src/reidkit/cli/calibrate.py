"""`reidkit calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reidkit.cli import options
from reidkit.cli.output import check_output, print_json, print_line, print_table, progress, remark, tell_passed_over
from reidkit.terminal import percent

if TYPE_CHECKING:
    from reidkit.metrics.calibration_file import Calibration
    from reidkit.metrics.intervals import Interval


def calibrate(
    model: options.ModelPath,
    data: Annotated[Path, typer.Option(help="A data set with a query and a gallery, of ids not trained on.")],
    features: options.Features,
    comparing: options.Comparing,
    inference: options.Inference,
    far: Annotated[float, typer.Option(help="The false accept rate: of pairs of two ids, the part above it.")] = 1e-3,
    method: Annotated[
        Literal["isotonic", "logistic"], typer.Option(help="How a probability is made of a similarity.")
    ] = "isotonic",
    prior: Annotated[float, typer.Option(help="The probability of the same id before the images are seen.")] = 0.5,
    out: Annotated[
        Path | None, typer.Option(help="The file to write.  [default: calibration.json beside the model]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For intervals and for the ids that are held out.")] = 0,
    allow_training_ids: Annotated[
        bool, typer.Option("--allow-training-ids", help="Store a threshold measured on ids the model was trained on.")
    ] = False,
    format_: options.Format = None,
    as_json: options.Json = False,
) -> None:
    """Choose the threshold of "the same person" for a false accept rate, and store it beside the model."""
    check_output("--out", out, model, data)
    from reidkit.comparison import run_calibration
    from reidkit.data.formats.detect import load_dataset
    from reidkit.metrics.calibration_file import Settings, to_json
    from reidkit.train.log import log_lines

    protocol = features.protocol(comparing)
    settings = Settings(far=far, method=method, prior=prior, seed=seed, **protocol.comparing)
    loaded, dataset = inference.load_model(model), load_dataset(data, format_)
    tell_passed_over(dataset)
    with progress() as tell, log_lines(remark):
        done = run_calibration(
            loaded,
            dataset,
            settings,
            protocol,
            inference.for_library(tell),
            allow_training_ids=allow_training_ids,
            out=out,
        )
    calibration = done.calibration
    for warning in calibration.warnings:
        remark(f"warning: {warning}")
    if as_json:
        seconds = {key: round(value, 3) for key, value in done.seconds.items()}
        print_json({**to_json(calibration), "trained_on": done.trained_on, "file": str(done.path), "seconds": seconds})
        return
    _print(calibration)
    print_line(f"stored in {done.path}; " + ", ".join(f"{key} {value:.1f} s" for key, value in done.seconds.items()))


def _print(calibration: Calibration) -> None:
    chosen = calibration.chosen
    print_line(
        f"{calibration.data}: {calibration.queries} queries, {calibration.gallery} gallery images, "
        f"{calibration.people} ids; {calibration.genuine} genuine and {calibration.impostors} impostor pairs"
    )
    print_line(
        f"threshold {chosen.threshold:.4f} at a FAR of {chosen.far:g}: TPR {_rate(chosen.tpr, chosen.interval)}, "
        f"FAR {_rate(chosen.false_accepts / calibration.impostors, calibration.far_interval, 3)}"
    )
    rows = [
        (
            f"{rate.far:g}",
            f"{rate.threshold:.4f}",
            percent(rate.tpr),
            _between(rate.interval),
            str(rate.false_accepts),
        )
        for rate in calibration.rates
    ]
    print_table(("FAR", "threshold", "TPR %", "95 % interval", "false accepts"), rows)
    print_line(
        f"EER {_rate(calibration.eer, calibration.eer_interval)} at {calibration.eer_threshold:.4f}; "
        f"AUC {calibration.auc:.4f}; d' {'-' if calibration.d_prime is None else f'{calibration.d_prime:.2f}'}"
    )
    _print_open_set(calibration)
    quality = calibration.held_out.quality if calibration.held_out else None
    how_good = f"Brier {quality.brier:.4f}, ECE {quality.ece:.4f} on ids held out" if quality else "not checked"
    print_line(f"probability: {calibration.settings.method} at the prior {calibration.settings.prior:g}; {how_good}")
    own = [pair.threshold for pair in calibration.camera_pairs]
    between = f", between {min(own):.4f} and {max(own):.4f}" if own else ": there are too few pairs of each"
    print_line(f"{len(own)} camera pairs have thresholds of their own{between}")


def _print_open_set(calibration: Calibration) -> None:
    if calibration.open_set is None:
        return
    for rate in calibration.open_set.rates:
        print_line(
            f"open set: {percent(rate.rate)} % found at rank 1 (spread {percent(rate.deviation)}) "
            f"at a false alarm rate of {rate.false_alarm_rate:g}, threshold {rate.threshold:.4f}"
        )


def _rate(value: float, interval: Interval | None, digits: int = 1) -> str:
    """Return a rate in per cent with its interval."""
    return f"{percent(value, digits=digits)} % ({_between(interval, digits)})"


def _between(interval: Interval | None, digits: int = 1) -> str:
    return "-".join(percent(end, digits=digits) for end in (interval.low, interval.high)) if interval else "-"
