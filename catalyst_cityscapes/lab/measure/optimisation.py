"""Rates, momentum and weight decay over a whole training, from the recipe's real optimiser and schedule callbacks.

The callbacks run against the optimiser's real classes and groups, but each group holds two scalars in the place of its
tensors, since an optimiser treats all tensors of a group alike: one without a gradient, which only decay moves, and one
with gradient 1, which shows how far the rates and the momentum carry a weight. So a training of 37,200 steps takes
seconds.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from catalyst.core.callback import Callback, ISchedulerCallback
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from catalyst_cityscapes.models.parts import head_names
from catalyst_cityscapes.optim.from_recipe import recipe_groups
from catalyst_cityscapes.recipe.key_roles import callback_role
from catalyst_cityscapes.recipe.length import Length, length_of
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.train.context import Place, ScheduleRun, StepCallback
from semseg_ref.base.errors import OptionError

BACKBONE, HEADS = "backbone", "heads"
PARTS = (BACKBONE, HEADS)
KINDS = ("weight", "bias", "norm weight", "norm bias")
MANY_GROUPS = 32
"""Groups from which on those with the same options are measured as one: a group for each parameter is usual."""


@dataclass(frozen=True)
class Group:
    """One parameter group of the optimiser over the training.

    Attributes:
        name: the group's own, or `group i`.
        part: `backbone`, `heads`, or `both` where it holds parameters of both.
        parameters: how many scalars.
        lr, momentum: float64 [steps], as each step used them; momentum is 0 where the optimiser has none.
        weight_decay: of the group at the first step.
        modules: the network's child modules that its parameters belong to.
        defined_lr: rate that the group was made with, before any schedule wrote one; NaN where it has none of its own.
        response: how far down a single gradient of 1 moves a weight in its own step and in the next one, at rate 1, the
            highest momentum of the training and no decay: (1, momentum) for plain SGD; None where nobody looked.
    """

    name: str
    part: str
    parameters: int
    lr: np.ndarray
    momentum: np.ndarray
    weight_decay: float
    modules: tuple[str, ...] = ()
    defined_lr: float = math.nan
    response: tuple[float, float] | None = None


@dataclass(frozen=True)
class Optimisation:
    """What the optimiser and the schedule do to a network over the whole training.

    Attributes:
        optimizer: class name.
        steps, steps_per_epoch: optimiser steps.
        groups: parameter groups in the optimiser's order.
        decay: (part, kind) -> minus the logarithm of what decay alone leaves of a weight at the end; 0 is no decay.
            Without what is in `rescaled_decay`.
        travel: (part, kind) -> how far a constant gradient of 1 moves a weight that starts at 0.
        rescaled_decay: (part, kind) -> weight decay of the groups where decay takes no share of a weight that is the
            same for large and small ones, as under Adam, which rescales it with the gradient that it is part of.
        decayed_norms: names of normalisation layers' tensors that decay although others of them do not.
        idle_rules: keys of a table of rules by parts of names that are part of no parameter's name.
    """

    optimizer: str
    steps: int
    steps_per_epoch: int
    groups: tuple[Group, ...]
    decay: dict[tuple[str, str], float]
    travel: dict[tuple[str, str], float]
    rescaled_decay: dict[tuple[str, str], float] = field(default_factory=dict)
    decayed_norms: tuple[str, ...] = ()
    idle_rules: tuple[str, ...] = ()

    def lr(self, part: str) -> np.ndarray:
        """Rates of a part, float64 [steps]: the mean over its groups, weighted by their parameters; empty without."""
        return self._mean(part, "lr")

    def momentum(self, part: str) -> np.ndarray:
        """Momentum of a part, float64 [steps], likewise."""
        return self._mean(part, "momentum")

    @property
    def momentum_given(self) -> bool:
        """Whether any step used a momentum above 0."""
        return any(bool((group.momentum > 0).any()) for group in self.groups)

    def _mean(self, part: str, field: str) -> np.ndarray:
        groups = [group for group in self.groups if group.part in (part, "both") and group.parameters]
        if not groups:
            return np.empty(0)
        weights = [group.parameters for group in groups]
        return np.average([getattr(group, field) for group in groups], axis=0, weights=weights)


@dataclass
class StepsAlone(ScheduleRun):
    """A training of which only the position is there: what schedules are promised, and nothing else."""

    optimizer: torch.optim.Optimizer
    num_epochs: int
    train_batches: int
    steps_per_epoch: int
    total_steps: int
    epoch_step: int = 0
    optimizer_steps: int = 0
    optimizer_stepped: bool = True
    is_train_loader: bool = True
    iteration: int = -1
    loader_key: str = "train"


def measure_optimisation(recipe: Recipe, network: nn.Module, batches_per_epoch: int) -> Optimisation:
    """Runs the recipe's optimiser and schedule over the whole training.

    Args:
        recipe: a checked recipe.
        network: its network; only names, shapes and kinds of its parameters are used.
        batches_per_epoch: of one process.

    Raises:
        InputError: the optimiser or its groups refuse their arguments, or a schedule callback needs more of a runner
            than rates, steps and epochs.
    """
    node, real = recipe_groups(recipe.optimizer, network)
    real = _joined(real)
    described = _describe_parameters(network)
    groups, keys = _scalar_groups(real, described)
    optimizer = build(node, "optimizer", params=groups)
    probe, other_probe = (build(node, "optimizer", params=_scalar_groups(real, described)[0]) for _ in range(2))
    schedules = _schedules(recipe)
    length = length_of(recipe, batches_per_epoch, accumulation_steps(recipe))
    rates, momenta = _run(optimizer, schedules, length)
    responses, shares = _responses(probe, momenta.max(axis=0)), _decay_takes_a_share(other_probe)
    decay: dict[tuple[str, str], list[float]] = {}
    travel: dict[tuple[str, str], list[float]] = {}
    rescaled: dict[tuple[str, str], list[float]] = {}
    for group, group_keys, takes_a_share in zip(optimizer.param_groups, keys, shares, strict=True):
        idle, pushed = (scalar.item() for scalar in group["params"])
        for key in group_keys:
            if takes_a_share:
                decay.setdefault(key, []).append(-float(np.log(max(idle, 1e-300))))
            else:
                rescaled.setdefault(key, []).append(float(group.get("weight_decay", 0.0)))
            travel.setdefault(key, []).append(abs(pushed))
    children = {id(p): name for name, child in network.named_children() for p in child.parameters()}
    summaries = []
    for index, (group, original, group_keys) in enumerate(zip(optimizer.param_groups, real, keys, strict=True)):
        parts = {part for part, _ in group_keys}
        summaries.append(
            Group(
                str(original.get("name", f"group {index}")),
                parts.pop() if len(parts) == 1 else "both",
                sum(p.numel() for p in original["params"]),
                rates[:, index],
                momenta[:, index],
                float(group.get("weight_decay", 0.0)),
                tuple(dict.fromkeys(children.get(id(p), "") for p in original["params"])),
                float(original.get("lr", math.nan)),
                responses[index],
            )
        )
    return Optimisation(
        type(optimizer).__name__,
        len(rates),
        length.steps_per_epoch,
        tuple(summaries),
        {key: float(np.mean(values)) + 0.0 for key, values in decay.items() if key not in rescaled},
        {key: float(np.mean(values)) for key, values in travel.items()},
        {key: float(np.mean(values)) for key, values in rescaled.items()},
        _decayed_norms(real, network, described),
        _idle_rules(recipe.optimizer, network),
    )


def _decayed_norms(
    groups: list[dict[str, Any]], network: nn.Module, described: dict[int, tuple[str, str]]
) -> tuple[str, ...]:
    decays = {id(p): group.get("weight_decay", 0.0) > 0 for group in groups for p in group["params"]}
    norms = [
        (name, decays[id(p)])
        for name, p in network.named_parameters()
        if id(p) in decays and described[id(p)][1].startswith("norm")
    ]
    if all(decayed for _, decayed in norms):
        return ()
    return tuple(name for name, decayed in norms if decayed)


def _idle_rules(optimizer: dict[str, Any], network: nn.Module) -> tuple[str, ...]:
    groups = optimizer.get("groups")
    rules = groups.get("rules") if isinstance(groups, dict) else None
    if not isinstance(rules, dict):
        return ()
    names = [name for name, _ in network.named_parameters()]
    return tuple(key for key in rules if not any(key in name for name in names))


def _joined(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Many groups with those of the same options as one, which takes the first one's name; few are left alone, since a
    schedule may be given a value for each."""
    if len(groups) < MANY_GROUPS:
        return groups
    joined: dict[str, dict[str, Any]] = {}
    for group in groups:
        options = {key: value for key, value in group.items() if key not in ("params", "name")}
        one = joined.setdefault(repr(sorted(options.items())), {**group, "params": []})
        one["params"] = [*one["params"], *group["params"]]
    return list(joined.values())


