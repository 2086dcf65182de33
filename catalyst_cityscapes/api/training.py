"""Training a recipe, through Catalyst or on the control arm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from catalyst_cityscapes.api.arguments import listed
from catalyst_cityscapes.api.run import Run
from semseg_ref.base.console import is_main, warn
from semseg_ref.base.errors import CheckpointError, InputError
from semseg_ref.base.safe.torch_load import no_pickled_code

if TYPE_CHECKING:
    from catalyst_cityscapes.recipe.schema import Recipe


@no_pickled_code()
def train(
    recipe: Recipe,
    resume: str | Path | None = None,
    overwrite: bool = False,
    reference: bool = False,
    allow_changed: Sequence[str] = (),
) -> Run:
    """Trains a recipe as `catalyst-dl run` does, in this process; prints its progress.

    Signals, the process group and torch's settings of cuDNN and TF32 are afterwards as they were. The generators of
    random, numpy and torch are not: a training seeds them.

    Args:
        recipe: of `load_recipe`; the run folder is its `experiment.logdir`.
        resume: a checkpoint to go on from, or `auto`: the run folder's last, if any.
        overwrite: start anew in a folder that holds another run's checkpoints.
        reference: train on the control arm (`semseg_ref`), without Catalyst.
        allow_changed: with `resume`: keys of the recipe that may differ from the checkpoint's.

    Raises:
        InputError: as on the command line, before anything is written.
        RunStopError: the run had to stop: a diverged loss, a full disk, SIGTERM or SIGUSR1.
    """
    keys = tuple(listed("allow_changed", allow_changed))
    if keys and (resume is None or reference):
        raise InputError("--allow-changed: goes with --resume, and not with --control")
    from catalyst_cityscapes.runs.folder import refuse_existing_run

    folder = Path(recipe.experiment.logdir)
    checkpoint = _checkpoint_to_resume(folder, resume, whole_epochs=reference)
    refuse_existing_run(recipe, checkpoint, overwrite)
    with _settings_restored():
        if reference:
            _train_reference(recipe, checkpoint)
        else:
            _train_catalyst(recipe, checkpoint, keys if checkpoint else ())
    return Run(folder, recipe)


def _checkpoint_to_resume(folder: Path, resume: str | Path | None, whole_epochs: bool) -> Path | None:
    if resume is None:
        return None
    if resume == "auto":
        return _newest(folder, whole_epochs)
    if not Path(resume).is_file():
        raise CheckpointError(f"--resume {resume}: no such checkpoint; 'auto' takes {folder}/model/last.pth")
    return Path(resume)


def _newest(folder: Path, whole_epochs: bool) -> Path | None:
    from catalyst_cityscapes.runs.checkpoints import newest_intact, position_of, resumable

    candidates = resumable(folder / "model")
    if whole_epochs:
        candidates = [path for path in candidates if (position_of(path) or (0, 0))[1] == 0]
    if not candidates:
        if is_main():
            print(f"{folder}: no checkpoint yet, starting anew", flush=True)
        return None
    found, damages = newest_intact(candidates)
    if found is None:
        raise CheckpointError(
            f"{damages[0]}; none of the {len(damages)} checkpoint(s) in {folder}/model can be used; start anew with "
            "--overwrite"
        )
    for damage in damages:
        warn(f"{damage}; taking the one before it")
    if is_main():
        print(f"resuming from {found}", flush=True)
    return found


@contextmanager
def _settings_restored() -> Iterator[None]:
    """Gives back what a training sets for the whole process; it leaves a process group that it has found alone."""
    import torch
    from torch import distributed
    from torch.backends import cudnn

    from semseg_ref.distributed import stop_processes

    matmul = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark
    was_in_group = distributed.is_initialized()
    try:
        yield
    finally:
        if not was_in_group:
            stop_processes()
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = before


@contextmanager
def _replaced_run_restored(folder: Path) -> Iterator[None]:
    """Puts back the run that was to be replaced, where the new one fails before its first checkpoint."""
    from catalyst_cityscapes.runs import backup

    try:
        yield
    except BaseException:
        if is_main():
            backup.restore(folder)
        raise


def _train_catalyst(recipe: Recipe, resume: Path | None, allow_changed: tuple[str, ...]) -> None:
    from catalyst_cityscapes.runs.folder import open_run_folder
    from catalyst_cityscapes.train.engine import forget_engine
    from catalyst_cityscapes.train.runner import SegmentationRunner

    runner = SegmentationRunner(recipe, resume, lambda: open_run_folder(recipe, resume), allow_changed)
    try:
        with _replaced_run_restored(runner.logdir):
            runner.run()
    finally:
        forget_engine()


def _train_reference(recipe: Recipe, resume: Path | None) -> None:
    from catalyst_cityscapes.recipe.nodes.targets import OWN_PACKAGES
    from catalyst_cityscapes.recipe.translation import recipe_to_official
    from catalyst_cityscapes.runs import backup
    from catalyst_cityscapes.runs.folder import open_run_folder
    from semseg_ref.base.arithmetic import deterministic_algorithms
    from semseg_ref.distributed import start_processes
    from semseg_ref.train import run as train_official

    cfg = recipe_to_official(recipe)
    left_out = [
        name for name, node in recipe.callbacks.items() if node and not node["_target_"].startswith(OWN_PACKAGES)
    ]
    if left_out:
        warn(f"--control: callbacks.{', callbacks.'.join(left_out)}: not run, the control arm has no callbacks")
    cfg.resume = None if resume is None else str(resume)
    folder = Path(recipe.experiment.logdir)
    processes = start_processes(recipe.engine.device)
    with _replaced_run_restored(folder), deterministic_algorithms(recipe.engine.deterministic):
        train_official(cfg, processes, prepare=lambda: open_run_folder(recipe, resume))
    if processes.is_main:
        backup.discard(folder)
