"""`iterations.csv`: the rates used and the losses of every step, without a host sync per step."""

import torch

from catalyst_cityscapes.losses.supervised import loss_names
from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import LossCallback, Place, PlacedCallback, TrainingRun, step_losses
from semseg_ref.base.console import warn
from semseg_ref.base.errors import OptionError
from semseg_ref.base.iteration_log import IterationLog, IterationRecord


def further_losses(runner: TrainingRun) -> tuple[str, ...]:
    """Names of the losses of a second auxiliary head and further ones, which have columns of their own."""
    heads = max(
        (1 + len(each.weights) for each in runner.callbacks.values() if isinstance(each, LossCallback)), default=1
    )
    return loss_names(heads)[2:]


class IterationLogging(PlacedCallback):
    """Keeps the losses on the device and writes them every `every` steps and at the end of the loader.

    Rates are read before the step, so they are the ones it used. Losses are averaged over ranks, weighted by images.

    Args:
        every: steps between writes, >= 1.
    """

    ROLE = Role("log", affects="nothing")
    place = Place.STEP_LOG

    def __init__(self, every: int = 50) -> None:
        super().__init__()
        if every < 1:
            raise OptionError(f"every: {every} is not >= 1")
        self.every = every

    def on_experiment_start(self, runner: TrainingRun) -> None:
        """Opens the file; a resumed run keeps the rows of the steps that its checkpoint has behind it."""
        self._pending: list[tuple[int, int, float, float]] = []
        self._losses: list[torch.Tensor] = []
        self._further = further_losses(runner)
        if runner.engine.is_main_process:
            done = runner.first_batch + runner.batches_done
            self._log = IterationLog(runner.logdir / "iterations.csv", done, self._further)

    def on_batch_start(self, runner: TrainingRun) -> None:
        """Notes the rates that this step will use."""
        if runner.is_train_loader:
            groups = runner.optimizer.param_groups
            iteration = runner.first_batch + runner.iteration
            self._pending.append((iteration, runner.data_epoch, groups[0]["lr"], groups[-1]["lr"]))

    def on_batch_end(self, runner: TrainingRun) -> None:
        """Notes the step's losses."""
        if not runner.is_train_loader:
            return
        named = step_losses(runner)
        main = named["main_loss"]
        further = [named.get(name, torch.zeros_like(main)) for name in self._further]
        losses = torch.stack([main, named.get("aux_loss", torch.zeros_like(main)), named["loss"], *further])
        weighted = losses * runner.batch_size if runner.engine.num_processes > 1 else losses
        self._losses.append(torch.cat([weighted, weighted.new_full((1,), runner.batch_size)]))  # filled on the device
        if len(self._losses) == self.every:
            self._flush(runner)

    def prepare_checkpoint(self, runner: TrainingRun) -> None:
        """Writes the rest, so that the steps of a checkpoint are on the disk before it is."""
        if self._losses:
            self._flush(runner)
        if runner.engine.is_main_process:
            self._log.sync()

    def on_loader_end(self, runner: TrainingRun) -> None:
        """Writes the rest."""
        if self._losses:
            self._flush(runner)

    def _flush(self, runner: TrainingRun) -> None:
        table = torch.stack(self._losses)
        runner.engine.sum_reduce(table)
        losses = table[:, :-1] / table[:, -1:] if runner.engine.num_processes > 1 else table[:, :-1]
        if runner.engine.is_main_process:
            if not self._log.path.is_file():
                warn(f"{self._log.path}: is gone; a new one begins with iteration {self._pending[0][0]}")
            rows = zip(self._pending, losses.tolist(), strict=True)
            self._log.write(
                IterationRecord(*position, *values[:3], further=tuple(values[3:])) for position, values in rows
            )
        self._pending, self._losses = [], []
