"""What the disputed points come to in numbers, under every reading, against the formulas written out in NumPy.

Nothing here calls the code under test to make its own reference: only recipes are taken from it.
"""

from reidkit.recipe import Recipe
from reidkit.recipes import find
from reidkit.recipes.readings import READINGS, read_as

STRONG = find("strong-baseline")

READ: dict[str, Recipe] = {"default": STRONG} | {reading: read_as(STRONG, reading) for reading in READINGS}
"""The whole recipe as it is, and as each reading has it."""
