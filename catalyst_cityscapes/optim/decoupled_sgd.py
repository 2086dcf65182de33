"""SGD with the 2020 Catalyst attempt's decoupled weight decay."""

from collections.abc import Callable

import torch


class DecoupledSGD(torch.optim.SGD):
    """SGD whose weight decay shrinks the weights before the step instead of entering the momentum.

    `w <- w - lr * weight_decay * w`, then a plain SGD step: Catalyst 20.06's default (`decouple_weight_decay`),
    which the 2020 Catalyst attempt ran with; the reference uses plain L2.
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
