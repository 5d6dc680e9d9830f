"""Classifiers with a margin: CosFace (arXiv:1801.09414), ArcFace (Deng et al., arXiv:1801.07698)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row

COSFACE = replace(STRONG, name="cosface", identity=replace(STRONG.identity, logits="cosface", scale=64.0, margin=0.35))
ARCFACE = replace(STRONG, name="arcface", identity=replace(STRONG.identity, logits="arcface", scale=30.0, margin=0.5))

ROWS = (
    Row(name="cosface", title="CosFace", recipe=COSFACE),
    Row(name="arcface", title="ArcFace", recipe=ARCFACE),
)
