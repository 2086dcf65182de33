"""`catalyst-dl lint`: what is wrong with a recipe, measured before it is trained."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from catalyst_cityscapes.cli.arguments import complete_recipe, recipe_arguments
from catalyst_cityscapes.lab.lint import DRAWS, SAMPLES
from semseg_ref.base.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 120


@click.command()
@recipe_arguments
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="Training processes to reckon with. Default: 8 as the official run, fewer where that leaves a process less "
    "than 2 images, 1 with engine.device: cpu.",
)
@click.option(
    "--against",
    metavar="RECIPE",
    shell_complete=complete_recipe,
    help="The published recipe to hold it against. Default: the recipe's own expected.recipe, or cityscapes/pspnet50.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--allow", multiple=True, metavar="RULE", help="Findings of this rule do not count; may be repeated.")
@click.option("--strict", is_flag=True, help="Warnings count as errors, notes as warnings.")
@click.option("--no-data", is_flag=True, help="Ask nothing of the data set; reckon with made-up images.")
@click.option(
    "--draws", default=DRAWS, show_default=True, type=click.IntRange(1, 1000), help="Draws of the augmentation."
)
@click.option(
    "--samples", default=SAMPLES, show_default=True, type=click.IntRange(1, 1000), help="Training samples to draw."
)
@click.option("--list-rules", is_flag=True, help="Print all rules and stop.")
def lint(
    configs: tuple[str, ...],
    settings: tuple[str, ...],
    more: tuple[str, ...],
    trusted: tuple[str, ...],
    processes: int | None,
    against: str | None,
    as_json: bool,
    allow: tuple[str, ...],
    strict: bool,
    no_data: bool,
    draws: int,
    samples: int,
    list_rules: bool,
) -> None:
    """Measure what a recipe does, and say what is wrong with it (catalyst-dl lint RECIPE [OVERLAY ...]).

    The real optimiser and schedule run over every step, known images go through the real augmentation, labels are
    read, the network takes one step without data. Nothing is trained. Exit code: 0 with notes at most, 1 with
    warnings, 3 with errors, 2 for a recipe that cannot be read.
    """
    if list_rules:
        from catalyst_cityscapes.lab.lint.terminal import print_rules

        print_rules(_console())
        return
    if allow:
        from catalyst_cityscapes.lab.lint.table import check_ids

        check_ids(allow)
    files = [*configs, *(word for word in more if "=" not in word)]
    assignments = [*settings, *(word for word in more if "=" in word)]
    if not files:
        raise InputError(
            "no recipe: give one, e.g. catalyst-dl lint toy/pspnet50 (shipped: catalyst_cityscapes/configs)"
        )
    from catalyst_cityscapes.recipe.loading import load_layers, resolve_recipe

    recipe = resolve_recipe(load_layers(files, assignments), trusted)
    from catalyst_cityscapes.lab.lint.report import lint as lint_recipe
    from catalyst_cityscapes.lab.lint.terminal import print_report

    report = lint_recipe(recipe, processes, draws, samples, not no_data, allow, against)
    if as_json:
        click.echo(json.dumps(report.to_json(strict), indent=1))
    else:
        print_report(report, _console())
    sys.exit(report.exit_code(strict))


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
