"""What a recipe is held against: the official one, or another published recipe that it names."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from catalyst_cityscapes.callbacks.sync_bn import SyncBNConversion
from catalyst_cityscapes.lab.measure.loss import Loss, measure_loss
from catalyst_cityscapes.lab.measure.optimisation import BACKBONE, HEADS, Optimisation
from catalyst_cityscapes.lab.measure.profile import DataSize, RecipeProfile
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.schedule import poly_learning_rate

RECIPE = "cityscapes/pspnet50"
IMAGES, VAL_IMAGES = 2975, 500
"""Lines of the published Cityscapes lists."""
PROCESSES = 8
STEPS_AN_EPOCH = 186


@dataclass(frozen=True)
class Reference:
    """Values of a published recipe for Cityscapes.

    Attributes:
        name: of the recipe.
        recipe: the whole of it.
        lr, momentum, weight_decay: of its optimiser; the highest of the backbone.
        head_multiplier: the heads' rate over the backbone's.
        batch, bn_group: images a step, and in a group of batch norm.
        epochs, steps, seen: length, in epochs, steps and images, of the published training.
        scale: range of its scale factors.
        rates: of the backbone at each step, float64 [steps]; None for the official recipe, whose poly is `power`.
        power: see there.
        aux_weight, dropout: of its loss and heads, where they are one number.
        rotate, turned, mirrored: degrees and probabilities of its augmentation.
        blur_variance: of its blur, in squared pixels an axis (the binomial 5-tap kernel); `blurred` is how often.
        loss: what its criterion does.
        decayed_norms: how many tensors of normalisation layers decay although others do not.
    """

    name: str
    recipe: Recipe
    lr: float
    momentum: float
    weight_decay: float
    head_multiplier: float
    batch: int
    bn_group: int
    epochs: float
    steps: int
    seen: int
    scale: tuple[float, float] = (0.5, 2.0)
    rates: np.ndarray | None = field(default=None, compare=False)
    power: float = 0.9
    aux_weight: float = 0.4
    dropout: float = 0.1
    rotate: tuple[float, float] = (0.0, 0.0)
    turned: float = 0.0
    mirrored: float = 0.5
    blur_variance: float = 1.0
    blurred: float = 0.5
    loss: Loss | None = None
    decayed_norms: int = 0

    @property
    def is_official(self) -> bool:
        """It is the official recipe."""
        return self.name == RECIPE

    @property
    def called(self) -> str:
        """Before a number: `official 16`, `mmseg/pspnet_r50_769 8`."""
        return "official" if self.is_official else self.name

    @property
    def title(self) -> str:
        """In a sentence: `the official recipe`, or its name."""
        return "the official recipe" if self.is_official else self.name

    @property
    def owned(self) -> str:
        """Before what it has: `the official`, or its name in the genitive."""
        return "the official" if self.is_official else f"{self.name}'s"

    @property
    def one(self) -> str:
        """Where its training, network or test is meant: `the official one`, or its name."""
        return "the official one" if self.is_official else self.name

    @property
    def key(self) -> str:
        """Under which its number stands in what was measured."""
        return "official" if self.is_official else "published"

    def curve(self, steps: int) -> np.ndarray:
        """Its rate over a training of another length, as a share of its highest; float64 [steps]."""
        if self.rates is None:
            return np.array([poly_learning_rate(1.0, step, steps, self.power) for step in range(steps)])
        places = np.linspace(0, len(self.rates) - 1, steps)
        return np.interp(places, np.arange(len(self.rates)), self.rates) / self.rates.max()


@cache
def official() -> Reference:
    """The values of `cityscapes/pspnet50` as it is shipped."""
    recipe = load_recipe([RECIPE])
    optimizer, callbacks, steps = recipe.optimizer, recipe.callbacks, recipe.augmentation["steps"]
    batch, epochs = recipe.sampling.batch_size, recipe.experiment.epochs
    return Reference(
        name=RECIPE,
        recipe=recipe,
        lr=optimizer["lr"],
        momentum=optimizer["momentum"],
        weight_decay=optimizer["weight_decay"],
        power=callbacks["poly_lr"]["power"],
        head_multiplier=optimizer["groups"]["head_multiplier"],
        batch=batch,
        bn_group=batch,
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


def reference_recipe(name: str) -> Recipe:
    """A published recipe by name.

    Raises:
        InputError: no such recipe, with the nearest name.
    """
    return official().recipe if name == RECIPE else load_recipe([name])


def measure_reference(name: str, recipe: Recipe, known: tuple[Recipe, Optimisation] | None = None) -> Reference:
    """The values of a published recipe, measured as it is shipped, without data: its images are Cityscapes'.

    Args:
        name: of the recipe.
        recipe: itself; the official one is not measured.
        known: a recipe whose optimisation was measured, taken for this one's where they train alike.

    Raises:
        InputError: a component of it is refused.
    """
    if name == RECIPE:
        return official()
    profile = RecipeProfile(recipe, processes_of(recipe), DataSize())
    is_known = known is not None and _trains_alike(known[0], recipe)
    optimisation = known[1] if known is not None and is_known else profile.optimisation
    exposure, rates = profile.exposure, optimisation.lr(BACKBONE)
    heads, used = optimisation.lr(HEADS), rates > 0
    ratio = heads[used] / rates[used] if heads.size and rates.size else np.ones(1)
    return Reference(
        name=name,
        recipe=recipe,
        lr=float(rates.max()),
        momentum=float(optimisation.momentum(BACKBONE).max()),
        weight_decay=max(group.weight_decay for group in optimisation.groups),
        head_multiplier=float(np.median(ratio)),
        batch=exposure.batch,
        bn_group=exposure.bn_group,
        epochs=exposure.epochs,
        steps=exposure.steps,
        seen=exposure.seen,
        rates=rates,
        loss=measure_loss(recipe),
        decayed_norms=len(optimisation.decayed_norms),
    )


def _trains_alike(one: Recipe, other: Recipe) -> bool:
    """Whether rates and decay must be the same: network, optimiser, callbacks, length and batches are."""
    lengths = {(each.experiment.iterations, each.experiment.epochs, each.sampling) for each in (one, other)}
    sections = ("model", "optimizer", "callbacks")
    return len(lengths) == 1 and all(getattr(one, section) == getattr(other, section) for section in sections)


def synchronises(recipe: Recipe) -> bool:
    """Whether batch norm takes its statistics over all processes, where there are several."""
    nodes = (build(node, f"callbacks.{name}") for name, node in recipe.callbacks.items() if node is not None)
    return any(isinstance(callback, SyncBNConversion) for callback in nodes)


def processes_of(recipe: Recipe, published: Recipe | None = None) -> int:
    """The official 8, but no more than leave each process two images (the pooling to 1 x 1 needs them); 1 on CPUs.

    Args:
        recipe: that is to be trained.
        published: what it is held against, where that is not the official recipe. Where it does without synchronised
            batch norm, it was trained in one process, since the recipe says nothing of a smaller group.
    """
    if recipe.engine.device == "cpu":
        return 1
    if published is not None and not synchronises(published):
        return 1
    if recipe.sampling.per_process:
        return 8
    return max(min(8, recipe.sampling.batch_size // 2), 1)
