"""Trainings on the toy city in both arms, and what it means that two of them are the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.recipe.translation import recipe_to_official
from catalyst_cityscapes.train.engine import close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner
from semseg_ref.base.arithmetic import deterministic_algorithms
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from semseg_ref.distributed import start_processes, stop_processes
from semseg_ref.train import run as train

CONFIG = "toy/pspnet50"
# PSPNet's pooling to 1 x 1 needs two images a process in training; 33 is the smallest crop with a 5 x 5 feature map.
TOY = (
    "experiment.epochs=2", "experiment.logdir=run", "sampling.batch_size=2", "sampling.workers=0", "data.crop=[33,33]",
    "engine.device=cpu",
)  # fmt: skip
SMALL = ("model._target_=support.networks.small.SmallLogits", "model.classes=19")
SMALL_PACKAGE = "support"
TRAINING_STATE = ("epoch", "state_dict", "optimizer")
STATE = (*TRAINING_STATE, "callbacks", "recipe", "seed", "scaler")
"""What a resumed run's checkpoints have in common with an uninterrupted one's."""
LOGS = ("iterations.csv", "metrics.csv")


def toy_settings(city: Path, *settings: str) -> list[str]:
    """`--set` values of a small training on a toy city; later ones win."""
    return [f"data.root={city}", *TOY, *settings]


def toy_recipe(city: Path, *settings: str, trusted: Sequence[str] = ()) -> Recipe:
    """Recipe of a small training on a toy city; `*SMALL` among the settings takes the small network."""
    return load_recipe([CONFIG], toy_settings(city, *settings), (SMALL_PACKAGE, *trusted))


def train_catalyst(recipe: Recipe, resume: Path | None = None) -> SegmentationRunner:
    """Trains in this process through Catalyst; returns the runner afterwards."""
    runner = SegmentationRunner(recipe, resume)
    try:
        runner.run()
    finally:
        close_processes()
    return runner


def train_control(recipe: Recipe, resume: Path | None = None) -> Path:
    """Trains in this process on the control arm; returns the last checkpoint. Writes to `LOGDIR/model`."""
    cfg = recipe_to_official(recipe)
    cfg.resume = None if resume is None else str(resume)
    try:
        with deterministic_algorithms(recipe.engine.deterministic):
            return train(cfg, start_processes(recipe.engine.device))
    finally:
        stop_processes()


def assert_same(left: Any, right: Any, where: str = "") -> None:
    """Fails unless two nested values are equal: tensors bit by bit, with their dtype and shape."""
    assert isinstance(left, torch.Tensor) == isinstance(right, torch.Tensor), where
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype, where
        assert left.shape == right.shape, where
        assert left.contiguous().view(-1).numpy().tobytes() == right.contiguous().view(-1).numpy().tobytes(), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right), where
        for index, pair in enumerate(zip(left, right, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    else:
        assert left == right, where


def assert_same_checkpoints(left: Path, right: Path, keys: Sequence[str] = TRAINING_STATE) -> None:
    """Fails unless two checkpoints hold the same bits: weights, buffers, momentum, groups, epoch."""
    first, second = read_checkpoint(left), read_checkpoint(right)
    for key in keys:
        assert_same(first[key], second[key], key)
    name = "exp_avg" if "betas" in first["optimizer"]["param_groups"][0] else "momentum_buffer"  # Adam's, SGD's
    momenta = [state[name] for state in first["optimizer"]["state"].values()]
    assert len(momenta) == sum(len(group["params"]) for group in first["optimizer"]["param_groups"])
    assert all(torch.count_nonzero(momentum) for momentum in momenta)


def assert_same_runs(left: Path, right: Path) -> None:
    """Fails unless two run folders hold the same files, checkpoints and logs."""
    names = [sorted(path.name for path in (folder / "model").iterdir()) for folder in (left, right)]
    assert names[0] == names[1]
    for name in names[0]:
        assert_same_checkpoints(left / "model" / name, right / "model" / name, STATE)
    for log in LOGS:
        assert (left / log).read_bytes() == (right / log).read_bytes(), log


def remove_checkpoints(folder: Path) -> None:
    """Deletes all checkpoints below a folder: one of PSPNet-50 has 400 MB, and pytest keeps its folders."""
    for pattern in ("*.pth", "*.pth.tmp"):
        for path in folder.rglob(pattern):
            path.unlink()
