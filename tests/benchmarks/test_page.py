"""What the page of speeds takes from the benchmarks' outputs."""

from __future__ import annotations

import json

from benchmarks.page import Benchmark, Row, measured

from benchmarks import page

SCORING = {
    "scores_of_distances": 0.05,
    "scores_by_sorting": 0.8,
    "product_and_scores": 2.4,
    "ratio": 1.2,
    "of_peak": 0.9,
}
RUN = {"queries": 3368, "gallery": 15913, "width": 2048, "peak_mb": 700.0}
OURS = RUN | {"program": "ours", "cpu_seconds": 8.0, "product_seconds": 6.0, "gflop_per_second": 95.0}
EXPORT = """peak by a float32 product of matrices: 95 GFLOP/s
torch, eager                    10.0 images/s   1.00 x eager  85 % of the peak
OpenVINO int8                   51.0 images/s   5.10 x eager  434 % of the peak
"""
GALLERY = """a camera of 6250 rows
one query, one camera in 16: 2.41 ms a query, FAISS flat 7.23 ms, 3.00 times as fast; recall of FAISS's first 10 1.0000
"""


def test_rows_by_hand():
    distances, features = page.of_scoring(json.dumps(SCORING))
    assert distances[1:4] == ("0.05 s", "sorting: 0.8 s", "16.0")
    assert features.limit == "1.20 times the product alone, which is at 90% of the peak"
    runs = [OURS, RUN | {"program": "usual", "cpu_seconds": 64.0}]
    (row,) = page.of_reranking(json.dumps({"runs": runs}))
    assert row[1:4] == ("8 s, 700 MB", "full matrices: 64 s, 700 MB", "8.0")
    assert row.limit == "75% of it is the product (95 GFLOP/s)"
    (row,) = page.of_export(EXPORT)
    assert row.what.endswith("OpenVINO int8")
    assert row[1:] == ("51.0 images/s", "eager torch: 10.0 images/s", "5.10", "434 % of a float32 product's rate")
    (row,) = page.of_gallery(GALLERY)
    assert row[1:4] == ("2.41 ms", "FAISS flat: 7.23 ms", "3.00")


def test_a_benchmark_that_fails_is_named_and_the_page_goes_on():
    """Each of them is there, and refuses an option that it has not."""
    for one in page.BENCHMARKS:
        (row,) = measured(Benchmark(one.name, [*one.arguments, "--no-such-option"], one.rows))
        assert row.what == one.name
        assert row.ours.endswith("unrecognized arguments: --no-such-option")
        assert f"| {one.name} | failed: " in page.page([row, Row("another", "1 s", "", "", "")])
