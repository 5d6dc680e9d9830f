"""Masks and keypoints of synthetic people, beside the same images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reidkit.data.keypoints import read_keypoints
from reidkit.errors import UsageError
from reidkit.recipe.mask_channels import JOINTS
from reidkit.synth import synthesize
from reidkit.synth.draw import Shot, draw_image
from reidkit.synth.truth import draw_masked

NUMBERS = {"ids": 4, "cameras": 2, "images_per_camera": 2, "height": 64, "width": 32, "workers": 1}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("truth") / "people"
    synthesize(out, masks=True, **NUMBERS)
    return out


def test_the_images_are_those_without_masks(drawn):
    paths = list(drawn.glob("bounding_box_train/*.jpg"))
    assert paths
    for path in paths:
        pid, camera = int(path.name[:4]), int(path.name[6])
        number = int(path.name.split("_")[2]) // 25
        assert path.read_bytes() == draw_image(0, Shot("", pid, camera, number), 64, 32)


def test_each_image_has_a_label_image_and_a_mask_of_its_size(drawn):
    images = [
        path for folder in ("bounding_box_train", "query", "bounding_box_test") for path in drawn.glob(f"{folder}/*")
    ]
    joints = read_keypoints(drawn / "masks/keypoints.json")
    assert len(joints) == len(images) > 0
    for path in images:
        name = path.relative_to(drawn).with_suffix(".png")
        labels, grey = (np.asarray(Image.open(drawn / "masks" / kind / name)) for kind in ("labels", "grey"))
        assert labels.shape == grey.shape == (64, 32)
        assert set(np.unique(labels)) <= {0, 1, 2, 3, 4}
        np.testing.assert_array_equal(grey == 255, labels > 0)
        assert str(name.with_suffix("")) in joints


def test_regions_lie_from_head_to_foot():
    """Of a person who is seen whole the mean height of each region is below that of the one before."""
    seen = [draw_masked(3, Shot("", pid, 1, 0), 128, 64).labels for pid in range(1, 13)]
    whole = [labels for labels in seen if set(np.unique(labels)) == {0, 1, 2, 3, 4}]
    assert len(whole) > 3
    for labels in whole:
        means = [np.nonzero(labels == region)[0].mean() for region in (1, 2, 3, 4)]
        assert means == sorted(means)


def test_joints_that_are_seen_lie_on_the_person():
    for pid in range(1, 9):
        shot = draw_masked(3, Shot("", pid, 2, 0), 128, 64)
        for x, y, visible in shot.joints.values():
            assert visible == bool(shot.labels[int(y), int(x)])
        if "left_knee" in shot.joints and "left_ankle" in shot.joints:
            assert shot.joints["left_knee"][1] < shot.joints["left_ankle"][1]


def test_a_set_with_masks_is_replaced_and_one_with_other_files_is_not(drawn, tmp_path):
    out = tmp_path / "people"
    synthesize(out, masks=True, **NUMBERS)
    synthesize(out, **NUMBERS)
    assert not (out / "masks").exists()
    synthesize(out, masks=True, **NUMBERS)
    (out / "masks" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else than a synthetic set"):
        synthesize(out, **NUMBERS)
    assert len(
        read_keypoints(drawn / "masks/keypoints.json")[next(iter(read_keypoints(drawn / "masks/keypoints.json")))]
    ) == len(JOINTS)
