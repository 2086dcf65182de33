"""Malformed inputs of every kind: how each is made, the command that reads it, and what the message must hold.

Import as `from malformed_inputs import CASES` (pytest puts `tests/` on the path).
"""

from malformed_arguments import ARGUMENTS, SCORES
from malformed_files import CHECKPOINTS, IMAGES, LISTS, TABLES
from malformed_labs import LAB_CASES
from malformed_recipes import RECIPES, SETTINGS

CASES = [*RECIPES, *SETTINGS, *LISTS, *IMAGES, *TABLES, *CHECKPOINTS, *SCORES, *ARGUMENTS, *LAB_CASES]
