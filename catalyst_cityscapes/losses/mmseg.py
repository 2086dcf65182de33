"""mmsegmentation's losses of one batch, under its names."""

from collections.abc import Sequence

from torch import Tensor

from catalyst_cityscapes.losses.cross_entropy import CrossEntropy
from catalyst_cityscapes.models.outputs import Outputs, outputs_of
from catalyst_cityscapes.models.resizing import Resizing
from semseg_ref.base.errors import OptionError

NAMES = ("decode.loss_ce", "aux.loss_ce")


def mmseg_loss(
    outputs: Outputs,
    target: Tensor,
    weights: Sequence[float],
    align_corners: bool,
) -> dict[str, Tensor]:
    """Cross entropy of each head's resized logits over all pixels, ignored ones (255) counted in the divisor.

    Args:
        outputs: logits float [N, K, h, w] each, main first; named ones (OCRNet's) have losses of these names.
        target: int64 [N, H, W].
        weights: one a head, main first; each is in its loss already.
        align_corners: of the logits' resizing.

    Returns:
        One 0-dim loss a head; what is trained is their sum.

    Raises:
        OptionError: a head without a weight or a name, which would be left out in silence.

    Source: mmsegmentation 1.2.2, `avg_non_ignore=False`.
    """
    names = tuple(f"{name}.loss_ce" for name in getattr(outputs, "_fields", ())) or NAMES
    outputs = outputs_of(outputs)
    if len(outputs) > min(len(weights), len(names)):
        raise OptionError(
            f"mmseg_loss: {len(outputs)} heads, {len(weights)} weights and {len(names)} names; "
            "expected one of each a head"
        )
    criterion, resizing = CrossEntropy(average="all"), Resizing("logits", align_corners)
    heads = zip(names, outputs, weights, strict=False)
    return {name: weight * criterion(*resizing(logits, target)) for name, logits, weight in heads}
