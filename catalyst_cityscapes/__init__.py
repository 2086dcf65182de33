"""Recipes, runner and callbacks that train the official PSPNet through Catalyst, and the lab that compares recipes.

From Python: `from catalyst_cityscapes.api import load_recipe, train, test, predict, compare`, see docs/python.md.
"""

__version__ = "0.1.0"
"""Of the project; pyproject.toml takes it from here, so that it is known in a checkout that is not installed."""
