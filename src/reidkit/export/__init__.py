"""A trained network as a file that other programs run, checked against torch before it is put in place."""

from __future__ import annotations

from reidkit.export.parity import Parity, ParityError
from reidkit.export.presets import PRESETS, Front, Preset
from reidkit.export.run import Exported, ExportOptions, export_model

__all__ = ["PRESETS", "ExportOptions", "Exported", "Front", "Parity", "ParityError", "Preset", "export_model"]
