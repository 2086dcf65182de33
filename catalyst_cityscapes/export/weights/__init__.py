"""Weight files: what they are, whether they fit a recipe, and writing them in another form.

The names below are looked up when they are first asked for, because reading a weight file takes torch and naming the
forms does not.
"""

import importlib
from typing import Any

FORMS = ("official", "bare", "safetensors", "imagenet-init")
"""What a weight file can be written as."""

_HOMES = {
    "Conversion": "conversion",
    "convert": "conversion",
    "WeightFile": "inspection",
    "read_weight_file": "inspection",
    "RecipeFit": "recipe_fit",
    "fit_recipe": "recipe_fit",
    "Verification": "verification",
    "check_sha256": "verification",
    "verify": "verification",
}

__all__ = ["FORMS", *_HOMES]


def __getattr__(name: str) -> Any:
    """A class or function from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
