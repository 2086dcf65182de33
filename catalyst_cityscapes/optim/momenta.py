"""Momenta of a fused SGD whose first step a gradient scaler may skip."""

import torch

from semseg_ref.base.errors import OptionError


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
