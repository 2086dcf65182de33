"""Losses: criteria that a recipe may name, and the sum over a network's heads.

A criterion is a module `(logits float [N, K, h, w], target int64 [N, h, w]) -> 0-dim loss`; the callback that applies
one is in `callbacks`.
"""

from catalyst_cityscapes.losses.cross_entropy import CrossEntropy
from catalyst_cityscapes.losses.mmseg import mmseg_loss
from catalyst_cityscapes.losses.ohem_bisenet import OhemCrossEntropyBiSeNet
from catalyst_cityscapes.losses.ohem_mmseg import OhemCrossEntropyMmseg
from catalyst_cityscapes.losses.sum_of_losses import SumOfLosses
from catalyst_cityscapes.losses.supervised import supervised_losses

__all__ = [
    "CrossEntropy",
    "OhemCrossEntropyBiSeNet",
    "OhemCrossEntropyMmseg",
    "SumOfLosses",
    "mmseg_loss",
    "supervised_losses",
]
