"""Which keys of two recipes differ, and which of them can change what."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from catalyst.core.callback import CallbackOrder, ISchedulerCallback
from pydantic import ValidationError
from torch import nn

from catalyst_cityscapes.lab.measure.optimisation import Optimisation, measure_optimisation
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.recipe.changes import differing
from catalyst_cityscapes.recipe.key_roles import callback_role, section_role
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.role import role_of
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError

KeyPath = tuple[str, ...]
ABSENT = ...
FEW_BATCHES = 3


@dataclass(frozen=True)
class KeyDifference:
    """A key whose values differ; `ABSENT` where one side does not have it."""

    path: KeyPath
    a: Any
    b: Any

    @property
    def name(self) -> str:
        """The dotted path."""
        return ".".join(self.path)


def differing_keys(a: Recipe, b: Recipe) -> list[KeyDifference]:
    """Keys that differ, but for the name and folder of the run; mappings key by key, all else as a whole."""
    names = {("experiment", "name"), ("experiment", "logdir")}
    return [KeyDifference(*found) for found in differing(a.plain(), b.plain()) if found[0] not in names]


def topics(key: KeyDifference, *recipes: Recipe) -> frozenset[str]:
    """What a key can change, in the words that the facts carry; none where it is nothing that is compared."""
    if key.path[0] != "callbacks":
        role = section_role(key.path)
        return frozenset() if role is None else frozenset(role.topics.split())
    nodes = [recipe.callbacks.get(key.path[1]) for recipe in recipes]
    found = (_callback_topics(node, f"callbacks.{key.path[1]}") for node in nodes if node is not None)
    return frozenset().union(*found)


def _callback_topics(node: dict[str, Any], place: str) -> set[str]:
    said = callback_role(node)
    if said is not None:
        return set(said.topics.split())
    # A class that says nothing is taken for what it is made from, and for a schedule where it has a schedule's place.
    callback = build(node, place)
    roles = [role_of(kind, node) for kind in type(callback).__mro__]
    found = {topic for role in roles if role is not None for topic in role.topics.split()}
    is_schedule = isinstance(callback, ISchedulerCallback) or (
        getattr(callback, "order", None) == CallbackOrder.Scheduler
    )
    return found | {"optimiser"} if is_schedule else found


class ShortTrainings:
    """Whether keys of the optimiser or the schedule move anything, by measuring each recipe with the other's value.

    All epochs are run, with few batches in each.
    """

    def __init__(self, a: Recipe, b: Recipe) -> None:
        self._recipes = (a, b)

    @cached_property
    def _known(self) -> list[tuple[nn.Module, Optimisation]]:
        networks = [recipe_network(recipe) for recipe in self._recipes]
        return [
            (network, measure_optimisation(recipe, network, FEW_BATCHES))
            for recipe, network in zip(self._recipes, networks, strict=True)
        ]

    def is_void(self, key: KeyDifference) -> bool:
        """No rate, momentum, decay or step of either recipe changes with the other's value of `key`.

        False where such a recipe cannot be built.
        """
        return self._unmoved(0, key, key.b) and self._unmoved(1, key, key.a)

    def _unmoved(self, side: int, key: KeyDifference, value: Any) -> bool:
        content = self._recipes[side].plain()
        node = content
        for name in key.path[:-1]:
            node = node.get(name) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            return False
        if value is ABSENT:
            node.pop(key.path[-1], None)
        else:
            node[key.path[-1]] = value
        network, before = self._known[side]
        try:
            return _same(before, measure_optimisation(Recipe.model_validate(content), network, FEW_BATCHES))
        except (InputError, ValidationError):
            return False


def _same(left: Optimisation, right: Optimisation) -> bool:
    def summary(found: Optimisation) -> tuple:
        return found.optimizer, found.steps, found.decay, found.rescaled_decay, found.travel, len(found.groups)

    return summary(left) == summary(right) and all(
        np.array_equal(one.lr, other.lr) and np.array_equal(one.momentum, other.momentum)
        for one, other in zip(left.groups, right.groups, strict=True)
    )
