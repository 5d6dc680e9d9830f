"""Each family's weights give the features that its own project computes."""

import pytest
import torch

from reidkit.imagenet import MEAN, STD
from reidkit.model.convert import convert
from reidkit.model.convert.families import FAMILIES
from reidkit.model.convert.imported import build_foreign_network
from tests.model.convert.families import CASES
from tests.model.convert.theirs import imagenet


def test_one_normalisation_is_meant():
    assert (convert.MEAN, convert.STD) == (MEAN, STD)


@pytest.mark.parametrize("name", CASES)
def test_features_are_theirs(name, tmp_path):
    case = CASES[name]()
    torch.save(case.state, tmp_path / "net.pth")
    found = build_foreign_network(tmp_path / "net.pth")
    assert found.family.name == name.split()[0]
    assert (found.recipe.images.size, found.recipe.images.resize) == (case.size, case.resize)

    small = case.size if case.size == (64, 32) else (96, 48)
    pixels = torch.rand(2, 3, *small, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs = case.forward(case.state, pixels)
        ours = found.network(imagenet(pixels)).f_i
    assert ours.shape == theirs.shape
    assert (ours - theirs).norm() < 2e-5 * theirs.norm()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("strong-baseline", {"network.stem_relu": True}),
        ("strong-baseline", {"network.last_stride": 2}),
        ("fast-reid", {"network.stem_pool": "padded"}),
        ("torchreid fc512", {"network.last_stride": 2}),
    ],
)
def test_what_keys_do_not_tell_matters(name, setting, tmp_path):
    """Each is read from the family's program, and another choice loads as well and gives other features."""
    case = CASES[name]()
    torch.save(case.state, tmp_path / "net.pth")
    pixels = torch.rand(2, 3, 96, 48, generator=torch.Generator().manual_seed(1))
    network = build_foreign_network(tmp_path / "net.pth", settings=setting).network
    with torch.inference_mode():
        theirs = case.forward(case.state, pixels)
        ours = network(imagenet(pixels)).f_i
    assert (ours - theirs).norm() > 1e-3 * theirs.norm()


def test_every_family_has_a_case():
    able = {family.name for family in FAMILIES if not family.unsupported and family.by_keys}
    assert able == {name.split()[0] for name in CASES}
