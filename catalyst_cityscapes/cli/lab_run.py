"""What the subcommands that train a lab share: its options, running it, and writing what came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from catalyst_cityscapes.lab.analysis import analyse, write_tables
from catalyst_cityscapes.lab.checking import check_plan
from catalyst_cityscapes.lab.children import StoppedError
from catalyst_cityscapes.lab.execution import Failure, default_jobs, execute, threads_for, unfinished
from catalyst_cityscapes.lab.lab_page import write_lab_page
from catalyst_cityscapes.lab.lab_table import print_analysis
from catalyst_cityscapes.lab.plan import Plan, check_same_plan
from catalyst_cityscapes.lab.plan_table import print_plan
from catalyst_cityscapes.lab.results import LabResults, read_results
from semseg_ref.errors import InputError

BAD_INPUT = 2


@dataclass(frozen=True)
class LabOptions:
    """Options of a command that trains a lab; see `lab_options`."""

    seeds: int
    first_seed: int
    folder: str | None
    jobs: int | None
    threads: int | None
    dry_run: bool
    keep_checkpoints: bool
    report_only: bool

    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))


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


Report = Callable[[LabResults, Any], Sequence[Any]]


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
