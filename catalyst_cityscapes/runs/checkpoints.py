"""The folder `model` of a run: names of checkpoints, which is newer, links, what a crash left behind.

`train_epoch_N.pth` holds N whole epochs, `within_epoch_N_batch_B.pth` the state after B batches of epoch N (counted
from 1), and `last.pth` is the same file as the newest of the first kind. A run that counts iterations has
`train_iter_N.pth` where it was to save, and `within_iter_N.pth`, after N iterations too, in between.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semseg_ref.base.errors import CheckpointError

UNITS = {"epoch": "epoch", "iteration": "iter"}
"""What file names call that which a recipe counts."""
WHOLE_FILE = {unit: re.compile(rf"train_{name}_(\d+)\.pth") for unit, name in UNITS.items()}
WITHIN_FILE = re.compile(r"within_epoch_(\d+)_batch_(\d+)\.pth")
WITHIN_ITERATION = re.compile(r"within_iter_(\d+)\.pth")
LAST, BEST = "last.pth", "best.pth"
Trained = dict[str, int | None]
"""How long a checkpoint's weights were trained: `epoch`, and `iteration` of a run that counts those."""
Position = tuple[int, int]
"""(whole epochs, batches of the next one); of iterations (N, 0), and (N - 1, 1) where N ended within a round."""


def whole_name(unit: str, done: int | str) -> str:
    """File name of a checkpoint after so many epochs or iterations."""
    return f"train_{UNITS[unit]}_{done}.pth"


def within_name(position: Position) -> str:
    """File name of a checkpoint in the middle of an epoch."""
    return f"within_epoch_{position[0] + 1}_batch_{position[1]}.pth"


def within_iteration_name(iterations: int) -> str:
    """File name of a checkpoint after so many iterations, where the run was not to validate and save yet."""
    return f"within_iter_{iterations}.pth"


def trained_for(content: Mapping[str, Any]) -> Trained:
    """Of a checkpoint's content."""
    return {"epoch": content.get("epoch"), **{key: content[key] for key in ("iteration",) if key in content}}


def trained_text(content: Mapping[str, Any]) -> str:
    """The same for people, of a checkpoint or a score: `epoch 200` or `iteration 80000`."""
    return f"iteration {content['iteration']}" if "iteration" in content else f"epoch {content.get('epoch')}"


def position_of(path: Path) -> Position | None:
    """What a checkpoint's name says; None for any other name."""
    for pattern in WHOLE_FILE.values():
        if match := pattern.fullmatch(path.name):
            return int(match[1]), 0
    if match := WITHIN_FILE.fullmatch(path.name):
        return int(match[1]) - 1, int(match[2])
    if match := WITHIN_ITERATION.fullmatch(path.name):
        return int(match[1]) - 1, 1
    return None


def whole_files(folder: Path, unit: str) -> dict[int, Path]:
    """Complete `train_epoch_N.pth` or `train_iter_N.pth` files of a folder by N, ascending."""
    found = ((WHOLE_FILE[unit].fullmatch(path.name), path) for path in folder.glob(whole_name(unit, "*")))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def resumable(folder: Path) -> list[Path]:
    """Checkpoints that a run can go on from, the newest first; damaged ones too.

    `last.pth` says where the run is. Epochs or iterations beyond it are of a branch that was left, when somebody went
    on from an older file.
    """
    named = [(position, path) for path in folder.glob("*.pth") if (position := position_of(path)) is not None]
    named.sort(reverse=True)
    last = folder / LAST
    if not last.is_file():
        return [path for _, path in named]
    position = next((position for position, path in named if path.samefile(last)), None) or _read_position(last)
    if position is None:
        return [last, *(path for _, path in named)]
    newer = [path for other, path in named if other > position and other[1]]
    older = [path for other, path in named if other < position]
    return [*newer, last, *older]


def _read_position(path: Path) -> Position | None:
    # Here and below at its use, because names of files are asked for without torch.
    from semseg_ref.base.checkpoints.reading import read_checkpoint

    try:
        content = read_checkpoint(path)
    except CheckpointError:
        return None
    done = content.get("iteration", content.get("epoch")) if isinstance(content, dict) else None
    return (done, 0) if isinstance(done, int) else None


def newest_intact(paths: list[Path]) -> tuple[Path | None, list[str]]:
    """The first file whose bytes are as they were written, and what is wrong with those before it."""
    from semseg_ref.base.checkpoints.checksum import check_integrity

    damages = []
    for path in paths:
        try:
            check_integrity(path)
        except CheckpointError as error:
            damages.append(str(error))
        else:
            return path, damages
    return None, damages


def link_atomically(target: Path, name: str) -> None:
    """Makes `name` in the target's folder the same file as `target` (hard link, or a copy where links do not exist)."""
    temporary = target.with_name(name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(target, temporary)
    except OSError:
        shutil.copyfile(target, temporary)
    os.replace(temporary, target.with_name(name))
    temporary.unlink(missing_ok=True)  # of two links to one file, renaming leaves both


def remove_within(folder: Path, but: Path | None = None) -> None:
    """Removes checkpoints in the middle of an epoch, all but one; called when a newer checkpoint is complete."""
    for path in folder.glob("within_*.pth"):
        if position_of(path) is not None and path != but:
            path.unlink(missing_ok=True)


def remove_leftovers(logdir: Path) -> None:
    """Removes the temporary files of a process that was killed while it wrote; only one run uses a folder at a time."""
    for pattern in ("*.tmp", ".*.tmp", "model/*.tmp"):
        for path in logdir.glob(pattern):
            path.unlink(missing_ok=True)


def occupied(folder: Path) -> int:
    """Bytes of all checkpoints of a folder; a file with several names counts once."""
    files = {
        (status.st_dev, status.st_ino): status.st_size for status in (path.stat() for path in folder.glob("*.pth"))
    }
    return sum(files.values())
