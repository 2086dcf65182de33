"""Poly learning rate, written after each optimiser step as the reference does."""

from catalyst.core.callback import ISchedulerCallback

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.schedules.poly import poly_learning_rate
from catalyst_cityscapes.train.context import Place, PlacedCallback, ScheduleRun
from semseg_ref.optimizer import set_learning_rate


class PolyLR(PlacedCallback, ISchedulerCallback):
    """After step k (counted from 1 over the whole training) writes `base_lr * (1 - k / max_iter) ** power`.

    Each group gets that times its own multiplier. The first step uses the undecayed rate, and the last written
    value, 0, is never used (reference behaviour). A resumed run's first step uses the rate stored with the
    optimiser.

    Args:
        base_lr: rate of the backbone at step 0.
        power: 0.9 in the reference.
    """

    ROLE = Role("schedule", affects="rates")
    place = Place.RATES

    def __init__(self, base_lr: float, power: float = 0.9) -> None:
        super().__init__()
        self.base_lr, self.power = base_lr, power

    def on_batch_end(self, runner: ScheduleRun) -> None:
        """Writes the rate of the next step."""
        if runner.is_train_loader and runner.optimizer_stepped:
            lr = poly_learning_rate(self.base_lr, runner.optimizer_steps, runner.total_steps, self.power)
            set_learning_rate(runner.optimizer, lr)
