"""Galleries that are searched with one query at a time."""
