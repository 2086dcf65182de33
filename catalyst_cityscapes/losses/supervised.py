"""Loss of the main head plus weighted losses of the auxiliary heads (PSPNet, section 3.3: one, at 0.4)."""

from collections.abc import Callable, Sequence

from torch import Tensor

from catalyst_cityscapes.models.outputs import Outputs
from catalyst_cityscapes.models.resizing import Resizing
from semseg_ref.base.errors import OptionError

Criterion = Callable[[Tensor, Tensor], Tensor]
"""(logits float [N, K, h, w], target int64 [N, h, w]) -> 0-dim loss."""


def loss_names(heads: int) -> tuple[str, ...]:
    """Names of the heads' losses: `main_loss`, `aux_loss`, and from the second auxiliary head on `aux_2_loss`, ..."""
    further = (f"aux_{number}_loss" for number in range(2, heads))
    return ("main_loss", "aux_loss", *further)[:heads]


def supervised_losses(
    criteria: Sequence[Criterion],
    outputs: Outputs,
    target: Tensor,
    weights: Sequence[float],
    resizing: Resizing,
) -> dict[str, Tensor]:
    """Losses of one batch by name, with their graph: those of `loss_names`, and `loss`, their weighted sum.

    Args:
        criteria: one a head, main first.
        outputs: logits, float [N, K, h, w] each; at least the main head's.
        target: int64 [N, H, W].
        weights: one a head, main first; a main weight of 1 multiplies nothing.
        resizing: of each head by itself.

    Raises:
        OptionError: a head without a weight or a criterion, which would be left out in silence.
    """
    if len(outputs) > min(len(weights), len(criteria)):
        raise OptionError(
            f"callbacks.aux_loss.weight: the network returns the logits of {len(outputs) - 1} auxiliary heads, and "
            f"there are {len(weights) - 1} weights; expected a list of weights, one a head"
        )
    losses: dict[str, Tensor] = {}
    whole = None
    heads = zip(loss_names(len(outputs)), criteria, outputs, weights, strict=False)
    for name, criterion, logits, weight in heads:
        losses[name] = criterion(*resizing(logits, target))
        if whole is None:
            whole = losses[name] if weight == 1 else weight * losses[name]
        else:
            whole = whole + weight * losses[name]
    return {**losses, "loss": whole}
