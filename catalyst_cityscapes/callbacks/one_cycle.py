"""The 2020 Catalyst attempt's schedule: linear warm-up, then linear decay, with a momentum cycle."""

from collections.abc import Mapping
from typing import Any

from catalyst.core.callback import ISchedulerCallback

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.schedules.one_cycle import one_cycle
from catalyst_cityscapes.train.context import Place, PlacedCallback, ScheduleRun
from semseg_ref.base.errors import OptionError


class OneCycle(PlacedCallback, ISchedulerCallback):
    """Catalyst 20.06's OneCycleLRWithWarmup as the 2020 Catalyst attempt configured it, stepped after every batch.

    There it overwrote every group's rate with one value, so that the heads never got their ten-fold rate, drove the
    momentum from 0 (the optimiser's default) to 0.85 and 0.95, and ran one epoch ahead of the training.

    Args:
        rates: learning rates at the start, after the warm-up, and at the end; None leaves the rates to another
            callback.
        momentum: values at the same three places; None leaves the momentum alone.
        warmup_epochs: length of the warm-up; at most a tenth of the training.
        same_rate_for_all_groups: ignores the groups' multipliers, as there.
        epochs_ahead: 1 reproduces the off-by-one of versions up to 20.06; 0 is the intended schedule.
    """

    place = Place.RATES

    @classmethod
    def role(cls, arguments: Mapping[str, Any]) -> Role:
        """It drives what is not null, and takes no other part."""
        driven = tuple(name for name in ("rates", "momentum") if arguments.get(name, ...) is not None)
        kind = "schedule" if arguments.get("rates", ...) else "momentum"
        return Role(kind, affects=driven or "nothing", takes=driven, drives=True)

    def __init__(
        self,
        rates: tuple[float, float, float] | None = (0.001, 0.01, 0.0001),
        momentum: tuple[float, float, float] | None = (0.0, 0.85, 0.95),
        warmup_epochs: float = 3,
        same_rate_for_all_groups: bool = False,
        epochs_ahead: int = 1,
    ) -> None:
        super().__init__()
        for name, values in (("rates", rates), ("momentum", momentum)):
            if values is not None and len(values) != 3:
                raise OptionError(f"{name}: expected three values (start, after the warm-up, end), got {list(values)}")
        self.rates, self.momentum = rates, momentum
        self.warmup_epochs, self.epochs_ahead = warmup_epochs, epochs_ahead
        self.same_rate_for_all_groups = same_rate_for_all_groups

    def _write(self, runner: ScheduleRun, position: float) -> None:
        total = runner.total_steps
        warmup = min(self.warmup_epochs, total / runner.steps_per_epoch / 10) * runner.steps_per_epoch
        for group in runner.optimizer.param_groups:
            if self.rates is not None:
                multiplier = 1.0 if self.same_rate_for_all_groups else group.get("lr_multiplier", 1.0)
                group["lr"] = one_cycle(position, warmup, total, self.rates) * multiplier
            if self.momentum is not None:
                group["momentum"] = one_cycle(position, warmup, total, self.momentum)

    def on_experiment_start(self, runner: ScheduleRun) -> None:
        """Writes the start values, unless the optimiser was resumed."""
        if runner.optimizer_steps == 0:
            self._write(runner, 0)

    def on_batch_end(self, runner: ScheduleRun) -> None:
        """Writes the values of the next step."""
        if runner.is_train_loader and runner.optimizer_stepped:
            self._write(runner, runner.optimizer_steps + self.epochs_ahead * runner.steps_per_epoch)
