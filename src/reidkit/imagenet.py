"""The pixels of ImageNet, by which the images of pretrained networks are normalised: (x / 255 - MEAN) / STD."""

from __future__ import annotations

MEAN = (0.485, 0.456, 0.406)
"""The mean pixel, red, green and blue, between 0 and 1."""

STD = (0.229, 0.224, 0.225)
"""Its standard deviation."""