def _describe_parameters(network: nn.Module) -> dict[int, tuple[str, str]]:
    heads = set(head_names(network))
    described = {}
    for module_name, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            kind = "bias" if name.endswith("bias") else "weight"
            if isinstance(module, (_NormBase, nn.LayerNorm, nn.GroupNorm)):
                kind = f"norm {kind}"
            part = HEADS if module_name.split(".")[0] in heads else BACKBONE
            described[id(parameter)] = (part, kind)
    return described


def _scalar_groups(
    real: list[dict[str, Any]], described: dict[int, tuple[str, str]]
) -> tuple[list[dict[str, Any]], list[list[tuple[str, str]]]]:
    groups, keys = [], []
    for group in real:
        present = {described[id(p)] for p in group["params"]}
        group_keys = [(part, kind) for part in PARTS for kind in KINDS if (part, kind) in present]
        scalars = []
        shape = (1,) * max((p.ndim for p in group["params"]), default=0)  # there are optimisers of matrices alone
        for value, gradient in ((1.0, 0.0), (0.0, 1.0)):
            scalar = nn.Parameter(torch.full(shape, value, dtype=torch.float64))
            scalar.grad = torch.full(shape, gradient, dtype=torch.float64)
            scalars.append(scalar)
        groups.append({**group, "params": scalars})
        keys.append(group_keys)
    return groups, keys


