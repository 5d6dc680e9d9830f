"""Layouts are known by their keys, wherever a trainer has put them; what has none is named with its key."""

import pytest
import torch
from safetensors.torch import save_file

from reidkit.errors import ReidkitError, UsageError, WeightsError
from reidkit.model.convert.families import FAMILIES
from reidkit.model.convert.imported import build_foreign_network
from reidkit.model.convert.recognise import WRAPPERS, recognise
from reidkit.model.network import build_network
from reidkit.model.weights import load_backbone
from reidkit.recipe import Network
from tests.model.convert.families import CASES, agw, fast_reid_mgn, strong_baseline, torchreid, transreid_jpm
from tests.model.convert.theirs import DEEP, Maker


def saved(tmp_path, content, name="net.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", CASES)
def test_a_family_is_known_under_any_wrapper(name):
    keys = list(CASES[name]().state)
    for wrapper in ("", "module.", "model.", "state_dict.module.", "model.module."):
        found = recognise([wrapper + key for key in keys])
        assert found is not None
        assert found.family.name == name.split()[0]


def test_wrappers_are_prefixes():
    assert all(wrapper.endswith(".") for wrapper in WRAPPERS)


def test_no_family_is_known_by_nothing():
    assert recognise([]) is None
    assert recognise(["a", "b.weight"]) is None


@pytest.mark.parametrize(
    ("keys", "family", "key"),
    [
        (["image_encoder.transformer.resblocks.0.ln_1.weight", "prompt_learner.ctx"], "clip-reid", "image_encoder"),
        (
            ["base.patch_embed.projection.weight", "base.stages.0.blocks.0.attn.w_msa.qkv.weight"],
            "solider",
            "base.patch",
        ),
        (["model.layers.0.blocks.0.attn.relative_position_bias_table"], "swin", "model.layers.0"),
        (["model.features.conv0.weight"], "densenet", "model.features.conv0"),
        (["conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight"], "torchvision-vit", "conv_proj"),
        (["backone.0.weight", "global_branch.0.0.weight"], "lmbn", "backone"),
        (["patch_embed.seq.0.c.weight"], "tinyvit", "patch_embed.seq.0.c"),
    ],
)
def test_what_is_not_supported_is_named_with_its_key(keys, family, key, tmp_path):
    path = saved(tmp_path, {name: torch.zeros(2) for name in keys})
    with pytest.raises(WeightsError, match=rf"of {family} \(its key {key}.*ONNX"):
        build_foreign_network(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.usam_1.conv.weight": torch.zeros(2)}, r"its attention \(USAM\) \(its key model\.usam_1"),
        ({"model.layer4.0.conv9.weight": torch.zeros(2)}, r"does not fit it \(it has besides backbone.layer4.0.conv9"),
        ({"strange.weight": torch.zeros(2)}, r"no network of reidkit's has its key strange\.weight"),
        ({"classifier.add_block.1.weight": torch.zeros(3)}, r"shapes differ at neck.weight \[3\] for \[16\]"),
        ({"model.bn1.weight": torch.full((8,), float("nan"))}, r"NaN or infinity in backbone\.bn1\.weight"),
    ],
)
def test_what_does_not_fit_is_named(change, words, tmp_path):
    path = saved(tmp_path, CASES["layumi"]().state | change)
    with pytest.raises(WeightsError, match=words):
        build_foreign_network(path)


@pytest.mark.parametrize(
    "change", [{"model.pixel_mean": torch.full((1, 3, 1, 1), 127.5)}, {"model.pixel_std": torch.ones(1, 1, 1, 1)}]
)
def test_another_normalisation_that_a_file_names_is_refused(change, tmp_path):
    """It cannot be put into a first layer that pads; with ImageNet's in its place the network would score low."""
    path = saved(tmp_path, CASES["fast-reid"]().state | change)
    with pytest.raises(WeightsError, match=rf"{next(iter(change))} that its images were .* 255 x \[0"):
        build_foreign_network(path)


def test_the_layout_that_the_keys_have_is_named_where_another_was(tmp_path):
    path = saved(tmp_path, CASES["torchvision"]().state)
    with pytest.raises(WeightsError, match="it has the keys of torchvision: name that as family, or none"):
        build_foreign_network(path, family="torchreid-osnet")


def test_another_depth_is_named(tmp_path):
    make = Maker()
    make.resnet("base.", (2, 3, 2, 2))
    with pytest.raises(WeightsError, match=r"reidkit has not \(its stages have 2, 3, 2, 2 blocks\)"):
        build_foreign_network(saved(tmp_path, make.state))


def test_an_unknown_file_gets_the_nearest_three(tmp_path):
    make = Maker()
    make.resnet("body.base.")
    with pytest.raises(WeightsError, match=r"nearest are .*\d+ of 120 keys\), .*, .*: name one as family"):
        build_foreign_network(saved(tmp_path, make.state))


