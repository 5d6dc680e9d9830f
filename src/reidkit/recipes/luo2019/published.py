"""Scores that others published and that the paper or its authors' program set beside their own."""

from __future__ import annotations

from reidkit.recipes.paper_table import both

Published = dict[str, tuple[float, float]]

OTHERS: tuple[tuple[str, str, Published], ...] = tuple(
    (name.lower(), f"{name}, {kind}, {count} feature{'s' if count > 1 else ''}", both(market, duke))
    for name, kind, count, market, duke in (
        ("GLAD", "pose", 4, (89.9, 73.9), None),
        ("PIE", "pose", 3, (87.7, 69.0), (79.8, 62.0)),
        ("PSE", "pose", 3, (78.7, 56.0), None),
        ("SPReID", "masks", 5, (92.5, 81.3), (84.4, 71.0)),
        ("MaskReID", "masks", 3, (90.0, 75.3), (78.8, 61.9)),
        ("AlignedReID", "stripes", 1, (90.6, 77.7), (81.2, 67.4)),
        ("SCPNet", "stripes", 1, (91.2, 75.2), (80.3, 62.6)),
        ("PCB", "stripes", 6, (93.8, 81.6), (83.3, 69.2)),
        ("Pyramid-1", "stripes", 1, (92.8, 82.1), None),
        ("Pyramid-21", "stripes", 21, (95.7, 88.2), (89.0, 79.0)),
        ("BFE", "stripes", 2, (94.5, 85.0), (88.7, 75.8)),
        ("Mancs", "attention", 1, (93.1, 82.3), (84.9, 71.8)),
        ("DuATM", "attention", 1, (91.4, 76.6), (81.2, 62.3)),
        ("HA-CNN", "attention", 4, (91.2, 75.7), (80.5, 63.8)),
        ("CamStyle", "GAN", 1, (88.1, 68.7), (75.3, 53.5)),
        ("PN-GAN", "GAN", 9, (89.4, 72.6), (73.6, 53.2)),
        ("IDE", "global", 1, (79.5, 59.9), None),
        ("SVDNet", "global", 1, (82.3, 62.1), (76.7, 56.8)),
        ("TriNet", "global", 1, (84.9, 69.1), None),
        ("AWTL", "global", 1, (89.5, 75.7), (79.8, 63.4)),
    )
)
"""Table 4 without its last two rows: name, title, scores. The rows of PIE and PSE stand as printed."""

BACKBONE_SCORES: tuple[tuple[str, str, Published], ...] = tuple(
    (name, title, both(market, duke))
    for name, title, market, duke in (
        ("resnet18", "ResNet-18", (91.7, 77.8), (82.5, 68.8)),
        ("resnet34", "ResNet-34", (92.7, 82.7), (86.4, 73.6)),
        ("resnet50", "ResNet-50", (94.5, 85.9), (86.4, 76.4)),
        ("resnet101", "ResNet-101", (94.5, 87.1), (87.6, 77.6)),
        ("seresnet50", "SE-ResNet-50", (94.4, 86.3), (86.4, 76.5)),
        ("seresnet101", "SE-ResNet-101", (94.6, 87.3), (87.5, 78.0)),
        ("seresnext50", "SE-ResNeXt-50", (94.9, 87.6), (88.0, 78.3)),
        ("seresnext101", "SE-ResNeXt-101", (95.0, 88.0), (88.4, 79.0)),
        ("resnet50-ibn-a", "IBN-a-ResNet-50", (95.0, 88.2), (90.1, 79.1)),
    )
)
"""The strong baseline on other backbones, from the page of the authors' program."""
