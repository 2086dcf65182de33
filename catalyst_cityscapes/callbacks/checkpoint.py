"""Checkpoints in the official format, atomic, whose best really is the best; also in the middle of an epoch."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from catalyst.core.callback import ICheckpointCallback
from torch import distributed

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.runs import backup
from catalyst_cityscapes.runs.checkpoints import (
    BEST,
    LAST,
    link_atomically,
    newest_intact,
    remove_within,
    resumable,
    whole_files,
    whole_name,
    within_iteration_name,
    within_name,
)
from catalyst_cityscapes.runs.disk_space import check_space, require_space
from catalyst_cityscapes.train.context import Place, PlacedCallback, TrainingRun
from catalyst_cityscapes.train.preemption import NOTHING, SAVE, STOP
from catalyst_cityscapes.train.reported_metrics import check_metric
from catalyst_cityscapes.train.resume import order_state, process_state
from semseg_ref.base.checkpoints.state_dict import official_state_dict, save_checkpoint
from semseg_ref.base.errors import OptionError, PreemptedError, StorageError, did_you_mean


class Checkpoint(PlacedCallback, ICheckpointCallback):
    """Writes `model/train_epoch_N.pth` (official format plus the training state) and the links `last.pth` and
    `best.pth`; between two of them, every so many minutes or when a signal asks for it, one
    `within_epoch_N_batch_B.pth`. Where the recipe counts iterations they are `train_iter_N.pth` and
    `within_iter_N.pth`.

    A file is complete or absent: it is written under another name, synced and renamed. It comes after the schedule
    and the logs of its epoch or step, so that nothing of a checkpointed step is missing after a crash. Within an
    epoch, files are written only after an optimiser step, so that no gradients are pending, and each stays until
    the next checkpoint is complete.

    Args:
        save_every: epochs or iterations, as the recipe counts, between checkpoints; the last one is always saved. None:
            each epoch, or every tenth of the iterations.
        keep: how many of these files stay (2 in the reference); `best.pth` stays besides.
        metric: name of a loader metric that decides `best.pth`, or None: no best, as in the reference.
        loader: whose metric.
        minimize: True when less is better. Only finite values can be best.
        select: which checkpoint the test scores, `last` (the reference) or `best`.
        every_minutes: longest time without a checkpoint, > 0; None: only whole epochs, and when a signal asks.
    """

    place = Place.CHECKPOINT

    @classmethod
    def role(cls, arguments: Mapping[str, Any]) -> Role:
        """Which checkpoint is tested; what decides on the best one counts only where that is tested."""
        watches = arguments.get("select", "last") == "best"
        kept = Role("log", affects="nothing")
        deciding = Role("model_selection", affects="selection", counted=watches)
        return Role(
            "model_selection",
            affects="selection",
            watches=watches,
            arguments={
                "every_minutes": kept,
                "keep": kept,
                "save_every": Role("log", affects="nothing", control=False),  # the control arm has an option for it
                "select": Role("model_selection", affects="selection", resume="another checkpoint will be tested"),
                **dict.fromkeys(("metric", "loader", "minimize"), deciding),
            },
        )

    def __init__(
        self,
        save_every: int | None = None,
        keep: int = 2,
        metric: str | None = None,
        loader: str = "valid",
        minimize: bool = False,
        select: Literal["last", "best"] = "last",
        every_minutes: float | None = None,
    ) -> None:
        super().__init__()
        if select not in ("last", "best"):
            raise OptionError(f"select: '{select}' is neither 'last' nor 'best'")
        if select == "best" and metric is None:
            raise OptionError("select: best needs a metric to decide which is best")
        if (save_every is not None and save_every < 1) or keep < 1:
            raise OptionError(f"save_every and keep must be >= 1, got {save_every} and {keep}")
        if every_minutes is not None and not 0 < every_minutes < math.inf:
            raise OptionError(f"every_minutes: {every_minutes} is not > 0")
        self.save_every, self.keep, self.every_minutes = save_every, keep, every_minutes
        self.metric, self.loader, self.minimize = metric, loader, minimize
        self.select = select
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Best score so far and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    @property
    def files_at_once(self) -> int:
        """How many files there can be, with the one that is being written."""
        return self.keep + 1 + (self.metric is not None) + (self.every_minutes is not None)

    def check_before_run(self, runner: TrainingRun) -> None:
        """Asks for the disk space of all files before anything is written.

        Raises:
            OptionError: nothing will report the metric, or nothing will decide which checkpoint is best.
            InputError: the files do not fit.
        """
        if self.metric is not None:
            check_metric(runner, "callbacks.checkpoint", self.metric, self.loader)
        if self.select == "best" and self.loader not in runner.loaders:
            raise OptionError(
                f"callbacks.checkpoint.select: best needs loader '{self.loader}', and validation.every is 0"
            )
        require_space(runner.logdir / "model", runner.checkpoint_bytes, self.files_at_once)

    def on_experiment_start(self, runner: TrainingRun) -> None:
        """Starts the clock; puts links right that a crash kept from being made."""
        self._saved_at = time.monotonic()
        source = runner.resume
        if source is None or not runner.engine.is_main_process or source.parent != runner.logdir / "model":
            return
        if runner.batches_done == 0 and source.name not in (LAST, BEST):
            link_atomically(source, LAST)
            if self.best_epoch == runner.milestone:
                link_atomically(source, BEST)

    def on_batch_end(self, runner: TrainingRun) -> None:
        """Saves between two optimiser steps, or during validation, where any process wants it."""
        if runner.is_train_loader and not runner.optimizer_stepped:
            return
        # Beyond the batches that every process has, there is nobody to agree with.
        if runner.iteration >= runner.common_batches:
            return
        asked = runner.consensus.exchange(self._vote(runner))
        if asked == NOTHING:
            return
        path = self._save_within(runner)
        if asked == STOP:
            raise self._preempted(runner, path)

    def _vote(self, runner: TrainingRun) -> int:
        if runner.signals.received is not None:
            return STOP
        due = self.every_minutes is not None and time.monotonic() - self._saved_at >= 60 * self.every_minutes
        return SAVE if due and runner.engine.is_main_process else NOTHING

    def _preempted(self, runner: TrainingRun, path: Path) -> PreemptedError:
        reason = runner.signals.received or "a signal to another process"
        return PreemptedError(f"stopped by {reason}; saved {path}; go on with --resume auto")

    def on_epoch_end(self, runner: TrainingRun) -> None:
        """Saves, links, prunes; all ranks wait for the main one."""
        improved = self._improved(runner)
        due = runner.length.is_due(runner.milestone, runner.length.interval(self.save_every))
        if due or improved:
            runner.prepare_checkpoint()
            parts = self._orders(runner)
            if runner.engine.is_main_process:
                self._save(runner, improved, due, parts)
            if distributed.is_initialized():
                distributed.barrier()
        asked = runner.consensus.exchange(self._vote(runner))
        # A run that is at its end just ends; without a file of this epoch the next step saves.
        if asked == STOP and due and runner.milestone < runner.length.total and not runner.need_early_stop:
            raise self._preempted(runner, runner.logdir / "model" / LAST)

    def _improved(self, runner: TrainingRun) -> bool:
        if self.metric is None or self.loader not in runner.epoch_metrics:
            return False
        metrics = runner.epoch_metrics[self.loader]
        if self.metric not in metrics:
            raise OptionError(
                f"callbacks.checkpoint.metric: loader '{self.loader}' has no metric '{self.metric}'"
                f"{did_you_mean(self.metric, metrics)}"
            )
        score = metrics[self.metric]
        better = self.best is None or (score < self.best if self.minimize else score > self.best)
        if not math.isfinite(score) or not better:
            return False
        self.best, self.best_epoch = score, runner.milestone
        return True

    def _orders(self, runner: TrainingRun) -> dict[str, Any]:
        # Only a round of iterations ends within an epoch, whose order cannot always be drawn again.
        if runner.length.unit == "epoch":
            return {}
        order = order_state(runner)
        if order["order"] is None or (runner.first_batch + runner.round_batches) % runner.train_batches == 0:
            return {}
        return {"processes": self._gathered(runner, order)}

    @staticmethod
    def _gathered(runner: TrainingRun, part: dict[str, Any]) -> list[dict[str, Any]] | None:
        return runner.consensus.gather(part, runner.engine.is_main_process, runner.engine.num_processes)

    def _save(self, runner: TrainingRun, improved: bool, due: bool, parts: dict[str, Any]) -> None:
        folder, unit = runner.logdir / "model", runner.length.unit
        path = folder / whole_name(unit, runner.milestone)
        self._write(runner, path, {**runner.state_dict(), **parts})
        if improved:
            link_atomically(path, BEST)
        if not due:
            path.unlink()
            return
        link_atomically(path, LAST)
        remove_within(folder)
        backup.discard(runner.logdir)
        # Later ones are there when a run goes on from an older checkpoint; they must not push out the new ones.
        files = {done: file for done, file in whole_files(folder, unit).items() if done <= runner.milestone}
        for done in sorted(files)[: -self.keep]:
            files[done].unlink()

    def _save_within(self, runner: TrainingRun) -> Path:
        """All processes give their part, the main one writes; returns the file's path."""
        runner.prepare_checkpoint()
        batches = runner.iteration + 1 if runner.is_train_loader else runner.round_batches
        position: dict[str, Any] = {"batches": batches}
        if runner.length.unit == "epoch":
            position["epoch"] = runner.epoch_step - 1
            name = within_name((position["epoch"], batches))
        else:
            name = within_iteration_name(runner.optimizer_steps)
        path = runner.logdir / "model" / name
        parts = self._gathered(runner, process_state(runner))
        if parts is not None:
            # In validation the training's part of the epoch is over, and validation starts again.
            trained = None if runner.is_train_loader else dict(runner.epoch_metrics["train"])
            position |= {"train_metrics": trained, "processes": parts}
            self._write(runner, path, {**runner.state_dict(), **position})
            remove_within(path.parent, but=path)
            backup.discard(runner.logdir)
        if distributed.is_initialized():
            distributed.barrier()
        return path

    def _write(self, runner: TrainingRun, path: Path, state: dict[str, Any]) -> None:
        state = {**state, "state_dict": official_state_dict(runner.network)}
        try:
            check_space(path.parent, runner.checkpoint_bytes)
            save_checkpoint(path, state)
        except StorageError as error:
            good, _ = newest_intact(resumable(path.parent)) if path.parent.is_dir() else (None, [])
            known = f"the last good checkpoint is {good}" if good else "there is no earlier checkpoint"
            raise StorageError(f"{error}; {known}; when there is room again, go on with --resume auto") from error
        self._saved_at = time.monotonic()
