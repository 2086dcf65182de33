"""The options that the subcommands share which train a lab."""

from collections.abc import Callable
from pathlib import Path

import click

from semseg_ref.base.errors import InputError


def lab_options(command: Callable) -> Callable:
    """Adds the options of `LabOptions`, which the command gets as keyword arguments of those names."""
    options = [
        click.option(
            "--seeds",
            type=click.IntRange(min=1),
            default=3,
            show_default=True,
            help="Runs of each arm; every arm gets the same seeds.",
        ),
        click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True),
        click.option("--to", "folder", metavar="FOLDER", help="The lab's folder; default: exp/BASE_lab."),
        click.option(
            "--jobs", type=click.IntRange(min=1), help="Runs at once; default: one for each GPU, without a GPU one."
        ),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="CPU threads of each run; default: cores / jobs. A lab keeps the number that it began with, since "
            "sums of floats depend on it.",
        ),
        click.option("--dry-run", is_flag=True, help="Check everything, print the plan and what it costs, and stop."),
        click.option(
            "--keep-checkpoints", is_flag=True, help="Keep checkpoints and predictions of runs that are scored."
        ),
        click.option("--report-only", is_flag=True, help="Train nothing; analyse the runs that are finished."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def existing_lab(folder: str | None, default: Path | None, kind: str) -> Path:
    """The folder of `--report-only`.

    Raises:
        InputError: none is given.
    """
    if folder is not None:
        return Path(folder)
    if default is None:
        raise InputError(f"--report-only: which lab? catalyst-dl {kind} --report-only --to FOLDER")
    return default