def test_a_family_can_be_named(tmp_path):
    path = saved(tmp_path, CASES["fast-reid"]().state)
    assert build_foreign_network(path).recipe.images.size == (256, 128)
    assert build_foreign_network(path, "fast-reid-sbs").recipe.images.size == (384, 128)
    with pytest.raises(WeightsError, match=r"does not fit|no key of the layout"):
        build_foreign_network(path, "transreid")
    with pytest.raises(UsageError, match=r"family must be .*did you mean fast-reid"):
        build_foreign_network(path, "fastreid")


def test_settings_are_the_recipes_last_word(tmp_path):
    path = saved(tmp_path, torchreid().state)
    assert build_foreign_network(path).recipe.network.last_stride == 2
    assert build_foreign_network(path, settings=["network.last_stride=1"]).recipe.network.last_stride == 1
    with pytest.raises(UsageError, match=r"there is no network\.stride"):
        build_foreign_network(path, settings={"network.stride": 1})


def test_a_file_says_where_its_stride_is(tmp_path):
    make = Maker()
    make.resnet("", DEEP)
    for said, placed in (({"stride_in": "1x1"}, "1x1"), ({}, "auto")):
        save_file(make.state, tmp_path / "net.safetensors", said)
        assert build_foreign_network(tmp_path / "net.safetensors").recipe.network.stride_in == placed


def test_a_dictionary_of_boxmots(tmp_path):
    state = CASES["torchreid-osnet"]().state
    path = saved(
        tmp_path, {"model_name": "osnet_x0_25", "state_dict": state, "num_classes": 5, "preprocess": "resize_pad"}
    )
    found = build_foreign_network(path)
    assert found.recipe.network.backbone == "osnet-x0_25"
    assert "borders" in found.remarks[0]


def test_transreids_cameras_have_their_numbers(tmp_path):
    case = CASES["transreid"]()
    network = build_foreign_network(saved(tmp_path, case.state)).network
    images, table = torch.zeros(2, 3, 64, 32), case.state["base.sie_embed"]
    assert torch.equal(network.backbone.cameras.table, table[:, 0])
    assert network.backbone.cameras(torch.tensor([2, 3])).shape == (2, 1, 192)
    assert torch.allclose(network.backbone.cameras(torch.tensor([2, 3])), 3 * table[1:])
    with torch.inference_mode():
        assert not torch.allclose(
            network(images, torch.tensor([1, 2])).f_i[0], network(images, torch.tensor([1, 2])).f_i[1]
        )


@pytest.mark.parametrize(
    ("case", "recipe", "key", "theirs"),
    [
        (strong_baseline, {"backbone": "resnet18"}, "layer4.1.conv2.weight", "base.layer4.1.conv2.weight"),
        (agw, {"backbone": "resnet50"}, "layer3.5.conv3.weight", "base.layer3.5.conv3.weight"),
        (
            agw,
            {"backbone": "resnet50", "blocks": "nonlocal-as-published"},
            "layer3.5.after.theta.weight",
            "base.NL_3.2.theta.weight",
        ),
        (fast_reid_mgn, {"backbone": "resnet50"}, "layer4.2.conv1.weight", "b1.1.2.conv1.weight"),
    ],
)
def test_a_training_starts_from_the_same_files(case, recipe, key, theirs, tmp_path):
    state = case().state
    network = build_network(Network(**{"width": 0.125, **recipe}))
    load_backbone(network, saved(tmp_path, state))
    assert torch.equal(network.backbone.state_dict()[key], state[theirs])


def test_a_transformer_starts_with_its_last_block_and_takes_imagenets_images(tmp_path):
    state = transreid_jpm().state
    network = build_network(Network(backbone="vit-tiny", head="token", position_grid=(4, 2)))
    load_backbone(network, saved(tmp_path, state))
    assert torch.equal(network.backbone.blocks[11].mlp.fc1.weight, state["b1.0.mlp.fc1.weight"])
    ratio = network.backbone.patch_embed.proj.weight / state["base.patch_embed.proj.weight"]
    assert torch.allclose(ratio[:, 0], torch.tensor(2 * 0.229))


def test_a_model_of_our_own_needs_no_import(tmp_path):
    from reidkit.model.weights import save_model
    from reidkit.recipe import Recipe

    recipe = Recipe(network=Network(backbone="resnet18", width=0.125))
    save_model(tmp_path / "model.safetensors", build_network(recipe.network), recipe)
    with pytest.raises(WeightsError, match="reidkit's already"):
        build_foreign_network(tmp_path / "model.safetensors")


@pytest.mark.parametrize("family", [family.name for family in FAMILIES if family.unsupported])
def test_a_family_that_is_not_supported_says_so_by_name_too(family, tmp_path):
    with pytest.raises(ReidkitError, match=f"of {family}"):
        build_foreign_network(saved(tmp_path, {"x.weight": torch.zeros(2)}), family)
