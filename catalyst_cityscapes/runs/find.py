"""Which run, and which of its checkpoints, a command takes where none is named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.runs.checkpoints import position_of
from semseg_ref.base.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from catalyst_cityscapes.recipe.schema import Recipe


def newest_run(root: Path) -> Path:
    """The run folder below `root` whose last checkpoint is the newest.

    Raises:
        InputError: there is none.
    """
    runs = [path.parent for path in root.rglob(RECIPE_FILE) if (path.parent / "model").is_dir()]
    dated = [
        (max(p.stat().st_mtime for p in run.glob("model/*.pth")), run) for run in runs if any(run.glob("model/*.pth"))
    ]
    if not dated:
        raise InputError(
            f"{root.absolute()}: no run with a checkpoint below it; train one, or give --config and --checkpoint"
        )
    return max(dated)[1]


def chosen_checkpoint(recipe: Recipe, folder: Path) -> Path:
    """`last.pth`, or `best.pth` where the recipe selects the best; of the control arm the newest file."""
    select = (recipe.callbacks.get("checkpoint") or {}).get("select", "last")
    path = folder / "model" / f"{select}.pth"
    if path.is_file():
        return path
    named = [(position, file) for file in (folder / "model").glob("train_*.pth") if (position := position_of(file))]
    files = [file for _, file in sorted(named)]
    if select == "last" and files:
        return files[-1]
    raise CheckpointError(f"{path}: no such checkpoint in this run")
