"""Heads: a feature map to the features before and after the neck."""
