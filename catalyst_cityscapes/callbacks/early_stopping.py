"""Stops a training whose metric no longer improves."""

import math
from typing import Any

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import Place, PlacedCallback, TrainingRun
from catalyst_cityscapes.train.reported_metrics import check_metric
from semseg_ref.base.errors import OptionError, did_you_mean


class EarlyStopping(PlacedCallback):
    """Ends the experiment after `patience` epochs without improvement. Not part of the reference recipe.

    The metrics are summed over ranks before they are compared, so that all ranks stop together.

    Args:
        metric, loader: whose value is watched.
        patience: epochs, or validations of a run that counts iterations, without improvement, >= 1.
        minimize: True when less is better.
        min_delta: smallest change that counts, >= 0.
    """

    ROLE = Role("model_selection", affects="selection", takes=("stop",), watches=True)
    place = Place.STOPPING

    def __init__(
        self,
        metric: str = "mIoU",
        loader: str = "valid",
        patience: int = 10,
        minimize: bool = False,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__()
        if patience < 1:
            raise OptionError(f"patience: {patience} is not >= 1")
        self.metric, self.loader, self.patience = metric, loader, patience
        self.minimize, self.min_delta = minimize, min_delta
        self.best: float | None = None
        self.bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """Best value and the count of epochs without improvement."""
        return {"best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.best, self.bad_epochs = state["best"], state["bad_epochs"]

    def check_before_run(self, runner: TrainingRun) -> None:
        """Raises OptionError when nothing will report the metric."""
        check_metric(runner, "callbacks.early_stopping", self.metric, self.loader)

    def on_experiment_start(self, runner: TrainingRun) -> None:
        """Stops a resumed run that had stopped already."""
        runner.need_early_stop = self.bad_epochs >= self.patience

    def on_epoch_end(self, runner: TrainingRun) -> None:
        """Compares and counts."""
        metrics = runner.epoch_metrics.get(self.loader)
        if metrics is None:
            return
        if self.metric not in metrics:
            raise OptionError(
                f"callbacks.early_stopping.metric: loader '{self.loader}' has no metric '{self.metric}'"
                f"{did_you_mean(self.metric, metrics)}"
            )
        value = metrics[self.metric]
        gain = None if self.best is None else (self.best - value if self.minimize else value - self.best)
        if math.isfinite(value) and (gain is None or gain > self.min_delta):
            self.best, self.bad_epochs = value, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs >= self.patience:
            runner.need_early_stop = True
