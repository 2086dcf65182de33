"""Online hard example mining by probability, as mmsegmentation's pixel sampler does it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catalyst_cityscapes.losses.cross_entropy import class_weights, mean_over_all
from semseg_ref.base.errors import OptionError


class OhemCrossEntropyMmseg(nn.Module):
    """Cross entropy of the hard pixels of a batch: those whose true class has a small probability.

    The number of pixels to keep is `min_kept` times the images of the batch, chosen over the whole batch:

    - With `thresh`, a labelled pixel is kept where the probability of its class is less than
      max(thresh, p), p being the (min_kept N + 1)-th smallest of these probabilities, or the largest of all where there
      are fewer. So at least `min_kept` N pixels are kept where there are more than that and none share p, and more
      where more are hard. Of fewer, all are kept but those as easy as the easiest, unless `thresh` is above that one.
    - Without it, the `min_kept` N labelled pixels with the largest losses (class weights inside) are kept.

    The losses of the kept pixels are summed and divided by *all* pixels of the batch, as in `CrossEntropy` with
    `average: all`: with few pixels kept, the loss and its gradient are small. Class weights do not enter the divisor.
    Where all pixels are ignored the loss is 0, with a gradient of 0, as in mmsegmentation.

    Source: mmsegmentation's documentation of `OHEMPixelSampler` and its tutorial on training tricks (thresh 0.7,
    min_kept 100000); no number of the package stands behind it here. Shrivastava et al. 2016, arXiv 1604.03540.

    Args:
        ignore_index: label of pixels that do not count.
        thresh: 0..1, probability of the true class below which a pixel is hard; None keeps a fixed number.
        min_kept: pixels to keep an image, >= 1.
        weight: one number >= 0 a class, or None.

    Raises:
        OptionError: `thresh` outside of 0..1, or `min_kept` below 1.
    """

    def __init__(
        self,
        ignore_index: int = 255,
        thresh: float | None = None,
        min_kept: int = 100000,
        weight: Tensor | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if thresh is not None and not 0 <= thresh <= 1:
            raise OptionError(f"thresh: expected a probability 0..1 or null, got {thresh!r}")
        if min_kept < 1:
            raise OptionError(f"min_kept: expected at least 1 pixel an image, got {min_kept!r}")
        self.ignore_index = ignore_index
        self.thresh = thresh
        self.min_kept = min_kept
        self.register_buffer("weight", class_weights(weight))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """0-dim loss of logits float [N, K, h, w] and target int64 [N, h, w]."""
        losses = F.cross_entropy(logits, target, self.weight, ignore_index=self.ignore_index, reduction="none")
        return mean_over_all(losses * self.hard(logits.detach(), losses.detach(), target))

    def hard(self, logits: Tensor, losses: Tensor, target: Tensor) -> Tensor:
        """Which pixels are kept: bool [N, h, w].

        Args:
            logits: float [N, K, h, w].
            losses: float [N, h, w], of the pixels.
            target: int64 [N, h, w].
        """
        valid = target != self.ignore_index
        kept = self.min_kept * len(target)
        hard = torch.zeros_like(valid)
        if self.thresh is None:
            of_valid = torch.zeros_like(losses[valid], dtype=torch.bool)
            of_valid[losses[valid].argsort(descending=True)[:kept]] = True
        else:
            labels = target.masked_fill(~valid, 0).unsqueeze(1)
            probabilities = logits.softmax(1).gather(1, labels).squeeze(1)[valid]
            if not len(probabilities):
                return hard
            # sort, and not kthvalue, which has no deterministic implementation on a GPU.
            limit = probabilities.sort().values[min(kept, len(probabilities) - 1)].clamp(min=self.thresh)
            of_valid = probabilities < limit
        hard[valid] = of_valid
        return hard
