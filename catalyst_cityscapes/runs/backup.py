"""The run that `--overwrite` replaces: kept as a whole in `LOGDIR/replaced` until the new one has a checkpoint."""

import os
import shutil
from pathlib import Path

FOLDER = "replaced"
FILES = ("recipe.yml", "environment.json", "metrics.csv", "iterations.csv", "model/iterations.csv")


def set_aside(logdir: Path) -> None:
    """Moves a run's checkpoints, recipe and logs into `LOGDIR/replaced`, which is a run folder that can be resumed.

    A new run that ended before its first checkpoint leaves nothing worth keeping: what is set aside then stays.
    """
    checkpoints = sorted((logdir / "model").glob("*.pth"))
    if not checkpoints:
        return
    discard(logdir)
    for path in [*checkpoints, *(logdir / name for name in FILES)]:
        if path.is_file():
            target = logdir / FOLDER / path.relative_to(logdir)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


def restore(logdir: Path) -> None:
    """Puts back what was set aside, when the new run has failed before it had a checkpoint."""
    folder = logdir / FOLDER
    if not folder.is_dir() or any((logdir / "model").glob("*.pth")):
        return
    for name in FILES:
        (logdir / name).unlink(missing_ok=True)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        os.replace(path, logdir / path.relative_to(folder))
    discard(logdir)


def discard(logdir: Path) -> None:
    """Removes what was set aside, if anything; for the time when the new run has a complete checkpoint."""
    if (logdir / FOLDER).is_dir():
        shutil.rmtree(logdir / FOLDER)
