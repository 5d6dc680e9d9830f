"""What the disputed points come to in numbers, under every reading, against the formulas written out in NumPy.

Nothing here calls the code under test to make its own reference: only recipes are taken from it.
"""

from reidkit.recipe import Recipe
from reidkit.recipes import get_recipe
from reidkit.recipes.luo2019.interpretations import INTERPRETATIONS, interpret

STRONG = get_recipe("strong-baseline")

READ: dict[str, Recipe] = {"default": STRONG} | {reading: interpret(STRONG, reading) for reading in INTERPRETATIONS}
"""The whole recipe as it is, and as each reading has it."""
