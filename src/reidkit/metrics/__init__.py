"""Scores from features: arrays in, numbers out. Imports neither models nor data."""
