"""Masks beside images: found by name, checked, and moved as their images are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from reidkit.data import masks as module
from reidkit.data.masks import Masks, masks_of, open_masks, with_masks
from reidkit.data.transforms import AugmentParams, crop_flip
from reidkit.errors import DataError, UsageError
from reidkit.recipe import Images, Network
from reidkit.recipe.mask_channels import JOINTS, MIRRORED
from reidkit.types import Sample

SIZE = (8, 4)


class InMemory:
    """Masks [N, H, W, M] that are there already, as a file of `Masks`; and images, as a source."""

    def __init__(self, pixels):
        self.pixels, self.key = pixels, ""

    def read(self, masks, image):  # noqa: ARG002
        return self.pixels

    def rows(self, indices):
        return self.pixels[indices], np.arange(len(indices))


def held(pixels_nhwm, kind="grey", channels=1):
    return Masks([InMemory(each) for each in pixels_nhwm], pixels_nhwm.shape[1:3], kind, channels)


def moves(flip, top, left, box=(0, 0, 0, 0)):
    return AugmentParams(
        np.array([flip]), np.array([top]), np.array([left]), np.array([box]), np.zeros(1, dtype=np.int64)
    )


def moved(masks, params, pad):
    out = np.empty((1, *masks.size, masks.stored), np.uint8)
    masks.augment_into(np.array([0]), params, pad, out)
    return out[0]


# In a batch.


def test_a_mask_is_mirrored_cropped_and_erased_by_hand():
    """Crop at (2, 0) of a mask padded by 1: a row is gone at the top, a column is from outside."""
    mask = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[None, :, :, None]
    assert moved(held(mask), moves(False, 2, 0), 1)[..., 0].tolist() == [[0, 4, 5], [0, 0, 0]]
    assert moved(held(mask), moves(True, 1, 1), 1)[..., 0].tolist() == [[3, 2, 1], [6, 5, 4]]
    assert moved(held(mask), moves(False, 1, 1, (0, 1, 2, 1)), 1)[..., 0].tolist() == [[1, 0, 3], [4, 0, 6]]


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (1, 5, 4, 3)), st.booleans(), st.integers(0, 6), st.integers(0, 6))
def test_a_mask_follows_its_image(pixels, flip, top, left):
    """A mask with the red values of an image has those of the image's crop."""
    params = moves(flip, top, left)
    image = np.empty((1, 5, 4, 3), np.uint8)
    crop_flip(InMemory(pixels), np.array([0]), params, 3, image)
    np.testing.assert_array_equal(moved(held(pixels[..., :1]), params, 3), image[0, ..., :1])


def test_left_and_right_joints_change_places_in_a_mirror():
    pixels = np.zeros((1, 2, 3, 14), np.uint8)
    pixels[0, 0, 0, JOINTS.index("left_knee")] = 9
    pixels[0, 1, 2, JOINTS.index("head")] = 7
    found = moved(held(pixels, "keypoints", 14), moves(True, 0, 0), 0)
    assert found[0, 2, JOINTS.index("right_knee")] == 9
    assert found[1, 0, JOINTS.index("head")] == 7
    assert found.sum() == 16
    assert [MIRRORED[at] for at in MIRRORED] == list(range(14))


def test_labels_become_a_map_each_and_255_all_of_them():
    masks = held(np.array([[0, 1], [3, 255]], np.uint8)[None, :, :, None], "labels", 3)
    batch = with_masks(torch.full((1, 3, 2, 2), -1.0), torch.from_numpy(masks.rows(np.array([0]))), masks)
    assert batch.shape == (1, 6, 2, 2)
    assert (batch[:, :3] == -1).all()
    assert batch[0, 3:].flatten(1).tolist() == [[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1]]


def test_grey_goes_from_0_to_1():
    masks = held(np.array([[0, 51], [255, 102]], np.uint8)[None, :, :, None])
    batch = with_masks(torch.zeros(1, 3, 2, 2), torch.from_numpy(masks.rows(np.array([0]))), masks)
    torch.testing.assert_close(batch[0, 3], torch.tensor([[0.0, 0.2], [1.0, 0.4]]))


# Found by name.


@pytest.fixture
def people(tmp_path):
    """Two images of one name in two folders, and their samples."""
    for folder in ("query", "gallery"):
        path = tmp_path / "set" / folder / "a.jpg"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (4, 8)).save(path)
    return [Sample(tmp_path / "set" / folder / "a.jpg", 1, 1) for folder in ("query", "gallery")]


