"""Logits and labels brought to one size: the logits resized to the labels, or the labels to the logits."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from catalyst_cityscapes.models.outputs import Resized
from semseg_ref.base.errors import OptionError


@dataclass(frozen=True)
class Resizing:
    """How logits and labels of different sizes meet in a loss.

    Args:
        resized: `logits` interpolates them bilinearly, as mmsegmentation and torchvision do; `labels` takes
            every so many labels, as the reference does with zoom_factor < 8.
        align_corners: of the interpolation.
    """

    resized: Resized = "logits"
    align_corners: bool = False

    def __call__(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Both at one size; they are returned as they are where they have one already.

        Args:
            logits: float [N, K, h, w].
            target: int64 [N, H, W].

        Raises:
            OptionError: labels are to be taken at the logits' pixels, and these are none of the labels'.
        """
        size, own = tuple(target.shape[-2:]), tuple(logits.shape[-2:])
        if size == own:
            return logits, target
        if self.resized == "logits":
            return F.interpolate(logits, size=size, mode="bilinear", align_corners=self.align_corners), target
        step = grid_step(size, own)
        if step is None:
            raise OptionError(
                f"callbacks.aux_loss.resize: labels: logits of {own[0]} x {own[1]} are no grid of the {size[0]} x "
                f"{size[1]} labels' pixels with the corners on each other; resize: logits interpolates the logits"
            )
        return logits, target[:, ::step, ::step].contiguous()


def grid_step(size: tuple[int, int], own: tuple[int, int]) -> int | None:
    """Labels between two neighbouring logits, where these are a grid of them from corner to corner; else None."""
    steps = {(side - 1) / (small - 1) if small > 1 else 0.0 for side, small in zip(size, own, strict=True)}
    step = steps.pop()
    return int(step) if not steps and step >= 1 and step.is_integer() else None
