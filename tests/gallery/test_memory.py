"""What every gallery does. A gallery of another kind is added to `GALLERIES`, and compared with the one in memory."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reidkit.encoder import InputSpec
from reidkit.errors import DataError, UsageError
from reidkit.gallery import Gallery, Hit, open_gallery
from reidkit.gallery.memory import MemoryGallery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.encoder import Encoder


class Colours:
    """An encoder in four lines: the feature of an image is its mean colour."""

    input = InputSpec(height=2, width=2)
    dim = 3
    fingerprint = "c0105125c0105125"

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = images.mean(axis=(1, 2)).astype(np.float32)
        return features


GALLERIES: dict[str, Callable[[Encoder], Gallery]] = {"memory": lambda encoder: open_gallery("memory", encoder)}


@pytest.fixture(params=GALLERIES)
def gallery(request: pytest.FixtureRequest) -> Gallery:
    return GALLERIES[request.param](Colours())


def colour(*rgb: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), rgb, np.uint8)


def keys(hits: list[Hit]) -> list[str]:
    return [hit.key for hit in hits]


def test_the_most_similar_come_first(gallery: Gallery) -> None:
    """Red is asked for. Of red the cosine is 1, of orange (4, 3) 4/5, of blue 0."""
    added = gallery.add(
        [colour(0, 0, 9), colour(40, 30, 0), colour(200, 0, 0)], keys=["blue", "orange", "red"], cameras=[1, 2, 1]
    )
    assert added == gallery.keys() == ["blue", "orange", "red"]
    assert len(gallery) == 3
    assert "red" in gallery
    assert "green" not in gallery
    hits = gallery.search(colour(7, 0, 0))
    assert keys(hits) == ["red", "orange", "blue"]
    assert [hit.similarity for hit in hits] == pytest.approx([1.0, 0.8, 0.0], abs=1e-6)
    assert [hit.camera for hit in hits] == [1, 2, 1]
    assert [hit.probability for hit in hits] == [None] * 3  # nobody has calibrated this encoder
    assert keys(gallery.search(colour(7, 0, 0), top=2)) == ["red", "orange"]
    assert keys(gallery.search(colour(7, 0, 0), cameras=[2, 5])) == ["orange"]
    assert gallery.search(colour(7, 0, 0), cameras=[]) == []


def test_of_equal_ones_the_earlier_comes_first(gallery: Gallery) -> None:
    gallery.add([colour(9, 0, 0)] * 3, keys=["b", "a", "c"])
    assert keys(gallery.search(colour(9, 0, 0))) == ["b", "a", "c"]
    assert keys(gallery.search(colour(9, 0, 0), top=1)) == ["b"]


def test_what_is_removed_is_not_found(gallery: Gallery) -> None:
    gallery.add([colour(9, 0, 0), colour(0, 9, 0), colour(0, 0, 9)], keys=["r", "g", "b"], cameras=[1, 2, 3])
    gallery.remove(["r"])
    assert gallery.keys() == ["g", "b"]
    hits = gallery.search(colour(9, 9, 0))
    assert [(hit.key, hit.camera) for hit in hits] == [("g", 2), ("b", 3)]
    gallery.add([colour(9, 0, 0)], keys=["r"])
    assert gallery.keys() == ["g", "b", "r"]
    hit = gallery.search(colour(9, 0, 0))[0]
    assert hit == Hit("r", hit.similarity, None, None)
    with pytest.raises(DataError, match="x is not in the gallery"):
        gallery.remove(["g", "x"])
    assert len(gallery) == 3


def test_an_empty_gallery(gallery: Gallery) -> None:
    assert gallery.add([]) == []
    assert gallery.search(colour(1, 2, 3)) == []
    assert gallery.search_vectors(np.zeros((0, 3))) == []
    assert gallery.search_vectors([[1, 0, 0], [0, 1, 0]]) == [[], []]
    gallery.add([colour(9, 0, 0)], keys=["r"])
    gallery.remove(["r"])
    assert (len(gallery), gallery.search(colour(1, 2, 3))) == (0, [])


def test_paths_are_keys(gallery: Gallery, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.fromarray(np.full((5, 4, 3), (200, 0, 0), np.uint8)).save(path)
    assert gallery.add([path]) == [str(path)]
    assert gallery.search(str(path))[0].similarity == pytest.approx(1.0)
    with pytest.raises(DataError, match=r"red\.png is in the gallery already: remove it first") as caught:
        gallery.add([str(path)])
    assert caught.value.argument == "keys"


def test_what_is_refused_adds_nothing(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    images: list[Any] = [colour(9, 0, 0), tmp_path / "text.jpg"]
    with pytest.raises(DataError, match=r"text\.jpg is not an image"):
        gallery.add(images, keys=["a", "b"])
    with pytest.raises(UsageError, match="image 0 has no path to be its key: pass keys"):
        gallery.add(images[:1])
    with pytest.raises(UsageError, match="there are 1 keys for 2 images"):
        gallery.add(images, keys=["a"])
    with pytest.raises(UsageError, match="there are 3 cameras for 2 images"):
        gallery.add(images, keys=["a", "b"], cameras=[1, 2, 3])
    with pytest.raises(DataError, match="a is in the gallery already"):
        gallery.add([colour(1, 1, 1)] * 2, keys=["a", "a"])
    assert (len(gallery), gallery.keys()) == (0, [])
    gallery.add(images[:1], keys=["a"])
    with pytest.raises(UsageError, match="pass top=1 or more"):
        gallery.search(images[0], top=0)
    with pytest.raises(DataError, match=r"features \[1, 2\] are not \[Q, 3\]"):
        gallery.search_vectors([[1.0, 2.0]])
    with pytest.raises(DataError, match="NaN"):
        gallery.search_vectors([[1.0, float("nan"), 0.0]])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_as_sorting_all_similarities_by_hand(data: st.DataObject) -> None:
    """Whole numbers make many ties; of these the earlier row comes first."""
    row = st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any)
    rows = data.draw(st.lists(row, min_size=1, max_size=12))
    asked, top = np.array(data.draw(row), np.float64), data.draw(st.integers(1, 14))
    gallery = MemoryGallery(Colours())
    gallery.add([colour(*each) for each in rows], keys=[str(i) for i in range(len(rows))])
    cosine = np.array([np.dot(each, asked) / np.linalg.norm(each) / np.linalg.norm(asked) for each in rows])
    (hits,) = gallery.search_vectors(asked[None], top=top)
    found = [int(hit.key) for hit in hits]
    assert [hit.similarity for hit in hits] == pytest.approx(sorted(cosine, reverse=True)[:top], abs=1e-6)
    assert [hit.similarity for hit in hits] == pytest.approx(cosine[found], abs=1e-6)
    assert all(one < other for one, other in pairwise(found) if rows[one] == rows[other])


def test_there_is_no_other_kind_yet() -> None:
    with pytest.raises(UsageError, match=r"galleries in files and clusters are not there yet, people\.db neither"):
        open_gallery("people.db", Colours())
