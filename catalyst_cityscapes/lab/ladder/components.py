"""What two recipes do differently, as components that can be swapped one by one.

The difference is taken between normal forms (`normal_form`), and every differing key belongs to one
component, named by the role of the key or callback (`recipe.role`):

| component | keys |
|---|---|
| schedule | `optimizer.lr`, callbacks that drive the rates (`PolyLR`, `OneCycle` with rates) |
| momentum | `optimizer.momentum` and its variants, callbacks that drive the momentum (`OneCycle` without rates) |
| head_lr | `optimizer.groups.head_multiplier` |
| weight_decay | all else of an `optimizer` that is SGD on both sides: decay, how it is applied, the groups' own decay |
| fused, foreach | `optimizer.fused`, `optimizer.foreach`: the kernels of the same arithmetic |
| optimizer | schedule, momentum, weight_decay and kernels in one, where the optimiser itself is another |
| batch, drop_last, shuffle, seed_stream, replayed_draws | `sampling` |
| augmentation.STEP | a step of the pipeline that is added, dropped or has other values |
| augmentation.A.B | the steps A and B in the place of others; which of them replaces which cannot be known |
| augmentation_order | the order of the steps, where their names are the same |
| augmentation | everything of it, where both the order and the steps differ, or it is no `Pipeline` |
| crop | `data.crop`, the mask's size and those of steps that cut or pad to it |
| model, initial_weights, criterion, aux_loss, sync_bn, epochs | their sections |
| precision, memory_format, compile, resize, cudnn_benchmark, activation_checkpointing | keys of `engine` |
| gradient_step | accumulation and clipping |
| model_selection | which checkpoint is tested, early stopping, and the validation that decides both |
| data, protocol | what cannot differ between scores that are compared; the lab refuses such arms |
| another callback's kind | that callback, by its key in the recipe where it says no role |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from catalyst_cityscapes.lab.ladder.normal_form import (
    Flat,
    KeyPath,
    flatten,
    normal_form,
    unflatten,
)
from catalyst_cityscapes.recipe.key_roles import callback_role, section_role
from catalyst_cityscapes.recipe.length import ITERATIONS, is_interval
from catalyst_cityscapes.recipe.loading import Layers, Source, resolve_recipe
from catalyst_cityscapes.recipe.schema import Recipe

ABSENT = object()
ORDER: KeyPath = ("augmentation", "order")
CROP: KeyPath = ("data", "crop")
PIPELINE = "catalyst_cityscapes.data.augmentation.Pipeline"
SGD = {"torch.optim.SGD", "torch.optim.sgd.SGD", "catalyst_cityscapes.optim.DecoupledSGD"}
KERNELS = ("fused", "foreach")
LINKED = ("schedule", "momentum", "weight_decay", *KERNELS)


@dataclass(frozen=True)
class Component:
    """A part of the difference between two recipes.

    Attributes:
        name: of the component.
        changes: value of the second recipe at each differing key path; `ABSENT` where it has no such key.
    """

    name: str
    changes: Flat = field(repr=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """The differing keys as dotted paths."""
        return tuple(".".join(path) for path in self.changes)


@dataclass(frozen=True)
class Differences:
    """Two recipes, and what is between them.

    Attributes:
        start, goal: normal forms.
        components: in the order of the recipe's sections.
        step_order: an order of all augmentation steps of both that agrees with either's; None where there is none, or
            where the order is a value like any other.
        neutral: keys of the first recipe that its normal form leaves out.
        trusted: packages allowed beside the standing list.
    """

    start: Flat
    goal: Flat
    components: tuple[Component, ...]
    step_order: tuple[str, ...] | None
    neutral: Flat
    trusted: tuple[str, ...] = ()

    def composed(self, names: Sequence[str]) -> Flat:
        """Canonical form of the first recipe with the named components of the second."""
        values = dict(self.start)
        for component in self.components:
            if component.name not in names:
                continue
            for path, value in component.changes.items():
                if value is ABSENT:
                    values.pop(path, None)
                else:
                    values[path] = value
        if self.step_order is not None:
            present = {path[2] for path in values if path[:2] == ("augmentation", "steps")}
            values[ORDER] = [name for name in self.step_order if name in present]
        return values

    def recipe(self, names: Sequence[str]) -> Recipe:
        """The checked recipe: the first one with the named components, and the first one's names, logs and folders.

        Raises:
            InputError: the combination is no valid recipe.
        """
        values = self.composed(names)
        kept = dict(self.neutral)
        if any(path[0] == "protocol" and self.start.get(path) != value for path, value in values.items()):
            kept.pop(("protocol", "name"), None)  # a name that means other values than these
        where = f"with {', '.join(names) or 'no component'}"
        whole = {**kept, **values}
        if (values.get(ITERATIONS) is None) != (self.start.get(ITERATIONS) is None):
            first = {**self.neutral, **self.start}  # its intervals count the other unit
            others = [path for path, value in whole.items() if is_interval(path) and value and value == first.get(path)]
            whole |= dict.fromkeys(others)
        return resolve_recipe(Layers([Source(where, unflatten(whole))]), self.trusted)


def differences_of(first: Recipe, second: Recipe, trusted: Sequence[str] = ()) -> Differences:
    """The components between two checked recipes; the first with all of them is the second.

    Any of the components together make a valid recipe: a node moves as a whole where its target is another, and by its
    arguments only where both sides have the same target, or both have the argument.

    Args:
        first, second: checked recipes.
        trusted: packages allowed beside the standing list.
    """
    start, goal = normal_form(first, trusted), normal_form(second, trusted)
    order = _common_order(start, goal)
    unchanged = flatten({**first.plain(), "expected": None})  # a published number is that of one recipe
    neutral = {path: value for path, value in unchanged.items() if path not in start and not _is_null_node(path, value)}
    name_of = _naming(start, goal, order)
    changes: dict[str, Flat] = {}
    for path in {**start, **goal}:
        if start.get(path, ABSENT) != goal.get(path, ABSENT) and not (path == ORDER and order is not None):
            changes.setdefault(name_of(path), {})[path] = goal.get(path, ABSENT)
    components = tuple(Component(name, found) for name, found in changes.items())
    return Differences(start, goal, components, order, neutral, tuple(trusted))


def _is_null_node(path: KeyPath, value: Any) -> bool:
    return value is None and (path[:2] == ("augmentation", "steps") or path[0] == "callbacks") and len(path) < 4


def combinations(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The combinations that a ladder trains: none, all, each alone, all but each, and the first so many."""
    single = [(name,) for name in names]
    without = [tuple(other for other in names if other != name) for name in names]
    path = [tuple(names[:count]) for count in range(len(names) + 1)]
    return list(dict.fromkeys([(), tuple(names), *single, *without, *path]))


