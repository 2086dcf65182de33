"""The loop on one page, and what the runner and the callbacks owe each other.

    network, optimizer, loaders = recipe                 callbacks of place NETWORK convert it (SyncBN)
    a resumed run takes its position and the callbacks' state
    check_before_run                                     every callback, before anything is written
    on_experiment_start                                  files are opened
    for epoch in epochs:                                 or rounds of iterations, between two stops
        on_epoch_start
        for loader in train, valid:                      valid only in epochs that validate
            on_loader_start                              sums are emptied
            for batch in loader:
                image, target = batch                    to the device; dropout is seeded by (epoch, step, rank)
                on_batch_start                           rates of this step are noted
                batch = network(image)                   outputs of all heads; main logits and labels at one size
                on_batch_end, in the order of `Place`:
                    LOSS        losses = criterion of each head; loss = main + weight * aux ...; areas for the mIoU
                    MONITOR     skip_batch = loss is no number, where such batches are left out
                    STEP        zero_grad; loss.backward(); every k batches optimizer.step()
                    RATES       the rates of the next step are written
                    STEP_LOG    losses and rates of this step are noted
                    EPOCH_LOG   (at the end of an epoch)
                    STOPPING    (at the end of an epoch)
                    CHECKPOINT  a checkpoint, where time or a signal asks for one; all of this step is in it
                    DISPLAY     progress, the determinism report
            on_loader_end                                sums over all processes -> loader_metrics
        on_epoch_end                                     in the same order: logs, stopping, then the checkpoint
    on_experiment_end

What stands in capitals happens in the `on_batch_end` of the callbacks of that `place`; the forward pass is
`SegmentationRunner.handle_batch`. In validation no dropout is seeded, and MONITOR, STEP, RATES, STEP_LOG and the
determinism report do nothing.

What a callback may read of the run, and the little that it may write, is declared by `TrainingRun`. Whoever measures a
callback without a training hands it one of the smaller parts: `ScheduleRun`, `LossRun` or `MetricRun`.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from catalyst.core.callback import (
    Callback,
    CallbackOrder,
    IBackwardCallback,
    ICriterionCallback,
    IOptimizerCallback,
)
from torch import nn
from torch.utils.data import DataLoader

from catalyst_cityscapes.models.outputs import Outputs, Resized
from catalyst_cityscapes.models.resizing import Resizing
from catalyst_cityscapes.recipe.length import Length
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.seed_streams import SeedStreams

Losses = dict[str, torch.Tensor]
"""0-dim losses by name: `loss` is what is stepped on, those of `losses.supervised.loss_names` are parts of it."""


class Place(IntEnum):
    """Where in a step, or at an event of the loop, a callback stands; Catalyst calls them from low to high.

    Callbacks of one place are called in the recipe's order.
    """

    NETWORK = CallbackOrder.Internal
    LOSS = CallbackOrder.Metric
    MONITOR = CallbackOrder.Metric + 5
    STEP = CallbackOrder.Optimizer
    RATES = CallbackOrder.Scheduler
    STEP_LOG = CallbackOrder.Scheduler + 1
    EPOCH_LOG = CallbackOrder.Scheduler + 2
    STOPPING = CallbackOrder.Scheduler + 5
    CHECKPOINT = CallbackOrder.Scheduler + 10
    DISPLAY = CallbackOrder.External


class PlacedCallback(Callback):
    """A callback that says its place; first among the bases, since Catalyst's interfaces fix an order of their own."""

    place: ClassVar[Place]

    def __init__(self) -> None:
        Callback.__init__(self, self.place)


class LossCallback(PlacedCallback, ICriterionCallback):
    """Computes the loss of a step; the runner needs one.

    `weights` are those of the auxiliary heads; 0 leaves a head out of the loss, and a callback that names none is not
    asked how many heads it wants. `criteria` are their own, None for the
    recipe's. `resize` and `align_corners` say how logits and labels of different sizes meet; None is the network's way.
    """

    place = Place.LOSS
    weights: tuple[float, ...] = ()
    criteria: tuple[nn.Module | None, ...] = ()
    resize: Resized | None = None
    align_corners: bool | None = None

    def losses_of(
        self,
        criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        outputs: Outputs,
        target: torch.Tensor,
        resizing: Resizing,
    ) -> Losses:
        """The losses of one batch, with their graph.

        Args:
            criterion: (logits, target) -> 0-dim loss.
            outputs: logits of the main head and, in training, of the auxiliary ones, float [N, K, h, w] each.
            target: int64 [N, H, W].
            resizing: what `resize` and `align_corners` came to for the network of this run.
        """
        raise NotImplementedError


