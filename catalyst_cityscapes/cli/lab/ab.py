"""`catalyst-dl ab`: trains arms against a base with paired seeds, scores them strictly, and says what that shows."""

from pathlib import Path
from typing import Any

import click

from catalyst_cityscapes.cli.arguments import complete_recipe
from catalyst_cityscapes.cli.lab.options import existing_lab, lab_options
from catalyst_cityscapes.lab.options import LabOptions
from semseg_ref.base.errors import InputError

KIND = "ab"


@click.command()
@click.argument("words", nargs=-1, metavar="BASE [KEY=VALUE]...", shell_complete=complete_recipe)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="NAME=OVERLAY,...",
    help="An arm: the base with these overlays and KEY=VALUE settings, in order; more --arm may follow.",
)
@click.option(
    "--overlay",
    "overlays",
    multiple=True,
    metavar="FILE",
    shell_complete=complete_recipe,
    help="Overlay for every arm, the base included.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting for every arm, the base included.")
@click.option("--trust", "trusted", multiple=True, metavar="PACKAGE", help="Allow _target_ from this package too.")
@lab_options
def ab(
    words: tuple[str, ...],
    arms: tuple[str, ...],
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    trusted: tuple[str, ...],
    **options: Any,
) -> None:
    """Which overlay changes the score? Trains BASE and each arm with the same seeds, and compares them.

    \b
    catalyst-dl ab toy/pspnet50 --arm head_lr=swap/head_lr --arm both=swap/head_lr,optimizer.lr=0.005 --seeds 6

    Runs of one seed share the initial weights, the order of the images and the random draws wherever the arms allow.
    Each run is a process of its own, scored by its recipe's test protocol. A lab that was stopped or killed continues
    with the same command; more seeds and more arms may be added to it. An arm without overlays (--arm same=) is the
    base again and, on a CPU, has its very scores.
    """
    given = LabOptions(**options)
    files = [word for word in words if "=" not in word]
    assignments = [*settings, *(word for word in words if "=" in word)]
    if len(files) > 1:
        raise InputError(f"{files[1]}: one BASE only; overlays follow --arm NAME= or, for every arm, --overlay")
    if given.report_only:
        from catalyst_cityscapes.lab.plan.plan import read_plan
        from catalyst_cityscapes.lab.run import report

        default = _default_folder(files[0]) if files else None
        folder = existing_lab(given.folder, default, KIND)
        kind = read_plan(folder).kind
        if kind != KIND:
            raise InputError(
                f"{folder}: a lab of kind {kind}; its report: catalyst-dl {kind} --report-only --to {folder}"
            )
        report(folder)
        return
    if not files:
        raise InputError("no BASE: which recipe? e.g. catalyst-dl ab toy/pspnet50 --arm head_lr=swap/head_lr --seeds 3")
    from catalyst_cityscapes.lab.plan.arms import build_arms

    made = build_arms(files[0], arms, overlays, assignments, trusted)
    folder = Path(given.folder) if given.folder else _default_folder(files[0])
    from catalyst_cityscapes.lab.plan.plan import Plan
    from catalyst_cityscapes.lab.run import run_lab

    run_lab(Plan(folder, made, given.seed_numbers(), trusted, kind=KIND), given)


def _default_folder(base: str) -> Path:
    from catalyst_cityscapes.recipe.loading import CONFIGS, find_config

    path = find_config(base).resolve()
    shipped = path.relative_to(CONFIGS) if path.is_relative_to(CONFIGS) else Path(path.name)
    return Path("exp") / f"{'_'.join(shipped.with_suffix('').parts)}_lab"
