"""Keypoints of COCO to fourteen joints, and joints to maps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reidkit.data.keypoints import COCO, draw_joints, read_keypoints
from reidkit.data.masks import open_masks
from reidkit.errors import DataError, UsageError
from reidkit.recipe.mask_channels import JOINTS
from reidkit.types import Sample


def person(image=1, **joints):
    """An annotation with some joints as (x, y), all of them seen."""
    values = [joints.get(name, (0, 0)) + ((2,) if name in joints else (0,)) for name in COCO]
    return {"image_id": image, "keypoints": [number for point in values for number in point]}


def coco(tmp_path, *notes, **more):
    images = [{"id": 1, "file_name": "query/a.jpg", "width": 40, "height": 80}]
    (tmp_path / "k.json").write_text(json.dumps({"images": images, "annotations": notes, **more}))
    return tmp_path / "k.json"


def test_the_head_is_the_mean_of_the_face_and_the_neck_that_of_the_shoulders(tmp_path):
    note = person(nose=(10, 10), left_eye=(14, 6), left_shoulder=(20, 20), right_shoulder=(10, 24), left_knee=(8, 60))
    found = dict(zip(JOINTS, read_keypoints(coco(tmp_path, note))["query/a"].tolist(), strict=True))
    assert found["head"] == [0.3, 0.1, 1.0]
    assert found["neck"] == [0.375, 0.275, 1.0]
    assert found["left_knee"] == [0.2, 0.75, 1.0]
    assert found["right_knee"] == [0.0, 0.0, 0.0]


def test_one_shoulder_makes_no_neck_and_no_person_no_joint(tmp_path):
    found = read_keypoints(coco(tmp_path, person(left_shoulder=(20, 20))))["query/a"]
    assert found[JOINTS.index("neck"), 2] == 0
    assert not read_keypoints(coco(tmp_path))["query/a"].any()


def test_the_person_with_most_keypoints_is_taken(tmp_path):
    few, many = person(nose=(1, 1)), person(nose=(20, 40), left_hip=(20, 40))
    found = read_keypoints(coco(tmp_path, few, many, few))["query/a"]
    assert found[0].tolist() == [0.5, 0.5, 1.0]


def test_names_of_its_own(tmp_path):
    note = {"image_id": 1, "keypoints": [4, 8, 2, 20, 40, 1]}
    path = coco(tmp_path, note, categories=[{"keypoints": ["neck", "head"]}])
    found = read_keypoints(path)["query/a"]
    assert found[JOINTS.index("neck")].tolist() == [0.1, 0.1, 1.0]
    assert found[JOINTS.index("head")].tolist() == [0.5, 0.5, 1.0]


def test_a_spot_by_hand():
    """Of an image 64 high the deviation is 2 pixels: two pixels from the middle exp(-1/2) is left."""
    joints = np.zeros((14, 3))
    joints[4] = (10.5 / 32, 20.5 / 64, 1)
    spots = draw_joints(joints, (64, 32))
    assert spots.shape == (64, 32, 14)
    assert spots[20, 10, 4] == 255
    assert spots[22, 10, 4] == spots[20, 8, 4] == round(255 * np.exp(-0.5))
    assert not np.delete(spots, 4, axis=2).any()


def test_masks_are_drawn_from_the_file(tmp_path):
    path = coco(tmp_path, person(nose=(20, 40)))
    masks = open_masks(path, [Sample(tmp_path / "set/query/a.jpg", 1, 1)], (8, 4), kind="keypoints", channels=14)
    assert masks[0].shape == (8, 4, 14)
    assert masks[0][..., 0].max() > 0
    with pytest.raises(UsageError, match="is a file of keypoints: give a folder"):
        open_masks(path, [], (8, 4))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no JSON file of keypoints"),
        ("[]", "is no file of keypoints as COCO has them"),
        ('{"images": []}', "it lacks 'annotations'"),
        (
            '{"images": [], "annotations": [{"image_id": 1, "keypoints": [1, 2]}]}',
            "has 2 numbers, where 51 are three a keypoint",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg", "width": 0, "height": 2}], "annotations": []}',
            "a.jpg has no size",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg", "width": "x", "height": 2}], "annotations": []}',
            "as COCO has them",
        ),
    ],
    ids=["cut", "list", "no annotations", "two numbers", "no size", "text"],
)
def test_what_is_no_such_file(tmp_path, text, sentence):
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(DataError, match=sentence) as caught:
        read_keypoints(tmp_path / "k.json")
    assert "\n" not in str(caught.value)
