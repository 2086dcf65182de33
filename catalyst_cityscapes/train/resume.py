"""What a checkpoint holds beside the weights, and going on from it, also in the middle of an epoch.

With named random streams every draw follows from its position, so that the position is enough. Only unseeded runs and
the reference's own order and augmentation need generators' states, one of each process.
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from catalyst_cityscapes.data.training_set import data_streams
from catalyst_cityscapes.recipe.changes import check_changes
from catalyst_cityscapes.recipe.key_roles import targets_that_matter
from catalyst_cityscapes.recipe.nodes import user_code
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.runs.environment import versions
from catalyst_cityscapes.train.context import TrainingRun
from semseg_ref.base.checkpoints.checksum import check_integrity
from semseg_ref.base.checkpoints.reading import read_checkpoint
from semseg_ref.base.checkpoints.state_dict import check_training_state
from semseg_ref.base.errors import CheckpointError
from semseg_ref.base.random_state import random_state, set_random_state


def _versions(runner: TrainingRun) -> dict[str, str]:
    return {**versions(), **user_code.digests(targets_that_matter(runner.recipe))}


def training_state(runner: TrainingRun) -> dict[str, Any]:
    """State at the end of an epoch, of plain types only, without the weights."""
    callbacks = {name: c.state_dict() for name, c in runner.callbacks.items() if hasattr(c, "state_dict")}
    optimizer = getattr(runner.optimizer, "optimizer", runner.optimizer)
    return {
        "epoch": runner.epoch_step,
        "optimizer": optimizer.state_dict(),
        "scaler": runner.engine.scaler.state_dict() if runner.engine.scaler is not None else None,
        "callbacks": callbacks,
        "seed": runner.recipe.experiment.seed,
        "catalyst_seed": runner.seed,
        "world_size": runner.engine.num_processes,
        "recipe": runner.recipe.model_dump(mode="json", by_alias=True),
        "versions": _versions(runner),
    }


def process_state(runner: TrainingRun) -> dict[str, Any]:
    """What only this process knows in the middle of an epoch: sums of its batches, its generators, its order.

    Its batch statistics too: those of the next training step are the main process's, but validation uses each
    process's own.
    """
    callbacks = {
        name: _on("cpu", c.loader_state()) for name, c in runner.callbacks.items() if hasattr(c, "loader_state")
    }
    leaves_draws = runner.streams is None or data_streams(runner.recipe) is None
    return {
        "callbacks": callbacks,
        "buffers": {} if runner.engine.is_main_process else _on("cpu", dict(runner.network.named_buffers())),
        "random": random_state() if leaves_draws else None,
        "order": list(runner.train_loader.sampler.order) if leaves_draws else None,
    }


def _on(device: torch.device | str, values: dict[str, Any]) -> dict[str, Any]:
    # Sent to the main process as they are, tensors of other GPUs would open contexts there.
    return {key: v.to(device) if isinstance(v, torch.Tensor) else v for key, v in values.items()}


def restore_buffers(runner: TrainingRun, buffers: dict[str, torch.Tensor]) -> None:
    """Gives this process its own batch statistics back; the main process's came with the weights."""
    own = dict(runner.network.named_buffers())
    for name, value in buffers.items():
        own[name].copy_(value)


def restore_process_state(runner: TrainingRun, state: dict[str, Any]) -> None:
    """Takes `process_state` up again, after the loader's callbacks were started and before its first batch."""
    for name, values in state["callbacks"].items():
        if name in runner.callbacks and hasattr(runner.callbacks[name], "load_loader_state"):
            runner.callbacks[name].load_loader_state(_on(runner.engine.device, values))
    if state["random"] is None:
        return
    # Once so that loader processes do not repeat the draws of the epoch's beginning, and once more because starting
    # them draws their seed.
    set_random_state(state["random"])
    loader, start = runner.train_loader, runner.iteration + 1
    loader.sampler.start_at(start * loader.batch_size, state["order"], lambda: set_random_state(state["random"]))


def read_training_state(runner: TrainingRun, path: Path, allowed: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """A checkpoint's content, when this run can go on from it, and what a person should know of what differs.

    Raises:
        CheckpointError: damaged, no training state, of another recipe, or of another number of processes in the
            middle of an epoch.
    """
    check_integrity(path)
    content = read_checkpoint(path)
    check_training_state(content, path, within_epoch=True)
    recipe = runner.recipe.model_dump(mode="json", by_alias=True)
    notes = check_changes(_complete(content.get("recipe")), recipe, path, allowed)
    notes += _check_processes(content, runner.engine.num_processes, path)
    before, now = content.get("versions", {}), _versions(runner)
    notes += [f"{name} was {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    return content, [f"{path}: {note}" for note in notes]


def _complete(recipe: dict[str, Any] | None) -> dict[str, Any] | None:
    """A checkpoint's recipe with the keys that it is older than: their defaults are what was done before."""
    try:
        return None if recipe is None else Recipe.model_validate(recipe).model_dump(mode="json", by_alias=True)
    except ValidationError:
        return recipe


def _check_processes(content: dict[str, Any], world_size: int, path: Path) -> list[str]:
    before = content.get("world_size", world_size)
    if before == world_size:
        return []
    if content.get("batches"):
        raise CheckpointError(
            f"{path}: was made in the middle of an epoch by {before} process(es), and here are {world_size}; start "
            f"{before}, or go on from a whole epoch with --resume {path.parent}/last.pth"
        )
    return [
        f"was made by {before} process(es), now {world_size}: batch statistics, dropout and losses are those of other "
        "shares of a batch from here on"
    ]
