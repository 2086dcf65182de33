"""The reference's optimiser: SGD over eight groups, heads at ten times the backbone's rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semseg_ref.base.errors import CheckpointError

BACKBONE = ("layer0", "layer1", "layer2", "layer3", "layer4")
HEADS = ("ppm", "psa", "cls", "aux")
HEAD_MULTIPLIER = 10.0
OWN_KEYS = ("name", "lr_multiplier", "fused", "foreach")
"""Of a parameter group: what a checkpoint does not change."""


def group_modules(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the backbone's and the heads' modules that `model` has, in the reference's order."""
    return [n for n in BACKBONE if hasattr(model, n)], [n for n in HEADS if hasattr(model, n)]


def parameter_groups(
    model: nn.Module, lr: float, head_multiplier: float = HEAD_MULTIPLIER, heads: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """One group a module: layer0..layer4 at `lr`, then ppm (or psa), cls, aux at `lr * head_multiplier`.

    Args:
        model: a bare (not wrapped) network.
        lr: base learning rate of the backbone.
        head_multiplier: 10 in the reference.
        heads: names of head modules, when the model is not one of the reference's; the other children are backbone.

    Returns:
        Groups for a torch optimiser, each with `params`, `lr`, `name` and `lr_multiplier`; a schedule multiplies
        its base rate with the last.
    """
    if heads is None:
        backbone, head_names = group_modules(model)
    else:
        head_names = list(heads)
        backbone = [name for name, _ in model.named_children() if name not in head_names]
    multipliers = [(name, 1.0) for name in backbone] + [(name, head_multiplier) for name in head_names]
    return [
        {"params": list(getattr(model, name).parameters()), "lr": lr * m, "name": name, "lr_multiplier": m}
        for name, m in multipliers
    ]


def sgd(model: nn.Module, base_lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with plain L2 decay on every parameter, batch norm and biases included; no dampening, no Nesterov."""
    return torch.optim.SGD(parameter_groups(model, base_lr), lr=base_lr, momentum=momentum, weight_decay=weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Writes `lr` times each group's own multiplier (1 where a group has none)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_multiplier", 1.0)


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, state: dict[str, Any], path: str | Path = "checkpoint"
) -> None:
    """Loads an optimiser's state and keeps this optimiser's group names and multipliers, and how it carries a step out.

    An official checkpoint's groups have neither of the first, and torch replaces the groups by the saved ones: without
    this the heads would go on at the backbone's rate, and a fused optimiser as one that is not, or the other way
    round. States get the memory layout of their parameters, as those have it that the optimiser makes itself:
    kernels that take both together refuse two layouts on a GPU.

    Raises:
        CheckpointError: the state is of other parameters.
    """
    kept = [{k: group[k] for k in OWN_KEYS if k in group} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its optimiser state does not fit the {len(kept)} parameter groups of this run ({error})"
        ) from error
    for group, values in zip(optimizer.param_groups, kept, strict=True):
        group.update(values)
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
