"""Parameter groups of the recipes: the reference's, and the 2020 Catalyst attempt's."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from semseg_ref.optimizer import HEAD_MULTIPLIER, group_modules
from semseg_ref.optimizer import parameter_groups as official_groups

Groups = list[dict[str, Any]]


def _head_names(model: nn.Module) -> Sequence[str]:
    return getattr(model, "head_names", None) or group_modules(model)[1]


def reference_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, head_multiplier: float = HEAD_MULTIPLIER
) -> Groups:
    """The reference's groups: one a module, the heads at `head_multiplier` times the rate, the same decay everywhere.

    Args:
        model: bare network; an adapter of another net names its heads in `head_names`.
        lr, weight_decay: the optimiser's own; the decay stays the optimiser's default for all groups.
        head_multiplier: 10 in the reference; 1 is what the 2020 Catalyst attempt's scheduler made of it.
    """
    return official_groups(model, lr, head_multiplier, heads=_head_names(model))


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
    heads = _head_names(model)
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
