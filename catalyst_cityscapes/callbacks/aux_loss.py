"""Loss of the main head plus a weighted loss of the auxiliary head."""

from collections.abc import Callable
from typing import Any

import torch

from catalyst_cityscapes.losses.supervised import supervised_losses
from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import LossCallback, Losses, LossRun


class AuxLossWeighting(LossCallback):
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

    def on_loader_start(self, runner: LossRun) -> None:
        """Empties the sums."""
        self._sums = torch.zeros(3, dtype=torch.float64, device=runner.engine.device)
        self._images = 0

    def loader_state(self) -> dict[str, Any]:
        """This process's sums."""
        return {"sums": self._sums, "images": self._images}

    def load_loader_state(self, state: dict[str, Any]) -> None:
        """Restores `loader_state`."""
        self._sums, self._images = state["sums"], state["images"]

    def losses_of(
        self,
        criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        logits: torch.Tensor,
        aux_logits: torch.Tensor | None,
        target: torch.Tensor,
    ) -> Losses:
        """See `supervised_losses`."""
        return supervised_losses(criterion, logits, aux_logits, target, self.weight)

    def on_batch_end(self, runner: LossRun) -> None:
        """Puts `loss`, with its graph, into `batch_metrics`, and all losses detached into `runner.losses`."""
        batch = runner.batch
        # By `forward` in validation, which is never compiled: its batches have sizes of their own.
        criterion = runner.criterion if runner.is_train_loader else runner.criterion.forward
        losses = self.losses_of(criterion, batch["logits"], batch["aux_logits"], batch["targets"])
        runner.batch_metrics["loss"] = losses["loss"]
        runner.losses = {name: loss.detach() for name, loss in losses.items()}
        main = runner.losses["main_loss"]
        parts = [main, runner.losses.get("aux_loss", torch.zeros_like(main)), runner.losses["loss"]]
        self._sums += torch.stack(parts).double() * runner.batch_size
        self._images += runner.batch_size

    def on_loader_end(self, runner: LossRun) -> None:
        """Reports means over all ranks' images."""
        images = torch.tensor(self._images, dtype=torch.float64, device=runner.engine.device)
        runner.engine.sum_reduce(self._sums, images)
        main, aux, total = (self._sums / images).tolist()
        runner.loader_metrics["loss"] = total
        runner.loader_metrics["main_loss"] = main
        if runner.is_train_loader:
            runner.loader_metrics["aux_loss"] = aux
