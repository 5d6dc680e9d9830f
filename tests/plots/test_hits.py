"""The picture of what a search has found."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from reidkit.gallery import Query, Row, open_gallery
from reidkit.plots.hits import hits_figure
from tests.gallery.made import Calibrated


def jpeg(rgb):
    out = io.BytesIO()
    Image.new("RGB", (20, 40), rgb).save(out, "JPEG")
    return out.getvalue()


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("columns", [2, 10])
def test_hits_are_drawn_in_their_order_with_what_is_known_of_them(tmp_path, columns):
    Image.new("RGB", (20, 40), (0, 0, 200)).save(tmp_path / "blue.png")
    gallery = open_gallery("memory", Calibrated())
    rows = [Row("red", camera="hall"), Row("blue", image="blue.png"), Row("lost", image="lost.png")]
    gallery.add_vectors([[1, 0, 0], [4, 3, 0], [0, 1, 0]], rows, thumbnails=[jpeg((200, 0, 0)), None, None])
    hits = gallery.search(Query(vectors=[[1, 0, 0]]))
    figure = hits_figure(gallery, [tmp_path / "blue.png"], hits, tmp_path, columns)
    said = texts(figure)
    assert "1: 1.00\n90 % hall" in said
    assert "2: 0.80\n74 %" in said
    assert said.count("✓") == 2  # the third is below the threshold, which does not make it a false match
    assert "✗" not in said
    assert said.count("un-\nreadable") == 1
    colours = [np.asarray(image.get_array()).reshape(-1, 3).mean(axis=0).argmax() for image in figure.axes[0].images]
    assert colours == [2, 0, 2]  # the query, the thumbnail, the file


def test_nobody_found():
    gallery = open_gallery("memory", Calibrated())
    assert "0 hits in 0 images" in texts(hits_figure(gallery, [], gallery.search_vectors([[1, 0, 0]])[0]))
