"""`catalyst-dl ladder`: which of the components between two recipes makes the difference in score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from catalyst_cityscapes.cli.arguments import complete_ladder, complete_recipe
from catalyst_cityscapes.cli.lab.options import existing_lab, lab_options
from catalyst_cityscapes.lab import DESIGNS
from catalyst_cityscapes.lab.options import LabOptions
from semseg_ref.base.errors import InputError

if TYPE_CHECKING:
    from catalyst_cityscapes.lab.analysis.analysis import Analysis
    from catalyst_cityscapes.lab.ladder.ladder import Ladder, Roles
    from catalyst_cityscapes.lab.results import LabResults


@click.command()
@click.argument("words", nargs=-1, metavar="[FROM TO] [KEY=VALUE]...", shell_complete=complete_recipe)
@click.option(
    "--plan",
    "plan_file",
    metavar="FILE",
    shell_complete=complete_ladder,
    help="Ladder file with components by hand, instead of FROM and TO.",
)
@click.option(
    "--design",
    default=",".join(DESIGNS),
    show_default=True,
    help="What to train: each component added to FROM, each removed from TO, the path of all in turn.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting for every arm.")
@click.option("--trust", "trusted", multiple=True, metavar="PACKAGE", help="Allow _target_ from this package too.")
@lab_options
def ladder(
    words: tuple[str, ...],
    plan_file: str | None,
    design: str,
    settings: tuple[str, ...],
    trusted: tuple[str, ...],
    **options: Any,
) -> None:
    """Which component makes the gap between two recipes? Trains them one by one from FROM to TO, with paired seeds.

    \b
    catalyst-dl ladder my.yml other.yml --dry-run
    catalyst-dl ladder toy/pspnet50 toy/pspnet50,swap/schedule,swap/augmentation_blur --seeds 6
    catalyst-dl ladder --plan ladders/semseg-catalyst-toy

    FROM and TO are recipes, with overlays after commas; what they do differently is taken apart into components. Each
    is measured added to FROM, removed from TO, and on the path from FROM to TO; what the single effects leave of the
    whole difference is the interactions. Recipes that give the same numbers are trained once. A lab that was stopped
    continues with the same command.
    """
    from catalyst_cityscapes.lab.ladder.ladder import KIND, check_designs, ladder_arms
    from catalyst_cityscapes.lab.plan.arms import SETTING

    given = LabOptions(**options)
    files = [word for word in words if not SETTING.match(word)]
    assignments = (*settings, *(word for word in words if SETTING.match(word)))
    designs = check_designs([part.strip() for part in design.split(",") if part.strip()])
    if given.report_only:
        from catalyst_cityscapes.lab.run import report

        report(existing_lab(given.folder, _default_folder(files, plan_file), KIND), report_ladder)
        return
    made = _ladder(files, plan_file, assignments, trusted)
    arms, roles = ladder_arms(made, designs)
    folder = Path(given.folder) if given.folder else _default_folder(files, plan_file)
    asked = click.get_current_context().get_parameter_source("seeds") is not ParameterSource.DEFAULT
    seeds = given.seeds if asked or made.seeds is None else made.seeds
    numbers = tuple(range(given.first_seed, given.first_seed + seeds))
    _print_components(roles, len(numbers))
    from catalyst_cityscapes.lab.plan.plan import Plan
    from catalyst_cityscapes.lab.run import run_lab

    run_lab(Plan(folder, arms, numbers, trusted, kind=KIND, extra=roles.to_json()), given, report_ladder)


def _ladder(files: list[str], plan_file: str | None, settings: tuple[str, ...], trusted: tuple[str, ...]) -> Ladder:
    from catalyst_cityscapes.lab.ladder.components import differences_of
    from catalyst_cityscapes.lab.ladder.file import read_ladder, recipe_of_parts
    from catalyst_cityscapes.lab.ladder.ladder import automatic_ladder
    from catalyst_cityscapes.lab.plan.arms import split_layers

    if plan_file is not None:
        if files:
            raise InputError(f"{files[0]}: --plan names FROM and its components; give one or the other")
        return read_ladder(plan_file, settings, trusted)
    if len(files) != 2:
        raise InputError(
            f"{len(files)} recipes: expected FROM and TO, e.g. catalyst-dl ladder a.yml b.yml, or --plan FILE "
            "(shipped: ladders/semseg-catalyst-toy)"
        )
    start, goal = (recipe_of_parts(split_layers(file), settings, trusted, file) for file in files)
    return automatic_ladder(differences_of(start, goal, trusted), (*split_layers(files[0]), *settings))


def _default_folder(files: list[str], plan_file: str | None) -> Path | None:
    from catalyst_cityscapes.lab.plan.arms import split_layers

    names = [Path(split_layers(file)[0]).stem for file in files] if plan_file is None else [Path(plan_file).stem]
    return Path("exp") / f"{'_to_'.join(names)}_ladder" if names else None


def _print_components(roles: Roles, seeds: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    from catalyst_cityscapes.report.terminal import open_console

    table = Table(title=f"{len(roles.rungs)} components, {len(roles.arms())} arms x {seeds} seeds")
    for name in ("component", "what it is"):
        table.add_column(name, overflow="fold")
    for name in DESIGNS:
        table.add_column(name)
    for rung in roles.rungs:
        own = (("with", rung.added), ("without", rung.removed), ("path", rung.path))
        cells = [_cost(arm, f"{kind}-{rung.name}") for kind, arm in own]
        table.add_row(escape(rung.name), escape(rung.note or ", ".join(rung.source[:4])), *cells)
    console = open_console()
    console.print(table)
    if roles.notes:
        console.print(roles.notes, highlight=False, markup=False)


def _cost(arm: str | None, own: str) -> str:
    if arm is None:
        return "-"
    return "1 run a seed" if arm == own else f"is {arm}"


def report_ladder(results: LabResults, analysis: Analysis) -> list[tuple[str, Any]]:
    """Prints a ladder and writes its files; returns its section of the lab's page."""
    from catalyst_cityscapes.lab.ladder.ladder import Roles
    from catalyst_cityscapes.lab.ladder.report import PICTURE, ladder_section, print_ladder, write_ladder
    from catalyst_cityscapes.lab.ladder.waterfall import measure

    found = measure(results)
    print_ladder(found)
    notes = Roles.from_json(results.extra).notes
    paths = write_ladder(found, notes, results.folder)
    click.echo(f"ladder: {', '.join(map(str, paths))}")
    return [ladder_section(found, notes, results.folder / PICTURE)]
