"""Learning rates by phases in a row, written after each optimiser step."""

from collections.abc import Sequence
from typing import Any, Literal

from catalyst.core.callback import ISchedulerCallback

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.schedules.phases import Phase, check_phases, rate_at
from catalyst_cityscapes.train.context import Place, PlacedCallback, ScheduleRun
from semseg_ref.base.errors import OptionError, did_you_mean

FLOORS = ("scaled", "absolute")


class LRSchedule(PlacedCallback, ISchedulerCallback):
    """Writes the rate of the next step into every group, and that of step 0 before the first one.

    The rate is a function of the step alone, so a resumed run has the rates of an uninterrupted one.

    Args:
        base_lr: rate that the first phase starts from, of a group without a multiplier.
        phases: of `catalyst_cityscapes.schedules`, in a row; each starts from the rate that the one before it ends
            with, and only the last may have no length.
        floors: what a phase's `floor` is in a group whose multiplier is not 1: `scaled` by the multiplier like every
            rate, so that the groups keep their ratio; or `absolute`, the same for all groups, as in mmsegmentation.

    Raises:
        OptionError: no phases, phases that cannot stand in a row, or another word for `floors`.
    """

    ROLE = Role("schedule", affects="rates")
    place = Place.RATES

    def __init__(
        self, base_lr: float, phases: Sequence[Phase], floors: Literal["scaled", "absolute"] = "scaled"
    ) -> None:
        super().__init__()
        check_phases(phases)
        if floors not in FLOORS:
            raise OptionError(f"floors: {floors!r}{did_you_mean(str(floors), FLOORS)}")
        self.base_lr, self.phases, self.floors = base_lr, tuple(phases), floors
        self._done = 0

    def state_dict(self) -> dict[str, Any]:
        """Optimiser steps done."""
        return {"steps": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self._done = state["steps"]

    def on_experiment_start(self, runner: ScheduleRun) -> None:
        """Writes the rate of the first step of this run."""
        self._done = max(self._done, runner.optimizer_steps)
        # A checkpoint of another schedule may not say how far the training is; its rate stays for one step.
        if self._done or runner.epoch_step == 0:
            self._write(runner)

    def on_batch_end(self, runner: ScheduleRun) -> None:
        """Writes the rate of the next step."""
        if runner.is_train_loader and runner.optimizer_stepped:
            self._done = runner.optimizer_steps
            self._write(runner)

    def _write(self, runner: ScheduleRun) -> None:
        position = (self._done, runner.total_steps, runner.steps_per_epoch)
        for group in runner.optimizer.param_groups:
            multiplier = group.get("lr_multiplier", 1.0)
            if self.floors == "absolute":
                group["lr"] = rate_at(self.phases, self.base_lr * multiplier, *position)
            else:
                group["lr"] = rate_at(self.phases, self.base_lr, *position) * multiplier
