"""Recipes, runner and callbacks that train the official PSPNet through Catalyst, and the lab that compares recipes.

From Python: `from catalyst_cityscapes import load_recipe, train, test, predict, compare`, see docs/python.md.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
"""Of the project; pyproject.toml takes it from here, so that it is known in a checkout that is not installed."""

IN_API = ("Comparison", "Predictor", "Run", "Score", "compare", "load_recipe", "predict", "test")
"""Names of `catalyst_cityscapes.api` found here too; `train` is the package of that name, which is callable."""

__all__ = [*IN_API, "__version__", "train"]


def __getattr__(name: str) -> Any:
    # Not imported above: every module of this package imports this one first.
    if name in IN_API:
        return getattr(importlib.import_module(f"{__name__}.api"), name)
    if name == "train":
        return importlib.import_module(f"{__name__}.train")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
