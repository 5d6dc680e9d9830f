"""`reidkit show` as users call it."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit import recipe
from reidkit.cli.show import choose_queries
from reidkit.errors import UsageError
from reidkit.model.network import build_network
from reidkit.model.weights import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = recipe.Network(backbone="resnet18", width=0.125, neck="bnneck")
    made = recipe.Recipe(name="$tiny_{", network=network, images=recipe.Images(height=32, width=32, pad=0))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(network), made)
    return path


@pytest.mark.parametrize(
    ("words", "width"),
    [
        (["attention", "--queries", 2, "--answers", 2], 6 * 1.05 + 5 * 0.08 + 2 * 0.12),
        (["embedding", "--people", 3], 12.6),
        (["embedding", "--method", "tsne", "--part", "train"], 12.6),
    ],
)
def test_pictures_are_written_and_named(nursery, model, noise, tmp_path, words, width):
    out = tmp_path / "sub" / "a.png"
    found = nursery.run("show", words[0], model, "--data", noise, "--out", out, *words[1:], "--json").json()
    assert found == {"paths": [str(out)]}
    with Image.open(out) as image:
        assert image.width == pytest.approx(160 * width, abs=1)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_ranked_lists_of_named_queries(nursery, model, noise, tmp_path):
    names = sorted(path.name for path in (noise / "query").iterdir())[1:3]
    command = ["show", "ranks", model, "--data", noise, "--out", tmp_path / "a.png", "--no-cache", "--answers", 2]
    assert nursery.run(*command, "--queries", ", ".join(names)).out == f"{tmp_path / 'a.png'}\n"
    with Image.open(tmp_path / "a.png") as image:
        # Three tiles of 0.8 inches, a gap of 0.14 after the query, and room for the note.
        assert image.width == pytest.approx(160 * max(3 * 0.8 + 0.08 * 2 + 0.14 + 0.24, 4.12), abs=1)
    assert "there is no query nobody.jpg" in nursery.run(*command, "--queries", "nobody.jpg").line()


@pytest.mark.parametrize("what", ["ranks", "attention"])
def test_pictures_of_images_by_cameras_that_are_not_known(nursery, model, noise, tmp_path, what):
    images = [*(noise / "query").iterdir(), *(noise / "bounding_box_test").glob("00*.jpg")]
    rows = [f"{path},{path.name[:4]},{'query' if path.parent.name == 'query' else 'gallery'}\n" for path in images]
    (tmp_path / "t.csv").write_text("path,pid,split\n" + "".join(rows))
    words = ["show", what, model, "--data", tmp_path / "t.csv", "--out", tmp_path / "a.png", "--queries", 1]
    assert nursery.run(*words).line().endswith("or by unknown ones (--cameras)")
    assert nursery.run(*words, "--cameras", "any").out == f"{tmp_path / 'a.png'}\n"


def test_points_without_what_cannot_be_read(nursery, model, noise, tmp_path):
    data = shutil.copytree(noise, tmp_path / "people")
    next((data / "bounding_box_test").glob("00*.jpg")).write_bytes(b"no image")
    words = ["show", "embedding", model, "--data", data, "--out", tmp_path / "a.svg"]
    refused = nursery.run(*words)
    assert refused.status == 1
    assert refused.line().endswith("to leave them out (--skip-unreadable)")
    assert nursery.run(*words, "--skip-unreadable").status == 0
    assert "15 gallery images" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ranks", "--out", "a.jpg"], ".png, .svg or .pdf"),
        (["attention", "--out", "a.jpg"], ".png, .svg or .pdf"),
        (["attention", "--queries", "99"], "1 to 50"),
        (["embedding", "--part", "nothing"], "nothing"),
        (["embedding", "--data", "nowhere"], "nowhere"),
        (["embedding", "--perplexity", "5"], "--perplexity is for t-SNE: give --method tsne"),
    ],
)
def test_wrong_calls_end_in_a_sentence(nursery, model, noise, tmp_path, words, sentence):
    data = () if "--data" in words else ("--data", noise)
    found = nursery.run("show", words[0], model, *data, *words[1:], folder=tmp_path)
    assert found.status in (1, 2)
    assert sentence in found.line()
    assert not list(tmp_path.iterdir())


def test_choosing_queries_by_hand():
    paths = ["/a/x.jpg", "/b/y.jpg", "/c/x.jpg"]
    assert choose_queries("y.jpg,x.jpg", paths, [0, 1, 2], 0) == [1, 0]
    assert choose_queries("y.jpg,x.jpg", ["/s/query-0.tar:x.jpg", "/s/query-0.tar:a/y.jpg"], [0, 1], 0) == [1, 0]
    assert sorted(choose_queries("9", paths, [0, 2], 0)) == [0, 2]
    assert choose_queries("1", paths, [0, 2], 3) == choose_queries("1", paths, [0, 2], 3)
    for wanted in ("0", "51", ",", "z.jpg"):
        with pytest.raises(UsageError, match="--queries"):
            choose_queries(wanted, paths, [0], 0)
