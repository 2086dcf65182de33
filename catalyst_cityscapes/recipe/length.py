"""How long a training is: optimiser steps, batches and images, whether the recipe counts epochs or iterations.

An iteration is an optimiser step; with `accumulation_steps: k` it is k batches. A round is what lies between two stops,
at which a training may validate, save and log: an epoch, or the iterations up to the next one that does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from catalyst_cityscapes.recipe.schema import Recipe

ITERATIONS = ("experiment", "iterations")
PARTS_OF_A_TRAINING = 10
"""An interval that is null is an epoch, or this part of a training in iterations."""


@dataclass(frozen=True)
class Length:
    """Steps and batches of one training, and where in them its rounds end.

    Attributes:
        unit: what the recipe counts.
        total: epochs or iterations.
        batches_per_epoch: in each process, of one pass over the data; of an endless order the whole batches of one.
        accumulation: batches of an optimiser step; the last step of an epoch may have fewer.
        endless: whether batches straddle the borders between two passes.
        intervals: iterations between two validations, checkpoints, ...; 0 is never. Epochs stop after each.
    """

    unit: Literal["epoch", "iteration"]
    total: int
    batches_per_epoch: int
    accumulation: int = 1
    endless: bool = False
    intervals: tuple[int, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the data."""
        return max(-(-self.batches_per_epoch // self.accumulation), 1)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.total * self.steps_per_epoch if self.unit == "epoch" else self.total

    @property
    def total_batches(self) -> int:
        """Batches of the whole training in each process."""
        return self.batches(self.total_steps)

    @property
    def epochs(self) -> float:
        """Passes over the data; a fraction where a training in iterations ends within one."""
        return self.total if self.unit == "epoch" else self.total_batches / max(self.batches_per_epoch, 1)

    def batches(self, steps: int) -> int:
        """Batches that so many optimiser steps from the start take."""
        if self.endless:
            return steps * self.accumulation
        epochs, rest = divmod(steps, self.steps_per_epoch)
        return epochs * self.batches_per_epoch + rest * self.accumulation

    def steps(self, batches: int) -> int:
        """Optimiser steps of so many batches from the start; those of a step that is not complete count as one."""
        if self.endless:
            return -(-batches // self.accumulation)
        epochs, rest = divmod(batches, self.batches_per_epoch)
        return epochs * self.steps_per_epoch - (-rest // self.accumulation)

    def next_stop(self, steps: int) -> int:
        """Optimiser steps at the end of the round that follows so many steps."""
        intervals = [interval for interval in self.intervals if interval]
        if self.unit == "epoch":
            intervals = [self.steps_per_epoch]
        return min([self.total_steps, *((steps // interval + 1) * interval for interval in intervals)])

    def counted(self, steps: int) -> int:
        """Epochs or iterations that have ended after so many steps."""
        return steps // self.steps_per_epoch if self.unit == "epoch" else steps

    def interval(self, every: int | None) -> int:
        """Epochs or iterations of an interval; None is `default_interval`."""
        return default_interval(None if self.unit == "epoch" else self.total) if every is None else every

    def is_due(self, done: int, interval: int) -> bool:
        """Whether something that happens at an interval, and at the end, happens after `done` epochs or iterations."""
        return bool(interval) and (done % interval == 0 or done == self.total)


def default_interval(iterations: int | None) -> int:
    """Epochs or iterations of an interval that is null: an epoch, or a tenth of the iterations.

    Args:
        iterations: of the training; None where it counts epochs.
    """
    return 1 if iterations is None else max(math.ceil(iterations / PARTS_OF_A_TRAINING), 1)


def length_of(recipe: Recipe, batches_per_epoch: int, accumulation: int, *saving: int | None) -> Length:
    """The length of a recipe's training.

    Args:
        recipe: a checked recipe.
        batches_per_epoch, accumulation: see `Length`.
        saving: intervals of whatever else happens every so often; None is `default_interval`, 0 never.
    """
    experiment = recipe.experiment
    if experiment.iterations is None:
        return Length("epoch", experiment.epochs, batches_per_epoch, accumulation)
    endless = recipe.sampling.order == "endless"
    length = Length("iteration", experiment.iterations, batches_per_epoch, accumulation, endless)
    intervals = tuple(length.interval(every) for every in (recipe.validation.every, *saving))
    return replace(length, intervals=intervals)


def length_in_one_process(recipe: Recipe, images: int) -> Length:
    """The length of a recipe's training in a single process.

    Args:
        recipe: a checked recipe.
        images: in the training list.
    """
    sampling = recipe.sampling
    full, rest = divmod(images, sampling.batch_size)
    batches = full if sampling.drop_last or sampling.order == "endless" else full + bool(rest)
    accumulation = max((node.get("accumulation_steps", 1) for node in recipe.callbacks.values() if node), default=1)
    return length_of(recipe, max(batches, 1), accumulation)


def is_interval(path: Sequence[str]) -> bool:
    """Whether a key of a recipe counts epochs or iterations, whichever the length does."""
    return tuple(path) == ("validation", "every") or (path[0] == "callbacks" and path[-1] == "save_every")


def without_other_unit(below: dict[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The layers `below`, without the length that a layer replaces by giving one in the other unit.

    Intervals of the layers below that count the other unit become null, which suits both; 0 stays.
    """
    new, old = _section(content, "experiment"), _section(below, "experiment")
    for unit, other in (("epochs", "iterations"), ("iterations", "epochs")):
        if new.get(unit) is None or new.get(other) is not None or old.get(other) is None:
            continue
        below = {**below, "experiment": {key: value for key, value in old.items() if key != other}}
        if _section(below, "validation").get("every"):
            below["validation"] = {**below["validation"], "every": None}
        callbacks = _section(below, "callbacks")
        saving = {name: node for name, node in callbacks.items() if isinstance(node, dict) and "save_every" in node}
        if saving:
            below["callbacks"] = {**callbacks, **{k: {**node, "save_every": None} for k, node in saving.items()}}
        return below
    return below


def complete_intervals(content: dict[str, Any]) -> None:
    """Writes intervals that are null out, in place, for the length that a merged recipe has.

    Args:
        content: a merged recipe, not validated yet.
    """
    iterations = _section(content, "experiment").get("iterations")
    every = default_interval(iterations if isinstance(iterations, int) else None)
    validation = _section(content, "validation")
    if validation.get("every", 0) is None:
        validation["every"] = every
    for node in _section(content, "callbacks").values():
        if isinstance(node, dict) and node.get("save_every", 0) is None:
            node["save_every"] = every


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = content.get(name)
    return section if isinstance(section, dict) else {}