def _common_order(start: Flat, goal: Flat) -> tuple[str, ...] | None:
    if any(flat.get(("augmentation", "_target_")) != PIPELINE for flat in (start, goal)):
        return None
    first, second = start[ORDER], goal[ORDER]
    common = [name for name in first if name in second]
    if common != [name for name in second if name in first]:
        return None
    merged: list[str] = []
    for removed, added in _gaps(first, second):
        merged += [*removed, *(name for name in added if name not in removed)]
    return tuple(merged)


def _gaps(first: Sequence[str], second: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """(names of the first, names of the second) between the names that both have, and these, in turn."""
    gaps: list[tuple[list[str], list[str]]] = []
    common = [name for name in first if name in second]
    for before, after in pairwise([None, *common, None]):
        inner = []
        for names in (first, second):
            low = 0 if before is None else names.index(before) + 1
            high = len(names) if after is None else names.index(after)
            inner.append(list(names[low:high]))
        gaps.append((inner[0], inner[1]))
        if after is not None:
            gaps.append(([after], [after]))
    return gaps


def _naming(start: Flat, goal: Flat, order: tuple[str, ...] | None) -> Callable[[KeyPath], str]:
    """The function that names the component of a differing key path."""
    names = {"augmentation": lambda path: "augmentation"}
    if order is not None:
        replaced: dict[str, str] = {}
        for removed, added in _gaps(start[ORDER], goal[ORDER]):
            together = bool(removed and added) and removed != added
            more = f".and_{len(added) - 2}_more" if len(added) > 2 else ""
            for name in {*removed, *added}:
                replaced[name] = ".".join(added[:2]) + more if together else name
        names["augmentation"] = lambda path: f"augmentation.{replaced[path[2]]}"
    elif start.get(ORDER) and sorted(start[ORDER]) == sorted(goal.get(ORDER) or []):
        names["augmentation"] = lambda path: "augmentation_order" if path == ORDER else f"augmentation.{path[2]}"
    same_sgd = {start[("optimizer", "_target_")], goal[("optimizer", "_target_")]} <= SGD
    differing = {path for path in {**start, **goal} if start.get(path, ABSENT) != goal.get(path, ABSENT)}
    only_weights = {path for path in differing if path[0] == "model"} == {("model", "pretrained")}
    multiplier = ("optimizer", "groups", "head_multiplier")
    both_multiply = multiplier in start and multiplier in goal
    crops = start[CROP], goal[CROP]
    crop_differs = crops[0] != crops[1]
    nodes = [unflatten(flat).get("callbacks", {}) for flat in (start, goal)]

    def name_of(path: KeyPath) -> str:
        section, key = path[0], path[1] if len(path) > 1 else ""
        if crop_differs and (
            path in {CROP, ("model", "mask_h"), ("model", "mask_w")}
            or (path[:3] == ("augmentation", "steps", "crop") and path[3:] == ("size",))
            or (section == "augmentation" and (start.get(path), goal.get(path)) == crops)  # cuts or pads to it
        ):
            return "crop"
        if section in names:
            return names[section](path)
        if section == "model" and only_weights:
            return "initial_weights"
        if path == multiplier and both_multiply:
            return "head_lr"
        if section == "optimizer":
            return _linked(_optimizer_key(path), same_sgd)
        if section == "callbacks":
            return _linked(_callback(key, nodes), same_sgd)
        role = section_role(path)
        return section if role is None else role.component

    return name_of


def _linked(name: str, same_sgd: bool) -> str:
    return "optimizer" if name in LINKED and not same_sgd else name


def _optimizer_key(path: KeyPath) -> str:
    if path == ("optimizer", "lr"):
        return "schedule"
    if path[1] in ("momentum", "nesterov", "dampening"):
        return "momentum"
    return path[1] if path[1] in KERNELS else "weight_decay"


def _callback(name: str, nodes: Sequence[dict[str, Any]]) -> str:
    for node in (side[name] for side in nodes if name in side):
        role = callback_role(node)
        if role is not None:
            return role.component
    return name
