"""Weight files: what they are, whether they fit a recipe, and writing them in another form."""

from catalyst_cityscapes.weights.conversion import FORMS, Conversion, convert
from catalyst_cityscapes.weights.inspection import WeightFile, read_weight_file
from catalyst_cityscapes.weights.recipe_fit import RecipeFit, fit_recipe, recipe_network
from catalyst_cityscapes.weights.verification import Verification, check_sha256, verify

__all__ = [
    "FORMS",
    "Conversion",
    "RecipeFit",
    "Verification",
    "WeightFile",
    "check_sha256",
    "convert",
    "fit_recipe",
    "read_weight_file",
    "recipe_network",
    "verify",
]
