"""Arguments that several subcommands share."""

from collections.abc import Callable
from pathlib import Path

import click

from catalyst_cityscapes.recipe.places import shipped_configs
from semseg_ref.base.errors import InputError

LADDERS = "ladders/"


def complete_recipe(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """What a shell proposes for a recipe or an overlay: shipped ones, and the YAML files of the working folder."""
    shipped = [name.removesuffix(".yml") for name in shipped_configs() if not name.startswith(LADDERS)]
    files = [str(path) for path in sorted(Path().glob("*.y*ml"))]
    return [name for name in (*shipped, *files) if name.startswith(incomplete)]


def complete_ladder(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """What a shell proposes for a ladder: the shipped ones."""
    shipped = [name.removesuffix(".yml") for name in shipped_configs() if name.startswith(LADDERS)]
    return [name for name in shipped if name.startswith(incomplete)]


def recipe_arguments(command: Callable) -> Callable:
    """Adds `--config A [B ...]`, `--set key=value [...]` and `--trust PACKAGE`."""
    words = click.argument("more", nargs=-1, metavar="[CONFIG | KEY=VALUE]...", shell_complete=complete_recipe)
    return words(recipe_options(command))


def recipe_options(command: Callable) -> Callable:
    """Adds `--config`, `--set` and `--trust` to a command whose words without an option are something else."""
    decorators = [
        click.option(
            "--trust",
            "trusted",
            multiple=True,
            metavar="PACKAGE",
            help="Allow _target_ from this package too, for this run.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set one value of the recipe, e.g. --set optimizer.lr=0.02; more may follow.",
        ),
        click.option(
            "--config",
            "-C",
            "configs",
            multiple=True,
            metavar="FILE",
            shell_complete=complete_recipe,
            help="Recipe file, or the name of a shipped one; later files overlay earlier ones.",
        ),
    ]
    for decorator in decorators:
        command = decorator(command)
    return command


def split_arguments(
    configs: tuple[str, ...], settings: tuple[str, ...], more: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Files and settings, with the words after `--config A` and `--set a=1` put where they belong.

    Raises:
        InputError: a file without any `--config` before it.
    """
    files = [word for word in more if "=" not in word]
    if files and not configs:
        raise InputError(f"{files[0]}: what is this? Recipe files follow --config, settings --set key=value")
    return [*configs, *files], [*settings, *(word for word in more if "=" in word)]


def output_file(name: str, suffix: str) -> Path:
    """The path of a file to write, whose folder exists then.

    Raises:
        InputError: another suffix, a folder of that name, or a place that cannot be written.
    """
    path = Path(name)
    if path.is_dir():
        raise InputError(
            f"--output {name}: is a folder; expected the name of a {suffix} file, e.g. {path / 'out'}{suffix}"
        )
    if path.suffix.lower() != suffix:
        raise InputError(f"--output {name}: expected a name that ends in {suffix}")
    from semseg_ref.base.files import create_folder

    create_folder(path.parent)
    return path
