"""`catalyst-dl run`: trains a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalyst_cityscapes.cli.arguments import recipe_arguments, split_arguments
from catalyst_cityscapes.runs import backup
from semseg_ref.base.console import is_main, warn
from semseg_ref.base.errors import CheckpointError, InputError, printable

if TYPE_CHECKING:
    from catalyst_cityscapes.recipe.schema import Recipe


@click.command()
@recipe_arguments
@click.option("--resume", metavar="auto|FILE", help="Go on from a checkpoint; auto: the run folder's last, if any.")
@click.option(
    "--allow-changed",
    multiple=True,
    metavar="KEY",
    help="With --resume: this key of the recipe may differ from the checkpoint's; may be given more than once.",
)
@click.option("--overwrite", is_flag=True, help="Start anew in a folder that holds another run's checkpoints.")
@click.option(
    "--control",
    "--reference",
    "control",
    is_flag=True,
    help="Run the same recipe without Catalyst, on the control arm (semseg_ref).",
)
@click.option("--show", is_flag=True, help="Print the merged, checked recipe and stop.")
def run(
    configs: tuple[str, ...],
    settings: tuple[str, ...],
    more: tuple[str, ...],
    trusted: tuple[str, ...],
    resume: str | None,
    allow_changed: tuple[str, ...],
    overwrite: bool,
    control: bool,
    show: bool,
) -> None:
    """Train a recipe (catalyst-dl run --config A.yml [B.yml ...] [--set KEY=VALUE ...]).

    CONFIG is a recipe, a plain Catalyst 22 config (runner: and run:), or an official semseg config (.yaml with
    DATA, TRAIN, TEST), which is translated and shown. Several processes: torchrun --no-python --nproc_per_node N
    catalyst-dl run ...

    Exit codes: 0 done, 2 bad input, 3 the loss is no longer a number, 74 a checkpoint could not be written, 75 stopped
    by SIGTERM or SIGUSR1 and saved (go on with --resume auto), 130 Ctrl-C. torchrun makes 1 of every code but 0.
    """
    files, assignments = split_arguments(configs, settings, more)
    if not files:
        raise InputError(
            "no recipe: give --config FILE, e.g. --config toy/pspnet50 (shipped: catalyst_cityscapes/configs)"
        )
    from catalyst_cityscapes.recipe.loading import find_config, load_layers, read_yaml, resolve_recipe
    from catalyst_cityscapes.recipe.translation import is_official

    first = read_yaml(find_config(files[0]))
    if "runner" in first and "run" in first:
        from catalyst_cityscapes.compat.stock import run_stock

        _refuse(control=control, resume=bool(resume), show=show, overwrite=overwrite, allow_changed=bool(allow_changed))
        run_stock(files, assignments, trusted)
        _leave_processes()
        return
    if is_official(first):
        recipe = _official(files, assignments)
    else:
        recipe = resolve_recipe(load_layers(files, assignments), trusted)
    from catalyst_cityscapes.runs.folder import refuse_existing_run, to_yaml

    if is_official(first) and is_main():
        click.echo(f"# {files[0]} as a recipe:\n{to_yaml(recipe)}")
    if show:
        if not is_official(first):
            click.echo(to_yaml(recipe), nl=False)
        return
    if allow_changed and (resume is None or control):
        raise InputError("--allow-changed: goes with --resume, and not with --control")
    resume_from = _resume_path(recipe, resume, whole_epochs=control)
    refuse_existing_run(recipe, resume_from, overwrite)
    if control:
        _run_control(recipe, resume_from)
    else:
        _run_catalyst(recipe, resume_from, allow_changed if resume_from else ())
    _leave_processes()


def _leave_processes() -> None:
    from semseg_ref.distributed import leave_processes

    leave_processes()


def _refuse(**given: bool) -> None:
    for option, is_given in given.items():
        if is_given:
            raise InputError(f"--{option.replace('_', '-')}: works with recipes, not with a plain Catalyst config")


def _official(files: list[str], assignments: list[str]) -> Recipe:
    if len(files) > 1:
        raise InputError(
            f"{files[1]}: an official config takes no overlays; run --show, save the recipe, and overlay that"
        )
    from catalyst_cityscapes.recipe.loading import find_config
    from catalyst_cityscapes.recipe.translation import official_to_recipe
    from semseg_ref.config import load_cfg_from_cfg_file, merge_cfg_from_list

    pairs = [part for assignment in assignments for part in assignment.split("=", 1)]
    path = find_config(files[0])
    cfg = merge_cfg_from_list(load_cfg_from_cfg_file(path), pairs)
    return official_to_recipe(cfg, path.stem, f"exp/{path.stem}")


def _resume_path(recipe: Recipe, resume: str | None, whole_epochs: bool) -> Path | None:
    if resume is None:
        return None
    if resume == "auto":
        return _newest(Path(recipe.experiment.logdir), whole_epochs)
    if not Path(resume).is_file():
        raise CheckpointError(
            f"--resume {resume}: no such checkpoint; 'auto' takes {recipe.experiment.logdir}/model/last.pth"
        )
    return Path(resume)


def _newest(logdir: Path, whole_epochs: bool) -> Path | None:
    from catalyst_cityscapes.runs.checkpoints import newest_intact, position_of, resumable

    candidates = resumable(logdir / "model")
    if whole_epochs:
        candidates = [path for path in candidates if (position_of(path) or (0, 0))[1] == 0]
    if not candidates:
        if is_main():
            click.echo(f"{logdir}: no checkpoint yet, starting anew")
        return None
    found, damages = newest_intact(candidates)
    if found is None:
        raise CheckpointError(
            f"{damages[0]}; none of the {len(damages)} checkpoint(s) in {logdir}/model can be used; start anew with "
            "--overwrite"
        )
    for damage in damages:
        warn(f"{damage}; taking the one before it")
    if is_main():
        click.echo(f"resuming from {found}")
    return found


def _run_catalyst(recipe: Recipe, resume: Path | None, allow_changed: tuple[str, ...]) -> None:
    from catalyst_cityscapes.runs.folder import open_run_folder
    from catalyst_cityscapes.train.engine import close_processes
    from catalyst_cityscapes.train.runner import SegmentationRunner

    runner = SegmentationRunner(recipe, resume, lambda: open_run_folder(recipe, resume), allow_changed)
    try:
        runner.run()
    except BaseException:
        if is_main():
            backup.restore(Path(recipe.experiment.logdir))
        raise
    finally:
        close_processes()
    if is_main():
        click.echo(printable(f"done: {recipe.experiment.logdir}; score it with: bash tool/test_cat.sh"))


def _run_control(recipe: Recipe, resume: Path | None) -> None:
    from catalyst_cityscapes.recipe.translation import recipe_to_official
    from catalyst_cityscapes.runs.folder import open_run_folder
    from semseg_ref.base.arithmetic import deterministic_algorithms
    from semseg_ref.distributed import start_processes, stop_processes
    from semseg_ref.train import run as train

    cfg = recipe_to_official(recipe)
    cfg.resume = None if resume is None else str(resume)
    processes = start_processes(recipe.engine.device)
    try:
        with deterministic_algorithms(recipe.engine.deterministic):
            path = train(cfg, processes, prepare=lambda: open_run_folder(recipe, resume))
    except BaseException:
        if processes.is_main:
            backup.restore(Path(recipe.experiment.logdir))
        raise
    finally:
        stop_processes()
    if processes.is_main:
        backup.discard(Path(recipe.experiment.logdir))
        click.echo(printable(f"done: {path}"))
