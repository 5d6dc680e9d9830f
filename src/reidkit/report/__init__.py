"""The self-contained page of a run, and what it shows."""
