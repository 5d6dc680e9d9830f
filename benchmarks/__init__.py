"""Measurements; `make bench` runs them. A package, so that tests can use what they are made of."""
