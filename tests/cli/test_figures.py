"""`reidkit paper figureN` as users call it."""

import pytest
from PIL import Image

FORMATS = ("png", "svg", "pdf")


def test_a_figure_comes_in_every_format(nursery, tmp_path):
    found = nursery.run("paper", "figure3", "--out", tmp_path / "f", "--json").json()
    assert found == {"figure": "figure3", "paths": [str(tmp_path / "f" / f"figure3.{kind}") for kind in FORMATS]}
    with Image.open(tmp_path / "f" / "figure3.png") as image:
        assert image.size == (1920, 832)
    assert "fast-reid" in (tmp_path / "f" / "figure3.svg").read_text()


def test_own_scores_and_own_images(nursery, noise, tmp_path):
    nursery.run("paper", "figure1", "--measured", "mine, seed 0=94,85", "--out", tmp_path, "--json").json()
    assert "mine, seed 0" in (tmp_path / "figure1.svg").read_text()
    nursery.run("paper", "figure4", "--data", f"noise={noise}", "--out", tmp_path, "--json").json()
    assert (tmp_path / "figure4.png").stat().st_size > 10_000
    assert "synthetic people" not in (tmp_path / "figure4.svg").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["figure7"], "there is no figure7"),
        (["figure1", "--measured", "x"], "NAME=RANK1,MAP"),
        (["figure4", "--data", "a=nowhere"], "nowhere"),
        (["figure6", "--data", "a=NOISE", "--set", "optim.epochs=0"], "optim.epochs"),
    ],
)
def test_wrong_calls_end_in_a_sentence(nursery, noise, tmp_path, words, sentence):
    found = nursery.run("paper", *(word.replace("NOISE", str(noise)) for word in words), folder=tmp_path)
    assert found.status in (1, 2)
    assert sentence in found.line()