class StepCallback(PlacedCallback, IBackwardCallback, IOptimizerCallback):
    """Computes the gradients and steps the optimiser; the runner needs one.

    `accumulation_steps` is the number of batches of one optimiser step.
    """

    place = Place.STEP
    accumulation_steps: int


class ScheduleRun(Protocol):
    """What a schedule may read: the position in the training; it writes into the optimiser's groups."""

    optimizer: torch.optim.Optimizer
    num_epochs: int
    """Epochs, or iterations where the recipe counts those, of the training."""
    epoch_step: int
    """Epoch, counted from 1, or iterations done where this round ends; before the first, those done so far."""
    train_batches: int
    """Batches of an epoch in this process; of an endless order those of the whole training."""
    steps_per_epoch: int
    """Optimiser steps of one pass over the data, also where the recipe counts iterations."""
    total_steps: int
    """Optimiser steps of the whole training."""
    optimizer_steps: int
    """Steps since the start of the training, also of a run before; counted up by the `StepCallback`."""
    optimizer_stepped: bool
    """Whether this batch ended with a step; written by the `StepCallback`."""
    iteration: int
    """Position in the loader's part of this round, counted from 0, of this process."""
    loader_key: str
    is_train_loader: bool


class LossRun(Protocol):
    """What a loss may read; it writes `losses` and puts `loss`, with its graph, into `batch_metrics`."""

    engine: Any
    """`device`, `num_processes`, `is_main_process`, `sum_reduce(*tensors)`."""
    criterion: nn.Module
    batch: Mapping[str, Any]
    """`features` float [N, 3, H, W]; `outputs`, the logits of all heads (`Outputs`), and `labels` int64 [N, H, W];
    `logits` float [N, K, h, w] and `targets` int64 [N, h, w], the main ones and the labels at one size;
    `prediction` int64 [N, H, W] where the test's protocol made it."""
    resizing: Resizing
    """How logits and labels of different sizes meet."""
    batch_size: int
    batch_metrics: dict[str, Any]
    loader_metrics: dict[str, float]
    losses: Losses
    """Detached losses of this batch; written by the `LossCallback`."""
    is_train_loader: bool


class MetricRun(Protocol):
    """What a metric may read; it writes into `loader_metrics`."""

    engine: Any
    batch: Mapping[str, Any]
    batch_metrics: dict[str, Any]
    loader_metrics: dict[str, float]
    is_train_loader: bool
    is_valid_loader: bool


def step_losses(run: LossRun) -> Losses:
    """The losses of this batch; a loss of somebody's own may not name its parts, and is then the main one."""
    whole = run.batch_metrics["loss"].detach()
    return run.losses or {"main_loss": whole, "loss": whole}


class TrainingRun(ScheduleRun, LossRun, MetricRun, Protocol):
    """All that a callback may use of the runner, which it gets as the only argument of every event."""

    recipe: Recipe
    logdir: Path
    resume: Path | None
    """Checkpoint that this run resumes from."""
    seed: int
    streams: SeedStreams | None
    """Named random streams; None in an unseeded run."""
    network: nn.Module
    """The bare network, without DDP."""
    callbacks: Mapping[str, Callback]
    loaders: Mapping[str, DataLoader]
    train_loader: DataLoader
    """Also there while an epoch is resumed in its validation, when `loaders` lacks it."""
    loader_batch_len: int
    length: Length
    """Steps and batches of the training, in the unit that the recipe counts in."""
    milestone: int
    """Epochs or iterations, as the recipe counts, that are done where this round ends: `epoch_step` by its meaning."""
    first_batch: int
    """Batches of the training before this round, in each process."""
    round_batches: int
    """Batches of this round's training, in each process."""
    data_epoch: int
    """Pass over the data, counted from 0, that this training batch begins in."""
    data_batch: int
    """Batch of that pass, counted from 0; of an endless order that of the whole training."""
    common_batches: int
    """Batches of this loader that every process has: beyond them there is nobody to agree with."""
    batches_done: int
    """Batches of the coming round that the checkpoint to resume from has behind it."""
    epoch_metrics: Mapping[str, Mapping[str, float]]
    skip_batch: bool
    """This batch gives no gradient; written by a monitor before the step, by all processes alike."""
    need_early_stop: bool
    """The training ends after this epoch; written by whoever stops it."""
    consensus: Any
    """`train.preemption.Consensus`: what any process wanted at the step before."""
    signals: Any
    """`train.preemption.StopSignals`."""
    checkpoint_bytes: int

    def state_dict(self) -> dict[str, Any]:
        """Training state beside the weights: what `--resume` restores."""

    def prepare_checkpoint(self) -> None:
        """Tells the callbacks, on all processes, that a checkpoint is about to be written."""
