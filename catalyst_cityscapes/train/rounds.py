"""Where in a training a runner is, and the loop over its rounds: epochs, or iterations between two stops."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalyst import dl
from catalyst.core.callback import Callback
from torch.utils.data import DataLoader

from catalyst_cityscapes.data.loaders import RoundLoader
from catalyst_cityscapes.recipe.length import Length, length_of
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.train.context import StepCallback
from catalyst_cityscapes.train.resume import restore_buffers, restore_order, restore_process_state


class RoundRunner(dl.SupervisedRunner):
    """A runner whose epochs are rounds; the positions that it counts are those of `train.context.TrainingRun`."""

    recipe: Recipe
    length: Length
    train_loader: DataLoader
    resume: Path | None
    _nodes: Mapping[str, Callback]

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        self.iteration = 0
        self.optimizer_stepped, self.optimizer_steps = False, 0
        self.first_batch, self.round_end, self.batches_done = 0, 0, 0
        self.data_epoch, self.data_batch = 0, 0
        self._part: dict[str, Any] | None = None
        self._trained: dict[str, float] | None = None

    @property
    def num_epochs(self) -> int:
        """Epochs or iterations of the experiment, as the recipe counts."""
        return self.length.total

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the data."""
        return self.length.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.length.total_steps

    @property
    def milestone(self) -> int:
        """Epochs or iterations, as the recipe counts, that are done where this round ends; before the first, so far."""
        return self.length.counted(self.round_end)

    @property
    def round_batches(self) -> int:
        """Batches of this round in each process."""
        return self.length.batches(self.round_end) - self.first_batch

    @property
    def train_batches(self) -> int:
        """Batches of an epoch in this process; of an endless order those of the whole training."""
        return len(self.train_loader)

    @property
    def accumulation(self) -> int:
        """Batches of an optimiser step."""
        steps = [callback.accumulation_steps for callback in self._nodes.values() if isinstance(callback, StepCallback)]
        return steps[0]

    def start_counting(self) -> None:
        """Takes the length from the recipe and the loaders, at the start of the training."""
        saving = [callback.save_every for callback in self._nodes.values() if hasattr(callback, "save_every")]
        batches = len(self.train_loader)
        if self.recipe.sampling.order == "endless":
            batches = len(self.train_loader.dataset) // self.engine.num_processes // self.train_loader.batch_size
        self.length = length_of(self.recipe, max(batches, 1), self.accumulation, *saving)
        if self.length.unit == "iteration":
            self.loaders["train"] = RoundLoader(self.train_loader)

    def restore_position(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the position from a checkpoint's content."""
        self.batches_done = checkpoint.get("batches", 0)
        if self.length.unit == "epoch":
            self.first_batch = checkpoint["epoch"] * self.length.batches_per_epoch
            self.optimizer_steps = self.length.steps(self.first_batch + self.batches_done)
        else:
            self.optimizer_steps = checkpoint["iteration"]
            self.first_batch = self.length.batches(self.optimizer_steps) - self.batches_done
        self.round_end = self.length.steps(self.first_batch)
        self.epoch_step = self.milestone
        self.engine.require_same(self.first_batch, self.batches_done, what=f"--resume {self.resume}")
        parts = checkpoint.get("processes", [])
        if len(parts) == self.engine.num_processes:
            self._part = parts[self.engine.process_index]
        if self.batches_done:
            self._trained = checkpoint.get("train_metrics")
            # A number of processes that changed is refused, so each of them has its part.
            restore_buffers(self, self._part["buffers"])

    def on_epoch_start(self, runner: dl.IRunner) -> None:
        """Sets where the round ends, the epoch of the training order, and where in it a resumed run goes on."""
        done = self.first_batch + self.batches_done
        steps = self.length.steps(done)
        if self.batches_done == 0:
            self.round_end = self.length.next_stop(steps)
        else:  # all of the round's training may be done, but not its validation
            self.round_end = steps if self._trained is not None else self.length.next_stop(steps - 1)
        if self.length.unit == "iteration":
            self.loaders["train"].set_round(self._in_data(done), self.batches_done, self.round_batches)
        super().on_epoch_start(runner)  # which asks for the loaders' lengths
        self.epoch_step = self.milestone  # what TensorBoard's metrics are drawn over
        if self.length.unit == "iteration":
            return
        sampler = self.train_loader.sampler
        sampler.set_epoch(self.epoch_step - 1)
        if self.batches_done:
            sampler.start_at(self.batches_done * self.train_loader.batch_size)

    def _in_data(self, batch: int) -> tuple[int, int]:
        """Epoch, and batch in it, of a batch of the whole training; an endless order is one epoch to its loader."""
        return divmod(batch, self.train_batches)

    def count_batch(self) -> None:
        """Sets where in the data the training batch at `iteration` is."""
        self.data_epoch, self.data_batch = self._in_data(self.first_batch + self.iteration)
        if self.length.endless:
            self.data_epoch = self.train_loader.sampler.permutation_of(self.data_batch * self.train_loader.batch_size)

    def _run_loader(self) -> None:
        if self.is_train_loader and self.batches_done:
            restore_process_state(self, self._part)
        elif self.is_train_loader and self._part is not None:
            restore_order(self, self._part)
        if self.is_train_loader:
            self.batches_done, self._part = 0, None
        super()._run_loader()

    def _run_experiment(self) -> None:
        # A round is an epoch to Catalyst, which would count them.
        while self.first_batch < self.length.total_batches and not self.need_early_stop:
            self._run_event("on_epoch_start")
            self._run_epoch()
            self._run_event("on_epoch_end")
            self.first_batch += self.round_batches

    def _run_epoch(self) -> None:
        loaders = self.loaders
        trained = self._trained if self.batches_done else None
        chosen = dict(loaders)
        if not self.length.is_due(self.milestone, self.recipe.validation.every):
            chosen.pop("valid", None)
        if trained is not None:
            self.epoch_metrics["train"] = dict(trained)
            self.batches_done, self._part = 0, None
            del chosen["train"]
        self.loaders = OrderedDict(chosen)
        try:
            super()._run_epoch()
        finally:
            self.loaders = loaders
