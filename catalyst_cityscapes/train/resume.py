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
    """State at the end of a round, of plain types only, without the weights.

    `epoch` are whole epochs; a run that counts iterations also has `iteration`.
    """
    callbacks = {name: c.state_dict() for name, c in runner.callbacks.items() if hasattr(c, "state_dict")}
    optimizer = getattr(runner.optimizer, "optimizer", runner.optimizer)
    position = {"epoch": runner.epoch_step}
    if runner.length.unit == "iteration":
        batches = runner.length.batches(runner.optimizer_steps)
        position = {"epoch": batches // runner.length.batches_per_epoch, "iteration": runner.optimizer_steps}
    return {
        **position,
        "optimizer": optimizer.state_dict(),
        "scaler": runner.engine.scaler.state_dict() if runner.engine.scaler is not None else None,
        "callbacks": callbacks,
        "seed": runner.recipe.experiment.seed,
        "catalyst_seed": runner.seed,
        "world_size": runner.engine.num_processes,
        "recipe": runner.recipe.plain(),
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
    return {
        "callbacks": callbacks,
        "buffers": {} if runner.engine.is_main_process else _on("cpu", dict(runner.network.named_buffers())),
        "random": random_state() if leaves_draws(runner) else None,
        **order_state(runner),
    }


def leaves_draws(runner: TrainingRun) -> bool:
    """Whether some draws do not follow from their position."""
    return runner.streams is None or data_streams(runner.recipe) is None


def order_state(runner: TrainingRun) -> dict[str, Any]:
    """This process's order of the present epoch, where it cannot be drawn again."""
    is_drawn_once = leaves_draws(runner) and not runner.length.endless
    return {"order": list(runner.train_loader.sampler.order) if is_drawn_once else None}


def restore_order(runner: TrainingRun, state: dict[str, Any]) -> None:
    """Goes on with the order of a round before, which ended within an epoch."""
    now = random_state()
    runner.loaders["train"].go_on_with(state["order"], lambda: set_random_state(now))


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
    order, then = state["order"], lambda: set_random_state(state["random"])
    if runner.length.unit == "iteration":
        if (runner.first_batch + start) % runner.train_batches:
            runner.loaders["train"].go_on_with(order, then)
    else:
        loader.sampler.start_at(start * loader.batch_size, order, then)


def read_training_state(runner: TrainingRun, path: Path, allowed: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """A checkpoint's content, when this run can go on from it, and what a person should know of what differs.

    Raises:
        CheckpointError: damaged, no training state, of another recipe, or of another number of processes in the
            middle of an epoch.
    """
    check_integrity(path)
    content = read_checkpoint(path)
    check_training_state(content, path, within_epoch=True)
    unit, other = ("epochs", "iterations") if runner.recipe.experiment.iterations is None else ("iterations", "epochs")
    if ("iteration" in content) != (unit == "iterations"):
        raise CheckpointError(
            f"{path}: was made by a run that counts {other}, and this one counts {unit}; set experiment.{other}, or "
            "start a new run from its weights with experiment.weights"
        )
    recipe = runner.recipe.plain()
    notes = check_changes(_complete(content.get("recipe")), recipe, path, allowed)
    notes += _check_processes(content, runner.engine.num_processes, path)
    notes += _unsaved_generators(runner, content)
    before, now = content.get("versions", {}), _versions(runner)
    notes += [f"{name} was {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    return content, [f"{path}: {note}" for note in notes]


def _complete(recipe: dict[str, Any] | None) -> dict[str, Any] | None:
    """A checkpoint's recipe with the keys that it is older than: their defaults are what was done before."""
    try:
        return None if recipe is None else Recipe.model_validate(recipe).plain()
    except ValidationError:
        return recipe


def _unsaved_generators(runner: TrainingRun, content: dict[str, Any]) -> list[str]:
    sampling = runner.recipe.sampling
    # Processes that start with an epoch draw their seed then, as they would have in an uninterrupted run.
    amid = bool(content.get("batches")) or "iteration" in content or sampling.persistent_workers
    if not (sampling.workers and amid and leaves_draws(runner)):
        return []
    return [
        "the generators of loader processes are not saved, so that augmentation draws otherwise from here on than in "
        "an uninterrupted run (sampling.seed_stream: named with a seed, or sampling.workers: 0, repeats its bits)"
    ]


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
