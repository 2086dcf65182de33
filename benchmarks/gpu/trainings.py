"""Trainings on toy scenes in both arms, in this process, and what two checkpoints have in common."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import torch

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.recipe.translation import recipe_to_official
from catalyst_cityscapes.toy_city import build_toy_city
from catalyst_cityscapes.train.engine import close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner
from gpu.place import SCENE, SMALL_BATCH, SMALL_CROP, TINY, WORK
from semseg_ref.base.arithmetic import deterministic_algorithms
from semseg_ref.base.checkpoints.reading import read_checkpoint
from semseg_ref.distributed import start_processes
from semseg_ref.train import run as train_control

EPOCHS = 2
CONFIGS = ("toy/pspnet18",) if TINY else ("toy/pspnet50",)
"""What only Catalyst trains; at toy size a small network, whose checkpoints are not 400 MB."""
DETERMINISTIC = ("engine.deterministic=true",)


def toy_recipe(
    folder: Path,
    *settings: str,
    crop: int = SMALL_CROP,
    batch: int = SMALL_BATCH,
    epochs: int = EPOCHS,
    configs: Sequence[str] = ("toy/pspnet50",),
) -> Recipe:
    """The official recipe, PSPNet-50 from random weights, on eight toy scenes; `settings` are `--set` values."""
    size = SCENE if TINY else (128, 256)
    city = build_toy_city(WORK / "toy", 2 * SMALL_BATCH, 1, 1, *size)
    return load_recipe(
        list(configs),
        [
            f"data.root={city}",
            f"data.crop=[{crop},{crop}]",
            f"sampling.batch_size={batch}",
            "sampling.workers=0",
            f"experiment.epochs={epochs}",
            f"experiment.logdir={folder}",
            *settings,
        ],
    )


def catalyst(recipe: Recipe, resume: Path | None = None) -> SegmentationRunner:
    """Trains a recipe through Catalyst; returns the runner."""
    runner = SegmentationRunner(recipe, resume)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runner.run()
    finally:
        close_processes()
    return runner


def control(recipe: Recipe) -> Path:
    """Trains a recipe without Catalyst; returns the last checkpoint."""
    with deterministic_algorithms(recipe.engine.deterministic):
        return train_control(recipe_to_official(recipe), start_processes(recipe.engine.device), log=lambda *_: None)


def checkpoint(folder: Path, epoch: int = EPOCHS) -> Path:
    """The checkpoint of an epoch in a run folder."""
    return folder / "model" / f"train_epoch_{epoch}.pth"


def difference(left: Path, right: Path) -> dict[str, object]:
    """How many of the network's tensors differ in any bit, and by how much."""
    first, second = (read_checkpoint(path)["state_dict"] for path in (left, right))
    if first.keys() != second.keys():
        raise ValueError(f"{left} and {right} hold other tensors")
    unequal = [name for name in first if not torch.equal(first[name], second[name])]
    gaps = [float((first[name].double() - second[name].double()).abs().max()) for name in unequal]
    return {
        "tensors": len(first),
        "unequal_tensors": len(unequal),
        "largest_difference": max(gaps, default=0.0),
        "first_unequal": unequal[0] if unequal else "",
    }
