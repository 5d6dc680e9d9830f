"""reidkit: train, judge and use person re-identification models."""

__version__ = "0.1.0"
