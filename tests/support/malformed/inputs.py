"""Malformed inputs of every kind: how each is made, the command that reads it, and what the message must hold."""

from support.malformed.arguments import ARGUMENTS, SCORES
from support.malformed.files import CHECKPOINTS, IMAGES, LISTS, TABLES
from support.malformed.labs import LAB_CASES
from support.malformed.recipes import RECIPES, SETTINGS

CASES = [*RECIPES, *SETTINGS, *LISTS, *IMAGES, *TABLES, *CHECKPOINTS, *SCORES, *ARGUMENTS, *LAB_CASES]
