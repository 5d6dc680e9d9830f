"""Luo et al., "Bag of Tricks and A Strong Baseline for Deep Person Re-identification", 2019: ladder and tables."""
