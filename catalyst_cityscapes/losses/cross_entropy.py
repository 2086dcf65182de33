"""Cross entropy, divided by the labelled pixels (torch) or by all pixels (mmsegmentation)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semseg_ref.base.errors import OptionError, did_you_mean

AVERAGES = ("valid", "all")


def class_weights(weight: Tensor | Sequence[float] | None) -> Tensor | None:
    """float32 [K] of one number a class, or None."""
    return None if weight is None else torch.as_tensor(weight, dtype=torch.float32)


def mean_over_all(pixel_losses: Tensor) -> Tensor:
    """The sum of losses of pixels, float [N, h, w], over their number, ignored ones included.

    mmsegmentation adds the float32 epsilon to the number, which float64 shows and float32 does not.
    """
    return pixel_losses.sum() / (pixel_losses.numel() + torch.finfo(torch.float32).eps)


class CrossEntropy(nn.Module):
    """Cross entropy with a choice of what the sum over the pixels is divided by.

    With l_i the loss of pixel i, w its class's weight (1 without weights) and 0 on ignored pixels:

    - `valid`: sum w l / sum w, both over labelled pixels. The bits of `torch.nn.CrossEntropyLoss`; class weights enter
      the divisor, so that twice all weights are the same loss. Where all pixels are ignored it is NaN, as torch's.
    - `all`: sum w l / (N h w), ignored pixels counted and class weights not, so that twice all weights are twice the
      loss. mmsegmentation's default (`avg_non_ignore=False`): of an image with 20 % void, a loss and a gradient 20 %
      smaller. Where all pixels are ignored it is 0, with a gradient of 0.

    Source: torch.nn.CrossEntropyLoss; mmsegmentation's documentation of `CrossEntropyLoss.avg_non_ignore`.

    Args:
        ignore_index: label of pixels that do not count.
        weight: one number >= 0 a class, or None.
        label_smoothing: 0..1, share of the target that is spread evenly over the classes.
        average: `valid` or `all`.

    Raises:
        OptionError: another `average`, or a smoothing outside of 0..1.
    """

    def __init__(
        self,
        ignore_index: int = 255,
        weight: Tensor | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        average: Literal["valid", "all"] = "valid",
    ) -> None:
        super().__init__()
        if average not in AVERAGES:
            raise OptionError(f"average: expected valid or all, got {average!r}{did_you_mean(str(average), AVERAGES)}")
        if not 0 <= label_smoothing <= 1:
            raise OptionError(f"label_smoothing: expected 0..1, got {label_smoothing!r}")
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.average = average
        self.register_buffer("weight", class_weights(weight))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """0-dim loss of logits float [N, K, h, w] and target int64 [N, h, w]."""
        loss = F.cross_entropy(
            logits,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction="mean" if self.average == "valid" else "none",
        )
        return loss if self.average == "valid" else mean_over_all(loss)
