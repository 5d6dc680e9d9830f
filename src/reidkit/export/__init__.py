"""A trained network as a file that other programs run, checked against torch before it is put in place."""

from __future__ import annotations

from reidkit.export.exporter import Exported, ExportOptions, export_model
from reidkit.export.parity import Parity, ParityError
from reidkit.export.presets import PRESETS, Front, Preset

__all__ = ["PRESETS", "ExportOptions", "Exported", "Front", "Parity", "ParityError", "Preset", "export_model"]
