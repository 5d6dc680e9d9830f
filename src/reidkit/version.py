"""The version of reidkit, beside the public names, which import what asks for it."""

__version__ = "0.2.0"