def put(path, value=255, size=(4, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_masks_are_found_by_the_longest_end_of_the_path(tmp_path, people):
    root = tmp_path / "masks"
    put(root / "query/a.png", 100)
    put(root / "gallery/a.png", 200)
    masks = open_masks(root, people, SIZE)
    assert [int(mask.max()) for mask in masks] == [100, 200]
    assert len(masks) == 2
    assert masks[1].shape == (8, 4, 1)
    assert masks[:2].shape == (2, 8, 4, 1)


def test_a_folder_of_a_kind_inside_is_taken(tmp_path, people):
    put(tmp_path / "masks/labels/query/a.png", 2)
    put(tmp_path / "masks/grey/query/a.png", 90)
    assert open_masks(tmp_path / "masks", people[:1], SIZE, kind="labels", channels=2)[0].max() == 2
    assert open_masks(tmp_path / "masks", people[:1], SIZE)[0].max() == 90


def test_a_folder_of_another_kind_is_refused(tmp_path, people):
    """Label images, read as grey ones, are almost black, and nothing would say so."""
    put(tmp_path / "labels/query/a.png", 3)
    put(tmp_path / "labels/gallery/a.png", 4)
    with pytest.raises(UsageError, match="is by its name a folder of labels, and the network takes grey: give"):
        open_masks(tmp_path / "labels", people, SIZE)
    assert open_masks(tmp_path / "labels", people, SIZE, kind="labels", channels=4)[0].max() == 3
    put(tmp_path / "labels/grey/query/a.png", 100)
    put(tmp_path / "labels/grey/gallery/a.png", 200)
    assert open_masks(tmp_path / "labels", people, SIZE)[0].max() == 100


def test_a_name_beside_the_image_s_ending_is_found(tmp_path, people):
    put(tmp_path / "masks/a.jpg.png", 50)
    assert open_masks(tmp_path / "masks", people[:1], SIZE)[0].max() == 50


def test_two_images_never_share_a_mask(tmp_path, people):
    put(tmp_path / "masks/a.png")
    with pytest.raises(DataError, match="would share the mask a: put masks into folders as the images lie"):
        open_masks(tmp_path / "masks", people, SIZE)


def test_two_masks_of_one_name_are_refused(tmp_path, people):
    put(tmp_path / "masks/a.png")
    put(tmp_path / "masks/a.bmp")
    with pytest.raises(DataError, match=r"two masks called a .*keep one of them"):
        open_masks(tmp_path / "masks", people[:1], SIZE)


def test_missing_masks_are_counted_or_taken_as_ones(tmp_path, people):
    put(tmp_path / "masks/query/a.png", 0)
    with pytest.raises(DataError, match=r"1 of 2 images have no mask .*missing_masks='ones'"):
        open_masks(tmp_path / "masks", people, SIZE)
    masks = open_masks(tmp_path / "masks", people, SIZE, missing="ones")
    assert masks.missing == 1
    assert [int(mask.min()) for mask in masks] == [0, 255]
    with pytest.raises(DataError, match="1 of 1 images have no mask"):  # that is another folder's
        open_masks(tmp_path / "masks", people[1:], SIZE, missing="ones")


def test_masks_that_are_not_kept_are_read_again(tmp_path, people, monkeypatch):
    put(tmp_path / "masks/a.png", 77)
    kept = open_masks(tmp_path / "masks", people[:1], SIZE)
    monkeypatch.setattr(module, "HELD", 0)
    again = open_masks(tmp_path / "masks", people[:1], SIZE)
    np.testing.assert_array_equal(kept.rows(np.array([0])), again.rows(np.array([0])))
    (tmp_path / "masks/a.png").unlink()
    assert kept[0].max() == 77
    with pytest.raises(DataError, match="cannot be read"):
        again.rows(np.array([0]))


# What is a mask.


def test_zeros_and_ones_are_black_and_white(tmp_path, people):
    put(tmp_path / "masks/a.png", 1)
    assert open_masks(tmp_path / "masks", people[:1], SIZE)[0].min() == 255


def test_a_palette_gives_its_numbers(tmp_path, people):
    image = Image.new("P", (4, 8), 2)
    image.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0])
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks/a.png")
    assert open_masks(tmp_path / "masks", people[:1], SIZE, kind="labels", channels=4)[0].min() == 2


def test_labels_are_resized_to_the_nearest_and_grey_by_the_mean(tmp_path, people):
    (tmp_path / "masks").mkdir()
    board = np.zeros((16, 8), np.uint8)
    board[::2] = 4
    Image.fromarray(board).save(tmp_path / "masks/a.png")
    labels = open_masks(tmp_path / "masks", people[:1], SIZE, kind="labels", channels=4)[0]
    assert set(np.unique(labels)) <= {0, 4}
    assert 0 < open_masks(tmp_path / "masks", people[:1], SIZE)[0].min() < 4


