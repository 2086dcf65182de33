"""Arguments that several subcommands share."""

from collections.abc import Callable

import click

from semseg_ref.errors import InputError


def recipe_arguments(command: Callable) -> Callable:
    """Adds `--config A [B ...]`, `--set key=value [...]` and `--trust PACKAGE`."""
    decorators = [
        click.argument("more", nargs=-1, metavar="[CONFIG | KEY=VALUE]..."),
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
