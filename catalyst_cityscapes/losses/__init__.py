"""Losses as pure functions of logits and targets; the callback that applies one is in `callbacks`."""

from catalyst_cityscapes.losses.supervised import supervised_losses

__all__ = ["supervised_losses"]
