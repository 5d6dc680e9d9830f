"""What masks and keypoints beside the images are to a network: channels, joints, and what mirroring does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reidkit.recipe.network_section import Network

JOINTS = (
    "head", "neck", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""The fourteen joints of keypoint maps, in the order of their channels."""

MIRRORED = tuple(
    JOINTS.index(name.replace("left_", "r_").replace("right_", "left_").replace("r_", "right_")) for name in JOINTS
)
"""Of a mirrored image, which channel each joint's map comes from: left and right change places."""


def mask_channels(network: Network) -> int:
    """Return how many maps stand beside the three colours of an image: 0 where the network takes no masks."""
    return {"none": 0, "grey": 1, "labels": network.regions, "keypoints": len(JOINTS)}[network.masks]
