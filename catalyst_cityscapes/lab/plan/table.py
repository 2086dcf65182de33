"""A lab's plan for people: what each arm changes, which runs are to come, and what they cost."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalyst_cityscapes.lab.plan.arms import identical_arms
from catalyst_cityscapes.lab.plan.cost import (
    RunCost,
    disk_bytes,
    duration,
    measured_seconds,
    remaining_seconds,
    run_cost,
    size,
)
from catalyst_cityscapes.lab.plan.plan import Plan, differences, run_folder, shown
from catalyst_cityscapes.report.terminal import open_console
from catalyst_cityscapes.runs.checkpoints import resumable

STATES = ("done", "begun", "to do")
MOST_COLUMNS = 5
CONTROL = "identical recipe: a control of the pairing"


def changes(plan: Plan) -> list[str]:
    """What each arm changes of the base, in lines: the arm and what it was made of, then a line for each key path."""
    lines = [f"base: {' '.join(plan.base.source)}"]
    identical = identical_arms(plan)
    for arm in plan.arms[1:]:
        lines.append(f"{arm.name}: {' '.join(arm.source[len(plan.base.source) :]) or 'no overlay'}")
        if arm.name in identical:
            first = identical[arm.name]
            lines.append(f"    {CONTROL if first == plan.base.name else f'identical recipe: that of arm {first}'}")
            continue
        for key, base, own in differences(plan.base.recipe, arm.recipe):
            if key.endswith("_target_"):
                base, own = (str(name).rpartition(".")[2] for name in (base, own))
            lines.append(f"    {key}: {shown(base)} -> {shown(own)}")
    return lines


def runs_table(plan: Plan, todo: Sequence[tuple[str, int]], costs: Mapping[str, RunCost]) -> Table:
    """Arms x seeds with the state of each run, and what one run of each arm costs; many seeds are counted instead."""
    table = Table(
        title=f"{len(plan.runs())} runs in {escape(str(plan.folder))}", caption="steps, images and time of one run"
    )
    table.add_column("arm", overflow="fold")
    single = len(plan.seeds) <= MOST_COLUMNS
    for name in [f"seed {seed}" for seed in plan.seeds] if single else STATES:
        table.add_column(name)
    for name in ("steps", "images", "time"):
        table.add_column(name, justify="right")
    measured = measured_seconds(plan)
    for arm in plan.arms:
        states = [_state(plan, arm.name, seed, todo) for seed in plan.seeds]
        cells = states if single else [str(states.count(state)) for state in STATES]
        seconds = [measured[arm.name, seed] for seed in plan.seeds if (arm.name, seed) in measured]
        time = duration(sum(seconds) / len(seconds)) if seconds else "-"
        cost = costs[arm.name]
        table.add_row(arm.name, *cells, f"{cost.steps:,}", f"{cost.images:,}", time)
    return table


def _state(plan: Plan, arm: str, seed: int, todo: Sequence[tuple[str, int]]) -> str:
    if (arm, seed) not in todo:
        return "done"
    return "begun" if resumable(run_folder(plan, arm, seed) / "model") else "to do"


def print_plan(
    plan: Plan,
    todo: Sequence[tuple[str, int]],
    sizes: Mapping[str, int],
    jobs: int,
    keep_checkpoints: bool = False,
    console: Console | None = None,
) -> None:
    """Prints what a lab will do.

    Args:
        plan: the lab.
        todo: (arm, seed) of the runs that are not finished.
        sizes: bytes of one checkpoint of each arm.
        jobs: runs at once.
        keep_checkpoints: whether they stay after scoring.
        console: where to print; None is the terminal.
    """
    console = open_console(console)
    costs = {arm.name: run_cost(arm.recipe) for arm in plan.arms}
    for line in changes(plan) if plan.kind == "ab" else ():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(runs_table(plan, todo, costs))
    for line in summary(plan, todo, costs, disk_bytes(plan, sizes, jobs, keep_checkpoints), jobs):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def summary(
    plan: Plan, todo: Sequence[tuple[str, int]], costs: Mapping[str, RunCost], disk: int, jobs: int
) -> list[str]:
    """Runs, steps, time and disk in words; a time only where runs of this lab were measured.

    Args:
        plan, todo, jobs: see `print_plan`.
        costs: of one run of each arm.
        disk: bytes that the checkpoints take at most.
    """
    steps, images = sum(costs[arm].steps for arm, _ in todo), sum(costs[arm].images for arm, _ in todo)
    measured = measured_seconds(plan)
    seconds = remaining_seconds(todo, measured, jobs)
    if not todo:
        time = "nothing is left to run"
    elif seconds is None:
        time = "unknown until a first run of this lab is measured"
    else:
        time = f"about {duration(seconds)}, {jobs} at once, from {len(measured)} measured"
    free = shutil.disk_usage(_existing(plan.folder)).free
    enough = "" if disk < free else "  WARNING: not enough"
    return [
        f"left:    {len(todo)} of {len(plan.runs())} runs, {steps:,} optimiser steps, {images:,} training images",
        f"time:    {time}",
        f"disk:    checkpoints of about {size(disk)} at most, {size(free)} free{enough}",
        f"threads: {plan.threads} for each run; seeds {', '.join(map(str, plan.seeds))}, the same in every arm",
    ]


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
