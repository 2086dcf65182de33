"""What nobody looks at for hours: losses that are no numbers, spikes, dead batch norm, classes that never come."""

import statistics
from collections import deque
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from catalyst_cityscapes.callbacks.mean_iou import MeanIoU
from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.runs.checkpoints import newest_intact, resumable
from catalyst_cityscapes.train.context import Place, PlacedCallback, TrainingRun, step_losses
from semseg_ref.base.console import warn
from semseg_ref.base.errors import DivergedError, OptionError

DEAD_VARIANCE = 1e-12
RECENT, ENOUGH = 200, 20
"""Steps whose median a spike is measured against, and the fewest that make a median."""


def dead_channels(network: nn.Module) -> dict[str, tuple[int, int]]:
    """Batch norm layers with channels whose running variance is no number or next to nothing.

    Returns:
        (such channels, channels) by the layer's name.
    """
    layers = {
        name: module.running_var
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_var is not None
    }
    if not layers:
        return {}
    counts = torch.stack([(~(variance > DEAD_VARIANCE)).sum() for variance in layers.values()]).tolist()
    return {name: (dead, len(layers[name])) for name, dead in zip(layers, counts, strict=True) if dead}


def batch_files(runner: TrainingRun, step: int) -> list[str]:
    """Image files of this process's batch at a step of the round, counted from 0; of the present pass over the data."""
    loader = runner.train_loader
    batch = runner.first_batch + step
    if not runner.length.endless:
        batch %= runner.train_batches
    samples = batch * loader.batch_size, (batch + 1) * loader.batch_size
    if runner.length.endless:
        indices = [index for _, index in loader.sampler.keys(*samples)]
    else:
        indices = loader.sampler.order[slice(*samples)]
    samples = getattr(loader.dataset, "dataset", loader.dataset)
    files = getattr(samples, "data_list", None)
    return [f"sample {index}" if files is None else files[index][0] for index in indices]


