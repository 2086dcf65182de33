"""Loss of the main head plus weighted losses of the auxiliary heads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from catalyst_cityscapes.losses.supervised import Criterion, loss_names, supervised_losses
from catalyst_cityscapes.models.outputs import Outputs, Resized
from catalyst_cityscapes.models.resizing import Resizing
from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import LossCallback, Losses, LossRun
from semseg_ref.base.errors import OptionError


class AuxLossWeighting(LossCallback):
    """Computes all heads' losses and keeps image-weighted means for the log.

    The means are exact over unequal shards and cost no host sync per batch: sums stay on the device until the
    loader ends.

    Args:
        weight: of the auxiliary loss; 0.4 in the reference. 0 leaves the head in the network but out of the loss.
            Several heads have a list, in the order in which the network returns them.
        main_weight: of the main loss.
        criteria: the auxiliary heads' own losses, one a head; null is the recipe's criterion, for one or for all.
        resize: what is resized where logits and labels differ in size, `logits` or `labels`; null is the network's way.
        align_corners: of the interpolation of logits; null is the network's way.

    Raises:
        OptionError: another number of criteria than of weights, or a weight below 0.
    """

    ROLE = Role("aux_loss", affects="loss", topics="aux", reports=("loss", "main_loss", "aux_loss"))

    def __init__(
        self,
        weight: float | Sequence[float] = 0.4,
        main_weight: float = 1.0,
        criteria: Sequence[nn.Module | None] | None = None,
        resize: Resized | None = None,
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.weights = (weight,) if isinstance(weight, (int, float)) else tuple(weight)
        self.main_weight, self.resize, self.align_corners = main_weight, resize, align_corners
        self.criteria = (None,) * len(self.weights) if criteria is None else tuple(criteria)
        if len(self.criteria) != len(self.weights):
            raise OptionError(
                f"criteria: {len(self.criteria)} for {len(self.weights)} auxiliary heads (weight: {weight}); expected "
                "one a head, null for the recipe's"
            )
        for value in (main_weight, *self.weights):
            if not value >= 0:
                raise OptionError(f"weight: {value:g} is not >= 0")
        # A single head's column is there whatever the network has, as the reference's is.
        self._names = (*loss_names(1 + max(len(self.weights), 1)), "loss")

    def reported(self, is_train: bool) -> tuple[str, ...]:
        """Names of the metrics of a loader."""
        return ("loss", *self._names[:-1]) if is_train else ("loss", "main_loss")

    def on_loader_start(self, runner: LossRun) -> None:
        """Empties the sums."""
        self._sums = torch.zeros(len(self._names), dtype=torch.float64, device=runner.engine.device)
        self._images = 0
        self.criteria = tuple(each if each is None else each.to(runner.engine.device) for each in self.criteria)

    def loader_state(self) -> dict[str, Any]:
        """This process's sums."""
        return {"sums": self._sums, "images": self._images}

    def load_loader_state(self, state: dict[str, Any]) -> None:
        """Restores `loader_state`."""
        self._sums, self._images = state["sums"], state["images"]

    def losses_of(self, criterion: Criterion, outputs: Outputs, target: torch.Tensor, resizing: Resizing) -> Losses:
        """See `supervised_losses`."""
        criteria = (criterion, *(criterion if own is None else own for own in self.criteria))
        return supervised_losses(criteria, outputs, target, (self.main_weight, *self.weights), resizing)

    def on_batch_end(self, runner: LossRun) -> None:
        """Puts `loss`, with its graph, into `batch_metrics`, and all losses detached into `runner.losses`."""
        batch = runner.batch
        # By `forward` in validation, which is never compiled: its batches have sizes of their own.
        criterion = runner.criterion if runner.is_train_loader else runner.criterion.forward
        losses = self.losses_of(criterion, batch["outputs"], batch["labels"], runner.resizing)
        runner.batch_metrics["loss"] = losses["loss"]
        runner.losses = {name: loss.detach() for name, loss in losses.items()}
        main = runner.losses["main_loss"]
        parts = [runner.losses.get(name, torch.zeros_like(main)) for name in self._names]
        self._sums += torch.stack(parts).double() * runner.batch_size
        self._images += runner.batch_size

    def on_loader_end(self, runner: LossRun) -> None:
        """Reports means over all ranks' images."""
        images = torch.tensor(self._images, dtype=torch.float64, device=runner.engine.device)
        runner.engine.sum_reduce(self._sums, images)
        means = dict(zip(self._names, (self._sums / images).tolist(), strict=True))
        runner.loader_metrics.update({name: means[name] for name in self.reported(runner.is_train_loader)})
