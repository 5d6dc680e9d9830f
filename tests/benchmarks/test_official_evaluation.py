"""The comparison of whole programs, with a checkout that stands in for the authors': the reference in its layout."""

import json
from textwrap import dedent

import numpy as np
import pytest
import torch
from benchmarks.reference import Baseline
from PIL import Image

from benchmarks import official, official_evaluation, parity
from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.recipe import override
from reidkit.recipes import get_recipe

FILES = {
    "data/transforms/build.py": """
        import torchvision.transforms as T

        def build_transforms(cfg, is_train):
            size, mean, std = cfg.INPUT.SIZE_TEST, cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD
            return T.Compose([T.Resize(size), T.ToTensor(), T.Normalize(mean=mean, std=std)])
        """,
    "data/datasets/market1501.py": """
        import pathlib

        class Market1501:
            dataset_dir = "somewhere"

            def __init__(self, root, verbose):
                self.query, self.gallery = (self.list(pathlib.Path(root, self.dataset_dir, part))
                                            for part in ("query", "bounding_box_test"))

            def list(self, folder):
                rows = [(str(path), *path.stem.split("_")[:2]) for path in folder.glob("*.jpg")]
                return [(path, int(pid), int(camera[1]) - 1) for path, pid, camera in rows if pid != "-1"]
        """,
    "data/datasets/dataset_loader.py": """
        from PIL import Image

        class ImageDataset:
            def __init__(self, rows, transform):
                self.rows, self.transform = rows, transform

            def __len__(self):
                return len(self.rows)

            def __getitem__(self, row):
                path, pid, camid = self.rows[row]
                return self.transform(Image.open(path).convert("RGB")), pid, camid, path
        """,
    "data/datasets/eval_reid.py": """
        from benchmarks.reference import market_scores

        def eval_func(distances, q_pids, g_pids, q_camids, g_camids):
            found = market_scores(distances, (q_pids, q_camids), (g_pids, g_camids))
            return found["cmc"], found["map"]
        """,
    "utils/reid_metric.py": """
        import numpy as np
        from ignite.metrics import Metric
        from data.datasets.eval_reid import eval_func
        from benchmarks.reference import k_reciprocal, squared_distances, unit

        class R1_mAP(Metric):
            def __init__(self, num_query, max_rank, feat_norm):
                super().__init__()
                self.num_query = num_query

            def reset(self):
                self.seen = []

            def update(self, output):
                self.seen.append(output)

            def distances(self, query, gallery):
                return squared_distances(unit(query), unit(gallery))

            def compute(self):
                (features, pids, camids), n = self.seen[0], self.num_query
                pids, camids, features = np.array(pids), np.array(camids), features.numpy()
                distances = self.distances(features[:n], features[n:])
                return eval_func(distances, pids[:n], pids[n:], camids[:n], camids[n:])

        class R1_mAP_reranking(R1_mAP):
            def distances(self, query, gallery):
                return k_reciprocal(query, gallery)
        """,
}
NARROW = {"network.width": 0.125, "images.height": 64, "images.width": 32, "network.stem_relu": True}


class Wrapped(torch.nn.Module):
    """The reference's network with the outputs of the authors'."""

    def __init__(self, start):
        super().__init__()
        self.inner = Baseline(len(start["classifier.weight"]), len(start["conv1.weight"]))
        self.inner.load_state_dict({name: start[name] for name in self.inner.state_dict()})

    def forward(self, images):
        return self.inner(images)[1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    for name in official.NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text))
    return official.Checkout(folder)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """Four ids by two cameras, and junk: images of 80x40 that are resized to 64x32."""
    root, rng = tmp_path_factory.mktemp("data") / "Market-1501", np.random.default_rng(0)
    for part, names in {
        "bounding_box_train": ["0009_c1s1_000001_00"],
        "query": [f"{pid:04}_c1s1_{pid:06}_00" for pid in range(1, 5)],
        "bounding_box_test": [f"{pid:04}_c2s1_{n:06}_00" for pid in range(1, 5) for n in range(3)]
        + ["-1_c2s1_000009_00", "0000_c2s1_000008_00"],
    }.items():
        (root / part).mkdir(parents=True)
        for name in names:
            Image.fromarray(rng.integers(0, 256, (80, 40, 3), np.uint8)).save(root / part / f"{name}.jpg")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A fresh network with a ReLU in its stem, whose running statistics are not those of the start."""
    torch.manual_seed(0)
    recipe = override(get_recipe("strong-baseline"), NARROW)
    network = build_network(recipe.network)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 32))
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_model(path, network, recipe)
    return path


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    """The authors' network has one width: the reference's is as narrow as the weights."""
    monkeypatch.setattr(official, "network", lambda _, start: Wrapped(start))


def test_both_programs_come_to_the_same(checkout, market, run):
    ours, theirs, own_on_theirs = official_evaluation.both(checkout, run, market)
    assert ours.names == theirs.names
    assert len(ours.names) == 4 + 13, "junk is left out"
    found = official_evaluation.compare(ours, theirs, own_on_theirs)
    assert found["pixels_differ"][0] == 0
    for name in ("features_same_pixels", "features"):
        assert found[name][0] < 1e-5, name
    assert found["plain_apart"][0] < 1e-6
    assert found["reranked_apart"][0] < 1e-6
    assert 0 < found["plain_ours"][0][3] < 1


def test_the_command_prints_them(checkout, market, run, capsys):
    chosen = ["--only", "programs", "--official", str(checkout.folder), "--model", str(run), "--data", str(market)]
    parity.main([*chosen, "--json"])
    found = json.loads(capsys.readouterr().out)["programs"]
    assert found["images"] == 17
    assert found["plain_ours"] == pytest.approx(found["plain_official"])


def test_another_pipeline_is_seen(checkout, market, run, monkeypatch):
    """Means that are a grey level off are that in the pixels, and more than rounding in the features."""
    mean = tuple(value + 1 / 255 for value in official_evaluation.MEAN)
    run_official = official_evaluation.run_official

    def shifted(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(official_evaluation, "MEAN", mean)
            return run_official(*arguments)

    monkeypatch.setattr(official_evaluation, "run_official", shifted)
    found = official_evaluation.compare(*official_evaluation.both(checkout, run, market))
    assert found["pixels"][0] == pytest.approx(1, abs=1e-3)
    assert found["pixels_differ"][0] == 1
    assert found["features_same_pixels"][0] < 1e-5
    assert found["features"][0] > 1e-4


def test_another_network_is_refused(checkout, market, tmp_path):
    recipe = override(get_recipe("strong-baseline"), {**NARROW, "network.last_stride": 2})
    save_model(tmp_path / "other.safetensors", build_network(recipe.network), recipe)
    with pytest.raises(SystemExit, match="another network than a ResNet-50"):
        official_evaluation.both(checkout, tmp_path / "other.safetensors", market)


def test_programs_are_named_before_they_are_compared(capsys):
    with pytest.raises(SystemExit, match="2"):
        parity.main(["--only", "programs"])
    assert "needs --official, --model and --data" in capsys.readouterr().err