def accumulation_steps(recipe: Recipe) -> int:
    """Forward passes per optimiser step."""
    for _, callback in _callbacks(recipe):
        if isinstance(callback, StepCallback):
            return callback.accumulation_steps
    return 1


def _callbacks(recipe: Recipe) -> Iterator[tuple[str, Callback]]:
    for name, node in recipe.callbacks.items():
        if node is not None:
            yield name, build(node, f"callbacks.{name}")


def _schedules(recipe: Recipe) -> list[tuple[str, Callback]]:
    said = {name: callback_role(node) for name, node in recipe.callbacks.items()}
    idle = {name for name, role in said.items() if role is not None and role.changes_nothing}
    return [
        (name, callback)
        for name, callback in _callbacks(recipe)
        if name not in idle and (isinstance(callback, ISchedulerCallback) or callback.order == Place.RATES)
    ]


def _run(
    optimizer: torch.optim.Optimizer,
    schedules: list[tuple[str, Callback]],
    length: Length,
) -> tuple[np.ndarray, np.ndarray]:
    # Passes over the data stand for the rounds of a training in iterations, whose schedules may not depend on them.
    epochs = math.ceil(length.epochs)
    runner = StepsAlone(optimizer, epochs, length.batches_per_epoch, length.steps_per_epoch, length.total_steps)

    def tell(event: str) -> None:
        for name, callback in schedules:
            try:
                getattr(callback, event)(runner)
            except AttributeError as error:
                raise OptionError(
                    f"callbacks.{name}: {type(callback).__name__} cannot be measured without training: {error}"
                ) from error

    groups = optimizer.param_groups
    rates, momenta = (np.empty((length.total_steps, len(groups))) for _ in range(2))
    tell("on_experiment_start")
    for epoch, first in enumerate(range(0, length.total_steps, length.steps_per_epoch)):
        runner.epoch_step = epoch + 1
        runner.iteration = -1
        tell("on_epoch_start")
        tell("on_loader_start")
        for _ in range(first, min(first + length.steps_per_epoch, length.total_steps)):
            runner.iteration += 1
            tell("on_batch_start")
            step = runner.optimizer_steps
            rates[step] = [group["lr"] for group in groups]
            momenta[step] = [_momentum(group) for group in groups]
            optimizer.step()
            runner.optimizer_steps += 1
            tell("on_batch_end")
        tell("on_loader_end")
        tell("on_epoch_end")
    return rates, momenta


def _responses(optimizer: torch.optim.Optimizer, momenta: np.ndarray) -> list[tuple[float, float]]:
    """`Group.response` of each group of an optimiser over scalars that has not stepped yet."""
    for group, momentum in zip(optimizer.param_groups, momenta, strict=True):
        group |= {"lr": 1.0, "weight_decay": 0.0}
        if "momentum" in group:
            group["momentum"] = float(momentum)
    scalars = [group["params"][1] for group in optimizer.param_groups]
    places = []
    # Not in the first step: SGD starts its momentum with that gradient, whatever its dampening is.
    for gradient in (0.0, 1.0, 0.0):
        for scalar in scalars:
            scalar.grad = torch.full_like(scalar, gradient)
        optimizer.step()
        places.append([scalar.item() for scalar in scalars])
    return [(before - at, at - after) for before, at, after in zip(*places, strict=True)]


def _decay_takes_a_share(optimizer: torch.optim.Optimizer) -> list[bool]:
    """Of each group of an optimiser over scalars that has not stepped yet: a weight of twice the size decays twice as
    much, so that decay leaves the same share of every weight."""
    for group in optimizer.param_groups:
        group["lr"] = 0.1
        larger = group["params"][1]
        larger.data.fill_(2.0)
        larger.grad.zero_()
    for _ in range(10):  # RAdam rescales gradients from its sixth step on
        optimizer.step()
    pairs = [[scalar.item() for scalar in group["params"]] for group in optimizer.param_groups]
    return [math.isclose(larger, 2 * smaller, rel_tol=1e-6) for smaller, larger in pairs]


def _momentum(group: dict[str, Any]) -> float:
    return float(group["momentum"] if "momentum" in group else group.get("betas", (0.0,))[0])
