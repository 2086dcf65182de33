"""The network that a recipe names."""

from torch import nn

from catalyst_cityscapes.recipe.nodes.targets import build, without_pretrained
from catalyst_cityscapes.recipe.schema import Recipe


def recipe_network(recipe: Recipe, pretrained: str | None = None) -> nn.Module:
    """The network of a recipe in eval mode, with the ImageNet weights of a file or random ones."""
    return build(without_pretrained(recipe.model, pretrained), "model").eval()
