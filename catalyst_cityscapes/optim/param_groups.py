"""Parameter groups of the recipes: the reference's, and the 2020 Catalyst attempt's."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from catalyst_cityscapes.models.parts import head_names
from semseg_ref.base.console import warn
from semseg_ref.optimizer import HEAD_MULTIPLIER
from semseg_ref.optimizer import parameter_groups as official_groups

Groups = list[dict[str, Any]]


def _heads(model: nn.Module, head_multiplier: float) -> Sequence[str]:
    heads = head_names(model)
    if not heads and head_multiplier != 1:
        children = ", ".join(name for name, _ in model.named_children())
        warn(
            f"optimizer.groups.head_multiplier: {head_multiplier:g}: nobody says which children of "
            f"{type(model).__name__} are heads ({children}), so all train at the base rate; name them in an attribute "
            "head_names, or take catalyst_cityscapes.optim.groups_by_rule"
        )
    return heads


def reference_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, head_multiplier: float = HEAD_MULTIPLIER
) -> Groups:
    """The reference's groups: one a module, the heads at `head_multiplier` times the rate, the same decay everywhere.

    Args:
        model: bare network; which of its children are heads: see `models.parts.head_names`.
        lr, weight_decay: the optimiser's own; the decay stays the optimiser's default for all groups.
        head_multiplier: 10 in the reference; 1 is what the 2020 Catalyst attempt's scheduler made of it.
    """
    return official_groups(model, lr, head_multiplier, heads=_heads(model, head_multiplier))


def no_bias_decay_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    head_multiplier: float = HEAD_MULTIPLIER,
    backbone_decay: float | None = None,
    skip_bias: bool = True,
) -> Groups:
    """The 2020 Catalyst attempt's decay on the reference's groups: less on the backbone, none on biases.

    Args:
        model, lr, head_multiplier: as for `reference_groups`.
        weight_decay: of the heads (1e-4 there).
        backbone_decay: of the backbone (3e-5 there); None is the heads' value.
        skip_bias: no decay for parameters whose name ends in `bias`, batch norm's included.
    """
    heads = _heads(model, head_multiplier)
    groups = []
    for group in official_groups(model, lr, head_multiplier, heads=heads):
        decay = weight_decay if group["name"] in heads or backbone_decay is None else backbone_decay
        named = list(getattr(model, group["name"]).named_parameters())
        weights = [p for n, p in named if not (skip_bias and n.endswith("bias"))]
        biases = [p for n, p in named if skip_bias and n.endswith("bias")]
        groups.append({**group, "params": weights, "weight_decay": decay})
        if biases:
            groups.append({**group, "params": biases, "name": f"{group['name']}.bias", "weight_decay": 0.0})
    return groups
