"""A weighted sum of criteria."""

from collections.abc import Sequence

from torch import Tensor, nn

from semseg_ref.base.errors import OptionError


class SumOfLosses(nn.Module):
    """sum_j weights_j losses_j(logits, target), as in cross entropy plus Dice.

    Args:
        losses: criteria, at least one; in a recipe a list of nodes.
        weights: one number a loss; None counts each once.

    Raises:
        OptionError: no loss, one that is no module, or another number of weights.
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not isinstance(losses, (list, tuple)) or not losses:
            raise OptionError(f"losses: expected a list of at least one loss, got {losses!r}")
        for index, loss in enumerate(losses):
            if not isinstance(loss, nn.Module):
                raise OptionError(f"losses.{index}: expected a torch.nn.Module, got {type(loss).__name__}")
        if weights is not None and len(weights) != len(losses):
            raise OptionError(f"weights: has {len(weights)} numbers, expected {len(losses)}, one a loss")
        self.losses = nn.ModuleList(losses)
        self.weights = [1.0] * len(losses) if weights is None else list(weights)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """0-dim loss of logits float [N, K, h, w] and target int64 [N, h, w]."""
        weighted = zip(self.weights, self.losses, strict=True)
        return sum(weight * loss(logits, target) for weight, loss in weighted)
