"""A schedule that follows the loss, for tests of what happens where a training would be needed.

A recipe takes it with `_target_: support.networks.by_loss_schedule.ByLoss` where the package `support` is trusted.
"""

from catalyst import dl
from catalyst.core.callback import ISchedulerCallback


class ByLoss(ISchedulerCallback):
    """Writes the loss as the learning rate."""

    def on_batch_end(self, runner: dl.IRunner) -> None:
        """Reads the loss of the step."""
        for group in runner.optimizer.param_groups:
            group["lr"] = float(runner.batch_metrics["loss"])
