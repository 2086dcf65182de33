"""`determinism.json`: which operations without a deterministic form a run's steps have."""

import json

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import Place, PlacedCallback, TrainingRun
from catalyst_cityscapes.train.determinism import ledger, nondeterministic_operations
from semseg_ref.base.files import replace_atomically


class DeterminismReport(PlacedCallback):
    """Writes the ledger after the first training step of each start; changes no number, costs a step of two images."""

    ROLE = Role("log", affects="nothing")
    place = Place.DISPLAY

    def __init__(self) -> None:
        super().__init__()
        self._is_written = False

    def on_batch_end(self, runner: TrainingRun) -> None:
        """Looks once."""
        if self._is_written or not runner.is_train_loader:
            return
        self._is_written = True
        operations = nondeterministic_operations(runner)
        if runner.engine.is_main_process:
            text = json.dumps(ledger(runner, operations), indent=1) + "\n"
            replace_atomically(runner.logdir / "determinism.json", lambda file: file.write(text.encode()))
