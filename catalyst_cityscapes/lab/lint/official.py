"""The official recipe's values, read from the shipped configuration: what other recipes are held against."""

from dataclasses import dataclass
from functools import cache

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.schema import Recipe

RECIPE = "cityscapes/pspnet50"
IMAGES, VAL_IMAGES = 2975, 500
"""Lines of the published Cityscapes lists."""
PROCESSES = 8
STEPS_AN_EPOCH = 186


@dataclass(frozen=True)
class Official:
    """Values of the official recipe for Cityscapes.

    Attributes:
        recipe: the whole of it.
        lr, momentum, weight_decay, power, head_multiplier: of its optimiser and schedule.
        batch: images a step.
        epochs, steps, seen: length, in epochs, steps and images, of the published training on 8 GPUs.
        aux_weight, dropout: of its loss and heads.
        scale, rotate: ranges of its augmentation; a factor and degrees.
        turned, mirrored: probabilities.
        blur_variance: of its blur, in squared pixels an axis (the binomial 5-tap kernel); `blurred` is how often.
    """

    recipe: Recipe
    lr: float
    momentum: float
    weight_decay: float
    power: float
    head_multiplier: float
    batch: int
    epochs: int
    steps: int
    seen: int
    aux_weight: float
    dropout: float
    scale: tuple[float, float]
    rotate: tuple[float, float]
    turned: float
    mirrored: float
    blur_variance: float = 1.0
    blurred: float = 0.5


@cache
def official() -> Official:
    """The values, from `cityscapes/pspnet50` as it is shipped."""
    recipe = load_recipe([RECIPE])
    optimizer, callbacks, steps = recipe.optimizer, recipe.callbacks, recipe.augmentation["steps"]
    batch, epochs = recipe.sampling.batch_size, recipe.experiment.epochs
    return Official(
        recipe=recipe,
        lr=optimizer["lr"],
        momentum=optimizer["momentum"],
        weight_decay=optimizer["weight_decay"],
        power=callbacks["poly_lr"]["power"],
        head_multiplier=optimizer["groups"]["head_multiplier"],
        batch=batch,
        epochs=epochs,
        steps=epochs * STEPS_AN_EPOCH,
        seen=epochs * STEPS_AN_EPOCH * batch,
        aux_weight=callbacks["aux_loss"]["weight"],
        dropout=recipe.model["dropout"],
        scale=tuple(steps["scale"]["scale"]),
        rotate=tuple(steps["rotate"]["rotate"]),
        turned=steps["rotate"]["p"],
        mirrored=steps["flip"]["p"],
    )
