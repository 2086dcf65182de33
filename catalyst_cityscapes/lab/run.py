"""What the subcommands that train a lab share: running it, and writing what came out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalyst_cityscapes.lab.execution import Failure, default_jobs, execute, threads_for, unfinished
from catalyst_cityscapes.lab.options import LabOptions
from catalyst_cityscapes.lab.plan.checking import check_plan
from catalyst_cityscapes.lab.plan.plan import Plan, check_same_plan
from catalyst_cityscapes.lab.plan.table import print_plan
from catalyst_cityscapes.launch.children import StoppedError

if TYPE_CHECKING:
    from catalyst_cityscapes.lab.results import LabResults

BAD_INPUT = 2
Report = Callable[["LabResults", Any], Sequence[Any]]


def run_lab(plan: Plan, options: LabOptions, sections: Report = lambda results, analysis: ()) -> None:
    """Checks a plan, runs what is left of it, and reports; leaves with an exit code where that is not 0.

    Args:
        plan: the lab; its `threads` are set here.
        options: of the command line.
        sections: makes more sections of the HTML page from results and analysis.

    Raises:
        InputError: see `check_plan`, `check_same_plan` and `execute`.
    """
    jobs = options.jobs or default_jobs(plan)
    plan = replace(plan, threads=threads_for(plan.folder, jobs, options.threads))
    check_same_plan(plan)
    todo = unfinished(plan)
    sizes = check_plan(plan.arms)
    print_plan(plan, todo, sizes, jobs, options.keep_checkpoints)
    if options.dry_run:
        return
    try:
        failures = execute(plan, jobs, options.keep_checkpoints, click.echo)
    except StoppedError as stop:
        left = len(unfinished(plan))
        click.echo(
            f"stopped by {stop}: {len(plan.runs()) - left} of {len(plan.runs())} runs are finished, their processes "
            f"have ended; the same command goes on in {plan.folder}",
            err=True,
        )
        raise SystemExit(128 + stop.number) from None
    if len(failures) < len(plan.runs()):
        report(plan.folder, sections)
    _tell(failures, plan)


def _tell(failures: Sequence[Failure], plan: Plan) -> None:
    if not failures:
        return
    for failure in failures:
        click.echo(f"catalyst-dl: error: {failure}", err=True)
    click.echo(
        f"{len(failures)} of {len(plan.runs())} runs have no score and are missing above; the same command tries them "
        "again",
        err=True,
    )
    raise SystemExit(BAD_INPUT if all(failure.code == BAD_INPUT for failure in failures) else 1)


def report(folder: Path, sections: Report = lambda results, analysis: ()) -> None:
    """Analyses the finished runs of a lab, prints the table, and writes tables, pictures and page into its folder.

    Raises:
        InputError: see `read_results`.
    """
    from catalyst_cityscapes.lab.analysis.analysis import analyse, write_tables
    from catalyst_cityscapes.lab.analysis.page import write_lab_page
    from catalyst_cityscapes.lab.analysis.table import print_analysis
    from catalyst_cityscapes.lab.results import read_results

    results = read_results(folder)
    missing = len(results.arms) * len(results.seeds) - len(results.runs)
    if missing:
        click.echo(f"{missing} of {len(results.arms) * len(results.seeds)} runs are not finished; the others:")
    analysis = analyse(results)
    print_analysis(analysis)
    write_tables(analysis, folder)
    page = write_lab_page(results, analysis, folder, sections(results, analysis))
    click.echo(f"tables: {folder / 'scores.csv'}, {folder / 'differences.csv'}, {folder / 'analysis.json'}")
    click.echo(f"report: {page}")
