"""Loss of the main head plus a weighted loss of the auxiliary head (PSPNet, section 3.3: weight 0.4)."""

from collections.abc import Callable

from torch import Tensor


def supervised_losses(
    criterion: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    aux_logits: Tensor | None,
    target: Tensor,
    weight: float,
) -> dict[str, Tensor]:
    """Losses of one batch by name, with their graph: `main_loss`, `aux_loss` where there is one, and `loss`.

    Args:
        criterion: (logits, target) -> 0-dim loss.
        logits: float [N, K, h, w].
        aux_logits: the same of the auxiliary head, or None.
        target: int64 [N, h, w].
        weight: of the auxiliary loss in `loss`.
    """
    main = criterion(logits, target)
    if aux_logits is None:
        return {"main_loss": main, "loss": main}
    aux = criterion(aux_logits, target)
    return {"main_loss": main, "aux_loss": aux, "loss": main + weight * aux}
