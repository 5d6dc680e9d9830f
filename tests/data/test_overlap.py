"""Training and test that share ids or images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from reidkit.data.overlap import (
    RECORD,
    compare_with_model,
    digests,
    find_overlap,
    find_trained,
    read_record,
    write_record,
)
from reidkit.errors import DataError
from reidkit.types import JUNK, Dataset, Sample

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shared(tmp_path: Path) -> Dataset:
    """Ids 1 and 2 are trained on, 1, 3 and 4 are in the test: with a copy of an image of id 1, and one of 2 as 4's."""
    images = {"a": b"1", "b": b"11", "c": b"2", "q": b"1", "g": b"111", "h": b"3", "i": b"2", "j": b"2"}
    for name, content in images.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: tmp_path / name for name in images}
    return Dataset(
        "shared",
        train=(Sample(paths["a"], 1, 0), Sample(paths["b"], 1, 1), Sample(paths["c"], 2, 0)),
        query=(Sample(paths["q"], 1, 0), Sample(paths["h"], 3, 0)),
        gallery=(Sample(paths["g"], 1, 1), Sample(paths["i"], 4, 1), Sample(paths["j"], JUNK, 1)),
    )


def test_by_hand(shared: Dataset) -> None:
    found = find_overlap(shared)
    assert (found.ids, found.images, found.first) == (1, 1, (1,))
    assert found.warnings()[0].startswith("training and test (query and gallery) share 1 id (1) and 1 image:")
    everything = find_overlap(shared, everything=True)
    assert (everything.ids, everything.images) == (1, 3)


def test_ids_that_are_numbered_apart_may_be_others(shared: Dataset) -> None:
    found = find_overlap(Dataset("numbers", shared.train, shared.query[:0], shared.gallery[:1]))
    assert (found.ids, found.images) == (1, 0)
    assert "unless training and test number their ids apart" in found.warnings()[0]


def test_nothing_is_shared(shared: Dataset) -> None:
    found = find_overlap(Dataset("apart", shared.train[2:], shared.query, shared.gallery[:1]), everything=True)
    assert (found.ids, found.images, found.warnings()) == (0, 0, ())


def test_what_a_model_was_trained_on(shared: Dataset, tmp_path: Path) -> None:
    """It has seen the image of id 2, which the gallery calls 4; that id 1 was trained on tell its training images."""
    run = tmp_path / "run"
    run.mkdir()
    write_record(run, "shared", digests(shared.train[2:]), 1)
    known = read_record(run / "model.safetensors")
    assert known == read_record(run) == digests(shared.train[2:])
    assert known is not None
    assert find_trained(known, shared).first == (4,)
    everything = find_trained(digests(shared.train), Dataset("x", shared.train, (), shared.gallery[:1]))
    assert (everything.ids, everything.images) == (1, 0)
    found = compare_with_model(run, shared)
    assert found["trained_on"] == {"ids": 1, "images": 2, "first": (4,)}
    assert found["warnings"][0].startswith("the model was trained on 1 id (4) and 2 images of this query and gallery")


def test_a_model_of_which_nothing_is_known(shared: Dataset, tmp_path: Path) -> None:
    found = compare_with_model(tmp_path, shared)
    assert found["trained_on"] is None
    assert len(found["warnings"]) == 2
    assert found["warnings"][0].startswith("what the model was trained on is not written down")


@pytest.mark.parametrize("content", ["", "[]", '{"digests": 7}', "[" * 100_000, '{"digests"', "\ud800"])
def test_a_damaged_record_says_so(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD).write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(DataError, match="is damaged"):
        read_record(tmp_path)


def test_a_record_is_json(tmp_path: Path) -> None:
    write_record(tmp_path, "x", frozenset({"b", "a"}), 2)
    assert json.loads((tmp_path / RECORD).read_text()) == {
        "format": "reidkit/trained-on/1",
        "data": "x",
        "ids": 2,
        "digests": ["a", "b"],
    }
