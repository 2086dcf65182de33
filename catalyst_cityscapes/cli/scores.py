"""`catalyst-dl scores`: score files side by side."""

import json
from pathlib import Path
from typing import Any

import click

from semseg_ref.base.errors import InputError

NEEDED = ("mIoU", "mAcc", "allAcc", "images", "protocol")


@click.command()
@click.argument("paths", nargs=-1, metavar="[RUN | FOLDER | score.json]...")
def scores(paths: tuple[str, ...]) -> None:
    """Put score files side by side; says so where they are not comparable.

    Without arguments: all scores below exp/. Folders are searched for score.json.
    """
    files: list[Path] = []
    for path in map(Path, paths or ("exp",)):
        found = [path] if path.is_file() else sorted(path.rglob("score.json"))
        if not found:
            raise InputError(f"{path}: no score.json here; catalyst-dl test writes one")
        files += found
    from catalyst_cityscapes.report.table import print_scores

    print_scores([(str(file), read_score(file)) for file in dict.fromkeys(files)])


def read_score(path: Path) -> dict[str, Any]:
    """A score file's content.

    Raises:
        InputError: it is none.
    """
    try:
        score = json.loads(path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: no score file ({error})") from error
    missing = [key for key in NEEDED if not isinstance(score, dict) or key not in score]
    if missing:
        raise InputError(f"{path}: no score file of catalyst-dl test; it lacks {', '.join(missing)}")
    shapes = {"mIoU": float | int, "mAcc": float | int, "allAcc": float | int, "images": int, "protocol": dict | None}
    for key, shape in shapes.items():
        if not isinstance(score[key], shape):
            raise InputError(f"{path}: no score file of catalyst-dl test; {key}: {score[key]!r}")
    protocol = score["protocol"]
    if protocol is not None and not {"name", "hash"} <= protocol.keys():
        raise InputError(f"{path}: no score file of catalyst-dl test; protocol: lacks its name or its hash")
    return score
