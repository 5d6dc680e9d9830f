"""Named recipes, and the published score of each."""
