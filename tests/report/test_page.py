from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reidkit.errors import DataError
from reidkit.plots.charts import Histogram
from reidkit.plots.image_grid import RankedImage, RankedList
from reidkit.recipe import Optim, Recipe
from reidkit.report.page import Report, render, write_report
from tests.pages import Page, Paint

SCORES: dict[str, Any] = {
    "rank1": 0.9512,
    "rank5": 0.9801,
    "rank10": 0.9912,
    "rank20": 0.9956,
    "map": 0.8634,
    "minp": 0.6123,
    "map_trapezoid": 0.8551,
    "queries": 3368,
    "queries_skipped": 12,
    "gallery": 15913,
    "seconds": {"embed": 12.345, "score": 0.031},
}


def steps(epochs: int, per_epoch: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for epoch in range(epochs):
        for _ in range(per_epoch):
            step = sum(row["kind"] == "step" for row in rows) + 1 if len(rows) < 200 else rows[-1]["step"] + 1
            terms = {"identity": 6.5 / step, "triplet": 0.9 / step, "center": 1.0 / step}
            row = {"kind": "step", "epoch": epoch, "step": step, "lr": 3.5e-4, "loss": sum(terms.values())}
            rows.append(row | terms | {"images": 64, "images_per_s": 345.6})
        rows.append({"kind": "epoch", "epoch": epoch, "step": rows[-1]["step"], "seconds": 60.0, "images_per_s": 345.6})
    return rows


@pytest.fixture
def full(ranked: RankedList) -> Report:
    """A report with every part."""
    log = [*steps(epochs=3, per_epoch=20), {"kind": "scores", "epoch": 2, "step": 60, "rank1": 0.777, "map": 0.555}]
    return Report(
        title="A run",
        when="2026-01-02 03:04",
        command="reidkit train strong-baseline --data DIR --seed 3",
        notes=("Not comparable with published numbers.",),
        data="people: 3,368 queries",
        model="mine: resnet50",
        changed={"optim.lr": (0.001, 0.00035), "optim.drops": ([5], [40, 70])},
        recipe=Recipe(name="mine", optim=Optim(lr=0.001)),
        settings={"seed": 3, "versions": {"reidkit": "0.1.0", "torch": "2.9"}},
        log=log,
        scores=SCORES,
        reranked=SCORES | {"rank1": 0.9543, "map": 0.9424, "seconds": {"embed": 12.3, "rerank": 6.789}},
        cmc=[0.9512, 0.97, 0.975],
        hardest=[replace(ranked, average_precision=0.0321, first_rank=None)],
        random=[ranked],
        distances=Histogram([0.0, 0.5, 1.0, 1.5], [6, 4, 0], [0, 20, 80]),
    )


def test_every_figure_is_on_the_page(full: Report) -> None:
    text = Page(render(full)).text
    for shown in ("95.1 %", "86.3 %", "61.2 %", "85.5 %", "3,368", "15,913", "6.79 s"):
        assert shown in text
    assert "95.4 % re-ranked" in text
    assert "Not comparable with published numbers." in text
    assert "reidkit 0.1.0, torch 2.9" in text
    assert "optim.lr 0.001, not 0.00035" in text
    assert "trained for 3 min" in text
    assert "reidkit train strong-baseline --data DIR --seed 3" in text


def test_the_head_names_data_model_and_changes(full: Report) -> None:
    head = "Data set people: 3,368 queries Model mine: resnet50 Changed by --set "
    text = Page(render(full)).text
    assert f"{head}optim.lr=0.001 (was 0.00035), optim.drops=[5] (was [40, 70]) Scores" in text
    assert f"{head}nothing Scores" in Page(render(replace(full, changed={}))).text
    assert "Changed by" not in Page(render(replace(full, changed=None))).text
    many = {f"optim.x{i}": (i, 0) for i in range(11)}
    text = Page(render(replace(full, changed=many))).text
    assert "optim.x7=7 (was 0) and 3 more, listed under Settings" in text
    assert "optim.x8=8" not in text


def test_random_queries_come_first_and_the_hardest_are_folded(full: Report) -> None:
    page = Page(render(full))
    order = [name for name, _ in page.tags if name in ("article", "details")]
    assert order[:3] == ["article", "details", "article"]
    assert page.text.index("Random queries") < page.text.index("Hardest queries: the 1 with")
    assert {"open"}.isdisjoint(key for each in page.all("details") for key in each)


def test_the_time_of_re_ranking_is_beside_the_others(full: Report) -> None:
    """From the scores' own seconds, or from those that came with the re-ranking."""
    inside = replace(
        full, scores=SCORES | {"seconds": {"embed": 1.0, "rerank": 6.789}}, reranked=SCORES | {"seconds": {}}
    )
    for report in (full, inside):
        assert "re-ranking 6.79 s" in Page(render(report)).text


def test_how_to_run_it_again_says_what_has_to_be_put_in(full: Report) -> None:
    text = Page(render(full)).text
    assert "two threads and one differed by 3.4 points" in text
    assert "by your own folders" not in text
    text = Page(render(replace(full, command="reidkit evaluate .../run --data .../people"))).text
    assert "Replace ... by your own folders" in text
    assert "3.4 points" not in text


def test_the_charts_are_there_and_say_what_they_show(full: Report) -> None:
    labels = [each["aria-label"] for each in Page(render(full)).all("svg")]
    starts = [
        "CMC",
        "Distances",
        "Validation",
        "Loss, all",
        *(f"Loss term: {t}" for t in ("identity", "triplet", "center")),
    ]
    assert len(labels) == 9
    for start, label in zip([*starts, "Learning rate", "Images per second"], labels, strict=True):
        assert label.startswith(start)
    # The smaller share of each bin: min(0.6, 0) + min(0.4, 0.2) + min(0, 0.8).
    assert "overlap 20.0 %" in labels[1]
    assert "77.7 %" in labels[2]


def test_nothing_is_loaded_and_nothing_runs(full: Report) -> None:
    page = Page(render(full))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        assert not any(key.startswith("on") or key in ("srcset", "action") for key in attributes)
        assert re.fullmatch(r"[\w\s:;.,()%-]*", attributes.get("style", ""))
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(
        r"https?://|//[a-z]|@import|url\(", re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", render(full))
    )
    policy = next(each["content"] for each in page.all("meta") if each.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_links_within_the_page_arrive(full: Report) -> None:
    for report in (full, Report(title="bare"), replace(full, scores=None), replace(full, log=())):
        page = Page(render(report))
        there = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        assert {each["href"][1:] for each in page.all("a")} <= there


def test_true_and_false_matches_are_said_three_ways(full: Report) -> None:
    """One list of true, false, false: by class (colour), by mark, and in words."""
    page = Page(render(replace(full, hardest=())))
    assert [each["class"] for each in page.all("li")] == ["query", "true", "false", "false"]
    lists = page.text[page.text.index("Random queries") :]
    assert [mark for mark in lists if mark in "✓✗"] == ["✓", "✗", "✗"]
    assert re.findall(r"(\d) · ([\d.]+) (true|false) match", lists) == [
        ("1", "0.125", "true"),
        ("2", "0.250", "false"),
        ("3", "0.500", "false"),
    ]
    assert "AP 87.5 % first true match at rank 1" in lists
    assert "id 9 camid 2" in lists
    assert "id unknown camera unknown" in lists


def test_images_have_a_text_and_a_lost_one_a_tile(full: Report) -> None:
    page = Page(render(replace(full, hardest=())))
    assert [each["alt"] for each in page.all("img")] == [
        "query 0007_c1.jpg",
        "rank 1, 0007_c2.jpg",
        "rank 2, 0009_c3.jpg",
    ]
    (tile,) = [each for each in page.all("span") if each.get("class") == "empty"]
    assert tile["aria-label"] == "rank 3, gone.jpg: the image cannot be read"


def test_folders_of_this_machine_are_not_told(full: Report, tmp_path: Path) -> None:
    text = render(full)
    assert "/private" not in text
    assert str(tmp_path) not in text


def test_a_query_that_has_no_true_match(full: Report) -> None:
    assert "AP 3.2 % no true match in the gallery" in Page(render(replace(full, random=()))).text


EVIL = "<script>alert(1)</script>"


def test_hostile_words_stay_words(full: Report, paint: Paint) -> None:
    name = '"><script>.jpg'
    entry = RankedImage(paint(name), pid=1, camid=1, is_match=True, distance=math.nan)
    report = replace(
        full,
        title=EVIL,
        when=EVIL,
        command=EVIL,
        notes=(EVIL,),
        recipe=Recipe(name=EVIL),
        parent=Recipe(name=EVIL),
        settings={EVIL: EVIL, "more": [EVIL, {EVIL: EVIL}]},
        log=[{"kind": "step", "epoch": 0, "step": 1, "lr": 0.1, EVIL: 1.0}, {"kind": EVIL}],
        scores=SCORES | {"seconds": {EVIL: 1.0}, "rank1": EVIL},
        random=[RankedList(paint(name), 1, 1, math.nan, None, (entry,))],
    )
    page = Page(render(report))
    assert not page.all("script")
    assert page.text.count(EVIL) >= 8
    assert f"rank 1, {name}" in [each["alt"] for each in page.all("img")]


def test_a_name_that_is_no_text_can_be_written(full: Report, tmp_path: Path) -> None:
    path = Path(os.fsdecode(b"/data/caf\xe9.jpg"))
    lost = RankedList(path, 1, 1, 0.5, 1, (RankedImage(path, 1, 1, is_match=True, distance=0.1),))
    write_report(tmp_path / "report.html", replace(full, title=path.name, random=[lost]))
    assert "caf?.jpg" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("missing", "section", "sentence"),
    [
        (
            {"scores": None, "cmc": (), "distances": None, "hardest": (), "random": ()},
            "scores",
            "There are no scores here",
        ),
        ({"cmc": (), "distances": None}, "curves", "There is no CMC curve here"),
        ({"cmc": (), "distances": None}, "curves", "There are no histograms of distances here"),
        ({"hardest": (), "random": ()}, "lists", "There are no ranked lists here"),
        ({"log": ()}, "training", "There are no training curves here"),
        ({"command": ""}, "again", "The command of this run is not known"),
    ],
)
def test_a_missing_part_leaves_a_sentence(full: Report, missing: dict[str, Any], section: str, sentence: str) -> None:
    whole, less = Page(render(full)), Page(render(replace(full, **missing)))
    assert section in [each["id"] for each in whole.all("section")]
    assert sentence not in whole.text
    assert section not in [each["id"] for each in less.all("section")]
    assert sentence in less.text


def test_no_validation_is_said(full: Report) -> None:
    assert "no validation curve" not in Page(render(full)).text
    assert "no validation curve" in Page(render(replace(full, log=steps(1, 5)))).text


def test_the_least_report_is_a_page() -> None:
    page = Page(render(Report(title="bare")))
    assert [each["id"] for each in page.all("section")] == ["people"]
    assert page.text.count("There are no") == 2


def test_arrays_are_as_good_as_lists(full: Report) -> None:
    arrays = Histogram(np.array([0.0, 0.5, 1.0, 1.5]), np.array([6, 4, 0]), np.array([0, 20, 80]))
    plain = render(full)
    assert render(replace(full, distances=arrays, cmc=np.array(full.cmc))) == plain


def test_a_long_run_is_a_small_page() -> None:
    """22,000 steps of five curves; a plain list of their values would take a megabyte and more."""
    assert len(render(Report(title="long", log=steps(epochs=120, per_epoch=183)))) < 120_000


def test_the_file_is_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(path, Report(title="first"))
    write_report(path, Report(title="second"))
    assert "second" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", Report(title="a"))