def test_stored_maps_of_numbers_and_of_bytes(tmp_path, people):
    (tmp_path / "masks").mkdir()
    maps = np.zeros((14, 8, 4), np.float32)
    maps[3] = 0.6
    np.save(tmp_path / "masks/a.npy", maps)
    found = open_masks(tmp_path / "masks", people[:1], SIZE, kind="keypoints", channels=14)[0]
    assert found.shape == (8, 4, 14)
    assert found[..., 3].min() == 153
    assert found.sum() == 153 * 32
    np.save(tmp_path / "masks/a.npy", (255 * maps).astype(np.uint8))
    np.testing.assert_array_equal(
        found, open_masks(tmp_path / "masks", people[:1], SIZE, kind="keypoints", channels=14)[0]
    )


@pytest.mark.parametrize(
    ("kind", "make", "sentence"),
    [
        ("grey", lambda path: put(path, (9, 0, 0), mode="RGB"), "is in colour: a mask is a grey image"),
        ("labels", lambda path: put(path, (9, 0, 0), mode="RGB"), "is in colour: a label image has one number"),
        ("grey", lambda path: put(path, 9, size=(6, 8)), "is 6 x 8 pixels, and its image 4 x 8"),
        ("labels", lambda path: put(path, 9, size=(8, 4)), "holds the label 9"),
        ("labels", lambda path: put(path, 1, size=(8, 4)), "is 8 x 4 pixels, and its image 4 x 8"),
        ("grey", lambda path: path.write_bytes(b""), "is empty"),
        ("grey", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\nnothing"), "is not an image|is damaged"),
        ("labels", lambda path: path.write_bytes(b"text"), "is not an image"),
        ("labels", lambda path: put(path.with_suffix(".jpg"), 1), "is a JPEG, which does not keep numbers"),
        ("keypoints", lambda path: put(path, 1), "is no file of maps"),
        ("keypoints", lambda path: path.with_suffix(".npy").write_bytes(b"no"), "is damaged, or no .npy file"),
        ("keypoints", lambda path: np.save(path.with_suffix(".npy"), np.zeros((3, 8, 4))), "holds .3, 8, 4. numbers"),
        ("keypoints", lambda path: np.save(path.with_suffix(".npy"), np.full((14, 8, 4), 7.0)), "not from 0 to 1"),
        ("keypoints", lambda path: np.save(path.with_suffix(".npy"), np.full((14, 8, 4), "x")), "holds <U1"),
    ],
    ids=[
        "grey in colour",
        "labels in colour",
        "wider",
        "label",
        "turned",
        "empty",
        "cut",
        "text",
        "jpeg",
        "no maps",
        "no npy",
        "three maps",
        "seven",
        "words",
    ],
)
def test_what_is_no_mask_is_named_in_a_line(tmp_path, people, kind, make, sentence):
    (tmp_path / "masks").mkdir()
    make(tmp_path / "masks/a.png")
    with pytest.raises(DataError, match=sentence) as caught:
        open_masks(tmp_path / "masks", people[:1], SIZE, kind=kind, channels=4)
    assert "1 of 1 masks cannot be used" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_that_hold_none(tmp_path, people):
    (tmp_path / "masks").mkdir()
    for path, sentence in (
        (tmp_path / "nowhere", "is not there"),
        (tmp_path / "masks", "holds no masks"),
        (people[0].path, "is no folder"),
    ):
        with pytest.raises(DataError, match=sentence):
            open_masks(path, people, SIZE)
    with pytest.raises(UsageError, match="kind must be grey, labels or keypoints"):
        open_masks(tmp_path, people, SIZE, kind="gray")
    (tmp_path / "joints.json").write_text("{}")
    with pytest.raises(UsageError) as caught:
        open_masks(tmp_path / "joints.json", people, SIZE, kind="labels")
    sentence = "joints.json is a file of keypoints: give a folder with one labels mask for each image"
    assert str(caught.value).endswith(sentence)
    assert caught.value.argument == "masks"


def test_a_recipe_and_its_masks_belong_together(tmp_path, people):
    put(tmp_path / "masks/a.png")
    images = Images(height=64, width=32)
    assert masks_of(None, people, images, Network()) is None
    with pytest.raises(UsageError, match="takes no masks"):
        masks_of(tmp_path, people, images, Network())
    with pytest.raises(UsageError, match=r"takes a grey mask beside each image .* all else takes features"):
        masks_of(None, people, images, Network(masks="grey"))
    found = masks_of(Path(tmp_path / "masks"), people[:1], images, Network(masks="labels", regions=255 // 4))
    assert found is not None
    assert found.size == (64, 32)
