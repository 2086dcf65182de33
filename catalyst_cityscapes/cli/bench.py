"""`catalyst-dl bench`: how fast this machine is with this project, beside the control arm."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalyst_cityscapes.bench import STEP_ARMS, TESTER_PARTS
from semseg_ref.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from catalyst_cityscapes.bench.repeats import Row


@click.group()
def bench() -> None:
    """Time ours against the control arm, in interleaved repeats in one process: ratios, their spread, physical bounds.

    A ratio is the control arm's time over ours: above 1 we are faster. `cpu_time_ratio` and `fastest_ratio` are the
    same of processor time and of the fastest repeats, which a busy machine disturbs less. Each part prints a table, and
    writes a CSV with the environment in its name below --output.
    """


def bench_options(repeats: int) -> Callable[[Callable], Callable]:
    """Adds `--repeats` (`--turns` of before) and `--output`."""

    def add(command: Callable) -> Callable:
        options = (
            click.option(
                "--repeats",
                "--turns",
                "repeats",
                type=click.IntRange(min=1),
                default=repeats,
                show_default=True,
                help="Repeats after one that warms up.",
            ),
            click.option("--output", default="benchmarks/results", show_default=True, metavar="FOLDER"),
        )
        for option in reversed(options):
            command = option(command)
        return command

    return add


threads_option = click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads of torch and OpenCV."
)


@bench.command()
@bench_options(repeats=7)
@click.option("--images", type=click.IntRange(min=1), default=6, show_default=True, help="Different images to draw.")
@click.option("--samples", type=click.IntRange(min=1), default=24, show_default=True, help="Crops a repeat.")
@click.option("--height", type=click.IntRange(min=64), default=1024, show_default=True)
@click.option("--width", type=click.IntRange(min=64), default=2048, show_default=True)
@click.option("--crop", type=click.IntRange(min=9), default=713, show_default=True)
@click.option("--folder", metavar="FOLDER", help="Where images and cache are kept; default: a temporary folder.")
def data(repeats: int, output: str, folder: str | None, **size: int) -> None:
    """From files to normalised crops: control arm, crop-first, crop-first from the cache; bounds: decode, copy.

    Always on one thread, which is what a loader worker has. Here ratio_low and ratio_high are the least and the most of
    the repeats, and fastest_ratio takes each sample's least processor time.
    """
    _write(output, "data", 1, _data_rows(repeats, folder, **size))


@bench.command()
@bench_options(repeats=9)
@threads_option
@click.option("--layers", type=click.Choice(["50", "101", "152"]), default="50", show_default=True)
@click.option("--crop", type=click.IntRange(min=33), default=97, show_default=True)
@click.option("--batch", type=click.IntRange(min=2), default=4, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=3, show_default=True, help="Steps a repeat.")
@click.option("--arm", "arms", multiple=True, metavar="NAME", help=f"Only these of: {', '.join(STEP_ARMS)}.")
def step(
    repeats: int, output: str, threads: int, layers: str, crop: int, batch: int, steps: int, arms: tuple[str, ...]
) -> None:
    """A training step: the cost of loop and metric, and the engine's faster ways with their share of the peak rate."""
    for name in arms:
        if name not in STEP_ARMS:
            raise InputError(f"--arm {name}: no such arm{did_you_mean(name, STEP_ARMS)}")
    from catalyst_cityscapes.bench.step import Size, step_rows

    chosen = {name: STEP_ARMS[name] for name in arms} if arms else None
    _set_threads(threads)
    _write(output, "step", threads, step_rows(Size(int(layers), crop, batch, steps), repeats, chosen))


@bench.command()
@bench_options(repeats=5)
@threads_option
@click.option("--part", "parts", multiple=True, type=click.Choice(TESTER_PARTS), help="Only these; default: all.")
def tester(repeats: int, output: str, threads: int, parts: tuple[str, ...]) -> None:
    """The multi-patch tester: outside the network, with it, as costs grow, and its memory."""
    from catalyst_cityscapes.bench.tester import PARTS

    _set_threads(threads)
    for part in parts or PARTS:
        _write(output, f"tester_{part}", threads, PARTS[part](repeats))


@bench.command(name="all")
@bench_options(repeats=5)
@threads_option
def all_parts(repeats: int, output: str, threads: int) -> None:
    """Everything, at the default sizes: about a quarter of an hour on two cores."""
    from catalyst_cityscapes.bench.step import Size, step_rows
    from catalyst_cityscapes.bench.tester import PARTS

    _set_threads(threads)
    _write(output, "data", 1, _data_rows(repeats, None))
    _write(output, "step", threads, step_rows(Size(), repeats))
    for part, rows in PARTS.items():
        _write(output, f"tester_{part}", threads, rows(repeats))


def _data_rows(
    repeats: int,
    folder: str | None,
    images: int = 6,
    samples: int = 24,
    height: int = 1024,
    width: int = 2048,
    crop: int = 713,
) -> Iterator[Row]:
    from catalyst_cityscapes.bench.data import time_data_path
    from catalyst_cityscapes.prepare.progress_display import shown_progress
    from semseg_ref.base.files import create_folder

    with tempfile.TemporaryDirectory() as temporary, shown_progress() as progress:
        place = create_folder(folder) if folder else Path(temporary)
        timings = time_data_path(place, images, samples, repeats, (height, width), (crop, crop), progress)
    yield from timings.rows()


def _set_threads(threads: int) -> None:
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def _write(output: str, name: str, threads: int, rows: Iterator[Row]) -> None:
    import cv2
    import torch

    from catalyst_cityscapes.bench.repeats import environment, write_rows
    from catalyst_cityscapes.bench.table import print_rows
    from semseg_ref.base.files import create_folder

    folder = create_folder(output)
    about = {"date": date.today().isoformat(), "torch": torch.__version__, "opencv": cv2.__version__}
    measured: list[Row] = []
    found = []
    try:
        for row in rows:
            # A part takes minutes: each row says on stderr that it is there.
            click.echo(", ".join(str(row[key]) for key in ("what", "arm", "tester") if row.get(key)), err=True)
            measured.append(row)
            found.append({**about, "load": round(os.getloadavg()[0], 1), **row})
    finally:
        # What was measured before Ctrl-C or an error is shown, and not written as if it were all.
        if measured:
            print_rows(name, measured)
    path = folder / f"{name}_{environment()}_{threads}.csv"
    write_rows(path, found)
    click.echo(f"written: {path}")
