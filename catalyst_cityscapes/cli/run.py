"""`catalyst-dl run`: trains a recipe."""

import click

from catalyst_cityscapes.cli.arguments import recipe_arguments, split_arguments
from semseg_ref.base.console import is_main
from semseg_ref.base.errors import InputError, printable


@click.command()
@recipe_arguments
@click.option("--resume", metavar="auto|FILE", help="Resume from a checkpoint; auto: the run folder's last, if any.")
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
    from catalyst_cityscapes.api import load_recipe, train
    from catalyst_cityscapes.api.run import is_plain_catalyst
    from catalyst_cityscapes.recipe.loading import find_config, read_yaml
    from catalyst_cityscapes.recipe.translation import is_official

    first = read_yaml(find_config(files[0]))
    if is_plain_catalyst(first):
        from catalyst_cityscapes.compat.stock import run_stock

        _refuse(control=control, resume=bool(resume), show=show, overwrite=overwrite, allow_changed=bool(allow_changed))
        run_stock(files, assignments, trusted)
        _leave_processes()
        return
    recipe = load_recipe(files[0], files[1:], assignments, trusted)
    from catalyst_cityscapes.runs.folder import to_yaml

    if is_official(first) and is_main():
        click.echo(f"# {files[0]} as a recipe:\n{to_yaml(recipe)}")
    if show:
        if not is_official(first):
            click.echo(to_yaml(recipe), nl=False)
        return
    trained = train(recipe, resume, overwrite, control, allow_changed)
    if is_main():
        trust = "".join(f" --trust {package}" for package in trusted)
        click.echo(printable(f"done: {trained.folder}; score it with: catalyst-dl test --run {trained.folder}{trust}"))
    _leave_processes()


def _leave_processes() -> None:
    from semseg_ref.distributed import leave_processes

    leave_processes()


def _refuse(**given: bool) -> None:
    for option, is_given in given.items():
        if is_given:
            raise InputError(f"--{option.replace('_', '-')}: works with recipes, not with a plain Catalyst config")
