"""Online hard example mining by loss, as BiSeNet's training does it."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from semseg_ref.base.errors import OptionError


class OhemCrossEntropyBiSeNet(nn.Module):
    """Mean cross entropy of the hard pixels of a batch: those with a loss above -log(thresh).

    Where fewer than n = (labelled pixels) // `min_share` are above it, the mean is of the n largest losses instead. The
    divisor is the number of kept pixels, so the loss is at the height of hard pixels, several times plain cross
    entropy. -log(thresh) is the loss of a pixel whose class has the probability `thresh`.

    Where nothing is left to take the mean of (all pixels ignored; or none hard, and fewer than `min_share` labelled)
    the loss is 0, with a gradient of 0; the published code divides 0 by 0 there.

    Source: Yu et al. 2018 (BiSeNet, arXiv 1808.00897), section 4.1; the widely used PyTorch training of it has
    thresh 0.7 and a sixteenth of the pixels, counted over the batch of a process.

    Args:
        ignore_index: label of pixels that do not count.
        thresh: probability of the true class below which a pixel is hard, > 0 and <= 1.
        min_share: at least one in this many labelled pixels is kept, >= 1.

    Raises:
        OptionError: a value outside of these.
    """

    def __init__(self, ignore_index: int = 255, thresh: float = 0.7, min_share: int = 16) -> None:
        super().__init__()
        if not 0 < thresh <= 1:
            raise OptionError(f"thresh: expected a probability above 0 and at most 1, got {thresh!r}")
        if min_share < 1:
            raise OptionError(f"min_share: expected at least 1, got {min_share!r}")
        self.ignore_index = ignore_index
        self.limit = -math.log(thresh)
        self.min_share = min_share

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """0-dim loss of logits float [N, K, h, w] and target int64 [N, h, w]."""
        losses = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none").flatten()
        hard = losses[losses > self.limit]  # an ignored pixel's loss is 0, so it is never among them
        least = int((target != self.ignore_index).sum()) // self.min_share
        kept = hard if len(hard) >= least else losses.topk(least).values
        return kept.mean() if len(kept) else losses.sum() * 0
