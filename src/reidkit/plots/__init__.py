"""Figures and pictures, from plain data."""
