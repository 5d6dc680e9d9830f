"""`reidkit evaluate`."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

from reidkit.cli import options
from reidkit.cli.output import (
    check_output,
    command,
    join,
    print_line,
    progress,
    remark,
    shown_command,
    tell_passed_over,
)
from reidkit.cli.shared_scoring import Scoring, compute_scores, merge_queries, print_scores, rerank_words, write_queries
from reidkit.workers import as_child, run_as, shared

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.encoder import ImageEncoder
    from reidkit.evaluation import Evaluation, EvaluationProtocol
    from reidkit.types import Dataset


def evaluate(
    model: options.ModelPath,
    data: options.TestData,
    scoring: Scoring,
    features: options.Features,
    inference: options.Inference,
    report: options.Report = None,
    format_: options.Format = None,
    processes: options.Processes = 1,
    as_json: options.Json = False,
) -> int:
    """Evaluate a trained model on a data set, by the official protocol."""
    check_output("--per-query", scoring.per_query, model, data)
    check_output("--report", report, model, data)
    if shared(processes):
        return run_as(processes, command())

    from reidkit.data.overlap import compare_with_model
    from reidkit.distributed import ALONE
    from reidkit.evaluation import dataset_sequences, evaluate
    from reidkit.report import build
    from reidkit.report.page import write_report

    protocol = features.protocol(scoring)
    loaded, dataset = _open(model, data, format_, inference)
    scoring.check_model(loaded)
    as_child()
    with join() as group, progress(group.first) as tell:
        if group.first:
            tell_passed_over(dataset)
        settings = inference.for_library(tell, group)
        evaluation = evaluate(loaded, dataset, protocol, settings)
    if not group.first:  # all have the features, and one is enough to re-rank and print
        return 0
    evaluation, merging = _merged(evaluation, protocol) if scoring.multi_query else (evaluation, "")
    alone = dataclasses.replace(settings, group=ALONE)
    sequences = partial(dataset_sequences, loaded, dataset, alone)
    found = compute_scores(
        evaluation.query, evaluation.gallery, evaluation.scores, scoring, evaluation.seconds, sequences
    )
    found = dataclasses.replace(found, trained=compare_with_model(model, dataset), merging=merging)
    print_scores(dataset.name, found, scoring.ap, as_json=as_json)
    if scoring.per_query:
        write_queries(scoring.per_query, evaluation.query, found)
    if report:
        facts = {
            "data": dataset.name,
            "model": loaded.fingerprint,
            **dataclasses.asdict(protocol),
            **rerank_words(found),
        }
        counts = f"{len(evaluation.query.pids):,} queries, {len(evaluation.gallery.pids):,} gallery images"
        made = build.build_report(loaded, f"{dataset.name}: {counts}", facts, shown_command(), on=dataset.name)
        made = build.add_scores(made, evaluation, protocol, found.reranked, found.seconds)
        write_report(report, build.add_pictures(made, loaded, evaluation, settings.device, protocol))
        if not as_json:
            print_line(f"report in {report}")
    return 0


def _open(model: Path, data: Path, format_: str | None, inference: options.Inference) -> tuple[ImageEncoder, Dataset]:
    from reidkit.data.formats.detect import load_dataset

    if inference.input_spec != "auto":
        return inference.load_model(model), load_dataset(data, format_)
    dataset = load_dataset(data, format_)
    return _with_best_spec(inference, model, dataset).load_model(model), dataset


def _with_best_spec(inference: options.Inference, model: Path, dataset: Dataset) -> options.Inference:
    """Try the known input specs of a foreign file, say how each scores, and take the best."""
    from reidkit.evaluation import find_input_spec
    from reidkit.terminal import percent

    settings = inference.for_library(lambda *_: None)
    how = {name: getattr(settings, name) for name in ("device", "batch", "cache_dir", "skip_unreadable")}
    found = find_input_spec(model, dataset, **how)
    for name, spec, scores in found:
        remark(f"{name:16} rank-1 {percent(scores.rank1)} mAP {percent(scores.map)}  {spec}")
    best = found[0][0]
    remark(f"the best is --input-spec {best}")
    return dataclasses.replace(inference, input_spec=best)


def _merged(evaluation: Evaluation, protocol: EvaluationProtocol) -> tuple[Evaluation, str]:
    """Return the same with one query for each id and camera, and the warning where that changes nothing."""
    from reidkit.metrics.retrieval import score_features

    query, warning = merge_queries(evaluation.query)
    scores = score_features(query, evaluation.gallery, **protocol.comparing)
    return dataclasses.replace(evaluation, query=query, scores=scores), warning
