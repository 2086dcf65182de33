"""Loss of the main head plus a weighted loss of the auxiliary head."""

from typing import Any

import torch
from catalyst.core.callback import ICriterionCallback
from catalyst.core.runner import IRunner

from catalyst_cityscapes.recipe.role import Role


def weighted_loss(main: torch.Tensor, aux: torch.Tensor | None, weight: float) -> torch.Tensor:
    """`main + weight * aux`; only `main` where there is no auxiliary loss (eval mode)."""
    return main if aux is None else main + weight * aux


class AuxLossWeighting(ICriterionCallback):
    """Computes both heads' losses with the recipe's criterion and keeps image-weighted means for the log.

    The means are exact over unequal shards and cost no host sync per batch: sums stay on the device until the
    loader ends.

    Args:
        weight: of the auxiliary loss; 0.4 in the reference. 0 leaves the head in the network but out of the loss.
    """

    ROLE = Role("aux_loss", affects="loss", topics="aux", reports=("loss", "main_loss", "aux_loss"))

    def __init__(self, weight: float = 0.4) -> None:
        super().__init__()
        self.weight = weight

    def reported(self, is_train: bool) -> tuple[str, ...]:
        """Names of the metrics of a loader."""
        return ("loss", "main_loss", "aux_loss") if is_train else ("loss", "main_loss")

    def on_loader_start(self, runner: IRunner) -> None:
        """Empties the sums."""
        self._sums = torch.zeros(3, dtype=torch.float64, device=runner.engine.device)
        self._images = 0

    def loader_state(self) -> dict[str, Any]:
        """This process's sums."""
        return {"sums": self._sums, "images": self._images}

    def load_loader_state(self, state: dict[str, Any]) -> None:
        """Restores `loader_state`."""
        self._sums, self._images = state["sums"], state["images"]

    def on_batch_end(self, runner: IRunner) -> None:
        """Puts `loss` (with graph) into `batch_metrics` and (main, aux, total) detached into `runner.losses`."""
        batch = runner.batch
        # By `forward` in validation, which is never compiled: its batches have sizes of their own.
        criterion = runner.criterion if runner.is_train_loader else runner.criterion.forward
        main = criterion(batch["logits"], batch["targets"])
        aux = None if batch["aux_logits"] is None else criterion(batch["aux_logits"], batch["targets"])
        loss = weighted_loss(main, aux, self.weight)
        runner.batch_metrics["loss"] = loss
        runner.losses = torch.stack(
            [main.detach(), torch.zeros_like(main) if aux is None else aux.detach(), loss.detach()]
        )
        self._sums += runner.losses.double() * runner.batch_size
        self._images += runner.batch_size

    def on_loader_end(self, runner: IRunner) -> None:
        """Reports means over all ranks' images."""
        images = torch.tensor(self._images, dtype=torch.float64, device=runner.engine.device)
        runner.engine.sum_reduce(self._sums, images)
        main, aux, total = (self._sums / images).tolist()
        runner.loader_metrics["loss"] = total
        runner.loader_metrics["main_loss"] = main
        if runner.is_train_loader:
            runner.loader_metrics["aux_loss"] = aux
