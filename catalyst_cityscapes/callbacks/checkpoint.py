"""Checkpoints in the official format, atomic, whose best really is the best."""

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from catalyst import dl
from catalyst.core.callback import CallbackOrder, ICheckpointCallback
from torch import distributed

from catalyst_cityscapes.callbacks.reported_metrics import check_metric
from catalyst_cityscapes.recipe import replaced_run
from semseg_ref.checkpoint import official_state_dict, save_checkpoint
from semseg_ref.errors import OptionError, did_you_mean

EPOCH_FILE = re.compile(r"train_epoch_(\d+)\.pth")


def link_atomically(target: Path, name: str) -> None:
    """Makes `name` in the target's folder the same file as `target` (hard link, or a copy where links do not exist)."""
    temporary = target.with_name(name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(target, temporary)
    except OSError:
        shutil.copyfile(target, temporary)
    os.replace(temporary, target.with_name(name))


def epoch_files(folder: Path) -> dict[int, Path]:
    """Complete `train_epoch_N.pth` files of a folder by N."""
    found = ((EPOCH_FILE.fullmatch(path.name), path) for path in folder.glob("train_epoch_*.pth"))
    return {int(match[1]): path for match, path in sorted(found, key=lambda item: item[1]) if match}


class Checkpoint(ICheckpointCallback):
    """Writes `model/train_epoch_N.pth` (official format plus the training state) and the links `last.pth` and
    `best.pth`.

    A file is complete or absent: it is written under another name, synced and renamed. It comes after the schedule
    and the logs of its epoch, so that nothing of a checkpointed epoch is missing after a crash.

    Args:
        save_every: epochs between checkpoints; the last epoch is always saved.
        keep: how many epoch files stay (2 in the reference); `best.pth` stays besides.
        metric: name of a loader metric that decides `best.pth`, or None: no best, as in the reference.
        loader: whose metric.
        minimize: True when less is better. Only finite values can be best.
        select: which checkpoint the test scores, `last` (the reference) or `best`.
    """

    def __init__(
        self,
        save_every: int = 1,
        keep: int = 2,
        metric: str | None = None,
        loader: str = "valid",
        minimize: bool = False,
        select: Literal["last", "best"] = "last",
    ) -> None:
        super().__init__()
        self.order = CallbackOrder.Scheduler + 10
        if select not in ("last", "best"):
            raise OptionError(f"select: '{select}' is neither 'last' nor 'best'")
        if select == "best" and metric is None:
            raise OptionError("select: best needs a metric to decide which is best")
        if save_every < 1 or keep < 1:
            raise OptionError(f"save_every and keep must be >= 1, got {save_every} and {keep}")
        self.save_every, self.keep = save_every, keep
        self.metric, self.loader, self.minimize = metric, loader, minimize
        self.select = select
        self.best: float | None = None
        self.best_epoch: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Best score so far and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    def check_before_run(self, runner: dl.IRunner) -> None:
        """Raises OptionError when nothing will report the metric, or nothing will decide which checkpoint is best."""
        if self.metric is not None:
            check_metric(runner, "callbacks.checkpoint", self.metric, self.loader)
        if self.select == "best" and self.loader not in runner.loaders:
            raise OptionError(
                f"callbacks.checkpoint.select: best needs loader '{self.loader}', and validation.every is 0"
            )

    def on_epoch_end(self, runner: dl.IRunner) -> None:
        """Saves, links, prunes; all ranks wait for the main one."""
        improved = self._improved(runner)
        due = runner.epoch_step % self.save_every == 0 or runner.epoch_step == runner.num_epochs
        if (due or improved) and runner.engine.is_main_process:
            self._save(runner, improved, due)
        if distributed.is_initialized():
            distributed.barrier()

    def _improved(self, runner: dl.IRunner) -> bool:
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
        self.best, self.best_epoch = score, runner.epoch_step
        return True

    def _save(self, runner: dl.IRunner, improved: bool, due: bool) -> None:
        folder = runner.logdir / "model"
        state = {
            **runner.state_dict(),
            "state_dict": official_state_dict(runner.network),
            "torch": str(torch.__version__),
        }
        path = folder / f"train_epoch_{runner.epoch_step}.pth"
        save_checkpoint(path, state)
        if improved:
            link_atomically(path, "best.pth")
        if not due:
            path.unlink()
            return
        link_atomically(path, "last.pth")
        replaced_run.discard(runner.logdir)
        # Later epochs are there when a run goes on from an older checkpoint; they must not push out the new ones.
        files = {epoch: file for epoch, file in epoch_files(folder).items() if epoch <= runner.epoch_step}
        for epoch in sorted(files)[: -self.keep]:
            files[epoch].unlink()