class TrainingMonitor(PlacedCallback):
    """Stops a training whose loss is no number, and warns, once each, of what is likely a mistake.

    It changes no number. Losses stay on the device and are looked at every `every` steps, at the end of the epoch, and
    before each checkpoint, so that no checkpoint holds what came after a bad loss; files of a batch are looked up when
    they are needed. A batch without a labelled pixel has no loss and harmless gradients, so it is only warned of.

    Args:
        every: steps between looks at the losses, >= 1.
        on_nan: `stop`, or `skip`: leave the batch out (no gradient, batch statistics as before). Skipping asks the
            device at every step and so costs time on a GPU.
        spike_factor: a loss of so many times the median of the last steps is warned of; > 1.
    """

    ROLE = Role("monitor", affects="nothing")
    place = Place.MONITOR

    def __init__(self, every: int = 50, on_nan: Literal["stop", "skip"] = "stop", spike_factor: float = 10.0) -> None:
        super().__init__()
        if every < 1:
            raise OptionError(f"every: {every} is not >= 1")
        if on_nan not in ("stop", "skip"):
            raise OptionError(f"on_nan: '{on_nan}' is neither 'stop' nor 'skip'")
        if not spike_factor > 1:
            raise OptionError(f"spike_factor: {spike_factor} is not > 1")
        self.every, self.on_nan, self.spike_factor = every, on_nan, spike_factor
        self._warned: set[str] = set()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._first, self._rows = 0, []

    def on_loader_start(self, runner: TrainingRun) -> None:
        """Starts a new list of losses; in validation the last training step stays known."""
        if runner.is_train_loader:
            self._first, self._rows = runner.iteration + 1, []
        self._buffers = list(runner.network.buffers()) if runner.is_train_loader else []

    def on_batch_start(self, runner: TrainingRun) -> None:
        """Keeps the batch statistics, where a batch may be left out."""
        if runner.is_train_loader and self.on_nan == "skip":
            self._kept = [buffer.clone() for buffer in self._buffers]

    def on_batch_end(self, runner: TrainingRun) -> None:
        """Notes the loss, and whether any pixel has a label."""
        if not runner.is_train_loader:
            return
        loss = step_losses(runner)["loss"]
        labelled = (runner.batch["targets"] != runner.recipe.data.ignore_index).any()
        bad = ~torch.isfinite(loss) & labelled
        if self.on_nan == "skip":
            self._skip_if_bad(runner, bad)
        self._rows.append(torch.stack([loss.double(), bad.double(), (~labelled).double()]))
        # The order of an epoch is known until the next begins, which may be within a round.
        if len(self._rows) == self.every or runner.data_batch + 1 == runner.train_batches:
            self._look(runner)

    def _skip_if_bad(self, runner: TrainingRun, bad: torch.Tensor) -> None:
        count = bad.double()
        runner.engine.sum_reduce(count)
        runner.skip_batch = bool(count)
        if runner.skip_batch:
            for buffer, kept in zip(self._buffers, self._kept, strict=True):
                buffer.copy_(kept)

    def prepare_checkpoint(self, runner: TrainingRun) -> None:
        """Looks at the losses and the weights before they are written."""
        self._look(runner)
        tensors = [t for t in runner.network.state_dict().values() if t.is_floating_point()]
        bad = torch.stack([~torch.isfinite(t).all() for t in tensors]).any().double()
        runner.engine.sum_reduce(bad)
        if bool(bad):
            self._stop(runner, self._first - 1, "the weights or batch statistics hold values that are no numbers")

    def on_loader_end(self, runner: TrainingRun) -> None:
        """Looks at the rest of the losses, the batch norm layers and the classes."""
        if not runner.is_train_loader:
            return
        self._look(runner)
        for name, (dead, channels) in list(dead_channels(runner.network).items())[:1]:
            self._warn(
                "dead", runner, f"{name}: the running variance of {dead} of {channels} channels is 0 or no number"
            )
        counter = next((c for c in runner.callbacks.values() if isinstance(c, MeanIoU)), None)
        if counter is not None:
            missing = (counter.matrix.sum(1) == 0).nonzero().flatten().tolist()
            shown = [counter.names[index] if counter.names else str(index) for index in missing]
            whole = "the whole epoch" if runner.length.unit == "epoch" else "this round of iterations"
            if missing:
                self._warn("classes", runner, f"no training label of class {', '.join(shown)} in {whole}")

    def _look(self, runner: TrainingRun) -> None:
        if not self._rows:
            return
        table = torch.stack(self._rows)
        first, self._first, self._rows = self._first, self._first + len(self._rows), []
        own_losses, counts = table[:, 0], table[:, 1:].clone()
        runner.engine.sum_reduce(counts)
        rows = torch.cat([own_losses[:, None], counts], 1).tolist()
        for step, (loss, bad, unlabelled) in enumerate(rows, start=first):
            if bad and self.on_nan == "stop":
                self._stop(runner, step, f"the loss is {loss}")
            elif bad:
                self._warn("skipped", runner, f"the loss is {loss}; batch left out: {self._files(runner, step)}", step)
            elif unlabelled:
                self._warn("unlabelled", runner, f"no labelled pixel in the batch {self._files(runner, step)}", step)
            else:
                self._watch_spike(runner, step, loss)

    def _watch_spike(self, runner: TrainingRun, step: int, loss: float) -> None:
        if len(self._recent) >= ENOUGH and "spike" not in self._warned:
            median = statistics.median(self._recent)
            if loss > self.spike_factor * median:
                text = f"the loss is {loss:.4g}, the median of the last {len(self._recent)} steps {median:.4g}; batch "
                self._warn("spike", runner, text + self._files(runner, step), step)
        self._recent.append(loss)

    @staticmethod
    def _files(runner: TrainingRun, step: int) -> str:
        return ", ".join(batch_files(runner, step))

    def _warn(self, kind: str, runner: TrainingRun, text: str, step: int | None = None) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warn(f"{self._place(runner, step)}: {text} (told once)")

    @staticmethod
    def _place(runner: TrainingRun, step: int | None) -> str:
        if runner.length.unit == "iteration":
            at = runner.milestone if step is None else runner.length.steps(runner.first_batch + step + 1)
            return f"iteration {at}"
        return f"epoch {runner.epoch_step}" + ("" if step is None else f" step {step + 1}")

    def _stop(self, runner: TrainingRun, step: int, what: str) -> None:
        engine = runner.engine
        parts = runner.consensus.gather(self._files(runner, step), engine.is_main_process, engine.num_processes)
        good, _ = newest_intact(resumable(runner.logdir / "model")) if engine.is_main_process else (None, [])
        known = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
        raise DivergedError(
            f"{self._place(runner, step)}: {what}; batch: {', '.join(parts or [])}; {known}; look at "
            "these images, lower the learning rate, or leave such batches out with callbacks.watch.on_nan=skip"
        )
