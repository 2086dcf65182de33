"""The Catalyst arm: recipes, runner and callbacks that train the official PSPNet through Catalyst."""

__version__ = "0.1.0"
"""Of the project; pyproject.toml takes it from here, so that it is known in a checkout that is not installed."""
