"""Trains for thousands of steps and watches memory, open files and processes; then Ctrl-C, and what is left behind.

    .venv/bin/python benchmarks/soak.py [--steps 2000] [--workers 2]

A small network on a toy city, with loader processes, validation and checkpoints each epoch. Prints the growth of the
resident memory and of the open files over the second part of the run, by a straight line through the samples, in
percent of their mean. Then a second run gets Ctrl-C (SIGINT to its whole group, as a terminal sends it) in mid-epoch,
and processes and shared memory that outlive it are counted. Appends a row to benchmarks/results/soak_<machine>.csv.
"""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYTHONPATH"] = f"{ROOT / 'tests'}{os.pathsep}{ROOT}"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import click  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
import torch  # noqa: E402
from catalyst.core.callback import Callback, CallbackOrder  # noqa: E402

from catalyst_cityscapes.bench.repeats import append_row  # noqa: E402
from catalyst_cityscapes.recipe.loading import load_recipe  # noqa: E402
from catalyst_cityscapes.toy_city import build_toy_city  # noqa: E402
from catalyst_cityscapes.train.engine import close_processes  # noqa: E402
from catalyst_cityscapes.train.runner import SegmentationRunner  # noqa: E402
from support.command_line import console_command  # noqa: E402
from support.runs.toy import CONFIG, SMALL, SMALL_PACKAGE, toy_settings  # noqa: E402

STEPS_AN_EPOCH = 50
WARM_UP = 0.25
"""Part of the run that does not count."""


class Sampling(Callback):
    """Notes memory in MB, open files and threads of this process, and its child processes, each epoch's end."""

    def __init__(self) -> None:
        super().__init__(order=CallbackOrder.External + 1)
        self.rows: list[tuple[int, float, int, int, int]] = []
        self._process = psutil.Process()

    def on_epoch_end(self, runner) -> None:
        process = self._process
        self.rows.append(
            (
                runner.epoch_step * runner.train_batches,
                process.memory_info().rss / 1e6,
                process.num_fds(),
                process.num_threads(),
                len(process.children(recursive=True)),
            )
        )


class Watched(SegmentationRunner):
    """The runner, sampled."""

    def get_callbacks(self):
        callbacks = super().get_callbacks()
        callbacks["sampling"] = self.sampling = Sampling()
        return callbacks


def growth(steps: np.ndarray, values: np.ndarray) -> float:
    """Rise of a straight line from the first sample to the last, in percent of the mean."""
    slope = np.polyfit(steps, values, 1)[0]
    return float(100 * slope * (steps[-1] - steps[0]) / values.mean())


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def interrupted(arguments: list[str], folder: Path) -> tuple[int, float, int, int]:
    """Exit code after Ctrl-C, seconds to it, processes and pieces of shared memory that are left.

    Other programs share memory too; torch and python put the owner's process id into the name.
    """
    before = shared_memory()
    process = subprocess.Popen(
        [console_command(), *arguments], cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL
    )
    log = folder / "interrupted" / "iterations.csv"
    while process.poll() is None and not (log.is_file() and len(log.read_bytes().splitlines()) > 5):
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code = process.wait(timeout=120)
    seconds = time.monotonic() - began
    time.sleep(1)
    left = [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    for member in left:
        member.kill()
    owners = [f"_{member}_" for member in (process.pid, *(member.pid for member in family))]
    pieces = [name for name in shared_memory() - before if any(owner in name for owner in owners)]
    return code, seconds, len(left), len(pieces)


@click.command()
@click.option("--steps", default=2000, show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(steps: int, workers: int) -> None:
    """Trains, samples, interrupts."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        city = build_toy_city(base / "city", train=2 * STEPS_AN_EPOCH, val=10, test=1, height=64, width=96)
        settings = toy_settings(
            city, *SMALL, "sampling.batch_size=2", f"sampling.workers={workers}", "validation.every=1",
            f"experiment.epochs={steps // STEPS_AN_EPOCH}", "callbacks.checkpoint.metric=mIoU",
            "callbacks.checkpoint.every_minutes=0.02", "callbacks.iteration_log.every=2", "callbacks.progress=null",
        )  # fmt: skip
        recipe = load_recipe([CONFIG], [*settings, f"experiment.logdir={base / 'run'}"], (SMALL_PACKAGE,))
        runner = Watched(recipe)
        began = time.monotonic()
        try:
            runner.run()
        finally:
            close_processes()
        seconds = time.monotonic() - began
        rows = np.array([row for row in runner.sampling.rows if row[0] > WARM_UP * steps])
        arguments = ["run", "--config", CONFIG, "--trust", SMALL_PACKAGE, "--set", *settings,
                     "experiment.epochs=1000", "experiment.logdir=interrupted"]  # fmt: skip
        code, ending, processes, pieces = interrupted(arguments, base)
    row = {
        "steps": steps,
        "workers": workers,
        "seconds": round(seconds),
        "rss_mb_first": round(float(rows[0, 1]), 1),
        "rss_mb_last": round(float(rows[-1, 1]), 1),
        "rss_growth_percent": round(growth(rows[:, 0], rows[:, 1]), 3),
        "files_first": int(rows[0, 2]),
        "files_last": int(rows[-1, 2]),
        "files_growth_percent": round(growth(rows[:, 0], rows[:, 2]), 3),
        "threads_last": int(rows[-1, 3]),
        "children_at_epoch_end": int(rows[:, 4].max()),
        "ctrl_c_exit": code,
        "ctrl_c_seconds": round(ending, 1),
        "processes_left": processes,
        "shared_memory_left": pieces,
        "torch": torch.__version__,
    }
    for key, value in row.items():
        print(f"{key:24s} {value}")
    append_row(Path(__file__).parent / "results" / f"soak_{platform.machine()}-cpu.csv", row)
    is_flat = max(row["rss_growth_percent"], row["files_growth_percent"]) < 1
    sys.exit(0 if is_flat and not processes and not pieces else 1)


if __name__ == "__main__":
    main()
