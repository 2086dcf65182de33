"""`metrics.csv`: every loader metric of every epoch or round of iterations, one a row."""

import csv
import os

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import Place, PlacedCallback, TrainingRun
from semseg_ref.base.console import warn
from semseg_ref.base.iteration_log import append_rows, sync_file

COLUMNS = ("loader", "metric", "value")
"""After the first, which is `epoch` or `iteration`: what the recipe counts, so many of which were done."""


class EpochLogging(PlacedCallback):
    """Appends (epoch or iteration, loader, metric, value) rows; long form, so that a metric that appears later shifts
    no column.

    A callback and not a Catalyst logger, because the rows of an epoch must be on disk before its checkpoint is.
    """

    place = Place.EPOCH_LOG

    ROLE = Role("log", affects="nothing")

    def on_experiment_start(self, runner: TrainingRun) -> None:
        """Opens the file; a resumed run keeps the rows of finished epochs."""
        if not runner.engine.is_main_process:
            return
        self.path = runner.logdir / "metrics.csv"
        self.columns = (runner.length.unit, *COLUMNS)
        rows = []
        if runner.milestone and self.path.is_file():
            with open(self.path, newline="") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(self.columns) and row[0].isdigit()]
        temporary = self.path.with_name(self.path.name + ".tmp")
        with open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([self.columns, *(row for row in rows if int(row[0]) <= runner.milestone)])
        os.replace(temporary, self.path)

    def on_epoch_end(self, runner: TrainingRun) -> None:
        """Writes the epoch's or the round's rows."""
        if not runner.engine.is_main_process:
            return
        if not self.path.is_file():
            warn(f"{self.path}: is gone; a new one begins with {runner.length.unit} {runner.milestone}")
        rows = [
            (runner.milestone, loader, name, repr(value))
            for loader, metrics in runner.epoch_metrics.items()
            for name, value in metrics.items()
        ]
        append_rows(self.path, self.columns, rows)

    def prepare_checkpoint(self, runner: TrainingRun) -> None:
        """Puts the rows on the disk before the checkpoint is."""
        if runner.engine.is_main_process:
            sync_file(self.path)
