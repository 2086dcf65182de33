"""Optimiser nodes of the recipes: parameter groups, and SGD with the earlier attempt's decoupled weight decay."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from semseg_ref.base.errors import OptionError
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
        head_multiplier: 10 in the reference; 1 is what the earlier attempt's scheduler made of it.
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
    """The earlier attempt's decay on the reference's groups: less on the backbone, none on biases.

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


def start_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Gives a fused SGD the momenta that it would make in its first step: zeros, which lead to the same first step.

    torch 2.11's makes them of memory that its kernel is to fill, and a gradient scaler that skips the step (in fp16
    the first steps are, as a rule) leaves in them whatever was there; the next step takes it for momentum.

    Raises:
        OptionError: a group has dampening, which torch's first step leaves out.
    """
    for group in optimizer.param_groups:
        if not isinstance(optimizer, torch.optim.SGD) or not group["fused"] or not group["momentum"]:
            continue
        if group["dampening"]:
            raise OptionError("optimizer.dampening: not with optimizer.fused and engine.precision: fp16")
        for parameter in group["params"]:
            optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


class DecoupledSGD(torch.optim.SGD):
    """SGD whose weight decay shrinks the weights before the step instead of entering the momentum.

    `w <- w - lr * weight_decay * w`, then a plain SGD step: Catalyst 20.06's default (`decouple_weight_decay`),
    which the earlier attempt ran with; the reference uses plain L2.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; see the class."""
        decays = [group["weight_decay"] for group in self.param_groups]
        # A gradient scaler skips the step of a fused optimiser by telling it so, on the device, and not by leaving the
        # call out.
        is_skipped = getattr(self, "found_inf", None)
        for group in self.param_groups:
            kept = 1 - group["lr"] * group["weight_decay"]
            if is_skipped is not None:
                kept = torch.where(is_skipped.reshape(()) > 0, 1.0, kept)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(kept)
            group["weight_decay"] = 0.0
        try:
            return super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
